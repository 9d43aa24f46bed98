-- Changes of shipping addresses that labs are asked for after the hand-over. States: 0 asked, 1 taken, 2 refused, 3 with a
-- person. `ship_to` is the address that is asked for, `was` the one that was handed over; both are taken out when the
-- order is purged. `unresolved` counts the attempts that may have reached the lab and have no end. The order's log
-- tells of every step, and of no address.
create table address_changes (
    id text primary key,
    order_id text not null,
    lab text not null,
    state bigint not null check (state between 0 and 3),
    evidence text,
    reason text not null,
    ship_to text,
    was text,
    asked_at bigint not null,
    deadline_at bigint not null,
    next_at bigint not null,
    attempts bigint not null,
    unresolved bigint not null check (unresolved >= 0),
    decided_at bigint,
    answer text,
    contradicted_at bigint
);
create index address_changes_order on address_changes (order_id);
create index address_changes_due on address_changes (next_at, id) where state = 0;
