//! The driver `grpc`: a lab that serves `stoppress.v1.LabService`.
//!
//! One HTTP/2 connection a lab, made at the first call, to an address that the guard has checked.
//! Nothing is repeated by itself; every call has a deadline, which the lab sees too. After a call
//! that got no answer in time the connection is thrown away: a peer that vanished without a word
//! must not swallow the next calls as well.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Code, Status};

pub use super::grpc_status::{About, classify, retry_after};
use super::guard::{Guard, Reach};
use super::outbound::{CONNECT_TIMEOUT, LAB_BODY_MAX, causes, read_pem};
use super::{
    AddressCall, Driver, Import, Lab, Pending, Reply, Settings, StopCall, Timeouts, Tools, Upload, address,
    some_words,
};
use crate::clock::Clock;
use crate::domain::Fault;
use crate::domain::ids::OrderId;
use crate::domain::lab::{Answer, LabSpec, SecretRef};
use crate::domain::order::{self, ItemKind, Stage};
use crate::proto;
use crate::proto::get_order_response::Stage as LabStage;
use crate::proto::lab_address_service_client::LabAddressServiceClient;
use crate::proto::lab_import_service_client::LabImportServiceClient;
use crate::proto::lab_service_client::LabServiceClient;
use crate::proto::stop_order_response::Answer as LabAnswer;

/// The driver.
pub const DRIVER: Driver = Driver { kind: "grpc", manual: false, check, build };

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrpcSettings {
    endpoint: Option<String>,
    secret: Option<SecretRef>,
    /// The only root certificates to trust for this lab.
    ca: Option<String>,
    #[serde(default)]
    timeouts: Timeouts,
}

fn check(settings: &Settings) -> Vec<Fault> {
    match super::settings::<GrpcSettings>(settings) {
        Err(fault) => vec![fault],
        Ok(settings) => {
            let mut faults = settings.timeouts.faults();
            faults.extend(address(&settings).err());
            faults
        }
    }
}

fn address(settings: &GrpcSettings) -> Result<url::Url, Fault> {
    let url = super::endpoint("endpoint", settings.endpoint.as_deref())?;
    if matches!(url.path(), "" | "/") {
        Ok(url)
    } else {
        Err(Fault::not("endpoint", url.as_str(), "a URL without a path: gRPC has its own"))
    }
}

fn build(spec: &LabSpec, tools: &Tools) -> Result<Arc<dyn Lab>, Fault> {
    let settings: GrpcSettings = super::settings(&spec.driver.settings)?;
    let url = address(&settings)?;
    let unusable = |why: &str| Fault::new("endpoint", format!("{:?} cannot be used: {why}", url.as_str()));
    let reach = tools.outbound.guard().check(&url).map_err(|refusal| unusable(&refusal.0))?;
    let mut endpoint = Endpoint::from_shared(url.to_string())
        .map_err(|error| unusable(&causes(&error)))?
        .user_agent(concat!("stoppress/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| unusable(&causes(&error)))?;
    if url.scheme() == "https" {
        let tls = ClientTlsConfig::new().timeout(CONNECT_TIMEOUT);
        let tls = match &settings.ca {
            Some(path) => tls.ca_certificate(Certificate::from_pem(read_pem("ca", Path::new(path))?)),
            None if tools.outbound.extra_ca().is_empty() => tls.with_native_roots(),
            None => tls.with_native_roots().ca_certificate(Certificate::from_pem(tools.outbound.extra_ca())),
        };
        endpoint = endpoint.tls_config(tls).map_err(|error| unusable(&causes(&error)))?;
    }
    let bearer = match &settings.secret {
        None => None,
        Some(named) => Some(bearer(named, tools).map_err(|fault| fault.under("secret"))?),
    };
    Ok(Arc::new(GrpcLab {
        endpoint,
        reach,
        guard: tools.outbound.guard().clone(),
        bearer,
        timeouts: settings.timeouts,
        clock: Arc::clone(&tools.clock),
        channel: Mutex::default(),
    }))
}

fn bearer(named: &SecretRef, tools: &Tools) -> Result<MetadataValue<Ascii>, Fault> {
    let secret = (tools.secrets)(named)?;
    let text = secret.expose_secret().trim();
    let mut value = MetadataValue::try_from(format!("Bearer {text}"))
        .ok()
        .filter(|_| text.len() >= 16 && !text.contains(char::is_whitespace))
        .ok_or_else(|| Fault::new("", "is not a token of at least 16 printable characters"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A lab over gRPC.
struct GrpcLab {
    endpoint: Endpoint,
    reach: Reach,
    guard: Guard,
    bearer: Option<MetadataValue<Ascii>>,
    timeouts: Timeouts,
    clock: Arc<dyn Clock>,
    /// The connection, and how many there were before it.
    channel: Mutex<(u64, Option<Channel>)>,
}

impl std::fmt::Debug for GrpcLab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcLab").field("endpoint", &self.endpoint.uri()).finish_non_exhaustive()
    }
}

/// Why a call has no result.
enum Trouble {
    Said(Box<Status>),
    Silent(&'static str),
}

impl GrpcLab {
    /// The connection, made at the first call that needs it.
    fn channel(&self) -> (u64, Channel) {
        let mut slot = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let nth = slot.0;
        let channel = slot.1.get_or_insert_with(|| {
            let (guard, reach) = (self.guard.clone(), self.reach);
            self.endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: Uri| {
                let guard = guard.clone();
                async move {
                    let host = uri.host().unwrap_or_default();
                    let port =
                        uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
                    guard.connect(host, port, reach).await.map(TokioIo::new)
                }
            }))
        });
        (nth, channel.clone())
    }

    /// Throws connection number `nth` away, unless somebody did already.
    fn forget(&self, nth: u64) {
        let mut slot = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.0 == nth {
            *slot = (nth + 1, None);
        }
    }

    async fn call<M, T, F>(
        &self,
        budget: Duration,
        message: M,
        run: impl FnOnce(LabServiceClient<Channel>, tonic::Request<M>) -> F,
    ) -> Result<T, Trouble>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        self.over(budget, message, |channel, request| {
            run(LabServiceClient::new(channel).max_decoding_message_size(LAB_BODY_MAX), request)
        })
        .await
    }

    async fn over<M, T, F>(
        &self,
        budget: Duration,
        message: M,
        run: impl FnOnce(Channel, tonic::Request<M>) -> F,
    ) -> Result<T, Trouble>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let (nth, channel) = self.channel();
        let mut request = tonic::Request::new(message);
        request.set_timeout(budget);
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        // The client panics at a `grpc-status-details-bin` that is not base64 (tonic 0.14): what a
        // lab sends must not end the sender.
        let running = AssertUnwindSafe(tokio::time::timeout(budget, run(channel, request))).catch_unwind();
        match running.await {
            Ok(Ok(Ok(response))) => Ok(response.into_inner()),
            Ok(Ok(Err(status))) => {
                if status.code() == Code::Cancelled || status.code() == Code::DeadlineExceeded {
                    self.forget(nth);
                }
                Err(Trouble::Said(Box::new(status)))
            }
            Ok(Err(_)) => {
                self.forget(nth);
                Err(Trouble::Silent("no answer in time"))
            }
            Err(_) => {
                self.forget(nth);
                Err(Trouble::Silent("the answer is not gRPC"))
            }
        }
    }

    async fn described(&self) -> Result<proto::DescribeResponse, Trouble> {
        let (budget, ask) = (Timeouts::of(self.timeouts.look_up), proto::DescribeRequest {});
        self.call(budget, ask, |mut lab, request| async move { lab.describe(request).await }).await
    }

    fn trouble(trouble: Trouble, about: About) -> Reply {
        match trouble {
            Trouble::Silent(cause) => Answer::Unclear { cause: cause.to_owned() }.into(),
            Trouble::Said(status) => {
                Reply { answer: classify(&status, about), retry_after: retry_after(&status) }
            }
        }
    }
}

fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

#[derive(Deserialize)]
struct Body {
    transfer: String,
    orders: Vec<BodyOrder>,
}

#[derive(Deserialize)]
struct BodyOrder {
    id: String,
    platform: String,
    reference: String,
    region: String,
    #[serde(default)]
    import_reference: Option<String>,
    #[serde(default)]
    ship_to: Option<order::Address>,
    items: Vec<order::Item>,
}

/// The message of an upload, read from its frozen bytes.
///
/// # Errors
/// If the bytes are not an upload's.
pub fn message(upload: &Upload) -> Result<proto::SubmitOrdersRequest, serde_json::Error> {
    let body: Body = serde_json::from_slice(&upload.body)?;
    Ok(proto::SubmitOrdersRequest {
        transfer: body.transfer,
        key: upload.key.clone(),
        manifest_sha256: upload.sha256.to_vec(),
        not_after: Some(timestamp(upload.not_after)),
        orders: body.orders.into_iter().map(order).collect(),
    })
}

fn order(order: BodyOrder) -> proto::LabOrder {
    proto::LabOrder {
        id: order.id,
        platform: order.platform,
        reference: order.reference,
        region: order.region,
        ship_to: order.ship_to.map(address::address),
        items: order.items.into_iter().map(item).collect(),
        import_reference: order.import_reference.unwrap_or_default(),
    }
}

fn item(item: order::Item) -> proto::Item {
    let file = |file: order::File| proto::File { url: file.url, sha256: file.sha256.unwrap_or_default() };
    proto::Item {
        id: item.id,
        sku: item.sku,
        quantity: item.quantity,
        personalised: item.personalised,
        files: item.files.into_iter().map(file).collect(),
        options: item.options.into_iter().collect(),
        download: item.kind == ItemKind::Download,
    }
}

/// The message of a stop.
pub(super) fn stop_message(call: &StopCall) -> proto::StopOrderRequest {
    proto::StopOrderRequest {
        order: call.order.to_string(),
        stop: call.stop.to_string(),
        reason: call.reason.clone(),
        asked_at: Some(timestamp(call.asked_at)),
        answer_by: Some(timestamp(call.answer_by)),
        items: call.items.clone(),
    }
}

/// The message of an order that is sent ahead, read from its bytes.
pub(super) fn import_message(import: &Import) -> Result<proto::ImportOrderRequest, serde_json::Error> {
    #[derive(Deserialize)]
    struct Body {
        order: BodyOrder,
    }
    let body: Body = serde_json::from_slice(&import.body)?;
    let hold_until = Some(timestamp(import.hold_until));
    Ok(proto::ImportOrderRequest { order: Some(order(body.order)), hold_until })
}

/// What a lab says that holds an order.
pub(super) fn held(said: &proto::ImportOrderResponse) -> Answer {
    Answer::Accepted { lab_reference: some_words(&said.lab_reference, 200) }
}

/// What a lab says about itself.
pub(super) fn described(who: &proto::DescribeResponse) -> Answer {
    Answer::Accepted { lab_reference: super::who(&who.name, &who.contract) }
}

/// What a lab says that took a transfer.
#[must_use]
pub fn taken(said: &proto::SubmitOrdersResponse) -> Answer {
    Answer::Accepted { lab_reference: some_words(&said.lab_reference, 200) }
}

/// What a lab says to a stop.
#[must_use]
pub fn answered(said: &proto::StopOrderResponse) -> Answer {
    let reason = some_words(&said.reason, 300);
    match LabAnswer::try_from(said.answer) {
        Ok(LabAnswer::Removed) => Answer::Removed { reason, items: said.items.clone() },
        Ok(LabAnswer::WillPrint) => {
            // It prints the order, how far it may be: only what is known counts.
            let stage = match LabStage::try_from(said.stage) {
                Ok(LabStage::InProduction) => Stage::InProduction,
                Ok(LabStage::Printed) => Stage::Printed,
                Ok(LabStage::Shipped) => Stage::Shipped,
                Ok(LabStage::Unspecified | LabStage::Received | LabStage::Removed) | Err(_) => {
                    Stage::Received
                }
            };
            Answer::WillPrint { reason, stage }
        }
        Ok(LabAnswer::NotFound) => Answer::NotFound,
        // Delivered; an answer that is not known is no answer.
        Ok(LabAnswer::Later | LabAnswer::Unspecified) | Err(_) => Answer::AnswerLater,
    }
}

/// What a lab says of an order.
#[must_use]
pub fn seen(said: proto::GetOrderResponse) -> Answer {
    let will_print = |stage| Answer::WillPrint { reason: None, stage };
    match LabStage::try_from(said.stage) {
        Ok(LabStage::Received) => Answer::Accepted { lab_reference: None },
        Ok(LabStage::InProduction) => will_print(Stage::InProduction),
        Ok(LabStage::Printed) => will_print(Stage::Printed),
        Ok(LabStage::Shipped) => will_print(Stage::Shipped),
        Ok(LabStage::Removed) => Answer::Removed { reason: None, items: Vec::new() },
        Ok(LabStage::Unspecified) | Err(_) => {
            Answer::Unclear { cause: "the lab answered with a stage that is not known".to_owned() }
        }
    }
}

impl Lab for GrpcLab {
    fn submit<'a>(&'a self, upload: &'a Upload) -> Pending<'a, Reply> {
        Box::pin(async move {
            let message = match message(upload) {
                Ok(message) => message,
                Err(error) => {
                    return Answer::Unreachable { cause: format!("not started: not an upload: {error}") }
                        .into();
                }
            };
            let Some(budget) = self.timeouts.of_upload(upload, self.clock.now()) else {
                return super::too_late(upload);
            };
            let call = self
                .call(budget, message, |mut lab, request| async move { lab.submit_orders(request).await });
            match call.await {
                Ok(said) => taken(&said).into(),
                Err(trouble) => Self::trouble(trouble, About::Submit),
            }
        })
    }

    fn stop<'a>(&'a self, call: &'a StopCall) -> Pending<'a, Reply> {
        Box::pin(async move {
            let message = stop_message(call);
            let budget = Timeouts::of(self.timeouts.stop);
            let call =
                self.call(budget, message, |mut lab, request| async move { lab.stop_order(request).await });
            match call.await {
                Ok(said) => answered(&said).into(),
                Err(trouble) => Self::trouble(trouble, About::Stop),
            }
        })
    }

    fn change_address<'a>(&'a self, call: &'a AddressCall) -> Pending<'a, Reply> {
        Box::pin(async move {
            let (budget, message) = (Timeouts::of(self.timeouts.stop), address::message(call));
            let call = self.over(budget, message, |channel, request| async move {
                LabAddressServiceClient::new(channel).change_address(request).await
            });
            match call.await {
                Ok(said) => address::changed(&said).into(),
                Err(trouble) => Self::trouble(trouble, About::Stop),
            }
        })
    }

    fn look_up<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Reply> {
        Box::pin(async move {
            let message = proto::GetOrderRequest { order: order.to_string() };
            let budget = Timeouts::of(self.timeouts.look_up);
            let call =
                self.call(budget, message, |mut lab, request| async move { lab.get_order(request).await });
            match call.await {
                Ok(said) => seen(said).into(),
                Err(trouble) => Self::trouble(trouble, About::LookUp),
            }
        })
    }

    fn import<'a>(&'a self, import: &'a Import) -> Pending<'a, Reply> {
        Box::pin(async move {
            let message = match import_message(import) {
                Ok(message) => message,
                Err(error) => return Answer::Unreachable { cause: error.to_string() }.into(),
            };
            let call = self.over(Timeouts::of(self.timeouts.stop), message, |channel, request| async move {
                LabImportServiceClient::new(channel).import_order(request).await
            });
            match call.await {
                Ok(said) => held(&said).into(),
                Err(trouble) => Self::trouble(trouble, About::Submit),
            }
        })
    }

    fn discard<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Reply> {
        Box::pin(async move {
            let message = proto::DiscardImportRequest { order: order.to_string() };
            let call = self.over(Timeouts::of(self.timeouts.stop), message, |channel, request| async move {
                LabImportServiceClient::new(channel).discard_import(request).await
            });
            match call.await {
                Ok(_) => Answer::Accepted { lab_reference: None }.into(),
                Err(trouble) => Self::trouble(trouble, About::Submit),
            }
        })
    }

    fn prints<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Option<u64>> {
        Box::pin(async move {
            let message = proto::GetOrderRequest { order: order.to_string() };
            let budget = Timeouts::of(self.timeouts.look_up);
            let call =
                self.call(budget, message, |mut lab, request| async move { lab.get_order(request).await });
            call.await.ok()?.prints.map(u64::from)
        })
    }

    fn describe(&self) -> Pending<'_, Reply> {
        Box::pin(async move {
            match self.described().await {
                Ok(who) => described(&who).into(),
                Err(trouble) => Self::trouble(trouble, About::LookUp),
            }
        })
    }

    fn has_first_phase(&self) -> Pending<'_, bool> {
        Box::pin(async move { self.described().await.is_ok_and(|who| who.two_phase) })
    }
}
