-- When what an order said of people was taken out of it. The index has only the orders that still say it.
alter table orders add column purged_at integer;
create index orders_to_purge on orders (admitted_at, id) where purged_at is null;
