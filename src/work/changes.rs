//! Watches what changes of orders leave open: merchants who are to decide, and orders that wait to take the place of
//! others.
//!
//! Both are decided elsewhere, in one transaction each. Here ops are called when a merchant's time is over, and an
//! order that was released gets its window: the store that releases it knows no calendar.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Bench, Step};
use crate::domain::batch::{Joining, later};
use crate::domain::event::Actor;
use crate::domain::extras::LinkState;
use crate::domain::ids::{EscalationId, HoldId, OrderId};
use crate::domain::order::OrderFacts;
use crate::store::{
    Change, ChangeKind, Changed, CloseFull, Error, OrderRef, Overdue, Result, Scope, Write, Written, one,
};

/// The loop's name.
pub const NAME: &str = "changes";
/// How many are taken in one step.
const SET: usize = 50;
/// How often an order may find its window closed in one step.
const TRIES: usize = 5;
/// When an order whose window could not be found is looked at again.
const AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// Finds the window that an order joins as of an instant; `None` if its lab has none. Beside it, how many orders make
/// a batch of that place full, if it says so.
pub type Windows = Arc<dyn Fn(&OrderFacts, Timestamp) -> Option<(Joining, Option<u32>)> + Send + Sync>;

/// The loop that watches.
#[derive(Clone)]
pub struct Changes {
    bench: Bench,
    windows: Windows,
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Changes")
    }
}

impl Changes {
    /// The loop.
    #[must_use]
    pub fn new(bench: Bench, windows: Windows) -> Self {
        Self { bench, windows }
    }

    /// Gives orders that were released their windows. Those that find none are passed over, however many they are:
    /// whoever comes behind them has nothing to do with theirs.
    async fn join_all(&self) -> Result<Joined> {
        let bench = &self.bench;
        let (mut after, mut joined, mut left) = (None, 0, 0);
        let mut waits = false;
        loop {
            let open = bench.store.to_join(after.as_ref(), SET as i64).await?;
            waits |= open.iter().any(|(_, state)| *state == LinkState::Waiting);
            let whole = waits || open.len() < SET;
            for (order, _) in open.into_iter().filter(|(_, state)| *state == LinkState::Released) {
                match self.join(&order).await {
                    Ok(true) => {
                        bench.bells.nudge(super::close::NAME);
                        joined += 1;
                    }
                    Ok(false) => left += 1,
                    Err(error @ Error::Corrupt { .. }) => {
                        tracing::error!(%order, %error, "an order that was released cannot be read");
                        left += 1;
                    }
                    Err(error) => return Err(error),
                }
                after = Some(order);
            }
            let more = !whole && joined >= SET;
            if whole || more {
                if whole {
                    bench.bells.set_orders_wait(waits);
                }
                if left > 0 {
                    tracing::warn!(orders = left, "orders that were released find no window");
                }
                return Ok(Joined { left: left > 0, more });
            }
        }
    }

    /// Gives an order that was released its window. False if it has none yet.
    async fn join(&self, order: &OrderId) -> Result<bool> {
        let bench = &self.bench;
        let which = [OrderRef::Id(order.clone())];
        let Some(facts) = bench.store.orders(&Scope::Ops, &which).await?.pop().flatten() else {
            return Ok(false);
        };
        let mut from = bench.clock.now();
        for _ in 0..TRIES {
            let now = bench.clock.now();
            let Some((join, size)) = (self.windows)(&facts, from.max(now)) else {
                tracing::debug!(%order, "an order that was released finds no window");
                return Ok(false);
            };
            from = if join.direct { now } else { join.closes_at };
            let change = Change {
                order: order.clone(),
                scope: Scope::Ops,
                kind: ChangeKind::Rejoin,
                hold: HoldId::new(now, &*bench.random),
                join: Some(join),
                if_version: None,
                at: now,
                actor: Actor::gateway(),
                reason: None,
            };
            let changed = one(&*bench.store, Write::Change(Box::new(change))).await?;
            if matches!(changed, Written::Changed(Changed::WindowClosed)) {
                continue;
            }
            if let Some(size) = size {
                self.close_if_full(&which, size).await?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Closes the window that an order has joined before its cutoff, if it promised nothing and is full.
    async fn close_if_full(&self, which: &[OrderRef], size: u32) -> Result<()> {
        let bench = &self.bench;
        let facts = bench.store.orders(&Scope::Ops, which).await?.pop().flatten();
        let batch = facts.and_then(|facts| facts.batch).filter(|batch| !batch.promised && !batch.direct);
        let Some(batch) = batch else { return Ok(()) };
        let full = CloseFull { batch: batch.id, orders: size.into(), at: bench.clock.now() };
        if let Written::Closed(closed) = one(&*bench.store, Write::CloseFull(Box::new(full))).await?
            && !closed.is_empty()
        {
            bench.bells.nudge(super::transfer::NAME);
        }
        Ok(())
    }
}

/// What came of giving orders their windows.
struct Joined {
    /// Whether any found none.
    left: bool,
    /// Whether there may be more that find one.
    more: bool,
}

impl Step for Changes {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn tick(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let bench = &self.bench;
        let mut wake = bench.store.approval_next().await?;
        while wake.is_some_and(|due| due <= now) {
            let escalations = (0..SET).map(|_| EscalationId::new(now, &*bench.random)).collect();
            one(&*bench.store, Write::Overdue(Overdue { now, escalations })).await?;
            let next = bench.store.approval_next().await?;
            if next == wake {
                // Another gateway is at it.
                wake = Some(later(now, SignedDuration::from_secs(1)));
                break;
            }
            wake = next;
        }
        let joined = self.join_all().await?;
        let again = joined.left.then(|| later(now, AGAIN));
        let more = joined.more.then(|| later(now, SignedDuration::from_millis(20)));
        Ok(wake.into_iter().chain(again).chain(more).min())
    }
}
