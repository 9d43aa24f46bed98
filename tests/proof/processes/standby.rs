//! What a store does whose address leads to another server: to a standby that has not taken over, to one that has, and
//! away from a primary that takes no writes any more.

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sqlx::Executor as _;
use stoppress::domain::ids::OrderId;
use stoppress::store::{self, Admission, Admitted, Error, OrderRef, Scope, Store, Write, Written};

use super::pair::{End, Pair};
use super::pause;
use crate::common::world::{World, able, at};

/// A pair, and a store that knows its address.
async fn behind_a_relay() -> (Pair, World) {
    let mut world = World::postgres().await;
    let pair = Pair::of(&world.url).await;
    world.store.close().await;
    world.url = pair.url();
    world.store = store::open(&world.url, at(0)).await.unwrap();
    (pair, world)
}

/// One after another: while the server that all tests share is copied, a checkpoint of another test could remove the log
/// that the copy needs.
fn run(test: impl Future<Output = ()>) {
    let _turn = crate::turn();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

async fn is_there(store: &dyn Store, order: &OrderId) -> store::Result<bool> {
    Ok(store.orders(&Scope::Ops, &[OrderRef::Id(order.clone())]).await?.remove(0).is_some())
}

/// The primary ends; the standby, which may have ended before it, takes over; the address follows.
async fn take_over(pair: &mut Pair) {
    pair.primary.end(End::Killed);
    if !pair.standby.runs() {
        pair.start_standby().await;
    }
    pair.promote(false).await.remove();
    pair.relay.lead(&pair.primary.folder);
}

/// Writes, once more if need be: whoever finds out that a server is gone finds it out for all connections.
async fn admit(store: &dyn Store, admission: &Arc<Admission>) -> Admitted {
    let write = || store::one(store, Write::Admit(Arc::clone(admission)));
    let mut answer = write().await;
    if answer.is_err() {
        answer = write().await;
    }
    let Ok(Written::Admitted(admitted)) = answer else { panic!("{answer:?}") };
    admitted
}

#[test]
fn nothing_is_answered_that_the_standby_does_not_have() {
    run(async {
        let (mut pair, world) = behind_a_relay().await;
        let lab = world.lab("lumo", able()).await;
        let kept = lab.admit("A-1").await;
        pair.standby.end(End::Killed);
        let waits = Arc::new(lab.admission("A-2"));
        let (store, write) = (Arc::clone(&world.store), Write::Admit(Arc::clone(&waits)));
        let write = tokio::spawn(async move { store::one(&*store, write).await });
        pause(3_000).await;
        assert!(!write.is_finished(), "only the primary has it");
        take_over(&mut pair).await;
        let answer = write.await.unwrap();
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
        let again = admit(&*world.store, &waits).await;
        assert!(matches!(again, Admitted::New { .. }), "{again:?}");
        assert!(is_there(&*world.store, &kept).await.unwrap());
        world.verify().await;
        world.store.close().await;
    });
}

/// What the documents say is not protected.
#[test]
fn an_asynchronous_standby_loses_what_was_answered() {
    run(async {
        let (mut pair, world) = behind_a_relay().await;
        let lab = world.lab("lumo", able()).await;
        let kept = lab.admit("A-1").await;
        pair.wait_for("", &pair.primary).await;
        while !store::inspect(&world.url).await.unwrap().standbys.unwrap().synchronous.is_empty() {
            pause(50).await;
        }
        assert_eq!(store::inspect(&world.url).await.unwrap().standbys.unwrap().left_out, "s2");
        pair.standby.end(End::Killed);
        let lost = lab.admit("A-2").await;
        assert!(is_there(&*world.store, &lost).await.unwrap());
        take_over(&mut pair).await;
        let later = Arc::new(lab.admission("A-3"));
        admit(&*world.store, &later).await;
        assert!(is_there(&*world.store, &kept).await.unwrap());
        assert!(!is_there(&*world.store, &lost).await.unwrap());
        world.store.close().await;
    });
}

#[test]
fn a_standby_is_nobodys_database() {
    run(async {
        let (pair, world) = behind_a_relay().await;
        let seen = store::inspect(&world.url).await.unwrap().standbys.unwrap();
        assert_eq!((seen.read_only, seen.following, seen.synchronous.as_str()), (false, 1, "s2"));
        assert_eq!(seen.left_out, "");
        pair.relay.lead(&pair.standby.folder);
        let seen = store::inspect(&world.url).await.unwrap().standbys.unwrap();
        assert!(seen.read_only);
        let refused = store::open(&world.url, at(0)).await;
        let Err(Error::Open(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("it takes no writes: a standby that has not taken over"), "{why}");
        world.store.close().await;
    });
}

#[test]
fn whoever_was_led_to_a_standby_goes_on_once_it_takes_over() {
    run(async {
        let (mut pair, world) = behind_a_relay().await;
        let lab = world.lab("lumo", able()).await;
        let order = lab.admit("A-1").await;
        // The address moves first, and the standby takes over later.
        pair.primary.end(End::Killed);
        pair.relay.lead(&pair.standby.folder);
        let read = {
            let (store, order) = (Arc::clone(&world.store), order.clone());
            // The first tries find connections that have ended.
            async move {
                loop {
                    if let Ok(there) = is_there(&*store, &order).await {
                        return there;
                    }
                    pause(100).await;
                }
            }
        };
        let read = tokio::spawn(read);
        pause(3_000).await;
        assert!(!read.is_finished(), "what a standby shows may be old");
        let old = pair.promote(false).await;
        assert!(read.await.unwrap(), "what was acknowledged is there");
        for reference in ["A-2", "A-3", "A-4", "A-5"] {
            let admission = Arc::new(lab.admission(reference));
            admit(&*world.store, &admission).await;
            assert!(is_there(&*world.store, &admission.id).await.unwrap());
        }
        world.verify().await;
        world.store.close().await;
        old.remove();
    });
}

#[test]
fn a_primary_that_takes_no_writes_any_more_is_left() {
    run(async {
        let (mut pair, world) = behind_a_relay().await;
        let lab = world.lab("lumo", able()).await;
        let first = lab.admit("A-1").await;
        // As many connections as there can be, all at rest but for a few.
        let reads = (0..200).map(|_| is_there(&*world.store, &first));
        assert!(join_all(reads).await.into_iter().all(|there| there.unwrap()));
        let mut admin = pair.connect(&pair.primary).await.unwrap();
        let mut holder = pair.connect(&pair.primary).await.unwrap();
        holder.execute("begin").await.unwrap();
        holder.execute("lock table sessions in access exclusive mode").await.unwrap();
        let in_use = (0..5).map(|_| {
            let store = Arc::clone(&world.store);
            tokio::spawn(async move { store.session("nobody's").await })
        });
        let in_use: Vec<_> = in_use.collect();
        pair.until(&mut admin, "select count(*) = 5 from pg_locks where not granted").await;
        // A switch-over as some services do it: whoever is connected stays connected, to a server that only reads.
        admin.execute("alter system set default_transaction_read_only = on").await.unwrap();
        admin.execute("select pg_reload_conf()").await.unwrap();
        let old = pair.promote(false).await;
        pair.relay.lead_new(&pair.primary.folder);
        let second = lab.admit("A-2").await;
        holder.execute("rollback").await.unwrap();
        for read in in_use {
            assert!(read.await.unwrap().unwrap().is_none());
        }
        for _ in 0..40 {
            assert!(is_there(&*world.store, &second).await.unwrap(), "it was read where it cannot be");
        }
        world.verify().await;
        world.store.close().await;
        old.remove();
    });
}

/// All that wait hear it together: no caller waits for the others' connections.
#[test]
fn whoever_waits_for_a_server_that_is_not_there_hears_it_with_the_others() {
    run(async {
        let (pair, world) = behind_a_relay().await;
        let lab = world.lab("lumo", able()).await;
        lab.admit("A-0").await;
        // Somebody is there, and says nothing.
        let silent = tempfile::tempdir().unwrap();
        let _listener = UnixListener::bind(silent.path().join(".s.PGSQL.5432")).unwrap();
        pair.relay.lead(silent.path());
        let since = Instant::now();
        let writes = (1..=40).map(|n| {
            let write = Write::Admit(Arc::new(lab.admission(&format!("A-{n}"))));
            store::one(&*world.store, write)
        });
        for answer in join_all(writes).await {
            assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
        }
        let waited = since.elapsed();
        assert!(waited < Duration::from_secs(45), "one after the other: {waited:?}");
        pair.relay.lead(&pair.primary.folder);
        lab.admit("A-1").await;
        world.verify().await;
        world.store.close().await;
    });
}
