//! The store as a simulated gateway sees it: each call waits for its turn, and may fail before, fail after, or be
//! the last thing that the gateway did.

use std::future::{Future, poll_fn};
use std::sync::Arc;

use jiff::Timestamp;
use stoppress::clock::Clock;
use stoppress::domain::batch::BatchFacts;
use stoppress::domain::event::Event;
use stoppress::domain::extras::{ApprovalFacts, LinkState};
use stoppress::domain::ids::{
    ApprovalId, BatchId, LabId, OrderId, PlatformId, RegionId, TransferId, WebhookId,
};
use stoppress::domain::order::OrderFacts;
use stoppress::domain::stop::StopFacts;
use stoppress::store::{
    AddressesDue, ApprovalFilter, ApprovalRow, AskGuard, BatchFilter, BatchRow, BoardRows, CallbackRow,
    Delivery, DeliveryFilter, Due, Error, EscalationFilter, EscalationRow, Evidenced, Gauges, KeyRow, LabRow,
    MailWanted, NearCutoff, OddsRow, OrderFilter, OrderRef, Pending, Place, PlatformRow, Remembered,
    ReportRow, Result, RoutesRow, Scope, ScoreRow, SessionRow, StopFilter, StopRow, Store, Stretch, Touched,
    TransferOrders, TransferPage, TransferRow, Verified, WarnedOrder, WarnedRow, WebhookFilter, WebhookRow,
    Write, Written,
};
use tokio::sync::{oneshot, watch};

use super::hub::{Hub, Pass};

/// The store of one gateway.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) replica: usize,
}

/// The words for writes in a trace.
pub(crate) fn words(writes: &[Write]) -> String {
    let word = |write: &Write| match write {
        Write::Admit(_) => "admit",
        Write::Stop(_) => "stop",
        Write::AskApproval(_) => "ask approval",
        Write::Decide(_) => "decide",
        Write::Change(_) => "change",
        Write::Replace(_) => "replace",
        Write::Report(_) => "report",
        Write::Close(_) => "close",
        Write::MoveBatch(_) => "move batch",
        Write::Claim(_) => "claim",
        Write::Settle(_) => "settle",
        Write::TakeOver(_) => "take over",
        Write::ClaimStops(_) => "claim stops",
        Write::SettleStop(_) => "settle stop",
        Write::Resolve(_) => "resolve",
        Write::SetLab(_) => "set lab",
        Write::Announce(_) => "announce",
        Write::ClaimWebhook(_) => "claim webhook",
        Write::SettleWebhook(_) => "settle webhook",
        Write::Overdue(_) => "overdue",
        Write::AskAddress(_) => "ask address",
        Write::ClaimAddresses(_) => "claim addresses",
        Write::SettleAddress(_) => "settle address",
        _ => "write",
    };
    writes.iter().map(word).collect::<Vec<_>>().join("+")
}

fn gone<T>() -> Result<T> {
    Err(Error::Unavailable("the simulation is over".to_owned()))
}

/// Makes a call as if from the runtime of all stores. What a connection leaves to be done when it is given back would
/// otherwise lie in a gateway that may not be moved for a while.
async fn beside<T>(call: impl Future<Output = T> + Send) -> T {
    let mut call = std::pin::pin!(call);
    poll_fn(|context| {
        let _within = super::stores().enter();
        call.as_mut().poll(context)
    })
    .await
}

impl Tap {
    /// Waits for the turn of a call, makes it, and lets its end be heard.
    async fn through<T>(&self, what: &str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let (ticket, pass) = self.hub.enter(self.replica, what.to_owned(), None);
        let pass = pass.await;
        match pass {
            Err(_) | Ok(Pass::Done(_)) => return gone(),
            Ok(Pass::Fail(why)) => return Err(Error::Unavailable(why.to_owned())),
            Ok(_) => {}
        }
        let out = beside(call).await;
        self.hub.comes_back(ticket).await;
        self.end(pass.unwrap_or(Pass::Go), out).await
    }

    /// What nobody has written since gives what it gave: loops look again and again for work that is not there, and
    /// most of the time of a simulation would go into asking a database for that.
    async fn known<T: Clone + Send + Sync + 'static>(
        &self,
        what: &'static str,
        at: i64,
        read: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        if self.inner.shared() {
            return read.await;
        }
        if let Some(known) = self.hub.known::<T>((what, at)) {
            return Ok(known);
        }
        let out = read.await?;
        self.hub.learns((what, at), out.clone());
        Ok(out)
    }

    async fn end<T>(&self, pass: Pass, out: Result<T>) -> Result<T> {
        match pass {
            Pass::GoThenFail => Err(Error::Unavailable("the connection broke while it committed".to_owned())),
            Pass::GoThenCrash => {
                self.hub.die(self.replica);
                std::future::pending().await
            }
            _ => out,
        }
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Written>> {
        let (ticket, pass) = self.hub.enter(self.replica, words(&writes), Some(writes.clone()));
        let (pass, followers) = match pass.await {
            Err(oneshot::error::RecvError { .. }) => return gone(),
            Ok(Pass::Done(done)) => return done,
            Ok(Pass::Fail(why)) => return Err(Error::Unavailable(why.to_owned())),
            Ok(Pass::Lead(followers)) => (Pass::Go, followers),
            Ok(pass) => (pass, Vec::new()),
        };
        let count = writes.len();
        let all: Vec<Write> =
            writes.iter().chain(followers.iter().flat_map(|other| &other.writes)).cloned().collect();
        let mut out = beside(self.inner.apply(all)).await;
        let mut answers = Vec::new();
        match &mut out {
            Ok(written) => {
                if writes.iter().any(|write| matches!(write, Write::Announce(_))) {
                    self.hub.has_said(self.replica);
                }
                let mut rest = written.split_off(count).into_iter();
                answers.extend(
                    followers.iter().map(|other| Ok(rest.by_ref().take(other.writes.len()).collect())),
                );
            }
            Err(_) if followers.is_empty() => {}
            // A set that fails as a whole is replayed caller by caller.
            Err(_) => {
                out = beside(self.inner.apply(writes)).await;
                for other in &followers {
                    answers.push(beside(self.inner.apply(other.writes.clone())).await);
                }
            }
        }
        for other in &followers {
            self.hub.left(other.ticket);
        }
        self.hub.comes_back(ticket).await;
        self.hub.forgets();
        for (other, answer) in std::iter::zip(followers, answers) {
            let _ = other.answer.send(Pass::Done(answer));
        }
        self.end(pass, out).await
    }
}

/// Reads that are made so often that what they gave is kept until something is written.
macro_rules! looks {
    ($($name:ident($($arg:ident: $type:ty),*; $at:expr) -> $out:ty;)*) => {$(
        fn $name(&self, $($arg: $type),*) -> Pending<'_, Result<$out>> {
            let read = self.known(stringify!($name), $at, self.inner.$name($($arg),*));
            Box::pin(self.through(stringify!($name), read))
        }
    )*};
}

macro_rules! reads {
    ($name:ident<$life:lifetime>($($arg:ident: $type:ty),*) -> $out:ty; $($rest:tt)*) => {
        fn $name<$life>(&$life self, $($arg: $type),*) -> Pending<$life, Result<$out>> {
            Box::pin(self.through(stringify!($name), self.inner.$name($($arg),*)))
        }
        reads! { $($rest)* }
    };
    ($name:ident($($arg:ident: $type:ty),*) -> $out:ty; $($rest:tt)*) => {
        fn $name(&self, $($arg: $type),*) -> Pending<'_, Result<$out>> {
            Box::pin(self.through(stringify!($name), self.inner.$name($($arg),*)))
        }
        reads! { $($rest)* }
    };
    () => {};
}

impl Store for Tap {
    fn apply(&self, writes: Vec<Write>) -> Pending<'_, Result<Vec<Written>>> {
        Box::pin(self.write(writes))
    }

    fn asking(&self, clock: &dyn Clock) -> AskGuard {
        self.inner.asking(clock)
    }

    fn shared(&self) -> bool {
        self.inner.shared()
    }

    fn clear_until(&self, clock: &dyn Clock) -> Timestamp {
        self.inner.clear_until(clock)
    }

    fn commits(&self) -> watch::Receiver<u64> {
        if self.inner.shared() { self.inner.commits() } else { self.hub.commits() }
    }

    fn close(&self) -> Pending<'_, ()> {
        self.inner.close()
    }

    looks! {
        due(now: Timestamp; now.as_microsecond()) -> Due;
        labs(; 0) -> Vec<LabRow>;
        approval_next(; 0) -> Option<Timestamp>;
        addresses_due(now: Timestamp; now.as_microsecond()) -> AddressesDue;
    }

    fn to_join<'a>(
        &'a self,
        after: Option<&'a OrderId>,
        limit: i64,
    ) -> Pending<'a, Result<Vec<(OrderId, LinkState)>>> {
        let read = self.inner.to_join(after, limit);
        if after.is_some() {
            return Box::pin(self.through("to_join", read));
        }
        let read = self.known("to_join", limit, read);
        Box::pin(self.through("to_join", read))
    }

    reads! {
        orders<'a>(scope: &'a Scope, which: &'a [OrderRef]) -> Vec<Option<OrderFacts>>;
        list_orders<'a>(scope: &'a Scope, filter: &'a OrderFilter) -> Vec<OrderFacts>;
        changelog<'a>(scope: &'a Scope, order: &'a OrderId) -> Option<Vec<Event>>;
        evidence<'a>(scope: &'a Scope, order: &'a OrderId) -> Option<Evidenced>;
        events(after: i64, limit: i64) -> Vec<Event>;
        stretch<'a>(scope: &'a Scope, after: i64, limit: i64) -> Stretch;
        log_end() -> i64;
        log_at(at: Timestamp) -> i64;
        touched(after: i64) -> Touched;
        board<'a>(labs: &'a [LabId]) -> BoardRows;
        warnings_due<'a>(near: &'a [NearCutoff]) -> Vec<Place>;
        warned<'a>(labs: &'a [LabId], now: Timestamp) -> Vec<WarnedRow>;
        warned_orders<'a>(lab: &'a LabId, now: Timestamp, limit: i64) -> Vec<WarnedOrder>;
        log<'a>(subjects: &'a [&'a str]) -> Vec<Event>;
        scorecard<'a>(lab: &'a LabId, since: Timestamp) -> ScoreRow;
        by_reference<'a>(platforms: &'a [PlatformId], reference: &'a str, limit: i64) -> Vec<OrderFacts>;
        batches<'a>(scope: &'a Scope, filter: &'a BatchFilter) -> Vec<BatchRow>;
        open_batches<'a>(lab: &'a LabId) -> Vec<BatchFacts>;
        open_windows() -> Vec<BatchFacts>;
        transfers<'a>(batch: &'a BatchId) -> Vec<TransferRow>;
        transfer_page<'a>(batch: &'a BatchId, after: Option<&'a TransferId>, limit: i64) -> TransferPage;
        transfer_orders<'a>(transfers: &'a [&'a str], limit: i64) -> Vec<TransferOrders>;
        stops<'a>(scope: &'a Scope, filter: &'a StopFilter) -> Vec<StopRow>;
        escalations<'a>(scope: &'a Scope, filter: &'a EscalationFilter) -> Vec<EscalationRow>;
        line_stops<'a>(order: &'a OrderId) -> Vec<StopFacts>;
        reports<'a>(order: &'a OrderId) -> Vec<ReportRow>;
        contradictions<'a>(subjects: &'a [String]) -> Vec<EscalationRow>;
        not_imported<'a>(batch: &'a BatchId, after: &'a str, limit: i64) -> Vec<OrderId>;
        stray_imports<'a>(lab: &'a LabId, since: Timestamp, limit: i64) -> Vec<OrderId>;
        list_approvals<'a>(scope: &'a Scope, filter: &'a ApprovalFilter) -> Vec<ApprovalRow>;
        approval_of<'a>(id: &'a ApprovalId) -> Option<ApprovalFacts>;
        platforms() -> Vec<PlatformRow>;
        routes() -> Vec<RoutesRow>;
        keys() -> Vec<KeyRow>;
        session<'a>(id: &'a str) -> Option<SessionRow>;
        sign_in_key<'a>(id: &'a str, at: Timestamp) -> Option<String>;
        remembered<'a>(scope: &'a str, key: &'a str) -> Option<Remembered>;
        mail_wanted<'a>(labs: &'a [LabId], limit: i64) -> Vec<MailWanted>;
        mail_next() -> Option<Timestamp>;
        link_key() -> Option<secrecy::SecretString>;
        customer_keys() -> Vec<(i64, secrecy::SecretString)>;
        link_serial<'a>(order: &'a OrderId) -> u32;
        calendar_serial<'a>(lab: &'a LabId, region: &'a RegionId) -> u32;
        odds<'a>(lab: &'a LabId, elapsed_us: i64) -> OddsRow;
        deadlines(now: Timestamp) -> [Option<Timestamp>; 2];
        gauges(now: Timestamp) -> Gauges;
        webhook<'a>(id: &'a WebhookId, platform: Option<&'a PlatformId>) -> Option<WebhookRow>;
        webhooks<'a>(filter: &'a WebhookFilter) -> Vec<WebhookRow>;
        deliveries<'a>(id: &'a WebhookId, filter: &'a DeliveryFilter) -> Vec<Delivery>;
        download_next() -> Option<Timestamp>;
        download_callback<'a>(platform: &'a PlatformId) -> Option<CallbackRow>;
        ping() -> ();
        verify_events() -> Verified;
    }
}
