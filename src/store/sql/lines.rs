//! Stops as they are recorded, of lines too, and what they bring.

use crate::store::dialect::statements;

statements! {
    /// Statements about stops and lines.
    Lines:
    /// Records stops.
    stop_insert = "insert into stops (id, order_id, lab, platform, state, evidence, reason, comment, asked_by, asked_at,
            handed_at, deadline_at, next_at, attempts, decided_at, deadline_local, deadline_rule, items, requested_by, terms,
            superseded_at)
        select r.value ->> 'id', r.value ->> 'order', r.value ->> 'lab', r.value ->> 'platform',
            cast(r.value ->> 'state' as bigint), r.value ->> 'evidence', r.value ->> 'reason', r.value ->> 'comment',
            r.value ->> 'asked_by', cast(r.value ->> 'asked_at' as bigint), cast(r.value ->> 'handed_at' as bigint),
            cast(r.value ->> 'deadline_at' as bigint), cast(r.value ->> 'next_at' as bigint), 0,
            cast(r.value ->> 'decided_at' as bigint), r.value ->> 'deadline_local', r.value ->> 'deadline_rule',
            r.value ->> 'items', r.value ->> 'requested_by', r.value ->> 'terms', cast(r.value ->> 'superseded_at' as bigint)
        from {rows}";
    /// What is needed to say what a stop brings: the order's lines, and its platform's policy.
    line_terms = "select {[}o.id, o.document, f.spec{]} from {rows} join orders o on o.id = r.value ->> 0
        left join platforms f on f.id = o.platform";
    /// The stops of orders that name lines, oldest first.
    line_stops = "select {stop} from {rows} join stops p on p.order_id = r.value ->> 0
        where p.items is not null order by p.id";
    /// Locks the orders of transfers that have stops of lines. `cross`: SQLite then begins with the transfers.
    line_stops_lock = "select s.id from {rows} cross join standings s
        where s.transfer = r.value ->> 0 and exists
            (select 1 from stops p where p.order_id = s.id and p.items is not null and p.state in (1, 5))
        order by s.id {lock s}";
    /// Those of the orders of transfers that are not decided; their orders are locked.
    line_stops_open = "select {stop}, s.head, s.lines_out
        from {rows} cross join standings s cross join stops p
        where s.transfer = r.value ->> 0 and p.order_id = s.id and p.items is not null and p.state in (1, 5)
        order by s.id, p.id";
}
