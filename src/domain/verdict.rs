//! The verdict: can this order still be stopped, until when, and who decides.
//!
//! A verdict is advice, computed from the stored facts of one order; the grant itself is
//! [`stop::grant`](super::stop::grant), on the facts that hold when a stop is asked. The two agree:
//! the verdict says `yes` if and only if a stop asked on these facts is granted at once.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::address;
use super::batch::{BatchFacts, BatchPhase, TransferPhase, later};
use super::downloads::{self, DownloadVerdict};
use super::hours::AnswerDue;
use super::ids::OrderId;
use super::lab::{Contact, LabSpec, Profile, StopsVia, TakesStops};
use super::lines::{self, LineVerdict};
use super::order::{Held, OrderFacts, Stage};
use super::platform::{PlatformPolicy, PlatformSpec, Refund, ServiceFee};
use super::policy::{self, PolicyValue};
use super::stop::{Evidence, StopFacts, StopState};

/// Below so many cases no odds are shown.
pub const CASES_MIN: i64 = 10;
/// The 97.5 % quantile of the normal distribution: what makes the interval one of 95 %.
const Z: f64 = 1.959_964;

/// Whether the order can still be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CanStop {
    /// The gateway still has it: a stop before `until` succeeds, guaranteed.
    Yes,
    /// The lab has it and may say yes.
    AskLab,
    /// There is no channel for a machine: a person asks.
    AskPerson,
    /// It is being handed over, or a stop is pending: ask again in seconds.
    NotYetKnown,
    /// No.
    No,
}

/// Why. The list is closed: a new word comes with a new version of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is not paid for, and so in no batch.
    AwaitingPayment,
    /// It is held, and so in no batch.
    OnHold,
    /// It is in review, and so in no batch.
    InReview,
    /// Its window is open.
    InOpenBatch,
    /// Its window has closed, and nothing has left the house yet. It may leave at any moment.
    WaitingForTransfer,
    /// It is being handed over right now.
    BeingTransferred,
    /// It was sent, and whether the lab has it is not known yet.
    TransferUnclear,
    /// It was sent, and a person finds out whether the lab has it.
    TransferWithAPerson,
    /// The lab has it.
    AtLab,
    /// The lab has it, and produces at once.
    ImmediateProduction,
    /// The lab has it, and what it has is final by contract.
    LabNeverTakesStops,
    /// The lab makes it.
    InProduction,
    /// It has left the lab.
    Shipped,
    /// A stop was asked, and its answer is still to come.
    StopPending,
    /// A stop was asked, and a person decides on it.
    StopWithAPerson,
    /// It is stopped.
    AlreadyStopped,
    /// Some of its lines are stopped.
    StoppedInPart,
    /// A stop was asked, and the lab said no.
    RefusedByLab,
    /// A stop was asked, and it was too late.
    TooLate,
    /// The customer asked for a stop, and the merchant decides. A stop that the merchant asks is decided at once.
    StopAwaitsMerchant,
    /// It waits for the stop of the order that it replaces.
    Replacing,
}

/// Who decides on a stop that is asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecidedBy {
    /// The gateway, at once.
    Gateway,
    /// The lab.
    Lab,
    /// A person.
    Person,
    /// Nobody: there is nothing left to decide.
    Nobody,
}

/// Through whom the answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Ask for the stop here: the gateway asks the lab, or a person who does.
    Gateway,
    /// Ask for the stop here, and contact the lab as well: it decides with people.
    Contact,
}

/// What to do, and until when an answer is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Next {
    /// Through whom.
    pub channel: Channel,
    /// Whom to ask at the lab; null where the lab takes stops through the gateway only.
    pub contact: Option<Contact>,
    /// The latest instant of an answer, if the stop is asked now; of one that was asked, its deadline.
    #[schema(value_type = String, format = DateTime)]
    pub answer_due_at: Timestamp,
    /// The same on the clocks of the region that prints, where the lab's contact hours decide it.
    #[schema(example = "2026-11-23T08:30:00+02:00[Europe/Helsinki]")]
    pub answer_due_local: Option<String>,
    /// Why it is due then: `contact_hours` and the hours; null where `answers_within` counts by the clock.
    #[schema(example = "contact_hours mon-fri 08:00-16:00")]
    pub answer_due_rule: Option<String>,
}

impl Next {
    /// Says when an answer is due by contact hours.
    pub fn due(&mut self, due: AnswerDue) {
        self.answer_due_at = due.at;
        self.answer_due_local = Some(due.local);
        self.answer_due_rule = Some(due.rule);
    }
}

/// How comparable stops at this lab ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Odds {
    /// How many were asked as long after the hand-over.
    pub asked: i64,
    /// How many of them the lab took out.
    pub stopped: i64,
    /// Lower end of the 95 % Wilson interval of the share that is stopped, 0 to 1.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Odds {
    /// The odds of `stopped` out of `asked`; `None` below [`CASES_MIN`] cases.
    #[must_use]
    pub fn of(asked: i64, stopped: i64) -> Option<Self> {
        if asked < CASES_MIN || !(0..=asked).contains(&stopped) {
            return None;
        }
        let n = asked as f64;
        let share = stopped as f64 / n;
        let z2 = Z * Z;
        let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = Z / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
        let cut = |x: f64| (x.clamp(0.0, 1.0) * 10_000.0).round() / 10_000.0;
        Some(Self { asked, stopped, low: cut(centre - half), high: cut(centre + half) })
    }
}

/// What a stop brings with it, by the platform's policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Consequences {
    /// Who refunds.
    pub refund: Refund,
    /// What happens to the service fee.
    pub service_fee: ServiceFee,
    /// Whether goods go back to stock: none that are made for one customer, and none once production began. Which
    /// lines do is said with each, where one order is read.
    pub restock: bool,
    /// An item is made for one customer: there is no right of withdrawal once it is made.
    pub personalised: bool,
}

/// What of an order can still be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Changeable {
    /// `ship_to`.
    ShippingAddress,
    /// `bill_to`.
    BillingAddress,
    /// `items`.
    Items,
}

/// Can this order still be stopped?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// The order.
    pub order: OrderId,
    /// The instant of this verdict. It is decided when a stop is asked, not when the verdict is read.
    #[schema(value_type = String, format = DateTime)]
    pub as_of: Timestamp,
    /// Whether it can be stopped.
    pub can_stop: CanStop,
    /// Why.
    pub reason: Reason,
    /// Until when `yes` is guaranteed: the cutoff of its window, or the earliest of those that its products
    /// have. Null with `yes`: it can be stopped now, and no instant is promised.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// `until` as the clocks of the production region show it, with the zone.
    #[schema(example = "2026-11-22T00:00:00+01:00[Europe/Berlin]")]
    pub until_local: Option<String>,
    /// Who decides on a stop that is asked now.
    pub decided_by: DecidedBy,
    /// What to do where the gateway does not decide by itself.
    pub next: Option<Next>,
    /// How comparable stops ended, where the lab decides; null below 10 cases.
    pub odds: Option<Odds>,
    /// What a stop brings with it.
    pub consequences: Consequences,
    /// What can still be changed.
    pub can_change: Vec<Changeable>,
    /// Each line that is printed: whether it can be stopped by itself, and what that brings. Only where one order is
    /// read or stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub lines: Vec<LineVerdict>,
    /// Each download beside them: how it stands. It is stopped by nobody but its platform.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub downloads: Vec<DownloadVerdict>,
    /// The rules that are in force for it, each with where it comes from.
    pub policy: Vec<PolicyValue>,
}

/// What the stored facts say, before dates, contacts and policies are added.
type Ruling = (CanStop, Reason, DecidedBy);

/// The ruling on a stop that is asked on these facts.
fn ruling(order: &OrderFacts, lab: &LabSpec) -> Ruling {
    if let Some(stop) = &order.stop {
        return asked(stop, order, lab);
    }
    match as_it_lies(order, lab) {
        // Who would decide on a stop is the same; that somebody wants one is the news.
        (can_stop, _, by) if can_stop != CanStop::No && order.extras.open_approval().is_some() => {
            (can_stop, Reason::StopAwaitsMerchant, by)
        }
        ruling => ruling,
    }
}

/// The ruling by where the order is.
fn as_it_lies(order: &OrderFacts, lab: &LabSpec) -> Ruling {
    let no = |reason| (CanStop::No, reason, DecidedBy::Nobody);
    let yes = |reason| (CanStop::Yes, reason, DecidedBy::Gateway);
    let takes = lab.policy.takes(lab.profile.stops);
    let made = order.stage == Stage::InProduction;
    match order.stage {
        Stage::Shipped => return no(Reason::Shipped),
        Stage::Printed => return no(Reason::InProduction),
        Stage::InProduction if takes != TakesStops::Yes => return no(Reason::InProduction),
        _ => {}
    }
    match order.transfer.as_ref().map(|transfer| transfer.phase) {
        None => yes(waiting(order)),
        Some(TransferPhase::Closed | TransferPhase::Empty) => yes(Reason::WaitingForTransfer),
        Some(TransferPhase::Sending) => (CanStop::NotYetKnown, Reason::BeingTransferred, DecidedBy::Lab),
        Some(TransferPhase::Unknown) => (CanStop::NotYetKnown, Reason::TransferUnclear, DecidedBy::Lab),
        Some(TransferPhase::WithAPerson) => {
            (CanStop::AskPerson, Reason::TransferWithAPerson, DecidedBy::Person)
        }
        Some(TransferPhase::AtLab) => {
            let at_once = lab.policy.immediate_production;
            let people = lab.profile_in_force().by_person();
            match takes {
                TakesStops::Yes if people && made => {
                    (CanStop::AskPerson, Reason::InProduction, DecidedBy::Person)
                }
                TakesStops::Yes if people => (CanStop::AskPerson, Reason::AtLab, DecidedBy::Person),
                TakesStops::Yes if made => (CanStop::AskLab, Reason::InProduction, DecidedBy::Lab),
                TakesStops::Yes => (CanStop::AskLab, Reason::AtLab, DecidedBy::Lab),
                TakesStops::No if at_once => {
                    (CanStop::AskPerson, Reason::ImmediateProduction, DecidedBy::Person)
                }
                TakesStops::No => (CanStop::AskPerson, Reason::AtLab, DecidedBy::Person),
                TakesStops::FinalOnReceipt if at_once => no(Reason::ImmediateProduction),
                TakesStops::FinalOnReceipt => no(Reason::LabNeverTakesStops),
            }
        }
    }
}

/// Why an order that is in no transfer waits.
fn waiting(order: &OrderFacts) -> Reason {
    match &order.batch {
        Some(batch) if batch.phase == BatchPhase::Open => Reason::InOpenBatch,
        Some(_) => Reason::WaitingForTransfer,
        None if order.extras.waits_for_another() => Reason::Replacing,
        None if !order.paid => Reason::AwaitingPayment,
        None if order.held == Held::Review => Reason::InReview,
        None => Reason::OnHold,
    }
}

/// The ruling where a stop was asked before.
fn asked(stop: &StopFacts, order: &OrderFacts, lab: &LabSpec) -> Ruling {
    let no = |reason| (CanStop::No, reason, DecidedBy::Nobody);
    let there = order.transfer.as_ref().is_some_and(|transfer| transfer.phase == TransferPhase::AtLab);
    match stop.state {
        // It waits for the lab's people: not a matter of seconds.
        StopState::Pending if there && lab.profile_in_force().by_person() => {
            (CanStop::AskPerson, Reason::StopPending, DecidedBy::Person)
        }
        // A proof that the lab never had it may still decide, but nobody can promise one.
        StopState::Pending => (CanStop::NotYetKnown, Reason::StopPending, DecidedBy::Lab),
        StopState::WithAPerson => (CanStop::AskPerson, Reason::StopWithAPerson, DecidedBy::Person),
        StopState::Stopped => no(Reason::AlreadyStopped),
        StopState::StoppedInPart => no(Reason::StoppedInPart),
        StopState::TooLate => no(match (stop.evidence, order.stage) {
            (_, Stage::Shipped) | (Some(Evidence::Shipped), _) => Reason::Shipped,
            (Some(Evidence::InProduction), _) => Reason::InProduction,
            (Some(Evidence::LabRefused), _) => Reason::RefusedByLab,
            (Some(Evidence::FinalOnReceipt), _) => Reason::LabNeverTakesStops,
            _ => Reason::TooLate,
        }),
    }
}

/// Whether odds say something about these facts: only where the lab decides.
#[must_use]
pub fn wants_odds(order: &OrderFacts, lab: &LabSpec) -> bool {
    ruling(order, lab).0 == CanStop::AskLab
}

/// The verdict on an order as of `now`. `odds` is `(asked, stopped)` of comparable stops.
#[must_use]
pub fn verdict(
    order: &OrderFacts,
    lab: &LabSpec,
    platform: Option<&PlatformSpec>,
    odds: Option<(i64, i64)>,
    now: Timestamp,
) -> Verdict {
    let (can_stop, reason, decided_by) = ruling(order, lab);
    let rules = platform.map(|platform| &platform.policy);
    // A cutoff that has passed while the batch is still stored as open is promised to nobody.
    // Nor is one of a window that may close before it.
    let promised = |batch: &&BatchFacts| batch.promised && batch.closes_at > now;
    let window = order.batch.as_ref().filter(|_| reason == Reason::InOpenBatch).filter(promised);
    Verdict {
        order: order.id.clone(),
        as_of: now,
        can_stop,
        reason,
        until: window.map(|batch| batch.closes_at),
        until_local: window.map(|batch| batch.closes_at_local.clone()),
        decided_by,
        next: next(can_stop, order, lab, now),
        odds: odds
            .filter(|_| can_stop == CanStop::AskLab)
            .and_then(|(asked, stopped)| Odds::of(asked, stopped)),
        consequences: consequences(order, rules),
        can_change: can_change(order, &lab.profile),
        lines: Vec::new(),
        downloads: Vec::new(),
        policy: policy::in_force(order, lab, rules),
    }
}

/// The verdict on each line of an order that is printed. `open` are the lines that were asked about, and are not decided.
#[must_use]
pub fn lines(
    order: &OrderFacts,
    lab: &LabSpec,
    platform: Option<&PlatformSpec>,
    can_stop: CanStop,
    open: &[String],
) -> Vec<LineVerdict> {
    let awaiting = order.extras.lines_awaiting();
    let standing = lines::Standing {
        can_stop,
        stopped: order.stop.as_ref().is_some_and(|stop| stop.state == StopState::Stopped),
        // While a stop of the whole order is open, none of a line is asked.
        by_lines: lab.profile_in_force().stops_lines && order.stop.is_none(),
        stage: order.stage,
        out: &order.lines_out,
        open,
        awaiting: &awaiting,
    };
    let policy = platform.map(|platform| platform.policy.clone()).unwrap_or_default();
    let mut lines = lines::read(&order.document);
    lines.retain(|line| !downloads::is_download(line));
    lines::judge(&lines, &standing, &policy)
}

fn next(can_stop: CanStop, order: &OrderFacts, lab: &LabSpec, now: Timestamp) -> Option<Next> {
    if matches!(can_stop, CanStop::Yes | CanStop::No) {
        return None;
    }
    let via = lab.policy.stops_via;
    let contact = lab.policy.contact_shown().cloned();
    let channel =
        if via == StopsVia::Contact && contact.is_some() { Channel::Contact } else { Channel::Gateway };
    let answered = later(now, lab.profile.answers_within.0);
    let unclear = matches!(can_stop, CanStop::NotYetKnown);
    let answer_due_at = match (&order.stop, &order.transfer) {
        (Some(stop), _) => stop.deadline_at,
        // By then it is known whether the lab has it, or a person takes it.
        (None, Some(transfer)) if unclear => transfer.deadline_at,
        _ => answered,
    };
    let why = order.stop.as_ref().and_then(|stop| stop.deadline_why.clone());
    let (answer_due_local, answer_due_rule) = why.unzip();
    Some(Next { channel, contact, answer_due_at, answer_due_local, answer_due_rule })
}

fn consequences(order: &OrderFacts, policy: Option<&PlatformPolicy>) -> Consequences {
    let unless_told = PlatformPolicy::default();
    let policy = policy.unwrap_or(&unless_told);
    let stocked = |line: &lines::Line| {
        !order.lines_out.contains(&line.id) && lines::restocks(line, policy, order.stage)
    };
    Consequences {
        refund: policy.refund,
        service_fee: policy.service_fee,
        restock: policy.restock && lines::read(&order.document).iter().any(stocked),
        // The document was written by `Submission::document`. Inside of a string its quotes would
        // be escaped, and the values of options and metadata are strings: only an item matches.
        personalised: order.document.contains(r#""personalised":true"#),
    }
}

/// What of an order its stored facts allow to be changed: after the hand-over only its address, where its lab is asked,
/// and decides. The store decides again when it is.
#[must_use]
pub fn can_change(order: &OrderFacts, profile: &Profile) -> Vec<Changeable> {
    let mut list = Vec::new();
    if address::asks_lab(order, profile) {
        let open = order.extras.address_change.as_ref().is_some_and(|change| change.state.is_open());
        list.extend((!open).then_some(Changeable::ShippingAddress));
        return list;
    }
    let handed = order
        .transfer
        .as_ref()
        .is_some_and(|transfer| !matches!(transfer.phase, TransferPhase::Closed | TransferPhase::Empty));
    if handed || order.stop.is_some() || order.stage != Stage::Received {
        return list;
    }
    list.push(Changeable::ShippingAddress);
    if order.batch.is_none() && !order.paid {
        list.push(Changeable::BillingAddress);
    }
    if order.batch.is_none() && order.paid && order.held == Held::Review {
        list.push(Changeable::Items);
    }
    list
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
pub(super) mod tests;
