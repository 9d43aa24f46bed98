//! The planted mistakes: each is made by the real code, and found by what the promise is tried with here.
//!
//! Of the design's names these cannot be made by the code, and have no switch: `trust-forgetful-lab` (a profile that
//! claims too much: `stoppress lab certify` finds it out), `refusal-not-sticky-duplicating-network` and
//! `duplicating-network-plain-lab` (a transport that repeats calls: no gateway can survive it with a lab that does not
//! deduplicate; ours repeats nothing by itself).

use std::sync::Arc;

use stoppress::domain::batch::TransferPhase;
use stoppress::domain::lab::{Answer, Profile};
use stoppress::domain::stop::StopState;
use stoppress::points::{Mistake, plant};
use stoppress::store::{Claimed, Source, StopOutcome, Store, Write, Written, one};

use super::{Ended, Life, Whole, all};
use crate::common::world::{CUTOFF, HORIZON, LEASE, World, able, at, forgetful, unclear};

/// How a mistake is found.
#[derive(Debug, Clone, Copy)]
enum By {
    /// By a day without a crash.
    Day,
    /// By a day with a crash at one of these points.
    Crash(&'static [&'static str]),
    /// By a test of its own, below.
    Own,
    /// By the simulation alone: the labs of the day neither waver nor refuse what they have taken.
    Simulation,
}

fn by(mistake: Mistake) -> By {
    match mistake {
        Mistake::AnswerBeforeCommit => {
            By::Crash(&["store.stop.before_commit@6", "store.admit.before_commit@9"])
        }
        Mistake::SendBeforeIntent => {
            By::Crash(&["store.claim.before_commit@1", "store.claim.before_commit@2"])
        }
        Mistake::NoTakeover => By::Crash(&["work.submit.before@2", "work.submit.after@2"]),
        Mistake::WriteSkew | Mistake::StaleAbsence | Mistake::CommitCanVanish => By::Own,
        Mistake::AddressWordFlips | Mistake::AddressStageDecides | Mistake::AddressRefusalClearsAll => {
            By::Simulation
        }
        Mistake::IntakeWithoutUniqueKey
        | Mistake::WallClockStop
        | Mistake::GrantWhileSending
        | Mistake::TimeoutMeansNotSent
        | Mistake::UnfencedTimeout
        | Mistake::BlindResend
        | Mistake::ResendAfterKeyWindow
        | Mistake::RebuildContentSameKey
        | Mistake::RebuildContentNewKey
        | Mistake::AbsentIsProof
        | Mistake::CancelNotFoundIsProof
        | Mistake::HorizonTooEarly
        | Mistake::RefusalClearsAll
        | Mistake::NoEscalation => By::Day,
    }
}

/// Whether a day with it, or the rest of the day after a crash, ends wrong.
fn found(whole: &Whole, mistake: Mistake, crash: Option<&str>) -> bool {
    let folder = whole.begin(1);
    let life = Life { mistake: Some(mistake.word()), ..Life::default() };
    if let Some(point) = crash {
        match (Life { crash: Some(point.to_owned()), ..life.clone() }).live(folder.path()) {
            Ended::Crashed => {}
            Ended::Wrong(_) => return true,
            Ended::Well => panic!("{point} was not reached"),
        }
    }
    matches!(life.live(folder.path()), Ended::Wrong(_))
}

#[test]
fn every_planted_mistake_is_found() {
    let _turn = crate::turn();
    let whole = Whole::new();
    let missed = all(Mistake::ALL, |mistake| {
        let found = match by(*mistake) {
            By::Day => found(&whole, *mistake, None),
            By::Crash(points) => points.iter().any(|point| found(&whole, *mistake, Some(point))),
            By::Own | By::Simulation => true,
        };
        (!found).then(|| mistake.word().to_owned())
    });
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// Two look-ups of one attempt; the slow one answers when there is another attempt.
async fn after_a_late_absence() -> TransferPhase {
    let world = World::sqlite().await;
    let lab = world.lab("lumo", forgetful()).await;
    let (order, _) = lab.lost("A-1").await;
    let first = CUTOFF + 2 + HORIZON;
    let [Claimed::LookUp { transfer: slow, .. }] = &lab.claim(first).await[..] else { panic!("no look-up") };
    let second = first + LEASE;
    let [Claimed::LookUp { transfer: quick, .. }] = &lab.claim(second).await[..] else {
        panic!("no look-up")
    };
    lab.learn(quick, Source::LookUp(at(second)), Answer::NotFound, second + 1).await.unwrap();
    let again = lab.send(second + 30).await;
    lab.settle(&again, unclear(), second + 31).await.unwrap();
    lab.learn(slow, Source::LookUp(at(first)), Answer::NotFound, second + 32).await;
    world.transfer_of(&order).await.phase
}

#[tokio::test]
async fn absence_of_an_older_attempt_says_nothing_of_the_newest() {
    assert_eq!(after_a_late_absence().await, TransferPhase::Unknown);
    let _planted = plant(&[Mistake::StaleAbsence]);
    assert_eq!(after_a_late_absence().await, TransferPhase::Closed, "the mistake is not made");
}

async fn durability(world: World) -> String {
    let found = world.store.durability().await.unwrap();
    let found: Vec<_> = found.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    found.join(" ")
}

#[tokio::test]
async fn a_commit_that_could_vanish_is_seen() {
    for (sqlite, wanted) in [(true, "synchronous=2"), (false, "synchronous_commit=on")] {
        let open = || async { if sqlite { World::sqlite().await } else { World::postgres().await } };
        let right = durability(open().await).await;
        assert!(right.contains(wanted), "{right}");
        let _planted = plant(&[Mistake::CommitCanVanish]);
        let wrong = durability(open().await).await;
        assert!(!wrong.contains(wanted), "{wrong}");
    }
}

/// How often of so many races a stop is told as granted, and its order is on the wire.
async fn lies(rounds: i64) -> usize {
    let world = World::postgres().await;
    let other = world.replica().await;
    let lab = world.lab("lumo", Profile { orders_per_call: 3, ..able() }).await;
    let mut lies = 0;
    for round in 0..rounds {
        let mut admission = lab.admission(&format!("A-{round}"));
        admission.join = Some(lab.window(CUTOFF + round));
        let order = admission.id.clone();
        lab.admit_as(admission).await;
        world.close(CUTOFF + round).await;
        let ask = Write::Stop(Box::new(lab.asking(&order, CUTOFF + 300)));
        let claim = Write::Claim(Box::new(lab.claiming(CUTOFF + 300, 4)));
        let both =
            |ask_at: &Arc<dyn Store>, claim_at: &Arc<dyn Store>| (Arc::clone(ask_at), Arc::clone(claim_at));
        let (asker, claimer) =
            if round % 2 == 0 { both(&world.store, &other) } else { both(&other, &world.store) };
        let (told, claimed) = tokio::join!(one(&*asker, ask), one(&*claimer, claim));
        let Written::Stop(outcome) = told.unwrap() else { panic!("not a stop") };
        let (StopOutcome::Asked(facts) | StopOutcome::Already(facts)) = *outcome else { panic!("not found") };
        let Written::Claimed(claimed) = claimed.unwrap() else { panic!("not a claim") };
        let sent = claimed.iter().any(|step| {
            let Claimed::Send(out) = step else { return false };
            String::from_utf8_lossy(&out.body).contains(order.as_str())
        });
        lies += usize::from(sent && facts.state == StopState::Stopped);
        // Skipped for a moment is not lost: the next round begins with nothing left.
        lab.claim(CUTOFF + 301).await;
    }
    lies
}

#[tokio::test]
async fn a_stop_and_a_claim_that_do_not_conflict_are_found_by_racing_them() {
    assert_eq!(lies(50).await, 0);
    let _planted = plant(&[Mistake::WriteSkew]);
    assert!(lies(200).await > 0, "the mistake is not made, or the races do not meet");
}
