//! Endpoints in the store: one sender at a time, a cursor that says what is done, and what became of messages.

use std::sync::Arc;

use jiff::SignedDuration;
use secrecy::ExposeSecret as _;
use stoppress::domain::ids::{OrderId, PlatformId, WebhookId};
use stoppress::domain::webhook::{Condition, MessageId, Off, WebhookSpec};
use stoppress::store::{
    ChangeWebhook, ClaimWebhook, Delivery, DeliveryFilter, DeliveryState, ForgetDeliveries, Put, PutWebhook,
    SettleWebhook, SkipWebhook, WebhookChange, WebhookClaim, WebhookFilter, WebhookRow, WebhookSettled,
    Write, Written, one,
};

use super::on_both;
use crate::common::world::{World, able, at, ops, shop};

on_both!(
    an_endpoint_is_made_changed_and_forgotten,
    one_gateway_at_a_time_has_an_endpoint,
    what_was_taken_and_not_settled_is_unsure,
    an_old_claim_says_nothing_any_more,
    what_waits_keeps_what_comes_later_of_its_order,
    the_next_time_is_read_anew_by_whatever_moves_it,
    many_settlements_at_once_each_count,
    a_replay_goes_on_where_it_was,
    what_ended_long_ago_is_forgotten_and_what_waits_is_not,
    the_log_is_found_by_an_instant,
    cursors_are_moved_only_where_nobody_is,
    who_is_switched_on_again_is_tried_at_once,
);

const LEASE: i64 = 60;

fn spec() -> WebhookSpec {
    WebhookSpec {
        url: "https://hooks.example/".to_owned(),
        events: vec!["*".to_owned()],
        description: String::new(),
    }
}

async fn make(world: &World, platform: &PlatformId, cursor: i64) -> WebhookId {
    let id = WebhookId::new(at(0), &world.random);
    let put = PutWebhook {
        id: id.clone(),
        platform: platform.clone(),
        spec: spec(),
        enabled: true,
        secret: "whsec_first".to_owned().into(),
        cursor,
        at: at(0),
        actor: ops(),
    };
    let Written::Put(Put::Done(1)) = world.write(Write::PutWebhook(Box::new(put))).await else {
        panic!("not made")
    };
    id
}

async fn read(world: &World, id: &WebhookId) -> Option<WebhookRow> {
    world.store.webhook(id, None).await.unwrap()
}

async fn change(world: &World, id: &WebhookId, change: WebhookChange) -> Put {
    let change = ChangeWebhook { id: id.clone(), platform: Some(shop()), change, at: at(5), actor: ops() };
    let Written::Put(put) = world.write(Write::ChangeWebhook(Box::new(change))).await else {
        panic!("not put")
    };
    put
}

fn claiming(id: &WebhookId, holder: &str, seconds: i64) -> ClaimWebhook {
    ClaimWebhook {
        id: id.clone(),
        holder: holder.to_owned(),
        now: at(seconds),
        lease_until: at(seconds + LEASE),
        take: None,
    }
}

async fn claim_as(world: &World, claim: ClaimWebhook) -> Option<WebhookClaim> {
    let Written::WebhookClaimed(claim) = world.write(Write::ClaimWebhook(Box::new(claim))).await else {
        panic!("not claimed")
    };
    claim.map(|claim| *claim)
}

async fn claim(world: &World, id: &WebhookId, holder: &str, seconds: i64) -> Option<WebhookClaim> {
    claim_as(world, claiming(id, holder, seconds)).await
}

fn settling(id: &WebhookId, claim: &WebhookClaim, holder: &str, seconds: i64) -> SettleWebhook {
    SettleWebhook {
        id: id.clone(),
        holder: holder.to_owned(),
        fence: claim.fence,
        now: at(seconds),
        lease_until: Some(at(seconds + LEASE)),
        deliveries: Vec::new(),
        freed: Vec::new(),
        delivered: 0,
        failed_cause: None,
        cursor: claim.row.cursor,
        taken: claim.row.taken,
        replayed: None,
        condition: Condition::default(),
        hasten: false,
        off: None,
        take_due: 0,
    }
}

async fn settle(world: &World, item: SettleWebhook) -> Option<WebhookSettled> {
    let Written::WebhookSettled(settled) = world.write(Write::SettleWebhook(Box::new(item))).await else {
        panic!("not settled")
    };
    settled.map(|settled| *settled)
}

fn delivery(seq: i64, order: Option<&OrderId>, state: DeliveryState, seconds: i64) -> Delivery {
    Delivery {
        id: MessageId { seq, order: order.cloned() },
        kind: "stop.stopped".to_owned(),
        state,
        attempts: 1,
        next_at: at(seconds),
        first_at: at(0),
        ended_at: (!state.is_open()).then(|| at(seconds)),
        status: 200,
        took_ms: 3,
        cause: None,
        answer: "fine".to_owned(),
        body: Arc::from("{}"),
    }
}

async fn all(world: &World, id: &WebhookId) -> Vec<(i64, DeliveryState, i64)> {
    let filter = DeliveryFilter { state: None, before: None, limit: 1000 };
    let found = world.store.deliveries(id, &filter).await.unwrap();
    found.into_iter().map(|one| (one.id.seq, one.state, one.attempts)).collect()
}

async fn an_endpoint_is_made_changed_and_forgotten(world: World) {
    let id = make(&world, &shop(), 7).await;
    let other = PlatformId::parse("somebody-else").unwrap();
    let foreign = make(&world, &other, 0).await;
    assert!(world.store.webhook(&id, Some(&other)).await.unwrap().is_none());
    let row = world.store.webhook(&id, Some(&shop())).await.unwrap().unwrap();
    assert_eq!((row.version, row.cursor, row.taken, row.enabled), (1, 7, 7, true));
    assert!(!format!("{row:?}").contains("whsec_first"), "a secret is never shown");
    let list = |platform: Option<PlatformId>| {
        let store = Arc::clone(&world.store);
        async move {
            let filter = WebhookFilter { platform, after: None, limit: 10 };
            store.webhooks(&filter).await.unwrap().len()
        }
    };
    assert_eq!((list(None).await, list(Some(shop())).await), (2, 1));
    let set = |version, enabled| WebhookChange::Set { spec: spec(), enabled, version };
    assert_eq!(change(&world, &id, set(1, true)).await, Put::Unchanged(1));
    assert_eq!(change(&world, &id, set(3, false)).await, Put::Version(1));
    assert_eq!(change(&world, &id, set(1, false)).await, Put::Done(2));
    assert!(claim(&world, &id, "a", 10).await.is_none(), "it is switched off");
    assert_eq!(change(&world, &foreign, set(1, false)).await, Put::NotFound);
    let rotate = WebhookChange::Rotate { secret: "whsec_second".to_owned().into(), keep_until: at(50) };
    assert_eq!(change(&world, &id, rotate).await, Put::Done(3));
    let secrets = read(&world, &id).await.unwrap().secrets;
    let signing: Vec<_> = secrets.at(at(49)).map(|one| one.expose_secret().to_owned()).collect();
    assert_eq!(signing, ["whsec_second", "whsec_first"]);
    assert_eq!(change(&world, &id, WebhookChange::Delete).await, Put::Done(4));
    assert!(read(&world, &id).await.is_none());
    assert_eq!(change(&world, &id, WebhookChange::Delete).await, Put::NotFound);
    let kinds = world.texts(&format!("select kind from events where subject = '{id}' order by seq")).await;
    assert_eq!(kinds, ["webhook.created", "webhook.changed", "webhook.rotated", "webhook.deleted"]);
    let left = world.number("select count(*) from webhooks where secret = 'whsec_second'").await;
    assert_eq!(left, 0, "its secrets are gone");
    world.verify().await;
}

async fn one_gateway_at_a_time_has_an_endpoint(world: World) {
    let id = make(&world, &shop(), 0).await;
    let first = claim(&world, &id, "a", 0).await.unwrap();
    assert_eq!(first.fence, 1);
    // Where several gateways can be at work, the lease holds; where only one can, whoever had it is gone.
    assert_eq!(claim(&world, &id, "b", 1).await.is_none(), world.is_postgres());
    let again = claim(&world, &id, "a", LEASE - 1).await;
    assert!(again.is_some(), "its own claim");
    assert!(claim(&world, &id, "b", 2 * LEASE - 1).await.is_some(), "the lease is over");
    // At the same time: one of them.
    let other = make(&world, &shop(), 0).await;
    let replica = world.replica().await;
    let (a, b) = (
        Write::ClaimWebhook(Box::new(claiming(&other, "a", 0))),
        Write::ClaimWebhook(Box::new(claiming(&other, "b", 0))),
    );
    let (a, b) = tokio::join!(one(&*world.store, a), one(&*replica, b));
    let had = [a, b].into_iter().filter(|one| matches!(one, Ok(Written::WebhookClaimed(Some(_))))).count();
    assert_eq!(had, if world.is_postgres() { 1 } else { 2 });
}

async fn what_was_taken_and_not_settled_is_unsure(world: World) {
    let id = make(&world, &shop(), 10).await;
    let wrong = ClaimWebhook { take: Some((9, 20)), ..claiming(&id, "a", 0) };
    let first = claim_as(&world, wrong).await.unwrap();
    assert_eq!(read(&world, &id).await.unwrap().taken, 10, "the cursor is another");
    let item = SettleWebhook { lease_until: None, ..settling(&id, &first, "a", 1) };
    settle(&world, item).await.unwrap();
    let taking = ClaimWebhook { take: Some((10, 20)), ..claiming(&id, "a", 2) };
    let second = claim_as(&world, taking).await.unwrap();
    assert_eq!((second.unsure_until, second.row.cursor), (10, 10), "nothing was sent before");
    assert_eq!(read(&world, &id).await.unwrap().taken, 20);
    // Some of it is known: the rest is unsure to whoever comes next.
    let order = world.order_id();
    let item = SettleWebhook {
        cursor: 14,
        taken: 20,
        deliveries: vec![
            delivery(14, Some(&order), DeliveryState::Delivered, 3),
            delivery(17, Some(&order), DeliveryState::Delivered, 3),
            delivery(18, None, DeliveryState::Waiting, 30),
        ],
        delivered: 2,
        ..settling(&id, &second, "a", 3)
    };
    settle(&world, item).await.unwrap();
    let third = claim(&world, &id, "b", 500).await.unwrap();
    assert_eq!((third.unsure_until, third.row.cursor, third.row.delivered), (20, 14, 2));
    let ahead: Vec<i64> = third.ahead.iter().map(|one| one.seq).collect();
    assert_eq!((ahead, &third.open), (vec![17, 18], &vec![(None, 18)]));
    assert_eq!(third.row.due_at, Some(at(30)));
    // What it had taken to send again, and said nothing of, is due at once for the next.
    let item = SettleWebhook { cursor: 18, taken: 20, take_due: 5, ..settling(&id, &third, "b", 500) };
    assert_eq!(settle(&world, item).await.unwrap().due.len(), 1);
    let fourth = claim(&world, &id, "c", 501 + LEASE).await.unwrap();
    assert_eq!((fourth.row.due_at, fourth.row.held.unwrap().0.as_str()), (Some(at(501 + LEASE)), "b"));
}

async fn an_old_claim_says_nothing_any_more(world: World) {
    let id = make(&world, &shop(), 0).await;
    let old = claim(&world, &id, "a", 0).await.unwrap();
    let new = claim(&world, &id, "b", 500).await.unwrap();
    let item = SettleWebhook {
        cursor: 99,
        deliveries: vec![delivery(5, None, DeliveryState::Delivered, 1)],
        off: Some(Off::Gone),
        ..settling(&id, &old, "a", 501)
    };
    assert!(settle(&world, item).await.is_none());
    assert_eq!((read(&world, &id).await.unwrap().cursor, all(&world, &id).await.len()), (0, 0));
    let item = SettleWebhook { cursor: 3, off: Some(Off::Gone), ..settling(&id, &new, "b", 502) };
    let settled = settle(&world, item).await.unwrap();
    assert_eq!((settled.enabled, settled.version), (false, 2));
    let row = read(&world, &id).await.unwrap();
    assert_eq!((row.cursor, row.enabled, row.off.unwrap().1.as_str()), (3, false, Off::Gone.cause()));
    // Of what is gone nothing is said.
    change(&world, &id, WebhookChange::Delete).await;
    assert!(settle(&world, settling(&id, &new, "b", 503)).await.is_none());
    world.verify().await;
}

async fn what_waits_keeps_what_comes_later_of_its_order(world: World) {
    use DeliveryState::{Behind, Delivered, GivenUp, Waiting};
    let id = make(&world, &shop(), 0).await;
    let first = claim(&world, &id, "a", 0).await.unwrap();
    let (one, two) = (world.order_id(), world.order_id());
    let item = SettleWebhook {
        cursor: 9,
        deliveries: vec![
            delivery(1, Some(&one), Waiting, 5),
            delivery(2, Some(&one), Behind, 0),
            delivery(3, Some(&one), Behind, 0),
            delivery(4, Some(&two), Waiting, 300),
        ],
        failed_cause: Some("HTTP 500".to_owned()),
        ..settling(&id, &first, "a", 0)
    };
    assert_eq!(settle(&world, item).await.unwrap().due_at, Some(at(5)));
    let take = |seconds| SettleWebhook { cursor: 9, take_due: 10, ..settling(&id, &first, "a", seconds) };
    assert!(settle(&world, take(4)).await.unwrap().due.is_empty(), "not yet");
    let settled = settle(&world, take(5)).await.unwrap();
    let due: Vec<_> = settled.due.iter().map(|one| (one.id.seq, one.attempt)).collect();
    assert_eq!(due, [(1, 2)]);
    // It counts from now on, and is due again when the lease is over.
    assert_eq!(settled.due_at, Some(at(5 + LEASE)));
    assert!(settle(&world, take(6)).await.unwrap().due.is_empty(), "somebody sends it");
    // What waits first stays first, whatever else is said.
    let item = SettleWebhook { deliveries: vec![delivery(4, Some(&two), Behind, 0)], ..take(7) };
    settle(&world, item).await.unwrap();
    assert!(all(&world, &id).await.contains(&(4, Waiting, 1)));
    let item = SettleWebhook {
        deliveries: vec![delivery(1, Some(&one), Delivered, 8)],
        freed: vec![Some(one.clone())],
        ..take(8)
    };
    let settled = settle(&world, item).await.unwrap();
    let due: Vec<_> = settled.due.iter().map(|one| (one.id.seq, one.attempt)).collect();
    assert_eq!((due, settled.cleared.len()), (vec![(2, 2)], 0), "the next of its order, and only that");
    let item = SettleWebhook {
        deliveries: vec![delivery(2, Some(&one), GivenUp, 9)],
        freed: vec![Some(one.clone())],
        ..take(9)
    };
    assert_eq!(settle(&world, item).await.unwrap().due[0].id.seq, 3);
    let item = SettleWebhook {
        deliveries: vec![delivery(3, Some(&one), Delivered, 10)],
        freed: vec![Some(one.clone())],
        hasten: true,
        ..take(10)
    };
    let settled = settle(&world, item).await.unwrap();
    assert_eq!(settled.cleared, [Some(one.clone())]);
    assert_eq!(settled.due[0].id.seq, 4, "the endpoint is back: what waits is due");
    // By hand, what has ended is sent once more.
    let again = WebhookChange::ReplayOne(MessageId { seq: 2, order: Some(one.clone()) });
    assert_eq!(change(&world, &id, again).await, Put::Done(1));
    assert_eq!(settle(&world, take(11)).await.unwrap().due[0].id.seq, 2);
    let none = WebhookChange::ReplayOne(MessageId { seq: 77, order: None });
    assert_eq!(change(&world, &id, none).await, Put::NotFound);
    let filter = DeliveryFilter { state: Some(Delivered), before: None, limit: 10 };
    let found = world.store.deliveries(&id, &filter).await.unwrap();
    assert_eq!(found.iter().map(|one| one.id.seq).collect::<Vec<_>>(), [3, 1]);
    let before = DeliveryFilter { before: Some(found[0].id.clone()), ..filter };
    assert_eq!(world.store.deliveries(&id, &before).await.unwrap().len(), 1);
    world.verify().await;
}

/// Each of these alone: an endpoint whose time is not moved is not looked at until the next poll.
async fn the_next_time_is_read_anew_by_whatever_moves_it(world: World) {
    use DeliveryState::{Behind, Delivered, Waiting};
    let id = make(&world, &shop(), 0).await;
    let claimed = claim(&world, &id, "a", 0).await.unwrap();
    let order = world.order_id();
    let now = |seconds| SettleWebhook { cursor: 9, ..settling(&id, &claimed, "a", seconds) };
    let due = async |item| settle(&world, item).await.unwrap().due_at;
    // Something waits.
    let first = vec![delivery(1, Some(&order), Waiting, 300), delivery(2, Some(&order), Behind, 0)];
    assert_eq!(due(SettleWebhook { deliveries: first, ..now(1) }).await, Some(at(300)));
    // The endpoint is back.
    assert_eq!(due(SettleWebhook { hasten: true, ..now(2) }).await, Some(at(2)));
    // What was first has ended, and the next is due.
    let ended = vec![delivery(1, Some(&order), Delivered, 3)];
    let freed = vec![Some(order.clone())];
    assert_eq!(due(SettleWebhook { deliveries: ended, freed, ..now(3) }).await, Some(at(3)));
    // What is taken is due again when the lease is over; without a lease nothing is taken, and without a wish neither.
    for nothing in [SettleWebhook { take_due: 10, lease_until: None, ..now(4) }, now(4)] {
        let claimed = claim(&world, &id, "a", 4).await.unwrap();
        let settled = settle(&world, SettleWebhook { fence: claimed.fence, ..nothing }).await.unwrap();
        assert_eq!((settled.due.len(), settled.due_at), (0, Some(at(3))));
    }
    let claimed = claim(&world, &id, "a", 5).await.unwrap();
    let taken = SettleWebhook { take_due: 10, fence: claimed.fence, ..now(5) };
    assert_eq!(due(taken).await, Some(at(5 + LEASE)));
    world.verify().await;
}

async fn many_settlements_at_once_each_count(world: World) {
    let mut writes = Vec::new();
    let mut ids = Vec::new();
    for nth in 0..20_i64 {
        let id = make(&world, &shop(), 0).await;
        let first = claim(&world, &id, "a", 0).await.unwrap();
        let deliveries = (1..=100).map(|seq| delivery(seq, None, DeliveryState::Delivered, 1)).collect();
        let fence = if nth == 13 { first.fence + 1 } else { first.fence };
        let item =
            SettleWebhook { cursor: 100, deliveries, delivered: 100, fence, ..settling(&id, &first, "a", 1) };
        writes.push(Write::SettleWebhook(Box::new(item)));
        ids.push(id);
    }
    let written = world.store.apply(writes).await.unwrap();
    for (nth, (written, id)) in written.into_iter().zip(&ids).enumerate() {
        let Written::WebhookSettled(settled) = written else { panic!("not settled") };
        let ours = nth != 13;
        assert_eq!(settled.is_some(), ours);
        assert_eq!(all(&world, id).await.len(), if ours { 100 } else { 0 });
        assert_eq!(read(&world, id).await.unwrap().cursor, if ours { 100 } else { 0 });
    }
}

async fn a_replay_goes_on_where_it_was(world: World) {
    let id = make(&world, &shop(), 100).await;
    assert_eq!(change(&world, &id, WebhookChange::Replay(20, 60)).await, Put::Done(1));
    let first = claim(&world, &id, "a", 0).await.unwrap();
    assert_eq!(first.row.replay, Some((20, 60)));
    let replayed = |was, to| SettleWebhook { replayed: Some((was, to)), ..settling(&id, &first, "a", 1) };
    assert_eq!(settle(&world, replayed((20, 60), Some(40))).await.unwrap().replay, Some((40, 60)));
    // More is asked for meanwhile: nothing of it is lost to what is said about less.
    change(&world, &id, WebhookChange::Replay(10, 90)).await;
    assert_eq!(settle(&world, replayed((40, 60), None)).await.unwrap().replay, Some((10, 90)));
    assert_eq!(settle(&world, replayed((10, 90), None)).await.unwrap().replay, None);
    assert_eq!(read(&world, &id).await.unwrap().replay, None);
    world.verify().await;
}

async fn what_ended_long_ago_is_forgotten_and_what_waits_is_not(world: World) {
    let id = make(&world, &shop(), 0).await;
    let first = claim(&world, &id, "a", 0).await.unwrap();
    let mut deliveries: Vec<Delivery> =
        (1..=10).map(|seq| delivery(seq, None, DeliveryState::Delivered, seq)).collect();
    deliveries.push(delivery(0, None, DeliveryState::Waiting, 1));
    let item = SettleWebhook { cursor: 10, deliveries, ..settling(&id, &first, "a", 20) };
    settle(&world, item).await.unwrap();
    let seqs = async |world: &World| all(world, &id).await.into_iter().map(|one| one.0).collect::<Vec<_>>();
    let forget = |before, keep| Write::ForgetDeliveries(ForgetDeliveries { id: id.clone(), before, keep });
    world.write(forget(at(4), 1000)).await;
    assert_eq!(seqs(&world).await, [10, 9, 8, 7, 6, 5, 4, 0]);
    world.write(forget(at(0), 3)).await;
    assert_eq!(seqs(&world).await, [10, 9, 8, 0]);
}

async fn the_log_is_found_by_an_instant(world: World) {
    assert_eq!(world.store.log_at(at(0)).await.unwrap(), 0, "nothing has happened");
    for minutes in 0..50 {
        let id = WebhookId::new(at(0), &world.random);
        let put = PutWebhook {
            id,
            platform: PlatformId::parse(&format!("p-{minutes}")).unwrap(),
            spec: spec(),
            enabled: true,
            secret: "whsec_x".to_owned().into(),
            cursor: 0,
            at: at(minutes * 60),
            actor: ops(),
        };
        world.write(Write::PutWebhook(Box::new(put))).await;
    }
    let end = world.store.log_end().await.unwrap();
    let first = end - 49;
    // Two minutes before the instant, and never behind it.
    for minutes in [0, 1, 2, 3, 10, 31, 49, 51] {
        let found = world.store.log_at(at(minutes * 60)).await.unwrap();
        let expected = if minutes < 3 { first - 1 } else { first + minutes - 3 };
        assert_eq!(found, expected.min(end), "{minutes}");
    }
    assert_eq!(world.store.log_at(at(0) + SignedDuration::from_hours(500)).await.unwrap(), end);
}

async fn cursors_are_moved_only_where_nobody_is(world: World) {
    let lab = world.lab("lumo", able()).await;
    lab.admit("A-1").await;
    let id = make(&world, &shop(), 0).await;
    let skip = |from, version, seconds| {
        Write::SkipWebhooks(vec![SkipWebhook { id: id.clone(), version, from, to: 50, now: at(seconds) }])
    };
    let cursor = async |world: &World| read(world, &id).await.unwrap().cursor;
    world.write(skip(1, 1, 0)).await;
    world.write(skip(0, 2, 0)).await;
    assert_eq!(cursor(&world).await, 0, "another cursor, another definition");
    let taking = ClaimWebhook { take: Some((0, 20)), ..claiming(&id, "a", 0) };
    let first = claim_as(&world, taking).await.unwrap();
    world.write(skip(0, 1, 500)).await;
    assert_eq!(cursor(&world).await, 0, "what was taken is unsure");
    let item = SettleWebhook { lease_until: None, taken: 0, ..settling(&id, &first, "a", 1) };
    settle(&world, item).await.unwrap();
    world.write(skip(0, 1, 2)).await;
    assert_eq!(cursor(&world).await, 50);
}

async fn who_is_switched_on_again_is_tried_at_once(world: World) {
    let id = make(&world, &shop(), 0).await;
    let first = claim(&world, &id, "a", 0).await.unwrap();
    let waits = delivery(1, None, DeliveryState::Waiting, 900);
    let failed =
        SettleWebhook { deliveries: vec![waits], lease_until: None, ..settling(&id, &first, "a", 1) };
    settle(&world, failed).await.unwrap();
    let other = WebhookSpec { description: "the new one".to_owned(), ..spec() };
    for (version, spec, enabled, next) in [
        // What is only described otherwise waits as before, and so does what is switched off.
        (1, other.clone(), true, 900),
        (2, other.clone(), false, 900),
        (3, spec(), false, 900),
        (4, spec(), true, 5),
    ] {
        let set = WebhookChange::Set { spec, enabled, version };
        assert_eq!(change(&world, &id, set).await, Put::Done(version + 1));
        let filter = DeliveryFilter { state: None, before: None, limit: 10 };
        let found = world.store.deliveries(&id, &filter).await.unwrap();
        assert_eq!(found[0].next_at, at(next), "version {version}");
    }
}
