-- Why an answer is due when it is, where contact hours decide it; the lab's inbox, most urgent first.
alter table stops add column deadline_local text;
alter table stops add column deadline_rule text;
create index stops_tasks on stops (lab, deadline_at, id) where state in (1, 5);

-- Mail to the people of labs: one row a stop and step, written before anything is sent. States: 0 waits,
-- 1 being sent, 2 sent, 3 given up, 4 not needed any more.
create table mails (
    stop text not null,
    step bigint not null check (step between 0 and 2),
    order_id text not null,
    lab text not null,
    state bigint not null check (state between 0 and 4),
    attempts bigint not null,
    unclear bigint not null,
    next_at bigint not null,
    ended_at bigint,
    primary key (stop, step)
);
create index mails_due on mails (next_at) where state in (0, 1);

-- The key that signs the links in mails: one, made at the first start, the same for all gateways.
create table link_keys (
    id bigint primary key check (id = 1),
    secret text not null,
    created_at bigint not null
);
