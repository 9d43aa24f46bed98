//! Signed-in browsers. Each session is a subject of the log: who began it with what, and who ended it.

use jiff::Timestamp;
use serde_json::json;

use super::{Trail, factor, rows, to_json};
use crate::domain::event::Actor;
use crate::store::session::Session;
use crate::store::types::{CodeSaid, Proof, SessionRow, SignIn, SignInLink, SignedIn, Written};
use crate::store::{Error, Result};

/// How the log names a session: a part of the hash of what the browser keeps.
fn subject(id: &str) -> String {
    format!("ses_{}", &id[..id.len().min(16)])
}

/// How the log names a link.
fn link_subject(id: &str) -> String {
    format!("sig_{}", &id[..id.len().min(16)])
}

/// Makes a link that signs in once.
pub(super) async fn offer<S: Session>(s: &mut S, trail: &mut Trail, link: &SignInLink) -> Result<Written> {
    let args = [(&link.id).into(), (&link.key).into(), link.at.into(), link.expires_at.into()];
    s.run(s.sql().sessions.sign_in_insert, &args).await?;
    let detail = json!({"key": link.key, "expires_at": link.expires_at});
    trail.add("", link.at, (&link_subject(&link.id), ""), "sign_in.offered", &link.actor, &detail);
    Ok(Written::Done)
}

/// Signs a browser in, by a key that was recognised or by a link that is taken with it.
pub(super) async fn sign_in<S: Session>(s: &mut S, trail: &mut Trail, item: &SignIn) -> Result<Written> {
    let (key, by) = match &item.proof {
        Proof::Key(key) => (key.clone(), "key".to_owned()),
        Proof::Link(link) => {
            let args = [link.into(), item.at.into()];
            let key = s.fetch(s.sql().sessions.sign_in_one, &args).await?.pop();
            let Some(key) = key.map(|row| row.of("sign_ins").text()).transpose()? else {
                return Ok(Written::SignedIn(SignedIn::Gone));
            };
            (key, link_subject(link))
        }
    };
    // Before the link is taken: a wrong code does not use it up.
    let with_code = match factor::pass(s, trail, &key, item.code.as_ref(), item.at).await? {
        CodeSaid::Good => true,
        CodeSaid::None => false,
        said => return Ok(Written::SignedIn(SignedIn::Code(said))),
    };
    if let Proof::Link(link) = &item.proof {
        // Two browsers may have read the same: one takes it.
        if s.run(s.sql().sessions.sign_in_take, &[link.into(), item.at.into()]).await? == 0 {
            return Ok(Written::SignedIn(SignedIn::Gone));
        }
    }
    let args =
        [(&item.id).into(), (&key).into(), item.at.into(), item.ends_at.into(), i64::from(with_code).into()];
    s.run(s.sql().sessions.session_insert, &args).await?;
    let actor = Actor(format!("key:{key}"));
    let detail = json!({"key": key, "by": by, "with_code": with_code, "ends_at": item.ends_at});
    trail.add("", item.at, (&subject(&item.id), ""), "session.started", &actor, &detail);
    Ok(Written::SignedIn(SignedIn::Begun(key)))
}

/// Ends a session. One that has ended, or never was, stays as it is.
pub(super) async fn end<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    id: &str,
    at: Timestamp,
    actor: &Actor,
) -> Result<Written> {
    if s.run(s.sql().sessions.session_end, &[id.into(), at.into()]).await? == 0 {
        return Ok(Written::Done);
    }
    let subject = subject(id);
    // It may have begun in this very set.
    trail.flush(s).await?;
    let log = s.fetch(s.sql().event_of_subjects, &[(&to_json(&[[&subject]])?).into()]).await?.pop();
    let last = log.map(rows::event).transpose()?;
    let Some(last) = last else {
        return Err(Error::Corrupt { table: "sessions", what: format!("{subject} has no log") });
    };
    trail.add(&last.hash, at, (&subject, ""), "session.ended", actor, &json!({}));
    Ok(Written::Done)
}

/// Says that a session was used.
pub(super) async fn see<S: Session>(s: &mut S, id: &str, at: Timestamp) -> Result<Written> {
    s.run(s.sql().sessions.session_touch, &[id.into(), at.into()]).await?;
    Ok(Written::Done)
}

/// What ended before an instant is forgotten; the log keeps that it was.
pub(super) async fn forget<S: Session>(s: &mut S, before: Timestamp) -> Result<()> {
    s.run(s.sql().sessions.session_forget, &[before.into()]).await?;
    s.run(s.sql().sessions.sign_in_forget, &[before.into()]).await?;
    Ok(())
}

/// Reads a session.
pub(in crate::store) async fn session<S: Session>(s: &mut S, id: &str) -> Result<Option<SessionRow>> {
    let Some(row) = s.fetch(s.sql().sessions.session_one, &[id.into()]).await?.pop() else { return Ok(None) };
    let mut row = row.of("sessions");
    Ok(Some(SessionRow {
        id: row.text()?,
        key: row.text()?,
        started_at: row.at()?,
        seen_at: row.at()?,
        ends_at: row.at()?,
        ended_at: row.opt_at()?,
        with_code: row.flag()?,
    }))
}

/// The key that a link signs in with, while it does.
pub(in crate::store) async fn sign_in_key<S: Session>(
    s: &mut S,
    id: &str,
    at: Timestamp,
) -> Result<Option<String>> {
    let row = s.fetch(s.sql().sessions.sign_in_one, &[id.into(), at.into()]).await?.pop();
    row.map(|row| row.of("sign_ins").text()).transpose()
}
