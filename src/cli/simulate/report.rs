//! What a simulated lab reports by itself over its links: what is in production, printed and shipped, as its
//! ledger moves. Whatever has no receipt is told again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::sync::watch;

use super::House;
use super::ledger::Ledger;
use crate::clock::{Clock as _, HostClock};
use crate::domain::batch::later;
use crate::domain::order::Stage;
use crate::domain::retry;

/// Orders of which is told at the same time.
const AT_ONCE: usize = 16;
/// From this try on, the pauses do not grow any more.
const TRIES: i64 = 5;

/// How far the gateway was told.
pub(super) struct Reported {
    on: AtomicBool,
    /// So many lines of the ledger, from the first.
    lines: AtomicUsize,
    moved: watch::Sender<()>,
}

impl Default for Reported {
    fn default() -> Self {
        Self { on: AtomicBool::new(false), lines: AtomicUsize::new(0), moved: watch::Sender::new(()) }
    }
}

impl Reported {
    /// Begins to report; false if it was begun before.
    pub(super) fn begins(&self) -> bool {
        !self.on.swap(true, Ordering::Relaxed)
    }

    /// The ledger may have moved.
    pub(super) fn ring(&self) {
        self.moved.send_replace(());
    }

    /// Whether something that is so at `now` was not told yet.
    pub(super) fn owes(&self, ledger: &mut Ledger, now: Timestamp) -> bool {
        if !self.on.load(Ordering::Relaxed) {
            return false;
        }
        // If the file cannot be written the ledger shows what is on disk.
        let _ = ledger.catch_up(now);
        let told = self.lines.load(Ordering::Relaxed);
        ledger.entries().iter().skip(told).any(|line| line.stage().is_some())
    }
}

/// What is to be told of each order, in its order, and how many lines that covers.
fn news(house: &House) -> (BTreeMap<String, Vec<(Stage, Timestamp)>>, usize) {
    let ledger = super::lock(&house.ledger);
    let mut news: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in ledger.entries().iter().skip(house.reported.lines.load(Ordering::Relaxed)) {
        if let Some((order, stage)) = line.stage() {
            news.entry(order.to_owned()).or_default().push((stage, line.at));
        }
    }
    (news, ledger.entries().len())
}

/// Reports until the house closes.
pub(super) async fn keep(house: Arc<House>) {
    let mut moved = house.reported.moved.subscribe();
    let telling = async {
        loop {
            moved.mark_unchanged();
            let (news, lines) = news(&house);
            let all = futures_util::stream::iter(news).map(|(order, stages)| tell(&house, order, stages));
            all.buffer_unordered(AT_ONCE).collect::<()>().await;
            house.reported.lines.store(lines, Ordering::Relaxed);
            if moved.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = house.closing.cancelled() => {}
        () = telling => {}
    }
}

async fn tell(house: &House, order: String, stages: Vec<(Stage, Timestamp)>) {
    for (stage, at) in stages {
        let mut attempt = 1;
        while !house.lines.report(&order, stage, at).await {
            let wait = retry::delay(attempt, None, &*house.random);
            attempt = TRIES.min(attempt + 1);
            HostClock.sleep_until(later(HostClock.now(), wait)).await;
        }
    }
}
