//! Orders that name no lab, through the whole gateway: chosen by rules, passed on where a lab is paused or cannot
//! be reached, explained over HTTP, over gRPC and on the command line.

use std::process::{Command, Stdio};

use hyper::http::Method;
use serde_json::{Value, json};
use stoppress::proto;

use crate::grpc_support::{client, with};
use crate::rig::Rig;

const EVENING: &str = "2026-11-21T20:00:00Z";

fn good() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10})
}

/// A gateway with nordprint of the rig (Finland, prints and mugs), a second lab of prints, and routes for all.
async fn rig(behaviour: Value) -> Rig {
    let rig = Rig::new(EVENING, "http", good(), behaviour).await;
    let calendar = json!({"time_zone": "Europe/Berlin", "cutoffs": ["24:00"]});
    let second = json!({"id": "luma", "name": "Luma", "driver": {"kind": "person"}, "regions": [
        {"id": "de", "countries": ["DE", "FI"], "products": ["print*"], "calendar": calendar},
    ]});
    let (status, answer) = rig.call(&rig.ops, Method::PUT, "/v1/labs/luma", second).await;
    assert_eq!(status, 201, "{answer}");
    set(&rig, "default", json!([{"id": "all", "to": [{"lab": "nordprint"}, {"lab": "luma"}]}]), 201).await;
    rig
}

async fn set(rig: &Rig, whose: &str, rules: Value, expected: u16) -> Value {
    let path = format!("/v1/routes/{whose}");
    let (status, answer) = rig.call(&rig.ops, Method::PUT, &path, json!({ "rules": rules })).await;
    assert_eq!(status, expected, "{answer}");
    answer
}

fn order(reference: &str, skus: &[&str]) -> Value {
    let item = |(at, sku): (usize, &&str)| json!({"id": (at + 1).to_string(), "sku": sku, "quantity": 1});
    let items: Vec<Value> = skus.iter().enumerate().map(item).collect();
    json!({"reference": reference, "need": {}, "items": items,
        "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"}})
}

async fn submit(rig: &Rig, order: Value, expected: u16) -> Value {
    let (status, answer) = rig.call(&rig.platform, Method::POST, "/v1/orders", order).await;
    assert_eq!(status, expected, "{answer}");
    answer
}

async fn read(rig: &Rig, path: &str) -> Value {
    let (status, answer) = rig.call(&rig.platform, Method::GET, path, Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn place(order: &Value) -> (&str, &str) {
    (order["lab"].as_str().unwrap(), order["region"].as_str().unwrap())
}

#[tokio::test]
async fn a_replacement_that_is_repeated_is_the_same_though_no_lab_could_take_it_now() {
    let rig = rig(json!({})).await;
    submit(&rig, order("A-1", &["mug-1"]), 201).await;
    let replace = async |reference: &str, sku: &str| {
        let body = json!({"order": order(reference, &[sku])});
        rig.call(&rig.platform, Method::POST, "/v1/orders/@A-1/replace", body).await
    };
    let (status, both) = replace("A-2", "mug-2").await;
    assert_eq!(status, 201, "{both}");
    submit(&rig, order("B-1", &["mug-1"]), 201).await;
    rig.call(&rig.ops, Method::POST, "/v1/labs/nordprint/pause", json!({"reason": "x"})).await;
    let (status, again) = replace("A-2", "mug-2").await;
    assert_eq!((status, &again["order"]["id"]), (200, &both["order"]["id"]), "{again}");
    assert_eq!(again["replaced"]["stop"]["state"], "stopped", "{again}");
    // Another content, an order that replaces nothing, and one that is not there.
    for (reference, sku, code) in [
        ("A-2", "mug-3", "reference_taken"),
        ("B-1", "mug-1", "reference_taken"),
        ("C-1", "mug-1", "no_route"),
    ] {
        let (_, problem) = replace(reference, sku).await;
        assert_eq!(problem["code"], code, "{reference} {sku}: {problem}");
    }
}

#[tokio::test]
async fn an_order_without_a_lab_goes_where_the_rules_say_and_falls_back() {
    let rig = rig(json!({})).await;
    let first = submit(&rig, order("A-1", &["print-1"]), 201).await;
    assert_eq!(place(&first), ("nordprint", "fi"));
    assert_eq!(first["need"], json!({}), "what was asked is kept");
    let pause = json!({"reason": "no paper"});
    rig.call(&rig.ops, Method::POST, "/v1/labs/nordprint/pause", pause).await;
    let second = submit(&rig, order("A-2", &["print-1"]), 201).await;
    assert_eq!(place(&second), ("luma", "de"));
    // Why, for whoever asks: in the log, and by itself.
    let route = read(&rig, "/v1/orders/@A-2/route").await;
    assert_eq!((&route["lab"], &route["route"]["chosen"]["lab"]), (&json!("luma"), &json!("luma")));
    let considered = route["route"]["considered"].as_array().unwrap();
    let told: Vec<(&str, &Value)> =
        considered.iter().map(|one| (one["lab"].as_str().unwrap(), &one["why"])).collect();
    assert_eq!(told[0], ("nordprint", &json!("paused")));
    assert_eq!((told[1].0, told.len()), ("luma", 2));
    assert!(!route.to_string().contains("no paper"), "why it is paused is for ops");
    let log = read(&rig, "/v1/orders/@A-2/changelog").await;
    let admitted =
        log["events"].as_array().unwrap().iter().find(|event| event["kind"] == "order.admitted").unwrap();
    assert_eq!(admitted["detail"]["route"], route["route"]);
    // One that names its lab is taken there, and has nothing to explain.
    let mut named = order("A-3", &["print-1"]);
    named["lab"] = "nordprint".into();
    named.as_object_mut().unwrap().remove("need");
    let third = submit(&rig, named, 201).await;
    assert_eq!(place(&third).0, "nordprint");
    assert_eq!(read(&rig, "/v1/orders/@A-3/route").await["route"], Value::Null);
    // And what was chosen is handed over there.
    rig.call(&rig.ops, Method::POST, "/v1/labs/nordprint/resume", json!({})).await;
    rig.go_to("2026-11-22T00:00:00Z").await;
    let id = first["id"].as_str().unwrap();
    assert_eq!(rig.read(id).await["state"], "at_lab");
}

#[tokio::test]
async fn the_same_reference_is_the_same_order_whatever_the_rules_are_now() {
    let rig = rig(json!({})).await;
    let first = submit(&rig, order("A-1", &["print-1"]), 201).await;
    set(&rig, "acme", json!([{"id": "luma", "to": [{"lab": "luma"}]}]), 201).await;
    let again = submit(&rig, order("A-1", &["print-1"]), 200).await;
    assert_eq!((&again["id"], place(&again).0), (&first["id"], "nordprint"));
    assert_eq!(
        place(&submit(&rig, order("A-2", &["print-1"]), 201).await).0,
        "luma",
        "its own rules come first"
    );
    // Also where no lab could take it now, and where there are no rules at all.
    set(&rig, "acme", json!([{"id": "no", "countries": ["NO"], "to": [{"lab": "luma"}]}]), 200).await;
    assert_eq!(submit(&rig, order("A-1", &["print-1"]), 200).await["id"], first["id"]);
    assert_eq!(submit(&rig, order("A-3", &["print-1"]), 422).await["code"], "no_route");
    for whose in ["acme", "default"] {
        let path = format!("/v1/routes/{whose}");
        assert_eq!(rig.call(&rig.ops, Method::DELETE, &path, Value::Null).await.0, 204);
    }
    assert_eq!(submit(&rig, order("A-1", &["print-1"]), 200).await["id"], first["id"]);
    let other = submit(&rig, order("A-1", &["print-2"]), 409).await;
    assert_eq!((&other["code"], &other["order"]), (&json!("reference_taken"), &first["id"]));
    let none = submit(&rig, order("A-3", &["print-1"]), 422).await;
    assert!(none["detail"].as_str().unwrap().contains("there are no routes"), "{none}");
    // Many at once as well: one that was there, one that cannot be taken, one that names its lab.
    let mut named = order("A-4", &["print-1"]);
    named.as_object_mut().unwrap().remove("need");
    named["lab"] = "nordprint".into();
    let lines = [order("A-1", &["print-1"]), order("A-3", &["print-1"]), named];
    let statuses = bulk(&rig, &lines).await;
    assert_eq!(statuses, [200, 422, 201]);
}

async fn bulk(rig: &Rig, orders: &[Value]) -> Vec<u64> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.ndjson");
    let text: Vec<String> = orders.iter().map(ToString::to_string).collect();
    std::fs::write(&file, text.join("\n")).unwrap();
    let args = ["orders", "import", file.to_str().unwrap(), "--format", "json"];
    let (_, out, err) = run(rig, &rig.platform, &args).await;
    let lines = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| line["status"].as_u64().unwrap_or_else(|| panic!("{line} {err}"))).collect()
}

/// Runs a command against the gateway; gives its exit code, what it printed and what it said.
async fn run(rig: &Rig, key: &str, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stoppress"));
    let url = rig.running.as_ref().unwrap().url();
    command.env("STOPPRESS_SERVER", url).env("STOPPRESS_KEY", key).args(args).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn many_at_once_are_routed_one_by_one() {
    let rig = rig(json!({})).await;
    let lines = [order("A-1", &["print-1"]), order("A-2", &["mug-1"]), order("A-3", &["print-1", "mug-1"])];
    assert_eq!(bulk(&rig, &lines).await, [201, 201, 201]);
    assert_eq!(bulk(&rig, &lines).await, [200, 200, 200]);
    assert_eq!(place(&read(&rig, "/v1/orders/@A-3").await), ("nordprint", "fi"));
}

#[tokio::test]
async fn a_lab_that_cannot_be_reached_is_passed_over_until_nobody_else_is_left() {
    let rig = rig(json!({"down": {"by": "refuse", "until": "2026-11-22T12:00:00Z"}})).await;
    // It fails at its cutoff several times, and is left alone.
    for nth in 0..3 {
        submit(&rig, order(&format!("A-{nth}"), &["print-1"]), 201).await;
    }
    rig.go_to("2026-11-21T22:30:00Z").await;
    let (_, lab) = rig.call(&rig.ops, Method::GET, "/v1/labs/nordprint", Value::Null).await;
    assert_eq!(lab["health"]["reach"], "closed", "{lab}");
    let fell_back = submit(&rig, order("B-1", &["print-1"]), 201).await;
    assert_eq!(place(&fell_back).0, "luma");
    let route = read(&rig, "/v1/orders/@B-1/route").await;
    assert_eq!(route["route"]["considered"][0]["why"], "failing");
    assert!(route["route"]["gateway"].as_str().unwrap().starts_with("gw-"), "who saw it so");
    // Mugs are made by nobody else: they wait for it.
    let waits = submit(&rig, order("B-2", &["mug-1"]), 201).await;
    assert_eq!(place(&waits).0, "nordprint");
    let route = read(&rig, "/v1/orders/@B-2/route").await;
    assert_eq!(route["route"]["chosen"]["last_resort"], true, "{route}");
}

#[tokio::test]
async fn an_order_that_needs_several_labs_is_refused_with_who_makes_what() {
    let rig = rig(json!({})).await;
    let rules = json!([
        {"id": "mugs", "products": ["mug-*"], "to": [{"lab": "nordprint"}]},
        {"id": "prints", "products": ["print-*"], "to": [{"lab": "luma"}]},
    ]);
    set(&rig, "acme", rules, 201).await;
    let refused = submit(&rig, order("A-1", &["print-1", "mug-1", "print-1"]), 422).await;
    assert_eq!(refused["code"], "no_route");
    let lines = &refused["lines"];
    assert_eq!((&lines[0]["items"], &lines[0]["lab"]), (&json!(["1", "3"]), &json!("luma")), "{refused}");
    assert_eq!((&lines[1]["items"], &lines[1]["lab"]), (&json!(["2"]), &json!("nordprint")));
    let text = refused["detail"].as_str().unwrap();
    assert!(text.contains("print-1 (item 1, 3) by luma de; mug-1 (item 2) by nordprint fi"), "{text}");
    assert!(submit(&rig, order("A-1", &["print-1"]), 201).await["id"].is_string(), "nothing was kept of it");
    // What is asked is checked like everything else.
    let mut both = order("A-2", &["print-1"]);
    both["lab"] = "luma".into();
    let problem = submit(&rig, both, 422).await;
    assert_eq!(problem["errors"][0]["field"], "need");
    let mut placed = order("A-2", &["print-1"]);
    placed["region"] = "fi".into();
    assert_eq!(submit(&rig, placed, 422).await["errors"][0]["field"], "region");
    let mut neither = order("A-2", &["print-1"]);
    neither.as_object_mut().unwrap().remove("need");
    assert_eq!(submit(&rig, neither, 422).await["errors"][0]["field"], "lab");
    let mut bad = order("A-2", &["print-1"]);
    bad["need"] = json!({"country": "fi"});
    assert_eq!(submit(&rig, bad, 422).await["errors"][0]["field"], "need.country");
}

#[tokio::test]
async fn rules_are_kept_checked_and_shown_to_whom_they_concern() {
    let rig = rig(json!({})).await;
    let bad = json!([{"id": "a", "countries": ["fi"], "to": [{"lab": "nordprnt"}, {"lab": "luma", "region": "d"}]}]);
    let refused = set(&rig, "acme", bad, 422).await;
    let faults: Vec<&str> =
        refused["errors"].as_array().unwrap().iter().map(|fault| fault["field"].as_str().unwrap()).collect();
    assert_eq!(faults, ["rules[0].countries[0]", "rules[0].to[0].lab", "rules[0].to[1].region"]);
    assert!(refused.to_string().contains("did you mean \\\"nordprint\\\"?"), "{refused}");
    let rules = json!([{"id": "a", "to": [{"lab": "luma", "region": "de"}], "only": true}]);
    let one = set(&rig, "acme", rules.clone(), 201).await;
    assert_eq!((&one["version"], &one["rules"]), (&json!(1), &rules));
    assert_eq!(set(&rig, "acme", rules, 200).await["version"], 1, "the same again changes nothing");
    assert_eq!(read(&rig, "/v1/routes/acme").await, one);
    // A platform sees its own; lists and changes are for ops.
    assert_eq!(rig.call(&rig.platform, Method::GET, "/v1/routes/default", Value::Null).await.0, 404);
    assert_eq!(rig.call(&rig.platform, Method::GET, "/v1/routes", Value::Null).await.0, 403);
    assert_eq!(rig.call(&rig.platform, Method::DELETE, "/v1/routes/acme", Value::Null).await.0, 403);
    let (_, all) = rig.call(&rig.ops, Method::GET, "/v1/routes", Value::Null).await;
    let ids: Vec<&Value> = all["routes"].as_array().unwrap().iter().map(|routes| &routes["id"]).collect();
    assert_eq!(ids, ["acme", "default"]);
}

#[tokio::test]
async fn grpc_routes_and_explains_like_http() {
    let rig = rig(json!({})).await;
    let mut client = client(&rig).await;
    rig.call(&rig.ops, Method::POST, "/v1/labs/nordprint/pause", json!({"reason": "x"})).await;
    let address = proto::Address {
        name: "n".into(),
        line1: "l".into(),
        city: "c".into(),
        country: "FI".into(),
        ..proto::Address::default()
    };
    let item = proto::Item { id: "1".into(), sku: "print-1".into(), quantity: 1, ..proto::Item::default() };
    let order = proto::Submission {
        reference: "A-1".into(),
        need: Some(proto::Need::default()),
        ship_to: Some(address),
        items: vec![item],
        ..proto::Submission::default()
    };
    let ask = |order: &proto::Submission| proto::GatewayServiceSubmitOrderRequest {
        order: Some(order.clone()),
        platform: String::new(),
    };
    let told = client.submit_order(with(&rig.platform, ask(&order))).await.unwrap().into_inner();
    let submission = told.order.unwrap().submission.unwrap();
    assert_eq!((submission.lab.as_str(), submission.region.as_str()), ("luma", "de"));
    let which = proto::GatewayServiceGetRouteRequest { order: "@A-1".into() };
    let told = client.get_route(with(&rig.platform, which)).await.unwrap().into_inner();
    let route = told.route.unwrap();
    assert_eq!((told.lab.as_str(), route.chosen.unwrap().lab.as_str()), ("luma", "luma"));
    let whys: Vec<proto::Why> = route.considered.iter().map(proto::Considered::why).collect();
    assert_eq!(whys, [proto::Why::Paused, proto::Why::Unspecified]);
    let same = client.submit_order(with(&rig.platform, ask(&order))).await.unwrap().into_inner();
    assert!(!same.created);
    let mug = proto::Item { sku: "mug-1".into(), ..order.items[0].clone() };
    let other = proto::Submission { reference: "A-2".into(), items: vec![mug], ..order.clone() };
    let refused = client.submit_order(with(&rig.platform, ask(&other))).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("nordprint fi is paused; luma de does not make mug-1"), "{refused}");
    let neither = proto::Submission { reference: "A-3".into(), need: None, ..order };
    let refused = client.submit_order(with(&rig.platform, ask(&neither))).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn the_command_line_explains_orders_that_are_there_and_those_that_are_not() {
    let rig = rig(json!({})).await;
    rig.call(&rig.ops, Method::POST, "/v1/labs/nordprint/pause", json!({"reason": "x"})).await;
    submit(&rig, order("A-1", &["print-1"]), 201).await;
    let (code, table, err) = run(&rig, &rig.platform, &["route", "explain", "@A-1"]).await;
    assert_eq!(code, 0, "{err}");
    for part in ["luma", "nordprint", "paused", "is paused", "can take it", "routes of: default"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let (code, line, _) = run(&rig, &rig.platform, &["route", "explain", "@A-1", "--format", "json"]).await;
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((code, &told["route"]["chosen"]["lab"]), (0, &json!("luma")));
    // Nothing of it is kept.
    let dry =
        ["route", "explain", "--country", "FI", "--sku", "print-1", "--sku", "mug-1", "--platform", "acme"];
    let (code, table, err) = run(&rig, &rig.ops, &dry).await;
    assert_eq!(code, 0, "{err}");
    for part in ["No lab can take it.", "does not make mug-1", "could be made by"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let (_, orders) = rig.call(&rig.ops, Method::GET, "/v1/orders", Value::Null).await;
    assert_eq!(orders["orders"].as_array().unwrap().len(), 1);
    let (code, _, err) = run(&rig, &rig.ops, &["route", "explain"]).await;
    assert_eq!(code, 2, "{err}");
    // Rules from a file.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("routes.toml");
    std::fs::write(&file, "[[rules]]\nid = \"x\"\nto = [{ lab = \"lumma\" }]\n").unwrap();
    let set = ["route", "set", "acme", file.to_str().unwrap()];
    let (code, _, err) = run(&rig, &rig.ops, &set).await;
    assert_eq!(code, 1);
    assert!(err.contains("rules[0].to[0].lab") && err.contains("did you mean \"luma\"?"), "{err}");
    std::fs::write(&file, "[[rules]]\nid = \"x\"\nto = [{ lab = \"luma\" }]\n").unwrap();
    assert_eq!(run(&rig, &rig.ops, &set).await.0, 0);
    let (_, list, _) = run(&rig, &rig.ops, &["route", "list"]).await;
    assert!(list.contains("acme") && list.contains("default"), "{list}");
}
