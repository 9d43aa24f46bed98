-- The keys that sign customers' links, by number: the highest signs, all verify. The first is made at the
-- first start; deleting one takes back all links under it at the next start.
create table customer_keys (
    id bigint primary key check (id between 1 and 65535),
    secret text not null,
    created_at bigint not null
);

-- How often the links of an order were taken back; no row: never. A link holds while it names this number.
create table link_serials (
    order_id text primary key,
    serial bigint not null check (serial > 0)
);
