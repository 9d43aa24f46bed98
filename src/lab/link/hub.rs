//! The connections of labs to this gateway, and the calls that are out on them.
//!
//! A call takes a place first, on the connection that has the fewest calls out; only then is anything
//! said to it. What was never put into a connection's outbox was certainly not delivered. From there on
//! nobody knows, until the answer comes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::domain::health::LinksHealth;
use crate::domain::ids::LabId;
use crate::proto::ConnectResponse;
use crate::proto::connect_request::reply::Said;
use crate::proto::connect_response::call::Ask;
use crate::proto::connect_response::{Call, Kind};

/// The largest window of a connection.
pub(super) const WINDOW_MAX: u32 = 256;
/// What waits to be written to one connection: its calls, receipts, a beat and a good-bye. A place costs
/// nothing while it is empty.
pub(super) const OUTBOX: usize = WINDOW_MAX as usize + 64;
/// The most connections of one lab.
const LINKS_MAX: usize = 256;

/// What goes out on a connection; boxed, so that an empty queue is small.
pub(super) type Frame = Result<Box<ConnectResponse>, Box<tonic::Status>>;

/// Told that a lab came, went, or takes more calls.
type Changed = Box<dyn Fn(&LabId) + Send + Sync>;

/// What is known of a lab that has dialled; kept when it is gone.
#[derive(Default)]
struct Known {
    links: Vec<Arc<Link>>,
    /// Since when there is a connection, or none.
    since: Option<Timestamp>,
    /// When it was last heard on a connection that is gone.
    heard_at: Option<Timestamp>,
}

#[derive(Default)]
struct Inner {
    labs: Mutex<HashMap<LabId, Known>>,
    changed: OnceLock<Changed>,
    /// Rings when there may be room.
    room: Notify,
}

impl Known {
    fn window(&self) -> u32 {
        self.links.iter().map(|link| link.window()).sum()
    }
}

/// All connections of labs to this gateway. Clones share them.
#[derive(Clone, Default)]
pub struct Hub(Arc<Inner>);

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("labs", &self.labs().len()).finish_non_exhaustive()
    }
}

impl Hub {
    /// Says whom to tell that a lab came, went, or takes more calls. Only the first one is told.
    pub fn on_change(&self, tell: impl Fn(&LabId) + Send + Sync + 'static) {
        let _ = self.0.changed.set(Box::new(tell));
    }

    /// How many calls a lab takes at a time, over all its connections to this gateway.
    #[must_use]
    pub fn window(&self, lab: &LabId) -> u32 {
        self.labs().get(lab).map_or(0, Known::window)
    }

    /// How many connections a lab has to this gateway.
    #[must_use]
    pub fn connections(&self, lab: &LabId) -> usize {
        self.labs().get(lab).map_or(0, |known| known.links.len())
    }

    /// How the connections of a lab to this gateway stand.
    #[must_use]
    pub fn health(&self, lab: &LabId) -> LinksHealth {
        let labs = self.labs();
        let Some(known) = labs.get(lab) else { return LinksHealth::default() };
        LinksHealth {
            connections: u32::try_from(known.links.len()).unwrap_or(u32::MAX),
            window: known.window(),
            since: known.since,
            last_heard_at: known.links.iter().map(|link| link.heard_at()).max().max(known.heard_at),
        }
    }

    /// Whether no lab is connected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labs().values().all(|known| known.links.is_empty())
    }

    fn labs(&self) -> MutexGuard<'_, HashMap<LabId, Known>> {
        // A list of connections stays whole whatever a panicking holder did.
        self.0.labs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection; false if its lab has too many.
    pub(super) fn add(&self, link: &Arc<Link>) -> bool {
        let count = {
            let mut labs = self.labs();
            let known = labs.entry(link.lab.clone()).or_default();
            if known.links.len() >= LINKS_MAX {
                return false;
            }
            if known.links.is_empty() {
                known.since = Some(link.heard_at());
            }
            known.links.push(Arc::clone(link));
            known.links.len()
        };
        gauge(&link.lab, count);
        self.changed(&link.lab);
        true
    }

    /// Takes a connection away. The calls that are out on it will have no answer.
    pub(super) fn remove(&self, link: &Arc<Link>, now: Timestamp) {
        link.close();
        let count = {
            let mut labs = self.labs();
            let Some(known) = labs.get_mut(&link.lab) else { return };
            known.links.retain(|other| !Arc::ptr_eq(other, link));
            known.heard_at = known.heard_at.max(Some(link.heard_at()));
            if known.links.is_empty() {
                known.since = Some(now);
            }
            known.links.len()
        };
        gauge(&link.lab, count);
        self.changed(&link.lab);
    }

    /// Tells that there may be more, or less, room for a lab's calls.
    pub(super) fn changed(&self, lab: &LabId) {
        self.0.room.notify_waiters();
        if let Some(tell) = self.0.changed.get() {
            tell(lab);
        }
    }

    /// A place for one call, on the connection with the fewest calls out; waits a little for one.
    pub(super) async fn place(&self, lab: &LabId, within: Duration) -> Option<Place> {
        let waiting = async {
            loop {
                let room = self.0.room.notified();
                tokio::pin!(room);
                room.as_mut().enable();
                match self.free(lab) {
                    Ok(place) => return Some(place),
                    Err(false) => return None,
                    Err(true) => room.await,
                }
            }
        };
        tokio::time::timeout(within, waiting).await.ok().flatten()
    }

    /// A place that is free now; else whether there is a connection at all.
    fn free(&self, lab: &LabId) -> Result<Place, bool> {
        let labs = self.labs();
        let links = labs.get(lab).map(|known| known.links.as_slice()).unwrap_or_default();
        let mut by_load: Vec<_> = links.iter().filter_map(|link| Some((link.load()?, link))).collect();
        by_load.sort_by_key(|(load, _)| *load);
        let taken = by_load.into_iter().find_map(|(_, link)| Some((link.take()?, link)));
        let Some(((call, heard), link)) = taken else { return Err(!links.is_empty()) };
        Ok(Place { hub: self.clone(), link: Arc::clone(link), call, heard })
    }
}

fn gauge(lab: &LabId, count: usize) {
    metrics::gauge!("stoppress_links", "lab" => lab.to_string()).set(count as f64);
}

#[derive(Default)]
struct State {
    window: u32,
    /// The number of the last call.
    last: u64,
    out: HashMap<u64, oneshot::Sender<Option<Said>>>,
    /// Nothing more is asked on it.
    leaving: bool,
}

/// One connection.
pub(super) struct Link {
    lab: LabId,
    outbox: mpsc::Sender<Frame>,
    state: Mutex<State>,
    /// When the lab was last heard on it, in microseconds.
    heard_at: AtomicI64,
}

impl Link {
    pub(super) fn new(lab: LabId, outbox: mpsc::Sender<Frame>, window: u32, now: Timestamp) -> Arc<Self> {
        let state = State { window: window.min(WINDOW_MAX), ..State::default() };
        Arc::new(Self { lab, outbox, state: Mutex::new(state), heard_at: now.as_microsecond().into() })
    }

    /// The lab said something.
    pub(super) fn heard(&self, now: Timestamp) {
        self.heard_at.store(now.as_microsecond(), Ordering::Relaxed);
    }

    fn heard_at(&self) -> Timestamp {
        Timestamp::from_microsecond(self.heard_at.load(Ordering::Relaxed)).unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn window(&self) -> u32 {
        let state = self.state();
        if state.leaving { 0 } else { state.window }
    }

    /// What orders connections: the calls that are out, then all that were ever asked; `None` if there
    /// is no room.
    fn load(&self) -> Option<(usize, u64)> {
        let state = self.state();
        let room = !state.leaving && state.out.len() < state.window as usize;
        room.then_some((state.out.len(), state.last))
    }

    /// Takes a place, if there is still one.
    fn take(&self) -> Option<(u64, oneshot::Receiver<Option<Said>>)> {
        let mut state = self.state();
        if state.leaving || state.out.len() >= state.window as usize {
            return None;
        }
        state.last += 1;
        let call = state.last;
        let (tell, heard) = oneshot::channel();
        state.out.insert(call, tell);
        Some((call, heard))
    }

    /// Another window.
    pub(super) fn set_window(&self, window: u32) {
        self.state().window = window.min(WINDOW_MAX);
    }

    /// Gives an answer to whoever waits for it; false if nobody does.
    pub(super) fn hear(&self, call: u64, said: Option<Said>) -> bool {
        let tell = self.state().out.remove(&call);
        tell.is_some_and(|tell| tell.send(said).is_ok())
    }

    /// Nothing more is asked; what is out may still be answered.
    pub(super) fn leave(&self) {
        self.state().leaving = true;
    }

    /// Whether no call is out.
    pub(super) fn is_idle(&self) -> bool {
        self.state().out.is_empty()
    }

    /// The connection is gone: nothing that is out on it will be answered.
    fn close(&self) {
        let mut state = self.state();
        state.leaving = true;
        state.out.clear();
    }

    /// Puts a call into the outbox. Under the lock that [`Link::close`] takes, so that nothing is ever
    /// queued on a connection that has ended.
    fn say(&self, call: Call) -> Result<(), &'static str> {
        let state = self.state();
        if state.leaving || !state.out.contains_key(&call.call) {
            return Err("the connection ended before the call was put on it");
        }
        let frame = ConnectResponse { kind: Some(Kind::Call(call)) };
        self.outbox.try_send(Ok(Box::new(frame))).map_err(|_| "nothing can be put on the connection")
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// It was never put on a connection.
    NotSaid(&'static str),
    /// It was, and what came of it nobody knows.
    Unclear(&'static str),
}

/// The right to one call on one connection. Dropping it gives the place back.
pub(super) struct Place {
    hub: Hub,
    link: Arc<Link>,
    call: u64,
    heard: oneshot::Receiver<Option<Said>>,
}

impl Place {
    /// Makes the call.
    pub(super) async fn ask(mut self, ask: Ask, within: Duration) -> Result<Said, Silence> {
        let answer_within = prost_types::Duration::try_from(within).ok();
        let call = Call { call: self.call, answer_within, ask: Some(ask) };
        self.link.say(call).map_err(Silence::NotSaid)?;
        match tokio::time::timeout(within, &mut self.heard).await {
            Ok(Ok(Some(said))) => Ok(said),
            Ok(Ok(None)) => Err(Silence::Unclear("the answer is of a kind that is not known")),
            Ok(Err(_)) => Err(Silence::Unclear("the connection was cut before the answer came")),
            Err(_) => Err(Silence::Unclear("no answer in time")),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.link.state().out.remove(&self.call);
        self.hub.0.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::GetOrderRequest;

    const SOON: Duration = Duration::from_millis(50);

    fn lab() -> LabId {
        LabId::parse("nord").unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn linked(window: u32) -> (Hub, Arc<Link>, mpsc::Receiver<Frame>) {
        let (hub, (outbox, inbox)) = (Hub::default(), mpsc::channel(OUTBOX));
        let link = Link::new(lab(), outbox, window, at(0));
        assert!(hub.add(&link));
        (hub, link, inbox)
    }

    fn ask() -> Ask {
        Ask::GetOrder(GetOrderRequest { order: "ord_1".to_owned() })
    }

    fn said() -> Said {
        Said::GetOrder(crate::proto::GetOrderResponse { stage: 1, prints: None })
    }

    /// The number of the call that is in the outbox.
    fn call(inbox: &mut mpsc::Receiver<Frame>) -> u64 {
        match inbox.try_recv().unwrap().unwrap().kind {
            Some(Kind::Call(call)) => call.call,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_was_never_put_on_a_connection_was_not_said() {
        // No connection; then one that ends between the place and the call; then one that leaves.
        assert!(Hub::default().place(&lab(), SOON).await.is_none());
        for leaves in [false, true] {
            let (hub, link, mut inbox) = linked(1);
            let place = hub.place(&lab(), SOON).await.unwrap();
            if leaves {
                link.leave();
            } else {
                hub.remove(&link, at(9));
            }
            assert!(matches!(place.ask(ask(), SOON).await, Err(Silence::NotSaid(_))));
            assert!(inbox.try_recv().is_err(), "nothing is in the outbox");
        }
        // Nobody writes the outbox out any more.
        let (hub, _link, inbox) = linked(1);
        let place = hub.place(&lab(), SOON).await.unwrap();
        drop(inbox);
        assert!(matches!(place.ask(ask(), SOON).await, Err(Silence::NotSaid(_))));
    }

    #[tokio::test]
    async fn what_was_put_on_one_and_not_answered_is_unclear() {
        let (hub, link, mut inbox) = linked(1);
        let place = hub.place(&lab(), SOON).await.unwrap();
        let (heard, ()) = tokio::join!(place.ask(ask(), Duration::from_secs(20)), async {
            tokio::task::yield_now().await;
            assert_eq!(call(&mut inbox), 1);
            hub.remove(&link, at(9));
        });
        assert!(matches!(heard, Err(Silence::Unclear(_))), "the connection ended");
        let (hub, link, mut inbox) = linked(1);
        let heard = hub.place(&lab(), SOON).await.unwrap().ask(ask(), SOON).await;
        assert!(matches!(heard, Err(Silence::Unclear(_))), "no answer in time");
        assert!(!link.hear(call(&mut inbox), Some(said())), "and then it is too late");
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_its_call_ends() {
        let (hub, link, mut inbox) = linked(1);
        let place = hub.place(&lab(), SOON).await.unwrap();
        assert!(hub.place(&lab(), SOON).await.is_none(), "one at a time");
        let own = lab();
        let waiting = hub.place(&own, Duration::from_secs(20));
        let ((), next) = tokio::join!(
            async {
                let (heard, ()) = tokio::join!(place.ask(ask(), Duration::from_secs(20)), async {
                    tokio::task::yield_now().await;
                    assert!(link.hear(call(&mut inbox), Some(said())));
                });
                assert_eq!(heard, Ok(said()));
            },
            waiting
        );
        assert!(next.is_some(), "whoever waits is told");
    }

    #[tokio::test]
    async fn calls_go_to_the_connection_with_the_fewest() {
        let (hub, first, _inbox) = linked(2);
        let (outbox, _other) = mpsc::channel(OUTBOX);
        let second = Link::new(lab(), outbox, 5, at(1));
        assert!(hub.add(&second));
        assert_eq!((hub.window(&lab()), hub.connections(&lab())), (7, 2));
        let mut places = Vec::new();
        for _ in 0..7 {
            places.push(hub.place(&lab(), SOON).await.unwrap());
        }
        assert_eq!((first.state().out.len(), second.state().out.len()), (2, 5));
        assert!(hub.place(&lab(), SOON).await.is_none());
        first.set_window(3);
        assert!(hub.place(&lab(), SOON).await.is_some());
        first.leave();
        assert_eq!(hub.window(&lab()), 5);
        drop(places);
        hub.remove(&first, at(9));
        hub.remove(&second, at(9));
        assert!(hub.is_empty());
    }

    #[tokio::test]
    async fn how_the_connections_stand_is_known_also_when_they_are_gone() {
        assert_eq!(Hub::default().health(&lab()), LinksHealth::default());
        let told = |hub: &Hub| {
            let LinksHealth { connections, window, since, last_heard_at } = hub.health(&lab());
            (connections, window, since, last_heard_at)
        };
        let (hub, first, _inbox) = linked(2);
        assert_eq!(told(&hub), (1, 2, Some(at(0)), Some(at(0))));
        let (outbox, _other) = mpsc::channel(OUTBOX);
        let second = Link::new(lab(), outbox, 5, at(1));
        assert!(hub.add(&second));
        first.heard(at(3));
        assert_eq!(told(&hub), (2, 7, Some(at(0)), Some(at(3))));
        hub.remove(&first, at(4));
        assert_eq!(told(&hub), (1, 5, Some(at(0)), Some(at(3))), "there was one all the time");
        hub.remove(&second, at(5));
        assert_eq!(told(&hub), (0, 0, Some(at(5)), Some(at(3))), "and now there is none, since");
        assert!(hub.is_empty());
    }
}
