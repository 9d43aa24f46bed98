//! Approvals of single lines: what a customer's request that names lines comes to, and whether it can still be agreed to.
//!
//! It is read under the lock that a stop takes, by the rules by which a stop of lines is read.

use super::change::Changing;
use super::{downloads, parts, stop};
use crate::domain::extras::{ApprovalFacts, ApprovalState};
use crate::domain::lab::Profile;
use crate::domain::lines::{self, Line, Named};
use crate::domain::stop::{StopFacts, StopState, grant};
use crate::store::Result;
use crate::store::session::Session;
use crate::store::types::{ApprovalOutcome, StopAsk, StopOutcome, StopRefused};

/// What a customer's request that names lines comes to.
pub(super) enum Request {
    /// These lines, about which the merchant was not asked before; and whether any of them is printed.
    New(Vec<String>, bool),
    /// A stop says how these stand, or it is too late for anybody: there is nothing to decide.
    Stop(Vec<String>),
    /// This is the answer.
    Told(Box<ApprovalOutcome>),
}

/// What is known of an order's lines, read under its lock.
struct Known {
    lines: Vec<Line>,
    /// The lines that were asked about, and are not decided.
    pending: Vec<String>,
}

impl Known {
    async fn read<S: Session>(s: &mut S, it: &Changing) -> Result<Self> {
        let order = it.standing.id.as_str();
        let lines = parts::known(s, &[order]).await?.remove(order).map(|(lines, _)| lines);
        let undecided = |stop: &StopFacts| !stop.state.is_decided();
        let stops = parts::line_stops(s, &it.standing.id).await?.into_iter().filter(undecided);
        let pending = stops.flat_map(|stop| stop.items.unwrap_or_default()).collect();
        Ok(Self { lines: lines.unwrap_or_default(), pending })
    }

    /// What is no line of the order.
    fn unknown(&self, items: &[String]) -> Vec<String> {
        let known = |id: &&String| self.lines.iter().any(|line| line.id == **id);
        items.iter().filter(|id| !known(id)).cloned().collect()
    }

    /// The first answer to a stop of these lines, all of them printed; `None` where only whole orders are stopped.
    fn grant(&self, it: &Changing, items: &[String], profile: &Profile) -> Option<StopState> {
        let (transfer, stage) = (it.facts.transfer.as_ref(), it.standing.stage);
        let all = downloads::printed(&self.lines);
        match lines::name(&all, &it.standing.lines_out, &self.pending, items) {
            // All that is left is the whole order, whatever way it is named.
            Named::Whole => Some(grant(transfer, stage, profile).0),
            _ => lines::grant(transfer, stage, profile).map(|(state, _)| state),
        }
    }
}

/// Reads what a customer asks who names lines. `known` are the approvals of the order.
pub(super) async fn read<S: Session>(
    s: &mut S,
    it: &Changing,
    known: &[ApprovalFacts],
    ask: &StopAsk,
    profile: &Profile,
) -> Result<Request> {
    let told = |outcome| Ok(Request::Told(Box::new(outcome)));
    let refused = |why| told(ApprovalOutcome::Stop(StopOutcome::Refused(why)));
    let lines = Known::read(s, it).await?;
    let unknown = lines.unknown(&ask.items);
    if !unknown.is_empty() {
        return refused(StopRefused::UnknownLines(unknown));
    }
    // Who asked about the whole order asked about its lines.
    if let Some(whole) = known.iter().find(|it| it.items.is_none() && it.state == ApprovalState::Open) {
        return told(ApprovalOutcome::Already(whole.clone()));
    }
    let (fetched, prints) = downloads::parted(&lines.lines, &ask.items);
    let settled = |id: &String| it.standing.lines_out.contains(id) || lines.pending.contains(id);
    let alive = |id: &String| it.standing.stop.is_none() && !settled(id);
    if fetched.is_empty() && !prints.iter().any(alive) {
        return Ok(Request::Stop(ask.items.clone()));
    }
    // The merchant is asked once about a line, whatever the answer was.
    let about = |approval: &ApprovalFacts, id: &String| {
        approval.items.as_ref().is_some_and(|items| items.contains(id))
    };
    let new = |id: &&String| !known.iter().any(|approval| about(approval, id));
    let rest: Vec<String> =
        ask.items.iter().filter(|id| fetched.contains(id) || alive(id)).filter(new).cloned().collect();
    let (others, printed) = downloads::parted(&lines.lines, &rest);
    if rest.is_empty() {
        let newest = known.iter().rev().find(|approval| ask.items.iter().any(|id| about(approval, id)));
        return match newest {
            Some(newest) => told(ApprovalOutcome::Already(newest.clone())),
            None => Ok(Request::Stop(ask.items.clone())),
        };
    }
    if printed.is_empty() {
        return Ok(Request::New(rest, false));
    }
    match lines.grant(it, &printed, profile) {
        None => refused(StopRefused::WholeOrderOnly),
        // Downloads beside them may not be fetched yet: about these the merchant decides, or has.
        Some(StopState::TooLate) if others.is_empty() => Ok(Request::Stop(printed)),
        Some(_) => Ok(Request::New(rest, true)),
    }
}

/// Why a stop of these lines cannot be asked any more, though the merchant agrees.
pub(super) async fn refusal<S: Session>(
    s: &mut S,
    it: &Changing,
    items: &[String],
) -> Result<Option<StopRefused>> {
    let lines = Known::read(s, it).await?;
    let unknown = lines.unknown(items);
    if !unknown.is_empty() {
        return Ok(Some(StopRefused::UnknownLines(unknown)));
    }
    let settled = |id: &String| it.standing.lines_out.contains(id) || lines.pending.contains(id);
    let (_, prints) = downloads::parted(&lines.lines, items);
    if it.standing.stop.is_some() || prints.iter().all(settled) {
        return Ok(None);
    }
    let lab = &it.standing.lab;
    let profile = stop::profiles(s, &[lab]).await?.remove(lab).unwrap_or_default();
    Ok(lines.grant(it, &prints, &profile).is_none().then_some(StopRefused::WholeOrderOnly))
}
