//! The forms of ops do what their pages showed, once, or say that it is another thing by now.

use serde_json::json;

use crate::api::{Bench, lab};
use crate::ops_support::{Viewer, by_hand, close, field};

/// A batch with one order: the page of the batch, and the order.
async fn opened(bench: &Bench) -> (String, String) {
    let order = bench.admitted("A-1").await;
    let read = bench.get(&format!("/v1/orders/{order}"), &bench.shop).await.is(200);
    (format!("/ops/batches/{}", read["window"]["batch"].as_str().unwrap()), order)
}

async fn closes_at(bench: &Bench, order: &str) -> String {
    let read = bench.get(&format!("/v1/orders/{order}"), &bench.shop).await.is(200);
    read["window"]["closes_at"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_cutoff_is_postponed_once_however_often_the_button_is_pressed() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let (page, order) = opened(&bench).await;
    let postpone = format!("{page}/postpone");
    let shown = field(&ops.page(&page).await, &postpone, "closes_at");
    assert_eq!(shown, "2026-11-21T22:00:00Z");
    let form = [("minutes", "30"), ("reason", "late truck"), ("closes_at", shown.as_str())];
    // Both at once: the lock of the batch decides.
    let (one, two) = tokio::join!(ops.press(&page, &postpone, &form), ops.press(&page, &postpone, &form));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 409], "{}\n{}", one.text, two.text);
    assert_eq!(closes_at(&bench, &order).await, "2026-11-21T22:30:00Z");
    let third = ops.press(&page, &postpone, &form).await;
    assert_eq!(third.status, 409);
    for part in
        ["Somebody moved it", "closes at 2026-11-21 22:00:00 UTC", "2026-11-21 22:30:00 UTC", page.as_str()]
    {
        assert!(third.text.contains(part), "{part}: {}", third.text);
    }
    assert_eq!(closes_at(&bench, &order).await, "2026-11-21T22:30:00Z");
    // From what is shown now it can be postponed again.
    let shown = field(&ops.page(&page).await, &postpone, "closes_at");
    let form = [("minutes", "15"), ("reason", "later still"), ("closes_at", shown.as_str())];
    assert_eq!(ops.press(&page, &postpone, &form).await.status, 303);
    assert_eq!(closes_at(&bench, &order).await, "2026-11-21T22:45:00Z");
}

#[tokio::test]
async fn a_batch_is_released_as_it_was_shown_and_a_second_press_finds_it_so() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let (page, order) = opened(&bench).await;
    let release = format!("{page}/release");
    let press = async |closes_at: &str, waiting: &str| {
        let form = [("reason", "holiday"), ("sure", "yes"), ("closes_at", closes_at), ("waiting", waiting)];
        ops.press(&page, &release, &form).await
    };
    let shown = ops.page(&page).await;
    let (closes, waiting) = (field(&shown, &release, "closes_at"), field(&shown, &release, "waiting"));
    assert_eq!(waiting, "1");
    bench.admitted("A-2").await;
    let grown = press(&closes, &waiting).await;
    assert_eq!(grown.status, 409);
    assert!(
        grown.text.contains("More orders have come") && grown.text.contains("2 wait in it now"),
        "{}",
        grown.text
    );
    let until = json!({"until": "2026-11-21T23:00:00Z", "reason": "late truck"});
    let until_path = format!("/v1/batches/{}/postpone", page.rsplit('/').next().unwrap());
    bench.post(&until_path, &bench.ops, &until).await.is(200);
    let moved = press(&closes, "2").await;
    assert_eq!(moved.status, 409);
    assert!(moved.text.contains("Somebody moved it"), "{}", moved.text);
    let read = async || bench.get(&format!("/v1/orders/{order}"), &bench.shop).await.is(200);
    assert_eq!(read().await["state"], "in_batch", "nothing was done");
    let closes = field(&ops.page(&page).await, &release, "closes_at");
    for nth in 0..2 {
        let done = press(&closes, "2").await;
        assert_eq!(
            (done.status.as_u16(), done.header("location")),
            (303, page.as_str()),
            "{nth}: {}",
            done.text
        );
    }
    assert_eq!(read().await["state"], "closed");
    assert!(ops.page(&page).await.contains("it is not open any more"));
    // One that closed by itself was not released: that is said.
    bench.admitted("A-3").await;
    let other = bench.admitted("A-4").await;
    let other = bench.get(&format!("/v1/orders/{other}"), &bench.shop).await.is(200);
    let other = format!("/ops/batches/{}", other["window"]["batch"].as_str().unwrap());
    let closes = field(&ops.page(&other).await, &format!("{other}/release"), "closes_at");
    bench.pass(48 * 3600);
    close(&bench).await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let form = [("reason", "holiday"), ("sure", "yes"), ("closes_at", closes.as_str()), ("waiting", "2")];
    assert_eq!(ops.press(&other, &format!("{other}/release"), &form).await.status, 409);
}

#[tokio::test]
async fn a_stop_whose_consequences_have_changed_is_not_asked() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let (_, order) = opened(&bench).await;
    let ask = format!("/ops/orders/{order}/stop");
    let can_stop = field(&ops.page(&ask).await, &ask, "can_stop");
    assert_eq!(can_stop, "yes");
    // The cutoff comes between the look and the press, and the order leaves the house.
    bench.pass(11 * 3600);
    close(&bench).await;
    by_hand(&bench, 1, 1).await;
    // Nobody stays signed in for so long.
    let ops = Viewer::new(&bench, &bench.ops).await;
    let form = [("reason", "wrong size"), ("comment", "\"blue\""), ("can_stop", can_stop.as_str())];
    let changed = ops.press(&ask, &ask, &form).await;
    assert_eq!(changed.status, 409);
    for part in ["This has changed", "nothing was done", "value=\"wrong size\"", "blue"] {
        assert!(changed.text.contains(part), "{part}: {}", changed.text);
    }
    assert!(!changed.text.contains("for certain: nothing of it has left"), "{}", changed.text);
    let read = async || bench.get(&format!("/v1/orders/{order}"), &bench.shop).await.is(200);
    assert!(read().await["stop"].is_null(), "it was not asked");
    let can_stop = field(&changed.text, &ask, "can_stop");
    assert_ne!(can_stop, "yes");
    let form = [("reason", "wrong size"), ("can_stop", can_stop.as_str())];
    assert_eq!(ops.press(&ask, &ask, &form).await.status, 303);
    assert_eq!(read().await["stop"]["state"], "with_a_person");
    // A second press finds the stop of the first.
    assert_eq!(ops.press(&ask, &ask, &form).await.status, 303);
}

#[tokio::test]
async fn what_cannot_be_stopped_any_more_is_not_asked_and_counts_as_no_answer() {
    let bench = Bench::new().await;
    let mut last = lab(&json!(["24:00"]));
    last["profile"]["stops"] = json!("final_on_receipt");
    bench.put("/v1/labs/nord", &last).await.is(200);
    let (_, order) = opened(&bench).await;
    bench.pass(11 * 3600);
    close(&bench).await;
    by_hand(&bench, 1, 1).await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let shown = ops.page("/ops/escalations").await;
    let id = shown.split_once("id=\"esc_").unwrap().1.split_once('"').unwrap().0;
    let form = [("decision", "handed_over"), ("reason", "asked Maija")];
    assert_eq!(ops.press("/ops/escalations", &format!("/ops/escalations/esc_{id}"), &form).await.status, 303);
    let ask = format!("/ops/orders/{order}/stop");
    let none = ops.press(&ask, &ask, &[("reason", "wrong size"), ("can_stop", "no")]).await;
    assert_eq!(none.status, 409);
    assert!(none.text.contains("nothing to ask for any more"), "{}", none.text);
    let read = async || bench.get(&format!("/v1/orders/{order}"), &bench.shop).await.is(200);
    assert!(read().await["stop"].is_null());
    // Whoever asks all the same is told at once: that is no answer of the lab.
    let stop = bench.post(&format!("/v1/orders/{order}/stop"), &bench.shop, &json!({})).await.is(200);
    assert_eq!(stop["stop"]["evidence"], "final_on_receipt", "{stop}");
    let shown = ops.page("/ops/labs/nord").await;
    for part in ["no answer yet", "Too late at once</dt><dd>1:", "Asked of the lab</dt><dd>0, 0 answered"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}
