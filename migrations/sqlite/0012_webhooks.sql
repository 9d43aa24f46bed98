-- Endpoints that are told what happens. The log itself is what is to be told: up to `cursor` it is done with, up
-- to `taken` it may have been sent by whoever holds the lease. The secrets are needed to sign.
create table webhooks (
    id text primary key,
    platform text not null,
    spec text not null,
    enabled integer not null check (enabled in (0, 1)),
    off_at integer,
    off_cause text,
    secret text not null,
    old_secret text,
    old_until integer,
    version integer not null,
    created_at integer not null,
    updated_at integer not null,
    deleted_at integer,
    head text not null,
    cursor integer not null,
    taken integer not null,
    replay_after integer,
    replay_until integer,
    holder text not null,
    lease_until integer not null,
    fence integer not null,
    failures integer not null,
    failing_since integer,
    rest_until integer,
    due_at integer,
    delivered integer not null,
    delivered_at integer,
    failed_at integer,
    failed_cause text
) strict, without rowid;
create index webhooks_of_platform on webhooks (platform, id) where deleted_at is null;

-- What became of messages: one row a message that was taken or that failed; none for what was not sent yet.
-- States: 0 waits for its next attempt, 1 waits behind an earlier one of its order, 2 taken, 3 given up.
create table deliveries (
    webhook text not null,
    seq integer not null,
    order_id text not null,
    kind text not null,
    state integer not null check (state between 0 and 3),
    attempts integer not null,
    next_at integer not null,
    first_at integer not null,
    ended_at integer,
    status integer not null,
    took_ms integer not null,
    cause text,
    answer text not null,
    body text not null,
    primary key (webhook, seq, order_id)
) strict, without rowid;
create index deliveries_due on deliveries (webhook, next_at, seq) where state = 0;
create index deliveries_open on deliveries (webhook, order_id, seq) where state in (0, 1);
