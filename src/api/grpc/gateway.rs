//! The service for platforms: reads the message, lets the shared code work, writes the answer.

use std::borrow::Cow;
use std::pin::Pin;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::{Stream, StreamExt as _, stream};
use prost::Message;
use prost::bytes::Bytes;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::status::status;
use super::submission::{self, given, placed};
use super::{GATEWAY, Key, cutoffs, decisions, routes, shapes, watch};
use crate::api::auth::{Caller, unauthenticated};
use crate::api::bulk::{self, Done, Source};
use crate::api::idempotency::{self, Led};
use crate::api::limits::{BODY_WITHIN, BULK_MAX};
use crate::api::orders::{self, Submitted, find, judge, named, platform_of, reports};
use crate::api::problem::{Answer, Code, Problem};
use crate::api::stops::{self, Ask, Outcome};
use crate::api::watches::Place;
use crate::api::{Api, within};
use crate::domain::ids::PlatformId;
use crate::domain::order::Submission;
use crate::proto;
use crate::store::Remembered;

/// What a streaming method gives.
pub(super) type Told<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
pub(super) struct Gateway(Api);

impl Gateway {
    pub(super) fn new(api: Api) -> Self {
        Self(api)
    }
}

/// Who calls, by the gate's word.
fn caller<T>(request: &Request<T>) -> Answer<Caller> {
    request.extensions().get::<Caller>().cloned().ok_or_else(unauthenticated)
}

/// Gives the stored answer to a key, or runs the request and stores its answer: as over HTTP, but in the
/// protocol's bytes. `run` says as well whether its answer is final.
async fn once<M: Message, T: Message + Default>(
    api: &Api,
    method: &str,
    key: Option<Key>,
    (caller, message): (&Caller, M),
    run: impl AsyncFnOnce(M) -> Answer<(T, bool)>,
) -> Result<Response<T>, Status> {
    let Some(Key(key)) = key else {
        return run(message).await.map(|(answer, _)| Response::new(answer)).map_err(status);
    };
    let path = format!("/{GATEWAY}/{method}");
    // Of the message as it was read, with its maps in order: clients write these in any.
    let print = idempotency::fingerprint(&path, &message.encode_to_vec());
    let name = (format!("{} {path}", caller.tenant), key, print);
    let led = idempotency::look_up(&*api.store, &api.running, &name).await.map_err(status)?;
    let _turn = match led {
        Led::Known(known) => return replay(&known),
        Led::New(turn) => turn,
    };
    let (kept, bytes, result) = match run(message).await {
        Ok((answer, last)) => {
            let kept = if last { StatusCode::OK } else { StatusCode::ACCEPTED };
            (kept, answer.encode_to_vec(), Ok(Response::new(answer)))
        }
        Err(problem) => {
            let kept = problem.code().status();
            let status = status(problem);
            (kept, status.details().to_vec(), Err(status))
        }
    };
    if idempotency::is_final(kept) {
        idempotency::remember(&*api.store, name, kept, BASE64.encode(bytes), api.clock.now()).await;
    }
    result
}

/// A stored answer once more.
fn replay<T: Message + Default>(known: &Remembered) -> Result<Response<T>, Status> {
    let broken = || status(Problem::unexpected("a stored answer cannot be read"));
    let bytes = Bytes::from(BASE64.decode(&known.body).map_err(|_| broken())?);
    let again = MetadataValue::from_static("true");
    if known.status == i64::from(StatusCode::OK.as_u16()) {
        let mut response = Response::new(T::decode(bytes).map_err(|_| broken())?);
        response.metadata_mut().insert("idempotency-replayed", again);
        return Ok(response);
    }
    let said = tonic_types::Status::decode(bytes.clone()).map_err(|_| broken())?;
    let mut status = Status::with_details(tonic::Code::from(said.code), said.message, bytes);
    status.metadata_mut().insert("idempotency-replayed", again);
    Err(status)
}

async fn submit(
    api: &Api,
    caller: &Caller,
    message: proto::GatewayServiceSubmitOrderRequest,
) -> Answer<(proto::GatewayServiceSubmitOrderResponse, bool)> {
    let platform = platform_of(api, caller, submission::platform(message.platform)?)?;
    let order = submission::submission(message.order).map_err(placed)?;
    let submitted = orders::submit(api, platform, &order, &caller.actor).await.map_err(placed)?;
    let Submitted { facts, verdict, new } = submitted;
    let order = Some(shapes::order(&facts, &verdict, &[])?);
    Ok((proto::GatewayServiceSubmitOrderResponse { order, created: new }, true))
}

async fn ask(
    api: &Api,
    caller: &Caller,
    message: proto::GatewayServiceRequestStopRequest,
) -> Answer<(proto::GatewayServiceRequestStopResponse, bool)> {
    let ask = Ask {
        order: named(&message.order)?,
        reason: given(message.reason),
        comment: given(message.comment),
        asked_by: submission::asked_by(message.asked_by)?,
        requested_by: given(message.requested_by),
        items: message.items,
    };
    let outcome = stops::ask(api, caller, ask).await?;
    let last = !outcome.is_open();
    let StopTold { stop, approval, verdict, contradictions, parts } = how(api, outcome).await?;
    Ok((proto::GatewayServiceRequestStopResponse { stop, verdict, contradictions, approval, parts }, last))
}

async fn order(api: &Api, caller: &Caller, order: &str) -> Answer<proto::Order> {
    let facts = find(api, &caller.scope, named(order)?).await?;
    let verdict = judge(api, &facts, true, api.clock.now()).await?;
    shapes::order(&facts, &verdict, &reports(api, &facts).await?)
}

async fn verdict(api: &Api, caller: &Caller, order: &str) -> Answer<proto::Verdict> {
    let facts = find(api, &caller.scope, named(order)?).await?;
    Ok(shapes::verdict(&judge(api, &facts, true, api.clock.now()).await?))
}

async fn standing(api: &Api, caller: &Caller, order: &str) -> Answer<proto::GatewayServiceGetStopResponse> {
    let outcome = stops::standing(api, caller, named(order)?).await?;
    let StopTold { stop, approval, verdict, contradictions, parts } = how(api, outcome).await?;
    Ok(proto::GatewayServiceGetStopResponse { stop, verdict, contradictions, approval, parts })
}

/// How a stop stands, as both answers about one tell it.
#[derive(Default)]
struct StopTold {
    stop: Option<proto::Stop>,
    approval: Option<proto::Approval>,
    verdict: Option<proto::Verdict>,
    contradictions: Vec<proto::Contradiction>,
    parts: Vec<proto::Stop>,
}

/// A stop, or what the merchant decides about, with the verdict and what contradicts it.
async fn how(api: &Api, outcome: Outcome) -> Answer<StopTold> {
    Ok(match outcome {
        Outcome::Stop(asked) => StopTold {
            contradictions: asked.contradictions(api).await?.into_iter().map(shapes::contradiction).collect(),
            stop: Some(shapes::stop(&asked.stop)),
            approval: asked.facts.extras.approval.as_ref().map(shapes::approval),
            verdict: Some(shapes::verdict(&asked.verdict)),
            parts: asked.parts.iter().map(shapes::stop).collect(),
        },
        Outcome::Merchant(waiting) => StopTold {
            approval: Some(shapes::approval(&waiting.approval)),
            verdict: Some(shapes::verdict(&waiting.verdict)),
            parts: waiting.parts.iter().map(shapes::stop).collect(),
            ..StopTold::default()
        },
        Outcome::Downloads(revoking) => StopTold {
            verdict: Some(shapes::verdict(&revoking.verdict)),
            parts: revoking.parts.iter().map(shapes::stop).collect(),
            ..StopTold::default()
        },
    })
}

#[tonic::async_trait]
impl proto::gateway_service_server::GatewayService for Gateway {
    type SubmitOrdersStream = Told<proto::GatewayServiceSubmitOrdersResponse>;
    type WatchEventsStream = Told<proto::GatewayServiceWatchEventsResponse>;
    type WatchCutoffsStream = Told<proto::GatewayServiceWatchCutoffsResponse>;

    async fn submit_order(
        &self,
        mut request: Request<proto::GatewayServiceSubmitOrderRequest>,
    ) -> Result<Response<proto::GatewayServiceSubmitOrderResponse>, Status> {
        let (api, caller) = (&self.0, caller(&request).map_err(status)?);
        let key = request.extensions_mut().remove::<Key>();
        let run = async |message| submit(api, &caller, message).await;
        once(api, "SubmitOrder", key, (&caller, request.into_inner()), run).await
    }

    async fn submit_orders(
        &self,
        request: Request<Streaming<proto::GatewayServiceSubmitOrdersRequest>>,
    ) -> Result<Response<Self::SubmitOrdersStream>, Status> {
        let caller = caller(&request).map_err(status)?;
        let api = self.0.clone();
        let actor = caller.actor.clone();
        let orders = Orders {
            api: api.clone(),
            caller,
            stream: request.into_inner(),
            line: 0,
            bytes: 0,
            ended: false,
        };
        let sets = bulk::read_ahead(api.clone(), actor, orders);
        let results = stream::unfold((api, sets), |(api, mut sets)| async move {
            let done = sets.recv().await?.admit(&api).await;
            Some((stream::iter(done.into_iter().map(|done| Ok(told(done)))), (api, sets)))
        });
        Ok(Response::new(Box::pin(results.flatten())))
    }

    async fn get_order(
        &self,
        request: Request<proto::GatewayServiceGetOrderRequest>,
    ) -> Result<Response<proto::GatewayServiceGetOrderResponse>, Status> {
        let caller = caller(&request).map_err(status)?;
        let order = order(&self.0, &caller, &request.get_ref().order).await.map_err(status)?;
        Ok(Response::new(proto::GatewayServiceGetOrderResponse { order: Some(order) }))
    }

    async fn get_verdict(
        &self,
        request: Request<proto::GatewayServiceGetVerdictRequest>,
    ) -> Result<Response<proto::GatewayServiceGetVerdictResponse>, Status> {
        let caller = caller(&request).map_err(status)?;
        let verdict = verdict(&self.0, &caller, &request.get_ref().order).await.map_err(status)?;
        Ok(Response::new(proto::GatewayServiceGetVerdictResponse { verdict: Some(verdict) }))
    }

    async fn get_route(
        &self,
        request: Request<proto::GatewayServiceGetRouteRequest>,
    ) -> Result<Response<proto::GatewayServiceGetRouteResponse>, Status> {
        let caller = caller(&request).map_err(status)?;
        let answer = routes::of_order(&self.0, &caller, &request.get_ref().order).await.map_err(status)?;
        Ok(Response::new(answer))
    }

    async fn request_stop(
        &self,
        mut request: Request<proto::GatewayServiceRequestStopRequest>,
    ) -> Result<Response<proto::GatewayServiceRequestStopResponse>, Status> {
        let (api, caller) = (&self.0, caller(&request).map_err(status)?);
        let key = request.extensions_mut().remove::<Key>();
        let run = async |message| ask(api, &caller, message).await;
        once(api, "RequestStop", key, (&caller, request.into_inner()), run).await
    }

    async fn get_stop(
        &self,
        request: Request<proto::GatewayServiceGetStopRequest>,
    ) -> Result<Response<proto::GatewayServiceGetStopResponse>, Status> {
        let caller = caller(&request).map_err(status)?;
        let answer = standing(&self.0, &caller, &request.get_ref().order).await.map_err(status)?;
        Ok(Response::new(answer))
    }

    async fn list_approvals(
        &self,
        request: Request<proto::GatewayServiceListApprovalsRequest>,
    ) -> Result<Response<proto::GatewayServiceListApprovalsResponse>, Status> {
        let caller = caller(&request).map_err(status)?;
        decisions::list(&self.0, &caller, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn get_approval(
        &self,
        request: Request<proto::GatewayServiceGetApprovalRequest>,
    ) -> Result<Response<proto::GatewayServiceGetApprovalResponse>, Status> {
        let caller = caller(&request).map_err(status)?;
        let approval = &request.get_ref().approval;
        decisions::read(&self.0, &caller, approval).await.map(Response::new).map_err(status)
    }

    async fn decide_approval(
        &self,
        mut request: Request<proto::GatewayServiceDecideApprovalRequest>,
    ) -> Result<Response<proto::GatewayServiceDecideApprovalResponse>, Status> {
        let (api, caller) = (&self.0, caller(&request).map_err(status)?);
        let key = request.extensions_mut().remove::<Key>();
        let run = async |message| decisions::decide(api, &caller, message).await;
        once(api, "DecideApproval", key, (&caller, request.into_inner()), run).await
    }

    async fn report_download(
        &self,
        mut request: Request<proto::GatewayServiceReportDownloadRequest>,
    ) -> Result<Response<proto::GatewayServiceReportDownloadResponse>, Status> {
        let (api, caller) = (&self.0, caller(&request).map_err(status)?);
        let key = request.extensions_mut().remove::<Key>();
        let run = async |message| decisions::report(api, &caller, message).await;
        once(api, "ReportDownload", key, (&caller, request.into_inner()), run).await
    }

    async fn watch_events(
        &self,
        request: Request<proto::GatewayServiceWatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let place = caller(&request).and_then(|caller| Place::take(&self.0, caller)).map_err(status)?;
        Ok(Response::new(watch::events(place, request.get_ref()).await.map_err(status)?))
    }

    async fn watch_cutoffs(
        &self,
        request: Request<proto::GatewayServiceWatchCutoffsRequest>,
    ) -> Result<Response<Self::WatchCutoffsStream>, Status> {
        let place = caller(&request).and_then(|caller| Place::take(&self.0, caller)).map_err(status)?;
        Ok(Response::new(cutoffs::cutoffs(place, request.get_ref()).await.map_err(status)?))
    }
}

/// What became of one order of many.
fn told(done: Done) -> proto::GatewayServiceSubmitOrdersResponse {
    proto::GatewayServiceSubmitOrdersResponse {
        line: done.line,
        reference: done.reference.unwrap_or_default(),
        outcome: Some(shapes::outcome(done.outcome)),
    }
}

type OneOfMany = proto::GatewayServiceSubmitOrdersRequest;

/// Orders as they come over the stream.
struct Orders {
    api: Api,
    caller: Caller,
    stream: Streaming<OneOfMany>,
    line: u64,
    bytes: usize,
    ended: bool,
}

impl Orders {
    /// The orders before it are admitted; what comes after is not read.
    fn broken(&mut self, why: Problem, set: &mut Vec<bulk::Read<OneOfMany>>) {
        self.ended = true;
        self.line += 1;
        set.push((self.line, Err(why)));
    }
}

impl Source for Orders {
    type Raw = OneOfMany;

    /// The stream keeps what has come: [`Source::more`] gives it without waiting.
    fn held(&mut self, _: &mut Vec<bulk::Read<OneOfMany>>) {}

    async fn more(&mut self, set: &mut Vec<bulk::Read<OneOfMany>>) {
        match within(BODY_WITHIN, self.stream.next()).await {
            Ok(Some(Ok(message))) => {
                self.bytes += message.encoded_len();
                if self.bytes > BULK_MAX {
                    let text = "The stream has more than 64 MiB; later orders were not read.";
                    return self.broken(Problem::new(Code::TooLarge, text), set);
                }
                self.line += 1;
                set.push((self.line, Ok(message)));
            }
            // What the codec says of a message that is too large.
            Ok(Some(Err(said))) if said.code() == tonic::Code::OutOfRange => {
                let text = "The message has more than 256 KiB; later orders were not read.";
                self.broken(Problem::new(Code::TooLarge, text), set);
            }
            Ok(Some(Err(_))) => {
                let text = "The stream broke off, or has what is no message; later orders were not read.";
                self.broken(Problem::new(Code::Malformed, text), set);
            }
            Ok(None) => self.ended = true,
            Err(slow) => self.broken(slow, set),
        }
    }

    fn ended(&self) -> bool {
        self.ended
    }

    fn read(&self, raw: OneOfMany) -> Answer<(Cow<'_, PlatformId>, Submission)> {
        let named = submission::platform(raw.platform)?;
        let platform = platform_of(&self.api, &self.caller, named)?;
        let order = submission::submission(raw.order)?;
        Ok((Cow::Owned(platform), order))
    }
}
