//! Downloads that are revoked or fetched, and where platforms are asked.

use crate::store::dialect::statements;

statements! {
    /// Statements about downloads.
    Downloads:
    /// What is known of the downloads of orders.
    download_of_orders = "select {download} from {rows} join downloads d on d.order_id = r.value ->> 0
        order by d.order_id, d.item";
    /// The order and the item of a download, as a first look before locking.
    download_peek = "select d.order_id, d.item from downloads d where d.id = $1";
    /// Keeps how downloads stand.
    download_put = "insert into downloads (order_id, item, id, platform, state, evidence, asked_at, deadline_at, next_at,
            attempts, decided_at, answer, contradicted_at)
        select r.value ->> 'order', r.value ->> 'item', r.value ->> 'id', r.value ->> 'platform',
            cast(r.value ->> 'state' as bigint), r.value ->> 'evidence', cast(r.value ->> 'asked_at' as bigint),
            cast(r.value ->> 'deadline_at' as bigint), cast(r.value ->> 'next_at' as bigint),
            cast(r.value ->> 'attempts' as bigint), cast(r.value ->> 'decided_at' as bigint), r.value ->> 'answer',
            cast(r.value ->> 'contradicted_at' as bigint)
        from {rows} where true
        on conflict (order_id, item) do update set state = excluded.state, evidence = excluded.evidence,
            asked_at = excluded.asked_at, deadline_at = excluded.deadline_at, next_at = excluded.next_at,
            attempts = excluded.attempts, decided_at = excluded.decided_at, answer = excluded.answer,
            contradicted_at = excluded.contradicted_at";
    /// Downloads about which a platform is to be asked, with their orders locked; of some platforms only those whose
    /// time is over.
    download_claim = "select {download}, s.lab, s.head, s.lines_out, o.reference, {callback}
        from downloads d join standings s on s.id = d.order_id join orders o on o.id = d.order_id
            left join download_callbacks c on c.platform = d.platform
        where d.state = 0 and d.next_at <= $2
            and (d.deadline_at <= $2 or d.platform not in (select r.value ->> 0 from {rows}))
        order by d.next_at, d.order_id, d.item limit $3 {skip d, s}";
    /// When the next one is due.
    download_next = "select min(d.next_at) from downloads d where d.state = 0";
    /// What a platform is to be asked is due at once: where it is asked has changed.
    download_hasten = "update downloads set next_at = $2 where platform = $1 and state = 0 and next_at > $2";
    /// Nobody has to find out any more.
    download_resolved = "update escalations set resolved_at = $2, decision = $3, reason = $4, resolved_by = $5
        where subject = $1 and kind = 'download' and resolved_at is null";
    /// Where a platform is asked.
    callback_one = "select {callback} from download_callbacks c where c.platform = $1";
    /// A new address, or another one: the secret stays.
    callback_put = "insert into download_callbacks (platform, url, answers_within, secret, version, created_at, updated_at)
        values ($1, $2, $3, $4, 1, $5, $5)
        on conflict (platform) do update set url = excluded.url, answers_within = excluded.answers_within,
            version = download_callbacks.version + 1, updated_at = excluded.updated_at";
    /// Another secret.
    callback_rotate = "update download_callbacks set old_secret = secret, old_until = $3, secret = $2,
            version = version + 1, updated_at = $4 where platform = $1";
    /// It is forgotten, with its secrets.
    callback_delete = "delete from download_callbacks where platform = $1";
    /// Continues the log of a platform that was locked.
    platform_head = "update platforms set head = $2 where id = $1 and head = $3";
}
