//! `stoppress lab certify` finds each misbehaviour of a simulated lab, and names it, whichever way the lab is reached.

use futures_util::stream::{self, StreamExt as _};
use stoppress::cli::certify::Target;
use stoppress::cli::certify::report::Status;
use stoppress::cli::certify::rules::{Group, Name};
use stoppress::cli::simulate::behaviour::{Behaviour, Down, Forgets, LooksUp, LosesBy, Share, Stops};
use stoppress::cli::simulate::imports::Imports;
use stoppress::domain::lab::{Dedupes, Lasting, Profile, TakesStops};

use crate::certify::{WAYS, certified, lab, names, reach, shown};

/// A misbehaviour, and what must be found: the checks that fail, and words of the first one.
struct Case {
    what: &'static str,
    behaviour: Behaviour,
    fail: &'static [Name],
    words: &'static str,
    /// What the profile must not claim.
    is_right: fn(&Profile) -> bool,
}

fn cases() -> Vec<Case> {
    use Name::{
        Answers, Batch, CleanUp, Describes, Import, ImportAgain, ImportTakenBack, KeysKept, LinkBeats,
        LinkCut, Malformed, NotAfter, OtherBytes, SameKey, SameKeyAtOnce, Signature, StopBeforePrinting,
        TakesAnOrder, UnknownStop, UploadAfterImport, UploadAfterStop,
    };
    let honest = Behaviour::default;
    let ahead = |imports| Behaviour { two_phase: true, imports, ..honest() };
    let no_ahead: fn(&Profile) -> bool = |profile| !profile.two_phase && profile.dedupes == Dedupes::Forever;
    let no_dedupes: fn(&Profile) -> bool = |profile| profile.dedupes == Dedupes::No;
    let no_stops: fn(&Profile) -> bool = |profile| profile.stops == TakesStops::No;
    let nothing: fn(&Profile) -> bool = |profile| {
        profile.dedupes == Dedupes::No && profile.stops == TakesStops::No && profile.orders_per_call == 1
    };
    vec![
        Case {
            what: "refuses",
            behaviour: Behaviour { refuses: Share::ALL, ..honest() },
            fail: &[TakesAnOrder],
            words: "it refused a good test order",
            is_right: nothing,
        },
        Case {
            what: "fails",
            behaviour: Behaviour { fails: Share::ALL, ..honest() },
            fail: &[Describes, UnknownStop, TakesAnOrder, Answers],
            words: "no description",
            is_right: nothing,
        },
        Case {
            what: "loses answers",
            behaviour: Behaviour { loses_answers: Share::ALL, loses_by: LosesBy::Close, ..honest() },
            fail: &[Describes, UnknownStop, TakesAnOrder, Answers],
            words: "no description",
            is_right: nothing,
        },
        Case {
            what: "is away",
            behaviour: Behaviour { down: Some(Down::default()), ..honest() },
            fail: &[Describes, UnknownStop, TakesAnOrder, Answers],
            words: "no description",
            is_right: nothing,
        },
        Case {
            what: "duplicates",
            behaviour: Behaviour { duplicates: true, ..honest() },
            fail: &[SameKey, UploadAfterStop, SameKeyAtOnce, LinkCut, KeysKept],
            words: "it is printed 3 times",
            is_right: no_dedupes,
        },
        Case {
            what: "forgets keys in time",
            behaviour: Behaviour {
                forgets_keys: Forgets::After(Lasting::try_from("3500ms".to_owned()).unwrap()),
                ..honest()
            },
            fail: &[KeysKept],
            words: "was taken anew",
            is_right: no_dedupes,
        },
        Case {
            what: "knows live jobs only, so that a late copy brings a stopped order back",
            behaviour: Behaviour { forgets_keys: Forgets::AfterRemoval, ..honest() },
            fail: &[UploadAfterStop, KeysKept],
            words: "brought a stopped order back",
            is_right: no_dedupes,
        },
        Case {
            what: "takes other bytes under the same key",
            behaviour: Behaviour { takes_other_bytes: true, ..honest() },
            fail: &[OtherBytes],
            words: "it took other orders under a key that it knows",
            is_right: no_dedupes,
        },
        Case {
            what: "ignores not_after",
            behaviour: Behaviour { ignores_not_after: true, ..honest() },
            fail: &[NotAfter],
            words: "one minute after its not_after",
            is_right: |_| true,
        },
        Case {
            what: "takes any signature",
            behaviour: Behaviour { takes_any_signature: true, ..honest() },
            fail: &[Signature],
            words: "it let in: an upload without a signature; an upload signed with another secret",
            is_right: |_| true,
        },
        Case {
            what: "takes anything",
            behaviour: Behaviour { takes_anything: true, ..honest() },
            fail: &[Malformed],
            words: "was accepted",
            is_right: |_| true,
        },
        Case {
            what: "races with itself",
            behaviour: Behaviour { races: true, ..honest() },
            fail: &[SameKeyAtOnce],
            words: "times under one key, and a look-up says that it is printed",
            is_right: no_dedupes,
        },
        Case {
            what: "says removed, and prints all the same",
            behaviour: Behaviour { stops: Stops::Lies, ..honest() },
            fail: &[UnknownStop, StopBeforePrinting],
            words: "it says removed of an order that it never had",
            is_right: no_stops,
        },
        Case {
            what: "is blind",
            behaviour: Behaviour { looks_up: LooksUp::Blind, ..honest() },
            fail: &[Name::LooksUp],
            words: "it says \"not found\" of an order that it had just taken",
            is_right: |profile| !profile.lookup && profile.dedupes == Dedupes::No,
        },
        Case {
            what: "drops what is beyond its most",
            behaviour: Behaviour { takes_at_most: Some(5), drops_the_rest: true, ..honest() },
            fail: &[Batch],
            words: "it said yes to 8 orders, and look-ups find 5 of them",
            is_right: |profile| profile.orders_per_call == 1,
        },
        Case {
            what: "removes what it printed",
            behaviour: Behaviour { stops: Stops::Lies, prints_after: Lasting::seconds(0), ..honest() },
            fail: &[UnknownStop, StopBeforePrinting, Name::StopAfterPrinting],
            words: "it says removed of an order that it never had",
            is_right: no_stops,
        },
        Case {
            what: "fails now and then",
            behaviour: Behaviour { fails: Share::try_from(0.3).unwrap(), ..honest() },
            fail: &[Answers],
            words: "calls had no answer that says anything",
            is_right: |_| true,
        },
        Case {
            what: "loses answers now and then, in silence",
            behaviour: Behaviour {
                loses_answers: Share::try_from(0.2).unwrap(),
                loses_by: LosesBy::Silence,
                ..honest()
            },
            fail: &[Answers],
            words: "calls had no answer that says anything",
            is_right: |_| true,
        },
        Case {
            what: "says that it has two phases, and has one",
            behaviour: ahead(Imports::No),
            fail: &[Import],
            words: "does not hold what is sent ahead",
            is_right: no_ahead,
        },
        Case {
            what: "holds two of what is sent ahead twice",
            behaviour: ahead(Imports::Renames),
            fail: &[ImportAgain],
            words: "it holds two of it",
            is_right: no_ahead,
        },
        Case {
            what: "does not forget what is not coming",
            behaviour: ahead(Imports::Keeps),
            fail: &[ImportTakenBack],
            words: "it does not forget an order that is not coming",
            is_right: no_ahead,
        },
        Case {
            what: "refuses what it was told that is not coming",
            behaviour: ahead(Imports::Refuses),
            fail: &[ImportTakenBack],
            words: "is handed over all the same, and not taken",
            is_right: no_ahead,
        },
        Case {
            what: "prints what it is to hold",
            behaviour: ahead(Imports::Prints),
            fail: &[Import],
            words: "of an order that was only sent ahead",
            is_right: no_ahead,
        },
        Case {
            what: "prints what it held, and what is handed over",
            behaviour: ahead(Imports::Doubles),
            fail: &[UploadAfterImport],
            words: "then handed over, is printed 2 times",
            is_right: no_ahead,
        },
        Case {
            what: "says nothing on a link unless it is asked, so that it is cut now and then",
            behaviour: Behaviour { never_beats: true, ..honest() },
            fail: &[LinkBeats],
            words: "nothing was heard of it for more than three beats",
            is_right: |_| true,
        },
        Case {
            what: "honest, so that the table can be wrong",
            behaviour: honest(),
            fail: &[],
            words: "",
            is_right: |profile| profile.dedupes == Dedupes::Forever && profile.stops == TakesStops::Yes,
        },
        Case {
            what: "leaves the test orders where no look-up shows them, and no stop takes them",
            behaviour: Behaviour { looks_up: LooksUp::No, stops: Stops::No, ..honest() },
            fail: &[],
            words: "",
            is_right: |profile| !profile.lookup && profile.stops == TakesStops::No,
        },
    ]
    .into_iter()
    .inspect(|case| assert!(!case.fail.contains(&CleanUp), "{}", case.what))
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_misbehaviour_is_found_and_named() {
    let runs =
        cases().into_iter().flat_map(|case| WAYS.map(|kind| (kind, case.behaviour.clone(), case.what)));
    // Whoever is away does not dial.
    let runs = runs.filter(|(kind, behaviour, _)| *kind != "link" || behaviour.down.is_none());
    let runs = runs.map(|(kind, behaviour, what)| async move {
        let silent = behaviour.loses_by == LosesBy::Silence;
        let forgets = matches!(behaviour.forgets_keys, Forgets::After(_));
        let prints = behaviour.prints_after == Lasting::seconds(0);
        let lab = lab(behaviour).await;
        let target = Target {
            // Whoever says nothing is waited for; the others answer within the driver's own times.
            timeout: silent.then(|| Lasting::try_from("300ms".to_owned()).unwrap()),
            let_print: prints.then_some(Lasting::seconds(1)),
            again_after: Lasting::seconds(if forgets { 4 } else { 0 }),
            ..reach(kind, &lab)
        };
        (kind, what, certified(&target).await)
    });
    // A few at a time, so that none is slow for want of a processor.
    let reports: Vec<_> = stream::iter(runs).buffer_unordered(8).collect().await;
    let cases = cases();
    assert_eq!(reports.len(), cases.len() * WAYS.len() - 1);
    // All that is wrong at once: a run takes its time.
    let mut wrong = Vec::new();
    for (kind, what, report) in reports {
        let case = cases.iter().find(|case| case.what == what).unwrap();
        let failed = names(&report, Status::Failed);
        // By chance, more than the one check may meet a lab that is moody.
        let by_chance = what.contains("now and then");
        let applies = |name: &&Name| match name {
            Name::Signature => kind != "link",
            name => name.group() != Group::Link || kind == "link",
        };
        let fail: Vec<Name> = case.fail.iter().filter(applies).copied().collect();
        let as_expected =
            if by_chance { fail.iter().all(|name| failed.contains(name)) } else { failed == fail };
        if !as_expected {
            wrong.push(format!("{kind}: {what}: {failed:?}, not {fail:?}\n{}", shown(&report)));
        }
        assert_eq!(report.certified, failed.is_empty(), "{kind}: {what}");
        if let Some(check) = report.checks.iter().find(|check| Some(&check.name) == fail.first()) {
            let named =
                check.found.contains(case.words) && check.mend.is_some() && !check.contract.is_empty();
            if !named {
                wrong.push(format!("{kind}: {what}: it says {:?}, not {:?}", check.found, case.words));
            }
        }
        if !(case.is_right)(&report.profile) {
            wrong.push(format!("{kind}: {what}: {:?}\n{}", report.profile, shown(&report)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
