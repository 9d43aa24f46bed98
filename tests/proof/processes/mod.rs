//! Real processes: three gateways on PostgreSQL, labs that misbehave, load; and somebody who kills, stops and resumes
//! gateways, ends them at named points, restarts the database under them and lets its standby take over, as a seed says.
//! Then the labs' ledgers are held against every answer that was told.
//!
//! `STOPPRESS_KILLS` (60) is how many lives are ended, one every two seconds; `STOPPRESS_SEED` draws which, when, how.

mod gateways;
mod load;
mod pair;
mod relay;
mod standby;
mod takeover;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use stoppress::cli::simulate::behaviour::Behaviour;
use stoppress::cli::simulate::{Simulator, SimulatorSettings};
use stoppress::clock::{Clock as _, HostClock, SeededRandom};
use stoppress::config::variable;
use stoppress::domain::ids::OrderId;
use stoppress::work::transfer::LEASE;

use crate::common::postgres;
use gateways::{Draw, Gateways};
use load::{Client, Told};
use pair::Pair;
use takeover::Operator;

/// How long after the last kill everything must have gone on, beyond the lease of who was killed.
const BEYOND: SignedDuration = SignedDuration::from_secs(30);
/// How long it may take until what is unknown at a lab that does not deduplicate is found out: its horizon, and as
/// much again for those that wait in line; and a minute until the last batch closes.
const FOUND_OUT: SignedDuration = SignedDuration::from_secs(480);

/// A lab: its name, its profile, how it behaves.
fn labs() -> [(&'static str, Value, Value); 3] {
    let profile = |dedupes: &str| {
        json!({"dedupes": dedupes, "lookup": true, "stops": "yes", "acts_within": "1s", "answers_within": "20m",
            "handover_within": "60m", "attempts_max": 100, "orders_per_call": 3})
    };
    let behaviour = json!({"prints_after": "25s", "loses_answers": 0.15, "fails": 0.05, "slow": "0s..0.2s"});
    let with = |changes: Value| {
        let mut behaviour = behaviour.clone();
        for (name, value) in changes.as_object().unwrap() {
            behaviour[name] = value.clone();
        }
        behaviour
    };
    [
        ("able", profile("forever"), with(json!({}))),
        ("plain", profile("no"), with(json!({"duplicates": true, "loses_answers": 0.05, "fails": 0.02}))),
        ("slow", profile("forever"), with(json!({"slow": "0s..2s"}))),
    ]
}

fn lab_spec(id: &str, profile: &Value, url: &str, now: Timestamp) -> Value {
    // A cutoff every minute, from the one behind to two hours ahead.
    let cutoffs: BTreeSet<String> = (0..120_i64)
        .map(|minute| (now + SignedDuration::from_mins(minute)).strftime("%H:%M").to_string())
        .collect();
    json!({"id": id, "name": id, "driver": {"kind": "http", "base_url": url}, "profile": profile,
        "policy": {"grace": "3s"}, "regions": [{"id": "eu", "calendar": {"time_zone": "Etc/UTC", "cutoffs": cutoffs}}]})
}

fn number(name: &str, usual: u64) -> u64 {
    variable(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// The numbers that a statement gives, or nothing while the database is away.
async fn numbers(url: &str, sql: &str) -> Option<Vec<i64>> {
    let mut connection = sqlx::PgConnection::connect(url).await.ok()?;
    let row = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.ok()?;
    Some((0..row.len()).map(|at| row.get(at)).collect())
}

/// What still has to go on: transfers that wait or are on the wire, batches that are late; and what still has to be decided:
/// transfers of which nobody knows, stops without an answer, batches whose cutoff comes, because what is handed over
/// then may get no answer either.
const WAITS: &str = "select (select count(*) from transfers where phase in (0, 1)),
    (select count(*) from batches where phase in (0, 1) and closes_at < (extract(epoch from now()) * 1000000)::bigint - 5000000),
    (select count(*) from transfers where phase = 2), (select count(*) from stops where state = 1),
    (select count(*) from batches where phase in (0, 1))";

/// Waits until so many of [`WAITS`] are over; gives how long that took.
async fn until_settled(url: &str, first: usize, within: SignedDuration) -> Result<SignedDuration, String> {
    let from = HostClock.now();
    loop {
        let waits = numbers(url, WAITS).await;
        let took = HostClock.now().duration_since(from);
        if waits.as_ref().is_some_and(|waits| waits[..first].iter().all(|count| *count == 0)) {
            return Ok(took);
        }
        if took > within {
            return Err(format!("after {took:#} there are still {waits:?}"));
        }
        pause(200).await;
    }
}

/// Says how it goes.
#[expect(clippy::print_stdout, reason = "the figures of a run are what it is for")]
fn say(text: &str) {
    println!("storm: {text}");
}

macro_rules! say {
    ($($part:tt)*) => { say(&format!($($part)*)) };
}

/// Lets real time pass.
async fn pause(millis: i64) {
    HostClock.sleep_until(HostClock.now() + SignedDuration::from_millis(millis)).await;
}

/// The variable that makes a process the one that kills.
const STORM: &str = "STOPPRESS_PROOF_STORM";

#[test]
fn three_gateways_that_are_killed_all_the_time_keep_every_promise() {
    if variable(STORM).is_some() {
        storm();
        return;
    }
    let _turn = crate::turn();
    // A process of its own, because the database that it restarts is one a process.
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = "processes::three_gateways_that_are_killed_all_the_time_keep_every_promise";
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(STORM, "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let err = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        err.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let mut text = String::new();
    for line in BufReader::new(out).split(b'\n') {
        let line = String::from_utf8_lossy(&line.unwrap()).into_owned();
        // A long run tells how far it is.
        if line.starts_with("storm: ") {
            println!("{line}");
        }
        text = text + &line + "\n";
    }
    let status = child.wait().unwrap();
    assert!(status.success(), "{text}{}", err.join().unwrap());
}

/// The process that kills.
fn storm() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(rage());
}

/// Says when it goes that gateways need not be kept alive any more: a run that has failed ends, too.
struct End(Arc<AtomicBool>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

async fn rage() {
    let (kills, seed) = (number("STOPPRESS_KILLS", 60), number("STOPPRESS_SEED", 1));
    say!("seed {seed}, {kills} kills");
    let random = Arc::new(SeededRandom::new(seed));
    let pair = Pair::of(&postgres::database().await.url).await;
    let url = pair.url();
    let mut houses = BTreeMap::new();
    for (id, profile, behaviour) in labs() {
        let behaviour: Behaviour = serde_json::from_value(behaviour).unwrap();
        let settings = SimulatorSettings { behaviour, ..SimulatorSettings::default() };
        let lab = Simulator::start(settings, Arc::new(HostClock), random.clone()).await.unwrap();
        houses.insert(id, (lab, profile));
    }
    let mut gateways = Gateways::start(&url);
    let ops = gateways.ops.clone();
    let client = Client::new(gateways.urls(), &ops);
    client.until("PUT", "/v1/platforms/acme", &json!({"id": "acme", "name": "Acme"})).await;
    for (id, (lab, profile)) in &houses {
        let spec = lab_spec(id, profile, &format!("http://{}", lab.http_addr), HostClock.now());
        client.until("PUT", &format!("/v1/labs/{id}"), &spec).await;
    }
    let key = json!({"scope": "platform", "owner": "acme", "name": "storm"});
    let made = client.until("POST", "/v1/keys", &key).await;
    let secret = made["secret"].as_str().unwrap().to_owned();
    // The other gateways read keys and labs anew every second or so.
    pause(3_000).await;

    let over = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for nth in 0..6 {
        let client = Client::new(gateways.urls(), &secret);
        let draw = Draw::new(seed * 100 + nth);
        clients.spawn(load::shop(client, nth, draw, Arc::clone(&over)));
    }
    let (calm, end) = (Arc::new(AtomicBool::new(false)), End(Arc::default()));
    let operator = Operator::new(pair, Draw::new(seed + 1_000));
    let operator = tokio::spawn(operator.rage(Arc::clone(&gateways.ended), Arc::clone(&calm)));
    let raging = {
        let (calm, end) = (Arc::clone(&calm), Arc::clone(&end.0));
        tokio::task::spawn_blocking(move || {
            gateways.rage(kills, &mut Draw::new(seed));
            calm.store(true, Ordering::Release);
            gateways.keep(&end);
            gateways
        })
    };
    while !calm.load(Ordering::Acquire) {
        let failed = raging.is_finished() || operator.is_finished();
        assert!(!failed || calm.load(Ordering::Acquire), "whoever kills has failed");
        pause(100).await;
    }
    // What is being done to the database is brought to its end.
    let (_pair, mut figures) = operator.await.unwrap();
    say!("the database: {}", figures.words());
    let calm_at = HostClock.now();
    over.store(true, Ordering::Relaxed);
    let mut told: Vec<Told> = Vec::new();
    while let Some(done) = clients.join_next().await {
        told.extend(done.unwrap());
    }
    let stops = told.iter().filter(|told| told.stop.is_some()).count();
    say!("{} orders, {stops} stops", told.len());

    // Nobody is harmed any more: what was under way goes on within the lease of the dead, and a little.
    let mut wrong = std::mem::take(&mut figures.wrong);
    match until_settled(&url, 2, LEASE + BEYOND).await {
        Ok(_) => {
            let took = HostClock.now().duration_since(calm_at);
            say!("everything went on {took:#} after the last kill");
        }
        Err(why) => wrong.push(why),
    }
    match until_settled(&url, 5, FOUND_OUT).await {
        Ok(took) => say!("everything was decided {took:#} later"),
        Err(why) => wrong.push(why),
    }
    // What is with the labs is printed by then.
    pause(27_000).await;
    wrong.extend(judge(&url, &houses, &told).await);
    drop(end);
    let gateways = raging.await.unwrap();
    say!("{} lives ended, {}", gateways.ended.load(Ordering::Acquire), gateways.how());
    assert!(wrong.is_empty(), "seed {seed}:\n{}\n{}", wrong.join("\n"), gateways.logs());
    assert!(told.len() as u64 >= kills, "only {} orders", told.len());
}

/// Holds the ledgers against every answer.
async fn judge(url: &str, houses: &BTreeMap<&str, (Simulator, Value)>, told: &[Told]) -> Vec<String> {
    let mut wrong = Vec::new();
    let store = stoppress::store::open(url, HostClock.now()).await.unwrap();
    let found = store.verify_events().await.unwrap();
    wrong.extend(found.breaks.into_iter().map(|found| format!("the chain: {found}")));
    let mut prints: BTreeMap<String, u64> = BTreeMap::new();
    for (lab, _) in houses.values() {
        for verdict in lab.ledger().verdicts() {
            *prints.entry(verdict.order).or_default() += verdict.prints + verdict.waiting;
        }
    }
    let twice = prints.iter().filter(|(_, count)| **count > 1);
    wrong.extend(twice.map(|(order, count)| format!("{order} is printed {count} times")));
    let mut seen = BTreeSet::new();
    for told in told {
        if !seen.insert(&told.order) {
            wrong.push(format!("{} is the order of two references", told.order));
        }
        let which = [stoppress::store::OrderRef::Id(OrderId::parse(&told.order).unwrap())];
        let facts = store.orders(&stoppress::store::Scope::Ops, &which).await.unwrap().remove(0);
        let Some(facts) = facts.filter(|facts| facts.reference == told.reference) else {
            wrong.push(format!("{} was acknowledged and is not there", told.reference));
            continue;
        };
        let state = facts.stop.as_ref().map(|stop| stop.state.word());
        let phase = facts.transfer.as_ref().map(|transfer| transfer.phase.word());
        let name = format!(
            "{} {} at {} (transfer {phase:?}, stop {state:?})",
            told.reference, told.order, facts.lab
        );
        let printed = prints.get(&told.order).copied().unwrap_or_default();
        match state {
            Some("stopped") if printed > 0 => wrong.push(format!("{name} is stopped, and printed")),
            Some("stopped" | "pending" | "with_a_person") => {}
            // With a person it may be or not.
            _ if phase == Some("with_a_person") => {}
            _ if printed != 1 => wrong.push(format!("{name} was printed {printed} times")),
            _ => {}
        }
        let Some(answer) = &told.stop else { continue };
        let final_word = matches!(answer.state.as_str(), "stopped" | "too_late");
        if state.is_none() || (final_word && state != Some(&answer.state)) {
            wrong.push(format!("{name} was told {}", answer.state));
        }
        let in_time = told.closes_at.is_some_and(|closes| answer.answered_at < closes);
        if in_time && answer.state != "stopped" {
            wrong.push(format!("{name} was asked before its cutoff, and told {}", answer.state));
        }
    }
    store.close().await;
    wrong
}
