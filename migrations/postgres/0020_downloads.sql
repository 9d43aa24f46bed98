-- Downloads that anybody asked or said anything about: one row an order and item. States: 0 revoking (the platform is
-- asked to deactivate the link), 1 revoked, 2 fetched, 3 with a person. The order's log tells of every step.
create table downloads (
    order_id text not null,
    item text not null,
    id text not null,
    platform text not null,
    state bigint not null check (state between 0 and 3),
    evidence text,
    asked_at bigint,
    deadline_at bigint,
    next_at bigint not null,
    attempts bigint not null,
    decided_at bigint,
    answer text,
    contradicted_at bigint,
    primary key (order_id, item)
);
create unique index downloads_id on downloads (id);
create index downloads_due on downloads (next_at, order_id, item) where state = 0;

-- Where a platform is asked to deactivate links. The secrets are needed to sign. What is changed of it is told in the
-- platform's own log.
create table download_callbacks (
    platform text primary key,
    url text not null,
    answers_within bigint not null,
    secret text not null,
    old_secret text,
    old_until bigint,
    version bigint not null,
    created_at bigint not null,
    updated_at bigint not null
);
