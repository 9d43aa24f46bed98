//! What the store carries: orders admitted by many callers at once, and a cutoff's worth of transfers
//! claimed and settled. Everything is durable: full sync on SQLite, `fsync` and `synchronous_commit` on
//! PostgreSQL.
//!
//! `cargo bench --bench store -- [sqlite] [postgres]`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on stops")]

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use stoppress::clock::{HostRandom, Random as _};
use stoppress::domain::batch::Joining;
use stoppress::domain::event::Actor;
use stoppress::domain::ids::{BatchId, EscalationId, LabId, OrderId, PlatformId, RegionId, TransferId};
use stoppress::domain::lab::{Answer, Dedupes, Profile};
use stoppress::store::{
    Admission, Admitted, Claim, Claimed, CloseDue, Settle, Source, Store, Write, Written, one, open,
};

#[path = "../tests/it/common/postgres.rs"]
mod postgres;

const LABS: usize = 50;
const ORDERS: usize = 20_000;
const CALLERS: usize = 64;
const CONCURRENCY: usize = 8;

fn now() -> Timestamp {
    "2026-06-17T10:00:00Z".parse().unwrap()
}

/// An order of about a kilobyte.
fn admission(nth: usize) -> Admission {
    let lab = LabId::parse(&format!("lab-{}", nth % LABS)).unwrap();
    let closes_at = now() + SignedDuration::from_hours(1);
    let join = Joining {
        batch: BatchId::new(now(), &HostRandom),
        lab: lab.clone(),
        region: RegionId::parse("eu").unwrap(),
        direct: false,
        opens_at: now(),
        closes_at,
        closes_at_local: closes_at.to_string(),
        production_date: "2026-06-18".to_owned(),
        rule: "regular 24:00".to_owned(),
        time_zone: "Europe/Helsinki".to_owned(),
        tzdata: "2026a".to_owned(),
        promised: true,
        until: None,
    };
    let mut hash = [0; 32];
    HostRandom.fill(&mut hash);
    let address = r#"{"name":"Aino Virtanen","line1":"Mannerheimintie 1","postal_code":"00100","city":"Helsinki","country":"FI"}"#;
    let items: Vec<String> = (0..4)
        .map(|item| {
            format!(
                r#"{{"id":"{item}","sku":"print-10x15-gloss","quantity":3,"files":[{{"url":"https://files.example.com/{nth}/{item}/original-image-of-the-customer.jpg","sha256":"{}"}}]}}"#,
                "a".repeat(64)
            )
        })
        .collect();
    Admission {
        id: OrderId::new(now(), &HostRandom),
        platform: PlatformId::parse("shop").unwrap(),
        lab,
        region: join.region.clone(),
        reference: format!("A-{nth}"),
        document: format!(r#"{{"reference":"A-{nth}","ship_to":{address},"items":[{}]}}"#, items.join(",")),
        sha256: stoppress::domain::event::hex(&hash),
        paid: true,
        join: Some(join),
        route: None,
        at: now(),
        actor: Actor("platform:shop".to_owned()),
    }
}

async fn admit(store: &Arc<dyn Store>) -> f64 {
    let began = Instant::now();
    let callers = (0..CALLERS).map(|caller| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            for nth in (caller..ORDERS).step_by(CALLERS) {
                let written = one(&*store, Write::Admit(Arc::new(admission(nth)))).await.unwrap();
                assert!(matches!(written, Written::Admitted(Admitted::New { .. })));
            }
        })
    });
    for done in join_all(callers).await {
        done.unwrap();
    }
    began.elapsed().as_secs_f64()
}

async fn hand_over(store: &Arc<dyn Store>) -> f64 {
    let cutoff = now() + SignedDuration::from_hours(1);
    one(&**store, Write::Close(CloseDue { now: cutoff, limit: 1_000 })).await.unwrap();
    let profile = Arc::new(Profile { dedupes: Dedupes::Forever, lookup: true, ..Profile::default() });
    let began = Instant::now();
    let labs = (0..LABS).map(|lab| {
        let (store, profile) = (Arc::clone(store), Arc::clone(&profile));
        tokio::spawn(async move {
            let mut sent = 0;
            loop {
                let claim = Claim {
                    lab: LabId::parse(&format!("lab-{lab}")).unwrap(),
                    profile: Arc::clone(&profile),
                    manual: false,
                    ids: (0..CONCURRENCY).map(|_| TransferId::new(cutoff, &HostRandom)).collect(),
                    escalations: (0..CONCURRENCY).map(|_| EscalationId::new(cutoff, &HostRandom)).collect(),
                    now: cutoff,
                    lease_until: cutoff + SignedDuration::from_mins(1),
                    holder: "bench".to_owned(),
                    sends: true,
                    away: false,
                };
                let Written::Claimed(claimed) = one(&*store, Write::Claim(Box::new(claim))).await.unwrap()
                else {
                    unreachable!("a claim is answered as one")
                };
                if claimed.is_empty() {
                    return sent;
                }
                sent += claimed.len();
                let ends = claimed.into_iter().map(|claimed| {
                    let Claimed::Send(out) = claimed else { unreachable!("everything is fresh") };
                    let settle = Settle {
                        transfer: out.transfer.id,
                        fence: out.transfer.fence,
                        source: Source::Upload,
                        answer: Answer::Accepted { lab_reference: None },
                        at: cutoff,
                        next_at: cutoff,
                        actor: Actor::gateway(),
                        escalation: EscalationId::new(cutoff, &HostRandom),
                    };
                    one(&*store, Write::Settle(Box::new(settle)))
                });
                for settled in join_all(ends).await {
                    assert!(matches!(settled.unwrap(), Written::Settled(Some(_))));
                }
            }
        })
    });
    let sent: usize = join_all(labs).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(sent, ORDERS);
    began.elapsed().as_secs_f64()
}

async fn measure(name: &str, store: Arc<dyn Store>) {
    let seconds = admit(&store).await;
    println!("{name}: {ORDERS} orders admitted by {CALLERS} callers: {:.0}/s", ORDERS as f64 / seconds);
    let seconds = hand_over(&store).await;
    println!("{name}: {ORDERS} transfers claimed and settled over {LABS} labs: {seconds:.2} s");
    store.close().await;
}

#[tokio::main]
async fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wants = |name: &str| asked.is_empty() || asked.iter().any(|asked| asked == name);
    if wants("sqlite") {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bench.db");
        measure("sqlite", open(file.to_str().unwrap(), now()).await.unwrap()).await;
    }
    if wants("postgres") {
        let database = postgres::database().await;
        let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(&database.url).await.unwrap();
        for sql in ["alter system set fsync = on", "select pg_reload_conf()"] {
            sqlx::query(sql).execute(&mut admin).await.unwrap();
        }
        measure("postgres", open(&database.url, now()).await.unwrap()).await;
    }
}
