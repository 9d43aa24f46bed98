//! The shared tail over a real store: what it costs, and that nobody misses anything or holds up others.

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::api::page::live::happens;
use crate::clock::ManualClock;
use crate::domain::event::Actor;
use crate::domain::ids::{OrderId, PlatformId};
use crate::store::{self, Concerned, PutPlatform, Write, open};

struct Place {
    tail: Tail,
    clock: ManualClock,
    store: Arc<dyn Store>,
    written: AtomicU64,
    _folder: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let store = open(&format!("sqlite:{}", folder.path().join("log.db").display()), now).await.unwrap();
        let clock = ManualClock::at(now);
        let end = CancellationToken::new();
        let tail = Tail::new(Arc::clone(&store), Arc::new(clock.clone()), end);
        Self { tail, clock, store, written: AtomicU64::new(0), _folder: folder }
    }

    /// So many entries more, in one commit.
    async fn write(&self, count: u64) {
        let from = self.written.fetch_add(count, Ordering::Relaxed);
        let write = |nth| {
            Write::PutPlatform(Box::new(PutPlatform {
                id: PlatformId::parse("acme").unwrap(),
                spec: format!("{{\"id\":\"acme\",\"name\":\"{nth}\"}}"),
                at: self.clock.now(),
                actor: Actor::gateway(),
            }))
        };
        self.store.apply((from..from + count).map(write).collect()).await.unwrap();
    }

    fn reads(&self) -> u64 {
        self.tail.reads.load(Ordering::Relaxed)
    }

    /// The numbers of the whole log.
    async fn log(&self) -> Vec<i64> {
        let events = self.store.events(0, i64::MAX).await.unwrap();
        events.into_iter().map(|event| event.seq).collect()
    }

    /// Waits for what tasks do, and then no longer.
    async fn until(&self, what: &str, done: impl Fn() -> bool) {
        for _ in 0..1_000 {
            if done() {
                return;
            }
            pause().await;
        }
        panic!("never: {what}");
    }
}

#[expect(clippy::disallowed_methods, reason = "waits for tasks")]
async fn pause() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// The next entries, at least one: their numbers.
async fn next(listener: &mut Listener, limit: i64) -> Vec<i64> {
    loop {
        let stretch = listener.take(limit).await.unwrap();
        if !stretch.events.is_empty() {
            return stretch.events.iter().map(|sighting| sighting.event.seq).collect();
        }
        tokio::time::timeout(Duration::from_secs(20), listener.more()).await.expect("it is told");
    }
}

#[tokio::test]
async fn two_hundred_who_wait_cost_one_look_and_are_told_without_a_tick() {
    let place = Place::new().await;
    place.write(1).await;
    let mut waiting = Vec::new();
    for _ in 0..200 {
        let mut listener = place.tail.listen_from_now(Scope::Ops).await.unwrap();
        assert_eq!(listener.take(100).await.unwrap().events, []);
        waiting.push(tokio::spawn(async move { next(&mut listener, 100).await }));
    }
    // Ten seconds in which nothing happens, a quarter at a time. Only the reader sleeps on this clock.
    let rests = || place.clock.next_wake().is_some_and(|at| at > place.clock.now());
    place.until("the reader rests", rests).await;
    let before = place.reads();
    for _ in 0..40 {
        let reads = place.reads();
        place.clock.advance(Duration::from_millis(250));
        place.until("a look", || place.reads() > reads && rests()).await;
    }
    let looks = place.reads() - before;
    assert_eq!(looks, 40, "looks in ten seconds");
    // The clock stands still from here on: what is committed here is told all the same.
    place.write(1).await;
    let last = place.log().await.pop().unwrap();
    for told in waiting {
        assert_eq!(told.await.unwrap(), [last]);
    }
    assert!(place.reads() - before - looks <= 5);
    // Nobody listens any more: nobody looks.
    place.clock.advance(Duration::from_secs(1));
    place.until("the reader ends", || place.tail.desk().reader.is_none()).await;
    let reads = place.reads();
    place.write(3).await;
    place.clock.advance(Duration::from_secs(10));
    pause().await;
    assert_eq!(place.reads(), reads);
}

#[tokio::test]
async fn who_is_slow_misses_nothing_and_holds_up_nobody() {
    let place = Place::new().await;
    place.write(10).await;
    let mut slow = place.tail.listen(Scope::Ops, 0);
    let mut slower = place.tail.listen(Scope::Ops, 4);
    let mut quick = place.tail.listen(Scope::Ops, 0);
    let (mut by_slow, mut by_quick) = (next(&mut slow, 3).await, Vec::new());
    for _ in 0..30 {
        place.write(HELD_MAX as u64 / 10).await;
        let last = place.log().await.pop().unwrap();
        while by_quick.last() != Some(&last) {
            by_quick.extend(next(&mut quick, 50).await);
        }
        // Three at a time: further behind with every commit, and soon behind what is at hand.
        by_slow.extend(next(&mut slow, 3).await);
    }
    let log = place.log().await;
    assert!(log.len() > 2 * HELD_MAX, "{}", log.len());
    assert_eq!(by_quick, log);
    let held = place.tail.desk().held.entries.len();
    assert!(held <= HELD_MAX, "{held} entries are held");
    for (listener, mut told, from) in [(&mut slow, by_slow, 0), (&mut slower, Vec::new(), 4)] {
        while told.last() != log.last() {
            told.extend(next(listener, 97).await);
        }
        assert_eq!(told, log[from..]);
    }
}

#[tokio::test]
async fn who_begins_anywhere_goes_on_there() {
    let place = Place::new().await;
    place.write(2 * HELD_MAX as u64).await;
    let log = place.log().await;
    // One listens already, so that some is at hand.
    let mut first = place.tail.listen(Scope::Ops, *log.last().unwrap());
    place.write(20).await;
    next(&mut first, 50).await;
    let log = place.log().await;
    for at in [1, 50, HELD_MAX, log.len() - 21, log.len() - 20, log.len() - 5, log.len() - 1] {
        let mut listener = place.tail.listen(Scope::Ops, log[at - 1]);
        let mut told = Vec::new();
        while told.last() != log.last() && at < log.len() {
            told.extend(next(&mut listener, 200).await);
        }
        assert_eq!(told, log[at..], "from {at}");
    }
    // A number that the log has not reached: silence until it has.
    let mut ahead = place.tail.listen(Scope::Ops, log.last().unwrap() + 2);
    place.write(2).await;
    next(&mut first, 50).await;
    let none = ahead.take(50).await.unwrap();
    assert_eq!((none.events.len(), none.seen), (0, log.last().unwrap() + 2));
    place.write(1).await;
    assert_eq!(next(&mut ahead, 50).await, [log.last().unwrap() + 3]);
}

#[tokio::test]
async fn a_store_that_fails_is_told_to_those_who_wait() {
    let place = Place::new().await;
    place.write(1).await;
    let mut listener = place.tail.listen_from_now(Scope::Ops).await.unwrap();
    // It is at hand, so that the listener itself does not ask the store.
    place.write(1).await;
    next(&mut listener, 10).await;
    place.store.close().await;
    let said = loop {
        place.clock.advance(Duration::from_millis(250));
        match listener.take(10).await {
            Ok(stretch) => assert_eq!(stretch.events, []),
            Err(error) => break error,
        }
        tokio::time::timeout(Duration::from_secs(5), listener.more()).await.expect("it is told");
    };
    assert!(matches!(said, store::Error::Unavailable(_)), "{said:?}");
}

#[tokio::test]
async fn a_reader_that_was_cut_off_is_followed_by_another() {
    let place = Place::new().await;
    place.write(1).await;
    let mut listener = place.tail.listen(Scope::Ops, 0);
    let _other = place.tail.listen(Scope::Ops, 0);
    assert_eq!(next(&mut listener, 10).await, [1]);
    // As if it had ended by a mistake of ours.
    place.until("the reader has begun", || place.tail.desk().held.span.is_some()).await;
    let number = place.tail.desk().reader.unwrap();
    drop(Reader { tail: place.tail.clone(), number });
    place.write(1).await;
    assert_eq!(next(&mut listener, 10).await, [2]);
    let waiting = tokio::spawn(async move { next(&mut listener, 10).await });
    place.until("another reader", || place.tail.desk().held.span.is_some()).await;
    place.write(1).await;
    assert_eq!(waiting.await.unwrap(), [3]);
    assert!(place.tail.desk().reader.is_some_and(|other| other != number));
}

#[tokio::test]
async fn only_some_kinds_are_told_and_the_cursor_goes_on() {
    let place = Place::new().await;
    place.write(5).await;
    let mut listener = place.tail.listen(Scope::Ops, 0).only(&["batch.closed"]);
    let stretch = listener.take(100).await.unwrap();
    assert_eq!((stretch.events.len(), stretch.seen), (0, 5));
    let mut listener = place.tail.listen(Scope::Ops, 0).only(&["platform.changed"]);
    assert_eq!(listener.take(100).await.unwrap().events.len(), 4, "the first one created it");
}

#[test]
fn a_sighting_is_cut_to_its_scope() {
    let id = |nth: u8| OrderId::parse(&format!("ord_{nth:032x}")).unwrap();
    let platform = |name: &str| PlatformId::parse(name).unwrap();
    let sighting = Sighting {
        event: crate::domain::event::Event {
            seq: 1,
            at: Timestamp::UNIX_EPOCH,
            subject: "trf_1".to_owned(),
            lab: "nord".to_owned(),
            kind: "transfer.sending".to_owned(),
            actor: "gateway".to_owned(),
            detail: serde_json::json!({}),
            previous: String::new(),
            hash: String::new(),
        },
        orders: vec![
            Concerned { order: id(1), platform: platform("acme") },
            Concerned { order: id(2), platform: platform("rival") },
        ],
    };
    let lab = |name: &str| Scope::Lab(crate::domain::ids::LabId::parse(name).unwrap());
    for (scope, seen) in [
        (Scope::Ops, Some(vec![id(1), id(2)])),
        (Scope::Platform(platform("acme")), Some(vec![id(1)])),
        (Scope::Platform(platform("rival")), Some(vec![id(2)])),
        (Scope::Platform(platform("third")), None),
        (lab("nord"), Some(vec![id(1), id(2)])),
        (lab("other"), None),
    ] {
        let cut = sighting.within(&scope);
        assert_eq!(cut.is_some(), sighting.is_within(&scope));
        let orders = cut.map(|cut| cut.orders.into_iter().map(|order| order.order).collect::<Vec<_>>());
        assert_eq!(orders, seen, "{scope:?}");
    }
}

#[test]
fn what_names_many_orders_is_held_shorter() {
    let mut held = Held { span: Some((0, 0)), ..Held::default() };
    let id = OrderId::parse(&format!("ord_{:032x}", 1)).unwrap();
    let concerned = Concerned { order: id, platform: PlatformId::parse("acme").unwrap() };
    for seq in 1..=100 {
        let event = crate::domain::event::Event {
            seq,
            at: Timestamp::UNIX_EPOCH,
            subject: String::new(),
            lab: String::new(),
            kind: String::new(),
            actor: String::new(),
            detail: serde_json::Value::Null,
            previous: String::new(),
            hash: String::new(),
        };
        let orders = vec![concerned.clone(); 500];
        held.take(Stretch { events: vec![Sighting { event, orders }], seen: seq });
    }
    assert_eq!(held.entries.len(), ORDERS_MAX / 500);
    assert_eq!(held.span, Some((100 - (ORDERS_MAX as i64 / 500), 100)));
    assert_eq!(held.orders, held.entries.len() * 500);
}

#[tokio::test]
async fn one_who_is_far_behind_goes_to_the_end_at_once() {
    let place = Place::new().await;
    place.write(1_000).await;
    let mut far = place.tail.listen(Scope::Ops, 0);
    // Nothing of it concerns anybody, and still this ends: with a look at what stands at the end.
    happens(&mut far, &|_: &Sighting| false).await;
    assert_eq!(far.cursor(), *place.log().await.last().unwrap());
    // Near enough, everything is looked at.
    far.take(1).await.unwrap();
    place.until("the reader reads", || place.tail.desk().held.span.is_some()).await;
    assert!(!far.leap().await.unwrap());
    place.write(300).await;
    let last = *place.log().await.last().unwrap();
    happens(&mut far, &move |it: &Sighting| it.event.seq == last).await;
    assert!(far.cursor() >= last);
}
