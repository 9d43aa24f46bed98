-- An order that is in no batch misses the cutoff of its region: `outside` names that region once somebody has
-- looked (empty: the order goes alone and misses none), `warned_until` the last cutoff that it was warned of.
-- Both stay as they are made for orders that never wait outside of a batch when a cutoff is near.
alter table standings add column outside text;
alter table standings add column warned_until integer not null default 0;
create index standings_outside on standings (lab, outside, warned_until, id) where batch is null and stop = 0;
create index standings_warned on standings (lab, warned_until, outside, paid, held, id)
    where batch is null and stop = 0 and outside is not null;

-- How often the links to the calendar of a lab's region were taken back; no row: never.
create table calendar_serials (
    lab text not null,
    region text not null,
    serial integer not null check (serial > 0),
    primary key (lab, region)
) strict, without rowid;

-- Which checkpoint covers an entry of the log.
create index checkpoints_seq on checkpoints (seq);
