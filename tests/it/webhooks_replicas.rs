//! Two gateways on one database: they share the endpoints, and neither sends what the other has sent.

use std::collections::HashMap;
use std::time::Duration;

use hyper::http::Method;
use serde_json::json;

use crate::common::postgres;
use crate::rig::Rig;
use crate::webhooks_support::{Receiver, Reply, endpoint, in_order};

const EVENING: &str = "2026-11-21T20:00:00Z";

/// Lets the clock run, in steps that the loops can follow.
#[expect(clippy::disallowed_methods, reason = "gives tasks on other threads their turn")]
async fn run(rig: &Rig, steps: usize) {
    for _ in 0..steps {
        rig.clock.advance(Duration::from_millis(50));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn comes(rig: &Rig, receiver: &Receiver, count: usize) {
    for _ in 0..600 {
        if receiver.count() >= count {
            return;
        }
        run(rig, 1).await;
    }
    panic!("{} of {count} came", receiver.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_send_each_message_once_and_one_takes_over_from_the_other() {
    let database = postgres::database().await;
    let mut rig = Rig::on(Some(&database.url), EVENING, "http", json!({"stops": "yes"}), json!({})).await;
    let other = rig.another(13).await;
    let mut receivers = Vec::new();
    for _ in 0..6 {
        let receiver = Receiver::start().await;
        // Long enough that both would be at it, if both could.
        receiver.behaves(|_| Reply { after: Duration::from_millis(15), ..Reply::status(200) });
        endpoint(&rig, &receiver.url, json!({})).await;
        receivers.push(receiver);
    }
    // The other reads the endpoints every five seconds.
    run(&rig, 110).await;
    let client = stoppress::lab::outbound::Outbound::trusted().unwrap();
    for nth in 0..40 {
        // In turn at both.
        if nth % 2 == 0 {
            rig.order(&format!("A-{nth}")).await;
        } else {
            let order = json!({"reference": format!("A-{nth}"), "lab": "nordprint",
                "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
                "items": [{"id": "1", "sku": "print", "quantity": 1}]});
            let mut headers = hyper::http::HeaderMap::new();
            headers.insert("authorization", format!("Bearer {}", rig.platform).parse().unwrap());
            headers.insert("content-type", "application/json".parse().unwrap());
            let request = stoppress::lab::outbound::Request {
                method: Method::POST,
                url: format!("{}/v1/orders", other.url()).parse().unwrap(),
                headers,
                body: order.to_string().into_bytes(),
                timeout: Duration::from_secs(20),
                body_max: 1 << 20,
            };
            assert_eq!(client.call(request).await.unwrap().status, 201);
        }
        run(&rig, 1).await;
    }
    for receiver in &receivers {
        comes(&rig, receiver, 40).await;
    }
    run(&rig, 40).await;
    for receiver in &receivers {
        let mut times: HashMap<String, usize> = HashMap::new();
        for got in receiver.got() {
            *times.entry(got.id()).or_default() += 1;
        }
        assert!(times.values().all(|times| *times == 1), "{times:?}");
        in_order(&receiver.got());
    }
    // One ends; the other goes on with all of them.
    other.stop().await;
    rig.order("LAST").await;
    for receiver in &receivers {
        comes(&rig, receiver, 41).await;
    }
    rig.stop().await;
}
