-- What labs said about orders, in the order in which it came: the lab's own time, if it told one, beside ours.
create table reports (
    order_id text not null,
    nth integer not null,
    stage integer not null check (stage between 0 and 3),
    reported_at integer,
    received_at integer not null,
    reference text not null,
    actor text not null,
    contrary integer not null check (contrary in (0, 1)),
    primary key (order_id, nth)
) strict, without rowid;

-- What contradicts each other, as the changelog has it: a JSON array.
alter table escalations add column evidence text;
create index escalations_of_subject on escalations (subject, id);
