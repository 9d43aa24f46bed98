//! What of an order only a few have, for ops: what holds it, what the merchant decides, which order it stands for.

use axum::extract::{Path, State};
use serde::Deserialize;

use super::named;
use super::words::{self, Badge};
use crate::api::auth::Caller;
use crate::api::page::board::{iso, utc};
use crate::api::page::{Form, Shown, see};
use crate::api::problem::Problem;
use crate::api::{Api, approvals};
use crate::domain::Fault;
use crate::domain::downloads::DownloadVerdict;
use crate::domain::extras::{ApprovalFacts, ApprovalState, Extras, HoldKind, Link, LinkState};
use crate::domain::ids::{ApprovalId, OrderId};
use crate::domain::lines::{self, Line};
use crate::domain::order::OrderFacts;
use crate::domain::verdict::Verdict;
use crate::store::ApprovalRow;

/// A hold.
pub(super) struct HoldShown {
    pub(super) what: &'static str,
    pub(super) owner: String,
    pub(super) reason: String,
    pub(super) since: (String, String),
}

/// What the merchant decides.
pub(super) struct ApprovalShown {
    pub(super) id: ApprovalId,
    pub(super) order: OrderId,
    pub(super) badge: Badge,
    pub(super) open: bool,
    pub(super) held: bool,
    /// The lines that it names; empty: the whole order.
    pub(super) lines: String,
    pub(super) reason: String,
    pub(super) comment: Option<String>,
    pub(super) asked: (String, String),
    pub(super) due: (String, String),
    /// When, by whom, in which words.
    pub(super) decided: Option<((String, String), String, String)>,
}

impl From<&ApprovalFacts> for ApprovalShown {
    fn from(facts: &ApprovalFacts) -> Self {
        let by = facts.decided_by.as_deref().map(words::who).unwrap_or_default();
        let why = facts.why.clone().unwrap_or_default();
        Self {
            id: facts.id.clone(),
            order: facts.order.clone(),
            badge: match facts.state {
                ApprovalState::Open => ("warn", "waits for the merchant"),
                ApprovalState::Approved => ("ok", "the merchant agreed"),
                ApprovalState::Declined => ("bad", "the merchant declined"),
                ApprovalState::Overtaken => ("", "somebody else asked for a stop"),
            },
            open: facts.state == ApprovalState::Open,
            held: facts.held,
            lines: facts.items.as_ref().map(|items| items.join(", ")).unwrap_or_default(),
            reason: facts.reason.clone(),
            comment: facts.comment.clone(),
            asked: (iso(facts.asked_at), utc(facts.asked_at)),
            due: (iso(facts.due_at), utc(facts.due_at)),
            decided: facts.decided_at.map(|at| ((iso(at), utc(at)), by, why)),
        }
    }
}

/// An approval in a list.
pub(super) struct ApprovalListed {
    pub(super) it: ApprovalShown,
    pub(super) reference: String,
    pub(super) platform: String,
    pub(super) lab: String,
}

impl From<&ApprovalRow> for ApprovalListed {
    fn from(row: &ApprovalRow) -> Self {
        Self {
            it: ApprovalShown::from(&row.approval),
            reference: row.reference.clone(),
            platform: row.approval.platform.clone(),
            lab: row.approval.lab.clone(),
        }
    }
}

/// The other order of a replacement, and how it stands.
pub(super) struct LinkShown {
    pub(super) order: OrderId,
    pub(super) how: &'static str,
}

impl From<&Link> for LinkShown {
    fn from(link: &Link) -> Self {
        Self {
            order: link.order.clone(),
            how: match link.state {
                LinkState::Waiting => {
                    "The new order waits, in no window, until the stop of the old one is decided."
                }
                LinkState::Released => "The old order is stopped, and the new one was released.",
                LinkState::Abandoned => "The old order is printed, and the new one was stopped in its stead.",
                LinkState::Withdrawn => "The new order was stopped by itself while it waited.",
            },
        }
    }
}

/// All of it.
pub(super) struct ExtrasShown {
    pub(super) holds: Vec<HoldShown>,
    /// Of the whole order, and then those of lines.
    pub(super) approvals: Vec<ApprovalShown>,
    pub(super) replaces: Option<LinkShown>,
    pub(super) replaced_by: Option<LinkShown>,
    /// Of each download its name, how it stands, and when an answer is due.
    pub(super) downloads: Vec<DownloadShown>,
}

/// A download.
pub(super) struct DownloadShown {
    pub(super) name: String,
    pub(super) badge: Badge,
    pub(super) how: &'static str,
    pub(super) due: Option<(String, String)>,
}

impl DownloadShown {
    fn of(download: &DownloadVerdict, lines: &[Line]) -> Self {
        let sku = lines.iter().find(|line| line.id == download.item).map(|line| line.sku.as_str());
        let (badge, how) = words::download(download);
        Self {
            name: format!("{} (line {})", sku.unwrap_or("not in the order any more"), download.item),
            badge,
            how,
            due: download.answer_due_at.map(|at| (iso(at), utc(at))),
        }
    }
}

impl ExtrasShown {
    /// Of an order, with its downloads as the verdict on it tells them.
    pub(super) fn of(order: &OrderFacts, verdict: &Verdict) -> Self {
        let lines = if verdict.downloads.is_empty() { Vec::new() } else { lines::read(&order.document) };
        let downloads = verdict.downloads.iter().map(|it| DownloadShown::of(it, &lines)).collect();
        Self { downloads, ..Self::from(&order.extras) }
    }
}

impl From<&Extras> for ExtrasShown {
    fn from(extras: &Extras) -> Self {
        let hold = |hold: &crate::domain::extras::HoldFacts| HoldShown {
            what: match hold.kind {
                HoldKind::Hold => "held",
                HoldKind::Review => "in review",
                HoldKind::Approval => "until the merchant decides",
                HoldKind::Replacing => "until the order that it replaces is stopped",
            },
            owner: hold.owner.clone(),
            reason: hold.reason.clone(),
            since: (iso(hold.put_at), utc(hold.put_at)),
        };
        Self {
            holds: extras.holds.iter().map(hold).collect(),
            approvals: extras
                .approval
                .iter()
                .chain(&extras.line_approvals)
                .map(ApprovalShown::from)
                .collect(),
            replaces: extras.replaces.as_ref().map(LinkShown::from),
            replaced_by: extras.replaced_by.as_ref().map(LinkShown::from),
            downloads: Vec::new(),
        }
    }
}

/// The form of a merchant's decision, taken by ops.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ApprovalForm {
    decision: String,
    reason: String,
}

/// Decides for the merchant, by the same function as the API does.
pub(in crate::api) async fn decide(
    api: State<Api>,
    caller: Caller,
    path: Path<String>,
    form: Form<ApprovalForm>,
) -> Shown {
    let id = named(&path, ApprovalId::parse)?;
    let agrees = match form.0.decision.as_str() {
        "approve" => true,
        "decline" => false,
        other => return Err(Problem::from(Fault::not("decision", other, "approve or decline")).into()),
    };
    let decided = approvals::decide(&api, &caller, id, agrees, Some(form.0.reason)).await?;
    Ok(see(&format!("/ops/orders/{}", decided.approval.order)))
}
