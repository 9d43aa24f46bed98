//! The simulated lab as one that dials out: it keeps connections to a gateway, answers over them with the
//! same code as on its ports, and misbehaves in the same ways.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{ClientTlsConfig, Endpoint};
use tonic::{Request, Status, Streaming};

use super::behaviour::{Fate, LosesBy};
use super::grpc::front;
use super::http::BODY_MAX;
use super::ledger::{Said, What};
use super::{Gateway, House};
use crate::clock::{Clock as _, HostClock, Random};
use crate::domain::Fault;
use crate::domain::batch::later;
use crate::domain::order::Stage;
use crate::proto::connect_request::{
    Heartbeat, Hello, Kind, Refusal, Reply, StatusReport, StopAnswer, reply,
};
use crate::proto::connect_response::call::Ask;
use crate::proto::connect_response::receipt::Outcome;
use crate::proto::connect_response::{Call, Kind as Told, Receipt, Welcome};
use crate::proto::get_order_response::Stage as LabStage;
use crate::proto::lab_address_service_server::LabAddressService as _;
use crate::proto::lab_import_service_server::LabImportService as _;
use crate::proto::lab_link_service_client::LabLinkServiceClient;
use crate::proto::lab_service_server::LabService as _;
use crate::proto::stop_order_response::Answer;
use crate::proto::{ConnectRequest, ConnectResponse};

/// How long a connection may take to stand, and a receipt to come.
const WITHIN: Duration = Duration::from_secs(10);
/// The pauses between tries to connect.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What the connections of a lab share: where its own reports go out.
#[derive(Default)]
pub(super) struct Lines {
    dialled: AtomicUsize,
    reports: AtomicU64,
    open: Mutex<Vec<mpsc::Sender<ConnectRequest>>>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Receipt>>>,
}

impl Lines {
    pub(super) fn opened(&self) {
        self.dialled.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the lab dials at all.
    pub(super) fn any(&self) -> bool {
        self.dialled.load(Ordering::Relaxed) > 0
    }

    /// Tells the gateway the answer to a stop; false if it is worth trying again.
    pub(super) async fn tell(&self, stop: &str, said: Said, stage: Stage, items: &[String]) -> bool {
        let answer = match said {
            Said::Removed => Answer::Removed,
            Said::WillPrint => Answer::WillPrint,
            // Nothing that could be told.
            Said::AnswerLater | Said::NotFound | Said::NotTaken => return true,
        };
        let told = |report| StopAnswer {
            report,
            stop: stop.to_owned(),
            answer: answer.into(),
            reason: String::new(),
            stage: lab_stage(stage).into(),
            items: items.to_vec(),
        };
        self.say(|report| Kind::StopAnswer(told(report))).await
    }

    /// Tells the gateway how far an order is; false if it is worth trying again.
    pub(super) async fn report(&self, order: &str, stage: Stage, at: Timestamp) -> bool {
        let tracking = || format!("SIM-{}", &order[order.len().saturating_sub(8)..]);
        let told = |report| StatusReport {
            report,
            order: order.to_owned(),
            stage: lab_stage(stage).into(),
            at: Some(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }),
            reference: if stage == Stage::Shipped { tracking() } else { String::new() },
        };
        self.say(|report| Kind::StatusReport(told(report))).await
    }

    /// Says something on a connection, and waits for its receipt; false if it is worth trying again.
    async fn say(&self, kind: impl FnOnce(u64) -> Kind) -> bool {
        let report = self.reports.fetch_add(1, Ordering::Relaxed) + 1;
        let (tell, told) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(report, tell);
        let line = self.open.lock().unwrap_or_else(PoisonError::into_inner).first().cloned();
        let sent = line.is_some_and(|line| line.try_send(request(kind(report))).is_ok());
        let receipt = if sent { tokio::time::timeout(WITHIN, told).await.ok() } else { None };
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&report);
        let Some(receipt) = receipt.and_then(Result::ok) else { return false };
        let outcome = receipt.outcome();
        if outcome == Outcome::Refused {
            tracing::warn!(
                code = receipt.code,
                reason = receipt.reason,
                "the gateway refused what it was told"
            );
        }
        outcome != Outcome::TryAgain
    }

    fn receive(&self, receipt: Receipt) {
        let waits = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&receipt.report);
        if let Some(tell) = waits {
            let _ = tell.send(receipt);
        }
    }
}

/// A connection that is on the list of those that are open, until it is dropped.
struct Listed<'a>(&'a Lines, mpsc::Sender<ConnectRequest>);

impl<'a> Listed<'a> {
    fn new(lines: &'a Lines, say: &mpsc::Sender<ConnectRequest>) -> Self {
        lines.open.lock().unwrap_or_else(PoisonError::into_inner).push(say.clone());
        Self(lines, say.clone())
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|other| !other.same_channel(&self.1));
    }
}

fn lab_stage(stage: Stage) -> LabStage {
    match stage {
        Stage::Received => LabStage::Received,
        Stage::InProduction => LabStage::InProduction,
        Stage::Printed => LabStage::Printed,
        Stage::Shipped => LabStage::Shipped,
    }
}

fn request(kind: Kind) -> ConnectRequest {
    ConnectRequest { kind: Some(kind) }
}

/// Where to dial, and as whom.
pub(super) struct Dial {
    endpoint: Endpoint,
    bearer: MetadataValue<Ascii>,
    window: u32,
}

/// How a call ended.
enum Done {
    /// With this answer.
    Reply(Reply),
    /// Its answer is lost, and the connection with it.
    Cut,
}

type Calls<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send + 'a>>>;

impl Dial {
    pub(super) fn new(gateway: &Gateway, window: u32) -> Result<Self, Fault> {
        let bad = |error: tonic::transport::Error| {
            Fault::new("link", format!("{} cannot be dialled: {error}", gateway.url))
        };
        let mut endpoint =
            Endpoint::from_shared(gateway.url.to_string()).map_err(bad)?.connect_timeout(WITHIN);
        if gateway.url.scheme() == "https" {
            endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(bad)?;
        }
        let key = gateway.key.expose_secret().trim();
        let mut bearer = MetadataValue::try_from(format!("Bearer {key}"))
            .map_err(|_| Fault::new("key", "is not printable"))?;
        bearer.set_sensitive(true);
        Ok(Self { endpoint, bearer, window })
    }

    /// Keeps one connection until the house closes. After a connection that stood, it dials again at
    /// once; after tries that failed, with growing pauses.
    pub(super) async fn keep(self, house: Arc<House>) {
        let closing = house.closing.clone();
        let keeping = async {
            let mut failed = 0;
            loop {
                let mut seen = house.behaviour.subscribe();
                if house.down().is_some() {
                    house.next_change(&mut seen).await;
                    continue;
                }
                let mut stood = false;
                let ended = tokio::select! {
                    ended = self.connect(&house, &mut stood) => ended,
                    () = goes_away(&house) => Ok(()),
                };
                if let Err(status) = &ended {
                    tracing::info!(code = ?status.code(), text = status.message(), "the link to the gateway ended");
                }
                failed = if stood { 0 } else { failed + 1 };
                let wait = pause(failed, &*house.random);
                HostClock.sleep_until(later(HostClock.now(), wait)).await;
            }
        };
        tokio::select! {
            () = closing.cancelled() => {}
            () = keeping => {}
        }
    }

    /// One connection, from Hello to its end.
    async fn connect(&self, house: &Arc<House>, stood: &mut bool) -> Result<(), Status> {
        let silent = |_| Status::deadline_exceeded("the gateway says nothing");
        let channel =
            self.endpoint.connect().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut client = LabLinkServiceClient::new(channel).max_decoding_message_size(BODY_MAX);
        let (say, outgoing) = mpsc::channel(64 + self.window as usize);
        let hello = Hello {
            contract: "stoppress/1".to_owned(),
            name: "Simulated lab".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            window: self.window,
        };
        let _ = say.try_send(request(Kind::Hello(hello)));
        let mut call = Request::new(ReceiverStream::new(outgoing));
        call.metadata_mut().insert("authorization", self.bearer.clone());
        let said = tokio::time::timeout(WITHIN, client.connect(call)).await.map_err(silent)??;
        let mut said = said.into_inner();
        let first = tokio::time::timeout(WITHIN, said.message()).await.map_err(silent)??;
        let Some(ConnectResponse { kind: Some(Told::Welcome(welcome)) }) = first else {
            return Err(Status::internal("the gateway does not begin with a Welcome"));
        };
        *stood = true;
        attend(house, say, &welcome, &mut said).await
    }
}

/// Attends to a connection until it ends.
async fn attend(
    house: &Arc<House>,
    say: mpsc::Sender<ConnectRequest>,
    welcome: &Welcome,
    said: &mut Streaming<ConnectResponse>,
) -> Result<(), Status> {
    let beat = welcome.heartbeat_every.and_then(|every| Duration::try_from(every).ok());
    let beat = beat.unwrap_or(WITHIN).max(Duration::from_millis(10));
    let patience = beat * (welcome.beats_missed_max + 1);
    let mut beats = tokio::time::interval(beat);
    // From the last word on: what this side does meanwhile says nothing of the other.
    let mut heard = Instant::now();
    let mut listed = Some(Listed::new(&house.lines, &say));
    let mut say = Some(say);
    let mut calls = Calls::new();
    loop {
        tokio::select! {
            message = tokio::time::timeout_at(heard + patience, said.message()) => {
                heard = Instant::now();
                let message = message.map_err(|_| Status::deadline_exceeded("the gateway went silent"))??;
                match message.map(|message| message.kind) {
                    None => return Ok(()),
                    Some(Some(Told::Call(call))) => calls.push(Box::pin(answer(house, call))),
                    Some(Some(Told::Receipt(receipt))) => house.lines.receive(receipt),
                    // No more calls come: what is begun is answered, then this side ends.
                    Some(Some(Told::Goodbye(_))) => {
                        listed = None;
                        if calls.is_empty() {
                            say = None;
                        }
                    }
                    Some(Some(Told::Welcome(_) | Told::Heartbeat(_)) | None) => {}
                }
            }
            Some(done) = calls.next() => match done {
                Done::Cut => return Ok(()),
                Done::Reply(reply) => {
                    if let Some(say) = &say {
                        let _ = say.send(request(Kind::Reply(reply))).await;
                    }
                    if listed.is_none() && calls.is_empty() {
                        say = None;
                    }
                }
            },
            _ = beats.tick() => if let Some(say) = say.as_ref().filter(|_| !house.behaviour().never_beats) {
                let _ = say.try_send(request(Kind::Heartbeat(Heartbeat {})));
            },
        }
    }
}

/// Answers one call, as on the lab's ports.
async fn answer(house: &Arc<House>, call: Call) -> Done {
    let behaviour = house.behaviour();
    let fate = behaviour.draw(&*house.random);
    if let Some(delay) = fate.delay {
        HostClock.sleep_until(later(HostClock.now(), delay)).await;
    }
    let number = call.call;
    let reply = |said| Done::Reply(Reply { call: number, said: Some(said) });
    let bad_day = || reply(refusal(&Status::internal("the lab has a bad day")));
    if fate.fails_before {
        return bad_day();
    }
    let (name, said) = ask(house, call.ask, fate).await;
    if fate.lost {
        let call = format!("link {name}");
        let _ = house.on_ledger(move |ledger, now, _| ledger.line(now, What::AnswerLost { call })).await;
        if behaviour.loses_by == LosesBy::Silence {
            std::future::pending::<()>().await;
        }
        return Done::Cut;
    }
    if fate.fails_after { bad_day() } else { reply(said.unwrap_or_else(|status| refusal(&status))) }
}

async fn ask(
    house: &Arc<House>,
    ask: Option<Ask>,
    fate: Fate,
) -> (&'static str, Result<reply::Said, Status>) {
    let lab = front(Arc::clone(house));
    match ask {
        Some(Ask::SubmitOrders(message)) => {
            let said = lab.submit_orders(dressed(house, message, fate)).await;
            ("SubmitOrders", said.map(|said| reply::Said::SubmitOrders(said.into_inner())))
        }
        Some(Ask::StopOrder(message)) => {
            let said = lab.stop_order(dressed(house, message, fate)).await;
            ("StopOrder", said.map(|said| reply::Said::StopOrder(said.into_inner())))
        }
        Some(Ask::GetOrder(message)) => {
            let said = lab.get_order(dressed(house, message, fate)).await;
            ("GetOrder", said.map(|said| reply::Said::GetOrder(said.into_inner())))
        }
        Some(Ask::Describe(message)) => {
            let said = lab.describe(dressed(house, message, fate)).await;
            ("Describe", said.map(|said| reply::Said::Describe(said.into_inner())))
        }
        Some(Ask::ImportOrder(message)) => {
            let said = lab.import_order(dressed(house, message, fate)).await;
            ("ImportOrder", said.map(|said| reply::Said::ImportOrder(said.into_inner())))
        }
        Some(Ask::DiscardImport(message)) => {
            let said = lab.discard_import(dressed(house, message, fate)).await;
            ("DiscardImport", said.map(|said| reply::Said::DiscardImport(said.into_inner())))
        }
        Some(Ask::ChangeAddress(message)) => {
            let said = lab.change_address(dressed(house, message, fate)).await;
            ("ChangeAddress", said.map(|said| reply::Said::ChangeAddress(said.into_inner())))
        }
        None => ("", Err(Status::unimplemented("this lab does not know the call"))),
    }
}

/// A message as it would have come over a port: the lab's own secret stands for the link's key.
fn dressed<T>(house: &House, message: T, fate: Fate) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(fate);
    let secret = house.secret.as_ref().map(|secret| format!("Bearer {}", secret.expose_secret().trim()));
    if let Some(bearer) = secret.and_then(|text| MetadataValue::try_from(text).ok()) {
        request.metadata_mut().insert("authorization", bearer);
    }
    request
}

fn refusal(status: &Status) -> reply::Said {
    let (code, message) = (i32::from(status.code()), status.message().to_owned());
    reply::Said::Refusal(Refusal { code, message, retry_after: None })
}

/// Returns when the lab goes away.
async fn goes_away(house: &House) {
    loop {
        let mut seen = house.behaviour.subscribe();
        if house.down().is_some() {
            return;
        }
        house.next_change(&mut seen).await;
    }
}

/// The pause after so many tries that failed, drawn up to a ceiling that doubles.
fn pause(failed: usize, random: &dyn Random) -> SignedDuration {
    if failed == 0 {
        return SignedDuration::from_millis(20);
    }
    let ceiling = ExponentialBuilder::default()
        .with_min_delay(PAUSE_MIN)
        .with_max_delay(PAUSE_MAX)
        .with_factor(2.0)
        .without_max_times()
        .build()
        .nth(failed - 1)
        .unwrap_or(PAUSE_MAX);
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    let micros = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX).max(1);
    SignedDuration::from_micros(i64::try_from(u64::from_le_bytes(bytes) % (micros + 1)).unwrap_or(0))
}
