//! Endpoints while something of the gateway's own fails: the store in the middle of writing down what came of
//! messages, or a call. No message is lost by it.

use std::sync::{Arc, Mutex};

use jiff::SignedDuration;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection};
use stoppress::clock::{Clock as _, ManualClock};
use stoppress::domain::ids::WebhookId;
use stoppress::domain::webhook::{Posted, WebhookSpec};
use stoppress::lab::Pending;
use stoppress::lab::webhook::{Post, Poster};
use stoppress::store::{PutWebhook, Write};
use stoppress::work::labs::Directory;
use stoppress::work::tell::Tell;
use stoppress::work::{Bells, Bench, Step as _};
use tokio_util::sync::CancellationToken;

use crate::common::world::{World, able, at, ops, shop};
use crate::lab_support::{eventually, tools};
use crate::rig::Rig;
use crate::webhooks_support::{Receiver, Reply, SECRET, deliveries, endpoint};

async fn run(rig: &Rig, sql: &str) {
    let mut other = SqliteConnection::connect(&rig.config.database).await.unwrap();
    other.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn what_came_of_messages_survives_a_store_that_fails_once() {
    let rig = Rig::new("2026-11-21T20:00:00Z", "http", json!({"stops": "yes"}), json!({})).await;
    let receiver = Receiver::start().await;
    let id = endpoint(&rig, &receiver.url, json!({})).await;
    // Fails whenever somebody writes down what came of messages and goes on; giving up writes it down.
    run(
        &rig,
        "create trigger fails before insert on deliveries
            when exists (select 1 from webhooks w where w.id = new.webhook and w.holder <> '')
            begin select raise(abort, 'the disk is full'); end",
    )
    .await;
    receiver.behaves(|_| Reply::status(500));
    let order = rig.order("A-1").await;
    receiver.has(1).await;
    rig.settle().await;
    // Behind the one that was not taken.
    rig.ask(&order).await;
    rig.settle().await;
    receiver.behaves(|_| Reply::status(204));
    for minute in 1..=9 {
        rig.go_to(&format!("2026-11-21T20:0{minute}:00Z")).await;
    }
    eventually("both came", || receiver.kinds().ends_with(&["stop.stopped".to_owned()])).await;
    assert_eq!(receiver.kinds(), ["order.admitted", "order.admitted", "stop.stopped"]);
    rig.settle().await;
    let states = deliveries(&rig, &id, "").await;
    assert!(!states.is_empty() && states.iter().all(|one| one["state"] == "delivered"), "{states:?}");
}

/// Stumbles over the first message.
#[derive(Debug, Default)]
struct Stumbles(Mutex<Vec<String>>);

impl Poster for Stumbles {
    fn post<'a>(&'a self, post: &'a Post) -> Pending<'a, Posted> {
        let first = {
            let mut posted = self.0.lock().unwrap();
            posted.push(post.id.clone());
            posted.len() == 1
        };
        assert!(!first, "the first call is a mistake");
        Box::pin(async { Posted { status: 204, ..Posted::default() } })
    }

    fn refusal(&self, _: &url::Url) -> Option<String> {
        None
    }
}

#[tokio::test]
async fn a_call_that_ends_by_a_mistake_loses_no_message() {
    let world = World::sqlite().await;
    let lab = world.lab("lumo", able()).await;
    let put = PutWebhook {
        id: WebhookId::new(at(0), &world.random),
        platform: shop(),
        spec: WebhookSpec {
            url: "https://hooks.example/".to_owned(),
            events: vec!["*".to_owned()],
            description: String::new(),
        },
        enabled: true,
        secret: SECRET.to_owned().into(),
        cursor: world.store.log_end().await.unwrap(),
        at: at(0),
        actor: ops(),
    };
    world.write(Write::PutWebhook(Box::new(put))).await;
    for nth in 0..3 {
        lab.admit(&format!("A-{nth}")).await;
    }
    let clock = ManualClock::at(at(10));
    let tools = tools(&clock);
    let bells = Arc::new(Bells::default());
    let bench = Bench {
        store: Arc::clone(&world.store),
        clock: Arc::new(clock.clone()),
        random: Arc::clone(&tools.random),
        labs: Arc::new(Directory::new(tools)),
        bells: Arc::clone(&bells),
        holder: "here".to_owned(),
        end: CancellationToken::new(),
    };
    let poster = Arc::new(Stumbles::default());
    let tell = Tell::new(bench, Arc::clone(&poster) as Arc<dyn Poster>);
    for _ in 0..5 {
        tell.tick(clock.now()).await.unwrap();
        bells.settled(clock.now()).await;
        clock.set(clock.now() + SignedDuration::from_secs(5));
    }
    let posted = poster.0.lock().unwrap().clone();
    let mut taken = posted[1..].to_vec();
    taken.sort();
    taken.dedup();
    assert_eq!((taken.len(), taken.contains(&posted[0])), (3, true), "{posted:?}");
}
