//! The simulated lab, honest, against the real drivers over HTTP and gRPC.

use std::sync::Arc;

use jiff::SignedDuration;
use secrecy::SecretString;
use serde_json::{Value, json};
use stoppress::cli::simulate::behaviour::Behaviour;
use stoppress::cli::simulate::ledger::{Ledger, What};
use stoppress::cli::simulate::{Simulator, SimulatorSettings};
use stoppress::clock::{ManualClock, SeededRandom};
use stoppress::domain::lab::Answer;
use stoppress::domain::order::Stage;
use stoppress::lab::outbound::Request;
use stoppress::lab::{Lab, Tools};

use crate::lab_ssrf::get;
use crate::lab_support::{SECRET, clock, eventually, lab, stop_call, tools, upload};

/// A lab that runs, and both ways to it.
pub(crate) struct Set {
    pub(crate) clock: ManualClock,
    pub(crate) tools: Tools,
    pub(crate) sim: Simulator,
}

impl Set {
    pub(crate) async fn with(settings: SimulatorSettings) -> Self {
        let clock = clock();
        let sim = Simulator::start(settings, Arc::new(clock.clone()), Arc::new(SeededRandom::new(1)))
            .await
            .unwrap();
        Self { tools: tools(&clock), clock, sim }
    }

    pub(crate) async fn new(behaviour: Behaviour) -> Self {
        Self::with(SimulatorSettings { behaviour, ..SimulatorSettings::default() }).await
    }

    pub(crate) fn lab(&self, kind: &str) -> Arc<dyn Lab> {
        self.lab_with(kind, json!({}))
    }

    pub(crate) fn lab_with(&self, kind: &str, more: Value) -> Arc<dyn Lab> {
        let at = if kind == "grpc" { self.sim.grpc_addr } else { self.sim.http_addr };
        lab(kind, at, more, &self.tools)
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds).unsigned_abs());
    }

    pub(crate) fn lines(&self, is: impl Fn(&What) -> bool) -> usize {
        self.sim.ledger().entries().iter().filter(|entry| is(&entry.what)).count()
    }
}

pub(crate) const KINDS: [&str; 2] = ["http", "grpc"];

#[tokio::test]
async fn an_honest_lab_takes_once_removes_and_prints() {
    for kind in KINDS {
        let set = Set::new(Behaviour::default()).await;
        let lab = set.lab(kind);
        let (stopped, first) = upload(1);
        let (printed, second) = upload(2);

        assert_eq!(lab.describe().await.answer.word(), "accepted", "{kind}");
        assert_eq!(lab.look_up(&first).await.answer, Answer::NotFound, "{kind}");
        assert_eq!(lab.stop(&stop_call(&first)).await.answer, Answer::NotFound, "{kind}");

        let taken = lab.submit(&stopped).await.answer;
        assert!(
            matches!(&taken, Answer::Accepted { lab_reference: Some(text) } if text.starts_with("SIM-")),
            "{taken:?}"
        );
        assert_eq!(lab.submit(&stopped).await.answer, taken, "the same key is the same upload");
        assert_eq!(lab.submit(&printed).await.answer.word(), "accepted");
        assert_eq!(lab.look_up(&first).await.answer, Answer::Accepted { lab_reference: None });

        let removed = Answer::Removed { reason: None, items: Vec::new() };
        assert_eq!(lab.stop(&stop_call(&first)).await.answer, removed);
        assert_eq!(lab.stop(&stop_call(&first)).await.answer, removed, "asked again, the same answer");
        assert_eq!(lab.look_up(&first).await.answer, removed);

        set.pass(2 * 3600);
        let answer = lab.stop(&stop_call(&second)).await.answer;
        assert_eq!(answer.word(), "will_print");
        let stage = Answer::WillPrint { reason: None, stage: Stage::Printed };
        assert_eq!(lab.look_up(&second).await.answer, stage);

        let ledger = set.sim.ledger();
        assert_eq!((ledger.prints(first.as_str()), ledger.prints(second.as_str())), (0, 1), "{kind}");
        let verdicts = ledger.verdicts();
        let of = |order: &str| verdicts.iter().find(|verdict| verdict.order == order).unwrap();
        assert_eq!(
            (of(second.as_str()).copies, of(second.as_str()).received),
            (2, 1),
            "downloads are not printed"
        );
        assert!(!verdicts.iter().any(stoppress::cli::simulate::ledger::Verdict::printed_after_removal));
    }
}

#[tokio::test]
async fn what_is_due_is_printed_without_being_asked() {
    let set = Set::new(Behaviour::default()).await;
    let (upload, order) = upload(1);
    set.lab("http").submit(&upload).await;
    set.pass(7201);
    let ledger_of = || set.sim.ledger().prints(order.as_str()) == 1;
    eventually("the print", ledger_of).await;
    let due = set.sim.ledger().entries().iter().find(|e| matches!(e.what, What::Printed { .. })).unwrap().at;
    assert_eq!(
        due,
        crate::lab_support::noon() + SignedDuration::from_hours(2),
        "written with the instant of the print"
    );
}

#[tokio::test]
async fn the_same_key_with_other_bytes_is_refused() {
    for kind in KINDS {
        let set = Set::new(Behaviour::default()).await;
        let lab = set.lab(kind);
        let (first, _) = upload(1);
        let (mut other, order) = upload(2);
        other.key.clone_from(&first.key);
        lab.submit(&first).await;
        assert_eq!(lab.submit(&other).await.answer.word(), "refused", "{kind}");
        assert_eq!(lab.look_up(&order).await.answer, Answer::NotFound, "{kind}");
    }
}

#[tokio::test]
async fn bytes_that_changed_on_the_way_are_refused() {
    let set = Set::new(Behaviour::default()).await;
    let (mut upload, _) = upload(1);
    upload.body.push(b' ');
    assert_eq!(set.lab("http").submit(&upload).await.answer.word(), "refused");
}

#[tokio::test]
async fn an_upload_that_comes_too_late_is_refused_but_not_what_is_there() {
    for kind in KINDS {
        let clock = clock();
        let ahead = Arc::new(clock.skewed(31_000_000));
        let sim = Simulator::start(SimulatorSettings::default(), ahead, Arc::new(SeededRandom::new(1)))
            .await
            .unwrap();
        let late = lab(kind, sim.http_addr, json!({}), &tools(&clock));
        let (upload, order) = upload(1);
        assert_eq!(late.submit(&upload).await.answer.word(), "refused", "{kind}");
        assert_eq!(late.look_up(&order).await.answer, Answer::NotFound, "{kind}");

        let set = Set::new(Behaviour::default()).await;
        let known = set.lab(kind);
        known.submit(&upload).await;
        set.pass(29);
        assert_eq!(known.submit(&upload).await.answer.word(), "accepted", "{kind}");
    }
}

#[tokio::test]
async fn many_copies_at_once_are_one_upload() {
    for kind in KINDS {
        let set = Set::new(Behaviour::default()).await;
        let lab = set.lab(kind);
        let (upload, order) = upload(1);
        let all = futures_util::future::join_all((0..20).map(|_| lab.submit(&upload))).await;
        assert!(all.iter().all(|reply| reply.answer.word() == "accepted"), "{kind}: {all:?}");
        set.pass(7200);
        assert_eq!(set.sim.ledger().prints(order.as_str()), 1, "{kind}");
        assert_eq!(set.lines(|what| matches!(what, What::Received { .. })), 1, "{kind}");
    }
}

#[tokio::test]
async fn a_lab_with_a_secret_takes_only_what_carries_it() {
    for kind in KINDS {
        let secret = Some(SecretString::from(SECRET.to_owned()));
        let set = Set::with(SimulatorSettings { secret, ..SimulatorSettings::default() }).await;
        let (upload, order) = upload(1);
        let wrong = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        for (more, expected) in [
            (json!({}), "refused"),
            (json!({ "secret": { "env": wrong } }), "refused"),
            (json!({ "secret": { "env": SECRET } }), "accepted"),
        ] {
            let lab = set.lab_with(kind, more);
            assert_eq!(lab.submit(&upload).await.answer.word(), expected, "{kind}");
            let seen = lab.look_up(&order).await.answer.word();
            assert_eq!(seen, if expected == "refused" { "unclear" } else { "accepted" }, "{kind}");
            assert!(!format!("{lab:?}").contains("C2FVsBQ"), "{kind}: a secret is never printed");
        }
    }
}

#[tokio::test]
async fn http_signatures_follow_the_labs_clock() {
    let clock = clock();
    let secret = Some(SecretString::from(SECRET.to_owned()));
    let settings = SimulatorSettings { secret, ..SimulatorSettings::default() };
    let ahead = Arc::new(clock.skewed(301_000_000));
    let sim = Simulator::start(settings, ahead, Arc::new(SeededRandom::new(1))).await.unwrap();
    let lab = lab("http", sim.http_addr, json!({ "secret": { "env": SECRET } }), &tools(&clock));
    let (mut upload, _) = upload(1);
    upload.not_after += SignedDuration::from_hours(1);
    assert_eq!(lab.submit(&upload).await.answer.word(), "refused");
}

#[tokio::test]
async fn the_ledger_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab.ndjson");
    let settings = || SimulatorSettings { ledger: Some(path.clone()), ..SimulatorSettings::default() };
    let (kept, first) = upload(1);
    let (gone, second) = upload(2);
    let before = {
        let set = Set::with(settings()).await;
        let lab = set.lab("http");
        lab.submit(&kept).await;
        lab.submit(&gone).await;
        assert_eq!(lab.stop(&stop_call(&second)).await.answer.word(), "removed");
        let before = set.sim.ledger().entries().to_vec();
        set.sim.shutdown().await;
        before
    };
    // A crash in the middle of a line: nothing was answered upon it.
    let mut text = std::fs::read(&path).unwrap();
    text.extend_from_slice(br#"{"at":"2026-11-21T12:00:00Z","entry":"prin"#);
    std::fs::write(&path, text).unwrap();

    let set = Set::with(settings()).await;
    assert_eq!(set.sim.ledger().entries(), before.as_slice());
    let lab = set.lab("grpc");
    assert_eq!(lab.look_up(&second).await.answer.word(), "removed");
    assert_eq!(set.lab("http").submit(&kept).await.answer.word(), "accepted");
    set.pass(7200);
    assert_eq!(lab.look_up(&first).await.answer.word(), "will_print");
    assert_eq!((set.sim.ledger().prints(first.as_str()), set.sim.ledger().prints(second.as_str())), (1, 0));
    let shown = set.sim.ledger().entries().to_vec();
    set.sim.shutdown().await;
    assert_eq!(Ledger::open(Some(&path)).unwrap().entries(), shown.as_slice());
}

#[test]
fn a_ledger_with_a_spoilt_line_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab.ndjson");
    std::fs::write(&path, "{}\n").unwrap();
    let error = Ledger::open(Some(&path)).unwrap_err().to_string();
    assert!(error.contains("line 1"), "{error}");
}

#[tokio::test]
async fn the_switchboard_shows_and_sets() {
    let set = Set::new(Behaviour::default()).await;
    let (upload, order) = upload(1);
    let url = |path: &str| format!("http://{}{path}", set.sim.http_addr);
    let post = |body: &str| Request {
        method: hyper::Method::POST,
        body: body.as_bytes().to_vec(),
        ..get(&url("/_simulate"))
    };
    let outbound = &set.tools.outbound;
    let answer =
        outbound.call(post(r#"{"stops":"too_late","slow":"0s..1ms","forgets_keys":"10m"}"#)).await.unwrap();
    assert_eq!(answer.status, 200);
    let shown: Behaviour = outbound.call(get(&url("/_simulate"))).await.unwrap().json().unwrap();
    assert_eq!(shown, set.sim.behaviour());
    for (wrong, told) in [
        (r#"{"stop":"yes"}"#, "unknown field `stop`"),
        (r#"{"refuses":2}"#, "2.0 is not a share from 0 to 1"),
        (r#"{"slow":"2s..1s"}"#, "is not a duration"),
    ] {
        let answer = outbound.call(post(wrong)).await.unwrap();
        assert_eq!(answer.status, 422);
        assert!(String::from_utf8_lossy(&answer.body).contains(told), "{answer:?}");
    }
    let lab = set.lab("http");
    lab.submit(&upload).await;
    assert_eq!(lab.stop(&stop_call(&order)).await.answer.word(), "will_print");
    let read: Value = outbound
        .call(Request { body_max: 1 << 20, ..get(&url("/_simulate/ledger")) })
        .await
        .unwrap()
        .json()
        .unwrap();
    assert_eq!(read["orders"][0]["order"], order.as_str());
    assert_eq!(read["entries"][0]["entry"], "received");
}
