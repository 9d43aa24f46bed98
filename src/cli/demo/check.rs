//! The check: every answer that the gateway gave, against what the labs did.
//!
//! It is pure. The answers come from the public API as they were given, the truth from the labs'
//! ledgers; the gateway's own opinion of itself counts for nothing here.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::simulate::ledger;
use crate::domain::order::{OrderState, Stage};
use crate::domain::stop::{Evidence, StopState};

/// An answer about a stop, as it was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// When.
    pub at: Timestamp,
    /// When the stop was asked, by the answer.
    pub asked_at: Timestamp,
    /// What was told.
    pub state: StopState,
    /// On what it rests, by the answer.
    pub evidence: Option<Evidence>,
}

/// What is known of an order that the gateway accepted.
#[derive(Debug, Clone, Serialize)]
pub struct Account {
    /// The gateway's id.
    pub id: String,
    /// The shop's reference.
    pub reference: String,
    /// The lab and region.
    pub lab: String,
    /// The latest instant until which a stop was promised to succeed.
    pub promised: Option<Timestamp>,
    /// Whether something of it is to be printed.
    pub printed: bool,
    /// Every answer about its stop, in the order in which they were told.
    pub told: Vec<Told>,
    /// Its state at the end; `None` if the gateway does not list it any more.
    pub state: Option<OrderState>,
}

impl Account {
    /// The last answer about its stop.
    #[must_use]
    pub fn last(&self) -> Option<&Told> {
        self.told.last()
    }
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Something was promised or told that is not so.
    BrokenPromise,
    /// Nobody prints an order, and nobody knows.
    Loss,
    /// An order was printed more than once.
    DoublePrint,
    /// The gateway answered what it never should, or its log does not hold together.
    Fault,
}

impl Kind {
    /// All kinds, with the words for many of them.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::BrokenPromise, "broken promises"),
        (Self::Loss, "losses"),
        (Self::DoublePrint, "double prints"),
        (Self::Fault, "faults"),
    ];
}

/// A violation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// What kind.
    pub kind: Kind,
    /// The order, if it is one's.
    pub order: Option<String>,
    /// What was told, and what is so.
    pub text: String,
}

/// What the check found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Findings {
    /// Violations.
    pub violations: Vec<Violation>,
    /// What is no violation, and worth knowing.
    pub remarks: BTreeMap<String, usize>,
    /// How many answers about stops were compared.
    pub answers: usize,
    /// How many orders.
    pub orders: usize,
    /// Stops that had to succeed, because they were asked before the promised instant.
    pub in_time: usize,
}

impl Findings {
    /// How many violations of a kind there are.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.violations.iter().filter(|violation| violation.kind == kind).count()
    }

    fn add(&mut self, kind: Kind, account: &Account, text: String) {
        let text = format!("{} ({}): {text}", account.reference, account.lab);
        self.violations.push(Violation { kind, order: Some(account.id.clone()), text });
    }
}

/// Compares what was told with what was done. The labs must have printed all that they ever will.
#[must_use]
pub fn check(accounts: &[Account], ledgers: &BTreeMap<String, Vec<ledger::Verdict>>) -> Findings {
    let mut found = Findings { orders: accounts.len(), ..Findings::default() };
    let mut truth: BTreeMap<&str, Vec<(&str, &ledger::Verdict)>> = BTreeMap::new();
    for (lab, verdicts) in ledgers {
        for verdict in verdicts {
            truth.entry(&verdict.order).or_default().push((lab, verdict));
        }
    }
    for account in accounts {
        let at = truth.remove(account.id.as_str()).unwrap_or_default();
        one(&mut found, account, &at);
    }
    for (order, at) in truth {
        let labs: Vec<_> = at.iter().map(|(lab, _)| *lab).collect();
        found.violations.push(Violation {
            kind: Kind::Fault,
            order: Some(order.to_owned()),
            text: format!("{order} is in the ledger of {}, and was never accepted", labs.join(", ")),
        });
    }
    found.violations.sort_by_key(|violation| violation.kind);
    found
}

/// Compares how far a lab that reports by itself says that orders are with what the gateway shows at the end.
#[must_use]
pub fn heard(accounts: &[Account], reached: &BTreeMap<String, Stage>) -> Vec<Violation> {
    let told = accounts.iter().filter_map(|account| {
        let stage = *reached.get(&account.id)?;
        let expected = match stage {
            Stage::Received => return None,
            Stage::InProduction => OrderState::InProduction,
            Stage::Printed => OrderState::Printed,
            Stage::Shipped => OrderState::Shipped,
        };
        let state = account.state.filter(|state| *state != expected)?;
        let (reference, lab) = (&account.reference, &account.lab);
        let text = format!("{reference} ({lab}): the lab reported {stage:?}, and it is shown as {state:?}");
        Some(Violation { kind: Kind::Fault, order: Some(account.id.clone()), text })
    });
    told.collect()
}

fn one(found: &mut Findings, account: &Account, truth: &[(&str, &ledger::Verdict)]) {
    found.answers += account.told.len();
    let prints: u64 = truth.iter().map(|(_, verdict)| verdict.prints).sum();
    let waiting: u64 = truth.iter().map(|(_, verdict)| verdict.waiting).sum();
    let received = truth.iter().any(|(_, verdict)| verdict.received > 0);

    if prints > 1 {
        found.add(Kind::DoublePrint, account, format!("was printed {prints} times"));
    }
    if let Some((lab, _)) = truth.iter().find(|(lab, _)| !account.lab.starts_with(&format!("{lab}/"))) {
        found.add(Kind::Fault, account, format!("reached {lab}, which is not its lab"));
    }
    if account.printed && waiting > 0 {
        let text = format!("{waiting} prints are still to come: the labs were not run to their end");
        found.add(Kind::Fault, account, text);
    }

    let told = |state| account.told.iter().find(move |told| told.state == state);
    if let (Some(told), true) = (told(StopState::Stopped), prints > 0) {
        let text = format!("was told stopped at {} ({}), and was printed", told.at, evidence(told));
        found.add(Kind::BrokenPromise, account, text);
    }
    for pair in account.told.windows(2) {
        let settled =
            matches!(pair[0].state, StopState::Stopped | StopState::TooLate | StopState::StoppedInPart);
        if settled && pair[1].state != pair[0].state {
            let (was, is) = (pair[0].state.word(), pair[1].state.word());
            found.add(
                Kind::BrokenPromise,
                account,
                format!("was told {was} at {}, and {is} at {}", pair[0].at, pair[1].at),
            );
        }
        if pair[0].asked_at != pair[1].asked_at {
            found.add(Kind::Fault, account, "the instant at which its stop was asked has changed".to_owned());
        }
    }
    if let (Some(first), Some(promised)) = (account.told.first(), account.promised)
        && first.asked_at < promised
    {
        found.in_time += 1;
        if let Some(other) = account.told.iter().find(|told| told.state != StopState::Stopped) {
            let text = format!(
                "was asked to stop at {}, before the {promised} that it was promised, and was told {} at {}",
                first.asked_at,
                other.state.word(),
                other.at
            );
            found.add(Kind::BrokenPromise, account, text);
        }
    }
    let last = account.last().map(|told| told.state);
    match (last, account.state) {
        (_, None) => found.add(Kind::Loss, account, "the gateway does not know it any more".to_owned()),
        (Some(StopState::Stopped), Some(state)) if state != OrderState::Stopped => {
            found.add(Kind::BrokenPromise, account, format!("was told stopped, and is shown as {state:?}"));
        }
        (last, Some(OrderState::Stopped)) if last != Some(StopState::Stopped) => {
            found.add(Kind::Loss, account, "is shown as stopped, and nobody was told so".to_owned());
        }
        (Some(StopState::Pending), _) => {
            let text = "its stop is pending after every deadline: neither answered nor with a person";
            found.add(Kind::BrokenPromise, account, text.to_owned());
        }
        _ => {}
    }

    let with_a_person =
        last == Some(StopState::WithAPerson) || account.state == Some(OrderState::WithAPerson);
    let withheld = matches!(
        account.state,
        Some(OrderState::AwaitingPayment | OrderState::OnHold | OrderState::InReview)
    );
    let stopped = last == Some(StopState::Stopped);
    let missing = if account.printed { prints == 0 } else { !received };
    if missing && !stopped && !with_a_person && !withheld && account.state.is_some() {
        let state = account.state.map_or_else(String::new, |state| format!("{state:?}"));
        let what = if received { "a lab has taken it out" } else { "no lab ever got it" };
        found.add(Kind::Loss, account, format!("nobody prints it: {what}; the gateway shows it as {state}"));
    }
    if with_a_person {
        *found.remarks.entry("orders that wait for a person".to_owned()).or_default() += 1;
    }
    if stopped && received && prints == 0 {
        *found.remarks.entry("orders that a lab had and took out again".to_owned()).or_default() += 1;
    }
}

fn evidence(told: &Told) -> &'static str {
    told.evidence.map_or("no evidence", Evidence::word)
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
