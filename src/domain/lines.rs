//! The lines of an order: which of them a stop is about, and what a stop brings for each.
//!
//! A stop may name lines. In house they are out at once, and the rest of the order goes on; after the hand-over
//! they are out if the lab takes stops of lines, and says that it took out these. All lines are a stop of the
//! whole order, whatever way they are named.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::batch::TransferFacts;
use super::lab::Profile;
use super::order::{ItemKind, Stage};
use super::platform::{PlatformPolicy, Refund, ServiceFee};
use super::stop::{self, Decision, StopState};
use super::verdict::CanStop;

/// The reason of a stop for which none was given.
pub const UNSPECIFIED: &str = "unspecified";

/// A line of an order, as far as stops have to know it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Line {
    /// The platform's id of the line.
    pub id: String,
    /// What it is.
    #[serde(default)]
    pub kind: ItemKind,
    /// Product code.
    #[serde(default)]
    pub sku: String,
    /// Pieces.
    #[serde(default)]
    pub quantity: u32,
    /// Made for one customer.
    #[serde(default)]
    pub personalised: bool,
}

/// The lines of a stored submission; none, if it is not one.
#[must_use]
pub fn read(document: &str) -> Vec<Line> {
    #[derive(Deserialize)]
    struct Stored {
        items: Vec<Line>,
    }
    serde_json::from_str::<Stored>(document).map(|stored| stored.items).unwrap_or_default()
}

/// What a stop that names lines comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// These are no lines of the order.
    Unknown(Vec<String>),
    /// All that it names is stopped, or was asked before and is not decided.
    Asked,
    /// With what was asked before it names every line: a stop of the order.
    Whole,
    /// These, in the order's sequence: what it names without what is stopped or asked.
    Lines(Vec<String>),
}

/// Reads which lines a stop names. `out` are stopped, `open` are asked and not decided.
#[must_use]
pub fn name(lines: &[Line], out: &[String], open: &[String], asked: &[String]) -> Named {
    let known = |id: &&String| lines.iter().any(|line| line.id == **id);
    let unknown: Vec<String> = asked.iter().filter(|id| !known(id)).cloned().collect();
    if !unknown.is_empty() {
        return Named::Unknown(unknown);
    }
    let settled = |id: &String| out.contains(id) || open.contains(id);
    let alive: BTreeSet<&String> = lines.iter().map(|line| &line.id).filter(|id| !settled(id)).collect();
    let rest: Vec<String> =
        lines.iter().map(|line| &line.id).filter(|id| asked.contains(id) && !settled(id)).cloned().collect();
    match rest.len() {
        0 => Named::Asked,
        count if count == alive.len() => Named::Whole,
        _ => Named::Lines(rest),
    }
}

/// The first answer to a stop of some lines, on the stored phase; `None` where only whole orders are stopped.
#[must_use]
pub fn grant(transfer: Option<&TransferFacts>, stage: Stage, profile: &Profile) -> Option<Decision> {
    match stop::grant(transfer, stage, profile) {
        (StopState::Stopped, evidence) => Some((StopState::StoppedInPart, evidence)),
        late @ (StopState::TooLate, _) => Some(late),
        asks => profile.stops_lines.then_some(asks),
    }
}

/// What a decision on a whole stop is for one that names lines.
#[must_use]
pub fn in_part(state: StopState, lines: Option<&[String]>) -> StopState {
    match state {
        StopState::Stopped if lines.is_some() => StopState::StoppedInPart,
        state => state,
    }
}

/// What a stop brings with it, as it was told: frozen with the stop, whatever the policy says later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StopTerms {
    /// Who refunds.
    pub refund: Refund,
    /// What happens to the service fee.
    pub service_fee: ServiceFee,
    /// The lines that go back to stock: none that is made for one customer, and none once production began.
    pub restock: Vec<String>,
    /// The lines that are made for one customer, and so without a right of withdrawal.
    pub exempt: Vec<String>,
    /// Whether the reason is one of those that the platform offers; null where it offers none, or none was given.
    #[serde(default)]
    #[schema(required = true)]
    pub reason_offered: Option<bool>,
}

impl StopTerms {
    /// What a stop of `named` lines, or of all that are not `out`, brings by this policy.
    #[must_use]
    pub fn of(
        lines: &[Line],
        (out, named): (&[String], Option<&[String]>),
        policy: &PlatformPolicy,
        reason: &str,
        stage: Stage,
    ) -> Self {
        let about = |line: &&Line| named.map_or(!out.contains(&line.id), |named| named.contains(&line.id));
        let ids = |which: &dyn Fn(&Line) -> bool| {
            lines.iter().filter(about).filter(|line| which(line)).map(|line| line.id.clone()).collect()
        };
        let offered = policy.reasons.iter().any(|known| known.trim() == reason.trim());
        Self {
            refund: policy.refund,
            service_fee: policy.service_fee,
            restock: ids(&|line| restocks(line, policy, stage)),
            exempt: ids(&|line| line.personalised),
            reason_offered: (!policy.reasons.is_empty() && reason != UNSPECIFIED).then_some(offered),
        }
    }
}

/// Whether a line goes back to stock if it is stopped at that stage.
#[must_use]
pub fn restocks(line: &Line, policy: &PlatformPolicy, stage: Stage) -> bool {
    policy.restock && stage == Stage::Received && line.kind == ItemKind::Print && !line.personalised
}

/// Whether a line can be stopped by itself, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineReason {
    /// As the order: see the verdict's own reason.
    AsOrder,
    /// It is stopped.
    AlreadyStopped,
    /// A stop that names it was asked, and its answer is still to come.
    StopPending,
    /// The lab stops whole orders only: ask for the order.
    WholeOrderOnly,
    /// A customer asked for a stop that names it, and the merchant decides. A stop that the merchant asks is decided
    /// at once.
    AwaitsMerchant,
}

/// What right of withdrawal a line carries, beside any stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Withdrawal {
    /// Not made for one customer: what the law gives stays, whatever becomes of a stop.
    Applies,
    /// Made for one customer, so that there is none; until it is made the shop may let it be stopped.
    UntilMade,
    /// Made for one customer, and production began: there is none.
    NonePersonalised,
    /// A download: it ends when the download begins.
    UntilFetched,
    /// A download that was fetched: there is none.
    NoneFetched,
}

/// Of a line.
#[must_use]
pub fn withdrawal(line: &Line, stage: Stage) -> Withdrawal {
    match (line.kind, line.personalised, stage) {
        (ItemKind::Download, ..) => Withdrawal::UntilFetched,
        (ItemKind::Print, false, _) => Withdrawal::Applies,
        (ItemKind::Print, true, Stage::Received) => Withdrawal::UntilMade,
        (ItemKind::Print, true, _) => Withdrawal::NonePersonalised,
    }
}

/// Whether one line can still be stopped by itself, and what that brings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LineVerdict {
    /// The platform's id of the line.
    pub item: String,
    /// Whether a stop that names it can succeed.
    pub can_stop: CanStop,
    /// Why.
    pub reason: LineReason,
    /// Whether it goes back to stock if it is stopped now.
    pub restock: bool,
    /// Its right of withdrawal.
    pub withdrawal: Withdrawal,
}

/// What is known of an order when its lines are judged.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// Whether the order can be stopped.
    pub can_stop: CanStop,
    /// Whether a stop of the order was granted.
    pub stopped: bool,
    /// Whether the lab, or the gateway while it has the order, stops single lines.
    pub by_lines: bool,
    /// How far the lab is.
    pub stage: Stage,
    /// The lines that are stopped.
    pub out: &'a [String],
    /// The lines that were asked about, and are not decided.
    pub open: &'a [String],
    /// The lines that a customer asked about, and the merchant decides.
    pub awaiting: &'a [String],
}

/// The verdict on every line.
#[must_use]
pub fn judge(lines: &[Line], standing: &Standing<'_>, policy: &PlatformPolicy) -> Vec<LineVerdict> {
    let judge = |line: &Line| {
        let (can_stop, reason) = if standing.stopped || standing.out.contains(&line.id) {
            (CanStop::No, LineReason::AlreadyStopped)
        } else if standing.open.contains(&line.id) {
            (CanStop::NotYetKnown, LineReason::StopPending)
        } else if !standing.by_lines && !matches!(standing.can_stop, CanStop::Yes | CanStop::No) {
            (CanStop::No, LineReason::WholeOrderOnly)
        } else if standing.awaiting.contains(&line.id) && standing.can_stop != CanStop::No {
            (standing.can_stop, LineReason::AwaitsMerchant)
        } else {
            (standing.can_stop, LineReason::AsOrder)
        };
        LineVerdict {
            item: line.id.clone(),
            can_stop,
            reason,
            restock: can_stop != CanStop::No && restocks(line, policy, standing.stage),
            withdrawal: withdrawal(line, standing.stage),
        }
    };
    lines.iter().map(judge).collect()
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
