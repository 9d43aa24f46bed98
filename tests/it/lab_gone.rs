//! Labs that were deleted, or of which nothing can be read any more: what waits for them ends with a person.

use hyper::http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use stoppress::clock::Clock as _;

use crate::rig::Rig;

const EVENING: &str = "2026-11-21T21:00:00Z";

async fn rig() -> Rig {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes"});
    Rig::new(EVENING, "http", profile, json!({"prints_after": "48h"})).await
}

async fn at_lab(rig: &Rig) -> String {
    let order = rig.order("A-1").await;
    rig.go_to("2026-11-21T22:01:00Z").await;
    assert_eq!(rig.read(&order).await["state"], "at_lab");
    order
}

/// How long the loops sleep from now on.
async fn rests(rig: &Rig) -> SignedDuration {
    let (now, bells) = (rig.clock.now(), &rig.running.as_ref().unwrap().bench.bells);
    bells.settled(now).await.unwrap().duration_since(now)
}

#[tokio::test]
async fn a_stop_at_a_lab_that_was_deleted_comes_to_a_person_at_its_deadline() {
    let rig = rig().await;
    let order = at_lab(&rig).await;
    let (status, answer) = rig.call(&rig.ops, Method::DELETE, "/v1/labs/nordprint", Value::Null).await;
    assert!(status < 300, "{answer}");
    let (_, stop) = rig.ask(&order).await;
    assert_eq!(stop["state"], "pending", "{stop}");
    let wait = rests(&rig).await;
    assert!(wait >= SignedDuration::from_secs(1), "nobody looks again and again: {wait}");
    rig.go_to("2026-11-21T22:30:59Z").await;
    assert_eq!(rig.read(&order).await["stop"]["state"], "pending");
    rig.go_to("2026-11-21T22:31:00Z").await;
    assert_eq!(rig.read(&order).await["stop"]["state"], "with_a_person");
    let (_, calls) = rig.call(&rig.ops, Method::GET, "/v1/escalations?open=true", Value::Null).await;
    assert_eq!(calls["escalations"][0]["kind"], "stop", "{calls}");
}

#[tokio::test]
async fn what_waits_for_a_lab_that_cannot_be_read_comes_to_a_person_at_its_deadline() {
    let mut rig = rig().await;
    let had = at_lab(&rig).await;
    let waits = rig.order("A-2").await;
    rig.stop().await;
    let mut other = sqlx::SqliteConnection::connect(&rig.config.database).await.unwrap();
    let unreadable = "update labs set spec = '{\"profile\": {\"stops\": \"yes\"}}', version = version + 1";
    other.execute(AssertSqlSafe(unreadable.to_owned())).await.unwrap();
    other.close().await.unwrap();
    rig.start().await;
    let (_, stop) = rig.ask(&had).await;
    assert_eq!(stop["state"], "pending", "{stop}");
    rig.go_to("2026-11-21T22:31:00Z").await;
    assert_eq!(rig.read(&had).await["stop"]["state"], "with_a_person");
    rig.go_to("2026-11-22T22:01:00Z").await;
    assert_eq!(rig.read(&waits).await["state"], "closed");
    assert!(rests(&rig).await >= SignedDuration::from_secs(1));
    // Six hours, as where nothing else is said.
    rig.go_to("2026-11-23T04:01:00Z").await;
    assert_eq!(rig.read(&waits).await["state"], "with_a_person");
}
