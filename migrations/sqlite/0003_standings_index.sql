-- One index where there were two: who is in a batch, who of them waits, and in what order they are taken.
drop index standings_of_batch;
drop index standings_waiting;
create index standings_of_batch on standings (batch, transfer, stop, id);
