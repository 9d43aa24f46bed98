//! Holds, approvals and replacements: what only a few orders have. Which have any is in `extras`, and of
//! holds in the standing.

use crate::store::dialect::statements;

statements! {
    /// Statements about holds, approvals and replacements.
    Changes:
    // ---- extras --------------------------------------------------------------------------------
    /// Marks orders of which more is kept.
    extras_insert = "insert into extras (order_id) select r.value ->> 0 from {rows} where true on conflict do nothing";
    /// Which of some orders are marked.
    extras_of = "select x.order_id from {rows} join extras x on x.order_id = r.value ->> 0";

    // ---- holds ---------------------------------------------------------------------------------
    /// Puts holds.
    hold_insert = "insert into holds (id, order_id, kind, owner, reason, put_at, put_by)
        select r.value ->> 'id', r.value ->> 'order', cast(r.value ->> 'kind' as bigint), r.value ->> 'owner',
            r.value ->> 'reason', cast(r.value ->> 'at' as bigint), r.value ->> 'by'
        from {rows}";
    /// The holds of orders that were not released, oldest first.
    hold_open = "select h.order_id, h.id, h.kind, h.owner, h.reason, h.put_at, h.put_by
        from {rows} join holds h on h.order_id = r.value ->> 0 where h.released_at is null order by h.id";
    /// Releases holds that were read under the lock of their order.
    hold_release = "update holds as h set released_at = cast(r.value ->> 1 as bigint), released_by = r.value ->> 2
        from {rows} where h.id = r.value ->> 0 and h.released_at is null";

    // ---- approvals -----------------------------------------------------------------------------
    /// Opens approvals.
    approval_insert = "insert into approvals (id, order_id, lab, platform, state, held, reason, comment, requested_by,
            asked_at, due_at, items)
        select r.value ->> 'id', r.value ->> 'order', r.value ->> 'lab', r.value ->> 'platform', 0,
            cast(r.value ->> 'held' as bigint), r.value ->> 'reason', r.value ->> 'comment',
            r.value ->> 'requested_by', cast(r.value ->> 'asked_at' as bigint), cast(r.value ->> 'due_at' as bigint),
            r.value ->> 'items'
        from {rows}";
    /// The approvals of orders, oldest first.
    approval_of_orders = "select a.id, a.order_id, a.platform, a.lab, a.state, a.held, a.reason, a.comment, a.asked_at,
            a.due_at, a.decided_at, a.decided_by, a.why, a.requested_by, a.items
        from {rows} join approvals a on a.order_id = r.value ->> 0 where a.superseded_at is null order by a.id";
    /// One approval, as a first look before its order is locked.
    approval_one = "select a.id, a.order_id, a.platform, a.lab, a.state, a.held, a.reason, a.comment, a.asked_at, a.due_at,
            a.decided_at, a.decided_by, a.why, a.requested_by, a.items
        from approvals a where a.id = $1";
    /// Decides approvals that are open; guarded.
    approval_decide = "update approvals as a set state = cast(r.value ->> 'state' as bigint),
            decided_at = cast(r.value ->> 'at' as bigint), decided_by = r.value ->> 'by', why = r.value ->> 'why'
        from {rows} where a.id = r.value ->> 'id' and a.state = 0";
    /// Sets the approval of an order aside after the order was reinstated.
    approval_supersede = "update approvals set superseded_at = $2 where order_id = $1 and superseded_at is null";
    /// Approvals whose time is over, and of which ops were not told.
    approval_overdue = "select a.id, a.order_id, a.lab, a.due_at from approvals a
        where a.state = 0 and a.escalated_at is null and a.due_at <= $1 order by a.due_at, a.id limit $2 {skip a}";
    /// Ops were told.
    approval_escalated = "update approvals as a set escalated_at = cast(r.value ->> 1 as bigint)
        from {rows} where a.id = r.value ->> 0";
    /// When the time of the next approval is over.
    approval_next = "select min(a.due_at) from approvals a where a.state = 0 and a.escalated_at is null";
    /// Nobody has to hurry the merchant any more.
    approval_resolved = "update escalations set resolved_at = $2, decision = $3, reason = $4, resolved_by = $5
        where subject = $1 and kind = 'approval_overdue' and resolved_at is null";
    /// Approvals with their orders, newest first.
    approval_list = "select a.id, a.order_id, a.platform, a.lab, a.state, a.held, a.reason, a.comment, a.asked_at, a.due_at,
            a.decided_at, a.decided_by, a.why, a.requested_by, a.items, o.reference
        from approvals a join orders o on o.id = a.order_id where a.id < $1 order by a.id desc limit $2";
    /// Those of a platform.
    approval_list_platform = "select a.id, a.order_id, a.platform, a.lab, a.state, a.held, a.reason, a.comment, a.asked_at,
            a.due_at, a.decided_at, a.decided_by, a.why, a.requested_by, a.items, o.reference
        from approvals a join orders o on o.id = a.order_id where a.platform = $3 and a.id < $1 order by a.id desc limit $2";
    /// Those that are open, of a platform or of all.
    approval_list_open = "select a.id, a.order_id, a.platform, a.lab, a.state, a.held, a.reason, a.comment, a.asked_at,
            a.due_at, a.decided_at, a.decided_by, a.why, a.requested_by, a.items, o.reference
        from approvals a join orders o on o.id = a.order_id
        where a.state = 0 and ($3 = '' or a.platform = $3) and a.id < $1 order by a.id desc limit $2";
    /// Those that are open, the first due first, of a lab or of all.
    approval_list_due = "select a.id, a.order_id, a.platform, a.lab, a.state, a.held, a.reason, a.comment, a.asked_at,
            a.due_at, a.decided_at, a.decided_by, a.why, a.requested_by, a.items, o.reference
        from approvals a join orders o on o.id = a.order_id
        where a.state = 0 and ($1 = '' or a.lab = $1) order by a.due_at, a.id limit $2";

    // ---- replacements --------------------------------------------------------------------------
    /// Links a new order to the one that it replaces.
    replacement_insert = "insert into replacements (new_order, old_order, state, asked_at) values ($1, $2, 0, $3)";
    /// The replacements that orders are part of, oldest first.
    replacement_links = "select q.new_order, q.old_order, q.state from
        (select n.new_order, n.old_order, n.state from {rows} join replacements n on n.new_order = r.value ->> 0
            union select n.new_order, n.old_order, n.state from {rows} join replacements n on n.old_order = r.value ->> 0) q
        order by q.new_order";
    /// Replacements that wait, and of which the new order has a stop now; locked.
    replacement_of_new = "select n.new_order, n.old_order from {rows} join replacements n on n.new_order = r.value ->> 0
        where n.state = 0 order by n.new_order {lock n}";
    /// Replacements that wait for the stops of these orders; locked.
    replacement_of_old = "select n.new_order, n.old_order from {rows} join replacements n on n.old_order = r.value ->> 0
        where n.state = 0 order by n.new_order {lock n}";
    /// Decides replacements that wait; guarded.
    replacement_decide = "update replacements as n set state = cast(r.value ->> 1 as bigint),
            decided_at = cast(r.value ->> 2 as bigint)
        from {rows} where n.new_order = r.value ->> 0 and n.state = 0";
    /// New orders behind one that were released and have no window yet, and then those that wait.
    replacement_to_join = "select n.new_order, n.state from replacements n
        where n.joined_at is null and n.state in (0, 1) and (n.state = 0 or n.new_order > $1)
        order by n.state desc, n.new_order limit $2";
    /// A new order has its window, or needs none.
    replacement_joined = "update replacements set joined_at = $2 where new_order = $1 and state = 1 and joined_at is null";
}
