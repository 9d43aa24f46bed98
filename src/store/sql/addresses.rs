//! Changes of shipping addresses that labs are asked for after the hand-over.

use crate::store::dialect::statements;

statements! {
    /// Statements about changes of addresses.
    Addresses:
    /// The changes of orders, oldest first; one that is open is the last.
    address_of_orders = "select {address} from {rows} join address_changes a on a.order_id = r.value ->> 0
        order by a.order_id, case when a.state in (0, 3) then 1 else 0 end, a.asked_at, a.decided_at, a.id";
    /// The order of a change, as a first look before locking.
    address_peek = "select a.order_id from address_changes a where a.id = $1";
    /// The address that is asked for.
    address_wanted = "select a.ship_to from address_changes a where a.id = $1";
    /// Asks for a change.
    address_insert = "insert into address_changes (id, order_id, lab, state, reason, ship_to, was, asked_at, deadline_at,
            next_at, attempts, unresolved)
        select r.value ->> 'id', r.value ->> 'order', r.value ->> 'lab', 0, r.value ->> 'reason', r.value ->> 'ship_to',
            r.value ->> 'was', cast(r.value ->> 'asked_at' as bigint), cast(r.value ->> 'deadline_at' as bigint),
            cast(r.value ->> 'next_at' as bigint), 0, 0
        from {rows} where true";
    /// Keeps how changes stand that were read under the locks of their orders.
    address_update = "update address_changes as a set state = cast(r.value ->> 'state' as bigint),
            evidence = r.value ->> 'evidence', next_at = cast(r.value ->> 'next_at' as bigint),
            attempts = cast(r.value ->> 'attempts' as bigint), unresolved = cast(r.value ->> 'unresolved' as bigint),
            ended = cast(r.value ->> 'ended' as bigint),
            decided_at = cast(r.value ->> 'decided_at' as bigint), answer = r.value ->> 'answer',
            contradicted_at = cast(r.value ->> 'contradicted_at' as bigint)
        from {rows} where a.id = r.value ->> 'id'";
    /// Changes of a lab that are due, with their orders locked; with `$4`, only those whose time is over.
    address_claim = "select {address}, a.ship_to, s.stage, s.stop, s.head, s.lines_out
        from address_changes a join standings s on s.id = a.order_id
        where a.state = 0 and a.next_at <= $2 and a.lab = $1 and ($4 = 0 or a.deadline_at <= $2)
        order by a.next_at, a.id limit $3 {skip a, s}";
    /// Which labs are to be asked now.
    address_due = "select distinct a.lab from address_changes a where a.state = 0 and a.next_at <= $1";
    /// When the next one is due.
    address_next = "select min(a.next_at) from address_changes a where a.state = 0 and a.next_at > $1";
    /// When the time of the next one is over.
    address_deadline = "select min(a.deadline_at) from address_changes a where a.state = 0 and a.deadline_at > $1";
    /// Nobody has to find out any more.
    address_resolved = "update escalations set resolved_at = $2, decision = $3, reason = $4, resolved_by = $5
        where subject = $1 and kind = 'address' and resolved_at is null";
    /// Takes out what people found out about them: their words may name an address.
    address_words_purge = "update escalations set reason = ''
        where reason is not null and kind in ('address', 'address_contradiction')
            and subject in (select a.id from {rows} join address_changes a on a.order_id = r.value ->> 0)";
    /// Takes out the addresses of orders, and what labs said of them.
    address_purge = "update address_changes as a set ship_to = null, was = null, answer = null, reason = ''
        from {rows} where a.order_id = r.value ->> 0";
}
