//! What a customer is told when the gateway breaks between the stop and its answer.

use serde_json::json;

use crate::customer_support::{Customer, allow, link};
use crate::rig::Rig;

/// Changes the gateway's file, while no gateway has it.
async fn change(rig: &Rig, statement: &'static str) {
    use sqlx::Connection as _;
    let mut file = sqlx::SqliteConnection::connect(&rig.config.database).await.unwrap();
    sqlx::query(statement).execute(&mut file).await.unwrap();
    file.close().await.unwrap();
}

#[tokio::test]
async fn what_may_have_been_changed_is_not_told_as_unchanged() {
    let profile = json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10});
    let mut rig = Rig::new("2026-11-21T20:00:00Z", "http", profile, json!({})).await;
    allow(&rig, "on").await;
    let order = rig.order("A-1").await;
    let (path, _) = link(&rig, &order, "stop").await;
    // The stop is written; what is read of it afterwards cannot be understood.
    rig.stop().await;
    change(
        &rig,
        "create trigger breaks after insert on stops begin update stops set id = 'x' || id where id = new.id; end",
    )
    .await;
    rig.start().await;
    let customer = Customer::new(&rig);
    customer.opens(&path).await;
    let page = customer.post("/c/stop", &format!("csrf={}&lang=en", customer.get("/c").await.form())).await;
    assert_eq!(page.status, 500);
    assert!(page.text.contains("could not find out whether your request was recorded"), "{}", page.text);
    assert!(!page.text.contains("Nothing was changed"), "{}", page.text);
    let cookie = customer.cookie();
    rig.stop().await;
    change(&rig, "drop trigger breaks").await;
    change(&rig, "update stops set id = substr(id, 2)").await;
    rig.start().await;
    let customer = Customer::new(&rig);
    customer.carry(&cookie);
    let page = customer.get("/c?lang=en").await;
    assert!(page.text.contains("The order is stopped"), "it was recorded: {}", page.text);
}
