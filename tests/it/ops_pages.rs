//! The pages of ops as they are sent: what they show, what their forms do, and what their streams send.

use axum::body::Body;
use serde_json::json;

use crate::api::{Bench, lab, order};
use crate::ops_support::{Viewer, by_hand, close};

#[tokio::test]
async fn each_has_the_pages_of_its_role() {
    let bench = Bench::new().await;
    let paths = ["/", "/ops/stops", "/ops/escalations", "/ops/search", "/ops/labs/nord"];
    for path in paths {
        let reply = bench.get(path, "").await;
        assert_eq!(reply.status, 303, "{path}");
        assert!(reply.header("location").starts_with("/sign-in?next="));
    }
    let lab = Viewer::new(&bench, &bench.lab).await;
    assert_eq!(lab.get("/").await.header("location"), "/lab");
    for path in &paths[1..] {
        assert_eq!(lab.get(path).await.status, 403, "{path}");
    }
    let shop = Viewer::new(&bench, &bench.shop).await;
    for path in paths {
        assert_eq!(shop.get(path).await.status, 403, "{path}");
    }
    let ops = Viewer::new(&bench, &bench.ops).await;
    for path in paths {
        ops.page(path).await;
    }
    for path in ["/ops/labs/none", "/ops/labs/A!", "/ops/orders/x", "/ops/batches/bat_1"] {
        assert_eq!(ops.get(path).await.status, 404, "{path}");
    }
    for path in ["/?level=red", "/?colour=red", "/ops/stops?state=odd", "/ops/escalations?open=maybe"] {
        let reply = ops.get(path).await;
        assert_eq!(reply.status, 422, "{path}");
        assert!(reply.header("content-type").starts_with("text/html"), "{path}");
    }
}

#[tokio::test]
async fn what_others_have_written_is_only_text() {
    let bench = Bench::new().await;
    let evil = "<script>alert(1)</script> & \"Söhne\"";
    let mut named = lab(&json!(["24:00"]));
    named["name"] = json!(evil);
    bench.put("/v1/labs/nord", &named).await.is(200);
    let order = bench.admitted("<b>A</b>&1").await;
    bench
        .post(&format!("/v1/orders/{order}/stop"), &bench.shop, &json!({"reason": evil, "comment": evil}))
        .await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let order = format!("/ops/orders/{order}");
    for path in ["/", "/ops/labs/nord", "/ops/stops?state=all", &order, "/ops/search?q=%3Cb%3EA%3C/b%3E%261"]
    {
        let page = ops.page(path).await;
        assert!(!page.contains("<script>alert") && !page.contains("<b>A</b>"), "{path}");
    }
    let page = ops.page("/").await;
    assert!(page.contains("&#60;script&#62;alert(1)"), "it is there, as text");
}

#[tokio::test]
async fn the_board_shows_its_rows_and_its_filters_stand_in_the_address() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    bench.admitted("A-1").await;
    bench.admitted("A-2").await;
    let page = ops.page("/").await;
    for part in [
        "id=\"r:nord:fi\"",
        ">Nordprint</a>",
        "datetime=\"2026-11-21T22:00:00Z\" data-until",
        "Sun 00:00 there",
        "data-zone=\"Europe/Helsinki\">UTC+02:00",
        "nothing to act on",
        "<b>2</b> orders wait",
        "1 cutoff of 24 hours, 2 orders waiting",
        "data-live=\"/ops/board/live\"",
    ] {
        assert!(page.contains(part), "{part} is missing:\n{page}");
    }
    let none = ops.page("/?find=nowhere").await;
    assert!(none.contains("No region fits") && !none.contains("id=\"r:nord:fi\""));
    assert!(
        none.contains("value=\"nowhere\"") && none.contains("data-live=\"/ops/board/live?find=nowhere\"")
    );
    let at = ops.page("/?at=2026-11-21T22:00:00Z").await;
    assert!(at.contains("id=\"r:nord:fi\""));
}

/// Each cutoff of the band leads to the rows that it is of, also where it is not their next one, and all are told
/// by name.
#[tokio::test]
async fn each_cutoff_of_the_band_leads_to_its_rows() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    for nth in 0..6 {
        let mut other = lab(&json!(["16:00", "24:00"]));
        other["id"] = json!(format!("lab-{nth}"));
        other["name"] = json!(format!("Lab number {nth}"));
        bench.put(&format!("/v1/labs/lab-{nth}"), &other).await.is(201);
    }
    let list = ops.page("/ops/cutoffs").await;
    assert_eq!(list.matches("<section").count(), 2, "{list}");
    assert_eq!(list.matches("href=\"/?lab=lab-").count(), 12, "{list}");
    let links: Vec<&str> = list.split("href=\"").filter_map(|it| it.split('"').next()).collect();
    let times: Vec<&&str> = links.iter().filter(|link| link.starts_with("/?at=")).collect();
    assert_eq!(times, [&"/?at=2026-11-21T14:00:00Z", &"/?at=2026-11-21T22:00:00Z"]);
    for (link, rows) in times.into_iter().zip([6, 7]) {
        let board = ops.page(link).await;
        assert_eq!(board.matches("<tr id=\"r:").count(), rows, "{link}");
        assert!(board.contains(&format!("data-at=\"{}\"", &link[5..])), "the band itself leads there");
    }
}

#[tokio::test]
async fn a_board_with_more_regions_than_a_screen_comes_in_pages() {
    let bench = Bench::new().await;
    for nth in 0..3 {
        let mut many = lab(&json!(["24:00"]));
        let id = format!("lab-{nth}");
        many["id"] = json!(id);
        many["name"] = json!(format!("A lab of many regions, number {nth}"));
        // All quarters of a day have a cutoff.
        let region = |at: usize| {
            let quarter = |it: usize| format!("{:02}:{:02}", it % 96 / 4, it % 4 * 15);
            json!({"id": format!("region-{at}"),
                "calendar": {"time_zone": "America/Argentina/Buenos_Aires", "cutoffs": ["06:00"],
                    "seasons": [{"name": "peak", "from": "10-01", "to": "12-31",
                        "cutoffs": [quarter(nth * 40 + at), quarter(nth * 40 + at + 48)]}]}})
        };
        many["regions"] = (0..40).map(region).collect();
        bench.put(&format!("/v1/labs/{id}"), &many).await.is(201);
        for at in 0..40 {
            let mut body = order(&format!("A-{nth}-{at}"));
            body["lab"] = json!(id);
            body["region"] = json!(format!("region-{at}"));
            bench.post("/v1/orders", &bench.shop, &body).await.is(201);
        }
    }
    // Each of them is late, and paused: as much as there ever is to say.
    bench.pass(30 * 3600);
    for nth in 0..3 {
        let why = json!({"reason": "the press is being repaired"});
        bench.post(&format!("/v1/labs/lab-{nth}/pause"), &bench.ops, &why).await.is(200);
    }
    // A day later one has to sign in again.
    let ops = Viewer::new(&bench, &bench.ops).await;
    let front = ops.page("/").await;
    assert_eq!(front.matches("<rect").count(), 96, "the band is full");
    assert_eq!(front.matches("class=\"todo\"").count(), 2 * front.matches("<tr id=\"r:").count());
    let mut weight = front.len();
    let assets: std::collections::BTreeSet<&str> =
        front.split('"').filter(|part| part.starts_with("/assets/")).collect();
    assert!(assets.len() >= 3, "{assets:?}");
    for asset in assets {
        weight += ops.page(asset).await.len();
    }
    assert!(weight < 100_000, "a first paint of {weight} bytes in all");
    let count = |page: &str| page.matches("<tr id=\"r:").count();
    let mut seen = 0;
    for nth in 1.. {
        let page = ops.page(&format!("/?page={nth}")).await;
        seen += count(&page);
        if !page.contains(&format!("page={}\"", nth + 1)) {
            break;
        }
    }
    assert_eq!(seen, 121);
    let last = ops.page("/?page=99").await;
    assert!(count(&last) > 0, "beyond the end is the last page");
}

#[tokio::test]
async fn an_empty_board_teaches() {
    let bench = Bench::new().await;
    bench.call("DELETE", "/v1/labs/nord", &bench.ops, None, &[]).await.is(204);
    let ops = Viewer::new(&bench, &bench.ops).await;
    let page = ops.page("/").await;
    assert!(page.contains("No lab yet") && page.contains("stoppress labs import"), "{page}");
    assert!(ops.page("/ops/stops").await.contains("No stop waits"));
    assert!(ops.page("/ops/escalations").await.contains("Nothing waits for a decision"));
}

#[tokio::test]
async fn a_stop_shows_its_consequences_before_and_acts_only_when_pressed() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let order = bench.admitted("A-1").await;
    let (page, ask) = (format!("/ops/orders/{order}"), format!("/ops/orders/{order}/stop"));
    let shown = ops.page(&page).await;
    assert!(shown.contains("can be stopped") && shown.contains("The order was admitted"), "{shown}");
    let before = ops.page(&ask).await;
    for part in [
        "stopped at once, for certain",
        "The merchant refunds",
        "service fee is kept",
        "made for one customer",
    ] {
        assert!(before.contains(part), "{part}");
    }
    let read = async || bench.get(&format!("/v1/orders/{order}"), &bench.shop).await.is(200);
    assert_eq!(read().await["state"], "in_batch", "looking changes nothing");
    // Without the page's own token, or without a reason, nothing happens.
    let bare = ops
        .bench
        .raw(
            ops.request("POST", &ask)
                .header("sec-fetch-site", "same-origin")
                .body(Body::from("reason=x"))
                .unwrap(),
        )
        .await;
    assert_eq!(bare.status, 403, "{}", bare.text);
    assert_eq!(read().await["state"], "in_batch");
    let form = [("reason", "wrong size"), ("comment", ""), ("can_stop", "yes")];
    let done = ops.press(&ask, &ask, &form).await;
    assert_eq!((done.status.as_u16(), done.header("location")), (303, format!("{page}?said=stop").as_str()));
    assert_eq!(read().await["state"], "stopped");
    let after = ops.page(&format!("{page}?said=stop")).await;
    assert!(
        after.contains("nobody prints it because of us")
            && after.contains("nothing of it ever left the house")
    );
    assert!(!after.contains("Stop this order"), "there is nothing left to stop");
    let log = bench.get(&format!("/v1/orders/{order}/changelog"), &bench.shop).await.is(200);
    let last =
        log["events"].as_array().unwrap().iter().find(|event| event["kind"] == "stop.stopped").unwrap();
    assert!(last["actor"].as_str().unwrap().starts_with("ops:"), "{last}");
}

#[tokio::test]
async fn a_batch_is_postponed_and_released_by_its_page() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let order = bench.admitted("A-1").await;
    let read = async || bench.get(&format!("/v1/orders/{order}"), &bench.shop).await.is(200);
    let batch = read().await["window"]["batch"].as_str().unwrap().to_owned();
    let page = format!("/ops/batches/{batch}");
    let shown = ops.page(&page).await;
    for part in ["The batch was opened", "Break the promise", &order, "None yet: they are cut when it closes"]
    {
        assert!(shown.contains(part), "{part}");
    }
    let (first, second) = ("2026-11-21T22:00:00Z", "2026-11-21T22:30:00Z");
    let form = [("minutes", "30"), ("reason", "late truck"), ("closes_at", first)];
    let later = ops.press(&page, &format!("{page}/postpone"), &form).await;
    assert_eq!((later.status.as_u16(), later.header("location")), (303, page.as_str()), "{}", later.text);
    assert_eq!(read().await["window"]["closes_at"], "2026-11-21T22:30:00Z");
    for form in [
        [("minutes", "0"), ("reason", "x"), ("closes_at", second)],
        [("minutes", "soon"), ("reason", "x"), ("closes_at", second)],
        [("minutes", "15"), ("reason", " "), ("closes_at", second)],
        [("minutes", "15"), ("reason", "x"), ("closes_at", "then")],
    ] {
        assert_eq!(ops.press(&page, &format!("{page}/postpone"), &form).await.status, 422, "{form:?}");
    }
    let unsure = [("reason", "holiday"), ("closes_at", second), ("waiting", "1")];
    let unsure = ops.press(&page, &format!("{page}/release"), &unsure).await;
    assert_eq!(unsure.status, 422);
    assert_eq!(read().await["state"], "in_batch");
    let sure = [("reason", "holiday"), ("sure", "yes"), ("closes_at", second), ("waiting", "1")];
    // A page that was left open is not enough: who signed in a while ago shows the key again.
    bench.pass(5 * 60);
    let release = format!("{page}/release");
    let asked = ops.press(&page, &release, &sure).await;
    assert_eq!(asked.status, 403);
    for part in [
        "Show your key again",
        "name=\"reason\" value=\"holiday\"",
        "name=\"sure\" value=\"yes\"",
        &*format!("action=\"{release}\""),
    ] {
        assert!(asked.text.contains(part), "{part} is missing:\n{}", asked.text);
    }
    for key in ["sp_nope", &bench.lab, &bench.shop] {
        let with = [sure[0], sure[1], sure[2], sure[3], ("confirm_key", key)];
        let refused = ops.press(&page, &release, &with).await;
        assert_eq!(refused.status, 403);
        assert!(
            refused.text.contains("not the key with which") && !refused.text.contains(key),
            "{}",
            refused.text
        );
    }
    assert_eq!(read().await["state"], "in_batch", "nothing was done");
    let key = bench.ops.clone();
    let sure = [sure[0], sure[1], sure[2], sure[3], ("confirm_key", &*key)];
    assert_eq!(ops.press(&page, &format!("{page}/release"), &sure).await.status, 303);
    assert_eq!(read().await["state"], "closed");
    let shown = ops.page(&page).await;
    assert!(shown.contains("released before its cutoff") && !shown.contains("Break the promise"), "{shown}");
}

#[tokio::test]
async fn a_lab_is_shown_drawn_paused_and_resumed() {
    let bench = Bench::new().await;
    let mut drawn = lab(&json!(["24:00"]));
    drawn["regions"][0]["calendar"]["closed"] = json!(["2026-11-24"]);
    bench.put("/v1/labs/nord", &drawn).await.is(200);
    let ops = Viewer::new(&bench, &bench.ops).await;
    let shown = ops.page("/ops/labs/nord").await;
    assert_eq!(shown.matches("<li class=\"card").count(), 14);
    for part in [
        "today there",
        "<span class=\"quiet\">closed</span>",
        "Its last 30 days",
        "no answer yet",
        "None yet: the first order",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    assert!(!shown.contains("help@nord.example"), "a contact has no business here");
    let paused = ops.press("/ops/labs/nord", "/ops/labs/nord/pause", &[("reason", "press broken")]).await;
    assert_eq!(paused.status, 303, "{}", paused.text);
    let shown = ops.page("/ops/labs/nord").await;
    assert!(shown.contains("press broken") && shown.contains(">Resume<"));
    assert_eq!(ops.press("/ops/labs/nord", "/ops/labs/nord/resume", &[]).await.status, 303);
    assert!(!ops.page("/ops/labs/nord").await.contains("press broken"));
}

#[tokio::test]
async fn an_escalation_is_decided_with_a_reason() {
    let bench = Bench::new().await;
    // By hand: the transfer of a lab that no machine calls waits for a person.
    let order = bench.admitted("A-1").await;
    bench.pass(11 * 3600);
    close(&bench).await;
    by_hand(&bench, 1, 1).await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let board = bench.get("/v1/board", &bench.ops).await.is(200);
    assert_eq!(board["regions"][0]["alerts"][0]["kind"], "transfer_with_a_person", "{board}");
    let shown = ops.page("/ops/escalations?lab=nord").await;
    assert!(
        shown.contains("Does the lab have the transfer?") && shown.contains("may be sent again"),
        "{shown}"
    );
    let id = shown.split_once("id=\"esc_").unwrap().1.split_once('"').unwrap().0;
    let path = format!("/ops/escalations/esc_{id}");
    let from = "/ops/escalations";
    for (decision, reason, status) in [
        ("noted", "asked Maija", 409),
        ("handed_over", "", 422),
        ("perhaps", "x", 400),
        ("handed_over", "asked Maija", 303),
    ] {
        let reply = ops.press(from, &path, &[("decision", decision), ("reason", reason)]).await;
        assert_eq!(reply.status, status, "{decision}: {}", reply.text);
    }
    assert_eq!(bench.get(&format!("/v1/orders/{order}"), &bench.shop).await.is(200)["state"], "at_lab");
    let decided = ops.page("/ops/escalations?open=no").await;
    assert!(decided.contains("asked Maija") && decided.contains("handed over"), "{decided}");
    assert!(ops.page(from).await.contains("Nothing waits for a decision"));
    // What it is about is found by its id.
    let subject = decided.split_once("q=trf_").unwrap().1.split_once('"').unwrap().0.to_owned();
    let reply = ops.get(&format!("/ops/search?q=trf_{subject}")).await;
    assert!(reply.header("location").starts_with("/ops/batches/bat_"), "{:?}", reply.headers);
}

#[tokio::test]
async fn a_search_leads_to_what_was_meant() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let one = bench.admitted("A-1").await;
    let body = crate::api::order("A-1");
    let two = bench.post("/v1/orders", &bench.other, &body).await.is(201)["id"].as_str().unwrap().to_owned();
    let stop = bench.post(&format!("/v1/orders/{one}/stop"), &bench.shop, &json!({})).await.is(200);
    let found = ops.page("/ops/search?q=A-1").await;
    assert!(found.contains(&one) && found.contains(&two) && found.contains("of shop"), "{found}");
    for (id, to) in [
        (one.clone(), format!("/ops/orders/{one}")),
        (stop["stop"]["id"].as_str().unwrap().to_owned(), format!("/ops/orders/{one}")),
    ] {
        assert_eq!(ops.get(&format!("/ops/search?q={id}")).await.header("location"), to);
    }
    assert!(ops.page("/ops/search?q=Nordpr").await.contains("/ops/labs/nord"));
    for q in ["nothing", "%00", "ord_00000000000000000000000000000000", "%20"] {
        let page = ops.page(&format!("/ops/search?q={q}")).await;
        assert_eq!(page.contains("Nothing is called"), q != "%20", "{q}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_board_stream_sends_what_is_new_and_resumes() {
    let bench = Bench::new().await;
    let mut other = lab(&json!(["24:00"]));
    other["id"] = json!("abel");
    other["regions"] =
        json!([{"id": "de", "calendar": {"time_zone": "Europe/Berlin", "cutoffs": ["13:10"]}}]);
    bench.put("/v1/labs/abel", &other).await.is(201);
    let ops = Viewer::new(&bench, &bench.ops).await;
    let page = ops.page("/").await;
    let cursor = page.split_once("data-cursor=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
    // A watcher without a cursor gets the whole table; one that has the page gets only what changed since.
    let mut whole = ops.stream("/ops/board/live", None).await;
    let (first, frame) = whole.frame().await;
    assert_eq!(first, cursor);
    let table = frame["put"]["rows"].as_str().unwrap();
    assert!(
        table.starts_with("<tbody id=\"rows\">")
            && table.contains("r:nord:fi")
            && table.contains("r:abel:de")
    );
    let mut resumed = ops.stream(&format!("/ops/board/live?after={cursor}"), None).await;
    bench.admitted("A-1").await;
    let (second, news) = resumed.frame_in_time(&bench).await;
    assert_ne!(second, cursor);
    let ids: Vec<&String> = news["put"].as_object().unwrap().keys().collect();
    assert_eq!(ids, ["band", "r:nord:fi", "totals"], "{news}");
    assert!(news["put"]["r:nord:fi"].as_str().unwrap().starts_with("<tr id=\"r:nord:fi\""));
    assert!(news.get("order").is_none() && news.get("gone").is_none());
    let (again, same) = whole.frame_in_time(&bench).await;
    assert_eq!((again, &same["put"]), (second.clone(), &news["put"]), "each change is written once, for all");
    // A browser that was away tells what it saw last; another process's numbers mean nothing.
    let mut back = ops.stream("/ops/board/live", Some(&cursor)).await;
    assert_eq!(back.frame().await.1["put"], news["put"]);
    let mut stranger = ops.stream("/ops/board/live", Some("ffffffffffff.1")).await;
    assert!(stranger.frame().await.1["put"]["rows"].is_string());
    // Berlin closes at 12:10 UTC: its next cutoff is tomorrow, behind Helsinki's, and the order is told.
    bench.pass(11 * 60);
    let (_, moved) = resumed.frame_in_time(&bench).await;
    assert_eq!(moved["order"]["rows"], json!(["r:nord:fi", "r:abel:de"]), "{moved}");
    // A filter's rows come and go.
    let mut act = ops.stream("/ops/board/live?level=watch", None).await;
    assert!(!act.frame().await.1["put"]["rows"].as_str().unwrap().contains("r:"));
    bench.post("/v1/labs/abel/pause", &bench.ops, &json!({"reason": "press broken"})).await.is(200);
    let (_, came) = act.frame_in_time(&bench).await;
    assert!(came["put"]["r:abel:de"].is_string() && came["order"]["rows"] == json!(["r:abel:de"]), "{came}");
    bench.post("/v1/labs/abel/resume", &bench.ops, &json!({})).await.is(200);
    assert_eq!(act.frame_in_time(&bench).await.1["gone"], json!(["r:abel:de"]));
}
