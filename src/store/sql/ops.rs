//! The statements of the lists that ops look at: what waits, the most urgent first, and what transfers carry.

use crate::store::dialect::statements;

statements! {
    /// Statements of the lists of ops.
    Ops:
    /// Stops of all labs that wait, most urgent first, after one.
    stop_urgent = "select {stop}, p.platform, p.lab, o.reference from stops p join orders o on o.id = p.order_id
        where p.state in (1, 5) and ($1 = 0 or p.state = $1) and p.deadline_at >= $2
            and (p.deadline_at > $2 or p.id > $3) order by p.deadline_at, p.id limit $4";
    /// Open escalations, those first that are due first, after one.
    escalation_urgent = "select x.id, x.kind, x.subject, x.order_id, x.lab, x.cause, x.opened_at, x.due_at,
            x.resolved_at, x.decision, x.reason, x.resolved_by, x.evidence
        from escalations x
        where x.resolved_at is null and ($1 = '' or x.lab = $1) and x.due_at >= $2
            and (x.due_at > $2 or x.id > $3) order by x.due_at, x.id limit $4";
    /// How many orders wait in a batch, read under its lock: nobody joins it meanwhile.
    batch_waiting = "select count(*) from standings s where s.batch = $1 and s.transfer is null and s.stop = 0";
    /// Transfers of a batch without what they carry, in order, after one.
    transfer_page = "select {transfer}, t.idempotency_key, t.sha256, {items t.manifest} from transfers t
        where t.batch = $1 and t.id > $2 order by t.id limit $3";
    /// How many transfers a batch has.
    transfer_count = "select count(*) from transfers t where t.batch = $1";
    /// How many orders transfers have, and the first of these.
    transfer_orders = "select r.value ->> 0, (select count(*) from standings s where s.transfer = r.value ->> 0),
            (select {<}q.id, o.reference{>} from
                (select s.id from standings s where s.transfer = r.value ->> 0 order by s.id limit $2) q
                join orders o on o.id = q.id)
        from {rows}";
    /// Batches with their numbers.
    batch_list = "select {batch},
            (select count(*) from standings s where s.batch = b.id),
            (select count(*) from standings s where s.batch = b.id and s.stop = 2),
            (select count(*) from standings s where s.batch = b.id and s.transfer is null and s.stop = 0)
        from batches b where b.id < $1 and ($2 = -1 or b.phase = $2) order by b.id desc limit $3";
    /// The batches of a lab with their numbers.
    batch_list_lab = "select {batch},
            (select count(*) from standings s where s.batch = b.id),
            (select count(*) from standings s where s.batch = b.id and s.stop = 2),
            (select count(*) from standings s where s.batch = b.id and s.transfer is null and s.stop = 0)
        from batches b where b.lab = $4 and b.id < $1 and ($2 = -1 or b.phase = $2) order by b.id desc limit $3";
    /// One batch with its numbers.
    batch_one = "select {batch},
            (select count(*) from standings s where s.batch = b.id),
            (select count(*) from standings s where s.batch = b.id and s.stop = 2),
            (select count(*) from standings s where s.batch = b.id and s.transfer is null and s.stop = 0)
        from batches b where b.id = $1";
}
