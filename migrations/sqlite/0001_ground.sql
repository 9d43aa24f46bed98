-- Instants are microseconds since 1970-01-01 UTC. States are small numbers; src/domain names them.
-- The same tables, columns and nullability as migrations/postgres (a test compares them).

create table labs (
    id text primary key,
    spec text not null,
    version integer not null,
    paused_at integer,
    pause_reason text,
    updated_at integer not null,
    deleted_at integer,
    head text not null
) strict;

create table platforms (
    id text primary key,
    spec text not null,
    version integer not null,
    updated_at integer not null,
    head text not null
) strict;

-- The secret itself is never here: hash is SHA-256 of it.
create table keys (
    id text primary key,
    scope text not null check (scope in ('ops', 'platform', 'lab')),
    owner text not null,
    name text not null,
    hash text not null,
    created_at integer not null,
    expires_at integer,
    revoked_at integer
) strict;

create table batches (
    id text primary key,
    lab text not null,
    region text not null,
    direct integer not null check (direct in (0, 1)),
    phase integer not null check (phase between 0 and 3),
    opens_at integer not null,
    window_at integer not null,
    closes_at integer not null,
    closes_at_local text not null,
    production_date text not null,
    rule text not null,
    time_zone text not null,
    tzdata text not null,
    closed_at integer,
    version integer not null,
    head text not null
) strict;
-- One batch a window: whoever comes second joins it.
create unique index batches_window on batches (lab, region, window_at) where direct = 0;
create index batches_open on batches (closes_at) where phase = 0;
-- With the id, and so unique: a claim takes the first few in this order without sorting all that wait.
create unique index batches_closed on batches (lab, closes_at, id) where phase = 1;
create index batches_open_of_lab on batches (lab, closes_at) where phase = 0;
create index batches_of_lab on batches (lab, id);

create table orders (
    id text primary key,
    platform text not null,
    lab text not null,
    region text not null,
    reference text not null,
    document text not null,
    sha256 text not null,
    admitted_at integer not null
) strict;
-- The same reference of the same platform is the same order, for ever.
create unique index orders_reference on orders (platform, reference);
create index orders_of_platform on orders (platform, id);

-- What changes about an order, in narrow rows. The row is also where a stop and a claim meet: both
-- lock it before they decide.
create table standings (
    id text primary key,
    lab text not null,
    batch text,
    transfer text,
    paid integer not null check (paid in (0, 1)),
    held integer not null check (held between 0 and 2),
    stage integer not null check (stage between 0 and 3),
    stop integer not null check (stop between 0 and 5),
    version integer not null,
    head text not null
) strict, without rowid;
create index standings_of_batch on standings (batch, id);
-- Last, because SQLite prefers the newest of two that fit: only those that still wait.
create index standings_waiting on standings (batch, id) where transfer is null and stop = 0;
create index standings_of_transfer on standings (transfer, id) where transfer is not null;

create table transfers (
    id text primary key,
    lab text not null,
    batch text not null,
    phase integer not null check (phase between 0 and 5),
    fence integer not null,
    attempts integer not null,
    unresolved integer not null check (unresolved >= 0),
    idempotency_key text not null,
    sha256 text not null,
    manifest text not null,
    first_at integer not null,
    horizon_at integer not null,
    key_until integer,
    deadline_at integer not null,
    next_at integer not null,
    lease_until integer not null,
    holder text not null,
    handed_at integer,
    version integer not null,
    head text not null
) strict, without rowid;
create index transfers_due on transfers (next_at) where phase in (0, 2);
create index transfers_due_of_lab on transfers (lab, next_at) where phase in (0, 2);
create index transfers_sending on transfers (lease_until) where phase = 1;
create index transfers_of_batch on transfers (batch);
create index transfers_not_ended on transfers (lab, phase) where phase in (0, 1, 2, 5);

create table stops (
    id text primary key,
    order_id text not null,
    lab text not null,
    platform text not null,
    state integer not null check (state between 1 and 5),
    evidence text,
    reason text not null,
    comment text,
    asked_by text not null,
    asked_at integer not null,
    handed_at integer,
    deadline_at integer not null,
    next_at integer not null,
    attempts integer not null,
    delivered_at integer,
    decided_at integer,
    answer text,
    superseded_at integer
) strict;
-- An order has at most one stop; a repeat is the same one. Reinstating the order sets it aside.
create unique index stops_order on stops (order_id) where superseded_at is null;
create index stops_due on stops (next_at) where state = 1;
create index stops_due_of_lab on stops (lab, next_at) where state = 1;
create index stops_overdue on stops (deadline_at) where state = 1;
create index stops_of_state on stops (state, id);
create index stops_of_lab on stops (lab, id);
create index stops_of_lab_state on stops (lab, state, id);
create index stops_odds on stops (lab, (asked_at - handed_at)) where handed_at is not null and decided_at is not null;
create index stops_of_platform on stops (platform, id);

-- The changelog, the feed and the proof: append-only, a hash chain a subject.
create table events (
    seq integer primary key,
    at integer not null,
    subject text not null,
    lab text not null,
    kind text not null,
    actor text not null,
    detail text not null,
    previous text not null,
    hash text not null
) strict;
create index events_of_subject on events (subject, seq);

create table checkpoints (
    at integer not null,
    seq integer not null,
    hash text not null,
    primary key (at)
) strict;

create table escalations (
    id text primary key,
    kind text not null,
    subject text not null,
    order_id text,
    lab text not null,
    cause text not null,
    opened_at integer not null,
    due_at integer not null,
    resolved_at integer,
    decision text,
    reason text,
    resolved_by text
) strict;
create unique index escalations_open on escalations (subject, kind) where resolved_at is null;
create index escalations_of_lab on escalations (lab, id);

-- The first answer to each Idempotency-Key.
create table remembered (
    scope text not null,
    idempotency_key text not null,
    fingerprint text not null,
    status integer not null,
    body text not null,
    created_at integer not null,
    primary key (scope, idempotency_key)
) strict, without rowid;
create index remembered_age on remembered (created_at);
