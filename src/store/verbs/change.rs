//! Changes of an order other than stopping it: all of them only while nothing has left the house.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::admit::join;
use super::stop::{self, Standing};
use super::{Trail, downloads, extras, ids, retention, rows, rows_fetch, rows_run_all, warnings};
use crate::domain::batch::{BatchPhase, Joining, TransferPhase};
use crate::domain::event::Actor;
use crate::domain::extras::{HoldFacts, HoldKind, held};
use crate::domain::ids::{HoldId, OrderId};
use crate::domain::order::{Held, OrderFacts, OrderState};
use crate::domain::stop::{Evidence, StopState};
use crate::store::session::Session;
use crate::store::types::{Change, ChangeKind, Changed, Scope, Written};
use crate::store::{Error, Result};

/// The row that `standing_update` takes.
fn standing_row(now: &Standing, was: &str, head: &str) -> Value {
    json!({
        "id": now.id, "was": was, "head": head, "batch": now.batch, "transfer": now.transfer,
        "paid": i64::from(now.paid), "held": now.held.code(), "stage": now.stage.code(),
        "stop": now.stop.map_or(0, StopState::code), "version": now.version,
    })
}

/// An order that is being changed, read under its lock.
pub(super) struct Changing {
    pub(super) standing: Standing,
    pub(super) facts: OrderFacts,
    batch_version: i64,
    /// Whether its window promises its cutoff.
    promised: bool,
}

impl Changing {
    /// Locks an order within a scope.
    pub(super) async fn lock<S: Session>(s: &mut S, order: &OrderId, scope: &Scope) -> Result<Option<Self>> {
        let found = stop::lock(s, &[order.as_str()]).await?.pop().filter(|found| found.within(scope));
        let Some(standing) = found else { return Ok(None) };
        let row = rows_fetch(s, s.sql().order_by_id, &ids([order.as_str()])).await?.pop();
        let what = || "a standing without its order".to_owned();
        let (facts, _) = rows::order(row.ok_or_else(|| Error::Corrupt { table: "orders", what: what() })?)?;
        let batch_version = facts.batch.as_ref().map_or(0, |batch| batch.version);
        let promised = facts.batch.as_ref().is_some_and(|batch| batch.promised);
        Ok(Some(Self { standing, facts, batch_version, promised }))
    }

    /// Whether nothing of it has left the house, and no stop was granted.
    pub(super) fn in_house(&self) -> bool {
        use OrderState::{AwaitingPayment, Closed, InBatch, InReview, OnHold};
        let state = self.facts.state();
        matches!(state, AwaitingPayment | OnHold | InReview | InBatch)
            || (state == Closed && self.facts.transfer.is_none())
    }

    /// It leaves its window.
    fn leave(&mut self) {
        self.standing.batch = None;
        self.batch_version = 0;
    }

    /// Puts a hold on it: it leaves its window.
    pub(super) async fn hold<S: Session>(
        &mut self,
        s: &mut S,
        (id, kind): (&HoldId, HoldKind),
        (owner, reason): (&str, &str),
        (actor, at): (&Actor, Timestamp),
    ) -> Result<()> {
        let row = json!({"id": id, "order": self.standing.id, "kind": kind.code(), "owner": owner, "reason": reason,
            "at": stop::micros(at), "by": actor.0});
        rows_run_all(s, s.sql().changes.hold_insert, &[row], "holds").await?;
        self.standing.held = if self.standing.held == Held::Review { Held::Review } else { held([kind]) };
        self.leave();
        Ok(())
    }

    /// It joins the window that it is given, unless something keeps it out still. False if that window had closed:
    /// then nothing was written.
    pub(super) async fn rejoin<S: Session>(
        &mut self,
        s: &mut S,
        trail: &mut Trail,
        window: Option<&Joining>,
        at: Timestamp,
    ) -> Result<bool> {
        self.leave();
        if !self.standing.paid || self.standing.held != Held::No {
            return Ok(true);
        }
        let window = window
            .ok_or_else(|| Error::Unavailable("a change that joins came without a window".to_owned()))?;
        let batch = join(s, trail, at, &[window]).await?.pop();
        let Some(batch) = batch.filter(|batch| batch.phase == BatchPhase::Open) else { return Ok(false) };
        (self.batch_version, self.promised) = (batch.version, batch.promised);
        self.standing.batch = Some(batch.id.to_string());
        Ok(true)
    }

    /// Tells in an entry of the log which window it is in.
    pub(super) fn placed(&self, window: Option<&Joining>, detail: &mut Value) {
        detail["batch"] = json!(self.standing.batch);
        // Where it is promised less than its batch: what its verdict says is read from here.
        let promised = self.promised && self.standing.batch.is_some();
        let until = window.and_then(|window| window.until).filter(|_| promised);
        if let Some(until) = until {
            detail["until"] = json!(until);
        }
    }

    /// Writes what was changed, and the entry of the log.
    pub(super) async fn write<S: Session>(
        mut self,
        s: &mut S,
        trail: &mut Trail,
        kind: &'static str,
        (actor, at): (&Actor, Timestamp),
        detail: &Value,
    ) -> Result<()> {
        // What everybody sees as the version is the sum with the batch's and the transfer's: it must only grow.
        let transfer_version = self.facts.transfer.as_ref().map_or(0, |transfer| transfer.version);
        self.standing.version = self.facts.version + 1 - self.batch_version - transfer_version;
        let subject = (self.standing.id.as_str(), self.standing.lab.as_str());
        let head = trail.add(&self.standing.head, at, subject, kind, actor, detail);
        let row = standing_row(&self.standing, &self.standing.head, &head);
        rows_run_all(s, s.sql().standing_update, &[row], "standings").await
    }
}

/// Releases holds that were read under the lock of their order.
pub(super) async fn release<S: Session>(
    s: &mut S,
    holds: &[&HoldFacts],
    actor: &Actor,
    at: Timestamp,
) -> Result<()> {
    let rows: Vec<_> = holds.iter().map(|hold| json!([hold.id, stop::micros(at), actor.0])).collect();
    rows_run_all(s, s.sql().changes.hold_release, &rows, "holds").await
}

/// Whose holds a scope puts.
pub(super) fn owner(scope: &Scope) -> &'static str {
    match scope {
        Scope::Ops => "ops",
        Scope::Platform(_) => "platform",
        Scope::Lab(_) => "lab",
    }
}

/// Whether the change is allowed as the order stands.
fn allowed(kind: &ChangeKind, it: &Changing) -> bool {
    use OrderState::{AwaitingPayment, InReview, OnHold, Stopped};
    let facts = &it.facts;
    let state = facts.state();
    match kind {
        ChangeKind::Pay => matches!(state, AwaitingPayment | OnHold | InReview),
        ChangeKind::Hold | ChangeKind::Review => it.in_house(),
        // What fell back is proven to be with nobody: it is frozen anew, under a new key.
        ChangeKind::Document(_) => {
            let back = facts.transfer.as_ref().is_some_and(|it| it.phase == TransferPhase::Closed);
            it.in_house() || (back && state == OrderState::Closed)
        }
        ChangeKind::Release | ChangeKind::ReleaseOne(_) | ChangeKind::Rejoin => {
            matches!(state, OnHold | InReview | AwaitingPayment)
        }
        ChangeKind::Reinstate => {
            state == Stopped
                && facts.transfer.is_none()
                && facts.stop.as_ref().is_some_and(|stop| stop.evidence == Some(Evidence::NeverHanded))
        }
    }
}

/// The holds that a change puts an end to, of those that an order has.
fn ended<'a>(
    kind: &ChangeKind,
    scope: &Scope,
    holds: &'a [HoldFacts],
) -> std::result::Result<Vec<&'a HoldFacts>, Changed> {
    let free = |hold: &&HoldFacts| matches!(hold.kind, HoldKind::Hold | HoldKind::Review);
    match kind {
        ChangeKind::Release => {
            let own: Vec<_> = holds.iter().filter(free).filter(|hold| hold.owner == owner(scope)).collect();
            if own.is_empty() && !holds.is_empty() {
                return Err(Changed::HeldByOthers(others(holds)));
            }
            Ok(own)
        }
        ChangeKind::ReleaseOne(id) => {
            let found = holds.iter().find(|hold| hold.id == *id).ok_or(Changed::NoSuchHold)?;
            // What the merchant or another order's stop ends, nobody else does.
            if !free(&found) || (*scope != Scope::Ops && found.owner != owner(scope)) {
                return Err(Changed::HeldByOthers(others(std::slice::from_ref(found))));
            }
            Ok(vec![found])
        }
        // Ops take the stop back, and with it whatever held the order before.
        ChangeKind::Reinstate => Ok(holds.iter().collect()),
        _ => Ok(Vec::new()),
    }
}

/// Who or what keeps an order out of its window.
fn others(holds: &[HoldFacts]) -> Vec<String> {
    let mut list: Vec<String> = holds
        .iter()
        .map(|hold| match hold.kind {
            HoldKind::Hold | HoldKind::Review => hold.owner.clone(),
            kind => kind.word().to_owned(),
        })
        .collect();
    list.dedup();
    list
}

/// An order that this one replaces or is replaced by, over however many others, and that is not stopped. All of
/// them are locked.
pub(super) async fn alive_beside<S: Session>(s: &mut S, order: &OrderId) -> Result<Option<OrderId>> {
    let mut known = vec![order.to_string()];
    loop {
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        let links = extras::links(s, &names).await?;
        let ends = links.into_iter().flat_map(|(new, old, _)| [new.to_string(), old.to_string()]);
        let new: Vec<String> = ends.filter(|id| !known.contains(id)).collect();
        if new.is_empty() {
            break;
        }
        known.extend(new);
        known.sort();
        known.dedup();
    }
    if known.len() == 1 {
        return Ok(None);
    }
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    let alive = |found: &Standing| found.id != *order && found.stop != Some(StopState::Stopped);
    Ok(stop::lock(s, &names).await?.into_iter().find(alive).map(|found| found.id))
}

/// Whether the order was so before.
fn done_before(item: &Change, it: &Changing, holds: &[HoldFacts]) -> bool {
    let (standing, facts) = (&it.standing, &it.facts);
    let reason = item.reason.as_deref().unwrap_or_default();
    let same = |kind| {
        let own = |hold: &HoldFacts| hold.kind == kind && hold.owner == owner(&item.scope);
        holds.iter().any(|hold| own(hold) && hold.reason == reason)
    };
    let waits = standing.batch.is_some() || !standing.paid;
    match &item.kind {
        ChangeKind::Pay => standing.paid && standing.stop.is_none(),
        ChangeKind::Hold => same(HoldKind::Hold),
        ChangeKind::Review => same(HoldKind::Review),
        ChangeKind::Release => standing.held == Held::No && standing.stop.is_none() && waits,
        ChangeKind::Document(document) => *document == facts.document,
        ChangeKind::Rejoin => {
            waits || standing.held != Held::No || standing.stop.is_some() || standing.transfer.is_some()
        }
        ChangeKind::Reinstate | ChangeKind::ReleaseOne(_) => false,
    }
}

/// Changes one order.
pub(super) async fn change<S: Session>(s: &mut S, trail: &mut Trail, item: &Change) -> Result<Written> {
    changed(s, trail, item).await.map(Written::Changed)
}

/// The same, for other verbs.
pub(super) async fn changed<S: Session>(s: &mut S, trail: &mut Trail, item: &Change) -> Result<Changed> {
    let Some(mut it) = Changing::lock(s, &item.order, &item.scope).await? else {
        return Ok(Changed::NotFound);
    };
    if item.if_version.is_some_and(|version| version != it.facts.version) {
        return Ok(Changed::Version(it.facts.version));
    }
    let holds = extras::holds(s, &item.order).await?;
    if done_before(item, &it, &holds) {
        if item.kind == ChangeKind::Rejoin {
            joined(s, item).await?;
        }
        return Ok(Changed::Unchanged);
    }
    if !allowed(&item.kind, &it) {
        return Ok(Changed::NotAllowed(it.facts.state()));
    }
    if let ChangeKind::Document(document) = &item.kind
        && !it.facts.lines_out.is_empty()
        && downloads::printed_of(document).iter().all(|line| it.facts.lines_out.contains(&line.id))
    {
        // Stopped lines stay stopped, whatever else they are to be: nothing would be left.
        return Ok(Changed::NotAllowed(it.facts.state()));
    }
    let ended = match ended(&item.kind, &item.scope, &holds) {
        Ok(ended) => ended,
        Err(not) => return Ok(not),
    };
    if item.kind == ChangeKind::Reinstate && retention::is_purged(s, &item.order).await? {
        // It says no more where it goes.
        return Ok(Changed::NotAllowed(it.facts.state()));
    }
    if item.kind == ChangeKind::Reinstate
        && let Some(other) = alive_beside(s, &item.order).await?
    {
        return Ok(Changed::Replaced(other));
    }
    match &item.kind {
        ChangeKind::Pay => it.standing.paid = true,
        ChangeKind::Reinstate => it.standing.stop = None,
        _ => {}
    }
    let left = holds.iter().filter(|hold| !ended.iter().any(|ended| ended.id == hold.id));
    it.standing.held = held(left.map(|hold| hold.kind));
    let (by, reason) = ((&item.actor, item.at), item.reason.as_deref().unwrap_or_default());
    let mut detail = json!({"reason": item.reason});
    let kind = match &item.kind {
        ChangeKind::Hold | ChangeKind::Review => {
            let kind = if item.kind == ChangeKind::Hold { HoldKind::Hold } else { HoldKind::Review };
            detail["hold"] = json!(item.hold);
            it.hold(s, (&item.hold, kind), (owner(&item.scope), reason), by).await?;
            if kind == HoldKind::Hold { "order.held" } else { "order.in_review" }
        }
        ChangeKind::Document(document) => {
            s.run(s.sql().order_document, &[item.order.as_str().into(), document.into()]).await?;
            warnings::look_again_at(s, &item.order).await?;
            "order.changed"
        }
        joins => {
            // Nothing was written before here: a window that had closed leaves the order as it was.
            if !it.rejoin(s, trail, item.join.as_ref(), item.at).await? {
                return Ok(Changed::WindowClosed);
            }
            match joins {
                ChangeKind::Pay => "order.paid",
                ChangeKind::Reinstate => "order.reinstated",
                _ => "order.released",
            }
        }
    };
    if item.kind == ChangeKind::Reinstate {
        let args = [item.order.as_str().into(), item.at.into()];
        s.run(s.sql().stop_supersede, &args).await?;
        s.run(s.sql().changes.approval_supersede, &args).await?;
    }
    if !ended.is_empty() {
        release(s, &ended, &item.actor, item.at).await?;
        detail["holds"] = ended.iter().map(|hold| hold.id.as_str()).collect();
    }
    if it.standing.batch.is_some() {
        joined(s, item).await?;
    }
    it.placed(item.join.as_ref(), &mut detail);
    it.write(s, trail, kind, by, &detail).await?;
    Ok(Changed::Done)
}

/// An order that replaces another has its window now, or needs none: nobody has to find one for it.
async fn joined<S: Session>(s: &mut S, item: &Change) -> Result<()> {
    let args = [item.order.as_str().into(), item.at.into()];
    s.run(s.sql().changes.replacement_joined, &args).await.map(drop)
}
