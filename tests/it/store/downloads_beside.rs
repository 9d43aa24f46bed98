//! Downloads beside what else becomes of an order, and where a platform is asked.

use std::sync::Arc;

use serde_json::json;
use stoppress::domain::downloads::{DownloadState as State, DownloadWord as Word};
use stoppress::domain::ids::{OrderId, PlatformId};
use stoppress::domain::measures::Lasting;
use stoppress::domain::order::{OrderState, Stage};
use stoppress::domain::stop::StopState;
use stoppress::store::{
    ApprovalOutcome, CallbackChange, ChangeKind, Changed, Decided, DownloadReported, Put, PutPlatform,
    Replace, Replaced, ReportDownload, Scope, StopAsk, StopOutcome, Write, Written, one,
};

use super::approvals::outcome;
use super::downloads::{
    SECRET, WITHIN, admitted, asking, change, mixed, platform, report_as, revoking, set, stands,
};
use super::on_both;
use crate::common::world::{CUTOFF, Lab, World, able, accepted, at, deaf, ops, removed, shop, will_print};

on_both!(
    a_replacement_revokes_downloads_only_of_what_is_stopped,
    a_stop_and_a_report_at_once,
    whose_download_it_is,
    an_address_is_changed_and_its_log_says_so,
    too_late_for_the_print_the_merchant_still_decides_about_the_downloads,
    what_was_declined_goes_with_no_other_line_and_what_is_asked_is_asked,
);

/// An order of two lines that are printed and two downloads, printed and gone.
async fn shipped(lab: &Lab<'_>, reference: &str, closes: i64) -> OrderId {
    let mut admission = mixed(lab, reference);
    admission.join = Some(lab.window(closes));
    let order = admission.id.clone();
    lab.admit_as(admission).await;
    lab.world.close(closes).await;
    let out = lab.send(closes + 1).await;
    lab.settle(&out, accepted(), closes + 2).await.unwrap();
    lab.report(&order, Stage::Shipped, closes + 3).await;
    order
}

async fn too_late_for_the_print_the_merchant_still_decides_about_the_downloads(world: World) {
    let lab = world.lab("lumo", able()).await;
    platform(&world, true).await;
    for (nth, agrees) in [true, false].into_iter().enumerate() {
        let closes = CUTOFF + 100 * i64::try_from(nth).unwrap();
        let order = shipped(&lab, &format!("A-{nth}"), closes).await;
        let approval = lab.asks(&order, closes + 10).await;
        assert!(!approval.held && approval.items.is_none(), "nothing is left to be kept out");
        let facts = world.order(&order).await;
        assert_eq!((facts.state(), facts.stop.is_some()), (OrderState::Shipped, false));
        assert_eq!(stands(&world, &order).await, vec![], "nobody has asked the merchant yet");
        let again = outcome(&world, lab.approval(&order, closes + 11)).await;
        assert!(matches!(&again, ApprovalOutcome::Already(known) if *known == approval), "{again:?}");
        if agrees {
            let stop = lab.agrees(&approval, closes + 20).await;
            assert_eq!(stop.state, StopState::TooLate);
            assert_eq!(stands(&world, &order).await, revoking("2 4"));
        } else {
            let decided = lab.decide(lab.deciding(&approval, false, closes + 20, 9 * CUTOFF)).await;
            assert!(matches!(decided, Decided::Declined(_)), "{decided:?}");
            let again = outcome(&world, lab.approval(&order, closes + 21)).await;
            assert!(matches!(again, ApprovalOutcome::Already(_)), "asked once: {again:?}");
            assert_eq!((stands(&world, &order).await, world.order(&order).await.stop), (vec![], None));
        }
    }
    // Where there is nothing but the print, there is nothing to decide; nor where the platform has said how they stand.
    let order = shipped(&lab, "B-1", 2 * CUTOFF).await;
    for item in ["2", "4"] {
        report_as(&world, &order, item, Word::Fetched, Scope::Ops).await;
    }
    let told = outcome(&world, lab.approval(&order, 2 * CUTOFF + 10)).await;
    let late = |told: &ApprovalOutcome| matches!(told, ApprovalOutcome::Stop(StopOutcome::Asked(stop)) if stop.state == StopState::TooLate);
    assert!(late(&told), "{told:?}");
    world.verify().await;
}

async fn what_was_declined_goes_with_no_other_line_and_what_is_asked_is_asked(world: World) {
    let lab = world.lab("lumo", able()).await;
    platform(&world, true).await;
    let order = shipped(&lab, "A-1", CUTOFF).await;
    let about = |items: &[&str], seconds| {
        let mut ask = lab.approval(&order, seconds);
        ask.stop.items = items.iter().map(|id| (*id).to_owned()).collect();
        ask
    };
    let asked = outcome(&world, about(&["2"], CUTOFF + 10)).await;
    let ApprovalOutcome::Asked(approval) = asked else { panic!("{asked:?}") };
    lab.decide(lab.deciding(&approval, false, CUTOFF + 11, 9 * CUTOFF)).await;
    // All that is printed, and the download that was declined.
    let told = outcome(&world, about(&["1", "2", "3"], CUTOFF + 12)).await;
    let late = |told: &ApprovalOutcome| matches!(told, ApprovalOutcome::Stop(StopOutcome::Asked(stop)) if stop.state == StopState::TooLate);
    assert!(late(&told), "{told:?}");
    assert_eq!(stands(&world, &order).await, vec![], "declined is declined");
    // Beside a stop that left the downloads as they are, a customer's request does not revoke them.
    let whole = outcome(&world, lab.approval(&order, CUTOFF + 13)).await;
    assert!(matches!(whole, ApprovalOutcome::Stop(StopOutcome::Already(_))), "{whole:?}");
    assert_eq!(stands(&world, &order).await, vec![]);
    world.verify().await;
}

async fn a_replacement_revokes_downloads_only_of_what_is_stopped(world: World) {
    platform(&world, true).await;
    // Where it is, what the lab says, which downloads are asked about: of the old one, of the new one.
    for (nth, (sent, answer, of_old, of_new)) in
        [(false, None, "2 4", ""), (true, Some(removed()), "2 4", ""), (true, Some(will_print()), "", "2 4")]
            .into_iter()
            .enumerate()
    {
        let lab = world.lab(&format!("lab-{nth}"), able()).await;
        let old = admitted(&lab, &format!("A-{nth}")).await;
        if sent {
            world.close(CUTOFF).await;
            let out = lab.send(CUTOFF + 1).await;
            lab.settle(&out, accepted(), CUTOFF + 2).await.unwrap();
        }
        let stop = StopAsk { scope: Scope::Platform(shop()), ..lab.asking(&old, CUTOFF + 5) };
        let mut admission = mixed(&lab, &format!("B-{nth}"));
        admission.at = at(CUTOFF + 5);
        let join = Some(lab.window(10 * CUTOFF));
        let item = Replace { stop, admission: Arc::new(admission), join, hold: world.hold_id() };
        let Written::Replaced(Replaced::Done(new, true)) = world.write(Write::Replace(Box::new(item))).await
        else {
            panic!("not replaced")
        };
        if let Some(answer) = answer {
            assert_eq!((stands(&world, &old).await, stands(&world, &new).await), (vec![], vec![]));
            let stop = world.stop_of(&old).await;
            lab.answer(&stop, answer, CUTOFF + 9).await;
        }
        assert_eq!(stands(&world, &old).await, revoking(of_old), "{nth}");
        assert_eq!(stands(&world, &new).await, revoking(of_new), "{nth}");
    }
    world.verify().await;
}

async fn a_stop_and_a_report_at_once(world: World) {
    let lab = world.lab("lumo", deaf()).await;
    platform(&world, true).await;
    let other = world.replica().await;
    for nth in 0..8 {
        let order = admitted(&lab, &format!("A-{nth}")).await;
        let ask = Write::Stop(Box::new(asking(&lab, &order, "", 10)));
        let fetched = Write::ReportDownload(Box::new(ReportDownload {
            order: order.clone(),
            scope: Scope::Ops,
            item: "2".to_owned(),
            word: Word::Fetched,
            comment: None,
            at: at(10),
            actor: ops(),
        }));
        let (one_, two) = tokio::join!(one(&*world.store, ask), one(&*other, fetched));
        assert!(matches!(one_.unwrap(), Written::Stop(_)));
        assert!(matches!(two.unwrap(), Written::DownloadReported(DownloadReported::Done(_))));
        let fetched = vec![("2".to_owned(), State::Fetched), ("4".to_owned(), State::Revoking)];
        assert_eq!(stands(&world, &order).await, fetched, "whoever was first");
        assert_eq!(world.order(&order).await.state(), OrderState::Stopped);
    }
    world.verify().await;
}

async fn whose_download_it_is(world: World) {
    let lab = world.lab("lumo", able()).await;
    platform(&world, true).await;
    let order = admitted(&lab, "A-1").await;
    let other = Scope::Platform(PlatformId::parse("other").unwrap());
    let reported = async |item, scope| report_as(&world, &order, item, Word::Fetched, scope).await;
    assert!(matches!(reported("2", other).await, DownloadReported::NotFound));
    let lumo = Scope::Lab(lab.id.clone());
    assert!(
        matches!(reported("2", lumo).await, DownloadReported::Done(_)),
        "its lab may see it; no route lets it"
    );
    for item in ["1", "9", ""] {
        assert!(matches!(reported(item, Scope::Ops).await, DownloadReported::NoSuchItem), "{item}");
    }
    // What was replaced in review is told of still, and is asked about no more.
    let order = admitted(&lab, "A-2").await;
    lab.ask_as(asking(&lab, &order, "4", 5)).await;
    lab.change(&order, ChangeKind::Review).await;
    let document =
        json!({"reference": "A-2", "items": [{"id": "1", "sku": "mug", "quantity": 1}]}).to_string();
    assert_eq!(lab.change(&order, ChangeKind::Document(document)).await, Changed::Done);
    assert_eq!(stands(&world, &order).await, revoking("4"));
    lab.stop(&order, 20).await;
    assert_eq!(stands(&world, &order).await, revoking("4"));
    world.verify().await;
}

async fn an_address_is_changed_and_its_log_says_so(world: World) {
    assert_eq!(set(&world, "https://shop.example/links", 0).await, Put::NotFound, "no such platform");
    platform(&world, false).await;
    let rotate = |until| CallbackChange::Rotate { secret: SECRET.to_owned().into(), keep_until: at(until) };
    assert_eq!(change(&world, rotate(9), 1).await, Put::NotFound);
    assert_eq!(change(&world, CallbackChange::Delete, 1).await, Put::NotFound);
    assert_eq!(set(&world, "https://shop.example/one", 1).await, Put::Done(1));
    assert_eq!(set(&world, "https://shop.example/one", 2).await, Put::Unchanged(1));
    assert_eq!(set(&world, "https://shop.example/two", 3).await, Put::Done(2));
    assert_eq!(change(&world, rotate(90), 4).await, Put::Done(3));
    let row = world.store.download_callback(&shop()).await.unwrap().unwrap();
    assert_eq!(
        (row.url.as_str(), row.answers_within),
        ("https://shop.example/two", Lasting::seconds(WITHIN))
    );
    assert_eq!((row.secrets.at(at(5)).count(), row.secrets.at(at(90)).count()), (2, 1));
    assert_eq!(change(&world, CallbackChange::Delete, 5).await, Put::Done(4));
    assert!(world.store.download_callback(&shop()).await.unwrap().is_none());
    // The platform's definition goes on as before.
    let spec = json!({"id": "shop", "name": "Shop 2"}).to_string();
    let put = PutPlatform { id: shop(), spec, at: at(6), actor: ops() };
    assert!(matches!(world.write(Write::PutPlatform(Box::new(put))).await, Written::Put(Put::Done(2))));
    let log = world.store.log(&["shop"]).await.unwrap();
    let told: Vec<&str> = log.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(
        told,
        [
            "platform.created",
            "platform.downloads_set",
            "platform.downloads_set",
            "platform.downloads_rotated",
            "platform.downloads_deleted",
            "platform.changed",
        ]
    );
    assert!(log.iter().all(|event| !event.detail.to_string().contains("whsec_")));
    world.verify().await;
}
