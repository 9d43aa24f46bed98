//! What happens, told in order and without gaps: the log read on and on, as the caller may see it.

use futures_util::stream;

use super::gateway::Told;
use super::shapes;
use super::status::status;
use crate::api::event_filter::EventFilter;
use crate::api::problem::Answer;
use crate::api::watches::{Begin, Place, Watch, checked};
use crate::domain::Fault;
use crate::proto;

type Message = proto::GatewayServiceWatchEventsResponse;

/// Opens a watch.
pub(super) async fn events(
    place: Place,
    request: &proto::GatewayServiceWatchEventsRequest,
) -> Answer<Told<Message>> {
    let after = checked(request.after)?;
    let from = match (request.from_now, after) {
        (true, 0) => Begin::Now,
        (true, _) => return Err(Fault::not("after", after, "0, where `from_now` is set").into()),
        (false, after) => Begin::Behind(after),
    };
    let filter = EventFilter::checked(request.kinds.clone(), &request.order, &request.lab)?;
    let watch = Watch::open(place, from, filter).await?;
    Ok(Box::pin(stream::try_unfold(watch, |mut watch| async move {
        let told = watch.next().await.map_err(status)?;
        let message = Message { event: told.sighting.map(shapes::event), cursor: told.cursor };
        Ok(Some((message, watch)))
    })))
}
