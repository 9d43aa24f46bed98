//! Webhooks: endpoints, their leases, and what became of messages. `order_id` is empty where a message is about no
//! order.

use crate::store::dialect::statements;

statements! {
    /// Statements about webhooks.
    Webhooks:
    /// A new endpoint.
    webhook_insert = "insert into webhooks (id, platform, spec, enabled, secret, version, created_at, updated_at, head,
            cursor, taken, holder, lease_until, fence, failures, delivered)
        values ($1, $2, $3, $4, $5, 1, $6, $6, $7, $8, $8, '', 0, 0, 0, 0)";
    /// How many endpoints a platform has.
    webhook_count = "select count(*) from webhooks w where w.platform = $1 and w.deleted_at is null";
    /// One endpoint, locked.
    webhook_lock = "select {webhook}, w.fence, w.head from webhooks w
        where w.id = $1 and w.deleted_at is null {lock w}";
    /// Endpoints, by id.
    webhook_list = "select {webhook} from webhooks w
        where w.deleted_at is null and ($1 = '' or w.platform = $1) and w.id > $2 order by w.id limit $3";
    /// One endpoint.
    webhook_one = "select {webhook} from webhooks w where w.id = $1 and w.deleted_at is null and ($2 = '' or w.platform = $2)";
    /// Another definition; whoever switches an endpoint on gives it a fresh start.
    webhook_set = "update webhooks set spec = $2, enabled = cast($3 as bigint), version = version + 1, updated_at = $4, head = $5,
            off_at = case when cast($3 as bigint) = 1 then null else off_at end,
            off_cause = case when cast($3 as bigint) = 1 then null else off_cause end,
            failures = case when cast($3 as bigint) = 1 then 0 else failures end, rest_until = null,
            failing_since = case when cast($3 as bigint) = 1 then null else failing_since end
        where id = $1";
    /// Another secret.
    webhook_rotate = "update webhooks set old_secret = secret, old_until = $3, secret = $2, version = version + 1,
            updated_at = $4, head = $5 where id = $1";
    /// The gateway switches it off.
    webhook_off = "update webhooks set enabled = 0, off_at = $2, off_cause = $3, version = version + 1, head = $4
        where id = $1";
    /// It is forgotten, with its secrets.
    webhook_delete = "update webhooks set deleted_at = $2, enabled = 0, secret = '', old_secret = null, version = version + 1,
            head = $3 where id = $1";
    /// Only continues its log.
    webhook_head = "update webhooks set head = $2 where id = $1";
    /// What is to be sent once more.
    webhook_replay = "update webhooks set replay_after = $2, replay_until = $3 where id = $1";
    /// How far that is; not if it was changed since.
    webhook_replayed = "update webhooks set replay_after = $4, replay_until = $5
        where id = $1 and replay_after = $2 and replay_until = $3";
    /// Takes an endpoint that was locked.
    webhook_claim = "update webhooks set holder = $2, lease_until = $3, fence = fence + 1, taken = $4 where id = $1";
    /// Says how far endpoints are; those that were taken by others since are left out.
    webhook_settle = "update webhooks as w set cursor = cast(r.value ->> 'cursor' as bigint),
            taken = cast(r.value ->> 'taken' as bigint), holder = r.value ->> 'keeps',
            lease_until = cast(r.value ->> 'lease_until' as bigint), failures = cast(r.value ->> 'failures' as bigint),
            failing_since = cast(r.value ->> 'failing_since' as bigint),
            rest_until = cast(r.value ->> 'rest_until' as bigint),
            delivered = w.delivered + cast(r.value ->> 'delivered' as bigint),
            delivered_at = coalesce(cast(r.value ->> 'delivered_at' as bigint), w.delivered_at),
            failed_at = coalesce(cast(r.value ->> 'failed_at' as bigint), w.failed_at),
            failed_cause = coalesce(r.value ->> 'failed_cause', w.failed_cause)
        from {rows} where w.id = r.value ->> 'id' and w.holder = r.value ->> 'holder'
            and w.fence = cast(r.value ->> 'fence' as bigint) and w.deleted_at is null
        returning id, version, enabled, replay_after, replay_until, due_at";
    /// Moves cursors over what concerns nobody; not while somebody has the endpoint.
    webhook_skip = "update webhooks as w set cursor = cast(r.value ->> 'to' as bigint),
            taken = cast(r.value ->> 'to' as bigint)
        from {rows} where w.id = r.value ->> 'id' and w.version = cast(r.value ->> 'version' as bigint)
            and w.cursor = cast(r.value ->> 'from' as bigint) and w.taken <= w.cursor
            and (w.holder = '' or w.lease_until <= cast(r.value ->> 'now' as bigint))";
    /// When the next message of endpoints is due.
    webhook_due = "update webhooks as w set due_at =
            (select min(d.next_at) from deliveries d where d.webhook = w.id and d.state = 0)
        from {rows} where w.id = r.value ->> 0 returning id, due_at";

    /// What became of messages. The first that waits stays the first.
    delivery_put = "{with id, seq:int, order_id, kind, state:int, attempts:int, next_at:int, first_at:int, ended_at:int,
            status:int, took_ms:int, cause, answer, body}
        insert into deliveries (webhook, seq, order_id, kind, state, attempts, next_at, first_at, ended_at, status, took_ms,
            cause, answer, body)
        select r.id, r.seq, r.order_id, r.kind, r.state, r.attempts, r.next_at, r.first_at, r.ended_at, r.status,
            r.took_ms, r.cause, r.answer, r.body
        from r where r.id is not null
        on conflict (webhook, seq, order_id) do update set state = excluded.state, attempts = excluded.attempts,
            next_at = excluded.next_at, ended_at = excluded.ended_at, status = excluded.status,
            took_ms = excluded.took_ms, cause = excluded.cause, answer = excluded.answer, body = excluded.body
            where not (deliveries.state = 0 and excluded.state = 1)";
    /// Messages of an endpoint that are due, earliest first.
    delivery_due = "select d.seq, d.order_id, d.kind, d.attempts, d.first_at, d.body from deliveries d
        where d.webhook = $1 and d.state = 0 and d.next_at <= $2 order by d.next_at, d.seq limit $3";
    /// Takes them to be sent.
    delivery_take = "update deliveries as d set attempts = d.attempts + 1, next_at = cast(r.value ->> 3 as bigint)
        from {rows} where d.webhook = r.value ->> 0 and d.seq = cast(r.value ->> 1 as bigint)
            and d.order_id = r.value ->> 2";
    /// The first that waits behind another is due, for orders where that one has ended.
    delivery_next = "update deliveries as d set state = 0, next_at = cast(r.value ->> 2 as bigint)
        from {rows} where d.webhook = r.value ->> 0 and d.order_id = r.value ->> 1 and d.state = 1
            and d.seq = (select min(x.seq) from deliveries x where x.webhook = r.value ->> 0
                and x.order_id = r.value ->> 1 and x.state in (0, 1))";
    /// Of which of some orders a message waits.
    delivery_still = "select r.value ->> 0, r.value ->> 1 from {rows} where exists (select 1 from deliveries d
        where d.webhook = r.value ->> 0 and d.order_id = r.value ->> 1 and d.state in (0, 1))";
    /// The orders of which a message waits, and the number of the first.
    delivery_open = "select d.order_id, min(d.seq) from deliveries d where d.webhook = $1 and d.state in (0, 1)
        group by d.order_id";
    /// Messages behind a number.
    delivery_ahead = "select d.seq, d.order_id from deliveries d where d.webhook = $1 and d.seq > $2";
    /// What waits is due at once.
    delivery_hasten = "update deliveries set next_at = $2 where webhook = $1 and state = 0 and next_at > $2";
    /// What was taken under a lease that nobody gave up is due at once.
    delivery_orphans = "update deliveries set next_at = $2 where webhook = $1 and state = 0 and next_at = $3";
    /// One message, locked.
    delivery_ended = "select d.state from deliveries d where d.webhook = $1 and d.seq = $2 and d.order_id = $3 {lock d}";
    /// One message is sent once more.
    delivery_reopen = "update deliveries set state = $4, attempts = 0, next_at = $5, ended_at = null
        where webhook = $1 and seq = $2 and order_id = $3";
    /// The newest messages of an endpoint.
    delivery_list = "select d.seq, d.order_id, d.kind, d.state, d.attempts, d.next_at, d.first_at, d.ended_at, d.status,
            d.took_ms, d.cause, d.answer, d.body
        from deliveries d where d.webhook = $1 and ($2 = -1 or d.state = $2)
            and (d.seq < $3 or (d.seq = $3 and d.order_id < $4)) order by d.seq desc, d.order_id desc limit $5";
    /// Where the newest so many messages of an endpoint begin.
    delivery_newest = "select d.seq from deliveries d where d.webhook = $1 order by d.seq desc limit 1 offset $2";
    /// Forgets those that have ended.
    delivery_forget = "delete from deliveries where webhook = $1 and state in (2, 3) and (ended_at < $2 or seq < $3)";
    /// The messages of an endpoint that is gone.
    delivery_delete = "delete from deliveries where webhook = $1";

    /// The first entry of the log from a number on.
    event_from = "select e.seq, e.at from events e where e.seq >= $1 order by e.seq limit 1";
}
