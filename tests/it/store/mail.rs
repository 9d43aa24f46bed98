//! Mail in the store: planned once, claimed once, settled under its claim.

use stoppress::domain::ids::OrderId;
use stoppress::domain::lab::{Profile, StopChannel, TakesStops};
use stoppress::domain::mail::{MailOutcome, Step};
use stoppress::domain::stop::{Evidence, StopFacts, StopState};
use stoppress::store::{ClaimMails, MailDue, MailPlan, SettleMail, StopDue, Write, Written};

use super::on_both;
use crate::common::lab::Lab;
use crate::common::world::{CUTOFF, World, able, at, removed};

on_both!(
    people_are_not_asked_by_machine,
    wanted_until_planned,
    a_mail_is_claimed_once,
    a_lost_sender_counts_as_unclear,
    what_is_given_up_calls_a_person,
    what_is_decided_needs_no_mail,
    claims_at_the_same_time_share,
    the_first_key_stays,
);

const LEASE: i64 = 150;

fn people() -> Profile {
    Profile { stops: TakesStops::No, channel: Some(StopChannel::Person), ..able() }
}

async fn claim(world: &World, seconds: i64) -> Vec<MailDue> {
    let claim = ClaimMails { limit: 10, now: at(seconds), lease_until: at(seconds + LEASE) };
    let Written::MailsClaimed(due) = world.write(Write::ClaimMails(claim)).await else { panic!("not mails") };
    due
}

async fn settle(world: &World, due: &MailDue, outcome: MailOutcome, seconds: i64) {
    let settle = SettleMail {
        stop: due.stop.clone(),
        step: due.step,
        attempt: due.attempt,
        outcome,
        to: "m…@lab.example".to_owned(),
        at: at(seconds),
        escalation: world.escalation_id(),
    };
    world.write(Write::SettleMail(Box::new(settle))).await;
}

async fn plan(world: &World, lab: &Lab<'_>, stop: &StopFacts, seconds: i64) {
    let steps = [(Step::Ask, seconds), (Step::Remind, seconds + 600), (Step::Second, seconds + 900)];
    let plans = steps.map(|(step, at_s)| MailPlan {
        stop: stop.id.clone(),
        order: stop.order.clone(),
        lab: lab.id.clone(),
        step,
        at: at(at_s),
    });
    world.write(Write::PlanMails(plans.to_vec())).await;
}

async fn planned<'a>(world: &'a World, name: &str) -> (Lab<'a>, OrderId, StopFacts) {
    let lab = world.lab(name, people()).await;
    let (order, _) = lab.handed("A-1").await;
    let stop = lab.stop(&order, CUTOFF + 10).await;
    plan(world, &lab, &stop, CUTOFF + 10).await;
    (lab, order, stop)
}

async fn kinds(world: &World, order: &OrderId) -> Vec<String> {
    let log = world.store.changelog(&stoppress::store::Scope::Ops, order).await.unwrap().unwrap();
    log.into_iter().map(|event| event.kind).filter(|kind| kind.starts_with("stop.")).collect()
}

async fn people_are_not_asked_by_machine(world: World) {
    let lab = world.lab("lumo", people()).await;
    let (order, _) = lab.handed("A-1").await;
    let stop = lab.stop(&order, CUTOFF + 10).await;
    assert_eq!((stop.state, stop.evidence), (StopState::Pending, None));
    let due = lab.claim_stops(CUTOFF + 10).await;
    assert!(matches!(&due[..], [StopDue::Waits(id)] if *id == stop.id), "{due:?}");
    assert_eq!(world.stop_of(&order).await.next_at, stop.deadline_at);
    let deadline = stop.deadline_at.duration_since(at(0)).as_secs();
    assert!(lab.claim_stops(deadline - 1).await.is_empty());
    let due = lab.claim_stops(deadline).await;
    assert!(matches!(&due[..], [StopDue::Decided(stop)] if stop.state == StopState::WithAPerson), "{due:?}");
    world.verify().await;
}

async fn wanted_until_planned(world: World) {
    let lab = world.lab("lumo", people()).await;
    let other = world.lab("nova", people()).await;
    let (order, out) = lab.sent("A-1").await;
    let stop = lab.stop(&order, CUTOFF + 1).await;
    let wanted = async |labs: &[_]| world.store.mail_wanted(labs, 10).await.unwrap();
    let own = [lab.id.clone()];
    assert!(wanted(&own).await.is_empty(), "the lab does not have it yet");
    lab.settle(&out, crate::common::world::accepted(), CUTOFF + 2).await.unwrap();
    let found = wanted(&own).await;
    assert_eq!((found.len(), &found[0].stop.id, found[0].region.as_str()), (1, &stop.id, "eu"));
    assert!(wanted(std::slice::from_ref(&other.id)).await.is_empty());
    assert!(wanted(&[]).await.is_empty());
    plan(&world, &lab, &stop, CUTOFF + 10).await;
    assert!(wanted(&own).await.is_empty());
    // Planned again, it stays as it was.
    plan(&world, &lab, &stop, CUTOFF + 5).await;
    assert_eq!(world.store.mail_next().await.unwrap(), Some(at(CUTOFF + 10)));
}

async fn a_mail_is_claimed_once(world: World) {
    let (_, order, stop) = planned(&world, "lumo").await;
    assert!(claim(&world, CUTOFF + 9).await.is_empty());
    let due = claim(&world, CUTOFF + 10).await;
    assert_eq!(due.len(), 1);
    assert_eq!((&due[0].stop, due[0].step, due[0].attempt, due[0].lapsed), (&stop.id, Step::Ask, 1, false));
    assert!(claim(&world, CUTOFF + 11).await.is_empty(), "somebody sends it");
    settle(&world, &due[0], MailOutcome::Sent, CUTOFF + 12).await;
    settle(&world, &due[0], MailOutcome::Sent, CUTOFF + 13).await;
    settle(&world, &due[0], MailOutcome::Unclear("late".to_owned()), CUTOFF + 13).await;
    assert!(claim(&world, CUTOFF + 599).await.is_empty(), "it was sent");
    assert_eq!(kinds(&world, &order).await, ["stop.pending", "stop.mailed"]);
    let later = claim(&world, CUTOFF + 2_000).await;
    assert_eq!(later.iter().map(|due| due.step).collect::<Vec<_>>(), [Step::Remind, Step::Second]);
    world.verify().await;
}

async fn a_lost_sender_counts_as_unclear(world: World) {
    let (_, order, _) = planned(&world, "lumo").await;
    let first = claim(&world, CUTOFF + 10).await.remove(0);
    // Its gateway dies. Another finds the claim lapsed, once, and does not send on its strength.
    assert!(claim(&world, CUTOFF + 10 + LEASE - 1).await.is_empty());
    let lapsed = claim(&world, CUTOFF + 10 + LEASE).await.remove(0);
    assert_eq!((lapsed.lapsed, lapsed.attempt), (true, 1));
    assert!(claim(&world, CUTOFF + 11 + LEASE).await.is_empty());
    settle(&world, &lapsed, MailOutcome::Unclear("gone".to_owned()), CUTOFF + 11 + LEASE).await;
    let second = claim(&world, CUTOFF + 71 + LEASE).await.remove(0);
    assert_eq!((second.lapsed, second.attempt), (false, 2), "once more");
    // The first one was not dead: that it failed counts for nothing now, that it succeeded does.
    settle(&world, &first, MailOutcome::Refused("no".to_owned()), CUTOFF + 72 + LEASE).await;
    assert_eq!(world.stop_of(&order).await.state, StopState::Pending);
    settle(&world, &second, MailOutcome::Unclear("again".to_owned()), CUTOFF + 73 + LEASE).await;
    assert_eq!(world.stop_of(&order).await.state, StopState::WithAPerson, "not a third time");
    settle(&world, &first, MailOutcome::Sent, CUTOFF + 74 + LEASE).await;
    let seen = kinds(&world, &order).await;
    let expected =
        ["stop.pending", "stop.mail_failed", "stop.mail_failed", "stop.with_a_person", "stop.mailed"];
    assert_eq!(seen, expected);
    world.verify().await;
}

async fn what_is_given_up_calls_a_person(world: World) {
    let (_, order, stop) = planned(&world, "lumo").await;
    let due = claim(&world, CUTOFF + 10).await.remove(0);
    settle(&world, &due, MailOutcome::Refused("nobody there".to_owned()), CUTOFF + 11).await;
    let facts = world.stop_of(&order).await;
    assert_eq!((facts.state, facts.evidence), (StopState::WithAPerson, Some(Evidence::NoChannel)));
    assert_eq!(facts.deadline_at, stop.deadline_at);
    let filter = stoppress::store::EscalationFilter { limit: 10, ..Default::default() };
    let open = world.store.escalations(&stoppress::store::Scope::Ops, &filter).await.unwrap();
    assert_eq!((open.len(), open[0].kind.as_str(), open[0].subject.as_str()), (1, "stop", stop.id.as_str()));
    assert!(open[0].cause.contains("m…@lab.example") && open[0].due_at == stop.deadline_at, "{open:?}");
    assert_eq!(claim(&world, CUTOFF + 610).await.len(), 1, "the reminder still goes: the stop is open");
    world.verify().await;
}

async fn what_is_decided_needs_no_mail(world: World) {
    let (lab, order, stop) = planned(&world, "lumo").await;
    let due = claim(&world, CUTOFF + 10).await.remove(0);
    lab.answer(&stop, removed(), CUTOFF + 11).await;
    // A mail that was on its way is written down all the same, and moves nothing.
    settle(&world, &due, MailOutcome::Refused("no".to_owned()), CUTOFF + 12).await;
    assert_eq!(world.stop_of(&order).await.state, StopState::Stopped);
    assert!(claim(&world, CUTOFF + 5_000).await.is_empty());
    assert_eq!(world.store.mail_next().await.unwrap(), None, "nothing is left to wait for");
    assert_eq!(world.number("select count(*) from mails where ended_at is null").await, 0);
    world.verify().await;
}

async fn claims_at_the_same_time_share(world: World) {
    let lab = world.lab("lumo", people()).await;
    let mut stops = Vec::new();
    for nth in 0..10 {
        stops.push(lab.admit(&format!("A-{nth}")).await);
    }
    world.close(CUTOFF).await;
    for claimed in lab.claim(CUTOFF + 1).await {
        let stoppress::store::Claimed::Send(out) = claimed else { panic!("{claimed:?}") };
        lab.settle(&out, crate::common::world::accepted(), CUTOFF + 2).await.unwrap();
    }
    for order in &stops {
        let stop = lab.stop(order, CUTOFF + 10).await;
        plan(&world, &lab, &stop, CUTOFF + 10).await;
    }
    let some = || async {
        let claim = ClaimMails { limit: 4, now: at(CUTOFF + 10), lease_until: at(CUTOFF + 10 + LEASE) };
        let Written::MailsClaimed(due) = world.write(Write::ClaimMails(claim)).await else {
            panic!("not mails")
        };
        due
    };
    let (one, two, three) = tokio::join!(some(), some(), some());
    let rest = some().await;
    let mut taken: Vec<String> =
        [one, two, three, rest].concat().into_iter().map(|due| due.stop.to_string()).collect();
    taken.sort();
    let count = taken.len();
    taken.dedup();
    assert_eq!((taken.len(), count), (10, 10), "each by one");
}

async fn the_first_key_stays(world: World) {
    assert!(world.store.link_key().await.unwrap().is_none());
    for secret in ["11", "22"] {
        world.write(Write::PutLinkKey { secret: secret.repeat(32).into(), at: at(0) }).await;
    }
    let stored = world.store.link_key().await.unwrap().unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(&stored), "11".repeat(32));
    assert!(!format!("{stored:?}").contains("11"));
}
