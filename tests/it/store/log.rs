//! The log: chained, checkpointed, and nothing in it can change or vanish unseen.

use stoppress::domain::evidence::HASHES_MAX;
use stoppress::domain::ids::OrderId;
use stoppress::domain::order::Stage;
use stoppress::store::{ChangeKind, Scope, Write};

use super::on_both;
use crate::common::world::{CUTOFF, World, able, accepted, at};

on_both!(
    the_log_tells_the_whole_story,
    what_is_given_away_has_the_checkpoints_that_cover_it,
    a_checkpoint_that_covers_too_much_comes_without_its_hashes,
    an_order_that_left_its_batch_shows_that_batch_too,
    a_changed_entry_is_found,
    a_vanished_entry_is_found,
    a_vanished_end_is_found,
    a_vanished_subject_is_found,
    a_log_that_was_built_again_is_found,
    checkpoints_come_in_any_order_of_their_instants,
    the_feed_has_no_holes_that_fill_later,
    the_feed_has_no_holes_where_numbers_are_given_out_again,
);

/// Some life, a checkpoint, some more life.
async fn story(world: &World) -> String {
    let lab = world.lab("lumo", able()).await;
    let (order, out) = lab.sent("A-1").await;
    lab.settle(&out, accepted(), CUTOFF + 2).await.unwrap();
    world.write(Write::Checkpoint { at: at(CUTOFF + 3) }).await;
    lab.report(&order, Stage::Printed, CUTOFF + 4).await;
    let other = world.lab("nova", able()).await;
    other.admit("A-2").await;
    world.write(Write::Checkpoint { at: at(CUTOFF + 5) }).await;
    // Nothing since: no checkpoint.
    world.write(Write::Checkpoint { at: at(CUTOFF + 6) }).await;
    lab.report(&order, Stage::Shipped, CUTOFF + 7).await;
    let found = world.store.verify_events().await.unwrap();
    assert_eq!(found.breaks, Vec::<String>::new());
    assert_eq!(found.checkpoints, 2);
    assert_eq!(found.events, world.number("select count(*) from events").await);
    order.to_string()
}

async fn breaks(world: &World) -> Vec<String> {
    world.store.verify_events().await.unwrap().breaks
}

async fn what_is_given_away_has_the_checkpoints_that_cover_it(world: World) {
    let order = OrderId::parse(&story(&world).await).unwrap();
    let found = world.store.evidence(&Scope::Ops, &order).await.unwrap().unwrap();
    let [first, second] = &found.checkpoints[..] else { panic!("{:?}", found.checkpoints) };
    for (kind, covered) in [
        ("order.admitted", Some(first.seq)),
        ("transfer.at_lab", Some(first.seq)),
        ("order.printed", Some(second.seq)),
        ("order.shipped", None),
    ] {
        let entry = found.entries.iter().find(|entry| entry.hashed[3] == kind).unwrap();
        assert_eq!(entry.checkpoint, covered, "{kind}");
    }
    assert_eq!((first.previous.as_str(), &second.previous), ("", &first.hash));
    for (point, from) in [(first, 0), (second, first.seq)] {
        let covered: Vec<i64> = point.entries.as_ref().unwrap().iter().map(|entry| entry.seq).collect();
        assert_eq!(covered, (from + 1..=point.seq).collect::<Vec<_>>());
    }
}

/// Also where two of them together do.
async fn a_checkpoint_that_covers_too_much_comes_without_its_hashes(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let there = world.number("select count(*) from events").await;
    let (last, most) = (world.number("select max(seq) from events").await, HASHES_MAX as i64);
    let own = if world.is_postgres() { "overriding system value" } else { "" };
    let entries = async |subject: &str, from: i64, until: i64| {
        let sql = format!(
            "with recursive n(i) as (select cast({from} as bigint) union all select i + 1 from n where i < {until})
            insert into events (seq, at, subject, lab, kind, actor, detail, previous, hash) {own}
            select i, 0, '{subject}', 'lumo', 'order.changed', 'ops', '{{}}', '', 'of ' || i from n"
        );
        world.run(&sql).await;
    };
    let checkpoint = async |at: i64, seq: i64| {
        world
            .run(&format!("insert into checkpoints (at, seq, hash) values ({at}, {seq}, 'all until {seq}')"))
            .await;
    };
    let full = last + most - there;
    entries("another", last + 1, full).await;
    checkpoint(1, full).await;
    entries(order.as_str(), full + 1, full + 1).await;
    checkpoint(2, full + 1).await;
    let found = world.store.evidence(&Scope::Ops, &order).await.unwrap().unwrap();
    let covered: Vec<_> = found.checkpoints.iter().map(|point| (point.seq, &point.entries)).collect();
    let [(first, Some(whole)), (second, None)] = covered[..] else { panic!("{} points", covered.len()) };
    assert_eq!((first, whole.len() as i64, second), (full, most, full + 1));
    assert_eq!(found.entries.last().unwrap().checkpoint, Some(full + 1));
}

async fn an_order_that_left_its_batch_shows_that_batch_too(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let batch = world.order(&order).await.batch.unwrap().id;
    lab.change(&order, ChangeKind::Hold).await;
    assert!(world.order(&order).await.batch.is_none());
    let found = world.store.evidence(&Scope::Ops, &order).await.unwrap().unwrap();
    let of_batch: Vec<_> = found.entries.iter().filter(|entry| entry.hashed[2] == batch.as_str()).collect();
    assert_eq!(of_batch.iter().map(|entry| entry.hashed[3].as_str()).collect::<Vec<_>>(), ["batch.opened"]);
}

async fn the_log_tells_the_whole_story(world: World) {
    let order = story(&world).await;
    let log = world.store.changelog(&Scope::Ops, &serde_json::from_str(&format!("{order:?}")).unwrap()).await;
    let log = log.unwrap().unwrap();
    let kinds: Vec<_> = log.iter().map(|event| event.kind.as_str()).collect();
    let expected = [
        "order.admitted",
        "batch.opened",
        "batch.closed",
        "transfer.sending",
        "batch.handed_on",
        "transfer.at_lab",
        "order.printed",
        "order.shipped",
    ];
    let mut sorted = kinds.clone();
    sorted.sort_unstable();
    let mut wanted = expected.to_vec();
    wanted.sort_unstable();
    assert_eq!(sorted, wanted, "{kinds:?}");
    assert!(log.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    let all = world.store.events(0, 1000).await.unwrap();
    assert!(log.iter().all(|event| all.contains(event)));
    assert_eq!(world.store.events(all[1].seq, 2).await.unwrap(), all[2..4]);
}

async fn a_changed_entry_is_found(world: World) {
    let order = story(&world).await;
    for (column, value) in [
        ("detail", "'{\"lied\":true}'"),
        ("actor", "'somebody'"),
        ("kind", "'order.received'"),
        ("at", "1"),
        ("subject", "'ord_00000000000000000000000000000000'"),
        // Only blanks between: the text is what was hashed.
        ("detail", "replace(detail, ':', ': ')"),
    ] {
        let row = format!("subject = '{order}' and kind = 'order.printed'");
        let seq = world.number(&format!("select seq from events where {row}")).await;
        world.run(&format!("create table saved as select * from events where seq = {seq}")).await;
        assert_eq!(world.run(&format!("update events set {column} = {value} where seq = {seq}")).await, 1);
        assert!(!breaks(&world).await.is_empty(), "{column} was changed");
        let back = format!("(select {column} from saved)");
        world.run(&format!("update events set {column} = {back} where seq = {seq}")).await;
        world.run("drop table saved").await;
        assert!(breaks(&world).await.is_empty(), "{column} was put back");
    }
}

async fn a_vanished_entry_is_found(world: World) {
    let order = story(&world).await;
    world.run(&format!("delete from events where subject = '{order}' and kind = 'order.printed'")).await;
    assert!(!breaks(&world).await.is_empty());
}

async fn a_vanished_end_is_found(world: World) {
    let order = story(&world).await;
    // After the last checkpoint, and the last of its subject: its own row still points to it.
    world.run(&format!("delete from events where subject = '{order}' and kind = 'order.shipped'")).await;
    assert_eq!(breaks(&world).await, [format!("{order}: its newest entry is missing from the log")]);
}

async fn a_vanished_subject_is_found(world: World) {
    let order = story(&world).await;
    world.run(&format!("delete from events where subject = '{order}'")).await;
    world.run(&format!("delete from standings where id = '{order}'")).await;
    world.run(&format!("delete from orders where id = '{order}'")).await;
    let breaks = breaks(&world).await;
    assert!(breaks.iter().any(|what| what.starts_with("checkpoint")), "{breaks:?}");
}

async fn a_log_that_was_built_again_is_found(world: World) {
    story(&world).await;
    // The chain of the second lab's subjects, deleted and counted over.
    world.run("delete from events where lab = 'nova'").await;
    assert!(!breaks(&world).await.is_empty());
    world.run("delete from events").await;
    assert!(breaks(&world).await.iter().any(|what| what.contains("the log ends before it")));
}

/// As of gateways that waited for the same lock, or whose clocks differ.
async fn checkpoints_come_in_any_order_of_their_instants(world: World) {
    let lab = world.lab("lumo", able()).await;
    for (reference, seconds) in [("A-1", 30), ("A-2", 10), ("A-3", 20)] {
        lab.admit(reference).await;
        world.write(Write::Checkpoint { at: at(seconds) }).await;
    }
    let found = world.store.verify_events().await.unwrap();
    assert_eq!((found.breaks, found.checkpoints), (Vec::new(), 3));
    world.run("delete from events where subject = (select id from orders where reference = 'A-2')").await;
    assert!(!breaks(&world).await.is_empty());
}

async fn the_feed_has_no_holes_that_fill_later(world: World) {
    if !world.is_postgres() {
        return; // One writer: entries get their numbers in the order in which they commit.
    }
    story(&world).await;
    let before = world.store.events(0, 1000).await.unwrap();
    let last = before.last().unwrap().seq;
    // Another replica, between its insert and its commit.
    let mut slow = sqlx::PgPool::connect(&world.url).await.unwrap().begin().await.unwrap();
    let insert = "insert into events (at, subject, lab, kind, actor, detail, previous, hash)
        values (1, 'slow', '', 'k', 'a', '{}', '', 'h')";
    sqlx::query("update labs set updated_at = updated_at where id = 'nova'")
        .execute(&mut *slow)
        .await
        .unwrap();
    sqlx::query(insert).execute(&mut *slow).await.unwrap();
    let lab = world.lab("vega", able()).await;
    lab.admit("C-1").await;
    assert!(world.store.events(last, 10).await.unwrap().is_empty(), "what is behind the slow one waits");
    slow.commit().await.unwrap();
    let after = world.store.events(last, 10).await.unwrap();
    assert_eq!(after[0].subject, "slow");
    assert_eq!(after.len(), 4, "{after:?}");
}

async fn the_feed_has_no_holes_where_numbers_are_given_out_again(world: World) {
    if !world.is_postgres() {
        return;
    }
    story(&world).await;
    let last = world.store.events(0, 1000).await.unwrap().last().unwrap().seq;
    // Numbers were given out to a transaction that came to nothing, and everybody has looked since.
    world.run("select setval('events_seq_seq', (select max(seq) + 3 from events))").await;
    assert!(world.store.events(last, 10).await.unwrap().is_empty());
    // The standby that took over has not heard of them.
    world.run("select setval('events_seq_seq', (select max(seq) from events))").await;
    let mut slow = sqlx::PgPool::connect(&world.url).await.unwrap().begin().await.unwrap();
    let insert = "insert into events (at, subject, lab, kind, actor, detail, previous, hash)
        values (1, 'slow', '', 'k', 'a', '{}', '', 'h')";
    sqlx::query(insert).execute(&mut *slow).await.unwrap();
    world.lab("vega", able()).await.admit("C-1").await;
    assert!(world.store.events(last, 10).await.unwrap().is_empty(), "what is behind the slow one waits");
    slow.commit().await.unwrap();
    assert_eq!(world.store.events(last, 10).await.unwrap()[0].subject, "slow");
}
