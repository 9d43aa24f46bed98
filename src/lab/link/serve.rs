//! The server of links: one task a connection, which hears what the lab says, beats, and ends.
//!
//! Beats are counted in real time, because they watch sockets: no decision about an order depends on
//! them. A connection that ends leaves what was out on it without an answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, Stream, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

use super::desk::{Desk, LateAnswer, No, Refusal, Seat, StageReport, Standing, Taken, Word};
use super::hub::{Frame, Hub, Link, OUTBOX};
use crate::clock::{Clock, Random, whole_micros};
use crate::domain::Fault;
use crate::domain::event::hex;
use crate::domain::ids::{OrderId, StopId};
use crate::domain::order::Stage;
use crate::domain::source::Source;
use crate::lab::outbound::LAB_BODY_MAX;
use crate::lab::{some_words, words};
use crate::proto::connect_request::{self, Kind as Heard};
use crate::proto::connect_response::goodbye::Cause;
use crate::proto::connect_response::receipt::Outcome;
use crate::proto::connect_response::{Goodbye, Heartbeat, Kind, Receipt, Welcome};
use crate::proto::get_order_response::Stage as LabStage;
use crate::proto::lab_link_service_server::{LabLinkService, LabLinkServiceServer};
use crate::proto::stop_order_response::Answer as LabAnswer;
use crate::proto::{ConnectRequest, ConnectResponse};

/// The contract that both sides keep.
const CONTRACT: &str = "stoppress/1";
/// How long a lab may take to say who it is.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How often a connection is looked at, at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After so many beats without a word a connection is cut.
const BEATS_MISSED_MAX: u32 = 3;
/// Reports of one connection that are being written at the same time; then it is not read on.
const REPORTS_MAX: usize = 32;

/// The service. Clones share everything.
#[derive(Clone)]
pub struct Server {
    hub: Hub,
    desk: Arc<dyn Desk>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    end: CancellationToken,
}

impl Server {
    /// A server whose connections end when `end` is cancelled.
    #[must_use]
    pub fn new(
        hub: Hub,
        desk: Arc<dyn Desk>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        end: CancellationToken,
    ) -> Self {
        Self { hub, desk, clock, random, end }
    }
}

/// The routes of the service, to be merged into those of the port.
#[must_use]
pub fn routes(server: Server) -> tonic::service::Routes {
    tonic::service::Routes::new(LabLinkServiceServer::new(server).max_decoding_message_size(LAB_BODY_MAX))
}

/// What goes out on a connection.
pub struct Outgoing(mpsc::Receiver<Frame>);

impl Stream for Outgoing {
    type Item = Result<ConnectResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0
            .poll_recv(context)
            .map(|frame| frame.map(|frame| frame.map(|it| *it).map_err(|status| *status)))
    }
}

#[tonic::async_trait]
impl LabLinkService for Server {
    type ConnectStream = Outgoing;

    async fn connect(
        &self,
        request: Request<Streaming<ConnectRequest>>,
    ) -> Result<Response<Outgoing>, Status> {
        if self.end.is_cancelled() {
            return Err(Status::unavailable("this gateway is shutting down"));
        }
        let authorization = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let source = request.extensions().get::<Source>().copied();
        let received = self.desk.receive(authorization, source).await;
        let seat = received.map_err(|refusal| status(&refusal))?;
        let mut id = [0; 6];
        self.random.fill(&mut id);
        let (outbox, inbox) = mpsc::channel(OUTBOX);
        let line = Line {
            id: format!("lnk-{}", hex(&id)),
            beat: super::beat(&seat.settings()),
            hub: self.hub.clone(),
            clock: Arc::clone(&self.clock),
            end: self.end.clone(),
            outbox,
            seat,
        };
        // Boxed: the task of an idle connection is to be small.
        tokio::spawn(Box::pin(line.serve(request.into_inner())));
        Ok(Response::new(Outgoing(inbox)))
    }
}

fn status(refusal: &Refusal) -> Status {
    let code = match refusal.no {
        No::Unauthenticated => Code::Unauthenticated,
        No::Forbidden => Code::PermissionDenied,
        No::NotLinked => Code::FailedPrecondition,
        No::Refused => Code::InvalidArgument,
        No::TryAgain => Code::Unavailable,
    };
    Status::new(code, refusal.text.as_str())
}

/// How a connection ended.
enum End {
    /// The lab closed its side, or all that was to be answered after a good-bye is.
    Closed,
    /// It broke off.
    Broken(String),
    /// The gateway ends it, at once.
    Cut(Cause, &'static str),
}

/// One connection.
struct Line {
    id: String,
    beat: Duration,
    hub: Hub,
    clock: Arc<dyn Clock>,
    end: CancellationToken,
    outbox: mpsc::Sender<Frame>,
    seat: Arc<dyn Seat>,
}

type Reports<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Receipt> + Send + 'a>>>;

impl Line {
    async fn serve(self, mut said: Streaming<ConnectRequest>) {
        let hello = match tokio::time::timeout(HELLO_WITHIN, said.message()).await {
            Ok(Ok(Some(ConnectRequest { kind: Some(Heard::Hello(hello)) }))) => hello,
            Ok(Err(_) | Ok(None)) => return,
            Ok(Ok(Some(_))) | Err(_) => {
                return self.refuse(Status::invalid_argument("the first message is not a Hello"));
            }
        };
        if hello.contract != CONTRACT {
            let text =
                format!("contract: {:?} is not spoken here; \"{CONTRACT}\" is", words(&hello.contract, 40));
            return self.refuse(Status::invalid_argument(text));
        }
        let lab = self.seat.lab().clone();
        let link = Link::new(lab.clone(), self.outbox.clone(), hello.window, self.clock.now());
        self.say(Kind::Welcome(Welcome {
            lab: lab.to_string(),
            connection: self.id.clone(),
            heartbeat_every: prost_types::Duration::try_from(self.beat).ok(),
            beats_missed_max: BEATS_MISSED_MAX,
        }));
        if !self.hub.add(&link) {
            return self.refuse(Status::resource_exhausted("the lab has too many connections"));
        }
        let gone = Gone(&self, &link);
        tracing::info!(%lab, link = self.id, name = words(&hello.name, 200), version = words(&hello.version, 100), window = hello.window, "a lab connected");
        drop(hello);
        let ended = self.attend(&link, &mut said).await;
        // First of all, nothing more is asked here, and whoever waits learns that no answer will come.
        drop(gone);
        let (cause, detail) = match ended {
            End::Closed => ("closed", String::new()),
            End::Broken(detail) => ("broken", detail),
            End::Cut(cause, text) => {
                self.say(Kind::Goodbye(Goodbye { cause: cause.into(), text: text.to_owned() }));
                let status = match cause {
                    Cause::KeyEnded => Status::unauthenticated(text),
                    Cause::NotLinked => Status::failed_precondition(text),
                    Cause::Protocol => Status::invalid_argument(text),
                    _ => Status::unavailable(text),
                };
                self.refuse(status);
                (cause.as_str_name(), text.to_owned())
            }
        };
        tracing::info!(%lab, link = self.id, cause, detail, "a lab's connection ended");
        metrics::counter!("stoppress_link_ends_total", "cause" => cause.to_ascii_lowercase()).increment(1);
    }

    /// Puts a message into the outbox; false if it is full or nobody writes it out any more.
    fn say(&self, kind: Kind) -> bool {
        self.outbox.try_send(Ok(Box::new(ConnectResponse { kind: Some(kind) }))).is_ok()
    }

    fn refuse(&self, status: Status) {
        let _ = self.outbox.try_send(Err(Box::new(status)));
    }

    /// Attends to a connection until it ends.
    async fn attend(&self, link: &Arc<Link>, said: &mut Streaming<ConnectRequest>) -> End {
        let every = self.beat.min(LOOK_EVERY);
        let looks_a_beat = u32::try_from(self.beat.as_nanos().div_ceil(every.as_nanos().max(1))).unwrap_or(1);
        let mut look = tokio::time::interval(every);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first one comes at once.
        look.tick().await;
        let mut reports = Reports::new();
        let (mut looks, mut silent) = (0_u32, 0_u32);
        let (mut leaving, mut idle) = (false, 0_u32);
        loop {
            tokio::select! {
                message = said.message(), if reports.len() < REPORTS_MAX => {
                    silent = 0;
                    link.heard(self.clock.now());
                    match message {
                        Ok(None) => return End::Closed,
                        Err(status) => return End::Broken(words(status.message(), 200)),
                        Ok(Some(ConnectRequest { kind: Some(Heard::Goodbye(_)) })) => {
                            link.leave();
                            self.hub.changed(self.seat.lab());
                            leaving = true;
                        }
                        Ok(Some(message)) => if let Err(end) = self.hear(link, message, &mut reports) { return end },
                    }
                }
                Some(receipt) = reports.next() => {
                    if !self.say(Kind::Receipt(receipt)) {
                        return End::Cut(Cause::Protocol, "the lab does not read what it is told");
                    }
                }
                () = self.end.cancelled(), if !leaving => {
                    leaving = true;
                    link.leave();
                    self.hub.changed(self.seat.lab());
                    let text = "this gateway is shutting down".to_owned();
                    self.say(Kind::Goodbye(Goodbye { cause: Cause::Shutdown.into(), text }));
                }
                () = self.outbox.closed() => return End::Broken("the connection is gone".to_owned()),
                _ = look.tick() => {
                    looks = looks.wrapping_add(1);
                    // What waits unread because reports are being written is not silence.
                    silent += u32::from(reports.len() < REPORTS_MAX);
                    if silent > looks_a_beat * BEATS_MISSED_MAX {
                        return End::Cut(Cause::Silent, "nothing was heard for too long");
                    }
                    match self.seat.standing() {
                        Standing::Good => {}
                        Standing::KeyEnded => return End::Cut(Cause::KeyEnded, "the key is at an end"),
                        Standing::NotLinked => return End::Cut(Cause::NotLinked, "the lab is not linked any more"),
                    }
                    if looks.is_multiple_of(looks_a_beat) {
                        self.say(Kind::Heartbeat(Heartbeat {}));
                    }
                    // The lab ends its side when it has said all; it gets a while for that.
                    idle = if leaving && link.is_idle() && reports.is_empty() { idle + 1 } else { 0 };
                    if idle > 2 {
                        return End::Closed;
                    }
                }
            }
        }
    }

    /// Hears one message.
    fn hear<'a>(
        &'a self,
        link: &Arc<Link>,
        message: ConnectRequest,
        reports: &mut Reports<'a>,
    ) -> Result<(), End> {
        match message.kind {
            Some(Heard::Hello(_)) => return Err(End::Cut(Cause::Protocol, "a second Hello")),
            Some(Heard::Reply(reply)) => {
                if !link.hear(reply.call, reply.said) {
                    tracing::debug!(lab = %self.seat.lab(), call = reply.call, "an answer that nobody waits for");
                }
            }
            Some(Heard::Window(window)) => {
                link.set_window(window.calls);
                self.hub.changed(self.seat.lab());
            }
            Some(Heard::StatusReport(report)) => {
                let (number, seat) = (report.report, Arc::clone(&self.seat));
                reports.push(Box::pin(async move {
                    let came = match stage_report(report) {
                        Ok(report) => seat.report(report).await,
                        Err(fault) => Err(invalid(&fault)),
                    };
                    receipt(number, came)
                }));
            }
            Some(Heard::StopAnswer(answer)) => {
                let (number, seat) = (answer.report, Arc::clone(&self.seat));
                reports.push(Box::pin(async move {
                    let came = match late_answer(answer) {
                        Ok(answer) => seat.answer(answer).await,
                        Err(fault) => Err(invalid(&fault)),
                    };
                    receipt(number, came)
                }));
            }
            // What a later version of the protocol has is passed over.
            Some(Heard::Heartbeat(_) | Heard::Goodbye(_)) | None => {}
        }
        Ok(())
    }
}

/// Takes a connection off the list, also when its task ends early.
struct Gone<'a>(&'a Line, &'a Arc<Link>);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.hub.remove(self.1, self.0.clock.now());
    }
}

fn invalid(fault: &Fault) -> Refusal {
    Refusal::new(No::Refused, "invalid", fault.to_string())
}

fn receipt(report: u64, came: Result<Taken, Refusal>) -> Receipt {
    let taken = |outcome: Outcome| Receipt { report, outcome: outcome.into(), ..Receipt::default() };
    match came {
        Ok(Taken::Taken) => taken(Outcome::Taken),
        Ok(Taken::Unchanged) => taken(Outcome::Unchanged),
        Ok(Taken::ShippedAnyway) => taken(Outcome::ShippedAnyway),
        Err(refusal) => {
            let again = refusal.no == No::TryAgain;
            Receipt {
                code: refusal.code.to_owned(),
                reason: refusal.text,
                retry_after: refusal
                    .retry_after
                    .and_then(|after| prost_types::Duration::try_from(after).ok()),
                ..taken(if again { Outcome::TryAgain } else { Outcome::Refused })
            }
        }
    }
}

fn stage_report(report: connect_request::StatusReport) -> Result<StageReport, Fault> {
    let allowed = "STAGE_RECEIVED, STAGE_IN_PRODUCTION, STAGE_PRINTED or STAGE_SHIPPED";
    let stage = match LabStage::try_from(report.stage) {
        Ok(LabStage::Received) => Stage::Received,
        Ok(LabStage::InProduction) => Stage::InProduction,
        Ok(LabStage::Printed) => Stage::Printed,
        Ok(LabStage::Shipped) => Stage::Shipped,
        Ok(LabStage::Unspecified | LabStage::Removed) | Err(_) => {
            return Err(Fault::not("stage", report.stage, allowed));
        }
    };
    let at = report.at.map(|at| Timestamp::new(at.seconds, at.nanos).map(whole_micros)).transpose();
    Ok(StageReport {
        order: OrderId::parse(&report.order).map_err(|fault| fault.under("order"))?,
        stage,
        at: at.map_err(|error| Fault::new("at", error.to_string()))?,
        reference: some_words(&report.reference, usize::MAX),
    })
}

fn late_answer(answer: connect_request::StopAnswer) -> Result<LateAnswer, Fault> {
    let stage = match LabStage::try_from(answer.stage) {
        Ok(LabStage::InProduction) => Stage::InProduction,
        Ok(LabStage::Printed) => Stage::Printed,
        Ok(LabStage::Shipped) => Stage::Shipped,
        _ => Stage::Received,
    };
    let word = match LabAnswer::try_from(answer.answer) {
        Ok(LabAnswer::Removed) => Word::Removed,
        Ok(LabAnswer::WillPrint) => Word::WillPrint(stage),
        Ok(LabAnswer::Later) => Word::Later,
        Ok(LabAnswer::Unspecified | LabAnswer::NotFound) | Err(_) => {
            let allowed = "ANSWER_REMOVED, ANSWER_WILL_PRINT or ANSWER_LATER";
            return Err(Fault::not("answer", answer.answer, allowed));
        }
    };
    Ok(LateAnswer {
        stop: StopId::parse(&answer.stop).map_err(|fault| fault.under("stop"))?,
        word,
        reason: some_words(&answer.reason, usize::MAX),
        items: answer.items,
    })
}
