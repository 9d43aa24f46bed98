//! Labs, platforms, keys and remembered answers.

use stoppress::domain::ids::{LabId, PlatformId, RegionId};
use stoppress::store::{
    KeyRow, LabSwitch, Put, PutLab, PutPlatform, Remembered, RevokeCalendarLinks, SetLab, Write, Written,
};

use super::on_both;
use crate::common::world::{CUTOFF, World, able, accepted, at, ops, unclear};

on_both!(
    labs_have_versions,
    labs_are_switched,
    platforms_change,
    keys_end,
    the_first_answer_is_remembered,
    links_to_a_calendar_are_taken_back_one_region_at_a_time,
);

async fn put(world: &World, write: Write) -> Put {
    match world.write(write).await {
        Written::Put(put) => put,
        other => panic!("{other:?}"),
    }
}

async fn put_lab(world: &World, spec: &str, if_version: Option<i64>) -> Put {
    let id = LabId::parse("lumo").unwrap();
    let item = PutLab { id, spec: spec.to_owned(), if_version, at: at(0), actor: ops() };
    put(world, Write::PutLab(Box::new(item))).await
}

async fn labs_have_versions(world: World) {
    let (one, two) = (r#"{"profile":{}}"#, r#"{"profile":{"lookup":true},"note":0.1}"#);
    assert_eq!(put_lab(&world, one, Some(1)).await, Put::Version(0));
    assert_eq!(put_lab(&world, one, Some(0)).await, Put::Done(1));
    assert_eq!(put_lab(&world, one, None).await, Put::Unchanged(1));
    assert_eq!(put_lab(&world, two, Some(0)).await, Put::Version(1));
    assert_eq!(put_lab(&world, two, Some(1)).await, Put::Done(2));
    let labs = world.store.labs().await.unwrap();
    assert_eq!((labs.len(), labs[0].version, labs[0].spec.as_str()), (1, 2, two));
    world.verify().await;
}

async fn set_lab(world: &World, id: &LabId, to: LabSwitch, seconds: i64) -> Put {
    put(world, Write::SetLab(Box::new(SetLab { id: id.clone(), to, at: at(seconds), actor: ops() }))).await
}

async fn labs_are_switched(world: World) {
    let lab = world.lab("lumo", able()).await;
    let pause = || LabSwitch::Pause("no paper".to_owned());
    let nobody = LabId::parse("nobody").unwrap();
    assert_eq!(set_lab(&world, &nobody, pause(), 1).await, Put::NotFound);
    assert_eq!(set_lab(&world, &lab.id, LabSwitch::Resume, 1).await, Put::Unchanged(1));
    assert_eq!(set_lab(&world, &lab.id, pause(), 1).await, Put::Done(2));
    assert_eq!(set_lab(&world, &lab.id, pause(), 2).await, Put::Unchanged(2));
    let rows = world.store.labs().await.unwrap();
    assert_eq!(rows[0].paused, Some((at(1), "no paper".to_owned())));
    lab.admit("A-1").await;
    world.close(CUTOFF).await;
    assert!(world.store.due(at(CUTOFF)).await.unwrap().labs.is_empty(), "nothing is due at a paused lab");
    assert_eq!(set_lab(&world, &lab.id, LabSwitch::Resume, 3).await, Put::Done(3));
    assert_eq!(world.store.due(at(CUTOFF)).await.unwrap().labs, std::slice::from_ref(&lab.id));

    assert_eq!(set_lab(&world, &lab.id, LabSwitch::Delete, 4).await, Put::InUse(1));
    let out = lab.send(CUTOFF + 1).await;
    assert_eq!(set_lab(&world, &lab.id, LabSwitch::Delete, 5).await, Put::InUse(1), "on the wire");
    lab.settle(&out, unclear(), CUTOFF + 2).await.unwrap();
    assert_eq!(set_lab(&world, &lab.id, LabSwitch::Delete, 6).await, Put::InUse(1), "of unknown end");
    lab.settle(&out, accepted(), CUTOFF + 3).await.unwrap();
    assert_eq!(set_lab(&world, &lab.id, LabSwitch::Delete, 7).await, Put::Done(4));
    assert_eq!(set_lab(&world, &lab.id, pause(), 8).await, Put::NotFound);
    assert!(world.store.labs().await.unwrap().is_empty());
    let back = serde_json::json!({"profile": able()}).to_string();
    assert_eq!(put_lab(&world, &back, Some(0)).await, Put::Done(5), "the same definition brings it back");
    assert_eq!(world.store.labs().await.unwrap().len(), 1);
    world.verify().await;
}

async fn platforms_change(world: World) {
    let platform = |spec: &str| {
        let id = PlatformId::parse("shop").unwrap();
        Write::PutPlatform(Box::new(PutPlatform { id, spec: spec.to_owned(), at: at(0), actor: ops() }))
    };
    assert_eq!(put(&world, platform(r#"{"name":"One"}"#)).await, Put::Done(1));
    assert_eq!(put(&world, platform(r#"{"name":"One"}"#)).await, Put::Unchanged(1));
    assert_eq!(put(&world, platform(r#"{"name":"Two"}"#)).await, Put::Done(2));
    let rows = world.store.platforms().await.unwrap();
    assert_eq!((rows.len(), rows[0].version), (1, 2));
    world.verify().await;
}

async fn keys_end(world: World) {
    let key = KeyRow {
        id: "k1".to_owned(),
        scope: "platform".to_owned(),
        owner: "shop".to_owned(),
        name: "the shop".to_owned(),
        hash: "c".repeat(64),
        created_at: at(0),
        expires_at: Some(at(100)),
        revoked_at: None,
        second_factor_at: None,
    };
    let revoke = |id: &str| Write::RevokeKey { id: id.to_owned(), at: at(5), actor: ops() };
    let other = KeyRow { id: "k2".to_owned(), ..key.clone() };
    let writes = vec![
        Write::PutKey(Box::new(key.clone()), ops()),
        Write::PutKey(Box::new(other), ops()),
        revoke("k2"),
    ];
    let written = world.store.apply(writes).await.unwrap();
    assert!(matches!(written[..], [Written::Done, Written::Done, Written::Put(Put::Done(2))]), "{written:?}");
    assert_eq!(put(&world, revoke("k3")).await, Put::NotFound);
    assert_eq!(put(&world, revoke("k1")).await, Put::Done(2));
    assert_eq!(put(&world, revoke("k1")).await, Put::Unchanged(2));
    let keys = world.store.keys().await.unwrap();
    assert_eq!(keys[0], KeyRow { revoked_at: Some(at(5)), ..key });
    world.verify().await;
}

async fn the_first_answer_is_remembered(world: World) {
    let answer = |body: &str, seconds| Remembered {
        scope: "platform:shop POST /v1/orders".to_owned(),
        key: "abc".to_owned(),
        fingerprint: "f".repeat(64),
        status: 201,
        body: body.to_owned(),
        at: at(seconds),
    };
    let first = answer("first", 1);
    world.write(Write::Remember(Box::new(first.clone()))).await;
    world.write(Write::Remember(Box::new(answer("second", 2)))).await;
    let found = world.store.remembered(&first.scope, "abc").await.unwrap();
    assert_eq!(found.as_ref(), Some(&first));
    assert!(world.store.remembered("platform:other POST /v1/orders", "abc").await.unwrap().is_none());
    world.write(Write::Forget { before: at(1) }).await;
    assert!(world.store.remembered(&first.scope, "abc").await.unwrap().is_some());
    world.write(Write::Forget { before: at(2) }).await;
    assert!(world.store.remembered(&first.scope, "abc").await.unwrap().is_none());
}

async fn links_to_a_calendar_are_taken_back_one_region_at_a_time(world: World) {
    let lab = world.lab("lumo", able()).await;
    let (eu, us) = (RegionId::parse("eu").unwrap(), RegionId::parse("us").unwrap());
    let revoke = async |id: &LabId| {
        let item = RevokeCalendarLinks { lab: id.clone(), region: eu.clone(), at: at(10), actor: ops() };
        world.write(Write::RevokeCalendarLinks(Box::new(item))).await
    };
    assert_eq!(world.store.calendar_serial(&lab.id, &eu).await.unwrap(), 0);
    for serial in 1..=2 {
        assert!(matches!(revoke(&lab.id).await, Written::LinksRevoked(Some(now)) if now == serial));
        assert_eq!(world.store.calendar_serial(&lab.id, &eu).await.unwrap(), serial);
    }
    assert_eq!(world.store.calendar_serial(&lab.id, &us).await.unwrap(), 0);
    assert!(matches!(revoke(&LabId::parse("nova").unwrap()).await, Written::LinksRevoked(None)));
    world.verify().await;
}
