//! `stoppress lab certify`: the honest simulator passes whole, and each of its misbehaviours is found and named.

use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use secrecy::SecretString;
use stoppress::cli::certify::report::{Basis, Report, Status};
use stoppress::cli::certify::rules::{Name, RULES};
use stoppress::cli::certify::{Target, certify};
use stoppress::cli::simulate::behaviour::{Behaviour, Down, Forgets, LooksUp, LosesBy, Share, Stops};
use stoppress::cli::simulate::{Simulator, SimulatorSettings};
use stoppress::clock::{Clock, HostClock, HostRandom, Random};
use stoppress::domain::lab::{Dedupes, Lasting, Profile, TakesStops};

use crate::cli::alone;
use crate::lab_simulator::KINDS;
use crate::lab_support::SECRET;

/// A lab in real time.
async fn lab(behaviour: Behaviour) -> Simulator {
    let settings = SimulatorSettings {
        secret: Some(SecretString::from(SECRET)),
        behaviour,
        ..SimulatorSettings::default()
    };
    Simulator::start(settings, Arc::new(HostClock), Arc::new(HostRandom)).await.unwrap()
}

/// What the tests certify: few orders, and no patience.
pub(crate) fn target(kind: &str, at: std::net::SocketAddr) -> Target {
    Target {
        secret: Some(SecretString::from(SECRET)),
        allow_private: true,
        orders_per_call: 8,
        keeps_keys: Dedupes::Forever,
        again_after: Lasting::seconds(1),
        // How fast a lab is on a machine with much to do says nothing about the lab.
        slow_after: Lasting::seconds(20),
        ..Target::new(format!("http://{at}/").parse().unwrap(), kind == "grpc")
    }
}

pub(crate) async fn certified(target: &Target) -> Report {
    let (clock, random): (Arc<dyn Clock>, Arc<dyn Random>) = (Arc::new(HostClock), Arc::new(HostRandom));
    certify(target, &clock, &random, &mut |_| {}).await.unwrap()
}

/// The checks that ended so, by their words.
fn names(report: &Report, status: Status) -> Vec<Name> {
    report.checks.iter().filter(|check| check.status == status).map(|check| check.name).collect()
}

fn found(report: &Report, name: Name) -> (Status, &str) {
    let check = report.checks.iter().find(|check| check.name == name).unwrap();
    (check.status, &check.found)
}

pub(crate) fn shown(report: &Report) -> String {
    let lines = report.checks.iter().map(|check| format!("{}\n    {}", check.line(), check.found));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn an_honest_lab_passes_whole() {
    join_all(KINDS.map(|kind| async move {
        let lab = lab(Behaviour { prints_after: Lasting::seconds(6), ..Behaviour::default() }).await;
        let target = Target { let_print: Some(Lasting::seconds(30)), ..target(kind, lab.http_addr) };
        let report = certified(&target).await;
        assert_eq!(report.count(Status::Passed), RULES.len(), "{kind}\n{}", shown(&report));
        assert!(report.certified && report.left.is_empty(), "{kind}");
        assert!(report.checks.iter().all(|check| check.basis == Some(Basis::Proved)), "{}", shown(&report));
        assert!(report.checks.iter().all(|check| check.mend.is_none()));
        let expected = Profile {
            dedupes: Dedupes::Forever,
            lookup: true,
            stops: TakesStops::Yes,
            orders_per_call: 8,
            acts_within: Lasting::seconds(120),
            answers_within: Lasting::seconds(60),
            concurrency: 8,
            ..Profile::default()
        };
        assert_eq!(report.profile, expected, "{kind}");
        // What is to be pasted is a profile, and the same one.
        let pasted: toml::Table = report.profile_toml.parse().unwrap();
        let pasted: Profile = pasted["labs"]["profile"].clone().try_into().unwrap();
        assert_eq!(pasted, expected, "{kind}");
        // The lab's own ledger agrees: one test order was printed once, and all others were taken out.
        let verdicts = lab.ledger().verdicts();
        let printed: Vec<_> = verdicts.iter().filter(|verdict| verdict.prints > 0).collect();
        assert!(matches!(printed.as_slice(), [one] if one.prints == 1), "{kind}: {printed:?}");
        assert_eq!(verdicts.iter().filter(|verdict| verdict.waiting > 0).count(), 0, "{kind}");
    }))
    .await;
}

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
        Answers, Batch, CleanUp, Describes, KeysKept, Malformed, NotAfter, OtherBytes, SameKey,
        SameKeyAtOnce, Signature, StopBeforePrinting, TakesAnOrder, UnknownStop, UploadAfterStop,
    };
    let honest = Behaviour::default;
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
            fail: &[SameKey, UploadAfterStop, SameKeyAtOnce, KeysKept],
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
        cases().into_iter().flat_map(|case| KINDS.map(|kind| (kind, case.behaviour.clone(), case.what)));
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
            ..target(kind, lab.http_addr)
        };
        (kind, what, certified(&target).await)
    });
    // A few at a time, so that none is slow for want of a processor.
    let reports: Vec<_> = stream::iter(runs).buffer_unordered(8).collect().await;
    let cases = cases();
    assert_eq!(reports.len(), cases.len() * KINDS.len());
    // All that is wrong at once: a run takes its time.
    let mut wrong = Vec::new();
    for (kind, what, report) in reports {
        let case = cases.iter().find(|case| case.what == what).unwrap();
        let failed = names(&report, Status::Failed);
        // By chance, more than the one check may meet a lab that is moody.
        let by_chance = what.contains("now and then");
        let as_expected =
            if by_chance { case.fail.iter().all(|name| failed.contains(name)) } else { failed == case.fail };
        if !as_expected {
            wrong.push(format!("{kind}: {what}: {failed:?}, not {:?}\n{}", case.fail, shown(&report)));
        }
        assert_eq!(report.certified, failed.is_empty(), "{kind}: {what}");
        if let Some(check) = report.checks.iter().find(|check| Some(&check.name) == case.fail.first()) {
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

/// What a lab may do, and what it costs it: nothing fails, and the profile says less.
#[tokio::test]
async fn what_a_lab_cannot_do_is_a_warning_and_no_capability() {
    for kind in KINDS {
        let honest = Behaviour::default;
        let only = |names: &[Name]| names.to_vec();
        let cases: Vec<(Behaviour, Vec<Name>, Name, Status, &str)> = vec![
            (
                Behaviour { stops: Stops::No, ..honest() },
                only(&[Name::SameKey]),
                Name::StopBeforePrinting,
                Status::Warning,
                "it takes no stops",
            ),
            (
                Behaviour { stops: Stops::TooLate, ..honest() },
                only(&[Name::SameKey]),
                Name::StopBeforePrinting,
                Status::Warning,
                "too late at once",
            ),
            (
                Behaviour { answers_late: Some(Lasting::seconds(3600)), ..honest() },
                only(&[Name::SameKey]),
                Name::StopBeforePrinting,
                Status::NotSeen,
                "it answers later, and nothing was seen of it within 1s",
            ),
            (
                Behaviour { looks_up: LooksUp::No, ..honest() },
                only(&[Name::SameKey]),
                Name::SameKey,
                Status::Warning,
                "believed, not proved",
            ),
            (
                Behaviour { takes_at_most: Some(3), ..honest() },
                only(&[Name::Batch]),
                Name::Batch,
                Status::Passed,
                "2 orders taken, all seen, 2 taken out; it refused 4",
            ),
            (
                Behaviour { slow: Some("1100ms".parse().unwrap()), ..honest() },
                only(&[Name::Answers]),
                Name::Answers,
                Status::Warning,
                "slow: the longest answers: upload 1s",
            ),
            (
                honest(),
                only(&[Name::StopAfterPrinting]),
                Name::StopAfterPrinting,
                Status::NotSeen,
                "not asked for",
            ),
        ];
        let runs = cases.into_iter().map(|(behaviour, only, name, status, words)| async move {
            let lab = lab(behaviour.clone()).await;
            let (wait, slow_after) =
                (Lasting::seconds(1), Lasting::seconds(if name == Name::Answers { 1 } else { 20 }));
            let target = Target { only, wait, slow_after, ..target(kind, lab.http_addr) };
            let report = certified(&target).await;
            let (got, said) = found(&report, name);
            assert!(got == status && said.contains(words), "{kind}: {got:?}: {said}");
            assert_eq!(report.count(Status::Failed), 0, "{kind} {behaviour:?}\n{}", shown(&report));
            assert!(!report.certified, "only some checks were made");
            let can_stop = matches!(behaviour.stops, Stops::Yes) && behaviour.answers_late.is_none();
            let seen = behaviour.looks_up == LooksUp::Yes;
            assert_eq!(report.profile.stops == TakesStops::Yes, can_stop && seen, "{kind} {behaviour:?}");
            assert_eq!(report.profile.dedupes, Dedupes::No, "not every check of keys was made");
            assert_eq!(report.left.is_empty(), can_stop, "{kind} {behaviour:?}: {:?}", report.left);
            assert!(report.left.iter().all(|left| left.reference.starts_with("CERTIFY-")));
        });
        join_all(runs).await;
    }
}

#[tokio::test]
async fn a_lab_that_answers_later_is_watched() {
    for kind in KINDS {
        let lab = lab(Behaviour { answers_late: Some(Lasting::seconds(1)), ..Behaviour::default() }).await;
        let target = Target { only: vec![Name::KeysKept], ..target(kind, lab.http_addr) };
        let report = certified(&target).await;
        let (status, said) = found(&report, Name::StopBeforePrinting);
        assert!(
            status == Status::Warning && said.contains("it answers later; a look-up said"),
            "{kind}: {said}"
        );
        assert_eq!(report.profile.stops, TakesStops::Yes, "{kind}");
        assert!(report.left.is_empty(), "{kind}: {:?}", report.left);
    }
}

#[tokio::test]
async fn how_long_keys_are_kept_is_the_labs_word_and_never_guessed() {
    let lab = lab(Behaviour::default()).await;
    let report = certified(&Target { keeps_keys: Dedupes::No, ..target("http", lab.http_addr) }).await;
    assert_eq!(report.profile.dedupes, Dedupes::No);
    assert!(report.profile_toml.contains("dedupes = \"no\"  # proved for"), "{}", report.profile_toml);
    // Without a secret nothing is said about signatures.
    let open = Simulator::start(SimulatorSettings::default(), Arc::new(HostClock), Arc::new(HostRandom));
    let open = open.await.unwrap();
    let only = vec![Name::Signature];
    let report = certified(&Target { secret: None, only, ..target("http", open.http_addr) }).await;
    assert_eq!(found(&report, Name::Signature).0, Status::NotSeen);
    // The other way round: a lab with a secret refuses, and says why.
    let report = certified(&Target { secret: None, ..target("http", lab.http_addr) }).await;
    let (status, said) = found(&report, Name::TakesAnOrder);
    assert!(status == Status::Failed && said.contains("HTTP 401"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_says_how_it_went() {
    let folder = tempfile::tempdir().unwrap();
    let run = async |args: &str| {
        let (folder, args) = (folder.path().to_owned(), format!("lab certify {args}"));
        let run = move || alone(&folder, &args.split(' ').collect::<Vec<_>>());
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    for (args, said) in [
        ("ftp://lab.example", "a URL that begins with https, http, grpcs or grpc"),
        ("http://127.0.0.1:1", "--allow-private lets certify call it"),
        ("https://lab.example --secret-env NO_SUCH_SECRET", "--secret-env: the environment has no variable"),
        ("https://lab.example --secret-file none", "--secret-file: "),
        ("http://lab.example --only everything", "same_key"),
        ("http://lab.example --keeps-keys never", "\"forever\" or a duration"),
        ("grpc://lab.example/path", "gRPC has its own"),
    ] {
        let (code, out, err) = run(args).await;
        assert_eq!((code, out.as_str()), (2, ""), "{args}: {err}");
        assert!(err.contains(said), "{args}: {err}");
    }
    std::fs::write(folder.path().join("weak"), "whsec_c2hvcnQ=").unwrap();
    let (code, _, err) = run("https://lab.example --secret-file weak").await;
    assert!(code == 2 && err.contains("24 to 64 random bytes") && !err.contains("c2hvcnQ"), "{err}");

    let lab = lab(Behaviour { takes_other_bytes: true, ..Behaviour::default() }).await;
    std::fs::write(folder.path().join("secret"), SECRET).unwrap();
    let here = format!("http://{} --allow-private --secret-file secret --orders-per-call 4", lab.http_addr);
    let (code, out, err) = run(&format!("{here} --report report.json")).await;
    assert_eq!(code, 1, "{err}");
    assert!(out.contains("FAILED: other bytes under a known key: refused (other_bytes)"), "{out}");
    assert!(out.contains("to mend:") && out.contains("→ accepted: SIM-"), "{out}");
    assert!(out.trim_end().ends_with("17 of 19 checks passed, 1 not seen, 1 failed"), "{out}");
    assert!(err.contains("[19/19] the test orders are out again: passed"), "{err}");
    let report = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
    assert!(!report.contains(SECRET) && !out.contains(SECRET));
    let (code, out, _) = run(&format!("{here} --only signature --format json")).await;
    assert_eq!(code, 0);
    let printed: serde_json::Value = serde_json::from_str(&out).unwrap();
    let stored: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&printed["certified"], &stored["certified"]), (&false.into(), &false.into()));
    assert_eq!(printed["checks"].as_array().unwrap().len(), 6);
    assert_eq!(stored["checks"][7]["status"], "failed");
    assert_eq!(stored["profile"]["dedupes"], "no");
}
