//! The simulated lab over HTTP: the four operations, and the switchboard under `/_simulate`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::House;
use super::addresses::{AddressSaid, Moved};
use super::behaviour::{Behaviour, Fate, LooksUp};
use super::imports::Held;
use super::ledger::{Asked, Job, Said, Seen, Submitted, Taken};
use crate::domain::order::{Address, ItemKind};
use crate::lab::http::{IDEMPOTENCY_KEY, MANIFEST_SHA256, NOT_AFTER, hex};
use crate::lab::sign;

/// The most bytes of an upload.
pub(super) const BODY_MAX: usize = 64 * 1024 * 1024;

/// All routes.
pub(super) fn router(house: Arc<House>) -> Router {
    let lab = Router::new()
        .route("/", get(describe))
        .route("/orders", post(submit))
        .route("/orders/{id}", get(look_up))
        .route("/orders/{id}/stop", post(stop))
        .route("/orders/{id}/address", post(readdress))
        .route("/imports/{id}", put(import).delete(discard))
        .layer(middleware::from_fn_with_state(Arc::clone(&house), verify));
    let board = Router::new()
        .route("/_simulate", get(behaviour).post(set_behaviour))
        .route("/_simulate/ledger", get(ledger));
    lab.merge(board).layer(DefaultBodyLimit::max(BODY_MAX)).with_state(house)
}

fn problem(status: StatusCode, detail: impl Into<String>) -> Response {
    let body =
        json!({ "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail.into() });
    (status, [("content-type", "application/problem+json")], body.to_string()).into_response()
}

pub(super) fn broken(error: &std::io::Error) -> Response {
    problem(StatusCode::INTERNAL_SERVER_ERROR, format!("the ledger cannot be written: {error}"))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
}

/// Lets a call through only if it is signed, where the lab has a secret.
async fn verify(State(house): State<Arc<House>>, request: Request, next: Next) -> Response {
    let Some(signer) = house.signer.as_ref().filter(|_| !house.behaviour().takes_any_signature) else {
        return next.run(request).await;
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_MAX).await else {
        return problem(StatusCode::BAD_REQUEST, "the body cannot be read");
    };
    let of = |name| header(&parts.headers, name).unwrap_or_default();
    let (id, at, signature) = (of(sign::ID), of(sign::TIMESTAMP), of(sign::SIGNATURE));
    let verified = signer.verify(id, at, signature, &body, house.clock.now());
    let keyed = header(&parts.headers, IDEMPOTENCY_KEY).is_none_or(|key| key == id);
    match verified {
        Err(why) => problem(StatusCode::UNAUTHORIZED, why.to_string()),
        Ok(()) if !keyed => problem(StatusCode::UNAUTHORIZED, "the signature is for another key"),
        Ok(()) => next.run(Request::from_parts(parts, body.into())).await,
    }
}

async fn describe(State(house): State<Arc<House>>) -> Response {
    let two_phase = house.behaviour().two_phase;
    Json(json!({ "name": "Simulated lab", "contract": "stoppress/1", "two_phase": two_phase }))
        .into_response()
}

#[derive(Deserialize)]
struct Upload {
    transfer: String,
    orders: Vec<Order>,
}

#[derive(Deserialize)]
struct Order {
    id: String,
    #[serde(default)]
    import_reference: Option<String>,
    items: Vec<Item>,
}

impl From<Order> for Job {
    fn from(order: Order) -> Self {
        let printed = order.items.iter().filter(|item| item.kind == ItemKind::Print);
        let copies = printed.clone().map(|item| u64::from(item.quantity)).sum();
        let lines: BTreeMap<_, _> = printed.map(|item| (item.id.clone(), u64::from(item.quantity))).collect();
        Self { order: order.id, copies, import_reference: order.import_reference, lines }
    }
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    id: String,
    #[serde(default)]
    kind: ItemKind,
    quantity: u32,
}

async fn submit(
    State(house): State<Arc<House>>,
    Extension(fate): Extension<Fate>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let taken = take(&house, fate, &headers, &body).await;
    if taken.status().is_client_error() && house.behaviour().takes_anything && upload_of(&body).is_none() {
        return Json(json!({})).into_response();
    }
    taken
}

fn upload_of(body: &[u8]) -> Option<Upload> {
    serde_json::from_slice(body).ok()
}

async fn take(house: &Arc<House>, fate: Fate, headers: &HeaderMap, body: &[u8]) -> Response {
    let Some(key) = header(headers, IDEMPOTENCY_KEY) else {
        return problem(StatusCode::BAD_REQUEST, "the header Idempotency-Key is missing");
    };
    let sha256 = hex(&Sha256::digest(body));
    if header(headers, MANIFEST_SHA256).is_some_and(|told| told != sha256) {
        return problem(StatusCode::UNPROCESSABLE_ENTITY, "the body does not have the hash of the manifest");
    }
    let Ok(not_after) = header(headers, NOT_AFTER).map(str::parse::<Timestamp>).transpose() else {
        return problem(StatusCode::BAD_REQUEST, "the header Stoppress-Not-After is not an instant");
    };
    let upload: Upload = match serde_json::from_slice(body) {
        Ok(upload) => upload,
        Err(error) => {
            return problem(StatusCode::UNPROCESSABLE_ENTITY, format!("the body is not an upload: {error}"));
        }
    };
    let orders = upload.orders.into_iter().map(Job::from);
    let (transfer, key) = (upload.transfer, key.to_owned());
    let submitted = Submitted { transfer, key, sha256, not_after, orders: orders.collect() };
    match house.submit(submitted, fate.refused).await {
        Ok(Taken::Accepted(reference)) => Json(json!({ "lab_reference": reference })).into_response(),
        Ok(Taken::TooLate(reason)) => problem(StatusCode::PRECONDITION_FAILED, reason),
        Ok(Taken::Refused(reason)) => problem(StatusCode::UNPROCESSABLE_ENTITY, reason),
        Err(error) => broken(&error),
    }
}

#[derive(Deserialize)]
struct Stop {
    stop: String,
    #[serde(default)]
    items: Vec<String>,
}

async fn stop(State(house): State<Arc<House>>, Path(order): Path<String>, body: Bytes) -> Response {
    let stop: Stop = match serde_json::from_slice(&body) {
        Ok(stop) => stop,
        Err(error) => {
            return problem(StatusCode::UNPROCESSABLE_ENTITY, format!("the body is not a stop: {error}"));
        }
    };
    let asked = Asked { order, stop: stop.stop, items: stop.items.clone() };
    match house.stop(asked).await {
        Ok((Said::NotTaken, _)) => problem(StatusCode::METHOD_NOT_ALLOWED, "this lab takes no stops"),
        Ok((Said::NotFound, _)) => problem(StatusCode::NOT_FOUND, "there is no such order"),
        Ok((Said::WillPrint, stage)) => {
            Json(json!({ "answer": Said::WillPrint, "stage": stage })).into_response()
        }
        Ok((answer, _)) => match house.names(answer, stop.items) {
            items if items.is_empty() => Json(json!({ "answer": answer })).into_response(),
            items => Json(json!({ "answer": answer, "items": items })).into_response(),
        },
        Err(error) => broken(&error),
    }
}

async fn readdress(State(house): State<Arc<House>>, Path(order): Path<String>, body: Bytes) -> Response {
    #[derive(Deserialize)]
    struct Ask {
        change: String,
        ship_to: Address,
        #[serde(default)]
        answer_by: Option<Timestamp>,
    }
    let Ask { change, ship_to, answer_by } = match serde_json::from_slice(&body) {
        Ok(change) => change,
        Err(error) => {
            let what = format!("the body is no change of an address: {error}");
            return problem(StatusCode::UNPROCESSABLE_ENTITY, what);
        }
    };
    match house.readdress(Moved { order, change, to: ship_to.line1, answer_by }).await {
        Ok((AddressSaid::NotTaken, _)) => {
            problem(StatusCode::METHOD_NOT_ALLOWED, "this lab takes no other address")
        }
        Ok((AddressSaid::Expired, _)) => {
            problem(StatusCode::PRECONDITION_FAILED, "it came too late to be taken")
        }
        Ok((AddressSaid::NotFound, _)) => problem(StatusCode::NOT_FOUND, "there is no such order"),
        Ok((AddressSaid::TooLate, stage)) => {
            Json(json!({ "answer": AddressSaid::TooLate, "stage": stage })).into_response()
        }
        Ok((answer, _)) => Json(json!({ "answer": answer })).into_response(),
        Err(error) => broken(&error),
    }
}

async fn import(State(house): State<Arc<House>>, Path(order): Path<String>, body: Bytes) -> Response {
    #[derive(Deserialize)]
    struct Ahead {
        order: Order,
    }
    match serde_json::from_slice::<Ahead>(&body) {
        Ok(ahead) if ahead.order.id == order => match house.hold(ahead.order.into()).await {
            Ok(Held::Done(reference)) => Json(json!({ "lab_reference": reference })).into_response(),
            Ok(Held::NotTaken) => problem(StatusCode::METHOD_NOT_ALLOWED, "this lab has no first phase"),
            Err(error) => broken(&error),
        },
        Ok(_) => problem(StatusCode::UNPROCESSABLE_ENTITY, "the body has another order than the path"),
        Err(error) => problem(StatusCode::UNPROCESSABLE_ENTITY, format!("the body is no order: {error}")),
    }
}

async fn discard(State(house): State<Arc<House>>, Path(order): Path<String>) -> Response {
    match house.discard(order).await {
        Ok(Held::Done(_)) => StatusCode::NO_CONTENT.into_response(),
        Ok(Held::NotTaken) => problem(StatusCode::METHOD_NOT_ALLOWED, "this lab forgets nothing"),
        Err(error) => broken(&error),
    }
}

async fn look_up(State(house): State<Arc<House>>, Path(order): Path<String>) -> Response {
    if house.behaviour().looks_up == LooksUp::No {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "this lab cannot be asked");
    }
    match house.look_up(order).await {
        Ok(None) => problem(StatusCode::NOT_FOUND, "there is no such order"),
        Ok(Some(Seen { stage: Some(stage), prints })) => {
            Json(json!({ "stage": stage, "prints": prints })).into_response()
        }
        Ok(Some(Seen { stage: None, prints })) => {
            Json(json!({ "stage": "removed", "prints": prints })).into_response()
        }
        Err(error) => broken(&error),
    }
}

async fn behaviour(State(house): State<Arc<House>>) -> Response {
    Json(house.behaviour()).into_response()
}

async fn set_behaviour(State(house): State<Arc<House>>, method: Method, uri: Uri, body: Bytes) -> Response {
    match serde_json::from_slice::<Behaviour>(&body) {
        Ok(behaviour) => {
            house.set_behaviour(behaviour.clone());
            Json(behaviour).into_response()
        }
        Err(error) => problem(StatusCode::UNPROCESSABLE_ENTITY, format!("{method} {uri}: {error}")),
    }
}

async fn ledger(State(house): State<Arc<House>>) -> Response {
    let read = house.on_ledger(|ledger, _, _| {
        Ok(json!({ "orders": ledger.verdicts(), "held": ledger.held(), "entries": ledger.entries() }))
    });
    match read.await {
        Ok(read) => Json(read).into_response(),
        Err(error) => broken(&error),
    }
}
