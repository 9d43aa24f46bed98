-- For people and BI tools: real instants, states by name.
create schema board;

create view board.batches as
select id, lab, region, case phase when 0 then 'open' when 1 then 'closed' when 2 then 'handed_on' else 'empty' end as phase,
       to_timestamp(closes_at / 1000000.0) as closes_at, closes_at_local, rule, time_zone, tzdata
from batches;

create view board.stops as
select id, order_id, lab, platform,
       case state when 1 then 'pending' when 2 then 'stopped' when 3 then 'stopped_in_part' when 4 then 'too_late' else 'with_a_person' end as state,
       evidence, reason, asked_by, to_timestamp(asked_at / 1000000.0) as asked_at, to_timestamp(deadline_at / 1000000.0) as deadline_at
from stops;

create view board.transfers as
select id, lab, batch,
       case phase when 0 then 'closed' when 1 then 'sending' when 2 then 'unknown' when 3 then 'at_lab' when 4 then 'empty' else 'with_a_person' end as phase,
       attempts, unresolved, to_timestamp(deadline_at / 1000000.0) as deadline_at
from transfers;
