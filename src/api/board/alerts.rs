//! What of a region is wrong, and what somebody should do about it.

use jiff::{SignedDuration, Timestamp};

use super::region::{Alert, AlertKind, Counts, Health, Level, Region};
use crate::domain::batch::{TransferPhase, later};
use crate::domain::health::Reach;
use crate::domain::ids::BatchId;

/// How long after its cutoff a batch may still be open before somebody should look.
pub(super) const CLOSES_WITHIN: SignedDuration = SignedDuration::from_secs(10);
/// How long after the cutoff orders may wait for their hand-over before somebody should look.
pub(super) const HANDED_WITHIN: SignedDuration = SignedDuration::from_secs(60);
/// How long before its deadline an answer to a stop is called for.
pub(super) const ANSWER_SOON: SignedDuration = SignedDuration::from_mins(10);

fn plural(count: i64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// All that is wrong, in no order.
pub(super) fn of(region: &Region, counts: &Counts, now: Timestamp) -> Vec<Alert> {
    let mut found = Vec::new();
    let mut add = |kind, level, count, at, batch: Option<&BatchId>, text: String| {
        found.push(Alert { kind, level, count, at, batch: batch.cloned(), text });
    };
    let batch_in = |phase| counts.transfers.iter().find(|row| row.phase == phase).map(|row| &row.batch);
    let paused = region.paused_at.is_some();
    for open in region.open.iter().filter(|open| later(open.closes_at, CLOSES_WITHIN) <= now) {
        let text = "Its cutoff has passed, and it is still open: look at /readyz and the gateway's log.";
        let (waits, at) = (open.waiting, Some(open.closes_at));
        add(AlertKind::NotClosed, Level::Act, waits, at, Some(&open.batch), text.to_owned());
    }
    if let Some(behind) = counts.behind.as_ref().filter(|it| paused || later(it.since, HANDED_WITHIN) <= now)
    {
        let orders = plural(behind.orders, "order waits", "orders wait");
        let todo = if paused {
            "because the lab is paused: resume it as soon as it can take them"
        } else {
            "for a lab that does not take them: call it, or pause it so that they are kept"
        };
        let text = format!("{orders} past the cutoff {todo}.");
        let (kind, batch) = (AlertKind::NotHandedOver, Some(&behind.batch));
        add(kind, Level::Act, behind.orders, Some(behind.since), batch, text);
    } else if let Some(since) = region.paused_at {
        let text = "The lab is paused: at the cutoff nothing is handed over. Resume it before then.";
        let count = region.open.iter().map(|open| open.waiting).sum();
        add(AlertKind::Paused, Level::Watch, count, Some(since), None, text.to_owned());
    }
    if let Some(missed) = &region.will_miss {
        let (orders, at) = (missed.orders, Some(missed.closes_at));
        let text = format!("{} {}", missed.text(), missed.todo());
        add(AlertKind::WillMiss, Level::Watch, orders, at, None, text);
    }
    let transfers = &region.transfers;
    if let Some(first) = transfers.first_at.filter(|first| later(*first, HANDED_WITHIN) <= now) {
        let under_way = transfers.to_send_again + transfers.under_way;
        let many = plural(under_way, "transfer is", "transfers are");
        let text = format!(
            "{many} not taken by the lab so far, and sent again by itself: look at its answers, and call it."
        );
        let batch = batch_in(TransferPhase::Closed).or_else(|| batch_in(TransferPhase::Sending));
        add(AlertKind::NotTaken, Level::Act, under_way, Some(first), batch, text);
    }
    if transfers.with_a_person > 0 {
        let many = plural(transfers.with_a_person, "transfer", "transfers");
        let text = format!("{many}: ask the lab whether it has them, and decide under Escalations.");
        let batch = batch_in(TransferPhase::WithAPerson);
        add(AlertKind::TransferWithAPerson, Level::Act, transfers.with_a_person, None, batch, text);
    }
    if transfers.unclear > 0 {
        let many = plural(transfers.unclear, "transfer", "transfers");
        let text = format!("Whether the lab has {many} is being found out.");
        let batch = batch_in(TransferPhase::Unknown);
        add(AlertKind::TransferUnclear, Level::Watch, transfers.unclear, transfers.deadline_at, batch, text);
    }
    let stops = &region.stops;
    if stops.with_a_person > 0 {
        let many = plural(stops.with_a_person, "stop", "stops");
        let text = format!("{many}: ask the lab by telephone, and decide under Escalations.");
        add(AlertKind::StopWithAPerson, Level::Act, stops.with_a_person, None, None, text);
    }
    if let Some(due) = stops.due_at.filter(|due| due.checked_sub(ANSWER_SOON).is_ok_and(|at| at <= now)) {
        let many = plural(stops.pending, "stop waits", "stops wait");
        if due <= now {
            let text = format!("{many}, and an answer is overdue: call the lab.");
            add(AlertKind::StopOverdue, Level::Act, stops.pending, Some(due), None, text);
        } else {
            let text = format!("{many}, and an answer is due soon: remind the lab.");
            add(AlertKind::StopDueSoon, Level::Watch, stops.pending, Some(due), None, text);
        }
    }
    if let Some((kind, level, text)) = region.health.as_ref().and_then(silence) {
        // A time that has passed says nothing: it is tried with the next call that is due.
        let at = region.health.as_ref().and_then(|health| health.closed_until).filter(|at| *at > now);
        add(kind, level, 1, at, None, text);
    }
    if let Some((open, due)) = counts.escalations {
        let many = plural(open, "order or transfer", "orders or transfers");
        let text =
            format!("What was told of {many} and what became of it do not agree: decide under Escalations.");
        add(AlertKind::Escalated, Level::Act, open, Some(due), None, text);
    }
    found
}

/// What is wrong with the way to a lab.
fn silence(health: &Health) -> Option<(AlertKind, Level, String)> {
    let (kind, level, text) = match health.reach {
        Reach::Open | Reach::ByHand => return None,
        Reach::Closed => {
            let text = "The lab does not answer; it is tried again by itself. Call it before its cutoff.";
            (AlertKind::LabSilent, Level::Watch, text.to_owned())
        }
        Reach::Away => {
            let text = "The lab is not connected to this gateway: ask it to start its agent.";
            (AlertKind::LabAway, Level::Watch, text.to_owned())
        }
        Reach::Unusable => {
            let cause = health.cause.as_deref().unwrap_or("see its definition");
            (
                AlertKind::LabUnusable,
                Level::Act,
                format!("The lab cannot be called as it is defined: {cause}."),
            )
        }
    };
    Some((kind, level, text))
}
