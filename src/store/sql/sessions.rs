//! Signed-in browsers, and the links that sign one in.

use crate::store::dialect::statements;

statements! {
    /// Statements about sessions.
    Sessions:
    /// A new session; of a link, only if the link was taken in the same transaction.
    session_insert = "insert into sessions (id, key_id, started_at, seen_at, ends_at, with_code) values ($1, $2, $3, $3, $4, $5)";
    /// One session.
    session_one = "select s.id, s.key_id, s.started_at, s.seen_at, s.ends_at, s.ended_at, s.with_code from sessions s where s.id = $1";
    /// It was used.
    session_touch = "update sessions set seen_at = $2 where id = $1 and seen_at < $2 and ended_at is null";
    /// It ends.
    session_end = "update sessions set ended_at = $2 where id = $1 and ended_at is null";
    /// What has long ended goes.
    session_forget = "delete from sessions where ends_at < $1";
    /// A link that signs in once.
    sign_in_insert = "insert into sign_ins (id, key_id, created_at, expires_at) values ($1, $2, $3, $4)";
    /// The key of a link that still signs in.
    sign_in_one = "select l.key_id from sign_ins l where l.id = $1 and l.used_at is null and l.expires_at > $2";
    /// Takes a link: once, and before it expires.
    sign_in_take = "update sign_ins set used_at = $2 where id = $1 and used_at is null and expires_at > $2";
    /// What has long expired goes.
    sign_in_forget = "delete from sign_ins where expires_at < $1";
}
