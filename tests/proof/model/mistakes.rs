//! The known mistakes, each a switch: with it, the model must find how the promise breaks. If one is not caught any
//! more, the model has gone blind there.

use stateright::{Checker, HasDiscoveries, Model as _};

use super::rules::Lab;
use super::{HOLDS, PROMISE, World, broken};

/// What could have been built wrongly. The last few are limits: no gateway can do without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mistake {
    /// "Accepted" is told before the row is durable.
    AcceptBeforeCommit,
    /// The answer to a stop is told before its row is durable.
    AnswerBeforeCommit,
    /// Two rows for one order of a platform.
    TwoRows,
    /// A stop reads, and writes without a conflict with the claim in between.
    WriteSkew,
    /// A clock grants a stop, not the stored phase.
    WallClock,
    /// A stop is granted while its transfer is being sent.
    GrantWhileSending,
    /// The first byte leaves before the intent is durable.
    SendBeforeIntent,
    /// A time-out counts as "not sent".
    TimeOutIsNotSent,
    /// It does so under any fence.
    UnfencedTimeOut,
    /// The same again to a lab that does not deduplicate.
    BlindResend,
    /// The same again to a lab that deduplicates only what lives.
    TrustsForgetful,
    /// The same again after the lab may have forgotten the key.
    ResendAfterWindow,
    /// Other bytes under the same key.
    RebuildSameKey,
    /// Other bytes under a new key, without a proof of absence.
    RebuildNewKey,
    /// A look-up's "not there" counts at any time.
    AbsentIsProof,
    /// A stop's "not found" counts at any time.
    NotFoundIsProof,
    /// The horizon is too short.
    HorizonTooEarly,
    /// "Not there" about an older attempt counts.
    OldAbsence,
    /// The refusal of one attempt counts for all.
    LastRefusalClearsAll,
    /// What fell back is handed over again with those who wait for their stop.
    ForgetsPending,
    /// Claims do not wait for the stops that arrived elsewhere before the end of the window.
    ClaimAhead,
    /// Commits can vanish.
    CommitVanishes,
    /// Nobody takes over.
    NoTakeOver,
    /// Nothing goes to a person.
    NoEscalation,
    /// A person says "not there, and nothing on its way" while something is.
    PersonTooEarly,
    /// A lab that refuses one copy and takes the other, on a wire that doubles.
    ForgetfulNetwork,
    /// A wire that doubles, with a lab that does not deduplicate.
    DoublingNetwork,
}

/// One world in which a mistake is caught, and what it breaks.
fn cases() -> Vec<(World, Mistake, u8)> {
    use Mistake::*;
    use broken::{BACK, CONTENT, LIE, LOST, PROMISE, STUCK, TWICE};
    let of = World::of;
    vec![
        (of(Lab::F).intake().faults(1, 0, 0, 0), AcceptBeforeCommit, LOST),
        (of(Lab::F).faults(1, 0, 0, 0), AnswerBeforeCommit, LIE | BACK),
        (of(Lab::F).intake(), TwoRows, TWICE),
        (of(Lab::F), WriteSkew, LIE),
        (of(Lab::F), WallClock, LIE),
        (of(Lab::F), GrantWhileSending, LIE),
        (of(Lab::F), SendBeforeIntent, LIE | TWICE),
        (of(Lab::F), TimeOutIsNotSent, LIE | TWICE),
        (of(Lab::F), UnfencedTimeOut, LIE | TWICE),
        (of(Lab::F), BlindResend, TWICE),
        (of(Lab::E).attempts(3), TrustsForgetful, LIE),
        (of(Lab::D), ResendAfterWindow, TWICE),
        (of(Lab::A).two(1), RebuildSameKey, LIE | CONTENT),
        (of(Lab::A).two(1), RebuildNewKey, LIE | TWICE),
        (of(Lab::F), AbsentIsProof, LIE | TWICE),
        (of(Lab::G), NotFoundIsProof, LIE | TWICE),
        (of(Lab::F), HorizonTooEarly, LIE | TWICE),
        (of(Lab::F).never_anew(), OldAbsence, LIE | TWICE),
        (of(Lab::A).faults(0, 0, 0, 1), LastRefusalClearsAll, LIE | TWICE),
        (of(Lab::F).faults(0, 1, 0, 0), ForgetsPending, LIE | LOST | STUCK),
        (of(Lab::F), ClaimAhead, PROMISE),
        (of(Lab::F).faults(1, 0, 0, 0), CommitVanishes, LIE | BACK | TWICE),
        (of(Lab::F).faults(1, 0, 0, 0), NoTakeOver, STUCK),
        (of(Lab::G), NoEscalation, STUCK),
        (of(Lab::H), PersonTooEarly, LIE | TWICE),
        (of(Lab::A).faults(0, 0, 1, 1), ForgetfulNetwork, LIE | TWICE),
        (of(Lab::F).faults(0, 0, 1, 0), DoublingNetwork, TWICE),
    ]
}

#[test]
fn every_known_mistake_is_caught() {
    let mut blind = Vec::new();
    for (world, mistake, breaks) in cases() {
        let checker =
            world.with(mistake).checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let Some(path) = checker.discovery(HOLDS) else {
            blind.push(format!("{mistake:?} is not caught, in {} states", checker.unique_state_count()));
            continue;
        };
        let last = path.last_state();
        let steps: Vec<_> = path.clone().into_actions().into_iter().map(|(act, _)| act).collect();
        let broken: Vec<_> =
            PROMISE.iter().filter(|(bit, _)| last.broken & bit != 0).map(|(_, words)| *words).collect();
        println!(
            "{mistake:?}: {} steps, {} states; {}",
            steps.len(),
            checker.unique_state_count(),
            broken.join("; ")
        );
        if last.broken & breaks == 0 {
            blind.push(format!("{mistake:?} breaks something else: {broken:?} by {steps:?}"));
        }
    }
    assert!(blind.is_empty(), "{}", blind.join("\n"));
}
