-- A customer may ask for single lines where the merchant decides: their ids, as a JSON array; null is the whole order.
alter table approvals add column items text;
-- Of the whole order there is at most one still; of its lines there may be several.
drop index approvals_order;
create unique index approvals_order on approvals (order_id) where superseded_at is null and items is null;
create index approvals_of_order on approvals (order_id) where superseded_at is null;
