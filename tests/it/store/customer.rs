//! Customers' links in the store: the keys that sign them, and the serial that takes them back.

use secrecy::ExposeSecret as _;
use stoppress::domain::ids::{OrderId, PlatformId};
use stoppress::store::{RevokeLinks, RotateLinks, Scope, Write, Written};

use super::on_both;
use crate::common::world::{World, able, at, ops, shop};

on_both!(
    the_first_key_stays,
    keys_are_rotated_one_after_the_other,
    links_are_taken_back_for_one_order_and_every_gateway,
    at_the_same_time_each_counts,
);

async fn revoke(world: &World, order: &OrderId, scope: Scope) -> Option<u32> {
    let revoke = RevokeLinks { order: order.clone(), scope, at: at(1), actor: ops() };
    let Written::LinksRevoked(serial) = world.write(Write::RevokeLinks(Box::new(revoke))).await else {
        panic!("not links")
    };
    serial
}

async fn the_first_key_stays(world: World) {
    assert!(world.store.customer_keys().await.unwrap().is_empty());
    for secret in ["11", "22"] {
        world.write(Write::PutCustomerKey { secret: secret.repeat(32).into(), at: at(0) }).await;
    }
    let stored = world.store.customer_keys().await.unwrap();
    let shown: Vec<_> =
        stored.iter().map(|(number, text)| (*number, text.expose_secret().to_owned())).collect();
    assert_eq!(shown, [(1, "11".repeat(32))]);
    assert!(!format!("{stored:?}").contains("11"));
}

async fn keys_are_rotated_one_after_the_other(world: World) {
    let rotate = |end_old| {
        let secret = if end_old { "bb" } else { "aa" }.repeat(32).into();
        Write::RotateLinks(Box::new(RotateLinks { secret, end_old, at: at(5), actor: ops() }))
    };
    let numbers =
        async || world.store.customer_keys().await.unwrap().iter().map(|it| it.0).collect::<Vec<_>>();
    world.write(Write::PutCustomerKey { secret: "11".repeat(32).into(), at: at(0) }).await;
    // Two at the same time, through two gateways where there may be two.
    let other = world.replica().await;
    let (one, two) = tokio::join!(world.store.apply(vec![rotate(false)]), other.apply(vec![rotate(false)]));
    let mut made: Vec<_> = [one.unwrap(), two.unwrap()]
        .concat()
        .iter()
        .map(|it| if let Written::LinksRotated(Some(number)) = it { *number } else { panic!("{it:?}") })
        .collect();
    made.sort_unstable();
    assert_eq!((made, numbers().await), (vec![2, 3], vec![1, 2, 3]));
    let last = world.write(rotate(true)).await;
    assert!(matches!(last, Written::LinksRotated(Some(4))), "{last:?}");
    assert_eq!(numbers().await, [4]);
    let log = world.store.log(&["customer_links"]).await.unwrap();
    let told: Vec<_> =
        log.iter().map(|it| (it.detail["key"].as_i64(), it.detail["ended_before"].as_bool())).collect();
    assert_eq!(told, [(Some(2), Some(false)), (Some(3), Some(false)), (Some(4), Some(true))]);
    assert_eq!(
        world.number("select count(*) from events where detail like '%aaaa%' or detail like '%bbbb%'").await,
        0
    );
    world.run("update customer_keys set id = 65535").await;
    let none = world.write(rotate(false)).await;
    assert!(matches!(none, Written::LinksRotated(None)), "{none:?}");
    world.verify().await;
}

async fn links_are_taken_back_for_one_order_and_every_gateway(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (order, other) = (lab.admit("A-1").await, lab.admit("A-2").await);
    assert_eq!(world.store.link_serial(&order).await.unwrap(), 0);
    assert_eq!(revoke(&world, &order, Scope::Platform(shop())).await, Some(1));
    assert_eq!(revoke(&world, &order, Scope::Ops).await, Some(2));
    let foreign = PlatformId::parse("somebody-else").unwrap();
    assert_eq!(revoke(&world, &order, Scope::Platform(foreign)).await, None);
    assert_eq!(revoke(&world, &world.order_id(), Scope::Ops).await, None);
    if world.is_postgres() {
        assert_eq!(world.replica().await.link_serial(&order).await.unwrap(), 2);
    }
    assert_eq!(world.store.link_serial(&order).await.unwrap(), 2);
    assert_eq!(world.store.link_serial(&other).await.unwrap(), 0);
    let log = world.store.changelog(&Scope::Ops, &order).await.unwrap().unwrap();
    assert_eq!(log.iter().filter(|event| event.kind == "order.links_revoked").count(), 2);
    assert_eq!(
        world.order(&order).await.version,
        world.order(&other).await.version,
        "nobody's order changed"
    );
    world.verify().await;
}

async fn at_the_same_time_each_counts(world: World) {
    let lab = world.lab("lumo", able()).await;
    let order = lab.admit("A-1").await;
    let one = || revoke(&world, &order, Scope::Ops);
    let mut serials = [one(), one(), one(), one()].map(Box::pin);
    let [a, b, c, d] = &mut serials;
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    let mut got = [a, b, c, d];
    got.sort();
    assert_eq!(got, [Some(1), Some(2), Some(3), Some(4)]);
    world.verify().await;
}
