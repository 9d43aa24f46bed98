//! Every statement, once. The text is the same on both engines but for the holes of `dialect`.

mod addresses;
mod board;
mod changes;
mod downloads;
mod keys;
mod lines;
mod links;
mod ops;
mod retention;
mod routes;
mod sessions;
mod warnings;
mod webhooks;

use std::sync::LazyLock;

pub use self::addresses::Addresses;
pub use self::board::Board;
pub use self::changes::Changes;
pub use self::downloads::Downloads;
pub use self::keys::Keys;
pub use self::lines::Lines;
pub use self::links::Links;
pub use self::ops::Ops;
pub use self::retention::Retention;
pub use self::routes::Routes;
pub use self::sessions::Sessions;
pub use self::warnings::Warnings;
pub use self::webhooks::Webhooks;
pub use super::dialect::Dialect;
use super::dialect::statements;

impl Dialect {
    /// The statements in this dialect.
    #[must_use]
    pub fn statements(self) -> &'static Statements {
        static SQLITE: LazyLock<Statements> = LazyLock::new(|| Statements::new(Dialect::Sqlite));
        static POSTGRES: LazyLock<Statements> = LazyLock::new(|| Statements::new(Dialect::Postgres));
        match self {
            Self::Sqlite => &SQLITE,
            Self::Postgres => &POSTGRES,
        }
    }
}

statements! {
    /// The statement table.
    Statements {
        /// Changes of addresses that labs are asked for.
        addresses: Addresses,
        /// Holds, approvals, replacements.
        changes: Changes,
        /// Downloads.
        downloads: Downloads,
        /// Keys, and their second factors.
        keys: Keys,
        /// Stops of lines.
        lines: Lines,
        /// Signed links.
        links: Links,
        /// Routes, and windows that are full.
        routes: Routes,
        /// Signed-in browsers.
        sessions: Sessions,
        /// The board, scorecards, numbers.
        board: Board,
        /// The lists of ops.
        ops: Ops,
        /// Endpoints that are told what happens.
        webhooks: Webhooks,
        /// Warnings before a cutoff.
        warnings: Warnings,
        /// What is forgotten of orders.
        retention: Retention,
    }:
    // ---- events, escalations -------------------------------------------------------------------
    /// Appends entries of the log.
    event_insert = "{with id, at:int, lab, kind, actor, detail, previous, hash}
        insert into events (at, subject, lab, kind, actor, detail, previous, hash)
        select r.at, r.id, r.lab, r.kind, r.actor, r.detail, r.previous, r.hash
        from r where r.id is not null {in_order}";
    /// The log of some subjects.
    event_of_subjects = "select e.seq, e.at, e.subject, e.lab, e.kind, e.actor, e.detail, e.previous, e.hash
        from {rows} join events e on e.subject = r.value ->> 0 order by e.seq";
    /// The log after a number.
    event_after = "select e.seq, e.at, e.subject, e.lab, e.kind, e.actor, e.detail, e.previous, e.hash
        from events e where e.seq > $1 and e.seq <= $2 order by e.seq limit $3";
    /// Which of some subjects are orders that a platform, or anybody, has.
    event_orders = "select r.value ->> 0, o.id, o.platform from {rows} join orders o on o.id = r.value ->> 0
        where $2 = '' or o.platform = $2";
    /// Which orders of a platform, or of anybody, some transfers carry.
    event_orders_of_transfers = "select r.value ->> 0, o.id, o.platform from {rows} join standings s on s.transfer = r.value ->> 0
        join orders o on o.id = s.id where $2 = '' or o.platform = $2 order by o.id";
    /// The last number of the log, up to one.
    event_last = "select coalesce(max(e.seq), 0) from events e where e.seq <= $1";
    /// The hashes of the log after a number.
    event_hashes = "select e.seq, e.hash from events e where e.seq > $1 order by e.seq limit $2";
    /// Subjects whose newest entry, as their own row has it, is not in the log.
    event_heads_missing = "select h.id from
            (select s.id, s.head from standings s union all select t.id, t.head from transfers t
            union all select b.id, b.head from batches b union all select l.id, l.head from labs l
            union all select f.id, f.head from platforms f union all select w.id, w.head from webhooks w
            union all select 'routes_' || n.id, n.head from routes n) h
        where not exists (select 1 from events e where e.subject = h.id and e.hash = h.head) order by h.id limit $1";
    /// The last checkpoint. Not by its instant: gateways that waited for the log's lock, or for a database that was away,
    /// come in any order, and their clocks differ.
    checkpoint_last = "select c.at, c.seq, c.hash from checkpoints c order by c.seq desc limit 1";
    /// All checkpoints, as each continues the one before it.
    checkpoint_all = "select c.at, c.seq, c.hash from checkpoints c order by c.seq";
    /// Waits until every entry with a smaller number has committed, and lets none in before the commit.
    checkpoint_lock = "{lock_log}";
    /// Writes a checkpoint.
    checkpoint_insert = "insert into checkpoints (at, seq, hash) values ($1, $2, $3) on conflict do nothing";
    /// Opens escalations; one open one a subject and kind.
    escalation_insert = "insert into escalations (id, kind, subject, order_id, lab, cause, opened_at, due_at, evidence)
        select r.value ->> 'id', r.value ->> 'kind', r.value ->> 'subject', r.value ->> 'order', r.value ->> 'lab',
            r.value ->> 'cause', cast(r.value ->> 'opened_at' as bigint), cast(r.value ->> 'due_at' as bigint),
            r.value ->> 'evidence'
        from {rows} where true on conflict do nothing";
    /// One escalation, locked.
    escalation_lock = "select x.id, x.kind, x.subject, x.order_id, x.lab, x.cause, x.opened_at, x.due_at, x.resolved_at,
            x.decision, x.reason, x.resolved_by, x.evidence
        from escalations x where x.id = $1 {lock x}";
    /// Resolves an escalation.
    escalation_resolve = "update escalations set resolved_at = $2, decision = $3, reason = $4, resolved_by = $5
        where id = $1 and resolved_at is null";
    /// Resolves what was open about a subject.
    escalation_resolve_subject = "update escalations set resolved_at = $2, decision = $3, reason = $4, resolved_by = $5
        where subject = $1 and kind in ('stop', 'transfer') and resolved_at is null";
    /// Lists escalations.
    escalation_list = "select x.id, x.kind, x.subject, x.order_id, x.lab, x.cause, x.opened_at, x.due_at, x.resolved_at,
            x.decision, x.reason, x.resolved_by, x.evidence
        from escalations x
        where ($1 = '' or x.lab = $1) and ($2 = '' or x.id = $2) and ($3 = '' or x.id < $3)
            and ($4 = -1 or ($4 = 1 and x.resolved_at is null) or ($4 = 0 and x.resolved_at is not null))
        order by x.id desc limit $5";
    /// The contradictions about subjects, oldest first.
    escalation_of_subjects = "select x.id, x.kind, x.subject, x.order_id, x.lab, x.cause, x.opened_at, x.due_at,
            x.resolved_at, x.decision, x.reason, x.resolved_by, x.evidence
        from {rows} join escalations x on x.subject = r.value ->> 0
        where x.kind in ('shipped_anyway', 'contradiction') order by x.id";

    // ---- admission -----------------------------------------------------------------------------
    /// Finds the batches of windows, and keeps them from closing until the commit.
    batch_of_windows = "select {[}{batch}, b.head{]}
        from {rows} join batches b on b.lab = r.value ->> 'lab' and b.region = r.value ->> 'region'
            and b.window_at = cast(r.value ->> 'window_at' as bigint) and b.direct = 0
        order by b.id {share b}";
    /// Opens batches.
    batch_insert = "insert into batches (id, lab, region, direct, phase, opens_at, window_at, closes_at, closes_at_local,
            production_date, rule, time_zone, tzdata, promised, version, head)
        select r.value ->> 'id', r.value ->> 'lab', r.value ->> 'region', cast(r.value ->> 'direct' as bigint), 0,
            cast(r.value ->> 'opens_at' as bigint), cast(r.value ->> 'window_at' as bigint),
            cast(r.value ->> 'window_at' as bigint), r.value ->> 'closes_at_local', r.value ->> 'production_date',
            r.value ->> 'rule', r.value ->> 'time_zone', r.value ->> 'tzdata', cast(r.value ->> 'promised' as bigint), 1,
            r.value ->> 'head'
        from {rows} where true on conflict do nothing returning id";
    /// Admits orders; a known reference inserts nothing.
    order_insert = "{with id, platform, lab, region, reference, document, sha256, at:int}
        insert into orders (id, platform, lab, region, reference, document, sha256, admitted_at)
        select r.id, r.platform, r.lab, r.region, r.reference, r.document, r.sha256, r.at
        from r where r.id is not null {in_order} on conflict do nothing";
    /// Takes orders back whose window had closed, within the transaction that inserted them.
    order_withdraw = "delete from orders where id in (select r.value ->> 0 from {rows})";
    /// The orders of references.
    order_of_references = "select {[}o.id, o.platform, o.reference, o.sha256{]}
        from {rows} join orders o on o.platform = r.value ->> 'platform' and o.reference = r.value ->> 'reference'";
    /// Gives orders their standing.
    standing_insert = "{with id, lab, batch, paid:int, head}
        insert into standings (id, lab, batch, transfer, paid, held, stage, stop, version, head)
        select r.id, r.lab, r.batch, null, r.paid, 0, 0, 0, 1, r.head from r where r.id is not null";

    // ---- stops and changes ---------------------------------------------------------------------
    /// Locks orders where stops and claims meet, and reads what decides.
    standing_lock = "select s.id, s.lab, s.batch, s.transfer, s.paid, s.held, s.stage, s.stop, s.version, s.head, o.platform, o.admitted_at, s.lines_out
        from {rows} join standings s on s.id = r.value ->> 0 join orders o on o.id = s.id
        order by s.id {lock s}";
    /// The transfer of an order, as a first look before locking.
    standing_peek = "select s.transfer from standings s where s.id = $1";
    /// Locks the orders of transfers that have an open question.
    standing_lock_asked = "select s.id, s.head, s.lines_out
        from {rows} join standings s on s.transfer = r.value ->> 0
        where s.stop in (1, 5) order by s.id {lock s}";
    /// Moves standings; guarded by the version that was read under the lock.
    standing_update = "update standings as s set batch = r.value ->> 'batch', paid = cast(r.value ->> 'paid' as bigint),
            held = cast(r.value ->> 'held' as bigint), stage = cast(r.value ->> 'stage' as bigint),
            stop = cast(r.value ->> 'stop' as bigint), version = cast(r.value ->> 'version' as bigint),
            transfer = r.value ->> 'transfer', head = r.value ->> 'head'
        from {rows} where s.id = r.value ->> 'id' and s.head = r.value ->> 'was'";
    /// Changes only what stops change of standings; what is null stays.
    standing_stop = "update standings as s set stop = coalesce(cast(r.value ->> 'stop' as bigint), s.stop),
            lines_out = coalesce(r.value ->> 'lines_out', s.lines_out), version = s.version + 1, head = r.value ->> 'head'
        from {rows} where s.id = r.value ->> 'id' and s.head = r.value ->> 'was'";
    /// How far a lab is with orders, by its answers to their stops.
    standing_stage = "update standings as s set stage = cast(r.value ->> 1 as bigint)
        from {rows} where s.id = r.value ->> 0 and s.stage < cast(r.value ->> 1 as bigint)";
    /// The stops of orders.
    stop_of_orders = "select {stop} from {rows} join stops p on p.order_id = r.value ->> 0 where p.superseded_at is null";
    /// One stop with its order's transfer, as a first look before locking.
    stop_peek = "select p.order_id, p.lab, s.transfer from stops p join standings s on s.id = p.order_id where p.id = $1";
    /// One stop, locked.
    stop_lock = "select {stop} from stops p where p.id = $1 {lock p}";
    /// Moves stops that were read under the order's lock.
    stop_update = "update stops as p set state = cast(r.value ->> 'state' as bigint), evidence = r.value ->> 'evidence',
            decided_at = cast(r.value ->> 'decided_at' as bigint), next_at = cast(r.value ->> 'next_at' as bigint),
            attempts = cast(r.value ->> 'attempts' as bigint), delivered_at = cast(r.value ->> 'delivered_at' as bigint),
            handed_at = cast(r.value ->> 'handed_at' as bigint), answer = r.value ->> 'answer',
            terms = coalesce(r.value ->> 'terms', p.terms)
        from {rows} where p.id = r.value ->> 'id' and p.state = cast(r.value ->> 'was' as bigint)";
    /// Sets a stop aside after its order was reinstated.
    stop_supersede = "update stops set superseded_at = $2 where order_id = $1 and superseded_at is null";
    /// Wakes the pending stops of transfers.
    stop_wake = "update stops set next_at = $2 where state = 1 and next_at > $2 and order_id in
        (select s.id from {rows} join standings s on s.transfer = r.value ->> 0 where s.stop = 1)";
    /// What a lab reported of an order, as it came.
    report_of_order = "select q.stage, q.reported_at, q.received_at, q.reference, q.actor, q.contrary from reports q
        where q.order_id = $1 order by q.nth";
    /// Keeps a report.
    report_insert = "insert into reports (order_id, nth, stage, reported_at, received_at, reference, actor, contrary)
        select r.value ->> 'order', cast(r.value ->> 'nth' as bigint), cast(r.value ->> 'stage' as bigint),
            cast(r.value ->> 'reported_at' as bigint), cast(r.value ->> 'received_at' as bigint),
            r.value ->> 'reference', r.value ->> 'actor', cast(r.value ->> 'contrary' as bigint)
        from {rows}";
    /// Orders of a transfer that were told stopped because it was taken to be absent.
    stopped_of_transfer = "select s.id from standings s join stops p on p.order_id = s.id
        where s.transfer = $1 and s.stop = 2 and p.superseded_at is null and p.evidence = 'never_handed'
        order by s.id limit 100";
    /// Replaces a stored submission.
    order_document = "update orders set document = $2 where id = $1";

    // ---- closing and handing over --------------------------------------------------------------
    /// The batches that are due.
    batch_due = "select {batch}, b.head from batches b where b.phase = 0 and b.closes_at <= $1
        order by b.closes_at, b.id limit $2 {skip b}";
    /// One batch, locked.
    batch_lock = "select {batch}, b.head from batches b where b.id = $1 {lock b}";
    /// Moves batches; guarded by the phase and version that were read under the lock.
    batch_update = "update batches as b set phase = cast(r.value ->> 'phase' as bigint),
            closes_at = cast(r.value ->> 'closes_at' as bigint), closes_at_local = r.value ->> 'closes_at_local',
            window_at = cast(r.value ->> 'window_at' as bigint), production_date = r.value ->> 'production_date',
            rule = r.value ->> 'rule', tzdata = r.value ->> 'tzdata', time_zone = r.value ->> 'time_zone',
            closed_at = cast(r.value ->> 'closed_at' as bigint), version = b.version + 1, head = r.value ->> 'head'
        from {rows} where b.id = r.value ->> 'id' and b.head = r.value ->> 'was'";
    /// Whether another batch has a window.
    batch_window_taken = "select count(*) from batches b where b.lab = $1 and b.region = $2 and b.window_at = $3
        and b.direct = 0 and b.id <> $4";
    /// Closed batches of a lab in which nobody waits any more, and how many transfers each has.
    batch_drained = "select {batch}, b.head, (select count(*) from transfers t where t.batch = b.id)
        from batches b where b.lab = $1 and b.phase = 1 and not exists
            (select 1 from standings s where s.batch = b.id and s.transfer is null and s.stop = 0)
        order by b.id limit $2 {skip b}";
    /// Takes orders of labs' closed batches that are in no transfer yet, so many of each lab. Within a batch
    /// they come as its index has them, by id: asked for, that order would make PostgreSQL sort all that wait.
    claim_fresh = "select r.value ->> 0, (select {<}q.id, q.batch, o.platform, o.reference, o.region, o.document, q.lines_out{>} from
            (select s.id, s.batch, s.lines_out from batches b join standings s on s.batch = b.id
            where b.lab = r.value ->> 0 and b.phase = 1 and s.transfer is null and s.stop = 0 and {ended} <= $3
            order by b.closes_at, b.id limit $2 {skip s}) q
            join orders o on o.id = q.id)
        from {rows}";
    /// Which labs have closed batches that not every gateway is clear of.
    claim_behind = "select {[}r.value ->> 0{]} from {rows} where exists (select 1 from batches b
        where b.lab = r.value ->> 0 and b.phase = 1 and {ended} > $2)";
    /// Until when every other gateway that is alive has its stops in here.
    replica_clear = "select min(h.clear_until) from replicas h where h.id <> $1 and h.seen_at > $2";
    /// Which labs have transfers that are due: nearly always none.
    claim_due_labs = "select {[}r.value ->> 0{]} from {rows} where exists (select 1 from transfers t
        where t.lab = r.value ->> 0 and t.phase in (0, 2) and t.next_at <= cast(r.value ->> 1 as bigint))";
    /// Takes transfers of a lab that are due: fallen back, or unknown; with `$4`, only those whose time is over.
    claim_due = "select {transfer}, t.idempotency_key, t.sha256, t.manifest, t.head from transfers t
        where t.lab = $1 and t.phase in (0, 2) and t.next_at <= $2 and ($4 = 0 or t.deadline_at <= $2)
        order by t.next_at, t.id limit $3 {skip t}";
    /// Records the intent to send.
    transfer_insert = "{with id, lab, batch, phase:int, attempts:int, unresolved:int, key, sha256, manifest, first_at:int,
            horizon_at:int, key_until:int, deadline_at:int, next_at:int, lease_until:int, holder, head}
        insert into transfers (id, lab, batch, phase, fence, attempts, unresolved, idempotency_key, sha256,
            manifest, first_at, horizon_at, key_until, deadline_at, next_at, lease_until, holder, version, head)
        select r.id, r.lab, r.batch, r.phase, 1, r.attempts, r.unresolved, r.key, r.sha256, r.manifest, r.first_at,
            r.horizon_at, r.key_until, r.deadline_at, r.next_at, r.lease_until, r.holder, 1, r.head
        from r where r.id is not null";
    /// Puts orders into their transfer; guarded: alive and in none.
    standing_join_transfer = "{with id, transfer} update standings as s set transfer = r.transfer
        from r where s.id = r.id and s.transfer is null and s.stop = 0";
    /// The orders of a transfer that are alive, locked. What they say is read afterwards: a statement that waits for a
    /// lock reads what it locks anew, and what it joins as it was before.
    standing_alive = "select s.id from standings s where s.transfer = $1 and s.stop = 0 order by s.id {lock s}";
    /// The orders of a frozen manifest, to build its bytes again.
    order_entries = "select o.id, o.id, o.platform, o.reference, o.region, o.document, s.lines_out
        from {rows} join orders o on o.id = r.value ->> 0 join standings s on s.id = o.id order by r.key";
    /// Transfers by id, locked.
    transfer_lock = "select {[}{transfer}, t.idempotency_key, t.sha256, t.manifest, t.head{]}
        from {rows} join transfers t on t.id = r.value ->> 0 order by t.id {lock t}";
    /// Transfers by id, as committed now.
    transfer_read = "select {transfer} from {rows} join transfers t on t.id = r.value ->> 0";
    /// Moves transfers; guarded by the phase and the fence that were read under the lock.
    transfer_update = "update transfers as t set phase = cast(r.value ->> 'phase' as bigint),
            fence = cast(r.value ->> 'fence' as bigint), attempts = cast(r.value ->> 'attempts' as bigint),
            unresolved = cast(r.value ->> 'unresolved' as bigint), idempotency_key = r.value ->> 'key',
            sha256 = r.value ->> 'sha256', manifest = r.value ->> 'manifest',
            horizon_at = cast(r.value ->> 'horizon_at' as bigint), key_until = cast(r.value ->> 'key_until' as bigint),
            deadline_at = cast(r.value ->> 'deadline_at' as bigint), next_at = cast(r.value ->> 'next_at' as bigint),
            lease_until = cast(r.value ->> 'lease_until' as bigint), holder = r.value ->> 'holder',
            handed_at = cast(r.value ->> 'handed_at' as bigint), version = t.version + 1, head = r.value ->> 'head'
        from {rows} where t.id = r.value ->> 'id' and t.head = r.value ->> 'was'
            and t.phase = cast(r.value ->> 'was_phase' as bigint) and t.fence = cast(r.value ->> 'was_fence' as bigint)";
    /// Only says when to look again at a transfer; nothing about it changes.
    transfer_next = "update transfers as t set next_at = cast(r.value ->> 1 as bigint)
        from {rows} where t.id = r.value ->> 0";
    /// Settles transfers that the lab has: the common end, in narrow rows.
    transfer_at_lab = "{with id, at:int, head, was, was_phase:int, was_fence:int}
        update transfers as t set phase = 3, unresolved = 0, handed_at = r.at, version = t.version + 1, head = r.head
        from r where t.id = r.id and t.head = r.was and t.phase = r.was_phase and t.fence = r.was_fence";
    /// Transfers whose sender's lease has run out.
    transfer_lease_over = "select {transfer}, t.idempotency_key, t.sha256, t.manifest, t.head from transfers t
        where t.phase = 1 and t.lease_until <= $1 order by t.lease_until, t.id limit $2 {skip t}";
    /// Transfers of senders that cannot be alive: this is the only process.
    transfer_orphans = "select {transfer}, t.idempotency_key, t.sha256, t.manifest, t.head from transfers t
        where t.phase = 1 and t.holder <> $1 order by t.lease_until, t.id limit $2 {skip t}";

    // ---- other gateways ------------------------------------------------------------------------
    /// Says until when a gateway has every stop that it was asked in here.
    replica_put = "insert into replicas (id, clear_until, seen_at) values ($1, $2, $3)
        on conflict (id) do update set clear_until = excluded.clear_until, seen_at = excluded.seen_at";
    /// Forgets a gateway that leaves, and those that are long gone.
    replica_forget = "delete from replicas where id = $1 or seen_at < $2";
    /// How many other gateways are alive.
    replica_others = "select count(*) from replicas h where h.id <> $1 and h.seen_at > $2";

    // ---- the first phase of labs that have two ---------------------------------------------------
    /// Orders of an open batch that its lab was not sent ahead.
    import_fresh = "select s.id from standings s where s.batch = $1 and s.transfer is null and s.stop = 0 and s.id > $2
        and s.lines_out is null and not exists (select 1 from imports i where i.order_id = s.id) order by s.id limit $3";
    /// Orders that a lab may hold, and that are not going to be handed over as it stands.
    import_stray = "select i.order_id from imports i join standings s on s.id = i.order_id
        where i.lab = $1 and i.state in (0, 1) and i.closes_at > $2 and s.transfer is null
            and (s.stop = 2 or s.batch is null or s.lines_out is not null)
        order by i.closes_at, i.order_id limit $3";
    /// Records the intent to send orders ahead; what was sent before is not sent again.
    import_insert = "insert into imports (order_id, lab, state, closes_at, asked_at)
        select r.value ->> 'order', r.value ->> 'lab', 0, cast(r.value ->> 'closes_at' as bigint), cast(r.value ->> 'at' as bigint)
        from {rows} where true on conflict do nothing returning order_id";
    /// What became of orders that were sent ahead.
    import_state = "update imports as i set state = cast(r.value ->> 1 as bigint) from {rows} where i.order_id = r.value ->> 0 and i.state in (0, 1)";
    /// What was heard of orders that were sent ahead, and whether they were taken back since.
    import_told = "select e.subject, e.kind, e.detail from {rows} join events e on e.subject = r.value ->> 0
        where e.kind in ('order.ahead', 'order.taken_back') order by e.seq";
    /// Forgets them.
    import_forget = "delete from imports where closes_at < $1";
    /// Only continues the log of orders.
    standing_head = "update standings as s set head = r.value ->> 'head'
        from {rows} where s.id = r.value ->> 'id' and s.head = r.value ->> 'was'";

    // ---- forwarding stops ----------------------------------------------------------------------
    /// Stops of a lab that are due, with their orders locked; with `$4`, only those whose time is over.
    claim_stops = "select {stop}, s.stage, s.stop, s.head, s.lines_out, {transfer}
        from stops p join standings s on s.id = p.order_id left join transfers t on t.id = s.transfer
        where p.lab = $1 and p.state = 1 and p.next_at <= $2 and ($4 = 0 or p.deadline_at <= $2)
        order by p.next_at, p.id limit $3 {skip p, s}";

    // ---- mail to the people of labs ------------------------------------------------------------
    /// Open stops of labs, with orders that they have, about which no mail is planned.
    mail_wanted = "select {stop}, p.lab, o.region from stops p
            join orders o on o.id = p.order_id join standings s on s.id = p.order_id join transfers t on t.id = s.transfer
        where p.lab in (select r.value ->> 0 from {rows}) and p.state in (1, 5) and t.phase = 3 and not exists (select 1 from mails m where m.stop = p.id)
        order by p.deadline_at, p.id limit $2";
    /// Plans mails.
    mail_insert = "insert into mails (stop, step, order_id, lab, state, attempts, unclear, next_at)
        select r.value ->> 'stop', cast(r.value ->> 'step' as bigint), r.value ->> 'order', r.value ->> 'lab', 0, 0, 0,
            cast(r.value ->> 'at' as bigint)
        from {rows} where true on conflict do nothing";
    /// Mails that are due, with how their stops stand.
    mail_claim = "select m.stop, m.step, m.order_id, m.lab, m.state, m.attempts, m.unclear, p.state
        from mails m join stops p on p.id = m.stop where m.state in (0, 1) and m.next_at <= $1
        order by m.next_at, m.stop, m.step limit $2 {skip m}";
    /// One mail, locked.
    mail_lock = "select m.state, m.attempts, m.unclear from mails m where m.stop = $1 and m.step = $2 {lock m}";
    /// Moves mails that were read under their lock.
    mail_update = "update mails as m set state = cast(r.value ->> 'state' as bigint),
            attempts = cast(r.value ->> 'attempts' as bigint), unclear = cast(r.value ->> 'unclear' as bigint),
            next_at = cast(r.value ->> 'next_at' as bigint), ended_at = cast(r.value ->> 'ended_at' as bigint)
        from {rows} where m.stop = r.value ->> 'stop' and m.step = cast(r.value ->> 'step' as bigint)";
    /// When the next mail is due.
    mail_next = "select min(m.next_at) from mails m where m.state in (0, 1)";

    // ---- the registry --------------------------------------------------------------------------
    /// One lab, locked.
    lab_lock = "select l.id, l.spec, l.version, l.paused_at, l.pause_reason, l.updated_at, l.deleted_at, l.head
        from labs l where l.id = $1 {lock l}";
    /// A new lab.
    lab_insert = "insert into labs (id, spec, version, updated_at, head) values ($1, $2, 1, $3, $4) on conflict do nothing";
    /// Another definition.
    lab_update = "update labs set spec = $2, version = version + 1, updated_at = $3, deleted_at = null, head = $4 where id = $1";
    /// Pauses, resumes, deletes.
    lab_set = "update labs as l set paused_at = cast(r.value ->> 'paused_at' as bigint), pause_reason = r.value ->> 'pause_reason',
            deleted_at = cast(r.value ->> 'deleted_at' as bigint), version = l.version + 1, head = r.value ->> 'head',
            updated_at = cast(r.value ->> 'at' as bigint)
        from {rows} where l.id = r.value ->> 'id'";
    /// What of a lab is not at an end: orders that were neither handed over nor stopped, and transfers whose
    /// end is not known.
    lab_waiting = "select (select count(*) from standings s where s.lab = $1 and s.stop in (0, 1) and s.transfer is null)
        + (select count(*) from transfers t where t.lab = $1 and t.phase in (0, 1, 2, 5))
        + (select count(*) from stops p where p.lab = $1 and p.state in (1, 5))
        + (select count(*) from approvals a where a.lab = $1 and a.state = 0 and a.held = 0)
        + (select count(*) from address_changes c where c.lab = $1 and c.state = 0)
        + (select count(*) from escalations x where x.lab = $1 and x.resolved_at is null)";
    /// All labs.
    lab_list = "select l.id, l.spec, l.version, l.paused_at, l.pause_reason, l.updated_at from labs l
        where l.deleted_at is null order by l.id";
    /// The definitions of some labs.
    lab_specs = "select l.id, l.spec from {rows} join labs l on l.id = r.value ->> 0";
    /// One platform, locked.
    platform_lock = "select f.spec, f.version, f.head from platforms f where f.id = $1 {lock f}";
    /// A new platform, or another definition.
    platform_put = "insert into platforms (id, spec, version, updated_at, head) values ($1, $2, 1, $3, $4)
        on conflict (id) do update set spec = excluded.spec, version = platforms.version + 1,
            updated_at = excluded.updated_at, head = excluded.head
            where platforms.head = $5";
    /// All platforms.
    platform_list = "select f.id, f.spec, f.version from platforms f order by f.id";
    /// Remembers an answer.
    remember = "insert into remembered (scope, idempotency_key, fingerprint, status, body, created_at)
        values ($1, $2, $3, $4, $5, $6) on conflict do nothing";
    /// Forgets old answers.
    forget = "delete from remembered where created_at < $1";
    /// A remembered answer.
    remembered = "select m.scope, m.idempotency_key, m.fingerprint, m.status, m.body, m.created_at
        from remembered m where m.scope = $1 and m.idempotency_key = $2";

    // ---- reads ---------------------------------------------------------------------------------
    /// Orders by id.
    order_by_id = "select {order} from {rows} join orders o on o.id = r.value ->> 0 {order_joins}";
    /// One order by id: the hot read.
    order_one = "select {[}{order}{]} from orders o {order_joins} where o.id = $1";
    /// One order by the platform's reference.
    order_one_reference = "select {[}{order}{]} from orders o {order_joins} where o.platform = $1 and o.reference = $2";
    /// All orders, newest first.
    order_list = "select {order} from orders o {order_joins}
        where o.id < $1 and ($2 = '' or o.lab = $2) and ($3 = '' or o.region = $3) order by o.id desc limit $4";
    /// The orders of a platform, newest first.
    order_list_platform = "select {order} from orders o {order_joins}
        where o.platform = $5 and o.id < $1 and ($2 = '' or o.lab = $2) and ($3 = '' or o.region = $3)
        order by o.id desc limit $4";
    /// The orders of a batch, newest first.
    order_list_batch = "select {order} from standings z join orders o on o.id = z.id {order_joins}
        where z.batch = $5 and z.id < $1 and ($2 = '' or o.lab = $2) and ($3 = '' or o.region = $3)
        order by z.id desc limit $4";
    /// The open batches of a lab.
    batch_open_of_lab = "select {batch} from batches b where b.lab = $1 and b.phase = 0 order by b.closes_at, b.id";
    /// The open batches of all labs, but for those of orders that go alone.
    batch_open = "select {batch} from batches b where b.phase = 0 and b.direct = 0 order by b.closes_at, b.id";
    /// The transfers of a batch.
    transfer_of_batch = "select {transfer}, t.idempotency_key, t.sha256, t.manifest, t.head from transfers t
        where t.batch = $1 order by t.id";
    /// Stops with their orders, newest first.
    stop_list = "select {stop}, p.platform, p.lab, o.reference from stops p join orders o on o.id = p.order_id
        where p.id < $1 order by p.id desc limit $2";
    /// Those in one state.
    stop_list_state = "select {stop}, p.platform, p.lab, o.reference from stops p join orders o on o.id = p.order_id
        where p.state = $3 and p.id < $1 order by p.id desc limit $2";
    /// Those of a lab.
    stop_list_lab = "select {stop}, p.platform, p.lab, o.reference from stops p join orders o on o.id = p.order_id
        where p.lab = $3 and p.id < $1 order by p.id desc limit $2";
    /// Those of a lab in one state: its inbox.
    stop_list_lab_state = "select {stop}, p.platform, p.lab, o.reference from stops p join orders o on o.id = p.order_id
        where p.lab = $3 and p.state = $4 and p.id < $1 order by p.id desc limit $2";
    /// Those that wait for a lab, most urgent first, after one.
    stop_list_urgent = "select {stop}, p.platform, p.lab, o.reference from stops p join orders o on o.id = p.order_id
        where p.lab = $1 and p.state in (1, 5) and ($2 = 0 or p.state = $2)
            and (p.deadline_at > $3 or (p.deadline_at = $3 and p.id > $4)) order by p.deadline_at, p.id limit $5";
    /// Those of a platform.
    stop_list_platform = "select {stop}, p.platform, p.lab, o.reference from stops p join orders o on o.id = p.order_id
        where p.platform = $3 and ($4 = 0 or p.state = $4) and p.id < $1 order by p.id desc limit $2";
    /// One stop with its order.
    stop_one = "select {stop}, p.platform, p.lab, o.reference from stops p join orders o on o.id = p.order_id
        where p.id = $1";
    /// How stops ended that a lab was asked about between two spans after the hand-over.
    odds = "select count(*), coalesce(sum(case when p.state = 2 then 1 else 0 end), 0)
        from stops p where p.lab = $1 and p.handed_at is not null and p.decided_at is not null and p.state in (2, 3, 4)
            and p.items is null and p.asked_at - p.handed_at between $2 and $3";
    /// The next cutoff.
    due_at = "select (select min(b.closes_at) from batches b where b.phase = 0), \
        (select min(t.next_at) from transfers t where t.phase in (0, 2) and t.next_at > $1), \
        (select min(t.lease_until) from transfers t where t.phase = 1), \
        (select min(p.next_at) from stops p where p.state = 1 and p.next_at > $1)";
    /// Labs that have orders to hand over and are not paused.
    due_fresh = "select distinct b.lab from batches b join labs l on l.id = b.lab where b.phase = 1 and l.paused_at is null";
    /// Labs that have transfers to send again or to resolve.
    due_transfers = "select distinct t.lab from transfers t where t.phase in (0, 2) and t.next_at <= $1";
    /// Labs that have stops to forward.
    due_stops = "select distinct p.lab from stops p where p.state = 1 and p.next_at <= $1";
    /// When the time of the next stop is over.
    deadline_stop = "select min(p.deadline_at) from stops p where p.state = 1 and p.deadline_at > $1";
    /// When the time of the next transfer is over.
    deadline_transfer = "select min(t.deadline_at) from transfers t where t.phase in (0, 2) and t.deadline_at > $1";
    /// Whether the store answers.
    ping = "select 1";
}
