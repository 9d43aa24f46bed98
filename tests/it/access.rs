//! The access matrix: every route of the gateway with every kind of caller. The routes come from the lines that the
//! router itself is made from; one that is not in the table fails the test.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use stoppress::proto;
use tonic::Code;
use tower::ServiceExt as _;

use crate::access_table::{Class, OPEN, PAGES, ROUTES, Then};
use crate::api::{Bench, lab, order};
use crate::grpc_support;
use crate::ops_support::{by_hand, close};
use crate::sessions::Browser;

/// What is only in the order of the matrix: nobody but its platform, its lab and ops may ever see it.
const MARKS: [&str; 4] = ["Minna Salainen", "Piilokatu 7", "minna@salainen.example", "MATRIX-1"];

const PICTURE: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAEElEQVR4nGM4EGAARwzEcQARUhQB0xocygAAAABJRU5ErkJggg==";

/// Whose objects the matrix is about, and who asks for them.
struct World {
    bench: Bench,
    /// Of the platform, another platform, the lab, another lab, ops.
    keys: [String; 5],
    expired: String,
    revoked: String,
    /// Parts of paths, and what they name.
    names: Vec<(&'static str, String)>,
}

async fn key(bench: &Bench, scope: &str, owner: &str, more: Value) -> Value {
    let mut body = json!({"scope": scope, "name": "matrix"});
    if !owner.is_empty() {
        body["owner"] = owner.into();
    }
    if !more.is_null() {
        body["expires_at"] = more;
    }
    bench.post("/v1/keys", &bench.ops, &body).await.is(201)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

impl World {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let expired = key(&bench, "platform", "shop", json!("2026-11-21T12:00:01Z")).await;
        let revoked = key(&bench, "platform", "shop", Value::Null).await;
        let path = format!("/v1/keys/{}", revoked["id"].as_str().unwrap());
        assert_eq!(bench.call("DELETE", &path, &bench.ops, None, &[]).await.status, 204);
        bench.pass(2);
        let mut far = lab(&json!(["24:00"]));
        far["id"] = "far".into();
        bench.put("/v1/labs/far", &far).await.is(201);
        let far = text(&key(&bench, "lab", "far", Value::Null).await["secret"]);
        let asks = json!({"id": "shop", "name": "shop", "policy": {"customer_stops": "ask_merchant"}});
        bench.put("/v1/platforms/shop", &asks).await.is(200);
        bench
            .put("/v1/routes/shop", &json!({"rules": [{"id": "all", "to": [{"lab": "nord"}]}]}))
            .await
            .is(201);
        let hook = json!({"url": "https://hooks.example/a"});
        bench.call("PUT", "/v1/platforms/shop/downloads", &bench.shop, Some(&hook), &[]).await.is(201);
        let webhook = bench.post("/v1/webhooks", &bench.shop, &hook).await.is(201);
        let marked = |reference: &str| {
            let mut order = order(reference);
            order["ship_to"]["name"] = MARKS[0].into();
            order["ship_to"]["line1"] = MARKS[1].into();
            order["ship_to"]["email"] = MARKS[2].into();
            let download = json!({"id": "2", "sku": "file", "quantity": 1, "kind": "download",
                "files": [{"url": "https://files.example/2"}]});
            order["items"].as_array_mut().unwrap().push(download);
            order["thumbnails"] = json!({"1": PICTURE});
            order
        };
        let asked = bench.post("/v1/orders", &bench.shop, &marked("MATRIX-1-ASKED")).await.is(201);
        let order = bench.post("/v1/orders", &bench.shop, &marked(MARKS[3])).await.is(201);
        let (id, batch) = (text(&order["id"]), text(&order["window"]["batch"]));
        // At the cutoff it goes to a person; then its stop is asked, and waits.
        bench.pass(10 * 3600);
        close(&bench).await;
        by_hand(&bench, 4, 1).await;
        let stop = bench.post(&format!("/v1/orders/{id}/stop"), &bench.shop, &json!({})).await;
        assert!(stop.status.is_success(), "{}", stop.text);
        let stop = text(&stop.json()["stop"]["id"]);
        let customer = json!({"asked_by": "customer"});
        let path = format!("/v1/orders/{}/stop", text(&asked["id"]));
        let approval = bench.post(&path, &bench.shop, &customer).await;
        assert!(approval.status.is_success(), "{}", approval.text);
        let approvals = bench.get("/v1/approvals", &bench.shop).await.is(200);
        let escalations = bench.get("/v1/escalations", &bench.ops).await.is(200);
        let spare = text(&key(&bench, "platform", "shop", Value::Null).await["id"]);
        let names = vec![
            ("{order}", id),
            ("{stop}", stop),
            ("{batch}", batch),
            ("{approval}", text(&approvals["approvals"][0]["id"])),
            ("{escalation}", text(&escalations["escalations"][0]["id"])),
            ("{webhook}", text(&webhook["id"])),
            ("{key}", spare),
            ("{platform}", "shop".to_owned()),
            ("{lab}", "nord".to_owned()),
            ("{region}", "fi".to_owned()),
            ("{item}", "0".to_owned()),
            ("{token}", "abc".to_owned()),
            ("{name}", "abc.css".to_owned()),
        ];
        let keys = [bench.shop.clone(), bench.other.clone(), bench.lab.clone(), far, bench.ops.clone()];
        let (expired, revoked) = (text(&expired["secret"]), text(&revoked["secret"]));
        Self { bench, keys, expired, revoked, names }
    }

    /// The path with what the matrix is about in it.
    fn path(&self, template: &str) -> String {
        self.names.iter().fold(template.to_owned(), |path, (part, name)| path.replace(part, name))
    }

    /// The same with things that nobody ever made.
    fn nowhere(&self, template: &str) -> String {
        self.names.iter().fold(template.to_owned(), |path, (part, name)| match *part {
            "{region}" | "{item}" | "{token}" | "{name}" => path.replace(part, name),
            "{key}" => path.replace(part, "zzzzzzzzzzzz"),
            "{platform}" | "{lab}" => path.replace(part, "nothere"),
            _ => path.replace(part, &format!("{}_{}", &name[..3], "0".repeat(32))),
        })
    }

    /// An answer without the ids of its path, which it may repeat.
    fn anonymous(answer: &str, path: &str) -> String {
        path.split('/')
            .filter(|part| part.len() > 3)
            .fold(answer.to_owned(), |text, part| text.replace(part, "…"))
    }

    /// One request; of a stream, what comes at once. The status, where it leads, and the body.
    async fn ask(
        &self,
        method: &str,
        path: &str,
        with: &[(&str, String)],
        body: &str,
    ) -> (u16, String, String) {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost:8080");
        for (name, value) in with {
            request = request.header(*name, value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let mut response = self.bench.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let to = response.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
        let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        let streams = kind.is_some_and(|kind| kind.starts_with("text/event-stream"));
        let mut bytes = Vec::new();
        let read = async {
            while let Some(Ok(frame)) = response.body_mut().frame().await {
                bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            }
        };
        let patience = Duration::from_millis(if streams { 50 } else { 20_000 });
        assert!(tokio::time::timeout(patience, read).await.is_ok() || streams, "{path} does not end");
        (status, to.unwrap_or_default(), String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn api(&self, route: &str, path: &str, key: Option<&str>, body: &str) -> (u16, String) {
        let (method, _) = route.split_once(' ').unwrap();
        let kind = if route.ends_with("/bulk") { "application/x-ndjson" } else { "application/json" };
        let mut with = Vec::new();
        if method != "GET" && !body.is_empty() {
            with.push(("content-type", kind.to_owned()));
        }
        if let Some(key) = key {
            with.push(("authorization", format!("Bearer {key}")));
        }
        let (status, _, text) = self.ask(method, path, &with, body).await;
        (status, text)
    }
}

/// Nothing of the order is told.
#[track_caller]
fn tells_nothing(who: &str, route: &str, text: &str) {
    for mark in MARKS {
        assert!(!text.contains(mark), "{route} tells {who} of {mark}: {text}");
    }
}

fn template(route: &str) -> &str {
    route.split_once(' ').unwrap().1
}

#[test]
fn every_route_is_in_the_matrix() {
    let listed = stoppress::api::http::listing();
    let there: BTreeSet<String> = listed.iter().map(|it| format!("{} {}", it.method, it.path)).collect();
    let open = OPEN.iter().copied();
    let all =
        ROUTES.iter().map(|(route, ..)| *route).chain(PAGES.iter().map(|(route, _)| *route)).chain(open);
    let table: BTreeSet<String> = all.map(str::to_owned).collect();
    let unequal: Vec<_> = there.symmetric_difference(&table).collect();
    assert!(unequal.is_empty(), "in only one of the router and the table: {unequal:?}");
    // What the description says of scopes is what the table says.
    let document: Value = serde_json::to_value(stoppress::api::http::openapi()).unwrap();
    for (route, class, _) in ROUTES {
        let (method, path) = route.split_once(' ').unwrap();
        let operation = &document["paths"][path][method.to_lowercase()];
        let scopes = operation["x-scopes"].as_array().unwrap_or_else(|| panic!("{route}: {operation}"));
        let may = |word: &str| scopes.iter().any(|scope| scope == word);
        let says = [may("platform"), may("platform"), may("lab"), may("lab"), may("ops")];
        assert_eq!(class.map(|then| then != Then::No), says, "{route}");
    }
}

const WHO: [&str; 5] = ["the platform", "another platform", "the lab", "another lab", "ops"];
/// First those of whose requests nothing must come.
const TURNS: [usize; 5] = [1, 3, 2, 0, 4];

#[tokio::test]
async fn every_route_takes_whom_it_is_for() {
    let world = World::new().await;
    let mut wrong = Vec::new();
    for (route, class, body) in ROUTES {
        let path = world.path(template(route));
        for (who, key) in [
            ("nobody", None),
            ("an expired key", Some(&world.expired)),
            ("a revoked key", Some(&world.revoked)),
        ] {
            let (status, text) = world.api(route, &path, key.map(String::as_str), body).await;
            tells_nothing(who, route, &text);
            if status != 401 || !text.contains("\"unauthenticated\"") {
                wrong.push(format!("{route}, {who}: {status} {text}"));
            }
        }
        for at in TURNS {
            let (then, who, key) = (class[at], WHO[at], world.keys[at].as_str());
            // A second factor belongs to the key that asks.
            let mine = route.contains("/second-factor")
                && then == Then::In
                && *route != "DELETE /v1/keys/{key}/second-factor";
            let path =
                if mine && at == 0 { path.replace(&world.names[6].1, &key[3..15]) } else { path.clone() };
            let sent = if then == Then::In && !route.starts_with("GET") && !route.starts_with("DELETE") {
                r#"{"matrix": 1}"#
            } else {
                body
            };
            let (status, text) = world.api(route, &path, Some(key), sent).await;
            if [1, 3].contains(&at) {
                tells_nothing(who, route, &text);
            }
            let gone = route.starts_with("DELETE") && at == 4 && status == 404;
            let as_said = match then {
                Then::In => (![401, 403, 404].contains(&status) || gone) && status < 500,
                Then::No => status == 403 && text.contains("\"forbidden\""),
                Then::Hidden => {
                    let nowhere = world.nowhere(template(route));
                    let (other, unknown) = world.api(route, &nowhere, Some(key), body).await;
                    status == 404
                        && other == 404
                        && World::anonymous(&text, &path) == World::anonymous(&unknown, &nowhere)
                }
            };
            if !as_said {
                wrong.push(format!("{route}, {who}: {status} {text}, not {then:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // And nothing came of all those who were not let in.
    let order = &world.names[0].1;
    let log = world.bench.get(&format!("/v1/orders/{order}/changelog"), &world.bench.ops).await.is(200);
    let actors: BTreeSet<&str> =
        log["events"].as_array().unwrap().iter().filter_map(|event| event["actor"].as_str()).collect();
    assert!(!actors.contains("platform:other") && !actors.contains("lab:far"), "{actors:?}");
    assert_eq!(world.bench.store.verify_events().await.unwrap().breaks, Vec::<String>::new());
}

/// A browser's cookie for a key, and what its forms carry.
async fn signed_in(bench: &Bench, key: &str, with_forms: Option<&str>) -> (String, String) {
    let mut browser = Browser::new(bench);
    browser.post("/sign-in", &[("key", key), ("next", "/lab")]).await;
    let csrf = match with_forms {
        Some(page) => browser.csrf(page).await,
        None => "0".repeat(64),
    };
    (browser.cookie.unwrap_or_default(), csrf)
}

#[tokio::test]
async fn every_page_takes_whom_it_is_for() {
    let world = World::new().await;
    let (bench, keys) = (&world.bench, &world.keys);
    let pages = [None, None, Some("/lab"), Some("/lab"), Some("/ops/escalations")];
    let mut sessions = Vec::new();
    for (key, page) in keys.iter().zip(pages) {
        sessions.push(signed_in(bench, key, page).await);
    }
    // Somebody who had signed in before the key was revoked, and somebody who never did.
    let late = key(bench, "ops", "", Value::Null).await;
    let (stale, _) = signed_in(bench, late["secret"].as_str().unwrap(), None).await;
    let path = format!("/v1/keys/{}", late["id"].as_str().unwrap());
    assert_eq!(bench.call("DELETE", &path, &bench.ops, None, &[]).await.status, 204);
    let mut wrong = Vec::new();
    for (route, class) in PAGES.iter().filter(|(route, _)| *route != "POST /sign-out") {
        let (method, _) = route.split_once(' ').unwrap();
        let path = world.path(template(route));
        let ask = async |cookie: &str, csrf: &str, path: &str, faulty: bool| {
            let mut with = vec![("cookie", format!("__Host-stoppress={cookie}"))];
            if method == "POST" {
                with.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
                with.push(("sec-fetch-site", "same-origin".to_owned()));
            }
            // Of whom something could come, the form has a fault; of others nothing may come of one that is right.
            let right =
                if path.starts_with("/lab/stops/") && faulty { "matrix=1" } else { "answer=too_late" };
            let body = if method == "POST" { format!("csrf={csrf}&{right}") } else { String::new() };
            world.ask(method, path, &with, &body).await
        };
        for (who, cookie) in [("nobody", ""), ("a revoked key", stale.as_str()), ("a made-up session", "00")]
        {
            let (status, to, text) = ask(cookie, "", &path, false).await;
            tells_nothing(who, route, &text);
            let refused = (status == 303 && to.starts_with("/sign-in")) || [401, 403].contains(&status);
            if !refused {
                wrong.push(format!("{route}, {who}: {status} {to}"));
            }
        }
        for at in TURNS {
            let ((cookie, csrf), then, who) = (&sessions[at], class[at], WHO[at]);
            // Ops say whose inbox they look at.
            let path = if at == 4 && route.starts_with("GET /lab") {
                format!("{path}?lab=nord")
            } else {
                path.clone()
            };
            let (status, to, text) = ask(cookie, csrf, &path, then == Then::In).await;
            if [1, 3].contains(&at) {
                tells_nothing(who, route, &text);
            }
            let in_front = status == 303 && to.starts_with("/sign-in");
            let as_said = match then {
                Then::In => status < 500 && ![401, 403, 404].contains(&status) && !in_front,
                Then::No => [401, 403].contains(&status) || in_front,
                Then::Hidden => status == 404,
            };
            if !as_said {
                wrong.push(format!("{route}, {who}: {status} {to}, not {then:?}: {text}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_is_open_tells_nothing() {
    let world = World::new().await;
    for route in OPEN {
        let (method, _) = route.split_once(' ').unwrap();
        let path = world.path(template(route));
        for key in [None, Some(&world.keys[1]), Some(&world.keys[3]), Some(&world.expired)] {
            let mut with = Vec::new();
            if let Some(key) = key {
                with.push(("authorization", format!("Bearer {key}")));
            }
            let (status, _, text) = world.ask(method, &path, &with, "").await;
            assert!(
                status < 500 && status != 404 || route.contains('{') || route.contains("/c"),
                "{route}: {status}"
            );
            tells_nothing("anybody", route, &text);
        }
    }
}

/// Whose it is over gRPC: the same objects are there for the same callers.
#[tokio::test]
async fn over_grpc_the_orders_of_others_are_not_there() {
    let rig = grpc_support::rig().await;
    let id = rig.order(MARKS[3]).await;
    assert!(rig.ask(&id).await.0 < 300);
    let other = grpc_support::other_platform(&rig).await;
    let mut client = grpc_support::client(&rig).await;
    let none = format!("ord_{}", "0".repeat(32));
    let mut asked = Vec::new();
    for order in [&id, &none] {
        let order = order.clone();
        let of = |key: &str| {
            grpc_support::with(key, proto::GatewayServiceGetOrderRequest { order: order.clone() })
        };
        asked.push(client.get_order(of(&other)).await.unwrap_err());
        let of = proto::GatewayServiceGetVerdictRequest { order: order.clone() };
        asked.push(client.get_verdict(grpc_support::with(&other, of)).await.unwrap_err());
        let of = proto::GatewayServiceGetRouteRequest { order: order.clone() };
        asked.push(client.get_route(grpc_support::with(&other, of)).await.unwrap_err());
        let of = proto::GatewayServiceGetStopRequest { order: order.clone() };
        asked.push(client.get_stop(grpc_support::with(&other, of)).await.unwrap_err());
        let of = grpc_support::stop(&order);
        asked.push(client.request_stop(grpc_support::with(&other, of)).await.unwrap_err());
    }
    let (theirs, nobodys) = asked.split_at(5);
    for (theirs, nobodys) in theirs.iter().zip(nobodys) {
        assert_eq!((theirs.code(), theirs.message()), (Code::NotFound, nobodys.message()));
        assert_eq!(theirs.code(), nobodys.code());
    }
    // A key that ends with time ends here as well.
    let ask =
        json!({"scope": "platform", "owner": "acme", "name": "short", "expires_at": "2026-11-21T20:00:05Z"});
    let (_, short) = rig.call(&rig.ops, hyper::http::Method::POST, "/v1/keys", ask).await;
    let short = short["secret"].as_str().unwrap();
    let of = || proto::GatewayServiceGetOrderRequest { order: id.clone() };
    client.get_order(grpc_support::with(short, of())).await.unwrap();
    rig.go_to("2026-11-21T20:00:06Z").await;
    let said = client.get_order(grpc_support::with(short, of())).await.unwrap_err();
    grpc_support::refused(&said, Code::Unauthenticated, "unauthenticated");
}

/// The table says of each class of caller something, and not the same of all.
#[test]
fn the_table_tells_callers_apart() {
    let all: Vec<Class> =
        ROUTES.iter().map(|(_, class, _)| *class).chain(PAGES.iter().map(|(_, class)| *class)).collect();
    for then in [Then::In, Then::Hidden, Then::No] {
        assert!((0..5).any(|at| all.iter().any(|class| class[at] == then)), "{then:?}");
    }
    for at in 0..4 {
        assert!(all.iter().any(|class| class[at] != class[4]), "{} is ops", WHO[at]);
    }
}
