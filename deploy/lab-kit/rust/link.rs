//! The same lab behind a firewall: it dials the gateway, and is asked over that connection.

use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use super::Shop;
use super::proto::connect_request::reply::Said;
use super::proto::connect_request::{Heartbeat, Hello, Kind, Refusal, Reply};
use super::proto::connect_response::call::Ask;
use super::proto::connect_response::{Call, Kind as Told, Welcome};
use super::proto::lab_link_service_client::LabLinkServiceClient;
use super::proto::{ConnectRequest, ConnectResponse};

/// So many calls are taken at a time: the gateway sends no more.
const WINDOW: u32 = 16;
/// How long the gateway may take to answer at first.
const WITHIN: Duration = Duration::from_secs(10);

/// Keeps one connection. After one that stood it dials again soon; after tries that failed, with pauses that grow
/// up to half a minute. They are drawn by lot, so that not all labs come at once when a gateway is back.
pub(crate) async fn keep(shop: Arc<Shop>, token: &str, url: &str) {
    let mut failed = 0;
    loop {
        let mut stood = false;
        let ended = connect(&shop, token, url, &mut stood).await.map_err(|status| status.to_string());
        failed = if stood { 0 } else { failed + 1 };
        let most = (100_u64 << failed.min(9)).min(30_000);
        let pause = Duration::from_millis(RandomState::new().hash_one(failed) % most);
        let _ = writeln!(std::io::stderr(), "the connection ended: {ended:?}; dialling again in {pause:?}");
        sleep_until(Instant::now() + pause).await;
    }
}

fn silent<E>(_: E) -> Status {
    Status::deadline_exceeded("the gateway says nothing")
}

fn say(kind: Kind) -> ConnectRequest {
    ConnectRequest { kind: Some(kind) }
}

/// One connection, from Hello to its end. What was asked on it and not answered comes again on another, under the
/// same key: that is why nothing of it needs to be kept.
async fn connect(shop: &Arc<Shop>, token: &str, url: &str, stood: &mut bool) -> Result<(), Status> {
    let bad = |error: tonic::transport::Error| Status::unavailable(format!("{url}: {error}"));
    let mut endpoint = Endpoint::from_shared(url.to_owned()).map_err(bad)?.connect_timeout(WITHIN);
    if url.starts_with("https:") {
        endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(bad)?;
    }
    let mut client = LabLinkServiceClient::new(endpoint.connect().await.map_err(bad)?);
    // Room for the replies to all calls, and a beat: what is sent never waits for what is read.
    let (outbox, outgoing) = mpsc::channel(WINDOW as usize + 8);
    let (contract, name, version) = ("stoppress/1".to_owned(), "Rust lab".to_owned(), "1".to_owned());
    let _ = outbox.try_send(say(Kind::Hello(Hello { contract, name, version, window: WINDOW })));
    let mut call = Request::new(ReceiverStream::new(outgoing));
    let bearer =
        format!("Bearer {token}").parse().map_err(|_| Status::internal("the token is not printable"))?;
    call.metadata_mut().insert("authorization", bearer);
    let mut said = timeout(WITHIN, client.connect(call)).await.map_err(silent)??.into_inner();
    let first = timeout(WITHIN, said.message()).await.map_err(silent)??;
    let Some(ConnectResponse { kind: Some(Told::Welcome(welcome)) }) = first else {
        return Err(Status::internal("the gateway does not begin with a Welcome"));
    };
    *stood = true;
    let Welcome { heartbeat_every, beats_missed_max, .. } = welcome;
    let beat = heartbeat_every.and_then(|every| Duration::try_from(every).ok()).unwrap_or(WITHIN);
    let mut beats = interval(beat.max(Duration::from_millis(10)));
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let patience = beat * (beats_missed_max + 1);
    let mut heard = Instant::now();
    let (mut outbox, mut calls, mut leaving) = (Some(outbox), JoinSet::new(), false);
    loop {
        tokio::select! {
            message = timeout_at(heard + patience, said.message()) => {
                heard = Instant::now();
                match message.map_err(silent)?? {
                    None => return Ok(()),
                    Some(ConnectResponse { kind: Some(Told::Call(call)) }) => {
                        let shop = Arc::clone(shop);
                        // It may wait for a disk: the beats go on meanwhile.
                        calls.spawn_blocking(move || answer(&shop, call));
                    }
                    Some(ConnectResponse { kind: Some(Told::Goodbye(_)) }) => leaving = true,
                    // Beats, receipts of reports, and what a later version has.
                    Some(_) => {}
                }
            }
            Some(Ok(reply)) = calls.join_next() => if let Some(outbox) = &outbox {
                outbox.send(say(Kind::Reply(reply))).await.map_err(|_| Status::aborted("the connection is gone"))?;
            },
            _ = beats.tick() => if let Some(outbox) = &outbox {
                let _ = outbox.try_send(say(Kind::Heartbeat(Heartbeat {})));
            },
        }
        if leaving && calls.is_empty() {
            // All is answered: this side ends, then the gateway's.
            outbox = None;
        }
    }
}

fn answer(shop: &Shop, call: Call) -> Reply {
    let said = match call.ask {
        Some(Ask::Describe(_)) => Ok(Said::Describe(Shop::describe())),
        Some(Ask::SubmitOrders(upload)) => shop.take(upload).map(Said::SubmitOrders),
        Some(Ask::StopOrder(stop)) => shop.stop(&stop).map(Said::StopOrder),
        Some(Ask::GetOrder(order)) => shop.look_up(&order).map(Said::GetOrder),
        // A lab of one phase is sent nothing ahead; what a later version asks is not known here.
        Some(Ask::ImportOrder(_) | Ask::DiscardImport(_) | Ask::ChangeAddress(_)) | None => {
            Err(Status::unimplemented("not known here"))
        }
    };
    let refused = |status: Status| {
        let (code, message) = (i32::from(status.code()), status.message().to_owned());
        Said::Refusal(Refusal { code, message, retry_after: None })
    };
    Reply { call: call.call, said: Some(said.unwrap_or_else(refused)) }
}
