-- What waits for an answer or for a person, of all labs, by when it is due; and the transfers of a batch, a page at
-- a time.
create index stops_urgent on stops (deadline_at, id) where state in (1, 5);
create index escalations_due on escalations (due_at, id) where resolved_at is null;
drop index transfers_of_batch;
create index transfers_of_batch on transfers (batch, id);
