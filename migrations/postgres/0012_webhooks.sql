-- Endpoints that are told what happens. The log itself is what is to be told: up to `cursor` it is done with, up
-- to `taken` it may have been sent by whoever holds the lease. The secrets are needed to sign.
create table webhooks (
    id text primary key,
    platform text not null,
    spec text not null,
    enabled bigint not null check (enabled in (0, 1)),
    off_at bigint,
    off_cause text,
    secret text not null,
    old_secret text,
    old_until bigint,
    version bigint not null,
    created_at bigint not null,
    updated_at bigint not null,
    deleted_at bigint,
    head text not null,
    cursor bigint not null,
    taken bigint not null,
    replay_after bigint,
    replay_until bigint,
    holder text not null,
    lease_until bigint not null,
    fence bigint not null,
    failures bigint not null,
    failing_since bigint,
    rest_until bigint,
    due_at bigint,
    delivered bigint not null,
    delivered_at bigint,
    failed_at bigint,
    failed_cause text
);
create index webhooks_of_platform on webhooks (platform, id) where deleted_at is null;

-- What became of messages: one row a message that was taken or that failed; none for what was not sent yet.
-- States: 0 waits for its next attempt, 1 waits behind an earlier one of its order, 2 taken, 3 given up.
create table deliveries (
    webhook text not null,
    seq bigint not null,
    order_id text not null,
    kind text not null,
    state bigint not null check (state between 0 and 3),
    attempts bigint not null,
    next_at bigint not null,
    first_at bigint not null,
    ended_at bigint,
    status bigint not null,
    took_ms bigint not null,
    cause text,
    answer text not null,
    body text not null,
    primary key (webhook, seq, order_id)
);
create index deliveries_due on deliveries (webhook, next_at, seq) where state = 0;
create index deliveries_open on deliveries (webhook, order_id, seq) where state in (0, 1);
