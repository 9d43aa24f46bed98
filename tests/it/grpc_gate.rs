//! The gate in front of gRPC: who comes in, when a stop was asked, and what needs no key.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use hyper::http::Method;
use hyper::http::uri::PathAndQuery;
use serde_json::{Value, json};
use stoppress::clock::Clock as _;
use stoppress::proto;
use tokio_stream::iter;
use tonic::client::Grpc;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::common::world::World;
use crate::grpc_support::{EVENING, breathe, channel, key, next, published, refused, rig, stop, with};
use crate::rig::Rig;

/// Calls a method with an empty message and gives what is said, if it is refused.
async fn knock(rig: &Rig, method: &str, key: Option<&str>) -> Result<(), Status> {
    let mut client = Grpc::new(channel(rig).await);
    client.ready().await.unwrap();
    let path = PathAndQuery::try_from(format!("/stoppress.v1.GatewayService/{method}")).unwrap();
    let request = key.map_or_else(|| Request::new(()), |key| with(key, ()));
    let codec = ProstCodec::<(), ()>::default();
    let answer = client.server_streaming(request, path, codec).await?;
    // A watch that is let in has nothing to say at first, or for ever.
    match tokio::time::timeout(Duration::from_millis(300), answer.into_inner().next()).await {
        Ok(Some(Err(said))) => Err(said),
        _ => Ok(()),
    }
}

/// Every method that is published, with every kind of caller.
#[tokio::test]
async fn no_method_is_open_and_each_takes_only_its_roles() {
    let rig = rig().await;
    let lab = key(&rig, "lab", "nordprint").await;
    let expired = key(&rig, "platform", "acme").await;
    let path = format!("/v1/keys/{}", &expired[3..15]);
    assert_eq!(rig.call(&rig.ops, Method::DELETE, &path, Value::Null).await.0, 204);
    let methods = published().method;
    assert_eq!(methods.len(), 13, "a new method: say here whom it takes");
    for method in &methods {
        let method = method.name();
        for bad in [None, Some("x"), Some("sp_aaaaaaaaaaaa_00"), Some(expired.as_str())] {
            let said = knock(&rig, method, bad).await.expect_err(method);
            refused(&said, Code::Unauthenticated, "unauthenticated");
        }
        match knock(&rig, method, Some(&lab)).await {
            Err(said) => {
                assert_ne!(method, "WatchCutoffs");
                refused(&said, Code::PermissionDenied, "forbidden");
            }
            Ok(()) => assert_eq!(method, "WatchCutoffs"),
        }
        for key in [&rig.platform, &rig.ops] {
            if let Err(said) = knock(&rig, method, Some(key)).await {
                let let_in = [Code::NotFound, Code::InvalidArgument];
                assert!(let_in.contains(&said.code()), "{method}: {said:?}");
            }
        }
    }
    let said = knock(&rig, "Nothing", Some(&rig.ops)).await.unwrap_err();
    refused(&said, Code::Unimplemented, "no_such_route");
}

#[tokio::test]
async fn what_is_no_message_is_refused_as_such() {
    let rig = rig().await;
    let mut client = Grpc::new(channel(&rig).await);
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/stoppress.v1.GatewayService/GetOrder");
    // A number where the method has a text.
    let codec = ProstCodec::<proto::Odds, ()>::default();
    let wrong = with(&rig.platform, proto::Odds { asked: 7, ..proto::Odds::default() });
    let said = client.unary(wrong, path, codec).await.unwrap_err();
    refused(&said, Code::InvalidArgument, "malformed");
    // Plain HTTP to a method is answered in HTTP's words.
    let (status, body) =
        rig.call(&rig.platform, Method::POST, "/stoppress.v1.GatewayService/GetOrder", Value::Null).await;
    assert_eq!((status, body["code"].as_str()), (415, Some("media_type")));
    let (status, body) = rig.call("", Method::POST, "/grpc.health.v1.Health/Check", Value::Null).await;
    assert_eq!((status, body["code"].as_str()), (415, Some("media_type")));
}

/// The head of the request arrives before the cutoff, its message after it.
#[tokio::test]
async fn a_stop_counts_from_when_its_head_arrived() {
    let rig = rig().await;
    let id = rig.order("A-1").await;
    rig.go_to("2026-11-21T21:59:59Z").await;
    let (send, message) = tokio::sync::oneshot::channel::<()>();
    let late = stop(&id);
    let messages = stream::once(async move {
        let _ = message.await;
        late
    });
    let mut client = Grpc::new(channel(&rig).await);
    client.ready().await.unwrap();
    let codec =
        ProstCodec::<proto::GatewayServiceRequestStopRequest, proto::GatewayServiceRequestStopResponse>::default();
    let path = PathAndQuery::from_static("/stoppress.v1.GatewayService/RequestStop");
    let request = with(&rig.platform, Box::pin(messages));
    let asked = tokio::spawn(async move { client.client_streaming(request, path, codec).await });
    // Once the gate has taken its time, this gateway is not clear of what comes later.
    let store = rig.running.as_ref().unwrap().bench.store.clone();
    let mut arrived = false;
    for _ in 0..900 {
        rig.clock.advance(Duration::from_millis(1));
        arrived = store.clear_until(&rig.clock) < rig.clock.now();
        if arrived {
            break;
        }
        breathe(1).await;
    }
    assert!(arrived, "the head arrives before the cutoff");
    rig.clock.set("2026-11-21T22:00:01Z".parse().unwrap());
    breathe(300).await;
    assert!(rig.lab.ledger().entries().is_empty(), "the hand-over waits for the stop");
    send.send(()).unwrap();
    let answer = asked.await.unwrap().unwrap().into_inner().stop.unwrap();
    assert_eq!(
        (answer.state(), answer.evidence()),
        (proto::StopState::Stopped, proto::Evidence::NeverHanded)
    );
    rig.go_to("2026-11-22T03:00:00Z").await;
    assert_eq!(rig.prints(&id), 0);
}

#[tokio::test]
async fn health_is_open_and_tells_of_what_is_served() {
    let rig = rig().await;
    let mut health = HealthClient::new(channel(&rig).await);
    for service in ["", "stoppress.v1.GatewayService", "grpc.health.v1.Health"] {
        let ask = HealthCheckRequest { service: service.to_owned() };
        let told = health.check(ask).await.unwrap().into_inner();
        assert_eq!(told.status(), ServingStatus::Serving, "{service}");
    }
    let ask = HealthCheckRequest { service: "stoppress.v1.LabService".to_owned() };
    let said = health.check(ask.clone()).await.unwrap_err();
    refused(&said, Code::NotFound, "not_found");
    let mut watch = health.watch(ask).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
}

/// It does not serve while its store does not answer, and serves again afterwards.
#[tokio::test]
async fn health_follows_the_store() {
    let world = World::postgres().await;
    let mut rig = Rig::on(Some(&world.url), EVENING, "http", json!({}), json!({})).await;
    let ask = HealthCheckRequest { service: "stoppress.v1.GatewayService".to_owned() };
    let mut client = HealthClient::new(channel(&rig).await);
    let mut watch = client.watch(ask.clone()).await.unwrap().into_inner();
    assert_eq!(next(&rig, &mut watch).await.unwrap().unwrap().status(), ServingStatus::Serving);
    world.run("alter table keys rename to keys_away").await;
    assert_eq!(next(&rig, &mut watch).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(client.check(ask).await.unwrap().into_inner().status(), ServingStatus::NotServing);
    world.run("alter table keys_away rename to keys").await;
    assert_eq!(next(&rig, &mut watch).await.unwrap().unwrap().status(), ServingStatus::Serving);
    drop(watch);
    rig.stop().await;
}

#[tokio::test]
async fn reflection_is_open_and_tells_of_what_is_served() {
    let rig = rig().await;
    let mut client = ServerReflectionClient::new(channel(&rig).await);
    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let asks = vec![
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("stoppress.v1.GatewayService".to_owned())),
        ask(MessageRequest::FileByFilename("google/protobuf/timestamp.proto".to_owned())),
    ];
    let answers = client.server_reflection_info(iter(asks)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(|answer| answer.unwrap().message_response.unwrap()).collect().await;
    let MessageResponse::ListServicesResponse(list) = &answers[0] else { panic!("{answers:?}") };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"stoppress.v1.GatewayService") && names.contains(&"grpc.health.v1.Health"));
    assert!(!names.contains(&"stoppress.v1.LabService"), "a lab serves it, not the gateway: {names:?}");
    for answer in &answers[1..] {
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{answer:?}");
    }
    let mut old = tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient::new(
        channel(&rig).await,
    );
    let ask = tonic_reflection::pb::v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest::ListServices(
                String::new(),
            ),
        ),
    };
    assert!(
        old.server_reflection_info(iter([ask]))
            .await
            .unwrap()
            .into_inner()
            .message()
            .await
            .unwrap()
            .is_some()
    );
}
