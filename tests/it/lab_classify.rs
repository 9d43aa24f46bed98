//! What every status, code and body of a lab means: the tables of the protocol, and settings.

use std::time::Duration;

use hyper::HeaderMap;
use serde_json::json;
use stoppress::domain::lab::{Answer, DriverSpec};
use stoppress::domain::order::Stage;
use stoppress::lab::address;
use stoppress::lab::grpc::{self, About};
use stoppress::lab::http::{classify_look_up, classify_stop, classify_submit, retry_after};
use stoppress::lab::outbound::Response;
use stoppress::lab::{DRIVERS, check, connect, driver};
use stoppress::proto::change_address_response::Answer as Said;
use stoppress::proto::get_order_response::Stage as LabStage;
use tonic::{Code, Status};

use crate::lab_support::{clock, noon, spec, stop_call, tools, upload};

fn response(status: u16, body: &str) -> Response {
    Response { status, headers: HeaderMap::new(), body: body.as_bytes().to_vec(), cut: None }
}

#[test]
fn every_status_of_an_upload_means_one_thing() {
    for status in 100..=599 {
        let expected = match status {
            200..=299 => "accepted",
            408 | 409 | 421 | 425 | 429 => "unclear",
            400..=499 => "refused",
            _ => "unclear",
        };
        assert_eq!(classify_submit(&response(status, "")).word(), expected, "upload {status}");
        let expected = match status {
            200..=299 => "answer_later",
            404 => "not_found",
            _ => expected,
        };
        assert_eq!(classify_stop(&response(status, "")).word(), expected, "stop {status}");
        let expected = if status == 404 { "not_found" } else { "unclear" };
        assert_eq!(classify_look_up(&response(status, "")).word(), expected, "look-up {status}");
    }
}

#[test]
fn another_address_is_only_taken_by_a_known_word() {
    for status in 100..=599 {
        let expected = match status {
            200..=299 => "answer_later",
            404 => "not_found",
            408 | 409 | 421 | 425 | 429 => "unclear",
            400..=499 => "refused",
            _ => "unclear",
        };
        assert_eq!(address::classify(&response(status, "")).word(), expected, "{status}");
    }
    let said = |body: &str| address::classify(&response(200, body));
    assert_eq!(said(r#"{"answer":"taken","reason":"ok"}"#), Answer::Accepted { lab_reference: None });
    let late = |reason: Option<&str>, stage| Answer::WillPrint { reason: reason.map(str::to_owned), stage };
    let told = said(r#"{"answer":"too_late","reason":"the label\u202e is there","stage":"shipped"}"#);
    assert_eq!(told, late(Some("the label is there"), Stage::Shipped));
    assert_eq!(said(r#"{"answer":"too_late","stage":"on the moon"}"#), late(None, Stage::Received));
    assert_eq!(said(r#"{"answer":"not_found"}"#), Answer::NotFound);
    for nothing in
        ["", "{}", "<html>", r#"{"answer":"answer_later"}"#, r#"{"answer":"TAKEN"}"#, r#"{"answer":true}"#]
    {
        assert_eq!(said(nothing), Answer::AnswerLater, "{nothing}");
    }
    let cut = Response { cut: Some("reset".to_owned()), ..response(200, r#"{"answer":"taken"}"#) };
    assert_eq!(address::classify(&cut), Answer::AnswerLater, "half an answer is none");
    for (word, stage, expected) in [
        (Said::Taken, LabStage::Unspecified, Answer::Accepted { lab_reference: None }),
        (Said::TooLate, LabStage::Unspecified, late(None, Stage::Received)),
        (Said::TooLate, LabStage::Removed, late(None, Stage::Received)),
        (Said::TooLate, LabStage::Printed, late(None, Stage::Printed)),
        (Said::Later, LabStage::Shipped, Answer::AnswerLater),
        (Said::NotFound, LabStage::Unspecified, Answer::NotFound),
        (Said::Unspecified, LabStage::Unspecified, Answer::AnswerLater),
    ] {
        let said = stoppress::proto::ChangeAddressResponse {
            answer: word.into(),
            reason: String::new(),
            stage: stage.into(),
        };
        assert_eq!(address::changed(&said), expected, "{word:?} {stage:?}");
    }
    let odd = stoppress::proto::ChangeAddressResponse { answer: 99, ..Default::default() };
    assert_eq!(address::changed(&odd), Answer::AnswerLater);
}

#[test]
fn an_upload_is_accepted_whatever_the_body_says() {
    let reference = |body: &str| match classify_submit(&response(200, body)) {
        Answer::Accepted { lab_reference } => lab_reference,
        other => panic!("{other:?}"),
    };
    assert_eq!(reference(r#"{"lab_reference":"N-17"}"#), Some("N-17".to_owned()));
    assert_eq!(reference(r#"{"lab_reference":" a\u0000b\u202ec "}"#), Some("a bc".to_owned()));
    for body in ["", "<html>", "{}", r#"{"lab_reference":7}"#, r#"{"lab_reference":""}"#] {
        assert_eq!(reference(body), None, "{body}");
    }
    let cut = Response { cut: Some("reset".to_owned()), ..response(200, r#"{"lab_reference":"N-17"}"#) };
    assert_eq!(classify_submit(&cut), Answer::Accepted { lab_reference: None });
}

#[test]
fn a_stop_is_only_answered_by_a_known_word() {
    let said = |body: &str| classify_stop(&response(200, body));
    assert_eq!(
        said(r#"{"answer":"removed","reason":"ok"}"#),
        Answer::Removed { reason: Some("ok".to_owned()), items: Vec::new() }
    );
    let printed = Answer::WillPrint { reason: None, stage: Stage::Printed };
    assert_eq!(said(r#"{"answer":"will_print","stage":"printed"}"#), printed);
    let odd = Answer::WillPrint { reason: None, stage: Stage::Received };
    assert_eq!(said(r#"{"answer":"will_print","stage":"on the moon"}"#), odd);
    assert_eq!(said(r#"{"answer":"not_found"}"#), Answer::NotFound);
    for body in [
        r#"{"answer":"answer_later"}"#,
        r#"{"answer":"REMOVED"}"#,
        r#"{"answer":"ok"}"#,
        r#"{"answer":true}"#,
        r#"{"removed":true}"#,
        r#"["removed"]"#,
        r#"{"answer":"removed""#,
        "removed",
        "",
    ] {
        assert_eq!(said(body), Answer::AnswerLater, "{body}");
    }
    let cut = Response { cut: Some("reset".to_owned()), ..response(200, r#"{"answer":"removed"}"#) };
    assert_eq!(classify_stop(&cut), Answer::AnswerLater);
}

#[test]
fn only_a_known_stage_is_a_sign_of_an_order() {
    let seen = |body: &str| classify_look_up(&response(200, body));
    assert_eq!(seen(r#"{"stage":"received"}"#), Answer::Accepted { lab_reference: None });
    assert_eq!(seen(r#"{"stage":"removed"}"#), Answer::Removed { reason: None, items: Vec::new() });
    for (word, stage) in
        [("in_production", Stage::InProduction), ("printed", Stage::Printed), ("shipped", Stage::Shipped)]
    {
        assert_eq!(seen(&json!({ "stage": word }).to_string()), Answer::WillPrint { reason: None, stage });
    }
    for body in [r#"{"stage":"archived"}"#, r#"{"stage":null}"#, "{}", "", "<html>"] {
        assert_eq!(seen(body).word(), "unclear", "{body}");
    }
}

#[test]
fn a_refusal_carries_the_labs_words_without_their_tricks() {
    let problem = r#"{"title":"no","detail":"unknown sku\r\nX: 1"}"#;
    let Answer::Refused { reason } = classify_submit(&response(422, problem)) else { panic!("not refused") };
    assert_eq!(reason, "HTTP 422: unknown sku  X: 1");
    let long = json!({ "detail": "x".repeat(5000) }).to_string();
    let Answer::Refused { reason } = classify_submit(&response(400, &long)) else { panic!("not refused") };
    assert!(reason.len() < 400);
}

#[test]
fn every_code_means_one_thing() {
    for number in 1..=16 {
        let status = Status::new(Code::from_i32(number), "");
        let word = |about| grpc::classify(&status, about).word();
        let definite = matches!(
            status.code(),
            Code::InvalidArgument
                | Code::FailedPrecondition
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::Unimplemented
        );
        let missing = status.code() == Code::NotFound;
        assert_eq!(word(About::Submit), if definite { "refused" } else { "unclear" }, "{:?}", status.code());
        let stop = if missing { "not_found" } else { word(About::Submit) };
        assert_eq!(word(About::Stop), stop, "{:?}", status.code());
        assert_eq!(word(About::LookUp), if missing { "not_found" } else { "unclear" }, "{:?}", status.code());
    }
}

#[test]
fn labs_may_ask_to_be_left_alone() {
    assert_eq!(retry_after("17", noon()), Some(Duration::from_secs(17)));
    assert_eq!(retry_after("Sat, 21 Nov 2026 12:01:30 GMT", noon()), Some(Duration::from_secs(90)));
    assert_eq!(retry_after("Sat, 21 Nov 2026 11:00:00 GMT", noon()), Some(Duration::ZERO));
    for text in ["", "soon", "-1", "1.5"] {
        assert_eq!(retry_after(text, noon()), None, "{text}");
    }
    let mut status = Status::unavailable("");
    assert_eq!(grpc::retry_after(&status), None);
    status.metadata_mut().insert("grpc-retry-pushback-ms", "1500".parse().unwrap());
    assert_eq!(grpc::retry_after(&status), Some(Duration::from_millis(1500)));
    // google.rpc.Status { code: 14, details: [RetryInfo { retry_delay: 7 s }] }
    let mut details = b"\x08\x0e\x1a\x30\x0a\x28type.googleapis.com/google.rpc.RetryInfo".to_vec();
    details.extend(b"\x12\x04\x0a\x02\x08\x07");
    let status = Status::with_details(Code::Unavailable, "", details.into());
    assert_eq!(grpc::retry_after(&status), Some(Duration::from_secs(7)));
}

#[test]
fn settings_are_checked_by_their_driver() {
    let faults = |driver: serde_json::Value| {
        let spec: DriverSpec = serde_json::from_value(driver).unwrap();
        check(&spec).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(faults(json!({ "kind": "http", "base_url": "https://lab.example/x" })), "");
    assert_eq!(faults(json!({ "kind": "grpc", "endpoint": "https://lab.example" })), "");
    assert_eq!(faults(json!({ "kind": "person" })), "");
    for (driver, told) in [
        (
            json!({ "kind": "htp" }),
            "kind: \"htp\" is not a driver; the drivers are http, grpc, link, person; did you mean \"http\"?",
        ),
        (json!({ "kind": "http" }), "base_url: is missing"),
        (
            json!({ "kind": "http", "base_url": "ftp://lab.example" }),
            "base_url: \"ftp://lab.example\" is not an https URL",
        ),
        (json!({ "kind": "http", "base_url": "https://me:word@lab.example" }), "base_url: \"a URL with an"),
        (
            json!({ "kind": "http", "base_url": "https://lab.example", "basic": 1 }),
            "basic: unknown field `basic`",
        ),
        (
            json!({ "kind": "http", "base_url": "https://lab.example", "timeouts": { "stop": "31s" } }),
            "timeouts.stop: \"31s\" is not",
        ),
        (
            json!({ "kind": "http", "base_url": "https://lab.example", "timeouts": { "stop": "0s" } }),
            "timeouts.stop: \"0s\" is not",
        ),
        (json!({ "kind": "grpc", "endpoint": "https://lab.example/base" }), "without a path"),
        (json!({ "kind": "person", "base_url": "x" }), "unknown field"),
    ] {
        let found = faults(driver.clone());
        assert!(found.contains(told), "{driver}: {found}");
        assert!(!found.contains("word"), "a password is never repeated: {found}");
    }
    assert_eq!(driver("person").unwrap().manual, DRIVERS[3].manual);
    assert!(driver("person").unwrap().manual && !driver("http").unwrap().manual);
}

#[test]
fn a_lab_is_not_built_on_a_bad_address_or_secret() {
    let tools = tools(&clock());
    for (driver, told) in [
        (
            json!({ "kind": "http", "base_url": "https://10.0.0.1/x" }),
            "driver.base_url: 10.0.0.1 is not a public address",
        ),
        (json!({ "kind": "grpc", "endpoint": "http://8.8.8.8" }), "driver.endpoint:"),
        (
            json!({ "kind": "http", "base_url": "https://lab.example", "secret": { "env": "short" } }),
            "driver.secret: is not",
        ),
        (
            json!({ "kind": "http", "base_url": "https://lab.example", "secret": { "file": "x" } }),
            "driver.secret: no files here",
        ),
        (
            json!({ "kind": "grpc", "endpoint": "https://lab.example", "secret": { "env": "short" } }),
            "driver.secret: is not",
        ),
        (
            json!({ "kind": "grpc", "endpoint": "https://lab.example", "ca": "/nowhere.pem" }),
            "driver.ca: /nowhere.pem:",
        ),
    ] {
        let fault = connect(&spec(driver), &tools).unwrap_err().to_string();
        assert!(fault.starts_with(told), "{fault}");
        assert!(!fault.contains("short"), "{fault}");
    }
}

#[tokio::test]
async fn a_person_proves_nothing() {
    let lab = connect(&spec(json!({ "kind": "person" })), &tools(&clock())).unwrap();
    let (upload, order) = upload(1);
    assert_eq!(lab.submit(&upload).await.answer, Answer::AnswerLater);
    assert_eq!(lab.stop(&stop_call(&order)).await.answer, Answer::AnswerLater);
    assert_eq!(lab.look_up(&order).await.answer.word(), "unclear");
}
