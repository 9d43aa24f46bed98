-- Routes of platforms, and those of all that have none of their own (`default`): rules that choose lab and region.
create table routes (
    id text primary key,
    spec text not null,
    version integer not null,
    updated_at integer not null,
    deleted_at integer,
    head text not null
) strict, without rowid;

-- Whether the orders of a window were promised that it does not close before its cutoff: fixed when it is opened,
-- so that a change of the lab cannot break what was said.
alter table batches add column promised integer not null default 1 check (promised in (0, 1));
