//! A platform's side of gRPC: the generated client against a gateway that runs.

use std::time::Duration;

use hyper::http::Method;
use prost::Message as _;
use prost_types::{FileDescriptorSet, ServiceDescriptorProto};
use serde_json::{Value, json};
use stoppress::proto;
use stoppress::proto::gateway_service_client::GatewayServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::rig::Rig;

pub(crate) const EVENING: &str = "2026-11-21T20:00:00Z";

/// A gateway with a lab that can do everything.
pub(crate) async fn rig() -> Rig {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10});
    Rig::new(EVENING, "http", profile, json!({})).await
}

/// A connection to the rig's gateway.
pub(crate) async fn channel(rig: &Rig) -> Channel {
    let url = rig.running.as_ref().unwrap().url();
    Endpoint::from_shared(url).unwrap().connect().await.unwrap()
}

pub(crate) async fn client(rig: &Rig) -> GatewayServiceClient<Channel> {
    GatewayServiceClient::new(channel(rig).await)
}

/// A request with a key.
pub(crate) fn with<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {key}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

/// A request with a key and an idempotency key.
pub(crate) fn once<T>(key: &str, name: &str, message: T) -> Request<T> {
    let mut request = with(key, message);
    request.metadata_mut().insert("idempotency-key", name.parse().unwrap());
    request
}

/// A key of another platform.
pub(crate) async fn other_platform(rig: &Rig) -> String {
    rig.call(&rig.ops, Method::PUT, "/v1/platforms/rival", json!({"id": "rival", "name": "Rival"})).await;
    key(rig, "platform", "rival").await
}

/// A new key.
pub(crate) async fn key(rig: &Rig, scope: &str, owner: &str) -> String {
    let ask = json!({"scope": scope, "owner": owner, "name": "test"});
    let (status, made) = rig.call(&rig.ops, Method::POST, "/v1/keys", ask).await;
    assert_eq!(status, 201, "{made}");
    made["secret"].as_str().unwrap().to_owned()
}

pub(crate) fn submission(reference: &str) -> proto::Submission {
    proto::Submission {
        reference: reference.to_owned(),
        lab: "nordprint".to_owned(),
        ship_to: Some(proto::Address {
            name: "n".to_owned(),
            line1: "l".to_owned(),
            city: "c".to_owned(),
            country: "FI".to_owned(),
            ..proto::Address::default()
        }),
        items: vec![proto::Item {
            id: "1".to_owned(),
            sku: "print".to_owned(),
            quantity: 1,
            ..proto::Item::default()
        }],
        ..proto::Submission::default()
    }
}

pub(crate) fn submit(reference: &str) -> proto::GatewayServiceSubmitOrderRequest {
    proto::GatewayServiceSubmitOrderRequest { order: Some(submission(reference)), platform: String::new() }
}

pub(crate) fn of_many(reference: &str) -> proto::GatewayServiceSubmitOrdersRequest {
    proto::GatewayServiceSubmitOrdersRequest { order: Some(submission(reference)), platform: String::new() }
}

pub(crate) fn stop(order: &str) -> proto::GatewayServiceRequestStopRequest {
    proto::GatewayServiceRequestStopRequest {
        order: order.to_owned(),
        reason: "wrong size".to_owned(),
        comment: String::new(),
        asked_by: proto::AskedBy::Merchant.into(),
        requested_by: String::new(),
        items: Vec::new(),
    }
}

/// A refusal with this code, whose details name this problem.
#[track_caller]
pub(crate) fn refused(status: &Status, code: Code, problem: &str) {
    assert_eq!(status.code(), code, "{status:?}");
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no details: {status:?}"));
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (problem, "stoppress"));
    assert!(!status.message().is_empty() && !info.metadata["advice"].is_empty());
}

/// The paths of the fields at fault.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let named = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    named.into_iter().map(|fault| fault.field).collect()
}

/// The next message of a watch; the clock goes on while it is waited for.
pub(crate) async fn next<T>(rig: &Rig, stream: &mut Streaming<T>) -> Result<Option<T>, Status> {
    for _ in 0..400 {
        if let Ok(message) = tokio::time::timeout(Duration::from_millis(25), stream.message()).await {
            return message;
        }
        rig.clock.advance(Duration::from_millis(260));
    }
    panic!("nothing came");
}

/// Whether nothing comes for a few seconds of the gateway's clock.
pub(crate) async fn silent<T: std::fmt::Debug>(rig: &Rig, stream: &mut Streaming<T>) {
    for _ in 0..12 {
        if let Ok(message) = tokio::time::timeout(Duration::from_millis(25), stream.message()).await {
            panic!("{message:?}");
        }
        rig.clock.advance(Duration::from_millis(260));
    }
}

/// The published service for platforms.
pub(crate) fn published() -> ServiceDescriptorProto {
    let files = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap();
    let services = files.file.into_iter().flat_map(|file| file.service);
    services.into_iter().find(|service| service.name() == "GatewayService").unwrap()
}

/// A read over HTTP.
pub(crate) async fn get(rig: &Rig, path: &str) -> Value {
    rig.call(&rig.platform, Method::GET, path, Value::Null).await.1
}

/// Real time for sockets and tasks; no decision depends on it.
#[expect(clippy::disallowed_methods, reason = "waits for sockets")]
pub(crate) async fn breathe(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
