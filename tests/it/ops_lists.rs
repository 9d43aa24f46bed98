//! The lists of ops where there is more than a screen holds: the most urgent stands first, and all can be reached.

use serde_json::json;

use crate::api::{Bench, order};
use crate::ops_support::{Viewer, by_hand, close, many};

/// The address that a link leads to which ends the page of a list.
fn link<'a>(page: &'a str, words: &str) -> &'a str {
    let before = page.split_once(&format!("\">{words}</a>")).expect("the link is there").0;
    before.rsplit_once("href=\"").unwrap().1
}

/// What stands between the first of one text and the next of another.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    text.split_once(from).unwrap_or_else(|| panic!("no {from}: {text}")).1.split_once(to).unwrap().0
}

#[tokio::test]
async fn of_many_stops_and_escalations_the_most_urgent_stand_first() {
    const ALL: usize = 201;
    let bench = Bench::new().await;
    let orders = many(&bench, (0..ALL).map(|nth| order(&format!("A-{nth}")))).await;
    bench.pass(11 * 3600);
    close(&bench).await;
    by_hand(&bench, 1, 1000).await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    // Each is asked a second after the one before, and so is due a second later.
    for order in &orders {
        bench.pass(1);
        bench.post(&format!("/v1/orders/{order}/stop"), &bench.shop, &json!({})).await.is(202);
    }
    let mut path = "/ops/stops".to_owned();
    let mut seen: Vec<String> = Vec::new();
    loop {
        let page = ops.page(&path).await;
        let rows = page.split("data-label=\"Order\">").skip(1);
        seen.extend(rows.map(|row| between(row, "\">", "</a>").to_owned()));
        if !page.contains(">Those due later</a>") {
            break;
        }
        assert!(
            page.contains("the most urgent first") && page.contains("there are more"),
            "an honest caption"
        );
        path = link(&page, "Those due later").replace("&amp;", "&");
    }
    let expected: Vec<String> = (0..ALL).map(|nth| format!("A-{nth}")).collect();
    assert_eq!(seen, expected, "the oldest is the most urgent, and none is left out");
    // Of one lab as well.
    assert!(ops.page("/ops/stops?lab=nord").await.contains(">A-0</a>"));

    // One about the transfer, due before its stops' deadlines or after; one a stop.
    let (mut path, mut ids) = ("/ops/escalations".to_owned(), Vec::new());
    let mut due: Vec<String> = Vec::new();
    loop {
        let page = ops.page(&path).await;
        let rows = page.split("<article class=\"card escalation\" id=\"").skip(1);
        for row in rows {
            ids.push(row.split_once('"').unwrap().0.to_owned());
            due.push(between(between(row, "To be decided in", "</time>"), "datetime=\"", "\"").to_owned());
        }
        if !page.contains(">Those due later</a>") {
            break;
        }
        path = link(&page, "Those due later").replace("&amp;", "&");
    }
    assert_eq!(ids.len(), ALL + 1);
    assert!(due.is_sorted(), "{due:?}");
    // The one about the transfer says what is known of it, and names its orders.
    // It was opened first, and so has the lowest id.
    let transfer = ids.iter().min().unwrap();
    let about = ops.page(&format!("/ops/escalations?id={transfer}")).await;
    assert_eq!(about.matches("<article").count(), 1);
    for part in ["A person has to find out", "and 191 more, of 201", "What is known of the hand-over"] {
        assert!(about.contains(part), "{part}: {about}");
    }

    // Whatever was decided, and however old: its id leads to it.
    let (id, newest) = (&ids[0], &ids[ids.len() - 1]);
    let path = format!("/ops/escalations/{newest}");
    let from = format!("/ops/escalations?id={newest}");
    let form = [("decision", "too_late"), ("reason", "asked Maija")];
    let decided = ops.press(&from, &path, &form).await;
    assert!([303, 409].contains(&decided.status.as_u16()), "{}", decided.text);
    for id in [id, newest] {
        let to = ops.get(&format!("/ops/search?q={id}")).await.header("location").to_owned();
        assert_eq!(to, format!("/ops/escalations?id={id}"));
        assert!(ops.page(&to).await.contains(&format!("id=\"{id}\"")));
    }
    assert_eq!(ops.get("/ops/escalations?id=esc_00000000000000000000000000000000").await.status, 404);
    let none = ops.page("/ops/search?q=esc_00000000000000000000000000000000").await;
    assert!(none.contains("Nothing is called"));
}

#[tokio::test]
async fn transfers_come_in_pages_and_what_is_left_out_is_said() {
    const ALL: usize = 45;
    let bench = Bench::new().await;
    let orders = many(&bench, (0..ALL).map(|nth| order(&format!("A-{nth}")))).await;
    let read = bench.get(&format!("/v1/orders/{}", orders[0]), &bench.shop).await.is(200);
    let batch = format!("/ops/batches/{}", read["window"]["batch"].as_str().unwrap());
    bench.pass(11 * 3600);
    close(&bench).await;
    by_hand(&bench, ALL, 1).await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let (mut path, mut seen) = (batch.clone(), Vec::new());
    let mut pages = 0;
    loop {
        let page = ops.page(&path).await;
        pages += 1;
        let rows = page.split("data-label=\"Transfer\"><code id=\"").skip(1);
        let own: Vec<String> = rows.map(|row| row.split_once('"').unwrap().0.to_owned()).collect();
        assert!(page.contains(&format!("{} of 45 transfers", own.len())), "{page}");
        assert!(page.contains("transfers that stand above"), "what the time line leaves out is said");
        for id in &own {
            assert!(page.contains(&format!("<dd><code>{id}</code></dd>")), "{id} is in the time line");
            assert!(page.contains(&format!("<code>{id}.1</code>")), "its key can be read");
        }
        seen.extend(own);
        if !page.contains(">More transfers</a>") {
            break;
        }
        path = link(&page, "More transfers").to_owned();
    }
    assert_eq!((pages, seen.len()), (3, ALL));
    seen.dedup();
    assert_eq!(seen.len(), ALL);
}

#[tokio::test]
async fn a_lab_shows_when_its_batches_really_close() {
    let bench = Bench::new().await;
    let ops = Viewer::new(&bench, &bench.ops).await;
    let order = bench.admitted("A-1").await;
    let read = bench.get(&format!("/v1/orders/{order}"), &bench.shop).await.is(200);
    let batch = read["window"]["batch"].as_str().unwrap();
    let coming = async || {
        let page = ops.page("/ops/labs/nord").await;
        between(&page, "id=\"r-1\"", "<ol class=\"plain days\">").to_owned()
    };
    let shown = coming().await;
    assert!(
        shown.contains("next cutoff is in") && shown.contains("1 waiting") && !shown.contains("postponed"),
        "{shown}"
    );
    let postpone = json!({"until": "2026-11-21T22:30:00Z", "reason": "late truck"});
    bench.post(&format!("/v1/batches/{batch}/postpone"), &bench.ops, &postpone).await.is(200);
    let shown = coming().await;
    assert!(shown.contains("2026-11-21T22:30:00Z") && shown.contains("postponed"), "{shown}");
    assert!(!shown.contains("2026-11-21T22:00:00Z"), "that cutoff is none any more: {shown}");
    assert!(shown.contains("Sun 00:30 there"), "{shown}");
    // Later than the next one: that one comes first, and the batch is shown beside it.
    let postpone = json!({"until": "2026-11-23T10:00:00Z", "reason": "a strike"});
    bench.post(&format!("/v1/batches/{batch}/postpone"), &bench.ops, &postpone).await.is(200);
    let shown = coming().await;
    let (next, other) = shown.split_once("Another batch closes").expect("both are shown");
    assert!(next.contains("2026-11-22T22:00:00Z") && next.contains("nobody waits for it yet"), "{next}");
    assert!(other.contains("2026-11-23T10:00:00Z") && other.contains("1 waiting"), "{other}");
    // Orders that go alone have batches of their own, and wait for no cutoff.
    let alone = (0..201).map(|nth| {
        let mut alone = crate::api::order(&format!("D-{nth}"));
        alone["transfer"] = json!("direct");
        alone
    });
    many(&bench, alone).await;
    let shown = coming().await;
    assert!(shown.contains("201 direct orders wait out their grace"), "{shown}");
    assert_eq!(shown.matches("/ops/batches/").count(), 1, "{shown}");
}
