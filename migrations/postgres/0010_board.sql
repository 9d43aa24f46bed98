-- The board asks, for each lab, what waits for a person; and a lab's scorecard, how often nobody knew what had
-- become of a hand-over.
create index escalations_waiting on escalations (lab, due_at) where resolved_at is null;
create index events_unclear on events (lab, at) where kind = 'transfer.unknown';
