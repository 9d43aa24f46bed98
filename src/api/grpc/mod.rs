//! The gRPC surface, on the port of the HTTP one and through the same gate.
//!
//! [`METHODS`] gives every method its rule, as `api::http` gives every route its own; a method that is not
//! in it is not there. [`pass`] takes the time (a stop from here on keeps hand-overs back), recognises the
//! caller, draws on the budget and reads the message within its limits, all with the gate's own functions. Then
//! [`gateway`] reads the message, lets the code that both faces share do the work, and writes the answer;
//! [`watch`] and [`cutoffs`] are the streams that never end by themselves. Only health and reflection
//! need no key. [`shield`] is around all of them: it keeps the time that a caller gives a call.

mod cutoffs;
mod decisions;
mod ending;
mod gateway;
mod health;
mod routes;
mod shapes;
mod shield;
mod status;
mod submission;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use metrics::Histogram;
use tonic::Status;
use tonic::server::NamedService;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder as Reflection;
use tower::Service;

use self::ending::Ending;
pub use self::submission::submission as read_submission;
use super::Api;
use super::auth::Role::{self, Lab, Ops, Platform};
use super::gate::{Rule, admitted, arrive, who, whole};
use super::idempotency;
use super::limits::BODY_MAX;
use super::problem::{Answer, Code, Problem};
use crate::proto;
use crate::proto::gateway_service_server::GatewayServiceServer;
use crate::proto::lab_link_service_server::LabLinkServiceServer;

/// Counts calls by method and code. Of a stream it tells how it began.
const CALLS: &str = "stoppress_grpc_requests_total";
/// How long calls took until their answer began, in seconds, by method.
const SECONDS: &str = "stoppress_grpc_request_seconds";
/// The head of a message: whether it is compressed, and its length.
const FRAME: usize = 5;
/// The largest answer, in bytes: an order with its submission, or an event with the orders of its transfer.
const ANSWER_MAX: usize = 1024 * 1024;

/// The service for platforms.
const GATEWAY: &str = <GatewayServiceServer<gateway::Gateway> as NamedService>::NAME;
/// Whether the others are served.
const HEALTH: &str = "grpc.health.v1.Health";
/// The service for labs that dial out: `lab::link` serves it on the same port.
const LINK: &str = <LabLinkServiceServer<()> as NamedService>::NAME;
/// What is told of by reflection: what is served here.
const TOLD: [&str; 3] = [GATEWAY, LINK, HEALTH];

const OWN: &[Role] = &[Platform, Ops];
const ALL: &[Role] = &[Platform, Lab, Ops];

/// Every method of the service for platforms, with its rule.
const METHODS: &[(&str, Rule)] = &[
    ("SubmitOrder", Rule::write(OWN)),
    ("SubmitOrders", Rule::stream(OWN)),
    ("GetOrder", Rule::read(OWN)),
    ("GetVerdict", Rule::read(OWN)),
    ("GetRoute", Rule::read(OWN)),
    ("RequestStop", Rule::stop(OWN)),
    ("GetStop", Rule::read(OWN)),
    ("ListApprovals", Rule::read(OWN)),
    ("GetApproval", Rule::read(OWN)),
    ("DecideApproval", Rule::write(OWN)),
    ("ReportDownload", Rule::write(OWN)),
    ("WatchEvents", Rule::read(OWN)),
    ("WatchCutoffs", Rule::read(ALL)),
];

/// The key of a request that came with one.
#[derive(Debug, Clone)]
struct Key(String);

struct Gate {
    api: Api,
    service: &'static str,
    methods: HashMap<&'static str, (Rule, Histogram)>,
}

/// The services, each behind its gate.
pub(super) fn routes(api: &Api) -> axum::Router<Api> {
    let gateway = GatewayServiceServer::new(gateway::Gateway::new(api.clone()))
        .max_decoding_message_size(BODY_MAX)
        .max_encoding_message_size(ANSWER_MAX);
    shield::shield(guarded(api, METHODS, gateway).merge(open(api)))
}

/// A service behind its gate: a method without a rule is not there.
fn guarded<S>(api: &Api, methods: &[(&'static str, Rule)], service: S) -> axum::Router<Api>
where
    S: Service<Request, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    let methods = methods.iter().map(|(name, rule)| {
        let took = metrics::histogram!(SECONDS, "method" => format!("{}/{name}", S::NAME));
        (*name, (*rule, took))
    });
    let gate = Gate { api: api.clone(), service: S::NAME, methods: methods.collect() };
    axum::Router::new()
        .route_service(&path(S::NAME), service)
        .route_layer(from_fn_with_state(Arc::new(gate), pass))
}

fn path(service: &str) -> String {
    format!("/{service}/{{method}}")
}

/// What everybody may ask: whether the gateway serves, and what it serves.
fn open(api: &Api) -> axum::Router<Api> {
    let health = HealthServer::new(health::Health::new(api)).max_decoding_message_size(BODY_MAX);
    let mut router = axum::Router::new().route_service(&path(HEALTH), health);
    let ending = Ending::new(api);
    let told = || {
        let told = TOLD.iter().fold(Reflection::configure(), |told, name| told.with_service_name(*name));
        told.register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // The descriptors were compiled into the program: they cannot but be read, and a test reads them.
    let mut streams = axum::Router::new();
    if let Ok(v1) = told().build_v1() {
        streams = streams.route_service("/grpc.reflection.v1.ServerReflection/{method}", v1);
    }
    if let Ok(v1alpha) = told().build_v1alpha() {
        streams = streams.route_service("/grpc.reflection.v1alpha.ServerReflection/{method}", v1alpha);
    }
    router = router.merge(streams.route_layer(from_fn_with_state(ending, ending::end)));
    router.route_layer(from_fn(only_grpc))
}

/// Refuses what is not gRPC, in words that its sender understands.
async fn only_grpc(request: Request, next: Next) -> Response {
    match is_grpc(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn is_grpc(headers: &HeaderMap) -> Answer<()> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let rest = kind.strip_prefix("application/grpc");
    if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';'])) {
        return Ok(());
    }
    Err(Problem::new(Code::MediaType, "The Content-Type is not application/grpc."))
}

async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    if let Err(problem) = is_grpc(request.headers()) {
        return problem.into_response();
    }
    let name = request.uri().path().rsplit('/').next().unwrap_or_default();
    let Some((rule, took)) = gate.methods.get(name) else {
        let text = format!("{name:?} is not a method of {}.", gate.service);
        return refuse(Problem::new(Code::NoSuchRoute, text));
    };
    let name = format!("{}/{name}", gate.service);
    let arrival = arrive(&gate.api, *rule);
    let at = arrival.at;
    let mut arrival = Some(arrival);
    let response = match enter(&gate.api, *rule, request, next, at).await {
        Ok(response) => response,
        Err(problem) => {
            if problem.is_held_back() {
                // Who is kept waiting keeps nobody's hand-over back.
                drop(arrival.take());
                gate.api.sources.hold(&problem).await;
            }
            refuse(problem)
        }
    };
    let code = response.headers().get(Status::GRPC_STATUS);
    let code = code.map_or(tonic::Code::Ok, |code| tonic::Code::from_bytes(code.as_bytes()));
    metrics::counter!(CALLS, "method" => name, "code" => format!("{code:?}")).increment(1);
    took.record((gate.api.clock.now().duration_since(at)).as_secs_f64());
    // The answer is there: a stop is decided.
    drop(arrival);
    response
}

fn refuse(problem: Problem) -> Response {
    status::status(problem).into_http()
}

async fn enter(
    api: &Api,
    rule: Rule,
    mut request: Request,
    next: Next,
    at: jiff::Timestamp,
) -> Answer<Response> {
    // No method is open to everybody: without a caller nothing is served.
    let caller = admitted(api, rule, who(&request), at)?.ok_or_else(super::auth::unauthenticated)?;
    if rule.remembers()
        && let Some(key) = idempotency::key_of(request.headers())?
    {
        request.extensions_mut().insert(Key(key));
    }
    request.extensions_mut().insert(caller);
    if !rule.streams() {
        let bytes = whole(std::mem::take(request.body_mut()), rule, FRAME).await?;
        *request.body_mut() = Body::from(bytes);
    }
    let response = next.run(request).await;
    // The one status of this code that is not ours is the codec's, about bytes that are no message.
    let internal = HeaderValue::from(tonic::Code::Internal as i32);
    if response.headers().get(Status::GRPC_STATUS) == Some(&internal)
        && !response.headers().contains_key(Status::GRPC_STATUS_DETAILS)
    {
        return Err(Problem::new(Code::Malformed, "The message is not of the method's type."));
    }
    Ok(response)
}
