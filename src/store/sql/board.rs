//! The statements of the board, of scorecards and of the numbers for metrics: what a lab region has open, counted
//! where an index holds all that is counted. `$1` are the labs that are asked about.

use crate::store::dialect::statements;

statements! {
    /// Statements of the board and of scorecards.
    Board:
    /// The open batches of windows. In an open batch nobody is in a transfer, so that both counts are a stretch
    /// of one index.
    board_open = "select {[}b.lab, b.region, b.id, b.window_at, b.closes_at, b.closes_at_local, b.production_date, b.rule, b.tzdata,
            (select count(*) from standings s where s.batch = b.id and s.transfer is null and s.stop = 0),
            (select count(*) from standings s where s.batch = b.id and s.transfer is null and s.stop = 2){]}
        from {rows} join batches b on b.lab = r.value ->> 0 where b.phase = 0 and b.direct = 0";
    /// Direct orders that wait out their grace.
    board_direct = "select {[}q.lab, q.region, q.orders, q.closes_at{]} from
        (select b.lab, b.region, count(*) as orders, min(b.closes_at) as closes_at
            from {rows} join batches b on b.lab = r.value ->> 0
                join standings s on s.batch = b.id and s.transfer is null and s.stop = 0
            where b.phase = 0 and b.direct = 1 group by b.lab, b.region) q";
    /// Orders that wait though their batch has closed, and since when.
    board_behind = "select {[}q.lab, q.region, q.orders, q.batches, q.since, q.batch{]} from
        (select b.lab, b.region, count(*) as orders, count(distinct b.id) as batches, min({ended}) as since,
                min(b.id) as batch
            from {rows} join batches b on b.lab = r.value ->> 0
                join standings s on s.batch = b.id and s.transfer is null and s.stop = 0
            where b.phase = 1 group by b.lab, b.region) q";
    /// Transfers that are not at an end.
    board_transfers = "select {[}q.lab, q.region, q.phase, q.transfers, q.deadline_at, q.first_at, q.batch{]} from
        (select t.lab, b.region, t.phase, count(*) as transfers, min(t.deadline_at) as deadline_at,
                min(t.first_at) as first_at, min(t.batch) as batch
            from {rows} join transfers t on t.lab = r.value ->> 0 join batches b on b.id = t.batch
            where t.phase in (0, 1, 2, 5) group by t.lab, b.region, t.phase) q";
    /// Stops that wait for an answer. `cross`: SQLite then begins with the labs.
    board_stops = "select {[}q.lab, q.region, q.state, q.stops, q.deadline_at{]} from
        (select p.lab, o.region, p.state, count(*) as stops, min(p.deadline_at) as deadline_at
            from {rows} cross join stops p join orders o on o.id = p.order_id
            where p.lab = r.value ->> 0 and p.state in (1, 5) group by p.lab, o.region, p.state) q";
    /// What waits for a person besides stops and transfers, which are counted above: at the region that it is
    /// about, if one is known.
    board_escalations = "select {[}q.lab, q.region, q.escalations, q.due_at{]} from
        (select x.lab, coalesce(o.region, b.region, '') as region, count(*) as escalations, min(x.due_at) as due_at
            from {rows} join escalations x on x.lab = r.value ->> 0
                left join orders o on o.id = coalesce(x.order_id, x.subject)
                left join transfers t on t.id = x.subject left join batches b on b.id = t.batch
            where x.resolved_at is null and x.kind not in ('stop', 'transfer')
            group by x.lab, coalesce(o.region, b.region, '')) q";
    /// The stops of a lab that were decided, the last decision first.
    stop_list_decided = "select {stop}, p.platform, p.lab, o.reference from stops p join orders o on o.id = p.order_id
        where p.lab = $1 and p.decided_at is not null order by p.decided_at desc, p.id desc limit $2";
    /// Which labs the log speaks of between two numbers.
    board_touched = "select {[}q.lab{]} from
        (select distinct e.lab from events e where e.seq > $1 and e.seq <= $2) q";
    /// The stops of a lab's orders since an id: all; stopped before the hand-over; decided at once; asked of the
    /// lab; decided by one of ours; and of those that the lab answered how they ended, how many, and how many late.
    score_stops = "select count(*), coalesce(sum(case when q.way = 0 and q.state = 2 then 1 else 0 end), 0),
            coalesce(sum(case when q.way = 1 then 1 else 0 end), 0),
            coalesce(sum(case when q.way = 3 or (q.way in (2, 4) and q.attempts > 0) or (q.way = 4 and q.state = 1)
                then 1 else 0 end), 0),
            coalesce(sum(case when q.way = 2 then 1 else 0 end), 0),
            coalesce(sum(case when q.way = 3 and q.state = 2 then 1 else 0 end), 0),
            coalesce(sum(case when q.way = 3 and q.state = 3 then 1 else 0 end), 0),
            coalesce(sum(case when q.way = 3 and q.state = 4 then 1 else 0 end), 0),
            coalesce(sum(case when q.way = 3 then 1 else 0 end), 0),
            coalesce(sum(case when q.way = 3 and q.decided_at > q.deadline_at then 1 else 0 end), 0)
        from (select p.state, p.attempts, p.decided_at, p.deadline_at, {way} as way
            from stops p where p.lab = $1 and p.id > $2) q";
    /// How long the lab's answer took that is so far up when all are sorted, in microseconds.
    score_answer = "select p.decided_at - p.asked_at from stops p
        where p.lab = $1 and p.id > $2 and {way} = 3
        order by p.decided_at - p.asked_at limit 1 offset $3";
    /// How often nobody knew what had become of a hand-over, since an instant.
    score_unclear = "select count(*), count(distinct e.subject) from events e
        where e.lab = $1 and e.kind = 'transfer.unknown' and e.at > $2";
    /// The hand-overs of a lab's batches since an id.
    score_transfers = "select count(*) from batches b join transfers t on t.batch = b.id
        where b.lab = $1 and b.id > $2 and t.attempts > 0";
    /// Orders of some platforms by a reference: for people who search.
    order_by_reference = "select {order} from {rows}
        join orders o on o.platform = r.value ->> 0 and o.reference = $2 {order_joins} order by o.id desc limit $3";
    /// Orders that wait in open batches, by lab.
    gauge_waiting = "select b.lab, count(*) from batches b join standings s on s.batch = b.id
        where b.phase = 0 and s.transfer is null and s.stop = 0 group by b.lab";
    /// Transfers that are not at an end, by phase.
    gauge_transfers = "select t.phase, count(*) from transfers t where t.phase in (0, 1, 2, 5) group by t.phase";
    /// Stops that are not at an end, by state.
    gauge_stops = "select p.state, count(*) from stops p where p.state in (1, 5) group by p.state";
    /// Pending stops whose deadline has passed.
    gauge_overdue = "select count(*) from stops p where p.state = 1 and p.deadline_at < $1";
    /// Open escalations.
    gauge_escalations = "select count(*) from escalations x where x.resolved_at is null";
}
