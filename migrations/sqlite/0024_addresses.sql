-- Changes of shipping addresses that labs are asked for after the hand-over. States: 0 asked, 1 taken, 2 refused, 3 with a
-- person. `ship_to` is the address that is asked for, `was` the one that was handed over; both are taken out when the
-- order is purged. `unresolved` counts the attempts that may have reached the lab and have no end. The order's log
-- tells of every step, and of no address.
create table address_changes (
    id text primary key,
    order_id text not null,
    lab text not null,
    state integer not null check (state between 0 and 3),
    evidence text,
    reason text not null,
    ship_to text,
    was text,
    asked_at integer not null,
    deadline_at integer not null,
    next_at integer not null,
    attempts integer not null,
    unresolved integer not null check (unresolved >= 0),
    decided_at integer,
    answer text,
    contradicted_at integer
) strict, without rowid;
create index address_changes_order on address_changes (order_id);
create index address_changes_due on address_changes (next_at, id) where state = 0;
