//! Another address for an order that its lab has: nobody says that it is taken before the lab has, or a person.

use std::sync::Arc;

use serde_json::{Value, json};
use stoppress::domain::address::{
    AddressChanges, AddressEvidence as Evidence, AddressFacts, AddressState as State,
};
use stoppress::domain::ids::{AddressChangeId, OrderId};
use stoppress::domain::lab::{Answer, Profile};
use stoppress::domain::order::{Address, OrderState, Stage};
use stoppress::store::{
    AddressAsked, AddressDue, AddressesDue, Admission, AskAddress, ClaimAsks, Scope, SettleAddress, Store,
    Write, Written, one,
};

use super::on_both;
use crate::common::world::{
    ANSWER, CUTOFF, LEASE, Lab, World, able, accepted, at, ops, refused, removed, shop, unclear, unreachable,
    will_print,
};

on_both!(
    what_is_asked_is_durable_before_the_lab_hears_of_it,
    a_lab_is_asked_only_about_what_it_has_and_takes,
    one_change_at_a_time_and_the_same_again_is_the_same,
    each_answer_in_each_state,
    a_refusal_is_no_word_on_an_attempt_that_nobody_answered,
);

/// What is nowhere else.
pub(super) const NEW: &str = "Kanavakatu 99";

pub(super) fn takes() -> Profile {
    Profile { address_changes: AddressChanges::UntilPrinted, ..able() }
}

pub(super) fn street(line1: &str) -> Address {
    Address {
        name: "Aino".to_owned(),
        line1: line1.to_owned(),
        line2: None,
        postal_code: None,
        city: "Helsinki".to_owned(),
        state: None,
        country: "FI".to_owned(),
        email: None,
        phone: None,
    }
}

pub(super) async fn admit(lab: &Lab<'_>, reference: &str) -> OrderId {
    let document = json!({"reference": reference, "lab": lab.id, "ship_to": street("Katu 1"),
        "items": [{"id": "1", "sku": "print", "quantity": 1}]})
    .to_string();
    let admission = Admission { document, ..lab.admission(reference) };
    let id = admission.id.clone();
    lab.admit_as(admission).await;
    id
}

/// An order that its lab has.
async fn handed(world: &World, lab: &Lab<'_>) -> OrderId {
    let order = admit(lab, "A-1").await;
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    lab.settle(&out, accepted(), CUTOFF + 2).await.unwrap();
    order
}

/// An order that another lab has.
pub(super) async fn handed_at<'a>(world: &'a World, id: &str) -> (Lab<'a>, OrderId) {
    let lab = world.lab(id, takes()).await;
    let order = admit(&lab, &format!("at-{id}")).await;
    world.close(CUTOFF).await;
    let out = lab.send(CUTOFF + 1).await;
    lab.settle(&out, accepted(), CUTOFF + 2).await.unwrap();
    (lab, order)
}

/// From here on everything plays.
pub(super) const T: i64 = CUTOFF + 10;

pub(super) fn asking(lab: &Lab<'_>, order: &OrderId, line1: &str, seconds: i64) -> AskAddress {
    AskAddress {
        id: AddressChangeId::parse(&lab.world.order_id().to_string().replace("ord_", "adr_")).unwrap(),
        order: order.clone(),
        scope: Scope::Platform(shop()),
        ship_to: street(line1),
        reason: "moved".to_owned(),
        if_version: None,
        at: at(seconds),
        actor: ops(),
    }
}

pub(super) async fn ask_as(world: &World, ask: AskAddress) -> AddressAsked {
    let Written::AddressAsked(asked) = world.write(Write::AskAddress(Box::new(ask))).await else {
        panic!("not asked")
    };
    *asked
}

pub(super) async fn ask(lab: &Lab<'_>, order: &OrderId, seconds: i64) -> AddressFacts {
    match ask_as(lab.world, asking(lab, order, NEW, seconds)).await {
        AddressAsked::Asked(facts) => facts,
        other => panic!("{other:?}"),
    }
}

pub(super) fn claiming(lab: &Lab<'_>, seconds: i64) -> ClaimAsks {
    ClaimAsks {
        lab: lab.id.clone(),
        profile: Arc::clone(&lab.profile),
        limit: 10,
        escalations: lab.world.escalation_ids(10),
        not_before: None,
        away: false,
        now: at(seconds),
        lease_until: at(seconds + LEASE),
    }
}

pub(super) async fn claim_at(store: &dyn Store, claim: ClaimAsks) -> Vec<AddressDue> {
    let Written::AddressesClaimed(due) = one(store, Write::ClaimAddresses(Box::new(claim))).await.unwrap()
    else {
        panic!("not a claim")
    };
    due
}

/// The one that is to be asked for.
pub(super) async fn sent(lab: &Lab<'_>, seconds: i64) -> (AddressFacts, Address) {
    let mut due = claim_at(&*lab.world.store, claiming(lab, seconds)).await;
    assert_eq!(due.len(), 1, "{due:?}");
    match due.remove(0) {
        AddressDue::Ask(facts, to) => (*facts, *to),
        other => panic!("{other:?}"),
    }
}

pub(super) async fn settle(
    lab: &Lab<'_>,
    facts: &AddressFacts,
    answer: Answer,
    seconds: i64,
) -> AddressFacts {
    let item = SettleAddress {
        change: facts.id.clone(),
        lab: lab.id.clone(),
        attempt: facts.attempts,
        answer,
        at: at(seconds),
        next_at: at(seconds + 5),
        escalation: lab.world.escalation_id(),
    };
    let Written::AddressSettled(Some(facts)) = lab.world.write(Write::SettleAddress(Box::new(item))).await
    else {
        panic!("not settled")
    };
    *facts
}

pub(super) async fn change_of(world: &World, order: &OrderId) -> AddressFacts {
    world.order(order).await.extras.address_change.unwrap()
}

pub(super) async fn goes_to(world: &World, order: &OrderId) -> String {
    let document: Value = serde_json::from_str(&world.order(order).await.document).unwrap();
    document["ship_to"]["line1"].as_str().unwrap_or_default().to_owned()
}

/// What the log says of changes, and that it names no address.
pub(super) async fn kinds(world: &World, order: &OrderId) -> Vec<String> {
    let log = world.store.changelog(&Scope::Ops, order).await.unwrap().unwrap();
    assert!(log.iter().all(|event| !event.detail.to_string().contains(NEW)));
    log.into_iter().map(|event| event.kind).filter(|kind| kind.starts_with("address.")).collect()
}

pub(super) fn too_late(stage: Stage) -> Answer {
    Answer::WillPrint { reason: Some("the label is printed".to_owned()), stage }
}

async fn what_is_asked_is_durable_before_the_lab_hears_of_it(world: World) {
    let lab = world.lab("lumo", takes()).await;
    let order = handed(&world, &lab).await;
    let was = world.order(&order).await;
    let asked = ask(&lab, &order, T).await;
    assert_eq!((asked.state, asked.attempts, asked.deadline_at), (State::Asked, 0, at(T + ANSWER)));
    let due = world.store.addresses_due(at(T)).await.unwrap();
    assert_eq!((due.labs, due.next_at), (vec![lab.id.clone()], None));
    let now = world.order(&order).await;
    assert_eq!((&now.document, now.version), (&was.document, was.version + 1));
    assert_eq!(now.state(), OrderState::AtLab);
    let (facts, to) = sent(&lab, T + 1).await;
    assert_eq!((facts.attempts, facts.unresolved, to), (1, 1, street(NEW)));
    assert_eq!(world.store.addresses_due(at(T + 1)).await.unwrap().labs, []);
    assert_eq!(goes_to(&world, &order).await, "Katu 1", "nobody has said that it goes elsewhere");
    let done = settle(&lab, &facts, accepted(), T + 2).await;
    assert_eq!((done.state, done.evidence), (State::Taken, Some(Evidence::LabTook)));
    assert_eq!(goes_to(&world, &order).await, NEW);
    assert_eq!(kinds(&world, &order).await, ["address.asked", "address.forwarded", "address.taken"]);
    let later = world.order(&order).await;
    assert_eq!(later.version, was.version + 3);
    let log = world.store.changelog(&Scope::Ops, &order).await.unwrap().unwrap();
    let hash = &log.iter().find(|event| event.kind == "address.taken").unwrap().detail["sha256"];
    assert_eq!(hash.as_str().unwrap().len(), 64, "whoever has the new order can show that it was that");
    assert_eq!(world.store.addresses_due(at(T + 9)).await.unwrap(), AddressesDue::default());
    world.verify().await;
}

async fn a_lab_is_asked_only_about_what_it_has_and_takes(world: World) {
    let lab = world.lab("lumo", takes()).await;
    let order = admit(&lab, "A-1").await;
    let refused = async |seconds: i64, what: &str| {
        let asked = ask_as(&world, asking(&lab, &order, NEW, seconds)).await;
        let AddressAsked::NotAllowed(state) = asked else { panic!("{what}: {asked:?}") };
        state
    };
    assert_eq!(refused(10, "in the house").await, OrderState::InBatch);
    world.close(CUTOFF).await;
    assert_eq!(refused(CUTOFF, "closed").await, OrderState::Closed);
    let out = lab.send(CUTOFF + 1).await;
    assert_eq!(refused(CUTOFF + 1, "on the wire").await, OrderState::Sending);
    lab.settle(&out, unclear(), CUTOFF + 2).await.unwrap();
    assert_eq!(refused(CUTOFF + 3, "nobody knows where").await, OrderState::Unknown);
    lab.settle(&out, accepted(), CUTOFF + 4).await.unwrap();

    let mut abroad = asking(&lab, &order, NEW, T);
    "SE".clone_into(&mut abroad.ship_to.country);
    let AddressAsked::Country(was) = ask_as(&world, abroad).await else { panic!("another country") };
    assert_eq!(was, "FI");
    let same = ask_as(&world, asking(&lab, &order, "Katu 1", T)).await;
    assert!(matches!(same, AddressAsked::Unchanged), "{same:?}");
    for scope in [
        Scope::Platform(stoppress::domain::ids::PlatformId::parse("other").unwrap()),
        Scope::Lab(lab.id.clone()),
    ] {
        let asked = ask_as(&world, AskAddress { scope, ..asking(&lab, &order, NEW, T) }).await;
        assert!(matches!(asked, AddressAsked::NotFound), "{asked:?}");
    }
    let version = world.order(&order).await.version;
    let stale = AskAddress { if_version: Some(version - 1), ..asking(&lab, &order, NEW, T) };
    let asked = ask_as(&world, stale).await;
    assert!(matches!(asked, AddressAsked::Version(now) if now == version), "{asked:?}");

    // While it is not known whether the order is stopped, nor once it is.
    let stop = lab.stop(&order, T + 1).await;
    assert_eq!(refused(T + 1, "a stop is open").await, OrderState::AtLab);
    lab.answer(&stop, will_print(), T + 2).await;
    let printed = world.order(&order).await.stage;
    assert!(takes().address_changes.asks_at(printed), "{printed:?}");
    assert!(matches!(ask_as(&world, asking(&lab, &order, NEW, T + 3)).await, AddressAsked::Asked(_)));
    assert!(kinds(&world, &order).await.contains(&"address.asked".to_owned()));

    // What the profile does not say, the lab is not asked.
    let deaf = world.lab("nova", able()).await;
    let other = admit(&deaf, "A-2").await;
    world.close(CUTOFF + 60).await;
    let out = deaf.send(CUTOFF + 61).await;
    deaf.settle(&out, accepted(), CUTOFF + 62).await.unwrap();
    let asked = ask_as(&world, asking(&deaf, &other, NEW, CUTOFF + 63)).await;
    assert!(matches!(asked, AddressAsked::NotAllowed(OrderState::AtLab)), "{asked:?}");

    // Nor beyond the stage that it names.
    let third = world.lab("vega", takes()).await;
    let made = admit(&third, "A-3").await;
    world.close(CUTOFF + 90).await;
    let out = third.send(CUTOFF + 91).await;
    third.settle(&out, accepted(), CUTOFF + 92).await.unwrap();
    third.report(&made, Stage::Printed, CUTOFF + 93).await;
    let asked = ask_as(&world, asking(&third, &made, NEW, CUTOFF + 94)).await;
    assert!(matches!(asked, AddressAsked::NotAllowed(OrderState::Printed)), "{asked:?}");
    world.verify().await;
}

async fn one_change_at_a_time_and_the_same_again_is_the_same(world: World) {
    let lab = world.lab("lumo", takes()).await;
    let order = handed(&world, &lab).await;
    let first = ask(&lab, &order, T).await;
    assert_eq!(ask(&lab, &order, T + 1).await.id, first.id);
    let other = ask_as(&world, asking(&lab, &order, "Toinen katu 5", T + 2)).await;
    assert!(matches!(&other, AddressAsked::Open(open) if open.id == first.id), "{other:?}");
    let (facts, _) = sent(&lab, T + 3).await;
    let done = settle(&lab, &facts, too_late(Stage::Received), T + 4).await;
    assert_eq!((done.state, done.evidence), (State::Refused, Some(Evidence::LabRefused)));
    assert_eq!(done.answer.as_deref(), Some("the label is printed"));
    // It can be asked for again, and is another question.
    let second = ask(&lab, &order, T + 5).await;
    assert_ne!(second.id, first.id);
    assert_eq!(change_of(&world, &order).await.id, second.id, "the last one is told");
    assert_eq!(goes_to(&world, &order).await, "Katu 1");
    world.verify().await;
}

async fn each_answer_in_each_state(world: World) {
    let cases: [(Answer, State, Option<Evidence>); 11] = [
        (accepted(), State::Taken, Some(Evidence::LabTook)),
        (too_late(Stage::Received), State::Refused, Some(Evidence::LabRefused)),
        (too_late(Stage::InProduction), State::Refused, Some(Evidence::InProduction)),
        (too_late(Stage::Printed), State::Refused, Some(Evidence::InProduction)),
        (too_late(Stage::Shipped), State::Refused, Some(Evidence::Shipped)),
        (refused(), State::Refused, Some(Evidence::LabRefused)),
        (Answer::AnswerLater, State::Asked, None),
        (Answer::NotFound, State::Asked, None),
        (unclear(), State::Asked, None),
        (unreachable(), State::Asked, None),
        (removed(), State::Asked, None),
    ];
    for (nth, (answer, state, evidence)) in cases.into_iter().enumerate() {
        let lab = world.lab(&format!("lab-{nth}"), takes()).await;
        let order = admit(&lab, &format!("A-{nth}")).await;
        world.close(CUTOFF).await;
        let out = lab.send(CUTOFF + 1).await;
        lab.settle(&out, accepted(), CUTOFF + 2).await.unwrap();
        ask(&lab, &order, T).await;
        let (facts, _) = sent(&lab, T + 1).await;
        let done = settle(&lab, &facts, answer.clone(), T + 2).await;
        assert_eq!((done.state, done.evidence), (state, evidence), "{answer:?}");
        assert_eq!(goes_to(&world, &order).await, if state == State::Taken { NEW } else { "Katu 1" });
        let open = state == State::Asked;
        assert_eq!(done.next_at, if open { at(T + 7) } else { facts.next_at }, "{answer:?}");
        assert_eq!(done.decided_at.is_some(), !open);
        let words = match &answer {
            Answer::WillPrint { reason, .. } => reason.as_deref(),
            Answer::Refused { .. } => Some("no such paper"),
            Answer::Unclear { .. } => Some("timed out"),
            Answer::Unreachable { .. } => Some("connection refused"),
            _ => None,
        };
        assert_eq!(done.answer.as_deref(), words, "{answer:?}");
        assert_eq!(
            done.unresolved,
            i64::from(!matches!(answer, Answer::Unreachable { .. } | Answer::Refused { .. }))
        );
        // How far it says that the order is, is known from then on.
        if let Answer::WillPrint { stage, .. } = answer {
            assert_eq!(world.order(&order).await.stage, stage);
        }
        // The same word again changes nothing.
        let again = settle(&lab, &facts, answer.clone(), T + 3).await;
        assert_eq!((again.state, again.contradicted_at), (state, None), "{answer:?}");
    }
    world.verify().await;
}

async fn a_refusal_is_no_word_on_an_attempt_that_nobody_answered(world: World) {
    let lab = world.lab("lumo", takes()).await;
    let order = handed(&world, &lab).await;
    ask(&lab, &order, T).await;
    let (first, _) = sent(&lab, T + 1).await;
    settle(&lab, &first, unclear(), T + 2).await;
    let (second, _) = sent(&lab, T + 7).await;
    let after = settle(&lab, &second, refused(), T + 8).await;
    assert_eq!((after.state, after.unresolved), (State::Asked, 1), "the first may have been taken");
    // Whoever did not hear of a commit writes the same again.
    let again = settle(&lab, &second, refused(), T + 8).await;
    assert_eq!((again.state, again.unresolved), (State::Asked, 1), "an attempt ends once");
    // Also when the time of the next attempt has moved meanwhile, as it does while the lab rests.
    let rests = ClaimAsks { not_before: Some(at(T + 40)), ..claiming(&lab, T + 20) };
    let due = claim_at(&*world.store, rests).await;
    assert!(matches!(&due[..], [AddressDue::Waits(_)]), "{due:?}");
    let again = settle(&lab, &second, refused(), T + 8).await;
    assert_eq!((again.state, again.unresolved), (State::Asked, 1), "an attempt ends once");
    assert_eq!(again.next_at, at(T + 40));
    let (third, _) = sent(&lab, T + 41).await;
    let after = settle(&lab, &third, unreachable(), T + 42).await;
    assert_eq!((after.state, after.unresolved), (State::Asked, 1));
    let again = settle(&lab, &second, refused(), T + 43).await;
    assert_eq!((again.state, again.unresolved), (State::Asked, 1), "not that of an older one either");
    let (_fourth, _) = sent(&lab, T + 47).await;
    // The first was taken all the same, and its answer comes now.
    let done = settle(&lab, &first, accepted(), T + 48).await;
    assert_eq!((done.state, done.attempts), (State::Taken, 4));
    // Attempts that certainly did not arrive stand in nobody's way.
    let other = handed_at(&world, "nova").await;
    ask(&other.0, &other.1, T + 30).await;
    let (first, _) = sent(&other.0, T + 31).await;
    settle(&other.0, &first, unreachable(), T + 32).await;
    let (second, _) = sent(&other.0, T + 37).await;
    assert_eq!(settle(&other.0, &second, refused(), T + 38).await.state, State::Refused);
    world.verify().await;
}
