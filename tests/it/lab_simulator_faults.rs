//! The simulated lab, misbehaving: each behaviour against the real drivers over HTTP and gRPC.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, Uri};
use clap::Parser;
use jiff::SignedDuration;
use secrecy::SecretString;
use serde_json::{Value, json};
use stoppress::cli::simulate::behaviour::{Behaviour, Down, DownBy, Forgets, LosesBy, Share, Stops};
use stoppress::cli::simulate::ledger::What;
use stoppress::cli::simulate::{Gateway, SimulateArgs, SimulatorSettings};
use stoppress::domain::lab::Lasting;

use crate::lab_simulator::{KINDS, Set};
use crate::lab_support::{eventually, noon, stop_call, upload};

fn quick() -> Value {
    json!({ "timeouts": { "upload": "400ms", "stop": "400ms", "look_up": "400ms" } })
}

#[tokio::test]
async fn refuses() {
    for kind in KINDS {
        let set = Set::new(Behaviour { refuses: Share::ALL, ..Behaviour::default() }).await;
        let (upload, order) = upload(1);
        assert_eq!(set.lab(kind).submit(&upload).await.answer.word(), "refused", "{kind}");
        set.sim.set_behaviour(Behaviour::default());
        assert_eq!(
            set.lab(kind).submit(&upload).await.answer.word(),
            "refused",
            "{kind}: never under this key"
        );
        assert_eq!(set.lab(kind).look_up(&order).await.answer.word(), "not_found", "{kind}");
    }
}

#[tokio::test]
async fn fails_before_or_after_the_work() {
    for kind in KINDS {
        let set = Set::new(Behaviour { fails: Share::ALL, ..Behaviour::default() }).await;
        let lab = set.lab(kind);
        for number in 0..20 {
            assert_eq!(lab.submit(&upload(number).0).await.answer.word(), "unclear", "{kind}");
        }
        let received = set.lines(|what| matches!(what, What::Received { .. }));
        assert!((1..20).contains(&received), "{kind}: {received} of 20 were done");
    }
}

#[tokio::test]
async fn loses_answers_after_the_work() {
    for kind in KINDS {
        for loses_by in [LosesBy::Close, LosesBy::Silence] {
            let set =
                Set::new(Behaviour { loses_answers: Share::ALL, loses_by, ..Behaviour::default() }).await;
            let lab = set.lab_with(kind, quick());
            let (upload, order) = upload(1);
            assert_eq!(lab.submit(&upload).await.answer.word(), "unclear", "{kind} {loses_by:?}");
            assert_eq!(set.lines(|what| matches!(what, What::Received { .. })), 1, "{kind} {loses_by:?}");
            assert_eq!(set.lines(|what| matches!(what, What::Repeated { .. })), 0, "{kind}: it came once");
            assert_eq!(lab.stop(&stop_call(&order)).await.answer.word(), "unclear", "{kind} {loses_by:?}");
            assert_eq!(set.lines(|what| matches!(what, What::StopAsked { .. })), 1, "{kind}: it came once");
            assert_eq!(set.lines(|what| matches!(what, What::AnswerLost { .. })), 2, "{kind} {loses_by:?}");
            set.sim.set_behaviour(Behaviour::default());
            assert_eq!(lab.look_up(&order).await.answer.word(), "removed", "{kind} {loses_by:?}");
        }
    }
}

#[tokio::test]
async fn is_slow() {
    for kind in KINDS {
        let slow = Some("900ms".parse().unwrap());
        let set = Set::new(Behaviour { slow, ..Behaviour::default() }).await;
        let (upload, _) = upload(1);
        assert_eq!(set.lab_with(kind, quick()).submit(&upload).await.answer.word(), "unclear", "{kind}");
        assert_eq!(set.lab(kind).submit(&upload).await.answer.word(), "accepted", "{kind}");
    }
}

#[tokio::test]
async fn is_down_and_comes_back() {
    for kind in KINDS {
        for (by, word) in [(DownBy::Close, "unclear"), (DownBy::Refuse, "unreachable")] {
            let set = Set::new(Behaviour::default()).await;
            let lab = set.lab(kind);
            let (first, second) = (upload(1).0, upload(2).0);
            assert_eq!(lab.submit(&first).await.answer.word(), "accepted", "{kind} {by:?}");
            let (from, until) =
                (noon() + SignedDuration::from_secs(5), noon() + SignedDuration::from_secs(10));
            set.sim.set_behaviour(Behaviour {
                down: Some(Down { by, from: Some(from), until: Some(until) }),
                ..Behaviour::default()
            });
            assert_eq!(lab.submit(&first).await.answer.word(), "accepted", "{kind} {by:?}: not yet");
            set.pass(5);
            settle(&set, by == DownBy::Refuse).await;
            let mut words = Vec::new();
            for _ in 0..3 {
                words.push(lab.submit(&second).await.answer.word());
            }
            assert!(words[1..].iter().all(|got| *got == word), "{kind} {by:?}: {words:?}");
            assert!(["unclear", word].contains(&words[0]), "{kind} {by:?}: {words:?}");
            set.pass(5);
            settle(&set, false).await;
            assert_eq!(lab.submit(&second).await.answer.word(), "accepted", "{kind} {by:?}: back");
        }
    }
}

/// Until the port refuses connections, or takes them.
async fn settle(set: &Set, refuses: bool) {
    let at = set.sim.http_addr;
    eventually("the port", || std::net::TcpStream::connect(at).is_err() == refuses).await;
}

#[tokio::test]
async fn duplicates() {
    for kind in KINDS {
        let set = Set::new(Behaviour { duplicates: true, ..Behaviour::default() }).await;
        let lab = set.lab(kind);
        let (upload, order) = upload(1);
        lab.submit(&upload).await;
        lab.submit(&upload).await;
        set.pass(7200);
        assert_eq!(set.sim.ledger().prints(order.as_str()), 2, "{kind}");
    }
}

#[tokio::test]
async fn forgets_keys_with_time() {
    for kind in KINDS {
        let forgets_keys = Forgets::After(Lasting::seconds(10));
        let set = Set::new(Behaviour { forgets_keys, ..Behaviour::default() }).await;
        let lab = set.lab(kind);
        let (upload, order) = upload(1);
        for pass in [0, 9, 1] {
            set.pass(pass);
            assert_eq!(lab.submit(&upload).await.answer.word(), "accepted", "{kind}");
        }
        set.pass(7200);
        assert_eq!(set.sim.ledger().prints(order.as_str()), 2, "{kind}");
    }
}

#[tokio::test]
async fn knows_live_jobs_only() {
    for kind in KINDS {
        let set = Set::new(Behaviour { forgets_keys: Forgets::AfterRemoval, ..Behaviour::default() }).await;
        let lab = set.lab(kind);
        let (upload, order) = upload(1);
        lab.submit(&upload).await;
        lab.submit(&upload).await;
        assert_eq!(lab.stop(&stop_call(&order)).await.answer.word(), "removed", "{kind}");
        assert_eq!(lab.submit(&upload).await.answer.word(), "accepted", "{kind}");
        set.pass(7200);
        let ledger = set.sim.ledger();
        assert_eq!(ledger.prints(order.as_str()), 1, "{kind}: the trap");
        assert!(ledger.verdicts()[0].printed_after_removal(), "{kind}");
    }
}

#[tokio::test]
async fn takes_no_stops_or_always_too_late() {
    for kind in KINDS {
        for (stops, word) in [(Stops::No, "refused"), (Stops::TooLate, "will_print")] {
            let set = Set::new(Behaviour { stops, ..Behaviour::default() }).await;
            let lab = set.lab(kind);
            let (upload, order) = upload(1);
            lab.submit(&upload).await;
            assert_eq!(lab.stop(&stop_call(&order)).await.answer.word(), word, "{kind}");
            set.pass(7200);
            assert_eq!(set.sim.ledger().prints(order.as_str()), 1, "{kind}");
        }
    }
}

type Heard = Arc<Mutex<Vec<(String, String, String, Value)>>>;

/// A gateway that hears late answers; it is down for the first one.
async fn gateway() -> (Gateway, Heard) {
    let heard: Heard = Arc::default();
    let into = Arc::clone(&heard);
    let mut down = true;
    let router = Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: String| {
        let text = |name: &str| headers[name].to_str().unwrap().to_owned();
        let status = if std::mem::take(&mut down) { 503 } else { 200 };
        let line = (
            uri.path().to_owned(),
            text("authorization"),
            text("idempotency-key"),
            serde_json::from_str(&body).unwrap(),
        );
        into.lock().unwrap().push(line);
        async move { axum::http::StatusCode::from_u16(status).unwrap() }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (Gateway { url, key: SecretString::from("sp_test_key".to_owned()) }, heard)
}

#[tokio::test]
async fn answers_stops_late() {
    for kind in KINDS {
        let (gateway, heard) = gateway().await;
        let folder = tempfile::tempdir().unwrap();
        let behaviour = Behaviour { answers_late: Some(Lasting::seconds(60)), ..Behaviour::default() };
        let settings = SimulatorSettings {
            ledger: Some(folder.path().join("lab.ndjson")),
            gateway: Some(gateway),
            behaviour,
            ..SimulatorSettings::default()
        };
        let set = Set::with(settings.clone()).await;
        let (upload, order) = upload(1);
        let call = stop_call(&order);
        set.lab(kind).submit(&upload).await;
        assert_eq!(set.lab(kind).stop(&call).await.answer.word(), "answer_later", "{kind}");
        assert_eq!(set.lab(kind).stop(&call).await.answer.word(), "answer_later", "{kind}: asked again");
        assert_eq!(set.lab(kind).look_up(&order).await.answer.word(), "accepted", "{kind}: not yet");
        // It owes the answer over a restart.
        set.sim.shutdown().await;
        let set = Set::with(settings).await;
        eventually("somebody waits", || {
            set.clock.next_wake() == Some(noon() + SignedDuration::from_secs(60))
        })
        .await;
        assert!(heard.lock().unwrap().is_empty(), "{kind}");
        set.pass(60);
        eventually("two posts", || heard.lock().unwrap().len() == 2).await;
        let expected = (
            format!("/v1/lab/stops/{}/answer", call.stop),
            "Bearer sp_test_key".to_owned(),
            format!("{}-answer", call.stop),
            json!({ "answer": "removed" }),
        );
        assert_eq!(*heard.lock().unwrap(), [expected.clone(), expected], "{kind}");
        assert_eq!(set.lab(kind).look_up(&order).await.answer.word(), "removed", "{kind}");
    }
}

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: SimulateArgs,
}

#[test]
fn flags_go_before_the_file_and_errors_name_what_is_allowed() {
    let line =
        |flags: &str| Line::try_parse_from(std::iter::once("simulate").chain(flags.split_whitespace()));
    let shown = |flags: &str| match line(flags) {
        Ok(line) => format!("{:?}", line.args),
        Err(error) => error.to_string(),
    };
    assert!(
        shown("--prints-after 5m --loses-answers 0.2 --stops too_late --slow 0s..2s").contains("TooLate")
    );
    assert!(shown("--refuses 1.5").contains("a share from 0 to 1"));
    assert!(shown("--slow fast").contains("a range such as"));
    assert!(shown("--gateway http://localhost/").contains("--gateway-key-file"));
    let help = <Line as clap::CommandFactory>::command().render_long_help().to_string();
    assert!(help.contains("Examples:") && help.contains("--forgets-keys"), "{help}");

    let file: Behaviour = toml::from_str(
        "prints_after = \"1m\"\nrefuses = 0.5\nslow = \"1s\"\nforgets_keys = \"after_removal\"\n[down]\nby = \"refuse\"\nfrom = \"2026-11-21T12:00:00Z\"\n",
    )
    .unwrap();
    assert_eq!(file.forgets_keys, Forgets::AfterRemoval);
    assert_eq!(file.down_at(noon()), Some(DownBy::Refuse));
    let json = serde_json::to_string(&file).unwrap();
    assert_eq!(serde_json::from_str::<Behaviour>(&json).unwrap(), file);
    assert!(
        toml::from_str::<Behaviour>("print_after = \"1m\"").unwrap_err().to_string().contains("prints_after")
    );
}

#[test]
fn chance_comes_from_the_given_source_only() {
    let fates = || {
        let random = stoppress::clock::SeededRandom::new(5);
        let half: Share = "0.5".parse().unwrap();
        let how = Behaviour { refuses: half, fails: half, loses_answers: half, ..Behaviour::default() };
        (0..200).map(|_| how.draw(&random)).collect::<Vec<_>>()
    };
    assert_eq!(fates(), fates());
    let lost = fates().iter().filter(|fate| fate.lost).count();
    assert!((70..130).contains(&lost), "{lost}");
}
