//! The mistakes that an exhaustive model of the protocol shows to break the promise, each with a test that
//! fails if the code makes it. The names are those of the design's list of violations.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, SqliteConnection,
};
use stoppress::clock::{Clock as _, HostClock};
use stoppress::domain::batch::{Remedy, TransferFacts, TransferPhase, absence, after_lease, remedy, settle};
use stoppress::domain::event::hex;
use stoppress::domain::lab::{Answer, Profile, TakesStops};
use stoppress::domain::order::{OrderState, Stage};
use stoppress::domain::stop::{StopState, grant};
use stoppress::store::{Admitted, Claimed, Source, StopOutcome, Write, Written, one};

use super::claim::named;
use super::on_both;
use crate::common::world::{
    ANSWER, CUTOFF, HANDOVER, HORIZON, LEASE, World, able, accepted, at, deaf, forgetful, keeps, refused,
    unclear,
};

on_both!(
    mistake_answer_before_the_commit,
    mistake_a_failed_commit_is_told_as_done,
    mistake_two_rows_for_one_key,
    mistake_a_claim_does_not_see_a_stop,
    mistake_a_stop_does_not_see_a_claim,
    mistake_a_clock_grants_a_stop,
    mistake_first_byte_before_the_durable_intent,
    mistake_blind_resend,
    mistake_same_key_other_bytes,
    mistake_commits_can_vanish,
    mistake_no_take_over,
    mistake_no_deadline_to_a_person,
);

/// A transfer that was sent `attempts` times, none of them with a known end.
fn transfer(phase: TransferPhase, fence: i64, attempts: i64) -> TransferFacts {
    let id = |prefix: &str| format!("\"{prefix}_{}\"", "0".repeat(32));
    TransferFacts {
        id: serde_json::from_str(&id("trf")).unwrap(),
        lab: serde_json::from_str("\"lumo\"").unwrap(),
        batch: serde_json::from_str(&id("bat")).unwrap(),
        phase,
        fence,
        attempts,
        unresolved: attempts,
        first_at: at(0),
        horizon_at: at(HORIZON),
        key_until: None,
        deadline_at: at(HANDOVER),
        next_at: at(0),
        handed_at: None,
        version: 1,
    }
}

/// A connection beside the store.
enum Other {
    File(SqliteConnection),
    Server(PgConnection),
}

impl Other {
    async fn open(world: &World) -> Self {
        if world.is_postgres() {
            return Self::Server(PgConnection::connect(&world.url).await.unwrap());
        }
        let options: SqliteConnectOptions = world.url.parse().unwrap();
        Self::File(options.connect().await.unwrap())
    }

    async fn run(&mut self, sql: String) -> u64 {
        let sql = AssertSqlSafe(sql);
        match self {
            Self::File(connection) => connection.execute(sql).await.unwrap().rows_affected(),
            Self::Server(connection) => connection.execute(sql).await.unwrap().rows_affected(),
        }
    }
}

async fn pause() {
    HostClock.sleep_until(HostClock.now() + Duration::from_millis(150)).await;
}

async fn mistake_answer_before_the_commit(world: World) {
    let lab = world.lab("lumo", able()).await;
    let world = &world;
    // Many callers, so that some are answered out of the middle of a group.
    let callers = (0..32).map(|nth| {
        let admission = lab.admission(&format!("A-{nth}"));
        let id = admission.id.clone();
        let ask = lab.asking(&id, 1);
        async move {
            one(&*world.store, Write::Admit(Arc::new(admission))).await.unwrap();
            let order = format!("select count(*) from standings where id = '{id}'");
            assert_eq!(world.number(&order).await, 1, "admitted was told, and it is not there");
            let Written::Stop(outcome) = one(&*world.store, Write::Stop(Box::new(ask))).await.unwrap() else {
                panic!("not a stop")
            };
            assert!(matches!(*outcome, StopOutcome::Asked(f) if f.state == StopState::Stopped));
            let stop = format!("select count(*) from stops where order_id = '{id}' and state = 2");
            assert_eq!(world.number(&stop).await, 1, "stopped was told, and it is not there");
        }
    });
    futures_util::future::join_all(callers).await;
}

async fn mistake_a_failed_commit_is_told_as_done(world: World) {
    let lab = world.lab("lumo", able()).await;
    // Something that only the commit itself finds wrong.
    let fails: &[&str] = if world.is_postgres() {
        &[
            "create function fail() returns trigger language plpgsql as $$ begin raise 'the disk is full'; end $$",
            "create constraint trigger fails after insert on orders deferrable initially deferred
                for each row execute function fail()",
        ]
    } else {
        &[
            "create table parents (id text primary key)",
            "create table children (id text references parents (id) deferrable initially deferred)",
            "create trigger fails after insert on orders begin insert into children values (new.id); end",
        ]
    };
    for sql in fails {
        world.run(sql).await;
    }
    let admission = lab.admission("A-1");
    let told = one(&*world.store, Write::Admit(Arc::new(admission.clone()))).await;
    assert!(told.is_err(), "told as done, and it is not: {told:?}");
    assert_eq!(world.number("select count(*) from orders").await, 0);
    // And the store goes on.
    world.run(if world.is_postgres() { "drop trigger fails on orders" } else { "drop trigger fails" }).await;
    assert!(matches!(lab.admit_as(admission).await, Admitted::New { .. }));
    world.verify().await;
}

async fn mistake_two_rows_for_one_key(world: World) {
    let lab = world.lab("lumo", able()).await;
    lab.admit("A-1").await;
    // Not only does the code look: the database refuses.
    let twin = "insert into orders (id, platform, lab, region, reference, document, sha256, admitted_at)
        select 'ord_x', platform, lab, region, reference, document, sha256, admitted_at from orders";
    let mut other = Other::open(&world).await;
    let failed = match &mut other {
        Other::File(connection) => connection.execute(twin).await.unwrap_err(),
        Other::Server(connection) => connection.execute(twin).await.unwrap_err(),
    };
    assert!(failed.as_database_error().unwrap().is_unique_violation(), "{failed}");
}

async fn mistake_a_claim_does_not_see_a_stop(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    world.close(CUTOFF).await;
    // Another replica, in the middle of granting a stop.
    let mut other = Other::open(&world).await;
    let begin = if world.is_postgres() { "begin" } else { "begin immediate" };
    other.run(begin.to_owned()).await;
    other.run(format!("update standings set stop = 2 where id = '{order}'")).await;
    let (store, claim) = (Arc::clone(&world.store), Write::Claim(Box::new(lab.claiming(CUTOFF + 1, 3))));
    let claim = tokio::spawn(async move { one(&*store, claim).await.unwrap() });
    pause().await;
    other.run("commit".to_owned()).await;
    let Written::Claimed(claimed) = claim.await.unwrap() else { panic!("not a claim") };
    assert!(claimed.is_empty(), "{claimed:?}");
    assert!(lab.claim(CUTOFF + 2).await.is_empty());
}

async fn mistake_a_stop_does_not_see_a_claim(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    world.close(CUTOFF).await;
    // Another replica, in the middle of a claim.
    let mut other = Other::open(&world).await;
    let begin = if world.is_postgres() { "begin" } else { "begin immediate" };
    other.run(begin.to_owned()).await;
    let id = &world.transfer_ids(1)[0];
    other
        .run(format!(
            "insert into transfers (id, lab, batch, phase, fence, attempts, unresolved, idempotency_key, sha256, manifest,
                first_at, horizon_at, deadline_at, next_at, lease_until, holder, version, head)
            select '{id}', 'lumo', batch, 1, 1, 1, 1, 'k', '', '[]', 0, 0, 0, 0, 0, 'two', 1, '' from standings where id = '{order}'"
        ))
        .await;
    let joined = format!("update standings set transfer = '{id}' where id = '{order}' and stop = 0");
    assert_eq!(other.run(joined).await, 1);
    let (store, ask) = (Arc::clone(&world.store), Write::Stop(Box::new(lab.asking(&order, CUTOFF + 1))));
    let ask = tokio::spawn(async move { one(&*store, ask).await.unwrap() });
    pause().await;
    assert!(!ask.is_finished(), "the stop decided beside the claim");
    other.run("commit".to_owned()).await;
    let Written::Stop(outcome) = ask.await.unwrap() else { panic!("not a stop") };
    assert!(matches!(&*outcome, StopOutcome::Asked(f) if f.state == StopState::Pending), "{outcome:?}");
}

async fn mistake_a_clock_grants_a_stop(world: World) {
    // The asker's clock is long before the cutoff: what is stored decides.
    let lab = world.lab("lumo", able()).await;
    let (order, _) = lab.sent("A-1").await;
    assert_eq!(lab.stop(&order, -5000).await.state, StopState::Pending);
    // And long after it: nothing has left.
    let nova = world.lab("nova", able()).await;
    let order = nova.admit("B-1").await;
    assert_eq!(nova.stop(&order, 100 * CUTOFF).await.state, StopState::Stopped);
}

#[test]
fn mistake_granting_while_sending() {
    for stops in [TakesStops::Yes, TakesStops::No, TakesStops::FinalOnReceipt] {
        let profile = Profile { stops, ..able() };
        for stage in [Stage::Received, Stage::InProduction, Stage::Printed, Stage::Shipped] {
            for phase in [
                TransferPhase::Sending,
                TransferPhase::Unknown,
                TransferPhase::AtLab,
                TransferPhase::WithAPerson,
            ] {
                let (state, _) = grant(Some(&transfer(phase, 1, 1)), stage, &profile);
                assert_ne!(state, StopState::Stopped, "{phase:?} {stage:?} {stops:?}");
            }
        }
    }
}

async fn mistake_first_byte_before_the_durable_intent(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, out) = lab.sent("A-1").await;
    // What was returned to the sender, a second connection sees: phase, fence, key, hash, manifest.
    let (id, key) = (&out.transfer.id, &out.key);
    let row = format!(
        "select count(*) from transfers where id = '{id}' and phase = 1 and fence = 1 and attempts = 1 and unresolved = 1
            and idempotency_key = '{key}' and sha256 = '{}' and manifest = '[\"{order}\"]'",
        hex(&out.sha256)
    );
    assert_eq!(world.number(&row).await, 1);
    assert_eq!(world.number(&format!("select count(*) from standings where transfer = '{id}'")).await, 1);
    let logged = format!("select count(*) from events where subject = '{id}' and kind = 'transfer.sending'");
    assert_eq!(world.number(&logged).await, 1);
}

#[test]
fn mistake_a_time_out_means_not_sent() {
    for answer in [unclear(), Answer::NotFound, Answer::AnswerLater] {
        let next = settle(&transfer(TransferPhase::Sending, 4, 1), 4, &answer).unwrap();
        assert_eq!((next.phase, next.unresolved), (TransferPhase::Unknown, 1), "{answer:?}");
        // Without the fence, or with an older one, it says nothing at all.
        for fence in [0, 3, 5] {
            assert_eq!(settle(&transfer(TransferPhase::Sending, 4, 1), fence, &answer), None);
        }
        assert_eq!(settle(&transfer(TransferPhase::Unknown, 4, 1), 4, &answer), None);
    }
    // Nor does a sender that is gone.
    let next = after_lease(&transfer(TransferPhase::Sending, 4, 1)).unwrap();
    assert_eq!((next.phase, next.fence, next.unresolved), (TransferPhase::Unknown, 5, 1));
}

async fn mistake_blind_resend(world: World) {
    for (nth, profile) in [forgetful(), deaf()].into_iter().enumerate() {
        let lab = world.lab(&format!("lab-{nth}"), profile).await;
        lab.lost(&format!("A-{nth}")).await;
        for seconds in (CUTOFF..CUTOFF + HANDOVER + 600).step_by(97) {
            for claimed in lab.claim(seconds).await {
                assert!(!matches!(claimed, Claimed::Send(_)), "{claimed:?}");
            }
        }
    }
}

#[test]
fn mistake_resend_after_the_key_window() {
    let facts = TransferFacts { key_until: Some(at(1000)), ..transfer(TransferPhase::Unknown, 1, 1) };
    let profile = keeps(1000);
    assert_eq!(remedy(&facts, &profile, at(1000 - HORIZON - 1)), Remedy::Resend);
    for seconds in [1000 - HORIZON, 999, 1000, 5000] {
        assert_eq!(remedy(&facts, &profile, at(seconds)), Remedy::LookUp(facts.horizon_at), "{seconds}");
    }
}

#[test]
fn a_lab_that_was_sent_it_often_is_asked_once_its_answer_can_be_believed() {
    use stoppress::domain::batch::ASK_FROM;
    let often = TransferFacts { attempts: ASK_FROM, ..transfer(TransferPhase::Unknown, 9, 2) };
    let before = often.horizon_at - jiff::SignedDuration::from_micros(1);
    let cases = [
        ("the answer cannot be believed yet", able(), often.clone(), before, Remedy::Resend),
        ("it can", able(), often.clone(), often.horizon_at, Remedy::LookUp(often.horizon_at)),
        (
            "it was not sent often",
            able(),
            TransferFacts { attempts: ASK_FROM - 1, ..often.clone() },
            often.horizon_at,
            Remedy::Resend,
        ),
        (
            "it cannot be asked",
            Profile { lookup: false, ..able() },
            often.clone(),
            often.horizon_at,
            Remedy::Resend,
        ),
    ];
    for (name, profile, facts, now, expected) in cases {
        assert_eq!(remedy(&facts, &profile, now), expected, "{name}");
    }
}

async fn mistake_same_key_other_bytes(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, first) = lab.lost("A-1").await;
    // Whatever changed the stored order, the bytes that are out stay what they were.
    let other = r#"{"items":[{"id":"2"}]}"#;
    world.run(&format!("update orders set document = '{other}' where id = '{order}'")).await;
    let claimed = lab.claim(CUTOFF + 30).await;
    assert!(matches!(&claimed[..], [Claimed::Person(id)] if *id == first.transfer.id), "{claimed:?}");

    // Other bytes need another key, and that a proof.
    let nova = world.lab("nova", Profile { orders_per_call: 2, ..able() }).await;
    let (one, two) = (nova.admit("B-1").await, nova.admit("B-2").await);
    world.close(CUTOFF).await;
    let mut keys: HashMap<String, Vec<u8>> = HashMap::new();
    let mut out = nova.send(CUTOFF + 1).await;
    nova.stop(&one, CUTOFF + 2).await;
    for (nth, answer) in [unclear(), unclear(), accepted()].into_iter().enumerate() {
        assert_eq!(*keys.entry(out.key.clone()).or_insert_with(|| out.body.clone()), out.body);
        let seconds = CUTOFF + 10 + 30 * nth as i64;
        nova.settle(&out, answer, seconds).await.unwrap();
        if nth < 2 {
            out = nova.send(seconds + 10).await;
            assert_eq!(named(&out), [one.to_string(), two.to_string()], "nobody is left out without a proof");
        }
    }
    assert_eq!(keys.len(), 1);
}

#[test]
fn mistake_not_found_before_the_horizon() {
    let facts = transfer(TransferPhase::Unknown, 2, 1);
    for seconds in [0, HORIZON - 1] {
        assert_eq!(absence(&facts, 2, at(seconds)), None);
    }
    let next = absence(&facts, 2, at(HORIZON)).unwrap();
    assert_eq!((next.phase, next.fence, next.unresolved), (TransferPhase::Closed, 3, 0));
    for phase in
        [TransferPhase::Sending, TransferPhase::AtLab, TransferPhase::Empty, TransferPhase::WithAPerson]
    {
        assert_eq!(absence(&transfer(phase, 2, 1), 2, at(HORIZON)), None, "{phase:?}");
    }
}

#[test]
fn mistake_not_found_about_an_older_attempt() {
    for fence in [0, 1, 3] {
        assert_eq!(absence(&transfer(TransferPhase::Unknown, 2, 2), fence, at(HORIZON)), None);
    }
}

#[test]
fn mistake_refusal_of_the_last_attempt_clears_all() {
    let next = settle(&transfer(TransferPhase::Sending, 2, 2), 2, &refused()).unwrap();
    assert_eq!((next.phase, next.unresolved), (TransferPhase::Unknown, 2));
    let next = settle(&transfer(TransferPhase::Sending, 1, 1), 1, &refused()).unwrap();
    assert_eq!((next.phase, next.unresolved), (TransferPhase::Closed, 0));
    // Of an attempt that was taken over: it may be the answer to another copy.
    assert_eq!(settle(&transfer(TransferPhase::Unknown, 2, 1), 1, &refused()), None);
}

async fn mistake_commits_can_vanish(world: World) {
    let settings: HashMap<_, _> = world.store.durability().await.unwrap().into_iter().collect();
    if world.is_postgres() {
        assert_eq!(settings["synchronous_commit"], "on");
        // Whatever the database's own default is.
        let name = world.texts("select current_database()::text").await.remove(0);
        world.run(&format!("alter database {name} set synchronous_commit = off")).await;
        let replica = world.replica().await;
        let settings: HashMap<_, _> = replica.durability().await.unwrap().into_iter().collect();
        assert_eq!(settings["synchronous_commit"], "on");
    } else {
        assert_eq!((settings["journal_mode"].as_str(), settings["synchronous"].as_str()), ("wal", "2"));
    }
}

async fn mistake_no_take_over(world: World) {
    let lab = world.lab("lumo", forgetful()).await;
    let (order, out) = lab.sent("A-1").await;
    // Its sender is never heard of again. The loops are told when to look.
    let due = world.store.due(at(CUTOFF + 2)).await.unwrap();
    assert_eq!(due.lease_at, Some(at(CUTOFF + 1 + LEASE)));
    assert_eq!(world.take_over(CUTOFF + 1 + LEASE).await.len(), 1);
    let horizon = CUTOFF + 1 + HORIZON;
    lab.claim(horizon - 100).await;
    let claimed = lab.claim(horizon).await;
    let [Claimed::LookUp { transfer, .. }] = &claimed[..] else { panic!("{claimed:?}") };
    assert_eq!((&transfer.id, transfer.fence), (&out.transfer.id, out.transfer.fence + 1));
    lab.learn(transfer, Source::LookUp(at(horizon)), accepted(), horizon + 1).await.unwrap();
    assert_eq!(world.order(&order).await.state(), OrderState::AtLab);
}

async fn mistake_no_deadline_to_a_person(world: World) {
    // Nobody ever says anything: every transfer and every stop ends with a person, none is forgotten.
    let mut orders = Vec::new();
    let kinds = [able(), forgetful(), deaf(), keeps(600), Profile { lookup: false, ..able() }];
    for (nth, profile) in kinds.into_iter().enumerate() {
        let lab = world.lab(&format!("lab-{nth}"), profile).await;
        let order = lab.admit(&format!("A-{nth}")).await;
        orders.push((lab, order));
    }
    world.close(CUTOFF).await;
    let last = CUTOFF + HANDOVER + 2 * ANSWER;
    for seconds in (CUTOFF + 1..last).step_by(113) {
        world.take_over(seconds).await;
        for (lab, order) in &orders {
            for claimed in lab.claim(seconds).await {
                if let (Claimed::Send(out), 0) = (&claimed, seconds % 2) {
                    lab.settle(out, unclear(), seconds).await;
                }
            }
            if seconds > CUTOFF + 100 {
                lab.ask_as(lab.asking(order, seconds)).await;
            }
            lab.claim_stops(seconds).await;
        }
        let gauges = world.store.gauges(at(seconds)).await.unwrap();
        assert_eq!(gauges.stops_overdue, 0, "at {seconds}");
    }
    for (_, order) in &orders {
        let facts = world.order(order).await;
        assert_eq!(facts.transfer.as_ref().unwrap().phase, TransferPhase::WithAPerson);
        assert_eq!(facts.stop.as_ref().unwrap().state, StopState::WithAPerson);
    }
    let calls = world.escalations().await;
    assert_eq!(calls.len(), 2 * orders.len());
    assert!(calls.iter().all(|call| call.due_at >= call.opened_at));
    world.verify().await;
}
