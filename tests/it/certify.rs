//! `stoppress lab certify`: the honest simulator passes whole, whichever way it is reached, and what a lab cannot do
//! costs it a capability.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use futures_util::future::join_all;
use secrecy::SecretString;
use stoppress::cli::certify::report::{Basis, Report, Status};
use stoppress::cli::certify::rules::Name;
use stoppress::cli::certify::{Target, To, certify};
use stoppress::cli::simulate::behaviour::{Addresses, Behaviour, LooksUp, Stops};
use stoppress::cli::simulate::ledger::What;
use stoppress::cli::simulate::{Gateway, Simulator, SimulatorSettings};
use stoppress::clock::{Clock, HostClock, HostRandom, Random};
use stoppress::domain::lab::{AddressChanges, Dedupes, Lasting, Profile, TakesStops};

use crate::cli::alone;
use crate::lab_support::SECRET;

/// A lab in real time.
pub(crate) async fn lab(behaviour: Behaviour) -> Simulator {
    let settings = SimulatorSettings {
        secret: Some(SecretString::from(SECRET)),
        behaviour,
        ..SimulatorSettings::default()
    };
    Simulator::start(settings, Arc::new(HostClock), Arc::new(HostRandom)).await.unwrap()
}

/// All ways to a lab.
pub(crate) const WAYS: [&str; 3] = ["http", "grpc", "link"];

/// What the tests certify: few orders, and no patience.
pub(crate) fn target(kind: &str, at: SocketAddr) -> Target {
    let url = || format!("http://{at}/").parse().unwrap();
    let to = match kind {
        "http" => To::Http(url()),
        "grpc" => To::Grpc(url()),
        _ => To::Link(at),
    };
    Target {
        secret: Some(SecretString::from(SECRET)),
        allow_private: true,
        orders_per_call: 8,
        keeps_keys: Dedupes::Forever,
        again_after: Lasting::seconds(1),
        // How fast a lab is on a machine with much to do says nothing about the lab.
        slow_after: Lasting::seconds(20),
        beat: Lasting::try_from("300ms".to_owned()).unwrap(),
        ..Target::new(to)
    }
}

/// A port that nobody has.
pub(crate) fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// How a simulated lab is reached; one that dials out begins to.
pub(crate) fn reach(kind: &str, lab: &Simulator) -> Target {
    if kind != "link" {
        return target(kind, lab.http_addr);
    }
    let at = free();
    let url = format!("http://{at}/").parse().unwrap();
    lab.dial(&Gateway { url, key: SecretString::from(SECRET) }, 8).unwrap();
    target(kind, at)
}

pub(crate) async fn certified(target: &Target) -> Report {
    let (clock, random): (Arc<dyn Clock>, Arc<dyn Random>) = (Arc::new(HostClock), Arc::new(HostRandom));
    certify(target, &clock, &random, &mut |_, _| {}).await.unwrap()
}

/// The checks that ended so, by their words.
pub(crate) fn names(report: &Report, status: Status) -> Vec<Name> {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_lab_passes_whole() {
    // The way, whether it has two phases, and how many checks there are for it.
    let runs = [
        ("http", false, 19),
        ("http", true, 24),
        ("grpc", true, 24),
        ("link", false, 21),
        ("link", true, 26),
    ];
    join_all(runs.map(|(kind, two_phase, checks)| async move {
        let honest = Behaviour { prints_after: Lasting::seconds(12), two_phase, ..Behaviour::default() };
        let lab = lab(honest).await;
        let target = Target { let_print: Some(Lasting::seconds(60)), ..reach(kind, &lab) };
        let report = certified(&target).await;
        let what = format!("{kind}, two phases: {two_phase}\n{}", shown(&report));
        assert_eq!(report.count(Status::Passed), checks, "{what}");
        // Over a link nothing is signed; all else is as over gRPC.
        let left_out = names(&report, Status::NotApplicable);
        assert_eq!(left_out, if kind == "link" { vec![Name::Signature] } else { vec![] }, "{what}");
        assert_eq!(report.checks.len(), checks + left_out.len(), "{what}");
        assert!(
            report.verdict().starts_with(&format!("CERTIFIED: {checks} of {checks} checks passed")),
            "{what}"
        );
        assert!(report.certified && report.left.is_empty(), "{what}");
        let mut passed = report.checks.iter().filter(|check| check.status == Status::Passed);
        assert!(passed.all(|check| check.basis == Some(Basis::Proved) && check.mend.is_none()), "{what}");
        let expected = Profile {
            dedupes: Dedupes::Forever,
            lookup: true,
            stops: TakesStops::Yes,
            two_phase,
            orders_per_call: 8,
            acts_within: Lasting::seconds(120),
            answers_within: Lasting::seconds(60),
            concurrency: 8,
            ..Profile::default()
        };
        assert_eq!(report.profile, expected, "{what}");
        // What is to be pasted is a profile, and the same one.
        let pasted: toml::Table = report.profile_toml.parse().unwrap();
        let pasted: Profile = pasted["labs"]["profile"].clone().try_into().unwrap();
        assert_eq!(pasted, expected, "{what}");
        assert_eq!(
            report.profile_toml.contains("\ntwo_phase = true\n"),
            two_phase,
            "{}",
            report.profile_toml
        );
        // The lab's own ledger agrees: one test order was printed once, and all others were taken out.
        let ledger = lab.ledger();
        let verdicts = ledger.verdicts();
        let printed: Vec<_> = verdicts.iter().filter(|verdict| verdict.prints > 0).collect();
        assert!(matches!(printed.as_slice(), [one] if one.prints == 1), "{what}: {printed:?}");
        assert_eq!(verdicts.iter().filter(|verdict| verdict.waiting > 0).count(), 0, "{what}");
        assert!(ledger.held().is_empty(), "{what}: {:?}", ledger.held());
        let named = |entry: &&stoppress::cli::simulate::ledger::Entry| match &entry.what {
            What::Received { orders, .. } => orders.iter().any(|job| job.import_reference.is_some()),
            _ => false,
        };
        assert_eq!(ledger.entries().iter().filter(named).count(), usize::from(two_phase), "{what}");
    }))
    .await;
}

/// What a lab may do, and what it costs it: nothing fails, and the profile says less.
#[tokio::test]
async fn what_a_lab_cannot_do_is_a_warning_and_no_capability() {
    for kind in WAYS {
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
            let target = Target { only, wait, slow_after, ..reach(kind, &lab) };
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
    for kind in WAYS {
        let lab = lab(Behaviour { answers_late: Some(Lasting::seconds(1)), ..Behaviour::default() }).await;
        let target = Target { only: vec![Name::KeysKept], ..reach(kind, &lab) };
        let report = certified(&target).await;
        let (status, said) = found(&report, Name::StopBeforePrinting);
        // What comes over the link is heard here; what is posted to a gateway is not.
        let expected = match kind {
            "link" => (Status::Passed, "came over the link within"),
            _ => (Status::Warning, "it answers later; a look-up said"),
        };
        assert!(status == expected.0 && said.contains(expected.1), "{kind}: {status:?} {said}");
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
        ("http://lab.example --link 127.0.0.1:1", "cannot be used with"),
        ("--link 127.0.0.1:0", "the key that the lab shows when it connects"),
        ("--keeps-keys forever", "<URL"),
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
    let (code, _, err) = run("--link 127.0.0.1:0 --secret-file secret --connect-within 100ms").await;
    assert!(code == 2 && err.contains("no lab has connected to http://127.0.0.1:0/ within 100ms"), "{err}");
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

/// A lab that says that it stops single lines is tried; what it says of them decides whether the profile has it.
#[tokio::test]
async fn stops_of_lines_are_tried_where_they_are_claimed() {
    for kind in WAYS {
        for (stops, status, words, proved) in [
            (Stops::Yes, Status::Passed, "it took out the line that it was asked for", true),
            (Stops::Whole, Status::Failed, "asked for line 2, it says", false),
            (Stops::No, Status::Warning, "it takes no stops of lines", false),
            (Stops::TooLate, Status::Warning, "too late at once", false),
        ] {
            let lab = lab(Behaviour { stops, ..Behaviour::default() }).await;
            let target = Target { only: vec![Name::StopLines], stops_lines: true, ..reach(kind, &lab) };
            let report = certified(&target).await;
            let (got, said) = found(&report, Name::StopLines);
            assert!(got == status && said.contains(words), "{kind} {stops:?}: {got:?}: {said}");
            assert_eq!(report.profile.stops_lines, proved, "{kind} {stops:?}");
            let line =
                if proved { "stops_lines = true\n" } else { "stops_lines = false  # not proved: stop_lines" };
            assert!(report.profile_toml.contains(line), "{}", report.profile_toml);
            let takes = matches!(stops, Stops::Yes | Stops::Whole);
            assert_eq!(
                report.left.is_empty(),
                takes,
                "{kind} {stops:?}: the test orders are out again if it takes any out"
            );
        }
    }
    // Nobody claims it: it is not tried, and nothing is said.
    let lab = lab(Behaviour::default()).await;
    let report = certified(&Target { only: vec![Name::SameKey], ..reach("http", &lab) }).await;
    assert!(report.checks.iter().all(|check| check.name != Name::StopLines));
    assert!(!report.profile.stops_lines && !report.profile_toml.contains("stops_lines"));
}

/// A lab that says that it takes other addresses is tried; what it says decides whether the profile has it.
#[tokio::test]
async fn changes_of_addresses_are_tried_where_they_are_claimed() {
    for kind in WAYS {
        for (addresses, status, words) in [
            (Addresses::Takes, Status::Passed, "it took another address"),
            (Addresses::No, Status::Warning, "it takes no changes of addresses"),
            (Addresses::TooLate, Status::Warning, "too late at once"),
            (Addresses::Later, Status::NotSeen, "it answers later"),
            (Addresses::Wavers, Status::Failed, "the same change again had another answer"),
            (Addresses::Anything, Status::Failed, "for an order that it never had"),
        ] {
            let lab = lab(Behaviour { addresses, ..Behaviour::default() }).await;
            let target =
                Target { only: vec![Name::ChangesAddress], address_changes: true, ..reach(kind, &lab) };
            let report = certified(&target).await;
            let (got, said) = found(&report, Name::ChangesAddress);
            assert!(got == status && said.contains(words), "{kind} {addresses:?}: {got:?}: {said}");
            let proved = addresses == Addresses::Takes;
            let expected = if proved { AddressChanges::UntilProduction } else { AddressChanges::No };
            assert_eq!(report.profile.address_changes, expected, "{kind} {addresses:?}");
            let line = if proved {
                "address_changes = \"until_production\"\n"
            } else {
                "address_changes = \"no\"  # not proved: changes_address"
            };
            assert!(report.profile_toml.contains(line), "{}", report.profile_toml);
            assert!(report.left.is_empty(), "{kind} {addresses:?}: the test orders are out again");
        }
    }
    // Nobody claims it: it is not tried, and nothing is said.
    let lab = lab(Behaviour::default()).await;
    let report = certified(&Target { only: vec![Name::SameKey], ..reach("http", &lab) }).await;
    assert!(report.checks.iter().all(|check| check.name != Name::ChangesAddress));
    assert!(!report.profile_toml.contains("address_changes"));
}
