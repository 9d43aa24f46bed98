//! The steps of the script: each asks until it has an answer, and notes what it was told.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use stoppress::cli::simulate::ledger::Said;
use stoppress::clock::Clock as _;
use stoppress::domain::batch::TransferPhase;
use stoppress::domain::event::Actor;
use stoppress::domain::ids::{ApprovalId, EscalationId, HoldId, LabId, OrderId};
use stoppress::domain::lab::Answer;
use stoppress::domain::order::{OrderFacts, Stage};
use stoppress::store::{
    Admission, Admitted, ApprovalAsk, ApprovalFilter, Change, ChangeKind, Changed, Decide, Decided,
    EscalationFilter, EscalationRow, MoveBatch, OrderRef, PersonDecision, Remembered, Replace, Replaced,
    Report, Resolve, Scope, SettleStop, Write, Written, one,
};

use super::addresses;
use super::day::{Day, Told, ask, shop, stop_ask, window};
use super::paper::note;
use super::script::Step;

/// Does a step and notes what came of it.
pub(crate) async fn step(day: &Day, nth: usize, what: Step) {
    let mut told = Told {
        step: Some(nth),
        reference: String::new(),
        order: None,
        stop: None,
        asked_at: day.clock.now(),
        promised: None,
    };
    match what {
        Step::SetUp => day.set_up().await,
        Step::Admit(reference, lab, paid) => {
            let (order, promised) = admit(day, reference, lab, paid).await;
            day.orders.lock().unwrap().insert(reference.to_owned(), order.clone());
            (told.reference, told.order, told.promised) =
                (reference.to_owned(), Some(order.to_string()), promised);
        }
        Step::Stop(reference) => {
            let order = OrderRef::Reference(reference.to_owned());
            return ask(&day.asks(), order, reference, Some(nth)).await;
        }
        Step::Pay(reference) => change(day, reference, ChangeKind::Pay).await,
        Step::Hold(reference) => change(day, reference, ChangeKind::Hold).await,
        Step::Release(reference) => change(day, reference, ChangeKind::Release).await,
        Step::AskMerchant(reference, within) => ask_merchant(day, reference, within).await,
        Step::Decide(reference, agrees) => decide(day, reference, agrees).await,
        Step::Replace(old, new) => {
            let order = replace(day, old, new).await;
            day.orders.lock().unwrap().insert(new.to_owned(), order.clone());
            (told.reference, told.order) = (new.to_owned(), Some(order.to_string()));
        }
        Step::Readdress(reference, to) => addresses::ask(day, &known(day, reference), to).await,
        Step::Report(reference, stage) => report(day, reference, stage).await,
        Step::Postpone(lab) => postpone(day, lab).await,
        Step::Operator(reference) => operator(day, reference).await,
        Step::FindOut => find_out(day).await,
        Step::Checkpoint => {
            one(&*day.store, Write::Checkpoint { at: day.clock.now() }).await.unwrap();
        }
        Step::Remember => {
            let (scope, key) = ("shop".to_owned(), "key".to_owned());
            let (fingerprint, body) = ("a".repeat(64), "{}".to_owned());
            let answer = Remembered { scope, key, fingerprint, status: 200, body, at: day.clock.now() };
            one(&*day.store, Write::Remember(Box::new(answer))).await.unwrap();
        }
    }
    note(&day.folder, "told", &told);
    day.told.lock().unwrap().push(told);
}

fn platform() -> Actor {
    Actor("platform:shop".to_owned())
}

fn known(day: &Day, reference: &str) -> OrderId {
    day.orders.lock().unwrap()[reference].clone()
}

async fn facts(day: &Day, order: &OrderId) -> OrderFacts {
    let which = [OrderRef::Id(order.clone())];
    day.store.orders(&Scope::Ops, &which).await.unwrap().remove(0).unwrap()
}

fn admission(day: &Day, reference: &str, lab: &str, paid: bool) -> Admission {
    let now = day.clock.now();
    let document = json!({"reference": reference, "ship_to": addresses::street(addresses::HOME),
            "items": [{"id": "1", "sku": "print-10x15", "quantity": 2}]})
    .to_string();
    Admission {
        id: OrderId::new(now, &*day.random),
        platform: shop(),
        lab: LabId::parse(lab).unwrap(),
        region: serde_json::from_str("\"eu\"").unwrap(),
        reference: reference.to_owned(),
        sha256: stoppress::domain::event::hex(&Sha256::digest(document.as_bytes())),
        document,
        paid,
        join: None,
        route: None,
        at: now,
        actor: platform(),
    }
}

/// Gives the order, and up to when it was promised that it can be stopped.
async fn admit(day: &Day, reference: &str, lab: &str, paid: bool) -> (OrderId, Option<Timestamp>) {
    let mut from = day.clock.now();
    for _ in 0..9 {
        let mut admission = admission(day, reference, lab, paid);
        admission.join = paid.then(|| window(lab, from, &day.random));
        let (id, closes_at) = (admission.id.clone(), admission.join.as_ref().map(|join| join.closes_at));
        match one(&*day.store, Write::Admit(Arc::new(admission))).await.unwrap() {
            Written::Admitted(Admitted::New { batch }) => {
                return (id, batch.map(|batch| batch.closes_at));
            }
            Written::Admitted(Admitted::Same(id)) => {
                let batch = facts(day, &id).await.batch;
                return (id, batch.map(|batch| batch.closes_at));
            }
            Written::Admitted(Admitted::WindowClosed) => from = closes_at.unwrap(),
            other => panic!("{other:?}"),
        }
    }
    panic!("no window for {reference}");
}

async fn change(day: &Day, reference: &str, kind: ChangeKind) {
    let order = known(day, reference);
    let lab = facts(day, &order).await.lab;
    let mut from = day.clock.now();
    for _ in 0..9 {
        let now = day.clock.now();
        let join = (kind != ChangeKind::Hold).then(|| window(lab.as_str(), from, &day.random));
        from = join.as_ref().map_or(now, |join| join.closes_at);
        let item = Change {
            order: order.clone(),
            scope: Scope::Platform(shop()),
            kind: kind.clone(),
            hold: HoldId::new(now, &*day.random),
            join,
            if_version: None,
            at: now,
            actor: platform(),
            reason: None,
        };
        match one(&*day.store, Write::Change(Box::new(item))).await.unwrap() {
            Written::Changed(Changed::WindowClosed) => {}
            Written::Changed(_) => return,
            other => panic!("{other:?}"),
        }
    }
    panic!("no window for {reference}");
}

async fn ask_merchant(day: &Day, reference: &str, within: i64) {
    let now = day.clock.now();
    let item = ApprovalAsk {
        id: ApprovalId::new(now, &*day.random),
        hold: HoldId::new(now, &*day.random),
        due_at: now + SignedDuration::from_secs(within),
        stop: stop_ask(OrderRef::Id(known(day, reference)), now, &day.random),
    };
    one(&*day.store, Write::AskApproval(Box::new(item))).await.unwrap();
}

async fn decide(day: &Day, reference: &str, agrees: bool) {
    let order = known(day, reference);
    let lab = facts(day, &order).await.lab;
    let filter = ApprovalFilter { open: true, limit: 100, ..ApprovalFilter::default() };
    let open = day.store.list_approvals(&Scope::Ops, &filter).await.unwrap();
    let Some(row) = open.into_iter().find(|row| row.approval.order == order) else { return };
    let mut from = day.clock.now();
    for _ in 0..9 {
        let now = day.clock.now();
        let join = (!agrees).then(|| window(lab.as_str(), from, &day.random));
        from = join.as_ref().map_or(now, |join| join.closes_at);
        let item = Decide {
            approval: row.approval.id.clone(),
            scope: Scope::Platform(shop()),
            agrees: agrees.then(|| Box::new(stop_ask(OrderRef::Id(order.clone()), now, &day.random))),
            join,
            why: None,
            at: now,
            actor: platform(),
        };
        match one(&*day.store, Write::Decide(Box::new(item))).await.unwrap() {
            Written::Decided(outcome) if matches!(*outcome, Decided::WindowClosed) => {}
            Written::Decided(_) => return,
            other => panic!("{other:?}"),
        }
    }
    panic!("no window for {reference}");
}

async fn replace(day: &Day, old: &str, new: &str) -> OrderId {
    let now = day.clock.now();
    let order = known(day, old);
    let lab = facts(day, &order).await.lab;
    let item = Replace {
        stop: stop_ask(OrderRef::Id(order), now, &day.random),
        admission: Arc::new(admission(day, new, lab.as_str(), true)),
        join: Some(window(lab.as_str(), now, &day.random)),
        hold: HoldId::new(now, &*day.random),
    };
    match one(&*day.store, Write::Replace(Box::new(item))).await.unwrap() {
        Written::Replaced(Replaced::Done(order, _)) => order,
        other => panic!("{other:?}"),
    }
}

async fn report(day: &Day, reference: &str, stage: Stage) {
    let order = known(day, reference);
    let lab = facts(day, &order).await.lab;
    let now = day.clock.now();
    let item = Report {
        order,
        scope: Scope::Lab(lab.clone()),
        stage,
        reported_at: now,
        reference: None,
        at: now,
        actor: Actor::lab(&lab),
        escalation: EscalationId::new(now, &*day.random),
    };
    one(&*day.store, Write::Report(Box::new(item))).await.unwrap();
}

async fn postpone(day: &Day, lab: &str) {
    let now = day.clock.now();
    let lab = LabId::parse(lab).unwrap();
    let Some(batch) = day.store.open_batches(&lab).await.unwrap().pop() else { return };
    let to = batch.closes_at + SignedDuration::from_secs(60);
    let item = MoveBatch {
        batch: batch.id,
        to: Some((to, to.to_string())),
        window: None,
        seen: None,
        reason: "the press is late".to_owned(),
        at: now,
        actor: Actor("ops:test".to_owned()),
    };
    one(&*day.store, Write::MoveBatch(Box::new(item))).await.unwrap();
}

/// The operator of the lab looks, takes the order out if that can be, and says so.
async fn operator(day: &Day, reference: &str) {
    let facts = facts(day, &known(day, reference)).await;
    let Some(stop) = facts.stop else { return };
    let answer = match day.paper.take_out(facts.lab.as_str(), facts.id.as_str(), stop.id.as_str()) {
        Said::Removed => Answer::Removed { reason: None, items: Vec::new() },
        Said::WillPrint => Answer::WillPrint { reason: None, stage: Stage::Received },
        _ => Answer::NotFound,
    };
    let now = day.clock.now();
    let item = SettleStop {
        stop: stop.id,
        scope: Scope::Lab(facts.lab.clone()),
        answer,
        person: false,
        asked: None,
        at: now,
        next_at: now,
        actor: Actor::lab(&facts.lab),
        escalation: EscalationId::new(now, &*day.random),
    };
    one(&*day.store, Write::SettleStop(Box::new(item))).await.unwrap();
}

pub(crate) async fn calls(day: &Day, kind: &str) -> Vec<EscalationRow> {
    let filter = EscalationFilter { open: Some(true), limit: 1000, ..EscalationFilter::default() };
    let mut rows = day.store.escalations(&Scope::Ops, &filter).await.unwrap();
    rows.retain(|row| row.kind == kind);
    rows
}

pub(crate) async fn resolve(day: &Day, row: &EscalationRow, decision: PersonDecision) {
    let item = Resolve {
        escalation: row.id.clone(),
        next: EscalationId::new(day.clock.now(), &*day.random),
        decision,
        reason: "asked on the telephone".to_owned(),
        at: day.clock.now(),
        actor: Actor("ops:test".to_owned()),
    };
    one(&*day.store, Write::Resolve(Box::new(item))).await.unwrap();
}

/// Ops telephone with the labs: first about transfers, then about stops.
async fn find_out(day: &Day) {
    let orders = all(day).await;
    for row in calls(day, "transfer").await {
        let carried =
            |facts: &&OrderFacts| facts.transfer.as_ref().is_some_and(|it| it.id.as_str() == row.subject);
        let there = orders.iter().filter(carried).any(|facts| day.paper.has(facts.id.as_str()));
        let decision = if there { PersonDecision::HandedOver } else { PersonDecision::NotHanded };
        resolve(day, &row, decision).await;
    }
    let orders = all(day).await;
    for row in calls(day, "stop").await {
        let Some(facts) = orders.iter().find(|facts| row.order.as_ref() == Some(&facts.id)) else { continue };
        // While nobody knows where the order is, nobody can take it out.
        if facts.transfer.as_ref().is_none_or(|transfer| transfer.phase != TransferPhase::AtLab) {
            continue;
        }
        let said = day.paper.take_out(facts.lab.as_str(), facts.id.as_str(), &row.subject);
        let decision = if said == Said::Removed { PersonDecision::Stopped } else { PersonDecision::TooLate };
        resolve(day, &row, decision).await;
    }
    addresses::find_out(day).await;
    for row in calls(day, "approval").await {
        resolve(day, &row, PersonDecision::Noted).await;
    }
}

/// All orders.
pub(crate) async fn all(day: &Day) -> Vec<OrderFacts> {
    let filter = stoppress::store::OrderFilter { limit: 1000, ..stoppress::store::OrderFilter::default() };
    day.store.list_orders(&Scope::Ops, &filter).await.unwrap()
}
