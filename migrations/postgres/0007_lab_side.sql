-- What labs said about orders, in the order in which it came: the lab's own time, if it told one, beside ours.
create table reports (
    order_id text not null,
    nth bigint not null,
    stage bigint not null check (stage between 0 and 3),
    reported_at bigint,
    received_at bigint not null,
    reference text not null,
    actor text not null,
    contrary bigint not null check (contrary in (0, 1)),
    primary key (order_id, nth)
);

-- What contradicts each other, as the changelog has it: a JSON array.
alter table escalations add column evidence text;
create index escalations_of_subject on escalations (subject, id);

-- Orders that a lab of two phases was sent ahead of the hand-over, to hold. It promises nothing: what is handed
-- over at the cutoff is whole, whatever became of these.
create table imports (
    order_id text primary key,
    lab text not null,
    state bigint not null check (state between 0 and 3),
    closes_at bigint not null,
    asked_at bigint not null
);
create index imports_live on imports (lab, closes_at, order_id) where state in (0, 1);
create index imports_age on imports (closes_at);
