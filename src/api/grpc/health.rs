//! `grpc.health.v1`: serving while the store answers, not serving while it does not and while the
//! gateway ends. It is told from what the gateway notices anyway, so that asking costs nothing.

use std::pin::Pin;

use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

use super::TOLD;
use super::status::status;
use crate::api::Api;
use crate::api::problem::{Code, Problem};
use crate::api::watches::draining;

/// The service.
pub(super) struct Health(Api);

impl Health {
    pub(super) fn new(api: &Api) -> Self {
        Self(api.clone())
    }

    fn serves(api: &Api) -> HealthCheckResponse {
        let serves = *api.ready.borrow() && !api.end.is_cancelled();
        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
        HealthCheckResponse { status: status.into() }
    }

    fn knows(service: &str) -> bool {
        service.is_empty() || TOLD.contains(&service)
    }
}

type Told = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = Told;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !Self::knows(&service) {
            let text = format!("{service:?} is not served here.");
            return Err(status(Problem::new(Code::NotFound, text)));
        }
        Ok(Response::new(Self::serves(&self.0)))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Told>, Status> {
        let known = Self::knows(&request.into_inner().service);
        let changes = self.0.ready.subscribe();
        let state = (self.0.clone(), changes, None::<HealthCheckResponse>, false);
        let told = stream::unfold(state, move |(api, mut changes, last, over)| async move {
            if over {
                return None;
            }
            loop {
                // The end is told, and then the stream ends: the drain waits for it.
                if api.end.is_cancelled() && last.is_some() {
                    let now = known.then(|| Self::serves(&api)).filter(|now| last.as_ref() != Some(now));
                    return match now {
                        Some(now) => Some((Ok(now), (api, changes, Some(now), false))),
                        None => Some((Err(status(draining())), (api, changes, last, true))),
                    };
                }
                let unknown = HealthCheckResponse { status: ServingStatus::ServiceUnknown.into() };
                let now = if known { Self::serves(&api) } else { unknown };
                if last.as_ref() != Some(&now) {
                    return Some((Ok(now), (api, changes, Some(now), false)));
                }
                tokio::select! {
                    () = api.end.cancelled() => {}
                    // The sender lives as long as `api`.
                    _ = changes.changed() => {}
                }
            }
        });
        Ok(Response::new(Box::pin(told)))
    }
}
