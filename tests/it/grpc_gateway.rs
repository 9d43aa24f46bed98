//! Orders, verdicts and stops over gRPC: what HTTP does, with the same words, keys and refusals.

use futures_util::StreamExt as _;
use hyper::http::Method;
use serde_json::{Value, json};
use stoppress::proto;
use stoppress::proto::gateway_service_submit_orders_response::Outcome;
use tokio_stream::iter;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::grpc_support::{
    client, fields, get, key, of_many, once, other_platform, refused, rig, stop, submission, submit, with,
};

fn order(name: &str) -> proto::GatewayServiceGetOrderRequest {
    proto::GatewayServiceGetOrderRequest { order: name.to_owned() }
}

#[tokio::test]
async fn an_order_is_admitted_once_and_both_faces_tell_the_same_of_it() {
    let rig = rig().await;
    let mut client = client(&rig).await;
    let made = client.submit_order(with(&rig.platform, submit("G-1"))).await.unwrap().into_inner();
    assert!(made.created);
    let there = made.order.unwrap();
    assert_eq!(there.state(), proto::OrderState::InBatch);
    assert_eq!(there.submission.as_ref().unwrap().region, "fi");
    let again = client.submit_order(with(&rig.platform, submit("G-1"))).await.unwrap().into_inner();
    assert!(!again.created);
    assert_eq!(again.order.unwrap().id, there.id);
    // Submitted over HTTP, the same order is the same document.
    assert_eq!(get(&rig, "/v1/orders/@G-1").await["id"], there.id);
    let same = json!({"reference": "G-1", "lab": "nordprint",
        "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
        "items": [{"id": "1", "sku": "print", "quantity": 1}]});
    let (status, same) = rig.call(&rig.platform, Method::POST, "/v1/orders", same).await;
    assert_eq!((status, same["id"].as_str()), (200, Some(there.id.as_str())));

    let mut other = submit("G-1");
    other.order.as_mut().unwrap().items[0].quantity = 2;
    let taken = client.submit_order(with(&rig.platform, other)).await.unwrap_err();
    refused(&taken, Code::AlreadyExists, "reference_taken");
    assert_eq!(taken.get_details_error_info().unwrap().metadata["order"], there.id);

    let (http, told) =
        (get(&rig, "/v1/orders/@G-1").await, client.get_order(with(&rig.platform, order("@G-1"))).await);
    let told = told.unwrap().into_inner().order.unwrap();
    let window = told.window.unwrap();
    assert_eq!(http["window"]["closes_at_local"], window.closes_at_local);
    assert_eq!(http["window"]["batch"], window.batch);
    assert_eq!((told.id, told.version), (there.id, http["version"].as_i64().unwrap()));
    let verdict = told.verdict.unwrap();
    assert_eq!(
        (verdict.can_stop(), verdict.reason()),
        (proto::CanStop::Yes, proto::VerdictReason::InOpenBatch)
    );
    assert_eq!(verdict.until, window.closes_at);
}

#[tokio::test]
async fn ops_submit_for_a_platform_that_they_name() {
    let rig = rig().await;
    let mut client = client(&rig).await;
    let nobody = client.submit_order(with(&rig.ops, submit("O-1"))).await.unwrap_err();
    refused(&nobody, Code::InvalidArgument, "invalid");
    assert_eq!(fields(&nobody), ["platform"]);
    let named = proto::GatewayServiceSubmitOrderRequest { platform: "acme".to_owned(), ..submit("O-1") };
    let made = client.submit_order(with(&rig.ops, named.clone())).await.unwrap().into_inner();
    assert_eq!(made.order.unwrap().platform, "acme");
    let foreign = other_platform(&rig).await;
    let fault = client.submit_order(with(&foreign, named)).await.unwrap_err();
    assert_eq!(fields(&fault), ["platform"]);
}

#[tokio::test]
async fn an_idempotency_key_gives_the_same_answer() {
    let rig = rig().await;
    let mut client = client(&rig).await;
    let mut message = submit("K-1");
    let metadata = &mut message.order.as_mut().unwrap().metadata;
    metadata.extend((0..20).map(|at| (format!("k{at}"), "v".to_owned())));
    let first = client.submit_order(once(&rig.platform, "one", message.clone())).await.unwrap();
    assert!(first.metadata().get("idempotency-replayed").is_none());
    let again = client.submit_order(once(&rig.platform, "\"one\"", message.clone())).await.unwrap();
    assert_eq!(again.metadata().get("idempotency-replayed").unwrap(), "true");
    assert_eq!(again.get_ref(), first.get_ref(), "created too, as it was the first time");
    let other = client.submit_order(once(&rig.platform, "one", submit("K-2"))).await.unwrap_err();
    refused(&other, Code::InvalidArgument, "idempotency_key_reused");
    // A refusal that is final is remembered, with its details; one that is the caller's to correct is not.
    let mut taken = submit("K-1");
    taken.order.as_mut().unwrap().items[0].quantity = 7;
    for replayed in [false, true] {
        let said = client.submit_order(once(&rig.platform, "two", taken.clone())).await.unwrap_err();
        refused(&said, Code::AlreadyExists, "reference_taken");
        assert_eq!(said.metadata().get("idempotency-replayed").is_some(), replayed);
    }
    let broken = proto::GatewayServiceSubmitOrderRequest { order: None, platform: String::new() };
    let said = client.submit_order(once(&rig.platform, "three", broken)).await.unwrap_err();
    assert_eq!(fields(&said), ["order"]);
    client.submit_order(once(&rig.platform, "three", submit("K-3"))).await.unwrap();
    let bad = client.submit_order(once(&rig.platform, &"x".repeat(256), submit("K-4"))).await.unwrap_err();
    refused(&bad, Code::InvalidArgument, "idempotency_key_invalid");
    // Another platform's key of the same name is another key.
    client.submit_order(once(&other_platform(&rig).await, "one", submit("K-1"))).await.unwrap();
    let stopped = client.request_stop(once(&rig.platform, "stop", stop("@K-1"))).await.unwrap();
    let again = client.request_stop(once(&rig.platform, "stop", stop("@K-1"))).await.unwrap();
    assert_eq!(again.metadata().get("idempotency-replayed").unwrap(), "true");
    assert_eq!(again.get_ref(), stopped.get_ref());
}

#[tokio::test]
async fn of_a_thousand_orders_the_bad_one_is_named_and_the_others_are_admitted() {
    let rig = rig().await;
    let mut client = client(&rig).await;
    let orders = (1..=1_000).map(|at| {
        let mut order = of_many(&format!("M-{at}"));
        if at == 500 {
            order.order.as_mut().unwrap().items[0].quantity = 0;
        }
        order
    });
    let answers = client.submit_orders(with(&rig.platform, iter(orders))).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
    assert_eq!(answers.len(), 1_000);
    for (at, answer) in (1..).zip(&answers) {
        assert_eq!((answer.line, answer.reference.as_str()), (at, format!("M-{at}").as_str()));
        match answer.outcome.as_ref().unwrap() {
            Outcome::Admitted(admitted) => {
                assert!(at != 500 && admitted.created && admitted.closes_at.is_some());
                assert_eq!(admitted.state(), proto::OrderState::InBatch);
            }
            Outcome::Problem(problem) => {
                assert_eq!((at, problem.code.as_str()), (500, "invalid"));
                assert_eq!(problem.faults[0].field, "order.items[0].quantity");
                assert_eq!(problem.status, Code::InvalidArgument as i32);
                assert!(!problem.advice.is_empty() && problem.detail.contains("order.items[0].quantity"));
            }
        }
    }
    // Once more, with others' platforms and content: each order is refused by itself.
    let mut changed = of_many("M-1");
    changed.order.as_mut().unwrap().items[0].sku = "other".to_owned();
    let mut foreign = of_many("M-2");
    foreign.platform = "rival".to_owned();
    let more = vec![
        changed,
        foreign,
        of_many("M-3"),
        proto::GatewayServiceSubmitOrdersRequest::default(),
        of_many("M-1001"),
    ];
    let answers = client.submit_orders(with(&rig.platform, iter(more))).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(|answer| answer.unwrap().outcome.unwrap()).collect().await;
    let word = |outcome: &Outcome| match outcome {
        Outcome::Admitted(admitted) => format!("created {}", admitted.created),
        Outcome::Problem(problem) => {
            format!("{} {:?}", problem.code, problem.faults.first().map(|fault| fault.field.as_str()))
        }
    };
    let words: Vec<String> = answers.iter().map(word).collect();
    let expected = [
        "reference_taken None",
        "invalid Some(\"platform\")",
        "created false",
        "invalid Some(\"order\")",
        "created true",
    ];
    assert_eq!(words, expected);
}

#[tokio::test]
async fn a_stream_with_a_message_that_is_too_large_says_so_and_keeps_what_came_before() {
    let rig = rig().await;
    let mut client = client(&rig).await;
    let mut large = of_many("T-2");
    large.order.as_mut().unwrap().metadata.insert("k".to_owned(), "v".repeat(300 * 1024));
    let orders = iter(vec![of_many("T-1"), large, of_many("T-3")]);
    let answers = client.submit_orders(with(&rig.platform, orders)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(|answer| answer.unwrap()).collect().await;
    assert_eq!(answers.iter().map(|answer| answer.line).collect::<Vec<_>>(), [1, 2]);
    let Some(Outcome::Problem(problem)) = &answers[1].outcome else { panic!("{answers:?}") };
    assert_eq!((problem.code.as_str(), problem.status), ("too_large", Code::ResourceExhausted as i32));
    assert_eq!(get(&rig, "/v1/orders/@T-1").await["state"], "in_batch");
    assert_eq!(get(&rig, "/v1/orders/@T-3").await["code"], "not_found");
}

#[tokio::test]
async fn a_stop_before_the_cutoff_succeeds_and_is_told_by_all() {
    let rig = rig().await;
    let mut client = client(&rig).await;
    let id = rig.order("S-1").await;
    let none = proto::GatewayServiceGetStopRequest { order: id.clone() };
    let unasked = client.get_stop(with(&rig.platform, none.clone())).await.unwrap_err();
    refused(&unasked, Code::NotFound, "not_found");
    rig.go_to("2026-11-21T21:59:59.999999Z").await;
    let answer = client.request_stop(with(&rig.platform, stop(&id))).await.unwrap().into_inner();
    let (stopped, verdict) = (answer.stop.unwrap(), answer.verdict.unwrap());
    assert_eq!(
        (stopped.state(), stopped.evidence()),
        (proto::StopState::Stopped, proto::Evidence::NeverHanded)
    );
    assert_eq!((stopped.asked_by(), stopped.reason.as_str()), (proto::AskedBy::Merchant, "wrong size"));
    assert_eq!(stopped.answer_due_at, None);
    assert_eq!(
        (verdict.can_stop(), verdict.reason()),
        (proto::CanStop::No, proto::VerdictReason::AlreadyStopped)
    );
    let read = client.get_stop(with(&rig.platform, none)).await.unwrap().into_inner();
    assert_eq!(read.stop.unwrap(), stopped);
    rig.go_to("2026-11-22T03:00:00Z").await;
    assert_eq!(rig.prints(&id), 0);
    assert_eq!(get(&rig, &format!("/v1/orders/{id}")).await["stop"]["id"], stopped.id);
}

#[tokio::test]
async fn after_the_cutoff_the_lab_decides_and_nothing_final_is_said_before() {
    let rig = rig().await;
    let mut client = client(&rig).await;
    let id = rig.order("S-2").await;
    rig.go_to("2026-11-21T22:10:00Z").await;
    let ask = proto::GatewayServiceGetVerdictRequest { order: id.clone() };
    let verdict = client.get_verdict(with(&rig.platform, ask)).await.unwrap().into_inner().verdict.unwrap();
    assert_eq!((verdict.can_stop(), verdict.decided_by()), (proto::CanStop::AskLab, proto::DecidedBy::Lab));
    assert_eq!(verdict.next.as_ref().unwrap().channel(), proto::Channel::Gateway);
    let first = client.request_stop(once(&rig.platform, "k", stop(&id))).await.unwrap();
    assert_eq!(first.get_ref().stop.as_ref().unwrap().state(), proto::StopState::Pending);
    assert!(first.get_ref().stop.as_ref().unwrap().answer_due_at.is_some());
    rig.settle().await;
    // What was pending is not what is remembered: the repeat tells how it ended.
    let again = client.request_stop(once(&rig.platform, "k", stop(&id))).await.unwrap();
    assert!(again.metadata().get("idempotency-replayed").is_none());
    let stopped = again.into_inner().stop.unwrap();
    assert_eq!(
        (stopped.state(), stopped.evidence()),
        (proto::StopState::Stopped, proto::Evidence::LabRemoved)
    );
    assert_eq!(stopped.id, first.into_inner().stop.unwrap().id);
}

#[tokio::test]
async fn what_belongs_to_others_is_not_there() {
    let rig = rig().await;
    let mut client = client(&rig).await;
    let id = rig.order("F-1").await;
    let rival = other_platform(&rig).await;
    let missing = format!("ord_{}", "0".repeat(32));
    for (key, name) in [
        (&rival, id.as_str()),
        (&rival, "@F-1"),
        (&rig.platform, &missing),
        (&rig.ops, "@F-1"),
        (&rig.platform, "F-1"),
    ] {
        let name = name.to_owned();
        let said = client.get_order(with(key, order(&name))).await.unwrap_err();
        refused(&said, Code::NotFound, "not_found");
        let ask = proto::GatewayServiceGetVerdictRequest { order: name.clone() };
        refused(&client.get_verdict(with(key, ask)).await.unwrap_err(), Code::NotFound, "not_found");
        let ask = proto::GatewayServiceGetStopRequest { order: name.clone() };
        refused(&client.get_stop(with(key, ask)).await.unwrap_err(), Code::NotFound, "not_found");
        refused(&client.request_stop(with(key, stop(&name))).await.unwrap_err(), Code::NotFound, "not_found");
    }
    assert_eq!(get(&rig, &format!("/v1/orders/{id}")).await["stop"], Value::Null, "nobody stopped it");
}

#[tokio::test]
async fn every_fault_is_named_by_its_path() {
    let rig = rig().await;
    let mut client = client(&rig).await;
    let bad = |order: proto::Submission| proto::GatewayServiceSubmitOrderRequest {
        order: Some(order),
        platform: String::new(),
    };
    let mut faulty = submission("");
    faulty.items[0].quantity = 0;
    faulty.ship_to.as_mut().unwrap().country = "fi".to_owned();
    let said = client.submit_order(with(&rig.platform, bad(faulty))).await.unwrap_err();
    refused(&said, Code::InvalidArgument, "invalid");
    assert_eq!(fields(&said), ["order.reference", "order.ship_to.country", "order.items[0].quantity"]);
    let unknown = proto::Submission { lab: "nordprin".to_owned(), ..submission("B-1") };
    let said = client.submit_order(with(&rig.platform, bad(unknown))).await.unwrap_err();
    assert_eq!(fields(&said), ["order.lab"]);
    assert!(said.message().contains("did you mean \"nordprint\""), "{said:?}");
    let unknown = proto::Submission { transfer: 9, region: "Å".to_owned(), ..submission("B-1") };
    let said = client.submit_order(with(&rig.platform, bad(unknown))).await.unwrap_err();
    assert_eq!(fields(&said), ["order.region", "order.transfer"]);
    rig.order("B-2").await;
    let long = proto::GatewayServiceRequestStopRequest {
        reason: "x".repeat(201),
        comment: "\u{7}".to_owned(),
        ..stop("@B-2")
    };
    let said = client.request_stop(with(&rig.platform, long)).await.unwrap_err();
    assert_eq!(fields(&said), ["reason", "comment"]);
    let who = proto::GatewayServiceRequestStopRequest { asked_by: 9, ..stop("@B-2") };
    assert_eq!(fields(&client.request_stop(with(&rig.platform, who)).await.unwrap_err()), ["asked_by"]);
    let customer =
        proto::GatewayServiceRequestStopRequest { asked_by: proto::AskedBy::Customer.into(), ..stop("@B-2") };
    let said = client.request_stop(with(&rig.platform, customer)).await.unwrap_err();
    refused(&said, Code::PermissionDenied, "customer_stops_off");
}

#[tokio::test]
async fn budgets_and_sizes_are_those_of_the_gate() {
    let rig = rig().await;
    let mut client = client(&rig).await;
    let id = rig.order("L-1").await;
    // Twenty stops at once; the clock does not go on.
    for _ in 0..20 {
        client.request_stop(with(&rig.platform, stop(&id))).await.unwrap();
    }
    let said = client.request_stop(with(&rig.platform, stop(&id))).await.unwrap_err();
    refused(&said, Code::ResourceExhausted, "rate_limited");
    let wait = said.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert_eq!(wait.as_secs(), 1);
    rig.clock.advance(wait);
    client.request_stop(with(&rig.platform, stop(&id))).await.unwrap();
    // Another key's budget, and reading, are not touched.
    client.get_order(with(&rig.platform, order(&id))).await.unwrap();

    let lab = key(&rig, "lab", "nordprint").await;
    refused(
        &client.get_order(with(&lab, order(&id))).await.unwrap_err(),
        Code::PermissionDenied,
        "forbidden",
    );
    let comment = "b".repeat(17 * 1024);
    let large = proto::GatewayServiceRequestStopRequest { comment, ..stop(&id) };
    let said = client.request_stop(with(&rig.ops, large)).await.unwrap_err();
    refused(&said, Code::ResourceExhausted, "too_large");
    let mut large = submit("L-2");
    large.order.as_mut().unwrap().metadata.insert("k".to_owned(), "v".repeat(300 * 1024));
    let said = client.submit_order(with(&rig.platform, large)).await.unwrap_err();
    refused(&said, Code::ResourceExhausted, "too_large");
}
