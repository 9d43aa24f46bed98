//! What is forgotten of orders that are at an end: what they said of people.

use crate::store::dialect::statements;

statements! {
    /// Statements of retention.
    Retention:
    /// Orders that still say something of people, in the order of their admission, after one of them.
    purge_page = "select o.id, o.admitted_at from orders o where o.purged_at is null and o.admitted_at <= $1
            and o.admitted_at >= $2 and (o.admitted_at > $2 or o.id > $3)
        order by o.admitted_at, o.id limit $4";
    /// Of some orders those that are at an end, and about which nothing happened since an instant: stopped or handed
    /// over, in no transfer of which anybody waits to know more, and with nothing open.
    purge_ready = "select o.id, o.document from {rows} join orders o on o.id = r.value ->> 0
            join standings s on s.id = o.id left join transfers t on t.id = s.transfer
        where o.purged_at is null and s.stop in (0, 2, 3, 4)
            and ((t.id is null and s.stop = 2) or t.phase = 4 or (t.phase = 3 and t.handed_at <= $2))
            and not exists (select 1 from events e where e.subject = o.id and e.at > $2)
            and not exists (select 1 from stops p where p.order_id = o.id and p.items is not null and p.state in (1, 5))
            and not exists (select 1 from approvals a where a.order_id = o.id and a.superseded_at is null and a.state = 0)
            and not exists (select 1 from downloads d where d.order_id = o.id and d.state in (0, 3))
            and not exists (select 1 from address_changes a where a.order_id = o.id and a.state in (0, 3))
            and not exists (select 1 from replacements n where n.old_order = o.id and n.state = 0)
            and not exists (select 1 from escalations x where x.resolved_at is null and (x.order_id = o.id or x.subject = o.id))";
    /// When an order was purged.
    purged_at = "select o.purged_at from orders o where o.id = $1";
    /// Takes out what orders say of people.
    purge_write = "update orders as o set document = r.value ->> 1, purged_at = cast(r.value ->> 2 as bigint)
        from {rows} where o.id = r.value ->> 0 and o.purged_at is null";
}
