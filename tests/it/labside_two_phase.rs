//! Labs of two phases, through the whole gateway: they hold what they are sent ahead, print only what is
//! handed over, and nothing depends on the first phase.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stoppress::cli::simulate::behaviour::Behaviour;
use stoppress::cli::simulate::ledger::What;

use crate::rig::Rig;

const EVENING: &str = "2026-11-21T20:00:00Z";
const CUTOFF: &str = "2026-11-21T22:00:00Z";

fn two_phase() -> Value {
    json!({"dedupes": "forever", "lookup": true, "stops": "yes", "orders_per_call": 10, "two_phase": true})
}

fn held(rig: &Rig) -> Vec<String> {
    rig.lab.ledger().held().iter().cloned().collect()
}

/// The orders that were handed over, and what each was called when it was sent ahead.
fn uploaded(rig: &Rig) -> impl Iterator<Item = (String, Option<String>)> {
    let jobs = rig.lab.ledger().entries().to_vec().into_iter().filter_map(|entry| match entry.what {
        What::Received { orders, .. } => Some(orders),
        _ => None,
    });
    jobs.flatten().map(|job| (job.order, job.import_reference))
}

#[tokio::test]
async fn orders_are_held_until_the_cutoff_and_then_printed() {
    for driver in ["http", "grpc"] {
        let rig = Rig::new(EVENING, driver, two_phase(), json!({"prints_after": "1m"})).await;
        let mut orders = Vec::new();
        for nth in 0..9 {
            orders.push(rig.order(&format!("A-{nth}")).await);
        }
        rig.go_to("2026-11-21T21:49:59Z").await;
        assert!(rig.lab.ledger().entries().is_empty(), "nothing has left the house");
        rig.go_to("2026-11-21T21:50:30Z").await;
        let mut all = orders.clone();
        all.sort();
        assert_eq!(held(&rig), all);
        // In the house, for all that anybody is told: a stop is granted at once.
        let read = rig.read(&orders[0]).await;
        assert_eq!((&read["state"], &read["verdict"]["can_stop"]), (&json!("in_batch"), &json!("yes")));
        assert_eq!(read["verdict"]["until"], CUTOFF);
        let (status, stop) = rig.ask(&orders[0]).await;
        assert_eq!(
            (status, &stop["state"], &stop["evidence"]),
            (200, &json!("stopped"), &json!("never_handed"))
        );
        let late = rig.order("A-late").await;
        rig.go_to("2026-11-21T21:51:30Z").await;
        assert!(!held(&rig).contains(&orders[0]), "it is taken back");
        assert!(held(&rig).contains(&late));
        // In the last minute nothing is sent ahead, and a stop is granted all the same.
        rig.go_to("2026-11-21T21:59:30Z").await;
        let last = rig.order("A-last").await;
        let (status, stop) = rig.ask(&orders[1]).await;
        assert_eq!((status, &stop["evidence"]), (200, &json!("never_handed")));
        rig.go_to("2026-11-21T21:59:59.999999Z").await;
        assert!(!held(&rig).contains(&last) && held(&rig).contains(&orders[1]));
        let printed = |rig: &Rig| {
            rig.lab.ledger().entries().iter().any(|entry| matches!(entry.what, What::Printed { .. }))
        };
        assert!(!printed(&rig));
        rig.go_to("2026-11-21T22:05:00Z").await;
        for order in orders[2..].iter().chain([&late, &last]) {
            assert_eq!((&rig.read(order).await["state"], rig.prints(order)), (&json!("at_lab"), 1));
        }
        // The hand-over names what the lab called the orders that it holds.
        let told: BTreeMap<_, _> = uploaded(&rig).collect();
        let named = |order: &String| told[order].clone();
        for order in orders[2..].iter().chain([&late]) {
            assert_eq!(named(order), Some(format!("HELD-{}", &order[order.len() - 8..])), "{driver}");
        }
        assert_eq!(named(&last), None, "it was not sent ahead");
        for order in &orders[..2] {
            assert_eq!((&rig.read(order).await["state"], rig.prints(order)), (&json!("stopped"), 0));
        }
        assert_eq!(
            held(&rig),
            Vec::<String>::new(),
            "what was stopped in the last minute is taken back after it"
        );
        let kinds = rig.kinds(&orders[0]).await;
        for kind in ["order.sent_ahead", "order.ahead", "order.taken_back"] {
            assert!(kinds.contains(&kind.to_owned()), "{kinds:?}");
        }
    }
}

#[tokio::test]
async fn a_first_phase_that_fails_harms_nothing() {
    for (driver, behaviour) in [
        ("http", json!({"loses_answers": 1.0})),
        ("grpc", json!({"fails": 1.0})),
        ("http", json!({"down": {"by": "refuse"}})),
    ] {
        let rig = Rig::new(EVENING, driver, two_phase(), behaviour.clone()).await;
        let (made, stopped) = (rig.order("A-1").await, rig.order("A-2").await);
        rig.go_to("2026-11-21T21:55:00Z").await;
        rig.lab.set_behaviour(Behaviour::default());
        let (status, stop) = rig.ask(&stopped).await;
        assert_eq!((status, &stop["evidence"]), (200, &json!("never_handed")), "{behaviour}");
        rig.go_to(CUTOFF).await;
        rig.go_to("2026-11-22T03:00:00Z").await;
        assert_eq!(rig.read(&made).await["state"], "at_lab", "{behaviour}");
        assert_eq!((rig.prints(&made), rig.prints(&stopped)), (1, 0), "{behaviour}");
        assert_eq!(uploaded(&rig).collect::<Vec<_>>(), [(made, None)], "what was not heard is not guessed");
    }
}

#[tokio::test]
async fn a_lab_of_one_phase_is_sent_nothing_ahead() {
    let rig = Rig::new(EVENING, "http", json!({"dedupes": "forever"}), json!({})).await;
    let order = rig.order("A-1").await;
    rig.go_to("2026-11-21T21:59:59.999999Z").await;
    assert!(rig.lab.ledger().entries().is_empty());
    rig.go_to(CUTOFF).await;
    assert_eq!(rig.read(&order).await["state"], "at_lab");
    assert!(!rig.kinds(&order).await.contains(&"order.sent_ahead".to_owned()));
}

#[tokio::test]
async fn a_gateway_that_was_down_hands_over_whole_orders() {
    let mut rig = Rig::new(EVENING, "http", two_phase(), json!({})).await;
    let order = rig.order("A-1").await;
    rig.go_to("2026-11-21T21:52:00Z").await;
    assert_eq!(held(&rig), std::slice::from_ref(&order));
    rig.stop().await;
    rig.clock.set(crate::rig::at("2026-11-21T22:30:00Z"));
    rig.start().await;
    rig.settle().await;
    assert_eq!(rig.read(&order).await["state"], "at_lab");
    assert_eq!(held(&rig), Vec::<String>::new());
}
