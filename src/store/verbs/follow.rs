//! What follows from stops for others, in the transaction that decides them: approvals are overtaken, replacements
//! are released or end.
//!
//! Stops are decided in many places: at once, by a lab, by a person, by a report, by the proof that nothing arrived.
//! None of them has to think of this. Every entry of the log about a stop is heard where it is written, and followed
//! before the commit.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{Trail, addresses, approval, extras, replace};
use crate::domain::event::Actor;
use crate::domain::stop::StopState;
use crate::store::Result;
use crate::store::session::Session;

/// A stop that was asked or moved.
pub(super) struct Heard {
    order: String,
    state: StopState,
    actor: Actor,
    at: Timestamp,
}

impl Heard {
    /// Of an entry of the log; nothing of one that is not about how the stop of an order stands.
    pub(super) fn of(kind: &str, order: &str, detail: &str, actor: &Actor, at: Timestamp) -> Option<Self> {
        // Nearly every entry is about something else.
        kind.strip_prefix("stop.")?;
        // What becomes of lines decides nothing about their order: the rest of it goes on, and is printed or not.
        let detail: serde_json::Value = serde_json::from_str(detail).unwrap_or_default();
        if detail["items"].is_array() {
            return None;
        }
        let state = StopState::ALL.into_iter().find(|state| super::stop::kind(*state) == kind)?;
        Some(Self { order: order.to_owned(), state, actor: actor.clone(), at })
    }
}

/// Follows what was heard so far, and what that brings with it.
pub(super) async fn follow<S: Session>(s: &mut S, trail: &mut Trail) -> Result<()> {
    loop {
        let heard = std::mem::take(&mut trail.heard);
        if heard.is_empty() {
            return Ok(());
        }
        let orders: Vec<&str> = heard.iter().map(|heard| heard.order.as_str()).collect();
        // Nearly always none.
        let marked = extras::marked(s, &orders).await?;
        if marked.is_empty() {
            continue;
        }
        let marked: Vec<&str> = marked.iter().map(String::as_str).collect();
        let asked =
            heard.iter().map(|it| (it.order.clone(), (it.actor.clone(), it.at))).collect::<HashMap<_, _>>();
        approval::overtaken(s, trail, &asked, &marked).await?;
        for Heard { order, state, actor, at } in heard.iter().filter(|it| marked.contains(&it.order.as_str()))
        {
            let by = (actor, *at);
            match state {
                StopState::Pending | StopState::WithAPerson => {}
                StopState::Stopped => {
                    replace::withdrawn(s, trail, &[order], by).await?;
                    replace::settled(s, trail, &[(order, true)], by).await?;
                    addresses::with_the_order(s, trail, order, by).await?;
                }
                // Some of it is printed, or all: nothing takes its place.
                StopState::StoppedInPart | StopState::TooLate => {
                    replace::settled(s, trail, &[(order, false)], by).await?;
                }
            }
        }
    }
}
