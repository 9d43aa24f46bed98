//! Approvals of single lines, and decisions over gRPC, through a whole gateway with a lab that keeps a ledger.

use std::collections::BTreeMap;

use hyper::http::Method;
use serde_json::{Value, json};
use stoppress::cli::simulate::ledger::What;
use stoppress::proto;
use tonic::Code;

use crate::customer_support::Customer;
use crate::grpc_support::{EVENING, client, fields, key, once, other_platform, refused, with};
use crate::rig::Rig;

async fn rig(stops_lines: bool, behaviour: Value) -> Rig {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes", "stops_lines": stops_lines});
    let rig = Rig::new(EVENING, "http", profile, behaviour).await;
    let policy = json!({"customer_stops": "ask_merchant", "approval_within": "3h"});
    let spec = json!({"id": "acme", "name": "Acme Photo", "policy": policy});
    let (status, answer) = rig.call(&rig.ops, Method::PUT, "/v1/platforms/acme", spec).await;
    assert!(status < 300, "{answer}");
    rig
}

async fn three(rig: &Rig, reference: &str, last: &str) -> String {
    let order = json!({"reference": reference, "lab": "nordprint",
    "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
    "items": [
        {"id": "1", "sku": "mug", "quantity": 2, "personalised": true},
        {"id": "2", "sku": "frame", "quantity": 1},
        {"id": "3", "sku": "print", "quantity": 4, "kind": last},
    ]});
    let (status, answer) = rig.call(&rig.platform, Method::POST, "/v1/orders", order).await;
    assert_eq!(status, 201, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

async fn ask(rig: &Rig, order: &str, items: Value, asked_by: &str) -> (u16, Value) {
    let body = json!({"items": items, "asked_by": asked_by, "reason": "wrong size"});
    rig.call(&rig.platform, Method::POST, &format!("/v1/orders/{order}/stop"), body).await
}

async fn decide(rig: &Rig, approval: &Value, word: &str) -> (u16, Value) {
    let path = format!("/v1/approvals/{}/{word}", approval["id"].as_str().unwrap());
    rig.call(&rig.platform, Method::POST, &path, json!({"reason": "we looked"})).await
}

/// What the lab printed of an order, by line.
fn printed(rig: &Rig, order: &str) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for entry in rig.lab.ledger().entries() {
        if let What::Printed { order: printed, lines, .. } = &entry.what
            && printed == order
        {
            for (line, copies) in lines {
                *all.entry(line.clone()).or_default() += copies;
            }
        }
    }
    all
}

fn lines(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter().map(|(line, copies)| ((*line).to_owned(), *copies)).collect()
}

#[tokio::test]
async fn a_customer_asks_about_a_line_and_the_merchant_agrees_long_after_the_cutoff() {
    let rig = rig(false, json!({})).await;
    let (order, other) = (three(&rig, "A-1", "print").await, three(&rig, "A-2", "print").await);
    rig.go_to("2026-11-21T21:59:59.999999Z").await;
    let (status, told) = ask(&rig, &order, json!(["2"]), "customer").await;
    assert_eq!((status, &told["stop"]), (202, &Value::Null), "{told}");
    let approval = &told["approval"];
    assert_eq!((&approval["items"], &approval["keeps_order"]), (&json!(["2"]), &json!(true)));
    assert_eq!(told["verdict"]["lines"][1]["reason"], "awaits_merchant");
    assert_eq!(told["verdict"]["lines"][1]["can_stop"], "yes");
    let (status, problem) = ask(&rig, &order, json!(["9"]), "customer").await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("items[0]")), "{problem}");
    let read = rig.read(&order).await;
    assert_eq!((&read["state"], &read["approval"]), (&json!("on_hold"), &Value::Null));
    assert_eq!(read["line_approvals"][0]["id"], approval["id"]);
    assert_eq!(read["verdict"]["reason"], "on_hold");
    // The whole can be asked for still, on the customer's page too.
    let page = Customer::of(&rig, &order, "stop").await.get("/c").await;
    assert!(page.text.contains("<form"), "{}", page.text);

    rig.go_to("2026-11-22T02:00:00Z").await;
    assert_eq!(rig.prints(&other), 1);
    let (_, calls) = rig.call(&rig.ops, Method::GET, "/v1/escalations?open=true", Value::Null).await;
    assert_eq!(calls["escalations"][0]["subject"], approval["id"], "{calls}");
    let (status, decided) = decide(&rig, approval, "approve").await;
    assert_eq!(
        (status, &decided["stop"]["state"], &decided["stop"]["evidence"], &decided["stop"]["items"]),
        (200, &json!("stopped_in_part"), &json!("never_handed"), &json!(["2"])),
        "{decided}"
    );
    let (status, again) = decide(&rig, approval, "approve").await;
    assert_eq!((status, &again["stop"]["id"]), (200, &decided["stop"]["id"]), "{again}");
    assert_eq!(decide(&rig, approval, "decline").await.0, 409);
    let (_, stands) =
        rig.call(&rig.platform, Method::GET, &format!("/v1/orders/{order}/stop"), Value::Null).await;
    assert_eq!(stands["stop"]["id"], decided["stop"]["id"], "{stands}");
    assert_eq!(rig.read(&order).await["state"], "in_batch");
    rig.go_to("2026-11-23T12:00:00Z").await;
    assert_eq!(printed(&rig, &order), lines(&[("1", 2), ("3", 4)]));
    assert_eq!(printed(&rig, &other), lines(&[("1", 2), ("2", 1), ("3", 4)]));
    assert_eq!(rig.prints(&order), 1);
}

#[tokio::test]
async fn declined_all_lines_are_printed_and_after_the_hand_over_the_lab_is_asked() {
    let rig = rig(true, json!({"prints_after": "10m"})).await;
    let order = three(&rig, "A-1", "print").await;
    let (_, told) = ask(&rig, &order, json!(["2"]), "customer").await;
    let (status, decided) = decide(&rig, &told["approval"], "decline").await;
    assert_eq!((status, &decided["stop"]), (200, &Value::Null), "{decided}");
    let (_, stands) =
        rig.call(&rig.platform, Method::GET, &format!("/v1/orders/{order}/stop"), Value::Null).await;
    assert_eq!((&stands["stop"], &stands["approval"]["state"]), (&Value::Null, &json!("declined")));
    let (status, again) = ask(&rig, &order, json!(["2"]), "customer").await;
    assert_eq!((status, &again["approval"]["state"]), (200, &json!("declined")), "{again}");
    rig.go_to("2026-11-21T22:01:00Z").await;
    let (status, told) = ask(&rig, &order, json!(["3"]), "customer").await;
    assert_eq!((status, &told["approval"]["keeps_order"]), (202, &json!(false)), "{told}");
    let (status, decided) = decide(&rig, &told["approval"], "approve").await;
    assert_eq!((status, &decided["stop"]["items"]), (200, &json!(["3"])), "{decided}");
    rig.go_to("2026-11-21T22:30:00Z").await;
    assert_eq!(printed(&rig, &order), lines(&[("1", 2), ("2", 1)]));
}

#[tokio::test]
async fn a_stop_of_the_same_lines_by_the_merchant_is_the_decision() {
    let rig = rig(false, json!({})).await;
    let order = three(&rig, "A-1", "print").await;
    let (_, told) = ask(&rig, &order, json!(["2"]), "customer").await;
    let (_, other) = ask(&rig, &order, json!(["1"]), "customer").await;
    let (status, stopped) = ask(&rig, &order, json!(["2"]), "merchant").await;
    assert_eq!((status, &stopped["stop"]["state"]), (200, &json!("stopped_in_part")), "{stopped}");
    let path = |approval: &Value| format!("/v1/approvals/{}", approval["id"].as_str().unwrap());
    let state = async |approval: &Value| {
        rig.call(&rig.platform, Method::GET, &path(approval), Value::Null).await.1["state"].clone()
    };
    assert_eq!(state(&told["approval"]).await, "approved");
    assert_eq!(state(&other["approval"]).await, "open", "about another line");
    assert_eq!(rig.read(&order).await["state"], "on_hold");
    // The rest goes with its batch once nothing is to be decided.
    ask(&rig, &order, json!(["1"]), "merchant").await;
    assert_eq!(rig.read(&order).await["state"], "in_batch");
    rig.go_to("2026-11-22T12:00:00Z").await;
    assert_eq!(printed(&rig, &order), lines(&[("3", 4)]));
}

fn decision(
    approval: &str,
    decision: proto::ApprovalDecision,
    why: &str,
) -> proto::GatewayServiceDecideApprovalRequest {
    proto::GatewayServiceDecideApprovalRequest {
        approval: approval.to_owned(),
        decision: decision.into(),
        reason: why.to_owned(),
    }
}

#[tokio::test]
async fn approvals_are_listed_read_and_decided_over_grpc() {
    use proto::ApprovalDecision::{Approve, Decline, Unspecified};
    let rig = rig(false, json!({})).await;
    let mut client = client(&rig).await;
    let order = three(&rig, "A-1", "print").await;
    let of_lines = proto::GatewayServiceRequestStopRequest {
        order: order.clone(),
        asked_by: proto::AskedBy::Customer.into(),
        items: vec!["2".to_owned()],
        ..proto::GatewayServiceRequestStopRequest::default()
    };
    let told = client.request_stop(with(&rig.platform, of_lines)).await.unwrap().into_inner();
    let first = told.approval.unwrap();
    assert_eq!(
        (first.items.clone(), first.keeps_order, told.stop.is_some()),
        (vec!["2".to_owned()], true, false)
    );
    assert_eq!(told.verdict.unwrap().lines[1].reason(), proto::LineReason::AwaitsMerchant);
    rig.clock.advance(std::time::Duration::from_secs(1));
    let (_, whole) = ask(&rig, &order, Value::Null, "customer").await;
    let whole = whole["approval"]["id"].as_str().unwrap().to_owned();

    // Newest first, page by page; and what others may see.
    let page = |open, cursor: &str| proto::GatewayServiceListApprovalsRequest {
        open,
        limit: 1,
        cursor: cursor.to_owned(),
    };
    let one = client.list_approvals(with(&rig.platform, page(true, ""))).await.unwrap().into_inner();
    assert_eq!(one.approvals[0].approval.as_ref().unwrap().id, whole);
    assert_eq!((one.approvals[0].reference.as_str(), one.approvals[0].lab.as_str()), ("A-1", "nordprint"));
    let two = client.list_approvals(with(&rig.ops, page(false, &one.next))).await.unwrap().into_inner();
    assert_eq!(two.approvals[0].approval.as_ref(), Some(&first));
    let rival = other_platform(&rig).await;
    let none = client.list_approvals(with(&rival, page(false, ""))).await.unwrap().into_inner();
    assert_eq!((none.approvals.len(), none.next.as_str()), (0, ""));
    let bad = proto::GatewayServiceListApprovalsRequest { limit: 201, ..page(true, "") };
    assert_eq!(fields(&client.list_approvals(with(&rig.ops, bad)).await.unwrap_err()), ["limit"]);
    for id in [whole.as_str(), "apr_0", ""] {
        let which = proto::GatewayServiceGetApprovalRequest { approval: id.to_owned() };
        let said = client.get_approval(with(&rival, which)).await.unwrap_err();
        refused(&said, Code::NotFound, "not_found");
        let said = client.decide_approval(with(&rival, decision(id, Approve, ""))).await.unwrap_err();
        refused(&said, Code::NotFound, "not_found");
    }
    let lab = key(&rig, "lab", "nordprint").await;
    let said = client.decide_approval(with(&lab, decision(&whole, Approve, ""))).await.unwrap_err();
    refused(&said, Code::PermissionDenied, "forbidden");

    for (word, why, field) in [(Unspecified, "", "decision"), (Decline, " ", "reason")] {
        let said =
            client.decide_approval(with(&rig.platform, decision(&whole, word, why))).await.unwrap_err();
        assert_eq!(fields(&said), [field]);
    }
    let unknown =
        proto::GatewayServiceDecideApprovalRequest { decision: 7, ..decision(&whole, Decline, "x") };
    assert_eq!(fields(&client.decide_approval(with(&rig.ops, unknown)).await.unwrap_err()), ["decision"]);
    let no = || decision(&whole, Decline, "a gift");
    let told = client.decide_approval(once(&rig.platform, "k", no())).await.unwrap().into_inner();
    assert_eq!(told.approval.as_ref().unwrap().state(), proto::ApprovalState::Declined);
    assert_eq!((told.stop.is_some(), told.verdict.unwrap().reason()), (false, proto::VerdictReason::OnHold));
    let again = client.decide_approval(once(&rig.platform, "k", no())).await.unwrap();
    assert_eq!(again.metadata().get("idempotency-replayed").unwrap(), "true");
    let said = client.decide_approval(with(&rig.ops, decision(&whole, Approve, ""))).await.unwrap_err();
    refused(&said, Code::FailedPrecondition, "already_decided");

    let told = client.decide_approval(with(&rig.platform, decision(&first.id, Approve, ""))).await.unwrap();
    let stop = told.into_inner().stop.unwrap();
    assert_eq!((stop.state(), stop.items), (proto::StopState::StoppedInPart, vec!["2".to_owned()]));
    let which = proto::GatewayServiceGetApprovalRequest { approval: first.id.clone() };
    let read = client.get_approval(with(&rig.ops, which)).await.unwrap().into_inner().approval.unwrap();
    assert_eq!(read.state(), proto::ApprovalState::Approved);
    // Both faces tell the same of it.
    let which = proto::GatewayServiceGetOrderRequest { order: order.clone() };
    let over = client.get_order(with(&rig.platform, which)).await.unwrap().into_inner().order.unwrap();
    let http = rig.read(&order).await;
    assert_eq!(over.line_approvals[0].id, http["line_approvals"][0]["id"]);
    assert_eq!(over.approval.unwrap().decision_reason, http["approval"]["decision_reason"]);
    rig.go_to("2026-11-22T12:00:00Z").await;
    assert_eq!(printed(&rig, &order), lines(&[("1", 2), ("3", 4)]));
}

#[tokio::test]
async fn downloads_are_reported_over_grpc() {
    use proto::DownloadWord::{Deactivated, Fetched, Unspecified};
    let rig = rig(false, json!({})).await;
    let mut client = client(&rig).await;
    let order = three(&rig, "A-1", "download").await;
    let report = |item: &str, said: proto::DownloadWord| proto::GatewayServiceReportDownloadRequest {
        order: "@A-1".to_owned(),
        item: item.to_owned(),
        said: said.into(),
        comment: "by the log".to_owned(),
    };
    for (item, said, field) in [("1", Fetched, "item"), ("9", Fetched, "item"), ("3", Unspecified, "said")] {
        let problem = client.report_download(with(&rig.platform, report(item, said))).await.unwrap_err();
        assert_eq!(fields(&problem), [field], "{item}");
    }
    let strange = proto::GatewayServiceReportDownloadRequest { said: 9, ..report("3", Fetched) };
    assert_eq!(fields(&client.report_download(with(&rig.platform, strange)).await.unwrap_err()), ["said"]);
    let rival = other_platform(&rig).await;
    let said = client.report_download(with(&rival, report("3", Fetched))).await.unwrap_err();
    refused(&said, Code::NotFound, "not_found");
    let told = client.report_download(once(&rig.platform, "k", report("3", Fetched))).await.unwrap();
    let download = told.into_inner().download.unwrap();
    assert_eq!(
        (download.item.as_str(), download.state(), download.evidence()),
        ("3", proto::DownloadState::Fetched, proto::DownloadEvidence::PlatformReported)
    );
    // It was fetched: what is said afterwards does not take that back.
    let told = client.report_download(with(&rig.platform, report("3", Deactivated))).await.unwrap();
    assert_eq!(told.into_inner().download.unwrap().state(), proto::DownloadState::Fetched);
    assert_eq!(rig.read(&order).await["verdict"]["downloads"][0]["state"], "fetched");
}
