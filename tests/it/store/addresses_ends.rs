//! How changes of addresses end beside the lab's word: by a person, by a stop, by a stage; and what is left of them.

use stoppress::domain::address::{AddressEvidence as Evidence, AddressFacts, AddressState as State};
use stoppress::domain::lab::Profile;
use stoppress::domain::order::{OrderState, Stage};
use stoppress::store::{
    AddressAsked, AddressDue, ClaimAsks, LabSwitch, PersonDecision, Purge, Put, Resolve, Resolved, SetLab,
    SettleAddress, Write, Written,
};

use super::addresses::{
    NEW, T, ask, ask_as, asking, change_of, claim_at, claiming, goes_to, handed_at, kinds, sent, settle,
    street, too_late,
};
use super::on_both;
use crate::common::world::{ANSWER, LEASE, World, accepted, at, ops, removed, unclear, unreachable};

on_both!(
    without_an_answer_a_person_finds_out_once,
    what_was_told_stays_told,
    a_stop_ends_a_change,
    a_stage_ends_what_never_reached_the_lab,
    two_gateways_ask_once_at_a_time,
    of_a_lab_that_is_away_only_what_is_over_is_taken,
    whom_the_lab_is_not_asked_for_any_more_a_person_finds_out_about,
    addresses_of_changes_are_purged_with_the_order,
    what_was_handed_over_is_not_touched,
);

async fn resolve(world: &World, decision: PersonDecision, seconds: i64) -> Resolved {
    let open = world.escalations().await.into_iter().find(|row| row.kind == "address").unwrap();
    let resolve = Resolve {
        escalation: open.id,
        next: world.escalation_id(),
        decision,
        reason: "I have called the lab".to_owned(),
        at: at(seconds),
        actor: ops(),
    };
    let Written::Resolved(resolved) = world.write(Write::Resolve(Box::new(resolve))).await else { panic!() };
    resolved
}

async fn without_an_answer_a_person_finds_out_once(world: World) {
    for (decision, state) in
        [(PersonDecision::Taken, State::Taken), (PersonDecision::Refused, State::Refused)]
    {
        let id = format!("lab-{}", state.word());
        let (lab, order) = handed_at(&world, &id).await;
        ask(&lab, &order, T).await;
        let (facts, _) = sent(&lab, T + 1).await;
        settle(&lab, &facts, unclear(), T + 2).await;
        let due = claim_at(&*world.store, claiming(&lab, T + ANSWER)).await;
        assert!(matches!(&due[..], [AddressDue::Decided(it)] if it.state == State::WithAPerson), "{due:?}");
        assert_eq!(world.calls().await, ["address"]);
        assert_eq!(claim_at(&*world.store, claiming(&lab, T + 2 * ANSWER)).await.len(), 0, "once");
        let it = change_of(&world, &order).await;
        assert_eq!((it.state, it.evidence), (State::WithAPerson, Some(Evidence::NoAnswer)));
        assert_eq!(goes_to(&world, &order).await, "Katu 1");
        let another = ask_as(&world, asking(&lab, &order, "Toinen katu 5", T + ANSWER + 1)).await;
        assert!(matches!(another, AddressAsked::Open(_)), "{another:?}");
        let wrong = resolve(&world, PersonDecision::Stopped, T + ANSWER + 2).await;
        assert!(matches!(wrong, Resolved::DoesNotFit { .. }), "{wrong:?}");
        assert!(matches!(resolve(&world, decision, T + ANSWER + 3).await, Resolved::Done));
        let it = change_of(&world, &order).await;
        assert_eq!((it.state, it.evidence), (state, Some(Evidence::PersonConfirmed)));
        assert_eq!(it.answer.as_deref(), Some("I have called the lab"));
        assert_eq!(goes_to(&world, &order).await, if state == State::Taken { NEW } else { "Katu 1" });
        assert_eq!(world.calls().await, Vec::<String>::new());
    }
    // The lab's own word ends it as well, and nobody has to find out any more.
    let (lab, order) = handed_at(&world, "late").await;
    ask(&lab, &order, T).await;
    let (facts, _) = sent(&lab, T + 1).await;
    claim_at(&*world.store, claiming(&lab, T + ANSWER)).await;
    assert_eq!(settle(&lab, &facts, accepted(), T + ANSWER + 1).await.state, State::Taken);
    assert_eq!(world.calls().await, Vec::<String>::new());
    assert_eq!(
        kinds(&world, &order).await,
        ["address.asked", "address.forwarded", "address.with_a_person", "address.taken"]
    );
    world.verify().await;
}

async fn what_was_told_stays_told(world: World) {
    let (lab, order) = handed_at(&world, "lumo").await;
    ask(&lab, &order, T).await;
    let (first, _) = sent(&lab, T + 1).await;
    let (second, _) = sent(&lab, T + 1 + LEASE).await;
    settle(&lab, &second, too_late(Stage::Received), T + 70).await;
    let after = settle(&lab, &first, accepted(), T + 71).await;
    assert_eq!((after.state, after.contradicted_at), (State::Refused, Some(at(T + 71))));
    assert_eq!(goes_to(&world, &order).await, "Katu 1");
    assert_eq!(world.calls().await, ["address_contradiction"], "a person is told of both");
    let again = settle(&lab, &first, accepted(), T + 72).await;
    assert_eq!(again.contradicted_at, Some(at(T + 71)), "once");
    assert_eq!(kinds(&world, &order).await.last().unwrap(), "address.contradicted");
    // Where it goes is in doubt: to say the address that is stored is a question, and no news.
    let back = ask_as(&world, asking(&lab, &order, "Katu 1", T + 73)).await;
    assert!(matches!(back, AddressAsked::Asked(_)), "{back:?}");

    let (lab, order) = handed_at(&world, "nova").await;
    ask(&lab, &order, T).await;
    let (facts, _) = sent(&lab, T + 1).await;
    settle(&lab, &facts, accepted(), T + 2).await;
    settle(&lab, &facts, too_late(Stage::Shipped), T + 3).await;
    assert_eq!(goes_to(&world, &order).await, NEW);
    assert_eq!(world.calls().await, ["address_contradiction", "address_contradiction"]);
    // Another lab's word is none.
    let item = SettleAddress {
        change: facts.id.clone(),
        lab: stoppress::domain::ids::LabId::parse("lumo").unwrap(),
        attempt: 1,
        answer: accepted(),
        at: at(T + 4),
        next_at: at(T + 9),
        escalation: world.escalation_id(),
    };
    let written = world.write(Write::SettleAddress(Box::new(item))).await;
    assert!(matches!(written, Written::AddressSettled(None)), "{written:?}");
    world.verify().await;
}

async fn a_stop_ends_a_change(world: World) {
    // Asked, on its way, and with a person.
    for nth in 0..3 {
        let (lab, order) = handed_at(&world, &format!("lab-{nth}")).await;
        let asked = ask(&lab, &order, T).await;
        if nth > 0 {
            sent(&lab, T + 1).await;
        }
        if nth == 2 {
            claim_at(&*world.store, claiming(&lab, T + ANSWER)).await;
            assert_eq!(world.calls().await, ["address"]);
        }
        let stop = lab.stop(&order, T + ANSWER + 1).await;
        assert!(change_of(&world, &order).await.state.is_open(), "a stop that is only asked ends nothing");
        lab.answer(&stop, removed(), T + ANSWER + 2).await;
        assert_eq!(world.order(&order).await.state(), OrderState::Stopped);
        let it = change_of(&world, &order).await;
        assert_eq!((it.state, it.evidence), (State::Refused, Some(Evidence::OrderStopped)));
        assert_eq!(world.calls().await, Vec::<String>::new(), "nobody has to find out any more");
        assert_eq!(claim_at(&*world.store, claiming(&lab, T + 2 * ANSWER)).await.len(), 0);
        // A late word harms nobody: there is no parcel.
        let late = AddressFacts { attempts: 1, ..asked };
        let after = settle(&lab, &late, accepted(), T + 2 * ANSWER).await;
        assert_eq!(after.state, State::Refused);
        assert_eq!((world.calls().await, goes_to(&world, &order).await.as_str()), (Vec::new(), "Katu 1"));
        assert_eq!(kinds(&world, &order).await.last().unwrap(), "address.late_answer");
    }
    world.verify().await;
}

async fn a_stage_ends_what_never_reached_the_lab(world: World) {
    let (lab, order) = handed_at(&world, "lumo").await;
    ask(&lab, &order, T).await;
    lab.report(&order, Stage::InProduction, T + 1).await;
    let (first, _) = sent(&lab, T + 2).await;
    settle(&lab, &first, unreachable(), T + 3).await;
    lab.report(&order, Stage::Printed, T + 4).await;
    let due = claim_at(&*world.store, claiming(&lab, T + 9)).await;
    assert!(
        matches!(&due[..], [AddressDue::Decided(it)] if it.evidence == Some(Evidence::InProduction)),
        "{due:?}"
    );
    assert_eq!(change_of(&world, &order).await.state, State::Refused);

    // What may have arrived may have been taken: it is asked on.
    let (lab, order) = handed_at(&world, "nova").await;
    ask(&lab, &order, T).await;
    let (first, _) = sent(&lab, T + 2).await;
    settle(&lab, &first, unclear(), T + 3).await;
    lab.report(&order, Stage::Shipped, T + 4).await;
    let (second, _) = sent(&lab, T + 9).await;
    assert_eq!(settle(&lab, &second, accepted(), T + 10).await.state, State::Taken);
    assert_eq!(goes_to(&world, &order).await, NEW);
    world.verify().await;
}

async fn two_gateways_ask_once_at_a_time(world: World) {
    let (lab, order) = handed_at(&world, "lumo").await;
    ask(&lab, &order, T).await;
    let other = world.replica().await;
    let (one, two) = tokio::join!(
        claim_at(&*world.store, claiming(&lab, T + 1)),
        claim_at(&*other, claiming(&lab, T + 1)),
    );
    assert_eq!(one.len() + two.len(), 1, "{one:?} {two:?}");
    assert_eq!(claim_at(&*other, claiming(&lab, T + LEASE)).await.len(), 0, "it is somebody's");
    // Whoever took it is gone: the next one asks for the same, under the same id.
    let (again, to) = sent(&lab, T + 1 + LEASE).await;
    assert_eq!((again.attempts, again.unresolved, to), (2, 2, street(NEW)));
    // The dead one's answer counts all the same.
    let first = AddressFacts { attempts: 1, ..again };
    assert_eq!(settle(&lab, &first, accepted(), T + 80).await.state, State::Taken);
    assert_eq!(goes_to(&world, &order).await, NEW);
    world.verify().await;
}

async fn of_a_lab_that_is_away_only_what_is_over_is_taken(world: World) {
    let (lab, order) = handed_at(&world, "lumo").await;
    ask(&lab, &order, T).await;
    // What it takes is not known at a gateway that cannot read its definition.
    let profile = std::sync::Arc::new(Profile::default());
    let away = |seconds| ClaimAsks { away: true, profile: profile.clone(), ..claiming(&lab, seconds) };
    assert_eq!(claim_at(&*world.store, away(T + 1)).await.len(), 0);
    let due = world.store.addresses_due(at(T + 1)).await.unwrap();
    assert_eq!(due.deadline_at, Some(at(T + ANSWER)));
    // A lane that is full puts it off, and never beyond its time.
    let wait = ClaimAsks { not_before: Some(at(T + 9)), ..claiming(&lab, T + 1) };
    let waits = claim_at(&*world.store, wait).await;
    assert!(matches!(&waits[..], [AddressDue::Waits(_)]), "{waits:?}");
    let it = change_of(&world, &order).await;
    assert_eq!((it.next_at, it.attempts), (at(T + 9), 0));
    let wait = ClaimAsks { not_before: Some(at(T + 3 * ANSWER)), ..claiming(&lab, T + 9) };
    claim_at(&*world.store, wait).await;
    assert_eq!(change_of(&world, &order).await.next_at, at(T + ANSWER));
    let over = claim_at(&*world.store, away(T + ANSWER)).await;
    assert!(matches!(&over[..], [AddressDue::Decided(it)] if it.state == State::WithAPerson), "{over:?}");
    world.verify().await;
}

async fn whom_the_lab_is_not_asked_for_any_more_a_person_finds_out_about(world: World) {
    let (lab, order) = handed_at(&world, "lumo").await;
    ask(&lab, &order, T).await;
    let set = SetLab { id: lab.id.clone(), to: LabSwitch::Delete, at: at(T + 1), actor: ops() };
    let Written::Put(put) = world.write(Write::SetLab(Box::new(set))).await else { panic!() };
    assert_eq!(put, Put::InUse(1), "the lab may still take it");
    // Ops say that it takes no addresses: the lab has said nothing.
    let profile = std::sync::Arc::new(Profile::default());
    let claim = |seconds| ClaimAsks { profile: profile.clone(), ..claiming(&lab, seconds) };
    let waits = claim_at(&*world.store, claim(T + 1)).await;
    assert!(matches!(&waits[..], [AddressDue::Waits(_)]), "{waits:?}");
    assert_eq!(change_of(&world, &order).await.next_at, at(T + ANSWER));
    let over = claim_at(&*world.store, claim(T + ANSWER)).await;
    assert!(matches!(&over[..], [AddressDue::Decided(it)] if it.state == State::WithAPerson), "{over:?}");
    resolve(&world, PersonDecision::Refused, T + ANSWER + 1).await;
    // What they found out may name an address: it goes with the order's.
    let words = "select count(*) from escalations where kind = 'address' and reason <> ''";
    assert_eq!(world.number(words).await, 1);
    let item = Purge { before: at(T + 9 * ANSWER), after: None, limit: 10, at: at(T + 9 * ANSWER) };
    world.write(Write::Purge(Box::new(item))).await;
    assert_eq!(world.number(words).await, 0);
    world.verify().await;
}

async fn addresses_of_changes_are_purged_with_the_order(world: World) {
    let (lab, order) = handed_at(&world, "lumo").await;
    ask(&lab, &order, T).await;
    let purge = async |seconds: i64| {
        let item = Purge { before: at(seconds), after: None, limit: 10, at: at(seconds) };
        let Written::Purged(purged) = world.write(Write::Purge(Box::new(item))).await else { panic!() };
        purged.orders
    };
    assert_eq!(purge(T + 9 * ANSWER).await, 0, "the lab may still be asked");
    let (facts, _) = sent(&lab, T + 1).await;
    settle(&lab, &facts, accepted(), T + 2).await;
    let kept = "select count(*) from address_changes where ship_to is not null or was is not null";
    assert_eq!(world.number(kept).await, 1);
    assert_eq!(purge(T + 9 * ANSWER).await, 1);
    assert_eq!(world.number(kept).await, 0);
    assert_eq!(goes_to(&world, &order).await, "");
    assert_eq!(change_of(&world, &order).await.state, State::Taken, "what came of it stays");
    let asked = ask_as(&world, asking(&lab, &order, "Toinen katu 5", T + 10 * ANSWER)).await;
    assert!(matches!(asked, AddressAsked::NotAllowed(_)), "{asked:?}");
    world.verify().await;
}

async fn what_was_handed_over_is_not_touched(world: World) {
    let (lab, order) = handed_at(&world, "lumo").await;
    let manifests = || async {
        world.texts("select sha256 || idempotency_key || manifest from transfers order by id").await
    };
    let (was, keys) = (world.transfer_of(&order).await, manifests().await);
    ask(&lab, &order, T).await;
    let (facts, _) = sent(&lab, T + 1).await;
    settle(&lab, &facts, accepted(), T + 2).await;
    assert_eq!(world.transfer_of(&order).await, was);
    assert_eq!(manifests().await, keys);
    // Nothing makes a transfer that is at the lab be sent again.
    assert_eq!(lab.claim(T + 9).await.len(), 0);
    world.verify().await;
}
