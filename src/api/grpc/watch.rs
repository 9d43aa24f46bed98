//! What happens, told in order and without gaps: the log read on and on, as the caller may see it.
//!
//! The log itself is what is resumed from, so a watch keeps nothing: whoever opens it again at any
//! replica goes on behind the last number. Entries of other replicas come by the same reading.

use std::collections::VecDeque;

use futures_util::stream;
use jiff::SignedDuration;

use super::gateway::Told;
use super::places::Place;
use super::shapes;
use super::status::status;
use crate::api::problem::Answer;
use crate::domain::Fault;
use crate::domain::batch::later;
use crate::proto;

/// How often the log is looked at while nothing happens.
const EVERY: SignedDuration = SignedDuration::from_millis(250);
/// How many entries are looked at in one go.
const STRETCH: i64 = 200;
/// After how many entries of others the caller is told how far it was looked.
const TELL_AFTER: i64 = 1_000;

type Message = proto::GatewayServiceWatchEventsResponse;

struct Watch {
    place: Place,
    /// How far was looked.
    seen: i64,
    /// How far the caller knows.
    told: i64,
    held: VecDeque<Message>,
}

/// Opens a watch.
pub(super) async fn events(
    place: Place,
    request: &proto::GatewayServiceWatchEventsRequest,
) -> Answer<Told<Message>> {
    let mut after = request.after;
    if after < 0 {
        return Err(Fault::not("after", after, "a whole number from 0").into());
    }
    let mut held = VecDeque::new();
    if request.from_now {
        if after != 0 {
            return Err(Fault::not("after", after, "0, where `from_now` is set").into());
        }
        after = place.api.store.log_end().await?;
        // So that it can be resumed from here even if nothing happens.
        held.push_back(Message { event: None, cursor: after });
    }
    let watch = Watch { place, seen: after, told: after, held };
    Ok(Box::pin(stream::try_unfold(watch, |mut watch| async move {
        let message = watch.next().await.map_err(status)?;
        Ok(Some((message, watch)))
    })))
}

impl Watch {
    async fn next(&mut self) -> Answer<Message> {
        loop {
            let now = self.place.may_go_on()?;
            if let Some(message) = self.held.pop_front() {
                self.told = message.cursor;
                return Ok(message);
            }
            let before = self.seen;
            let stretch = self.place.api.store.stretch(&self.place.caller.scope, before, STRETCH).await?;
            self.seen = stretch.seen;
            self.held.extend(stretch.events.into_iter().map(|sighting| {
                let cursor = sighting.event.seq;
                Message { event: Some(shapes::event(sighting)), cursor }
            }));
            if self.held.is_empty() && self.seen - self.told >= TELL_AFTER {
                self.held.push_back(Message { event: None, cursor: self.seen });
            }
            if self.seen == before {
                self.place.wait(later(now, EVERY)).await;
            }
        }
    }
}
