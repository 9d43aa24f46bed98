//! Every combination of stored facts, and what must hold of its verdict.

use super::*;
use crate::domain::batch::{BatchFacts, TransferFacts};
use crate::domain::extras::{ApprovalFacts, ApprovalState, Extras, Link, LinkState};
use crate::domain::ids::{ApprovalId, BatchId, LabId, PlatformId, RegionId, StopId, TransferId};
use crate::domain::lab::{DriverSpec, LabPolicy, Profile, StopChannel};
use crate::domain::order::OrderState;
use crate::domain::stop::{AskedBy, grant};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

fn hex32(kind: &str) -> String {
    format!("{kind}_{}", "0".repeat(32))
}

fn lab(stops: TakesStops, via: StopsVia, at_once: bool) -> LabSpec {
    LabSpec {
        id: LabId::parse("nordprint").unwrap(),
        name: "Nordprint".into(),
        driver: DriverSpec { kind: "http".into(), settings: serde_json::Map::new() },
        profile: Profile { stops, ..Profile::default() },
        policy: LabPolicy {
            stops_via: via,
            contact: Some(Contact { email: Some("a@b.example".into()), ..Contact::default() }),
            immediate_production: at_once,
            grace: None,
        },
        regions: Vec::new(),
    }
}

pub(in crate::domain) fn batch(phase: BatchPhase, closes_at: Timestamp) -> BatchFacts {
    BatchFacts {
        id: BatchId::parse(&hex32("bat")).unwrap(),
        lab: LabId::parse("nordprint").unwrap(),
        region: RegionId::parse("fi").unwrap(),
        phase,
        direct: false,
        opens_at: at(-100),
        window_at: closes_at,
        closes_at,
        closes_at_local: "local".into(),
        production_date: "2026-11-21".into(),
        rule: "regular 24:00".into(),
        time_zone: "Europe/Helsinki".into(),
        tzdata: "2026f".into(),
        closed_at: None,
        promised: true,
        version: 1,
    }
}

pub(in crate::domain) fn transfer(phase: TransferPhase) -> TransferFacts {
    TransferFacts {
        id: TransferId::parse(&hex32("trf")).unwrap(),
        lab: LabId::parse("nordprint").unwrap(),
        batch: BatchId::parse(&hex32("bat")).unwrap(),
        phase,
        fence: 1,
        attempts: 1,
        unresolved: 1,
        first_at: at(0),
        horizon_at: at(300),
        key_until: None,
        deadline_at: at(6000),
        next_at: at(0),
        handed_at: None,
        version: 1,
    }
}

pub(in crate::domain) fn stop(state: StopState, evidence: Option<Evidence>) -> StopFacts {
    StopFacts {
        id: StopId::parse(&hex32("stp")).unwrap(),
        order: OrderId::parse(&hex32("ord")).unwrap(),
        state,
        evidence,
        reason: "wrong size".into(),
        comment: None,
        asked_by: AskedBy::System,
        asked_at: at(0),
        handed_at: None,
        deadline_at: at(1800),
        deadline_why: None,
        next_at: at(0),
        attempts: 0,
        delivered_at: None,
        decided_at: None,
        answer: None,
        items: None,
        requested_by: None,
        terms: None,
    }
}

/// An order that waits for nothing but its window.
pub(in crate::domain) fn order() -> OrderFacts {
    OrderFacts {
        id: OrderId::parse(&hex32("ord")).unwrap(),
        platform: PlatformId::parse("shop").unwrap(),
        lab: LabId::parse("nordprint").unwrap(),
        region: RegionId::parse("fi").unwrap(),
        reference: "A-1".into(),
        document: r#"{"items":[{"personalised":true}]}"#.into(),
        admitted_at: at(-50),
        paid: true,
        held: Held::No,
        stage: Stage::Received,
        version: 1,
        batch: None,
        transfer: None,
        stop: None,
        lines_out: Vec::new(),
        extras: Extras::default(),
    }
}

/// Every order that the stored facts can describe, stops aside.
fn orders() -> Vec<OrderFacts> {
    let bare = order();
    let mut all = Vec::new();
    for (paid, held) in [(false, Held::No), (true, Held::Hold), (true, Held::Review)] {
        all.push(OrderFacts { paid, held, ..bare.clone() });
    }
    for phase in [BatchPhase::Open, BatchPhase::Closed] {
        for closes in [-10, 0, 10] {
            all.push(OrderFacts { batch: Some(batch(phase, at(closes))), ..bare.clone() });
        }
    }
    for phase in (0..=5).filter_map(TransferPhase::from_code) {
        for stage in (0..=3).filter_map(Stage::from_code) {
            all.push(OrderFacts {
                stage,
                batch: Some(batch(BatchPhase::HandedOn, at(-10))),
                transfer: Some(transfer(phase)),
                ..bare.clone()
            });
        }
    }
    all
}

fn labs() -> Vec<LabSpec> {
    let mut all = Vec::new();
    for stops in [TakesStops::Yes, TakesStops::No, TakesStops::FinalOnReceipt] {
        for via in [StopsVia::Lab, StopsVia::GatewayOnly, StopsVia::Contact] {
            all.extend([false, true].map(|at_once| lab(stops, via, at_once)));
            // Its people answer: as told, or because it has a contact and no machine.
            let mut told = lab(stops, via, false);
            told.profile.channel = Some(StopChannel::Person);
            let mut nobody_to_call = lab(stops, via, false);
            nobody_to_call.driver.kind = "person".into();
            all.extend([told, nobody_to_call]);
        }
    }
    all
}

#[test]
fn yes_if_and_only_if_a_stop_is_granted_at_once() {
    for order in orders() {
        for lab in labs() {
            let now = verdict(&order, &lab, None, None, at(0));
            let profile = lab.profile_in_force();
            let (state, _) = grant(order.transfer.as_ref(), order.stage, &profile);
            let expected = match state {
                StopState::Stopped => vec![CanStop::Yes],
                StopState::Pending if profile.by_person() => vec![CanStop::AskPerson, CanStop::NotYetKnown],
                StopState::Pending => vec![CanStop::AskLab, CanStop::NotYetKnown],
                StopState::WithAPerson => vec![CanStop::AskPerson],
                StopState::TooLate => vec![CanStop::No],
                StopState::StoppedInPart => vec![],
            };
            assert!(expected.contains(&now.can_stop), "{:?} but {state:?} of {order:?}", now.can_stop);
            assert_eq!(now.can_stop == CanStop::Yes, now.decided_by == DecidedBy::Gateway);
            assert_eq!(now.can_stop == CanStop::No, now.decided_by == DecidedBy::Nobody);
        }
    }
}

#[test]
fn nothing_is_promised_in_the_past_or_without_an_open_window() {
    for order in orders() {
        for lab in labs() {
            let now = verdict(&order, &lab, None, None, at(0));
            assert_eq!(now.until.is_some(), now.until_local.is_some());
            if let Some(until) = now.until {
                assert!(until > at(0) && now.can_stop == CanStop::Yes && now.reason == Reason::InOpenBatch);
            }
            assert_eq!(now.next.is_none(), matches!(now.can_stop, CanStop::Yes | CanStop::No));
            assert!(now.next.iter().all(|next| next.answer_due_at > at(0)));
            let hidden = lab.policy.stops_via == StopsVia::GatewayOnly;
            assert!(now.next.iter().all(|next| next.contact.is_none() == hidden));
            assert!(now.consequences.personalised);
        }
    }
}

#[test]
fn after_a_stop_was_asked_there_is_never_a_yes() {
    let cases = [
        (StopState::Pending, None, CanStop::NotYetKnown, Reason::StopPending),
        (StopState::WithAPerson, Some(Evidence::NoAnswer), CanStop::AskPerson, Reason::StopWithAPerson),
        (StopState::Stopped, Some(Evidence::NeverHanded), CanStop::No, Reason::AlreadyStopped),
        (StopState::StoppedInPart, Some(Evidence::LabRemoved), CanStop::No, Reason::StoppedInPart),
        (StopState::TooLate, Some(Evidence::LabRefused), CanStop::No, Reason::RefusedByLab),
        (StopState::TooLate, Some(Evidence::InProduction), CanStop::No, Reason::InProduction),
        (StopState::TooLate, Some(Evidence::FinalOnReceipt), CanStop::No, Reason::LabNeverTakesStops),
        (StopState::TooLate, Some(Evidence::PersonConfirmed), CanStop::No, Reason::TooLate),
    ];
    for mut order in orders() {
        for lab in labs() {
            for (state, evidence, can_stop, reason) in cases {
                order.stop = Some(stop(state, evidence));
                let now = verdict(&order, &lab, None, Some((100, 50)), at(0));
                let there = order.transfer.as_ref().is_some_and(|t| t.phase == TransferPhase::AtLab);
                let people = there && lab.profile_in_force().by_person() && state == StopState::Pending;
                assert_eq!(now.can_stop, if people { CanStop::AskPerson } else { can_stop });
                let left = order.stage == Stage::Shipped && state == StopState::TooLate;
                assert_eq!(now.reason, if left { Reason::Shipped } else { reason });
                assert_eq!(now.odds, None);
                assert_eq!(now.can_change, []);
            }
        }
    }
}

#[test]
fn states_have_their_reasons() {
    let lab = lab(TakesStops::Yes, StopsVia::Lab, false);
    for order in orders() {
        let now = verdict(&order, &lab, None, None, at(0));
        let expected = match order.state() {
            OrderState::AwaitingPayment => Reason::AwaitingPayment,
            OrderState::OnHold => Reason::OnHold,
            OrderState::InReview => Reason::InReview,
            OrderState::InBatch => Reason::InOpenBatch,
            OrderState::Closed => Reason::WaitingForTransfer,
            OrderState::Sending => Reason::BeingTransferred,
            OrderState::Unknown => Reason::TransferUnclear,
            OrderState::AtLab => Reason::AtLab,
            OrderState::WithAPerson => Reason::TransferWithAPerson,
            OrderState::Shipped => Reason::Shipped,
            // A report of the lab is kept on the order; what a stop does follows the transfer.
            OrderState::InProduction | OrderState::Printed | OrderState::Stopped => continue,
        };
        assert_eq!(now.reason, expected, "{:?}", order.state());
    }
}

#[test]
fn an_open_approval_is_the_reason_wherever_a_stop_would_do_something() {
    let approval = ApprovalFacts {
        id: ApprovalId::parse(&hex32("apr")).unwrap(),
        order: OrderId::parse(&hex32("ord")).unwrap(),
        platform: "shop".into(),
        lab: "nordprint".into(),
        state: ApprovalState::Open,
        held: true,
        reason: "other".into(),
        comment: None,
        requested_by: None,
        items: None,
        asked_at: at(-5),
        due_at: at(100),
        decided_at: None,
        decided_by: None,
        why: None,
    };
    for order in orders() {
        for lab in labs() {
            let bare = verdict(&order, &lab, None, None, at(0));
            for state in [ApprovalState::Open, ApprovalState::Declined] {
                let extras = Extras {
                    approval: Some(ApprovalFacts { state, ..approval.clone() }),
                    ..Extras::default()
                };
                let now = verdict(&OrderFacts { extras, ..order.clone() }, &lab, None, None, at(0));
                assert_eq!((now.can_stop, now.decided_by), (bare.can_stop, bare.decided_by));
                let news = state == ApprovalState::Open && bare.can_stop != CanStop::No;
                assert_eq!(now.reason, if news { Reason::StopAwaitsMerchant } else { bare.reason });
            }
        }
    }
}

#[test]
fn who_waits_for_another_says_so() {
    let lab = lab(TakesStops::Yes, StopsVia::Lab, false);
    let link = |state| Link { order: OrderId::parse(&hex32("ord")).unwrap(), state };
    for order in orders().into_iter().filter(|order| order.batch.is_none()) {
        for (state, waits) in [(LinkState::Waiting, true), (LinkState::Released, false)] {
            let extras = Extras { replaces: Some(link(state)), ..Extras::default() };
            let now = verdict(&OrderFacts { extras, ..order.clone() }, &lab, None, None, at(0));
            assert_eq!((now.reason == Reason::Replacing, now.can_stop), (waits, CanStop::Yes));
        }
    }
}

#[test]
fn what_can_change_follows_the_state() {
    use Changeable::{BillingAddress, Items, ShippingAddress};
    for order in orders() {
        let expected: &[Changeable] = match order.state() {
            OrderState::AwaitingPayment => &[ShippingAddress, BillingAddress],
            OrderState::InReview => &[ShippingAddress, Items],
            OrderState::OnHold | OrderState::InBatch | OrderState::Closed => &[ShippingAddress],
            _ => &[],
        };
        assert_eq!(can_change(&order, &Profile::default()), expected, "{:?}", order.state());
    }
    // In review, and not paid for yet: what is in it stays as it was offered.
    let unpaid = OrderFacts { paid: false, held: Held::Review, ..orders().remove(0) };
    assert_eq!(can_change(&unpaid, &Profile::default()), [ShippingAddress, BillingAddress]);
}

#[test]
fn once_a_lab_has_an_order_its_address_can_change_only_where_the_lab_is_asked() {
    use crate::domain::address::{AddressFacts, AddressState};
    use crate::domain::ids::{AddressChangeId, LabId};
    use crate::domain::lab::AddressChanges::{No, UntilPrinted, UntilProduction, UntilShipped};
    let is_there = |order: &OrderFacts| {
        order.transfer.as_ref().is_some_and(|transfer| transfer.phase == TransferPhase::AtLab)
    };
    let (mut asked, mut others) = (0, 0);
    for order in orders() {
        for takes in [No, UntilProduction, UntilPrinted, UntilShipped] {
            let profile = Profile { address_changes: takes, ..Profile::default() };
            let now = can_change(&order, &profile);
            if !is_there(&order) {
                // On its way to the lab, or not there at all: what its lab takes says nothing.
                assert_eq!(now, can_change(&order, &Profile::default()), "{:?}", order.state());
                others += 1;
                continue;
            }
            let goes = order
                .stop
                .as_ref()
                .is_none_or(|stop| matches!(stop.state, StopState::TooLate | StopState::StoppedInPart));
            let expected: &[Changeable] =
                if goes && takes.asks_at(order.stage) { &[Changeable::ShippingAddress] } else { &[] };
            assert_eq!(now, expected, "{takes:?} {:?} {:?}", order.stage, order.stop);
            asked += expected.len();
            for state in
                [AddressState::Asked, AddressState::Taken, AddressState::Refused, AddressState::WithAPerson]
            {
                let change = AddressFacts {
                    id: AddressChangeId::parse(&format!("adr_{:032x}", 1)).unwrap(),
                    order: order.id.clone(),
                    lab: LabId::parse("nord").unwrap(),
                    state,
                    evidence: None,
                    reason: String::new(),
                    asked_at: at(0),
                    deadline_at: at(60),
                    next_at: at(0),
                    attempts: 0,
                    unresolved: 0,
                    ended: 0,
                    decided_at: None,
                    answer: None,
                    contradicted_at: None,
                };
                let extras = Extras { address_change: Some(change), ..Extras::default() };
                let now = can_change(&OrderFacts { extras, ..order.clone() }, &profile);
                assert_eq!(now, if state.is_open() { &[] } else { expected }, "{state:?}: one at a time");
            }
        }
    }
    assert!(asked > 0 && others > 0);
}

#[test]
fn odds_are_never_invented() {
    assert_eq!(Odds::of(9, 9), None);
    assert_eq!(Odds::of(20, 21), None);
    // Wilson's interval for 10 of 10 and 0 of 10, as tabulated.
    let all = Odds::of(10, 10).unwrap();
    assert!((all.low - 0.7225).abs() < 1e-4 && (all.high - 1.0).abs() < 1e-9, "{all:?}");
    let none = Odds::of(10, 0).unwrap();
    assert!(none.low.abs() < 1e-9 && (none.high - 0.2775).abs() < 1e-4, "{none:?}");
    let half = Odds::of(100, 50).unwrap();
    assert!((half.low - 0.4038).abs() < 1e-4 && (half.high - 0.5962).abs() < 1e-4, "{half:?}");
    let order = orders()
        .into_iter()
        .find(|order| order.transfer.as_ref().is_some_and(|transfer| transfer.phase == TransferPhase::AtLab))
        .unwrap();
    let lab = lab(TakesStops::Yes, StopsVia::Lab, false);
    assert!(wants_odds(&order, &lab));
    assert_eq!(verdict(&order, &lab, None, Some((9, 9)), at(0)).odds, None);
    assert_eq!(verdict(&order, &lab, None, Some((100, 50)), at(0)).odds, Some(half));
}

#[test]
fn what_goes_back_to_the_stock_is_what_is_left_and_was_not_made_for_one_customer() {
    let line = |id: &str, personalised: bool| {
        format!(r#"{{"id":"{id}","sku":"mug","quantity":1,"personalised":{personalised}}}"#)
    };
    let policy = PlatformPolicy { restock: true, ..PlatformPolicy::default() };
    let mut order = orders().remove(0);
    order.document = format!(r#"{{"items":[{},{}]}}"#, line("1", true), line("2", false));
    for (out, restock) in [("", true), ("1", true), ("2", false)] {
        order.lines_out = vec![out.to_owned()];
        assert_eq!(consequences(&order, Some(&policy)).restock, restock, "without {out:?}");
        assert!(!consequences(&order, None).restock, "only a platform's policy says so");
        let kept = PlatformPolicy { restock: false, ..policy.clone() };
        assert!(!consequences(&order, Some(&kept)).restock, "and this one says no");
    }
}

#[path = "verdict_next_tests.rs"]
mod next;
