//! Stops at labs whose people answer, end to end: a real gateway, real SMTP out, the page behind the link.

use std::time::Duration;

use hyper::http::Method;
use serde_json::{Value, json};
use stoppress::clock::Clock as _;
use stoppress::work::remind;

use crate::common::postgres;
use crate::rig::Rig;
use crate::sink::{Manner, Sink};

/// Friday, 10:00 in Helsinki.
const FRIDAY: &str = "2026-11-20T08:00:00Z";
/// Midnight in Helsinki.
const CUTOFF: &str = "2026-11-20T22:00:00Z";

/// A lab that takes orders by machine, while its people answer stops.
fn lab(rig: &Rig, contact: &Value) -> Value {
    json!({
        "id": "nordprint", "name": "Nordprint & Søn <Helsinki>",
        "driver": {"kind": "http", "base_url": format!("http://{}", rig.lab.http_addr)},
        "profile": {"dedupes": "forever", "stops": "no", "channel": "person", "answers_within": "40m"},
        "policy": {"contact": contact},
        "regions": [{"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}],
    })
}

pub(crate) fn both() -> Value {
    json!({"email": "maija@lab.example", "second_email": "boss@lab.example"})
}

pub(crate) async fn rig(sink: &Sink, contact: Value) -> Rig {
    let rig = Rig::mailing(None, FRIDAY, "http", json!({"stops": "yes"}), json!({}), sink.config()).await;
    put(&rig, &lab(&rig, &contact)).await;
    rig
}

async fn put(rig: &Rig, lab: &Value) {
    let path = format!("/v1/labs/{}", lab["id"].as_str().unwrap());
    let (status, answer) = rig.call(&rig.ops, Method::PUT, &path, lab.clone()).await;
    assert!(status < 300, "{answer}");
}

/// An order that the lab has, and a stop of it.
pub(crate) async fn asked(rig: &Rig, reference: &str) -> (String, Value) {
    let order = rig.order(reference).await;
    rig.go_to(CUTOFF).await;
    asked_of(rig, order).await
}

async fn asked_of(rig: &Rig, order: String) -> (String, Value) {
    assert_eq!(rig.read(&order).await["state"], "at_lab");
    let (status, stop) = rig.ask(&order).await;
    assert_eq!((status, stop["state"].as_str()), (202, Some("pending")), "{stop}");
    rig.settle().await;
    (order, stop)
}

pub(crate) async fn stop(rig: &Rig, order: &str) -> Value {
    rig.read(order).await["stop"].clone()
}

async fn events(rig: &Rig, order: &str, kind: &str) -> Vec<Value> {
    let path = format!("/v1/orders/{order}/changelog");
    let (_, log) = rig.call(&rig.ops, Method::GET, &path, Value::Null).await;
    log["events"].as_array().unwrap().iter().filter(|event| event["kind"] == kind).cloned().collect()
}

async fn escalations(rig: &Rig) -> Vec<Value> {
    let (_, list) = rig.call(&rig.ops, Method::GET, "/v1/escalations?open=true", Value::Null).await;
    list["escalations"].as_array().unwrap().clone()
}

fn form(token: &str, answer: &str, reason: &str) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs([("token", token), ("answer", answer), ("reason", reason)]).finish()
}

#[tokio::test]
async fn a_mail_goes_out_and_its_link_answers_the_stop() {
    let sink = Sink::start().await;
    let rig = rig(&sink, both()).await;
    let (order, asked) = asked(&rig, "A-1").await;
    assert_eq!(rig.read(&order).await["verdict"]["can_stop"], "ask_person");
    let mails = sink.mails();
    assert_eq!(mails.len(), 1, "one mail, at once");
    let mail = &mails[0];
    assert_eq!(mail.to, "maija@lab.example");
    assert_eq!(mail.header("subject"), "please stop order A-1");
    assert_eq!(mail.header("message-id"), format!("<{}.ask@gateway.example>", asked["id"].as_str().unwrap()));
    for said in [
        "To Nordprint & Søn <Helsinki>",
        "A-1 of acme",
        "1 x print (line 1)",
        "Why           test",
        "Asked at      2026-11-21 00:00 (Europe/Helsinki)",
        "Answer due    2026-11-21 00:40 (Europe/Helsinki)",
        "https://gateway.example/stops/a/",
    ] {
        assert!(mail.text.contains(said), "{said:?} is not in\n{}", mail.text);
    }
    let sent = events(&rig, &order, "stop.mailed").await;
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["detail"]["to"], "m…@lab.example");
    assert!(!sent[0].to_string().contains("maija"), "{}", sent[0]);

    // Scanners look, twice and in every way: nothing changes.
    let before = rig.kinds(&order).await;
    for method in [Method::GET, Method::HEAD, Method::GET, Method::HEAD] {
        let (status, headers, page) = rig.browse(method.clone(), &mail.link(), None).await;
        assert_eq!(status, 200);
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert!(!headers.contains_key("set-cookie"));
        if method == Method::GET {
            assert!(page.contains("Nordprint &#38; Søn &#60;Helsinki&#62;"), "{page}");
            assert!(page.contains("<form method=\"post\""), "{page}");
            assert!(!page.contains("lab.example") && !page.contains("Helsinki>"), "{page}");
        }
    }
    rig.settle().await;
    assert_eq!(rig.kinds(&order).await, before);
    assert_eq!(stop(&rig, &order).await["state"], "pending");
    // The form is posted, never fetched; and other methods do not act.
    let (status, ..) =
        rig.browse(Method::GET, &format!("/a?{}", form(&mail.token(), "stopped", "")), None).await;
    assert_eq!(status, 405);
    let (status, ..) =
        rig.browse(Method::POST, &mail.link(), Some(&form(&mail.token(), "stopped", ""))).await;
    assert_eq!(status, 405);
    assert_eq!(rig.kinds(&order).await, before);

    let (status, headers, page) =
        rig.browse(Method::POST, "/a", Some(&form(&mail.token(), "stopped", "taken <out>"))).await;
    assert_eq!(status, 200, "{page}");
    assert_eq!(headers["cache-control"], "no-store");
    assert!(page.contains("your answer is recorded") && !page.contains("<form"), "{page}");
    rig.settle().await;
    let stands = stop(&rig, &order).await;
    assert_eq!((&stands["state"], &stands["evidence"]), (&json!("stopped"), &json!("person_confirmed")));
    let decided = events(&rig, &order, "stop.stopped").await;
    assert_eq!(decided[0]["actor"], "lab:nordprint by link, mailed to m…@lab.example");
    assert!(decided[0]["detail"]["answer"].as_str().unwrap().contains("taken <out>"));

    // A later visitor sees what stands. The same answer again changes nothing; another one is only kept.
    let (status, _, page) = rig.browse(Method::GET, &mail.link(), None).await;
    assert!(status == 200 && page.contains("stopped: it will not be printed") && !page.contains("<form"));
    let kinds = rig.kinds(&order).await;
    let (status, _, page) = rig.browse(Method::POST, "/a", Some(&form(&mail.token(), "stopped", ""))).await;
    assert!(status == 200 && page.contains("answered before"), "{page}");
    assert_eq!(rig.kinds(&order).await, kinds);
    rig.browse(Method::POST, "/a", Some(&form(&mail.token(), "too_late", ""))).await;
    assert_eq!(stop(&rig, &order).await["state"], "stopped");
    assert_eq!(escalations(&rig).await[0]["kind"], "shipped_anyway", "ops hear of the contradiction");
    // Nobody is reminded of what is decided.
    rig.go_to("2026-11-21T03:00:00Z").await;
    assert_eq!(sink.mails().len(), 1);
}

#[tokio::test]
async fn whoever_answers_can_say_a_name_which_stays_with_the_answer() {
    let sink = Sink::start().await;
    let rig = rig(&sink, both()).await;
    let (order, _) = asked(&rig, "A-1").await;
    let token = sink.mails().remove(0).token();
    let named = |answer, name: &str| {
        let name: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
        format!("{}&name={name}", form(&token, answer, ""))
    };
    for bad in ["x".repeat(101), "a\nb".to_owned(), "\u{7}".to_owned()] {
        assert_eq!(rig.browse(Method::POST, "/a", Some(&named("stopped", &bad))).await.0, 400, "{bad:?}");
    }
    let (status, _, page) =
        rig.browse(Method::POST, "/a", Some(&named("stopped", " Maija \"M\" \u{202e}Ö "))).await;
    assert_eq!(status, 200, "{page}");
    let by = "lab:nordprint by link, mailed to m…@lab.example, as \"Maija 'M' Ö\"";
    assert_eq!(events(&rig, &order, "stop.stopped").await[0]["actor"], by);
    // What contradicts it later is shown beside it, each with who said so.
    rig.browse(Method::POST, "/a", Some(&named("too_late", "Pekka"))).await;
    let evidence = escalations(&rig).await[0]["evidence"].clone();
    let actors: Vec<_> =
        evidence.as_array().unwrap().iter().map(|piece| piece["actor"].as_str().unwrap()).collect();
    let other = "lab:nordprint by link, mailed to m…@lab.example, as \"Pekka\"";
    assert!(actors.contains(&by) && actors.contains(&other), "{actors:?}");
}

#[tokio::test]
async fn links_that_are_wrong_old_or_taken_back_open_nothing() {
    let sink = Sink::start().await;
    let rig = rig(&sink, both()).await;
    let (order, _) = asked(&rig, "A-1").await;
    let mail = sink.mails().remove(0);
    let token = mail.token();
    let before = rig.kinds(&order).await;
    let swapped = if token.ends_with('A') { "B" } else { "A" };
    let mut tampered = token.clone();
    tampered.replace_range(10..11, if &token[10..11] == "x" { "y" } else { "x" });
    let ended = format!("{}{swapped}", &token[..token.len() - 1]);
    for wrong in ["x", "..", "%00", &tampered, &ended, &token[..50], &"A".repeat(5_000)] {
        let (status, headers, page) = rig.browse(Method::GET, &format!("/a/{wrong}"), None).await;
        // Whoever asks for what is above asks for the board.
        assert_eq!(status, if wrong == ".." { 303 } else { 404 }, "{wrong}: {page}");
        if wrong != ".." {
            assert_eq!(headers["referrer-policy"], "no-referrer", "{wrong}");
            assert!(!page.contains("A-1") && !page.contains("stp_"), "{page}");
        }
        let (status, ..) = rig.browse(Method::POST, "/a", Some(&form(wrong, "stopped", ""))).await;
        assert_eq!(status, 404, "{wrong}");
    }
    let long = "x".repeat(501);
    for broken in [
        String::new(),
        form(&token, "maybe", ""),
        form(&token, "stopped", &long),
        format!("token={token}"),
        format!("{}&more=1", form(&token, "stopped", "")),
        "a".repeat(20_000),
    ] {
        let (status, _, page) = rig.browse(Method::POST, "/a", Some(&broken)).await;
        assert_eq!(status, 400, "{page}");
    }
    // Somebody else is the contact now: the former one's link opens nothing.
    put(&rig, &lab(&rig, &json!({"email": "new@lab.example"}))).await;
    assert_eq!(rig.browse(Method::GET, &mail.link(), None).await.0, 404);
    put(&rig, &lab(&rig, &both())).await;
    assert_eq!(rig.browse(Method::GET, &mail.link(), None).await.0, 200);
    assert_eq!(rig.kinds(&order).await, before, "nothing of all this changed anything");
    // A day after the deadline it is over, in plain words and without details.
    rig.go_to("2026-11-21T22:39:59Z").await;
    assert_eq!(rig.browse(Method::GET, &mail.link(), None).await.0, 200);
    rig.go_to("2026-11-21T22:40:00Z").await;
    let (status, _, page) = rig.browse(Method::GET, &mail.link(), None).await;
    assert!(status == 410 && !page.contains("A-1"), "{page}");
    assert_eq!(rig.browse(Method::POST, "/a", Some(&form(&token, "stopped", ""))).await.0, 410);
    assert_eq!(stop(&rig, &order).await["state"], "with_a_person");
}

#[tokio::test]
async fn a_reminder_at_half_time_a_second_contact_at_three_quarters_then_ops() {
    let sink = Sink::start().await;
    let mut rig = rig(&sink, both()).await;
    let (order, _) = asked(&rig, "A-1").await;
    let seen = |sink: &Sink| {
        sink.mails().iter().map(|mail| (mail.to.clone(), mail.header("subject"))).collect::<Vec<_>>()
    };
    assert_eq!(seen(&sink).len(), 1);
    rig.go_to("2026-11-20T22:19:59Z").await;
    assert_eq!(seen(&sink).len(), 1);
    // A restart in between sends nothing again, and forgets nothing; links of before go on working.
    let first = sink.mails().remove(0);
    rig.stop().await;
    rig.start().await;
    rig.settle().await;
    assert_eq!(seen(&sink).len(), 1);
    assert_eq!(rig.browse(Method::GET, &first.link(), None).await.0, 200);
    rig.go_to("2026-11-20T22:20:00Z").await;
    assert_eq!(seen(&sink)[1], ("maija@lab.example".into(), "Reminder: please stop order A-1".into()));
    rig.go_to("2026-11-20T22:29:59Z").await;
    assert_eq!(seen(&sink).len(), 2);
    rig.go_to("2026-11-20T22:30:00Z").await;
    assert_eq!(seen(&sink)[2], ("boss@lab.example".into(), "No answer yet: please stop order A-1".into()));
    assert!(escalations(&rig).await.is_empty());
    assert_eq!(stop(&rig, &order).await["state"], "pending");
    rig.go_to("2026-11-20T22:40:00Z").await;
    assert_eq!(stop(&rig, &order).await["state"], "with_a_person");
    let open = escalations(&rig).await;
    assert_eq!((open.len(), &open[0]["kind"]), (1, &json!("stop")));
    rig.go_to("2026-11-21T06:00:00Z").await;
    assert_eq!(seen(&sink).len(), 3, "three mails in all");
    assert_eq!(events(&rig, &order, "stop.mailed").await.len(), 3);
    // The second contact answers late, by its own link: it still counts, and ops are relieved.
    let second = sink.mails().remove(2);
    let (status, _, page) =
        rig.browse(Method::POST, "/a", Some(&form(&second.token(), "too_late", "printed"))).await;
    assert_eq!(status, 200, "{page}");
    assert_eq!(stop(&rig, &order).await["state"], "too_late");
    assert!(escalations(&rig).await.is_empty());
    assert_eq!(
        events(&rig, &order, "stop.too_late").await[0]["actor"],
        "lab:nordprint by link, mailed to b…@lab.example"
    );
}

#[tokio::test]
async fn contact_hours_shift_the_deadline_and_the_reminders_visibly() {
    let sink = Sink::start().await;
    let mut contact = both();
    contact["hours"] = json!("mon-fri 08:00-16:00");
    let rig = rig(&sink, contact).await;
    let order = rig.order("A-1").await;
    rig.go_to(CUTOFF).await;
    let verdict = rig.read(&order).await["verdict"].clone();
    let due = (json!("2026-11-23T06:40:00Z"), json!("2026-11-23T08:40:00+02:00[Europe/Helsinki]"));
    let rule = json!("contact_hours mon-fri 08:00-16:00");
    assert_eq!(
        (&verdict["next"]["answer_due_at"], &verdict["next"]["answer_due_local"]),
        (&due.0, &due.1),
        "{verdict}"
    );
    assert_eq!(verdict["next"]["answer_due_rule"], rule);
    let (status, stop) = rig.ask(&order).await;
    assert_eq!(status, 202);
    assert_eq!(
        (&stop["answer_due_at"], &stop["answer_due_local"], &stop["answer_due_rule"]),
        (&due.0, &due.1, &rule),
        "{stop}"
    );
    rig.settle().await;
    assert_eq!(sink.mails().len(), 1, "the first mail goes at once: it waits for them on Monday");
    assert!(sink.mails()[0].text.contains("Answer due    2026-11-23 08:40 (Europe/Helsinki)"));
    rig.go_to("2026-11-23T06:19:59Z").await;
    assert_eq!(sink.mails().len(), 1, "nobody is reminded on the weekend");
    rig.go_to("2026-11-23T06:20:00Z").await;
    assert_eq!(sink.mails().len(), 2);
    rig.go_to("2026-11-23T06:30:00Z").await;
    assert_eq!(sink.mails().len(), 3);
    rig.go_to("2026-11-23T06:39:59Z").await;
    let verdict = rig.read(&order).await["verdict"].clone();
    assert_eq!((&verdict["reason"], &verdict["next"]["answer_due_rule"]), (&json!("stop_pending"), &rule));
    rig.go_to("2026-11-23T06:40:00Z").await;
    assert_eq!(rig.read(&order).await["stop"]["state"], "with_a_person");
    assert_eq!(escalations(&rig).await.len(), 1);
}

#[tokio::test]
async fn a_mail_that_cannot_be_sent_calls_ops_early() {
    // (how the server behaves, how many tries, how long they take, the outcome)
    let cases = [
        (Manner::Refuses, 1, "2026-11-20T22:00:00Z", "refused"),
        (Manner::Busy, 4, "2026-11-20T22:02:35Z", "unreachable"),
        (Manner::HangsUp, 4, "2026-11-20T22:02:35Z", "unreachable"),
        (Manner::LosesAnswers, 2, "2026-11-20T22:01:00Z", "unclear"),
    ];
    for (manner, tries, until, outcome) in cases {
        let sink = Sink::start().await;
        sink.behaves(manner);
        let rig = rig(&sink, json!({"email": "maija@lab.example"})).await;
        let (order, _) = asked(&rig, "A-1").await;
        rig.go_to(until).await;
        let failed = events(&rig, &order, "stop.mail_failed").await;
        assert_eq!(failed.len(), tries, "{manner:?}: {failed:?}");
        assert!(failed.iter().all(|event| event["detail"]["outcome"] == outcome), "{failed:?}");
        assert!(failed.iter().all(|event| event["detail"]["to"] == "m…@lab.example"), "{failed:?}");
        let stands = stop(&rig, &order).await;
        assert_eq!(
            (&stands["state"], &stands["evidence"]),
            (&json!("with_a_person"), &json!("no_channel")),
            "{manner:?}"
        );
        let open = escalations(&rig).await;
        assert_eq!((open.len(), &open[0]["kind"]), (1, &json!("stop")), "{manner:?}");
        assert!(open[0]["cause"].as_str().unwrap().contains("m…@lab.example"), "{}", open[0]);
        // What was given up is not begun again; what is due later is tried, for the server may be back.
        sink.behaves(Manner::Takes);
        let before = sink.mails().len();
        assert_eq!(
            before,
            if manner == Manner::LosesAnswers { 2 } else { 0 },
            "an unclear mail goes once more"
        );
        rig.go_to("2026-11-21T06:00:00Z").await;
        assert_eq!(sink.mails().len(), before + 1, "{manner:?}: the reminder");
        assert_eq!(escalations(&rig).await.len(), 1);
    }
}

#[tokio::test]
async fn a_server_that_comes_back_in_time_gets_the_mail_once() {
    let sink = Sink::start().await;
    sink.behaves(Manner::HangsUp);
    let rig = rig(&sink, json!({"email": "maija@lab.example"})).await;
    let (order, _) = asked(&rig, "A-1").await;
    rig.go_to("2026-11-20T22:00:30Z").await;
    sink.behaves(Manner::Takes);
    rig.go_to("2026-11-20T22:05:00Z").await;
    assert_eq!(sink.mails().len(), 1);
    assert_eq!(stop(&rig, &order).await["state"], "pending");
    assert!(escalations(&rig).await.is_empty());
}

#[tokio::test]
async fn without_a_mail_server_ops_hear_at_once_of_whom_nobody_can_write_to() {
    let rig = Rig::new(FRIDAY, "http", json!({"stops": "yes"}), json!({})).await;
    put(&rig, &lab(&rig, &json!({"email": "maija@lab.example"}))).await;
    let (order, _) = asked(&rig, "A-1").await;
    assert_eq!(stop(&rig, &order).await["state"], "with_a_person");
    assert_eq!(escalations(&rig).await.len(), 1);
    // People without an address look at their list by themselves: until the deadline it is theirs.
    put(&rig, &lab(&rig, &json!({"phone": "+358 9 1"}))).await;
    let order = rig.order("A-2").await;
    rig.go_to("2026-11-21T22:00:00Z").await;
    rig.ask(&order).await;
    rig.settle().await;
    assert_eq!(stop(&rig, &order).await["state"], "pending");
    rig.go_to("2026-11-21T22:40:00Z").await;
    assert_eq!(stop(&rig, &order).await["state"], "with_a_person");
}

#[tokio::test]
async fn a_lab_without_any_machine_is_asked_when_it_has_the_order() {
    let sink = Sink::start().await;
    let rig = rig(&sink, both()).await;
    let mut corner = lab(&rig, &json!({"email": "corner@lab.example"}));
    corner["id"] = json!("corner");
    corner["driver"] = json!({"kind": "person"});
    corner["profile"] = json!({"answers_within": "40m"});
    put(&rig, &corner).await;
    let order = rig.order_of("corner", "C-1").await;
    rig.go_to(CUTOFF).await;
    assert_eq!(rig.read(&order).await["state"], "with_a_person", "somebody hands it over");
    let open = escalations(&rig).await;
    let path = format!("/v1/escalations/{}/resolve", open[0]["id"].as_str().unwrap());
    let decision = json!({"decision": "handed_over", "reason": "brought it there"});
    assert_eq!(rig.call(&rig.ops, Method::POST, &path, decision).await.0, 200);
    let (status, stop) = rig.ask(&order).await;
    assert_eq!((status, stop["state"].as_str()), (202, Some("pending")));
    rig.settle().await;
    assert_eq!(sink.mails().len(), 1);
    assert_eq!(sink.mails()[0].to, "corner@lab.example");
    assert!(escalations(&rig).await.is_empty(), "its people have until the deadline");
}

#[tokio::test]
async fn two_gateways_on_one_database_send_one_mail() {
    let database = postgres::database().await;
    let sink = Sink::start().await;
    // Two gateways speak to each other every second: a short evening, and short times.
    let (start, profile) = ("2026-11-20T21:59:55Z", json!({"stops": "yes"}));
    let rig = Rig::mailing(Some(&database.url), start, "http", profile, json!({}), sink.config()).await;
    let mut spec = lab(&rig, &both());
    spec["profile"]["answers_within"] = json!("40s");
    put(&rig, &spec).await;
    let other = rig.another(23).await;
    let order = rig.order("A-1").await;
    let idle = || async {
        rig.settle().await;
        for running in [&other, rig.running.as_ref().unwrap()] {
            running.bench.bells.nudge(remind::NAME);
            let settled = running.bench.bells.settled(rig.clock.now());
            tokio::time::timeout(Duration::from_secs(30), settled).await.unwrap();
        }
        rig.settle().await;
    };
    // Each hands over only when the other one is clear of the cutoff: that takes a turn or two.
    for ms in 0..200 {
        rig.go_to(&format!("2026-11-20T22:00:01.{ms:03}Z")).await;
        idle().await;
        if rig.read(&order).await["state"] == "at_lab" {
            break;
        }
    }
    let (order, _) = asked_of(&rig, order).await;
    idle().await;
    assert_eq!(sink.mails().len(), 1);
    for (until, mails) in [("2026-11-20T22:00:25Z", 2), ("2026-11-20T22:00:35Z", 3)] {
        rig.go_to(until).await;
        idle().await;
        assert_eq!(sink.mails().len(), mails, "at {until}");
    }
    assert_eq!(events(&rig, &order, "stop.mailed").await.len(), 3);
    // Links of one gateway hold at the other.
    let link = sink.mails()[0].token();
    let url = format!("{}/a/{link}", other.url());
    let page = fetched(&url).await;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    other.stop().await;
}

/// A page as it comes from another gateway.
async fn fetched(url: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let url: url::Url = url.parse().unwrap();
    let addr = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", url.path());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}
