//! Downloads: nothing of them is handed over, and nobody says that one is revoked before its platform has.

use serde_json::{Value, json};
use stoppress::domain::downloads::{
    DownloadEvidence as Evidence, DownloadFacts, DownloadReply, DownloadState as State, DownloadWord as Word,
};
use stoppress::domain::ids::{OrderId, PlatformId};
use stoppress::domain::measures::Lasting;
use stoppress::domain::order::OrderState;
use stoppress::domain::stop::StopState;
use stoppress::store::{
    Admission, CallbackChange, ChangeCallback, ClaimDownloads, Claimed, DownloadDue, DownloadReported,
    EscalationFilter, PersonDecision, Put, PutPlatform, ReportDownload, Resolve, Resolved, Scope,
    SettleDownload, StopAsk, StopOutcome, Store, Write, Written, one,
};

use super::on_both;
use crate::common::world::{CUTOFF, LEASE, Lab, World, able, accepted, at, ops, shop};

on_both!(
    a_download_is_not_handed_over,
    a_stop_asks_about_all_downloads_and_lines_only_about_those_they_name,
    each_way_in_which_it_can_end,
    what_was_told_stays_told,
    without_an_answer_a_person_finds_out,
    without_an_address_a_person_is_called_at_once,
    a_person_finds_out_once,
    a_lease_that_is_over_is_taken_by_another,
    a_silent_platform_keeps_only_its_own_waiting,
);

pub(super) const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// How long the platform has to answer.
pub(super) const WITHIN: i64 = 600;

/// An order of two lines that are printed and two downloads.
pub(super) fn mixed(lab: &Lab<'_>, reference: &str) -> Admission {
    let items = json!([
        {"id": "1", "kind": "print", "sku": "mug", "quantity": 2},
        {"id": "2", "kind": "download", "sku": "zip", "quantity": 1},
        {"id": "3", "kind": "print", "sku": "frame", "quantity": 1},
        {"id": "4", "kind": "download", "sku": "raw", "quantity": 1, "options": {"kind": "print"}},
    ]);
    let document = json!({"reference": reference, "items": items}).to_string();
    Admission { document, ..lab.admission(reference) }
}

pub(super) async fn admitted(lab: &Lab<'_>, reference: &str) -> OrderId {
    let admission = mixed(lab, reference);
    let id = admission.id.clone();
    lab.admit_as(admission).await;
    id
}

/// The platform, and where it is asked.
pub(super) async fn platform(world: &World, callback: bool) {
    let spec = json!({"id": "shop", "name": "Shop"}).to_string();
    let put = PutPlatform { id: shop(), spec, at: at(0), actor: ops() };
    world.write(Write::PutPlatform(Box::new(put))).await;
    if callback {
        assert_eq!(set(world, "https://shop.example/links", 0).await, Put::Done(1));
    }
}

pub(super) async fn change(world: &World, change: CallbackChange, seconds: i64) -> Put {
    let item = ChangeCallback { platform: shop(), change, at: at(seconds), actor: ops() };
    let Written::Put(put) = world.write(Write::ChangeCallback(Box::new(item))).await else {
        panic!("not a callback")
    };
    put
}

pub(super) async fn set(world: &World, url: &str, seconds: i64) -> Put {
    let (url, secret) = (url.to_owned(), SECRET.to_owned().into());
    change(world, CallbackChange::Set { url, answers_within: Lasting::seconds(WITHIN), secret }, seconds)
        .await
}

async fn downloads(world: &World, order: &OrderId) -> Vec<DownloadFacts> {
    world.order(order).await.extras.downloads
}

/// How they stand, by their items.
pub(super) async fn stands(world: &World, order: &OrderId) -> Vec<(String, State)> {
    downloads(world, order).await.into_iter().map(|it| (it.item, it.state)).collect()
}

async fn state(world: &World, order: &OrderId, item: &str) -> (State, Option<Evidence>) {
    let all = downloads(world, order).await;
    let found = all.into_iter().find(|it| it.item == item);
    found.map_or((State::Live, None), |it| (it.state, it.evidence))
}

async fn claim_at(store: &dyn Store, seconds: i64, busy: Vec<PlatformId>) -> Vec<DownloadDue> {
    let claim = ClaimDownloads { limit: 10, busy, now: at(seconds), lease_until: at(seconds + LEASE) };
    let Written::DownloadsClaimed(due) = one(store, Write::ClaimDownloads(claim)).await.unwrap() else {
        panic!("not a claim")
    };
    due
}

/// What is asked: the item and the attempt.
async fn claim(world: &World, seconds: i64) -> Vec<(String, i64)> {
    let due = claim_at(&*world.store, seconds, Vec::new()).await;
    let ask = |due| match due {
        DownloadDue::Ask(ask) => {
            assert_eq!(ask.callback.url, "https://shop.example/links");
            Some((ask.facts.item, ask.facts.attempts))
        }
        DownloadDue::Person(_) => None,
    };
    due.into_iter().filter_map(ask).collect()
}

async fn settle(world: &World, order: &OrderId, item: &str, reply: DownloadReply, seconds: i64) {
    let it = downloads(world, order).await.into_iter().find(|it| it.item == item).unwrap();
    let settle = SettleDownload {
        download: it.id,
        attempt: it.attempts,
        reply,
        at: at(seconds),
        next_at: at(seconds + 5),
    };
    let written = world.write(Write::SettleDownload(Box::new(settle))).await;
    assert!(matches!(written, Written::DownloadSettled(Some(_))), "{written:?}");
}

fn said(word: Word) -> DownloadReply {
    DownloadReply::Said(word)
}

fn unclear() -> DownloadReply {
    DownloadReply::Unclear { cause: "HTTP 500".to_owned() }
}

pub(super) async fn report_as(
    world: &World,
    order: &OrderId,
    item: &str,
    word: Word,
    scope: Scope,
) -> DownloadReported {
    let item = ReportDownload {
        order: order.clone(),
        scope,
        item: item.to_owned(),
        word,
        comment: Some("seen in the log".to_owned()),
        at: at(50),
        actor: ops(),
    };
    let Written::DownloadReported(reported) = world.write(Write::ReportDownload(Box::new(item))).await else {
        panic!("not a report")
    };
    reported
}

async fn report(world: &World, order: &OrderId, item: &str, word: Word) {
    let reported = report_as(world, order, item, word, Scope::Platform(shop())).await;
    assert!(matches!(reported, DownloadReported::Done(_)), "{reported:?}");
}

async fn kinds(world: &World, order: &OrderId) -> Vec<String> {
    let log = world.store.log(&[order.as_str()]).await.unwrap();
    log.into_iter().map(|event| event.kind).filter(|kind| kind.starts_with("download.")).collect()
}

pub(super) fn ids(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

pub(super) fn asking(lab: &Lab<'_>, order: &OrderId, items: &str, seconds: i64) -> StopAsk {
    StopAsk { items: ids(items), ..lab.asking(order, seconds) }
}

pub(super) fn revoking(items: &str) -> Vec<(String, State)> {
    ids(items).into_iter().map(|item| (item, State::Revoking)).collect()
}

async fn a_download_is_not_handed_over(world: World) {
    let lab = world.lab("lumo", able()).await;
    platform(&world, true).await;
    let order = admitted(&lab, "A-1").await;
    let part = admitted(&lab, "A-2").await;
    lab.ask_as(asking(&lab, &part, "3", 5)).await;
    assert_eq!(stands(&world, &part).await, []);
    world.close(CUTOFF).await;
    let claimed = lab.claim(CUTOFF + 1).await;
    let lines = |claimed: &Claimed| -> Vec<String> {
        let Claimed::Send(out) = claimed else { panic!("{claimed:?}") };
        let body: Value = serde_json::from_slice(&out.body).unwrap();
        let items = body["orders"][0]["items"].as_array().unwrap().iter();
        items.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    let sent: Vec<_> = claimed.iter().map(lines).collect();
    assert_eq!(sent, [ids("1 3"), ids("1")]);
    // Nothing of a cutoff concerns them: they can be asked about later as before.
    let Some(Claimed::Send(out)) = claimed.first() else { panic!("{claimed:?}") };
    lab.settle(out, accepted(), CUTOFF + 2).await.unwrap();
    let outcome = lab.ask_as(asking(&lab, &order, "2", CUTOFF + 9)).await;
    assert!(matches!(outcome, StopOutcome::Downloads(id) if id == order));
    assert_eq!(stands(&world, &order).await, revoking("2"));
    assert!(world.order(&order).await.stop.is_none(), "nothing that is printed was asked about");
    world.verify().await;
}

async fn a_stop_asks_about_all_downloads_and_lines_only_about_those_they_name(world: World) {
    let lab = world.lab("lumo", able()).await;
    platform(&world, true).await;
    for (nth, (items, state, out, asked)) in [
        ("", OrderState::Stopped, "", "2 4"),
        ("2", OrderState::InBatch, "", "2"),
        ("4 2", OrderState::InBatch, "", "2 4"),
        ("1", OrderState::InBatch, "1", ""),
        ("1 4", OrderState::InBatch, "1", "4"),
        // All that is printed is the order; the downloads go on.
        ("1 3", OrderState::Stopped, "", ""),
        ("1 2 3", OrderState::Stopped, "", "2"),
        ("1 2 3 4", OrderState::Stopped, "", "2 4"),
    ]
    .into_iter()
    .enumerate()
    {
        let order = admitted(&lab, &format!("A-{nth}")).await;
        let outcome = lab.ask_as(asking(&lab, &order, items, 5)).await;
        assert!(!matches!(outcome, StopOutcome::Refused(_) | StopOutcome::NotFound), "{outcome:?}");
        let facts = world.order(&order).await;
        assert_eq!((facts.state(), facts.lines_out.clone()), (state, ids(out)), "{items}");
        assert_eq!(stands(&world, &order).await, revoking(asked), "{items}");
        // The whole order later asks about those that are left; the same again about none.
        lab.ask_as(asking(&lab, &order, "", 6)).await;
        assert_eq!(stands(&world, &order).await, revoking("2 4"), "{items}");
        let version = world.order(&order).await.version;
        lab.ask_as(asking(&lab, &order, "", 7)).await;
        lab.ask_as(asking(&lab, &order, "2 4", 8)).await;
        assert_eq!(world.order(&order).await.version, version, "{items}: the same again");
    }
    // What is refused asks about nothing.
    let order = admitted(&lab, "A-99").await;
    let outcome = lab.ask_as(asking(&lab, &order, "2 9", 5)).await;
    assert!(matches!(outcome, StopOutcome::Refused(_)), "{outcome:?}");
    assert_eq!(stands(&world, &order).await, []);
    world.verify().await;
}

async fn each_way_in_which_it_can_end(world: World) {
    let lab = world.lab("lumo", able()).await;
    platform(&world, true).await;
    let order = admitted(&lab, "A-1").await;
    let stop = lab.stop(&order, 5).await;
    assert_eq!(stop.state, StopState::Stopped, "what is printed is told apart from what is downloaded");
    assert_eq!(world.store.download_next().await.unwrap(), Some(at(5)));
    assert_eq!(claim(&world, 5).await, [("2".to_owned(), 1), ("4".to_owned(), 1)]);
    assert_eq!(claim(&world, 6).await, [], "somebody is at it");
    settle(&world, &order, "2", said(Word::Deactivated), 7).await;
    settle(&world, &order, "4", unclear(), 7).await;
    assert_eq!(state(&world, &order, "2").await, (State::Revoked, Some(Evidence::PlatformAnswered)));
    assert_eq!(state(&world, &order, "4").await, (State::Revoking, None));
    assert_eq!(world.store.download_next().await.unwrap(), Some(at(12)));
    assert_eq!(claim(&world, 12).await, [("4".to_owned(), 2)]);
    settle(&world, &order, "4", said(Word::Fetched), 13).await;
    assert_eq!(state(&world, &order, "4").await, (State::Fetched, Some(Evidence::PlatformAnswered)));
    assert_eq!(world.store.download_next().await.unwrap(), None);
    // What nobody understands is no news about what is decided.
    settle(&world, &order, "2", unclear(), 14).await;
    assert_eq!(downloads(&world, &order).await.remove(0).answer, None);
    assert_eq!(world.calls().await, Vec::<String>::new());
    let told = [
        "download.revoking",
        "download.revoking",
        "download.forwarded",
        "download.forwarded",
        "download.revoked",
        "download.answer",
        "download.forwarded",
        "download.fetched",
    ];
    assert_eq!(kinds(&world, &order).await, told);
    world.verify().await;
}

async fn what_was_told_stays_told(world: World) {
    let lab = world.lab("lumo", able()).await;
    platform(&world, true).await;
    // Fetched before anybody asked: it is not asked about any more.
    let order = admitted(&lab, "A-1").await;
    report(&world, &order, "2", Word::Fetched).await;
    assert_eq!(state(&world, &order, "2").await, (State::Fetched, Some(Evidence::PlatformReported)));
    lab.stop(&order, 60).await;
    assert_eq!(claim(&world, 60).await, [("4".to_owned(), 1)]);
    // Reported while it is asked: that counts, and the late answer agrees.
    report(&world, &order, "4", Word::Fetched).await;
    settle(&world, &order, "4", said(Word::Fetched), 61).await;
    settle(&world, &order, "4", unclear(), 62).await;
    assert_eq!(state(&world, &order, "4").await, (State::Fetched, Some(Evidence::PlatformReported)));
    assert_eq!(world.store.download_next().await.unwrap(), None);
    // That its link is gone changes nothing.
    settle(&world, &order, "4", said(Word::Deactivated), 63).await;
    assert_eq!(state(&world, &order, "4").await.0, State::Fetched);
    assert_eq!(world.calls().await, Vec::<String>::new());

    // Told revoked, then said to have been fetched: it stays told, and a person is called, once.
    let order = admitted(&lab, "A-2").await;
    report(&world, &order, "2", Word::Deactivated).await;
    assert_eq!(state(&world, &order, "2").await.0, State::Revoked);
    for _ in 0..2 {
        report(&world, &order, "2", Word::Fetched).await;
    }
    let it = downloads(&world, &order).await.remove(0);
    assert_eq!((it.state, it.contradicted_at), (State::Revoked, Some(at(50))));
    assert_eq!(world.calls().await, ["download_contradiction"]);
    assert_eq!(kinds(&world, &order).await, ["download.revoked", "download.contradicted"]);
    let call = world.escalations().await.remove(0);
    assert_eq!((call.order.as_ref(), call.subject.as_str()), (Some(&order), it.id.as_str()));
    let resolve = |decision| Resolve {
        escalation: call.id.clone(),
        next: world.escalation_id(),
        decision,
        reason: "wrote to the customer".to_owned(),
        at: at(70),
        actor: ops(),
    };
    let Written::Resolved(wrong) =
        world.write(Write::Resolve(Box::new(resolve(PersonDecision::Revoked)))).await
    else {
        panic!("not a decision")
    };
    assert!(matches!(wrong, Resolved::DoesNotFit { .. }), "{wrong:?}");
    world.write(Write::Resolve(Box::new(resolve(PersonDecision::Noted)))).await;
    assert_eq!(world.calls().await, Vec::<String>::new());
    world.verify().await;
}

async fn without_an_answer_a_person_finds_out(world: World) {
    let lab = world.lab("lumo", able()).await;
    platform(&world, true).await;
    let order = admitted(&lab, "A-1").await;
    lab.ask_as(asking(&lab, &order, "2", 10)).await;
    let (mut now, mut attempts) = (10, 0);
    while now < 10 + WITHIN {
        let due = claim(&world, now).await;
        if let [(_, attempt)] = due.as_slice() {
            attempts += 1;
            assert_eq!(*attempt, attempts);
            settle(&world, &order, "2", unclear(), now + 1).await;
        }
        assert_eq!(state(&world, &order, "2").await, (State::Revoking, None), "nobody says revoked");
        now = (now + 60).min(10 + WITHIN);
    }
    assert!(attempts > 5);
    assert_eq!(claim(&world, 10 + WITHIN).await, [], "its time is over");
    assert_eq!(state(&world, &order, "2").await, (State::WithAPerson, Some(Evidence::NoAnswer)));
    assert_eq!(world.calls().await, ["download"]);
    let call = world.escalations().await.remove(0);
    assert_eq!(call.due_at, at(10 + 2 * WITHIN), "as long again");
    assert!(call.cause.contains("has not said in time"), "{}", call.cause);
    assert_eq!(world.store.download_next().await.unwrap(), None);
    // An answer that comes after all counts, and nobody has to find out any more.
    settle(&world, &order, "2", said(Word::Deactivated), 11 + WITHIN).await;
    assert_eq!(state(&world, &order, "2").await, (State::Revoked, Some(Evidence::PlatformAnswered)));
    assert_eq!(world.calls().await, Vec::<String>::new());
    let filter = EscalationFilter { id: Some(call.id), limit: 1, ..EscalationFilter::default() };
    let call = world.store.escalations(&Scope::Ops, &filter).await.unwrap().remove(0);
    assert_eq!(call.decision.as_deref(), Some("revoked"), "as it turned out");
    world.verify().await;
}

async fn without_an_address_a_person_is_called_at_once(world: World) {
    let lab = world.lab("lumo", able()).await;
    platform(&world, false).await;
    let order = admitted(&lab, "A-1").await;
    lab.stop(&order, 10).await;
    let none = (State::WithAPerson, Some(Evidence::NoCallback));
    assert_eq!((state(&world, &order, "2").await, state(&world, &order, "4").await), (none, none));
    assert_eq!(world.calls().await, ["download", "download"]);
    assert_eq!(claim(&world, 10).await, []);
    // The platform sees it in its feed, and says so by itself.
    report(&world, &order, "2", Word::Deactivated).await;
    assert_eq!(state(&world, &order, "2").await, (State::Revoked, Some(Evidence::PlatformReported)));
    assert_eq!(world.calls().await, ["download"]);

    // The address goes while it is asked: so does the machine's part.
    set(&world, "https://shop.example/links", 20).await;
    let order = admitted(&lab, "A-2").await;
    lab.ask_as(asking(&lab, &order, "4", 20)).await;
    assert_eq!(claim(&world, 20).await, [("4".to_owned(), 1)]);
    assert_eq!(change(&world, CallbackChange::Delete, 21).await, Put::Done(2));
    assert_eq!(world.store.download_next().await.unwrap(), Some(at(21)), "at once");
    assert_eq!(claim(&world, 21).await, []);
    assert_eq!(state(&world, &order, "4").await, none);
    // Until then the platform has time that it was given; and calls are in the order in which they were opened.
    let call = world.escalations().await.remove(0);
    assert!(call.cause.contains("no address"), "{}", call.cause);
    assert_eq!((call.opened_at, call.due_at), (at(21), at(20 + WITHIN)));
    let opened = format!("esc_{:012x}", at(21).as_millisecond());
    assert!(call.id.as_str().starts_with(&opened), "{} {opened}", call.id);
    world.verify().await;
}

async fn a_person_finds_out_once(world: World) {
    let lab = world.lab("lumo", able()).await;
    platform(&world, false).await;
    for (nth, (decision, state_then)) in
        [(PersonDecision::Revoked, State::Revoked), (PersonDecision::Fetched, State::Fetched)]
            .into_iter()
            .enumerate()
    {
        let order = admitted(&lab, &format!("A-{nth}")).await;
        lab.ask_as(asking(&lab, &order, "2", 10)).await;
        let call = world.escalations().await.remove(0);
        let decide = async |decision| {
            let resolve = Resolve {
                escalation: call.id.clone(),
                next: world.escalation_id(),
                decision,
                reason: "rang the shop".to_owned(),
                at: at(20),
                actor: ops(),
            };
            let Written::Resolved(resolved) = world.write(Write::Resolve(Box::new(resolve))).await else {
                panic!("not a decision")
            };
            resolved
        };
        for other in [PersonDecision::Stopped, PersonDecision::HandedOver, PersonDecision::Noted] {
            assert!(matches!(decide(other).await, Resolved::DoesNotFit { .. }), "{other:?}");
        }
        assert_eq!(decide(decision).await, Resolved::Done);
        assert_eq!(state(&world, &order, "2").await, (state_then, Some(Evidence::PersonConfirmed)));
        assert_eq!(decide(decision).await, Resolved::Already);
        assert_eq!(world.calls().await, Vec::<String>::new());
    }
    world.verify().await;
}

async fn a_lease_that_is_over_is_taken_by_another(world: World) {
    let lab = world.lab("lumo", able()).await;
    platform(&world, true).await;
    let order = admitted(&lab, "A-1").await;
    lab.ask_as(asking(&lab, &order, "2", 10)).await;
    let other = world.replica().await;
    // Both at once: one of them has it.
    let (one, two) = tokio::join!(claim_at(&*world.store, 10, Vec::new()), claim_at(&*other, 10, Vec::new()));
    assert_eq!(one.len() + two.len(), 1);
    let DownloadDue::Ask(ask) = one.into_iter().chain(two).next().unwrap() else { panic!("not asked") };
    assert!(claim_at(&*other, 10 + LEASE - 1, Vec::new()).await.is_empty());
    let again = claim_at(&*other, 10 + LEASE, Vec::new()).await;
    let [DownloadDue::Ask(next)] = again.as_slice() else { panic!("{again:?}") };
    assert_eq!((&next.facts.id, next.facts.attempts), (&ask.facts.id, 2), "under the same id");
    // What the first learned at last counts; that it learned nothing does not put the second off.
    let settle = |reply| {
        let attempt = ask.facts.attempts;
        let at_ = at(10 + LEASE + 1);
        SettleDownload { download: ask.facts.id.clone(), attempt, reply, at: at_, next_at: at(900) }
    };
    world.write(Write::SettleDownload(Box::new(settle(unclear())))).await;
    assert_eq!(world.store.download_next().await.unwrap(), Some(at(10 + 2 * LEASE)));
    world.write(Write::SettleDownload(Box::new(settle(said(Word::Deactivated))))).await;
    assert_eq!(state(&world, &order, "2").await.0, State::Revoked);
    world.verify().await;
}

async fn a_silent_platform_keeps_only_its_own_waiting(world: World) {
    let lab = world.lab("lumo", able()).await;
    platform(&world, true).await;
    let order = admitted(&lab, "A-1").await;
    lab.ask_as(asking(&lab, &order, "2", 10)).await;
    assert!(claim_at(&*world.store, 10, vec![shop()]).await.is_empty());
    assert_eq!(state(&world, &order, "2").await.0, State::Revoking);
    let other = PlatformId::parse("other").unwrap();
    assert_eq!(claim_at(&*world.store, 10, vec![other]).await.len(), 1);
    // Its deadline is kept all the same.
    let due = claim_at(&*world.store, 10 + WITHIN, vec![shop()]).await;
    assert!(matches!(due.as_slice(), [DownloadDue::Person(_)]), "{due:?}");
}
