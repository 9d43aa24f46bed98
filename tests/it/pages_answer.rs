//! The page behind the link of a mail, used in a real browser by the people of a lab.

use serde_json::json;

use crate::common::browser::{Page, View};
use crate::person_mail::{asked, both, rig, stop};
use crate::rig::Rig;
use crate::sink::Sink;

/// A first look has to come before somebody's patience ends, also on a bad line.
const FIRST_PAINT_MAX: u64 = 100_000;

/// The page of the newest mail.
fn link(rig: &Rig, sink: &Sink) -> String {
    format!("{}{}", rig.running.as_ref().unwrap().url(), sink.mails().last().unwrap().link())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_given_by_keyboard_alone() {
    let sink = Sink::start().await;
    let rig = rig(&sink, both()).await;
    let (order, _) = asked(&rig, "A-1").await;
    let page = Page::open(View::DESKTOP.zone("Europe/Helsinki")).await;
    page.goto(&link(&rig, &sink)).await;
    assert_eq!(page.text("h1").await, "Stop of order A-1");
    assert!(page.transferred() > 0 && page.transferred() < FIRST_PAINT_MAX, "{:?}", page.transfers());
    page.looks("answer-open").await;
    assert_eq!(stop(&rig, &order).await["state"], "pending", "looking changes nothing");

    page.tab_to("#reason").await;
    page.write("taken out by Maija").await;
    page.tab_to("text=Stopped").await;
    let loads = page.loads();
    page.press("Enter").await;
    page.loaded_after(loads).await;
    page.wait_text("[role=status]", "your answer is recorded").await;
    page.looks("answer-given").await;
    rig.settle().await;
    let stands = stop(&rig, &order).await;
    assert_eq!((&stands["state"], &stands["evidence"]), (&json!("stopped"), &json!("person_confirmed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_given_on_a_phone_without_scripts() {
    let sink = Sink::start().await;
    let rig = rig(&sink, both()).await;
    let (order, _) = asked(&rig, "A-2").await;
    let page = Page::open(View::PHONE.dark().without_script().language("fi-FI")).await;
    page.goto(&link(&rig, &sink)).await;
    page.fill("#reason", "it is on the press").await;
    let loads = page.loads();
    page.click("text=Too late").await;
    page.loaded_after(loads).await;
    page.wait_text("main", "too late: it is or will be printed").await;
    assert!(!page.shows("form").await);
    rig.settle().await;
    assert_eq!(stop(&rig, &order).await["state"], "too_late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_does_not_work_says_so_and_can_be_read() {
    let sink = Sink::start().await;
    let rig = rig(&sink, both()).await;
    let page = Page::open(View::DESKTOP).await;
    page.forgive("status of 404");
    page.goto(&format!("{}/a/nothing", rig.running.as_ref().unwrap().url())).await;
    assert_eq!(page.text("h1").await, "This link does not work");
    page.looks("answer-no-link").await;
}
