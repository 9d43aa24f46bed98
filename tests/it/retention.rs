//! Retention through the whole gateway: what is read, sent again and reinstated once an order was purged.

use hyper::http::Method;
use serde_json::{Value, json};
use stoppress::work::chores;

use crate::grpc_support::rig;
use crate::rig::Rig;

fn order(reference: &str) -> Value {
    json!({"reference": reference, "lab": "nordprint", "metadata": {"note": "for Aino"},
        "ship_to": {"name": "Aino", "line1": "Katu 1", "city": "Helsinki", "country": "FI"},
        "customer": {"email": "aino@example.com", "language": "fi"},
        "items": [{"id": "1", "sku": "print", "quantity": 1, "files": [{"url": "https://photos.example/aino"}]}]})
}

async fn read(rig: &Rig, path: &str) -> Value {
    let (status, answer) = rig.call(&rig.platform, Method::GET, path, Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test]
async fn a_month_after_its_end_an_order_says_nothing_of_people() {
    let rig = rig().await;
    for reference in ["A-1", "A-2"] {
        let (status, made) = rig.call(&rig.platform, Method::POST, "/v1/orders", order(reference)).await;
        assert_eq!(status, 201, "{made}");
    }
    // One is stopped, the other is handed over.
    let stop = json!({"reason": "test"});
    assert_eq!(rig.call(&rig.platform, Method::POST, "/v1/orders/@A-1/stop", stop).await.0, 200);
    rig.go_to("2026-11-21T23:00:00Z").await;
    let bench = rig.running.as_ref().unwrap().bench.clone();
    let whole = read(&rig, "/v1/orders/@A-2").await;
    assert_eq!((&whole["state"], &whole["ship_to"]["name"]), (&json!("at_lab"), &json!("Aino")));
    rig.clock.set("2026-12-21T19:00:00Z".parse().unwrap());
    assert_eq!(chores::purge(&bench, 30).await.unwrap(), 0, "a month is not over");
    rig.clock.set("2026-12-22T00:00:00Z".parse().unwrap());
    assert_eq!(chores::purge(&bench, 0).await.unwrap(), 0, "0 is for ever");
    assert_eq!(chores::purge(&bench, 31).await.unwrap(), 0);
    assert_eq!(chores::purge(&bench, 30).await.unwrap(), 2);
    for reference in ["A-1", "A-2"] {
        let path = format!("/v1/orders/@{reference}");
        let (order, log) = (read(&rig, &path).await, read(&rig, &format!("{path}/changelog")).await);
        for word in ["Aino", "aino", "Katu", "photos.example"] {
            assert!(
                !order.to_string().contains(word) && !log.to_string().contains(word),
                "{word}: {order} {log}"
            );
        }
        assert_eq!((&order["ship_to"], &order["reference"]), (&Value::Null, &json!(reference)));
        assert_eq!(order["items"][0]["sku"], "print");
        let purged =
            log["events"].as_array().unwrap().iter().find(|event| event["kind"] == "order.purged").unwrap();
        assert_eq!(purged["detail"]["sha256"].as_str().unwrap().len(), 64);
        read(&rig, &format!("{path}/verdict")).await;
        read(&rig, &format!("{path}/evidence")).await;
        // Sent again it is the same order, and no other one of that name.
        let (status, same) =
            rig.call(&rig.platform, Method::POST, "/v1/orders", self::order(reference)).await;
        assert_eq!((status, &same["id"]), (200, &order["id"]), "{same}");
        let mut other = self::order(reference);
        other["ship_to"]["line1"] = "Katu 2".into();
        assert_eq!(rig.call(&rig.platform, Method::POST, "/v1/orders", other).await.0, 409);
    }
    let reason = json!({"reason": "test"});
    let (status, refused) = rig.call(&rig.ops, Method::GET, "/v1/orders", Value::Null).await;
    assert_eq!(status, 200, "{refused}");
    let id = read(&rig, "/v1/orders/@A-1").await["id"].as_str().unwrap().to_owned();
    let (status, refused) =
        rig.call(&rig.ops, Method::POST, &format!("/v1/orders/{id}/reinstate"), reason).await;
    assert_eq!((status, &refused["code"]), (409, &json!("not_allowed")), "{refused}");
    let broken = bench.store.verify_events().await.unwrap().breaks;
    assert_eq!(broken, Vec::<String>::new());
}
