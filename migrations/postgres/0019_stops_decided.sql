-- A lab's inbox shows what was decided last, however long ago it was asked.
create index stops_decided on stops (lab, decided_at) where decided_at is not null;
