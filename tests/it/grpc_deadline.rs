//! The time that a caller gives a call: it ends in time, nothing is half done, and a repeat is done once.
//!
//! The calls are made without a connection: a client of tonic would end them by itself at the same time.

use serde_json::{Value, json};
use stoppress::proto;
use stoppress::proto::gateway_service_client::GatewayServiceClient;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request};

use crate::api::Bench;
use crate::common::world::World;
use crate::grpc_support::{breathe, of_many, once, refused, submission, with};

fn within<T>(timeout: &str, mut request: Request<T>) -> Request<T> {
    request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    request
}

fn order(reference: &str) -> proto::GatewayServiceSubmitOrderRequest {
    let order = proto::Submission { lab: "nord".to_owned(), ..submission(reference) };
    proto::GatewayServiceSubmitOrderRequest { order: Some(order), platform: String::new() }
}

/// The orders that the shop has, by reference.
async fn orders(bench: &Bench, reference: &str) -> Vec<Value> {
    let page = bench.get(&format!("/v1/orders?reference={reference}"), &bench.shop).await.is(200);
    page["orders"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_write_whose_time_is_over_is_done_whole_and_once() {
    for world in [World::sqlite().await, World::postgres().await] {
        let bench = Bench::over(world).await;
        let mut client = GatewayServiceClient::new(bench.router.clone());
        let said = client.submit_order(within("1n", once(&bench.shop, "key-1", order("D-1")))).await;
        refused(&said.unwrap_err(), Code::DeadlineExceeded, "deadline_passed");
        // It was under way: it is done, without anybody who waits for it.
        let mut there = Vec::new();
        for _ in 0..400 {
            there = orders(&bench, "D-1").await;
            if !there.is_empty() {
                break;
            }
            breathe(10).await;
        }
        assert_eq!(there.len(), 1);
        // The repeat under the same key gets the answer that nobody heard.
        let mut again = client.submit_order(once(&bench.shop, "key-1", order("D-1"))).await;
        for _ in 0..100 {
            match &again {
                Err(busy) => refused(busy, Code::Aborted, "idempotency_key_in_use"),
                Ok(_) => break,
            }
            breathe(10).await;
            again = client.submit_order(once(&bench.shop, "key-1", order("D-1"))).await;
        }
        let again = again.unwrap();
        assert_eq!(again.metadata().get("idempotency-replayed").unwrap(), "true");
        let again = again.into_inner();
        assert!(again.created, "as it was answered the first time");
        assert_eq!(json!(again.order.unwrap().id), there[0]["id"]);
        // Without a key it is the reference that makes it the same.
        let same = client.submit_order(with(&bench.shop, order("D-1"))).await.unwrap().into_inner();
        assert!(!same.created);
    }
}

#[tokio::test]
async fn a_stop_whose_time_is_over_is_decided_all_the_same() {
    let bench = Bench::new().await;
    let id = bench.admitted("A-1").await;
    let mut client = GatewayServiceClient::new(bench.router.clone());
    let said = client.request_stop(within("1n", with(&bench.shop, crate::grpc_support::stop(&id)))).await;
    refused(&said.unwrap_err(), Code::DeadlineExceeded, "deadline_passed");
    for _ in 0..400 {
        let order = bench.get(&format!("/v1/orders/{id}"), &bench.shop).await.is(200);
        if order["state"] == "stopped" {
            return;
        }
        breathe(10).await;
    }
    panic!("the stop was lost");
}

#[tokio::test]
async fn a_call_with_time_enough_is_answered_and_a_stream_ends_at_its_time() {
    let bench = Bench::new().await;
    let mut client = GatewayServiceClient::new(bench.router.clone());
    let made = client.submit_order(within("20S", with(&bench.shop, order("A-1")))).await.unwrap();
    assert!(made.into_inner().created);
    let ask = proto::GatewayServiceWatchEventsRequest { after: 0, from_now: false, ..Default::default() };
    let mut told = client.watch_events(within("300m", with(&bench.shop, ask))).await.unwrap().into_inner();
    assert_eq!(told.message().await.unwrap().unwrap().event.unwrap().kind, "order.admitted");
    let said = loop {
        match told.message().await {
            Ok(message) => assert!(message.is_some(), "it ends with a status"),
            Err(said) => break said,
        }
    };
    refused(&said, Code::DeadlineExceeded, "deadline_passed");
    // One that is still being written to: what was answered stands.
    let orders = tokio_stream::iter([of_many("M-1")].map(|mut one| {
        one.order.as_mut().unwrap().lab = "nord".to_owned();
        one
    }));
    let orders = orders.chain(tokio_stream::pending());
    let mut results =
        client.submit_orders(within("500m", with(&bench.shop, orders))).await.unwrap().into_inner();
    let first = results.message().await.unwrap().unwrap();
    assert_eq!((first.line, first.reference.as_str()), (1, "M-1"));
    refused(&results.message().await.unwrap_err(), Code::DeadlineExceeded, "deadline_passed");
    assert_eq!(self::orders(&bench, "M-1").await.len(), 1);
}

#[tokio::test]
async fn a_time_that_cannot_be_read_is_named() {
    let bench = Bench::new().await;
    let mut client = GatewayServiceClient::new(bench.router.clone());
    for bad in ["5", "1s", "123456789S", "-1S"] {
        let ask = proto::GatewayServiceGetOrderRequest { order: "@A-1".to_owned() };
        let said = client.get_order(within(bad, with(&bench.shop, ask))).await.unwrap_err();
        refused(&said, Code::InvalidArgument, "malformed");
        assert!(said.message().contains(&format!("{bad:?}")), "{said:?}");
    }
}
