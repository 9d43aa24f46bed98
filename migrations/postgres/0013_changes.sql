-- Why orders are kept out of their windows: one row a hold. An order rejoins a window when the last is released.
-- Kinds: 0 hold, 1 review, 2 approval (a customer's stop waits for the merchant), 3 replacing (it waits for the
-- stop of the order that it replaces). The standing's own flag says only whether there is any.
create table holds (
    id text primary key,
    order_id text not null,
    kind bigint not null check (kind between 0 and 3),
    owner text not null,
    reason text not null,
    put_at bigint not null,
    put_by text not null,
    released_at bigint,
    released_by text
);
create index holds_open on holds (order_id, id) where released_at is null;
insert into holds (id, order_id, kind, owner, reason, put_at, put_by)
select 'hld' || substr(s.id, 4), s.id, s.held - 1, 'platform', '', o.admitted_at, 'gateway'
from standings s join orders o on o.id = s.id where s.held > 0;

-- Stops that customers asked for and merchants decide about. States: 0 open, 1 approved, 2 declined, 3 overtaken by
-- a stop that somebody else asked for. `held`: whether the order is kept out of its window meanwhile.
create table approvals (
    id text primary key,
    order_id text not null,
    lab text not null,
    platform text not null,
    state bigint not null check (state between 0 and 3),
    held bigint not null check (held in (0, 1)),
    reason text not null,
    comment text,
    requested_by text,
    asked_at bigint not null,
    due_at bigint not null,
    escalated_at bigint,
    decided_at bigint,
    decided_by text,
    why text,
    superseded_at bigint
);
-- An order has at most one; a repeat is the same one. Reinstating the order sets it aside.
create unique index approvals_order on approvals (order_id) where superseded_at is null;
create index approvals_open on approvals (id) where state = 0;
create index approvals_due on approvals (due_at) where state = 0 and escalated_at is null;
create index approvals_of_platform on approvals (platform, id);

-- Orders that replace others. States: 0 waits for the other's stop, 1 released because it is stopped, 2 abandoned
-- because it is printed, 3 withdrawn: the new one was stopped itself while it waited.
create table replacements (
    new_order text primary key,
    old_order text not null,
    state bigint not null check (state between 0 and 3),
    asked_at bigint not null,
    decided_at bigint,
    joined_at bigint
);
create index replacements_of_old on replacements (old_order, new_order);
create index replacements_to_join on replacements (state desc, new_order) where joined_at is null and state in (0, 1);

-- Orders of which more is kept than the rows that every order has: approvals, replacements. Whoever
-- reads an order looks here before looking there.
create table extras (
    order_id text primary key
);
