//! Stops that wait: which of them a lab is asked now, which wait on, which end here.

use serde_json::json;

use super::place::{Decided, Places, stop_row};
use super::{About, Trail, parts, rows, rows_run_all};
use crate::domain::batch::{TransferPhase, later};
use crate::domain::event::Actor;
use crate::domain::lab::TakesStops;
use crate::domain::lines;
use crate::domain::order::Stage;
use crate::domain::stop::{self, Evidence, StopState};
use crate::points::mistake;
use crate::store::Result;
use crate::store::dialect::TRANSFER_COLUMNS;
use crate::store::session::Session;
use crate::store::types::{ClaimAsks, StopDue, Written};

/// When a stop of lines is looked at again while its order is on the wire.
const LOOK: jiff::SignedDuration = jiff::SignedDuration::from_secs(5);

/// Takes stops of a lab to forward; those whose order never left, or whose time is over, end here.
pub(super) async fn claim<S: Session>(s: &mut S, trail: &mut Trail, item: &ClaimAsks) -> Result<Written> {
    let args = [item.lab.as_str().into(), item.now.into(), item.limit.into(), i64::from(item.away).into()];
    let rows = s.fetch(s.sql().claim_stops, &args).await?;
    let mut escalations = item.escalations.iter();
    let mut due = Vec::with_capacity(rows.len());
    let mut stops = Vec::new();
    // An order may have a stop of its own and some of lines: its log is one chain.
    let mut places = Places::default();
    for row in rows {
        let mut row = row.of("stops");
        let mut facts = rows::stop(&mut row)?;
        let reached = row.coded(Stage::from_code)?;
        let whole = StopState::from_code(row.int()?);
        let head = row.text()?;
        let lines_out = rows::lines(&mut row)?;
        let transfer = if row.absent(TRANSFER_COLUMNS) { None } else { Some(rows::transfer(&mut row)?) };
        let over = item.now >= facts.deadline_at && !mistake!(NoEscalation);
        let (state, evidence) = match &facts.items {
            None => stop::grant(transfer.as_ref(), reached, &item.profile),
            Some(_) if whole == Some(StopState::Stopped) => {
                (StopState::StoppedInPart, parts::by_the_order(s, &facts).await?)
            }
            Some(_) => lines::grant(transfer.as_ref(), reached, &item.profile)
                .unwrap_or((StopState::WithAPerson, Some(Evidence::NoChannel))),
        };
        let phase = transfer.as_ref().map(|transfer| transfer.phase);
        let (state, evidence) = match state {
            StopState::Pending if over => (StopState::WithAPerson, Some(Evidence::NoAnswer)),
            _ => (state, evidence),
        };
        facts.handed_at = facts.handed_at.or(transfer.as_ref().and_then(|transfer| transfer.handed_at));
        if state == StopState::Pending {
            let Some(transfer) = transfer else { continue };
            if item.profile.by_person() && phase == Some(TransferPhase::AtLab) {
                // A task of the lab's people: no machine is asked.
                facts.next_at = facts.deadline_at;
                stops.push(stop_row(&facts, StopState::Pending));
                due.push(StopDue::Waits(facts.id));
                continue;
            }
            let asks = phase == Some(TransferPhase::AtLab)
                || (!item.profile.by_person()
                    && phase == Some(TransferPhase::Unknown)
                    && item.profile.stops == TakesStops::Yes);
            if !asks {
                // Its order is on the wire, or the lab cannot be asked: the transfer's end decides, and wakes it.
                // Looked at again all the same, because that end may commit unseen beside this; of lines soon, because
                // it wakes only the stop of the order.
                let again = if facts.items.is_some() { later(item.now, LOOK) } else { item.lease_until };
                facts.next_at = again.min(facts.deadline_at);
                stops.push(stop_row(&facts, StopState::Pending));
                due.push(StopDue::Waits(facts.id));
                continue;
            }
            if let Some(until) = item.not_before {
                facts.next_at = until.min(facts.deadline_at);
                stops.push(stop_row(&facts, StopState::Pending));
                due.push(StopDue::Waits(facts.id));
                continue;
            }
            if facts.delivered_at.is_some() {
                facts.next_at = facts.deadline_at;
                stops.push(stop_row(&facts, StopState::Pending));
                due.push(StopDue::Waits(facts.id));
                continue;
            }
            facts.attempts += 1;
            facts.next_at = item.lease_until.min(facts.deadline_at);
            let place = places.at(&facts.order.clone(), &head, lines_out);
            place.head = trail.add(
                &place.head,
                item.now,
                (facts.order.as_str(), item.lab.as_str()),
                "stop.forwarded",
                &Actor::gateway(),
                &json!({"stop": facts.id, "attempt": facts.attempts, "fence": transfer.fence, "items": facts.items}),
            );
            stops.push(stop_row(&facts, StopState::Pending));
            due.push(StopDue::Ask { stop: facts, transfer: transfer.id, fence: transfer.fence });
            continue;
        }
        let decided = Decided { state, evidence, answer: None, at: item.now, actor: &Actor::gateway() };
        let cause = if evidence == Some(Evidence::NoAnswer) {
            "no answer to the stop came before its deadline"
        } else if evidence == Some(Evidence::NoChannel) {
            "the lab has the order and no channel for stops: somebody must ask it"
        } else {
            "a stop waits while a person finds out whether the lab has the order"
        };
        if state == StopState::WithAPerson {
            // No id is left to call a person with: the next round does.
            let Some(id) = escalations.next() else { continue };
            let about = About {
                subject: facts.id.as_str(),
                order: Some(facts.order.as_str()),
                lab: item.lab.as_str(),
            };
            trail.escalate(
                id,
                "stop",
                &about,
                cause,
                item.now,
                later(item.now, item.profile.answers_within.0),
            );
        }
        let place = places.at(&facts.order.clone(), &head, lines_out);
        stops.push(decided.apply(trail, &mut facts, item.lab.as_str(), place));
        due.push(StopDue::Decided(facts));
    }
    rows_run_all(s, s.sql().stop_update, &stops, "stops").await?;
    rows_run_all(s, s.sql().standing_stop, &places.rows(), "standings").await?;
    Ok(Written::StopsClaimed(due))
}
