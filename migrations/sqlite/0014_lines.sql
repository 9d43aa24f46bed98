-- A stop may name lines (a JSON list of ids). It is never the one stop of its order: it is set aside from the
-- beginning. Beside it: who asked, by a name of the platform's own, and what was told to come of it.
alter table stops add column items text;
alter table stops add column requested_by text;
alter table stops add column terms text;
create index stops_of_lines on stops (order_id, id) where items is not null;
-- The lines of an order that are stopped while the rest goes on: read under the lock that a claim takes.
alter table standings add column lines_out text;
