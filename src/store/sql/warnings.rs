//! The statements of warnings before a cutoff, and of the calendars' links.

use crate::store::dialect::statements;

statements! {
    /// Statements of warnings and of calendars' links.
    Warnings:
    /// Where orders are in no batch that were not warned of a cutoff: a lab, a region, the cutoff.
    warn_due = "select {[}r.value ->> 0, r.value ->> 1{]} from {rows} where exists
            (select 1 from standings s where s.lab = r.value ->> 0 and s.batch is null and s.stop = 0 and s.outside is null)
        or exists (select 1 from standings s where s.lab = r.value ->> 0 and s.batch is null and s.stop = 0
            and s.outside = r.value ->> 1 and s.warned_until < cast(r.value ->> 2 as bigint))";
    /// Orders of a lab that are in no batch, and whose region nobody has looked up.
    warn_unplaced = "select s.id, o.region, o.document from standings s join orders o on o.id = s.id
        where s.lab = $1 and s.batch is null and s.stop = 0 and s.outside is null limit $2 {skip s}";
    /// Keeps their regions.
    warn_place = "update standings as s set outside = r.value ->> 1 from {rows} where s.id = r.value ->> 0";
    /// Nobody has looked up where the orders of a lab are collected.
    warn_lab_anew = "update standings set outside = null where id in
        (select s.id from standings s where s.lab = $1 and s.batch is null and s.stop = 0 and s.outside is not null
        order by s.id {lock s})";
    /// Nobody has looked up where an order is collected.
    warn_order_anew = "update standings set outside = null where id = $1 and outside is not null";
    /// Orders of a region that are in no batch and were not warned of a cutoff.
    warn_take = "select s.id, s.paid, s.held, s.head from standings s where s.lab = $1 and s.outside = $2
            and s.batch is null and s.stop = 0 and s.warned_until < $3 limit $4 {skip s}";
    /// Keeps of which cutoff they were warned, and continues their log.
    warn_mark = "update standings as s set warned_until = cast(r.value ->> 'until' as bigint), head = r.value ->> 'head'
        from {rows} where s.id = r.value ->> 'id' and s.head = r.value ->> 'was'";
    /// Orders that were warned of a cutoff after an instant and are still in no batch; of the unpaid ones, those
    /// from an id on. By the first of what holds them.
    warned = "select {[}q.lab, q.region, q.closes_at, q.paid, q.hold, q.orders{]} from
        (select w.lab, w.region, w.closes_at, w.paid, w.hold, count(*) as orders from
            (select s.lab, s.outside as region, s.warned_until as closes_at, s.paid,
                case when s.held = 0 then null else (select min(h.kind) from holds h
                    where h.order_id = s.id and h.released_at is null) end as hold
            from {rows} cross join standings s
            where s.lab = r.value ->> 0 and s.batch is null and s.stop = 0 and s.outside is not null
                and s.warned_until > $2 and (s.paid = 1 or s.id >= $3)) w
            group by w.lab, w.region, w.closes_at, w.paid, w.hold) q";
    /// The same orders of one lab by name, those that miss the first cutoff first.
    warned_orders = "select s.id, s.outside, s.warned_until from standings s
        where s.lab = $1 and s.batch is null and s.stop = 0 and s.outside is not null
            and s.warned_until > $2 and (s.paid = 1 or s.id >= $3) and (s.paid = 0 or s.held > 0)
        order by s.warned_until, s.id limit $4";
    /// How often the links of a region's calendar were taken back.
    calendar_serial = "select n.serial from calendar_serials n where n.lab = $1 and n.region = $2";
    /// Takes them back once more.
    calendar_serial_raise = "insert into calendar_serials (lab, region, serial) values ($1, $2, 1)
        on conflict (lab, region) do update set serial = calendar_serials.serial + 1";
    /// Only continues the log of a lab.
    lab_head = "update labs set head = $2 where id = $1 and head = $3";
    /// The first checkpoint from a number of the log on.
    checkpoint_from = "select c.at, c.seq, c.hash from checkpoints c where c.seq >= $1 order by c.seq limit 1";
    /// The last checkpoint before a number of the log.
    checkpoint_before = "select c.at, c.seq, c.hash from checkpoints c where c.seq < $1 order by c.seq desc limit 1";
    /// The hashes of the log after a number and up to another.
    hashes_between = "select e.seq, e.hash from events e where e.seq > $1 and e.seq <= $2 order by e.seq limit $3";
}
