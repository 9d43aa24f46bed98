//! What is done to the database while gateways are killed: its primary ends and its standby takes over, its primary ends
//! and comes back, its standby is away for a while; as a seed says.
//!
//! Whoever decides here does as an operator's tools do. The standby takes over only if commits waited for it all the
//! time. The address leads to one server, never to two. Between a take-over and the new standby, commits wait for nobody
//! (as Patroni has it) or for the standby that is still being made (its strict mode), one or the other as drawn.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sqlx::{Executor as _, PgConnection, Row as _};
use stoppress::clock::{Clock as _, HostClock};

use super::gateways::Draw;
use super::pair::{End, Pair, Server, WITHIN};
use super::pause;

/// What can be done; all of it before anything is done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// The primary ends, the standby takes over.
    TakeOver,
    /// The same, and the old primary comes back as a primary while the new one is at work.
    TwoPrimaries,
    /// The standby is away, so that commits wait; then the primary ends, and the standby takes over without them.
    TakeOverBehind,
    /// The primary ends and is started again.
    Restart,
    /// The standby is away for a while.
    Alone,
}

const HARMS: [Harm; 5] =
    [Harm::TakeOver, Harm::TwoPrimaries, Harm::TakeOverBehind, Harm::Restart, Harm::Alone];

/// How long a take-over lasted, from the end of the primary.
#[derive(Debug, Clone, Copy)]
struct Without {
    /// Until the address led to the new primary.
    served: SignedDuration,
    /// Until it had the first commit of a gateway.
    committed: SignedDuration,
    /// Until the next standby had everything.
    followed: SignedDuration,
    /// Whether commits waited for that.
    strict: bool,
}

impl Without {
    fn words(self) -> String {
        let [served, committed, followed] =
            [self.served, self.committed, self.followed].map(|time| time.as_secs_f64());
        let strict = if self.strict { ", for which commits waited" } else { "" };
        format!("server after {served:.1} s, commit {committed:.1} s, standby {followed:.1} s{strict}")
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    how: BTreeMap<String, u64>,
    without: Vec<Without>,
    /// Transactions that waited for a standby, were never answered, and were lost.
    lost: u64,
    /// What must not be.
    pub(crate) wrong: Vec<String>,
}

impl Figures {
    /// In words.
    pub(crate) fn words(&self) -> String {
        let how: Vec<_> = self.how.iter().map(|(how, count)| format!("{count} {how}")).collect();
        let without: Vec<_> = self.without.iter().map(|one| one.words()).collect();
        format!(
            "{}; {} transactions that waited for a standby were lost, unanswered; {} take-overs: {}",
            how.join(", "),
            self.lost,
            without.len(),
            without.join("; ")
        )
    }
}

/// Whoever does it.
pub(crate) struct Operator {
    pub(crate) pair: Pair,
    draw: Draw,
    figures: Figures,
}

impl Operator {
    pub(crate) fn new(pair: Pair, draw: Draw) -> Self {
        Self { pair, draw, figures: Figures::default() }
    }

    /// Does one thing every few lives that end, until it is over; leaves both servers at work.
    pub(crate) async fn rage(mut self, ended: Arc<AtomicU64>, over: Arc<AtomicBool>) -> (Pair, Figures) {
        let mut left: Vec<Harm> = Vec::new();
        let mut next = 2 + self.draw.below(4);
        loop {
            if ended.load(Ordering::Acquire) < next {
                // However short the run: the standby has taken over.
                if over.load(Ordering::Acquire) && !self.figures.without.is_empty() {
                    return (self.pair, self.figures);
                }
                if !over.load(Ordering::Acquire) {
                    pause(50).await;
                    continue;
                }
            }
            next = ended.load(Ordering::Acquire) + 5 + self.draw.below(7);
            if left.is_empty() {
                left.extend(HARMS);
            }
            // The first is one that every run needs.
            let first = self.figures.how.is_empty();
            let at = if first { 0 } else { self.draw.below(left.len() as u64) as usize };
            let harm = left.remove(at);
            *self.figures.how.entry(format!("{harm:?}")).or_default() += 1;
            self.harm(harm).await;
        }
    }

    async fn harm(&mut self, harm: Harm) {
        let how = if self.draw.below(2) == 0 { End::Killed } else { End::Immediate };
        let while_away = 500 + self.draw.below(4_000) as i64;
        match harm {
            Harm::Restart => {
                self.pair.primary.end(how);
                pause(while_away / 4).await;
                self.pair.start_primary().await;
                // Until the standby has all of it again, it must not take over: what was waiting for it is seen here now.
                self.pair.attached().await;
            }
            Harm::Alone => {
                self.pair.standby.end(how);
                pause(while_away).await;
                self.pair.start_standby().await;
                self.pair.attached().await;
            }
            Harm::TakeOver => self.take_over(how, false).await,
            Harm::TwoPrimaries => self.take_over(how, true).await,
            Harm::TakeOverBehind => {
                self.pair.standby.end(End::Killed);
                pause(while_away).await;
                self.take_over(how, false).await;
            }
        }
    }

    async fn take_over(&mut self, how: End, comes_back: bool) {
        let (strict, cut_first) = (self.draw.below(2) == 0, self.draw.below(2) == 0);
        let seen = log(&self.pair, &self.pair.primary).await;
        let from = HostClock.now();
        if cut_first {
            self.pair.relay.cut();
        }
        let waiting = waiting(&self.pair).await;
        self.pair.primary.end(how);
        self.pair.relay.cut();
        if !self.pair.standby.runs() {
            self.figures.lost += waiting;
            self.pair.start_standby().await;
        }
        let mut old = self.pair.promote(strict).await;
        // Whoever could see an entry can have told of it.
        let now = log(&self.pair, &self.pair.primary).await;
        let gone = seen.iter().filter(|(seq, hash)| now.get(seq) != Some(hash)).count();
        if gone > 0 {
            self.figures.wrong.push(format!("{gone} of {} entries of the log are lost", seen.len()));
        }
        let last = now.keys().max().copied().unwrap_or_default();
        self.pair.relay.lead(&self.pair.primary.folder);
        let served = HostClock.now().duration_since(from);
        let admin = self.pair.connect(&self.pair.primary).await.unwrap();
        let committed = tokio::spawn(next_commit(admin, last));
        if comes_back {
            let wrong = two_primaries(&self.pair, &mut old).await;
            self.figures.wrong.extend(wrong);
        }
        old.remove();
        self.pair.attach().await;
        let followed = HostClock.now().duration_since(from);
        let committed = committed.await.unwrap().duration_since(from);
        self.figures.without.push(Without { served, committed, followed, strict });
    }
}

/// The log as whoever asks there sees it: its numbers and hashes.
async fn log(pair: &Pair, server: &Server) -> HashMap<i64, String> {
    let mut admin = pair.connect(server).await.unwrap();
    let rows = admin.fetch_all("select seq, hash from events").await.unwrap();
    rows.into_iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// When something is committed after this entry of the log.
async fn next_commit(mut admin: PgConnection, last: i64) -> Timestamp {
    let until = HostClock.now() + WITHIN;
    loop {
        let row = admin.fetch_one("select coalesce(max(seq), 0) from events").await.unwrap();
        let now = HostClock.now();
        if row.get::<i64, _>(0) > last {
            return now;
        }
        assert!(now < until, "no commit after a take-over");
        pause(50).await;
    }
}

/// How many transactions of gateways wait for the standby.
async fn waiting(pair: &Pair) -> u64 {
    let mut admin = pair.connect(&pair.primary).await.unwrap();
    let waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
    admin.fetch_one(waiting).await.unwrap().get::<i64, _>(0).cast_unsigned()
}

/// The old primary is there again, as a primary, where it was. Nobody is led to it; and since its commits still wait for
/// the standby that has left it, whoever found it otherwise would get no answer.
async fn two_primaries(pair: &Pair, old: &mut Server) -> Vec<String> {
    let mut wrong = Vec::new();
    pair.start(old).await;
    let mut admin = pair.connect(old).await.unwrap();
    let state = "select pg_is_in_recovery(), (select coalesce(max(seq), 0) from events),
        (select count(*) from pg_stat_activity where application_name = 'stoppress')";
    let before = admin.fetch_one(state).await.unwrap();
    assert!(!before.get::<bool, _>(0), "it is a primary");
    let mut other = pair.connect(old).await.unwrap();
    let write = other.execute("update labs set updated_at = updated_at");
    if tokio::time::timeout(Duration::from_secs(2), write).await.is_ok() {
        wrong.push("the old primary has acknowledged a commit".to_owned());
    }
    let after = admin.fetch_one(state).await.unwrap();
    if after.get::<i64, _>(1) != before.get::<i64, _>(1) || after.get::<i64, _>(2) > 0 {
        wrong.push("gateways were at the old primary".to_owned());
    }
    old.end(End::Immediate);
    wrong
}
