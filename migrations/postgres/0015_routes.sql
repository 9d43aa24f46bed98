-- Routes of platforms, and those of all that have none of their own (`default`): rules that choose lab and region.
create table routes (
    id text primary key,
    spec text not null,
    version bigint not null,
    updated_at bigint not null,
    deleted_at bigint,
    head text not null
);

-- Whether the orders of a window were promised that it does not close before its cutoff: fixed when it is opened,
-- so that a change of the lab cannot break what was said.
alter table batches add column promised bigint not null default 1 check (promised in (0, 1));
