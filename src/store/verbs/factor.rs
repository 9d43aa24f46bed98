//! Second factors of keys. A code is weighed under the lock of its key, so that two gateways take it once; a wrong
//! one is counted in the same place, so that nobody guesses at two of them. The log of the key says who started,
//! added and removed one, never the secret or a code.

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{Trail, rows, to_json};
use crate::domain::event::Actor;
use crate::domain::second_factor::{self, Fit};
use crate::store::session::Session;
use crate::store::types::{CodeSaid, Put, ShowCode, StartFactor, Written};
use crate::store::{Error, Result};

struct Factor {
    secret: SecretString,
    in_force: bool,
    last_step: i64,
    failures: i64,
    rest_until: Option<Timestamp>,
}

/// Whether the key is there and not revoked; if so it is locked.
async fn lock<S: Session>(s: &mut S, key: &str) -> Result<bool> {
    Ok(!s.fetch(s.sql().keys.key_lock, &[key.into()]).await?.is_empty())
}

/// The factor of a key that is locked.
async fn factor<S: Session>(s: &mut S, key: &str) -> Result<Option<Factor>> {
    let Some(row) = s.fetch(s.sql().keys.factor_one, &[key.into()]).await?.pop() else { return Ok(None) };
    let mut row = row.of("second_factors");
    let secret = SecretString::from(row.text()?);
    if !second_factor::is_secret(&secret) {
        // Without its content: it may be most of a secret.
        return Err(row.corrupt("the secret is not that of a second factor; remove it, and start anew"));
    }
    Ok(Some(Factor {
        secret,
        in_force: row.opt_at()?.is_some(),
        last_step: row.int()?,
        failures: row.int()?,
        rest_until: row.opt_at()?,
    }))
}

/// Adds an entry to the log of a key that is locked.
async fn log<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    (key, kind): (&str, &'static str),
    at: Timestamp,
    actor: &Actor,
    detail: Value,
) -> Result<()> {
    let subject = format!("key_{key}");
    // The last entry may be of this very set.
    trail.flush(s).await?;
    let last = s.fetch(s.sql().event_of_subjects, &[(&to_json(&[[&subject]])?).into()]).await?.pop();
    let head = last.map(rows::event).transpose()?.map(|event| event.hash).unwrap_or_default();
    trail.add(&head, at, (&subject, ""), kind, actor, &detail);
    Ok(())
}

/// Weighs a code; the step that is to be written down, or what is said.
async fn weigh<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    (key, factor): (&str, &Factor),
    code: Option<&SecretString>,
    at: Timestamp,
) -> Result<std::result::Result<i64, CodeSaid>> {
    let Some(code) = code.filter(|code| !code.expose_secret().trim().is_empty()) else {
        return Ok(Err(CodeSaid::Missing));
    };
    if let Some(until) = factor.rest_until.filter(|until| at < *until) {
        return Ok(Err(CodeSaid::Rests(until)));
    }
    match second_factor::fit(&factor.secret, code.expose_secret(), at, factor.last_step) {
        Fit::Fits(step) => return Ok(Ok(step)),
        Fit::Used => return Ok(Err(CodeSaid::Used)),
        Fit::Wrong => {}
    }
    let failures = factor.failures.saturating_add(1);
    let rest = second_factor::rest(failures, at);
    let until = rest.map(Timestamp::as_microsecond);
    s.run(s.sql().keys.factor_wrong, &[key.into(), failures.into(), until.into()]).await?;
    if let Some(until) = rest {
        // As rare as the rests: nobody fills the log with it.
        let actor = Actor(format!("key:{key}"));
        let detail = json!({"wrong_codes": failures, "rests_until": until});
        log(s, trail, (key, "key.second_factor_rests"), at, &actor, detail).await?;
    }
    Ok(Err(CodeSaid::Wrong))
}

/// Makes a factor that is not yet in force.
pub(super) async fn start<S: Session>(s: &mut S, trail: &mut Trail, item: &StartFactor) -> Result<Written> {
    if !lock(s, &item.key).await? {
        return Ok(Written::Code(CodeSaid::None));
    }
    let args = [(&item.key).into(), item.secret.expose_secret().into(), item.at.into()];
    if s.run(s.sql().keys.factor_put, &args).await? == 0 {
        return Ok(Written::Code(CodeSaid::InForce));
    }
    log(s, trail, (&item.key, "key.second_factor_started"), item.at, &item.actor, json!({})).await?;
    Ok(Written::Code(CodeSaid::Good))
}

/// Takes a code, if the key has a factor in force.
pub(super) async fn pass<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    key: &str,
    code: Option<&SecretString>,
    at: Timestamp,
) -> Result<CodeSaid> {
    lock(s, key).await?;
    let Some(factor) = factor(s, key).await?.filter(|factor| factor.in_force) else {
        return Ok(CodeSaid::None);
    };
    let step = match weigh(s, trail, (key, &factor), code, at).await? {
        Ok(step) => step,
        Err(said) => return Ok(said),
    };
    if s.run(s.sql().keys.factor_take, &[key.into(), step.into()]).await? == 0 {
        return Err(Error::met());
    }
    Ok(CodeSaid::Good)
}

/// Takes a code: the first one puts the factor in force.
pub(super) async fn show<S: Session>(s: &mut S, trail: &mut Trail, item: &ShowCode) -> Result<Written> {
    let ShowCode { key, code, first, at, actor } = item;
    if !first {
        return pass(s, trail, key, code.as_ref(), *at).await.map(Written::Code);
    }
    let there = lock(s, key).await?;
    let Some(factor) = factor(s, key).await?.filter(|_| there) else {
        return Ok(Written::Code(CodeSaid::None));
    };
    if factor.in_force {
        return Ok(Written::Code(CodeSaid::InForce));
    }
    let step = match weigh(s, trail, (key, &factor), code.as_ref(), *at).await? {
        Ok(step) => step,
        Err(said) => return Ok(Written::Code(said)),
    };
    if s.run(s.sql().keys.factor_confirm, &[key.into(), (*at).into(), step.into()]).await? == 0 {
        return Err(Error::met());
    }
    log(s, trail, (key, "key.second_factor_added"), *at, actor, json!({})).await?;
    Ok(Written::Code(CodeSaid::Good))
}

/// Takes a factor away.
pub(super) async fn remove<S: Session>(
    s: &mut S,
    trail: &mut Trail,
    key: &str,
    at: Timestamp,
    actor: &Actor,
) -> Result<Written> {
    lock(s, key).await?;
    if s.run(s.sql().keys.factor_delete, &[key.into()]).await? == 0 {
        return Ok(Written::Put(Put::NotFound));
    }
    log(s, trail, (key, "key.second_factor_removed"), at, actor, json!({})).await?;
    Ok(Written::Put(Put::Done(1)))
}
