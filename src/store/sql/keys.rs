//! Keys, and their second factors.

use crate::store::dialect::statements;

statements! {
    /// Statements about keys.
    Keys:
    /// A new key.
    key_insert = "insert into keys (id, scope, owner, name, hash, created_at, expires_at)
        select r.value ->> 'id', r.value ->> 'scope', r.value ->> 'owner', r.value ->> 'name', r.value ->> 'hash',
            cast(r.value ->> 'created_at' as bigint), cast(r.value ->> 'expires_at' as bigint)
        from {rows}";
    /// Ends a key.
    key_revoke = "update keys set revoked_at = $2 where id = $1 and revoked_at is null";
    /// Whether a key is there.
    key_count = "select count(*) from keys k where k.id = $1";
    /// All keys, and since when their second factors are in force.
    key_list = "select k.id, k.scope, k.owner, k.name, k.hash, k.created_at, k.expires_at, k.revoked_at, f.confirmed_at
        from keys k left join second_factors f on f.key_id = k.id order by k.created_at, k.id";
    /// A key that has not ended, locked: whatever happens to it goes one after the other.
    key_lock = "select k.id from keys k where k.id = $1 and k.revoked_at is null {lock k}";
    /// The second factor of a key.
    factor_one = "select f.secret, f.confirmed_at, f.last_step, f.failures, f.rest_until from second_factors f where f.key_id = $1 {lock f}";
    /// A new one, not yet in force; one that is in force stays.
    factor_put = "insert into second_factors (key_id, secret, started_at, last_step, failures) values ($1, $2, $3, 0, 0)
        on conflict (key_id) do update set secret = excluded.secret, started_at = excluded.started_at, last_step = 0
            where second_factors.confirmed_at is null";
    /// It is in force, and its first code was taken.
    factor_confirm = "update second_factors set confirmed_at = $2, last_step = $3, failures = 0, rest_until = null
        where key_id = $1 and confirmed_at is null";
    /// A code was taken.
    factor_take = "update second_factors set last_step = $2, failures = 0, rest_until = null
        where key_id = $1 and confirmed_at is not null and last_step < $2";
    /// A code was wrong.
    factor_wrong = "update second_factors set failures = $2, rest_until = $3 where key_id = $1";
    /// It is gone.
    factor_delete = "delete from second_factors where key_id = $1";
}
