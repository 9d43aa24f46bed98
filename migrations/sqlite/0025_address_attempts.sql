-- `ended`: the newest attempt whose end is counted. A commit of which nobody heard is made again, and its end counts once.
alter table address_changes add column ended integer not null default 0;
