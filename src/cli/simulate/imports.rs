//! The simulated lab's first phase: it holds what is sent ahead, or does what it must not.

use std::io;

use serde::{Deserialize, Serialize};

use super::House;
use super::ledger::{Job, Ledger, Submitted, What};
use crate::domain::batch::later;

/// What the lab does with orders that are sent ahead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Imports {
    /// It holds them, and prints only what is handed over.
    #[default]
    Holds,
    /// It has no such operation.
    No,
    /// It holds them, and gives them another reference each time.
    Renames,
    /// It holds them, and cannot forget them.
    Keeps,
    /// It prints them, as if they had been handed over.
    Prints,
    /// It prints what was handed over, and once more what it held of it.
    Doubles,
    /// It refuses to be handed over what it was told that is not coming.
    Refuses,
}

/// What came of an order that was sent ahead, or of taking it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    /// Done; under this reference.
    Done(String),
    /// The lab has no such operation.
    NotTaken,
}

/// What the lab calls an order that it holds.
fn reference(order: &str, times: usize) -> String {
    let tail = order.get(order.len().saturating_sub(8)..).unwrap_or(order);
    let again = if times == 0 { String::new() } else { format!("-{times}") };
    format!("HELD-{tail}{again}")
}

impl House {
    /// Holds an order that is sent ahead.
    pub(super) async fn hold(&self, job: Job) -> io::Result<Held> {
        let held = self.on_ledger(move |ledger, now, how| {
            if how.imports == Imports::No {
                return Ok(Held::NotTaken);
            }
            let order = job.order.clone();
            let before = |entry: &&super::ledger::Entry| matches!(&entry.what, What::Held { order: held } if *held == order);
            let times = ledger.entries().iter().filter(before).count();
            let told = reference(&order, if how.imports == Imports::Renames { times } else { 0 });
            // What was handed over is not held any more.
            if !ledger.has(&order) {
                ledger.line(now, What::Held { order: order.clone() })?;
                if how.imports == Imports::Prints {
                    let (key, prints_at) = (format!("import-{order}"), later(now, how.prints_after.0));
                    let (transfer, sha256) = (String::new(), String::new());
                    let (begins_at, ships_at) = (None, None);
                    let orders = vec![job];
                    let what = What::Received { transfer, key, sha256, orders, prints_at, begins_at, ships_at };
                    ledger.line(now, what)?;
                }
            }
            Ok(Held::Done(told))
        });
        let held = held.await;
        self.taken.send_modify(|count| *count += 1);
        held
    }

    /// Forgets an order that is not coming.
    pub(super) async fn discard(&self, order: String) -> io::Result<Held> {
        self.on_ledger(move |ledger, now, how| {
            if matches!(how.imports, Imports::No | Imports::Keeps) {
                return Ok(Held::NotTaken);
            }
            ledger.line(now, What::Discarded { order })?;
            Ok(Held::Done(String::new()))
        })
        .await
    }
}

/// What of an upload is printed once more, because it was held.
pub(super) fn copies(ledger: &Ledger, upload: &Submitted, imports: Imports) -> Vec<Job> {
    let held = |job: &&Job| imports == Imports::Doubles && ledger.held().contains(&job.order);
    upload.orders.iter().filter(held).cloned().collect()
}

/// Whether an upload has an order that the lab was told is not coming, and takes that for good.
pub(super) fn unwanted(ledger: &Ledger, upload: &Submitted, imports: Imports) -> bool {
    let told = |job: &Job| {
        let gone = |entry: &super::ledger::Entry| matches!(&entry.what, What::Discarded { order } if *order == job.order);
        ledger.entries().iter().any(gone)
    };
    imports == Imports::Refuses && upload.orders.iter().any(told)
}
