//! The driver `link`: a lab that dials out. It holds one stream or more open to a gateway
//! (`stoppress.v1.LabLinkService`), and is asked over them.
//!
//! | file | is |
//! |---|---|
//! | `link.rs` | the driver: what is asked, and what the answers mean |
//! | `hub` | the connections, and the calls that are out on them |
//! | `serve` | the server: one task a connection |
//! | `desk` | what it needs of the rest: who may connect, and where reports go |
//!
//! A call that was put on a connection and has no answer is `unclear`, however the connection ended:
//! the transfer is unknown, and goes the way of all unknown transfers. `unreachable` is said only of what
//! was never put on one.

pub mod desk;
mod hub;
mod serve;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tonic::{Code, Status};

pub use hub::Hub;
pub use serve::{Server, routes};

use super::grpc::{self, About};
use super::{
    AddressCall, Built, Driver, Import, Lab, Pending, Reply, Settings, StopCall, Timeouts, Tools, Upload,
    address, words,
};
use crate::clock::Clock;
use crate::domain::Fault;
use crate::domain::ids::{LabId, OrderId};
use crate::domain::lab::{Answer, LabSpec, Lasting};
use crate::proto;
use crate::proto::connect_request::reply::Said;
use crate::proto::connect_response::call::Ask;
use hub::Silence;

/// The driver.
pub const DRIVER: Driver = Driver { kind: "link", manual: false, check, build };

/// How long a call waits for a place on a connection. It is asked for only while there is one, so that it
/// waits only where another call is just ending.
const PLACE_WITHIN: Duration = Duration::from_secs(2);
/// The longest time between two beats.
const HEARTBEAT_MAX: Lasting = Lasting::seconds(60);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkSettings {
    /// How often both sides say something.
    #[serde(default = "heartbeat")]
    heartbeat: Lasting,
    #[serde(default)]
    timeouts: Timeouts,
}

fn heartbeat() -> Lasting {
    Lasting::seconds(10)
}

impl LinkSettings {
    fn faults(&self) -> Vec<Fault> {
        let mut faults = self.timeouts.faults();
        let least = jiff::SignedDuration::from_millis(100);
        if self.heartbeat.0 < least || self.heartbeat > HEARTBEAT_MAX {
            let allowed = "a duration from 100ms to 60s";
            faults.push(Fault::not("heartbeat", self.heartbeat.to_string(), allowed));
        }
        faults
    }
}

fn check(settings: &Settings) -> Vec<Fault> {
    match super::settings::<LinkSettings>(settings) {
        Err(fault) => vec![fault],
        Ok(settings) => settings.faults(),
    }
}

/// How often both sides of a connection say something.
fn beat(settings: &Settings) -> Duration {
    let read = super::settings::<LinkSettings>(settings).ok();
    Timeouts::of(read.filter(|read| read.faults().is_empty()).map_or_else(heartbeat, |read| read.heartbeat))
}

fn build(spec: &LabSpec, tools: &Tools) -> Built {
    let settings: LinkSettings = super::settings(&spec.driver.settings)?;
    Ok(Arc::new(LinkLab {
        lab: spec.id.clone(),
        hub: tools.links.clone(),
        timeouts: settings.timeouts,
        clock: Arc::clone(&tools.clock),
    }))
}

/// A lab that dials out.
#[derive(Debug)]
struct LinkLab {
    lab: LabId,
    hub: Hub,
    timeouts: Timeouts,
    clock: Arc<dyn Clock>,
}

impl LinkLab {
    /// Makes one call. `within` says, once there is a place, how long the answer may take; `None` if the
    /// call must not begin any more.
    async fn counted(
        &self,
        about: About,
        ask: Ask,
        within: impl FnOnce() -> Option<Duration>,
    ) -> Result<Said, Reply> {
        let began = self.clock.now();
        let call = match &ask {
            Ask::SubmitOrders(_) => "submit",
            Ask::StopOrder(_) => "stop",
            Ask::GetOrder(_) => "look_up",
            Ask::Describe(_) => "describe",
            Ask::ImportOrder(_) => "import",
            Ask::DiscardImport(_) => "discard",
            Ask::ChangeAddress(_) => "change_address",
        };
        let said = self.said(ask, within).await;
        let took = self.clock.now().duration_since(began).as_secs_f64();
        let word = match &said {
            Ok(Said::Refusal(refusal)) => refused(refusal, about).answer.word(),
            Ok(_) => "answered",
            Err(reply) => reply.answer.word(),
        };
        metrics::counter!("stoppress_link_calls_total", "lab" => self.lab.to_string(), "call" => call, "answer" => word)
            .increment(1);
        metrics::histogram!("stoppress_link_call_seconds", "call" => call, "answer" => word).record(took);
        said
    }

    /// The same, with what a refusal means.
    async fn ask(
        &self,
        about: About,
        ask: Ask,
        within: impl FnOnce() -> Option<Duration>,
    ) -> Result<Said, Reply> {
        match self.counted(about, ask, within).await {
            Ok(Said::Refusal(refusal)) => Err(refused(&refusal, about)),
            other => other,
        }
    }

    /// Asks whether the lab has an order.
    async fn seen(&self, order: &OrderId) -> Result<proto::GetOrderResponse, Reply> {
        let message = proto::GetOrderRequest { order: order.to_string() };
        let within = || Some(Timeouts::of(self.timeouts.look_up));
        match self.ask(About::LookUp, Ask::GetOrder(message), within).await {
            Ok(Said::GetOrder(said)) => Ok(said),
            Ok(_) => Err(unfit()),
            Err(reply) => Err(reply),
        }
    }

    /// Asks the lab who it is; `None` if it does not know the question.
    async fn described(&self) -> Result<Option<proto::DescribeResponse>, Reply> {
        let within = || Some(Timeouts::of(self.timeouts.look_up));
        match self.counted(About::LookUp, Ask::Describe(proto::DescribeRequest {}), within).await? {
            Said::Describe(who) => Ok(Some(who)),
            Said::Refusal(refusal) if refusal.code == i32::from(Code::Unimplemented) => Ok(None),
            Said::Refusal(refusal) => Err(refused(&refusal, About::LookUp)),
            _ => Err(unfit()),
        }
    }

    async fn said(&self, ask: Ask, within: impl FnOnce() -> Option<Duration>) -> Result<Said, Reply> {
        let unreachable = |cause: &str| Answer::Unreachable { cause: cause.to_owned() }.into();
        let Some(place) = self.hub.place(&self.lab, PLACE_WITHIN).await else {
            return Err(unreachable("the lab is not connected to this gateway, or takes no more calls now"));
        };
        let Some(within) = within() else { return Err(unreachable("not started: it would be too late")) };
        place.ask(ask, within).await.map_err(|silence| match silence {
            Silence::NotSaid(cause) => unreachable(cause),
            Silence::Unclear(cause) => Answer::Unclear { cause: cause.to_owned() }.into(),
        })
    }
}

/// An answer that belongs to another call.
fn unfit() -> Reply {
    Answer::Unclear { cause: "the lab answered another question".to_owned() }.into()
}

/// What a refusal means: the same as from a lab that is called over gRPC.
fn refused(refusal: &proto::connect_request::Refusal, about: About) -> Reply {
    let status = Status::new(Code::from_i32(refusal.code), words(&refusal.message, 300));
    let retry_after = refusal.retry_after.and_then(|after| Duration::try_from(after).ok());
    Reply { answer: grpc::classify(&status, about), retry_after }
}

impl Lab for LinkLab {
    fn submit<'a>(&'a self, upload: &'a Upload) -> Pending<'a, Reply> {
        Box::pin(async move {
            let message = match grpc::message(upload) {
                Ok(message) => message,
                Err(error) => {
                    let cause = format!("not started: not an upload: {error}");
                    return Answer::Unreachable { cause }.into();
                }
            };
            let within = || self.timeouts.of_upload(upload, self.clock.now());
            match self.ask(About::Submit, Ask::SubmitOrders(message), within).await {
                Ok(Said::SubmitOrders(said)) => grpc::taken(&said).into(),
                Ok(_) => unfit(),
                Err(reply) => reply,
            }
        })
    }

    fn stop<'a>(&'a self, call: &'a StopCall) -> Pending<'a, Reply> {
        Box::pin(async move {
            let within = || Some(Timeouts::of(self.timeouts.stop));
            match self.ask(About::Stop, Ask::StopOrder(grpc::stop_message(call)), within).await {
                Ok(Said::StopOrder(said)) => grpc::answered(&said).into(),
                Ok(_) => unfit(),
                Err(reply) => reply,
            }
        })
    }

    fn change_address<'a>(&'a self, call: &'a AddressCall) -> Pending<'a, Reply> {
        Box::pin(async move {
            let within = || Some(Timeouts::of(self.timeouts.stop));
            match self.ask(About::Stop, Ask::ChangeAddress(address::message(call)), within).await {
                Ok(Said::ChangeAddress(said)) => address::changed(&said).into(),
                Ok(_) => unfit(),
                Err(reply) => reply,
            }
        })
    }

    fn look_up<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Reply> {
        Box::pin(
            async move { self.seen(order).await.map_or_else(|reply| reply, |said| grpc::seen(said).into()) },
        )
    }

    fn prints<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Option<u64>> {
        Box::pin(async move { self.seen(order).await.ok()?.prints.map(u64::from) })
    }

    fn import<'a>(&'a self, import: &'a Import) -> Pending<'a, Reply> {
        Box::pin(async move {
            let message = match grpc::import_message(import) {
                Ok(message) => message,
                Err(error) => return Answer::Unreachable { cause: error.to_string() }.into(),
            };
            let within = || Some(Timeouts::of(self.timeouts.stop));
            match self.ask(About::Submit, Ask::ImportOrder(message), within).await {
                Ok(Said::ImportOrder(said)) => grpc::held(&said).into(),
                Ok(_) => unfit(),
                Err(reply) => reply,
            }
        })
    }

    fn discard<'a>(&'a self, order: &'a OrderId) -> Pending<'a, Reply> {
        Box::pin(async move {
            let message = proto::DiscardImportRequest { order: order.to_string() };
            let within = || Some(Timeouts::of(self.timeouts.stop));
            match self.ask(About::Submit, Ask::DiscardImport(message), within).await {
                Ok(Said::DiscardImport(_)) => Answer::Accepted { lab_reference: None }.into(),
                Ok(_) => unfit(),
                Err(reply) => reply,
            }
        })
    }

    fn describe(&self) -> Pending<'_, Reply> {
        Box::pin(async move {
            match self.described().await {
                Ok(Some(who)) => grpc::described(&who).into(),
                // One that was there before the question was.
                Ok(None) => {
                    let count = self.hub.connections(&self.lab);
                    Answer::Accepted { lab_reference: Some(format!("connections: {count}")) }.into()
                }
                Err(reply) => reply,
            }
        })
    }

    fn has_first_phase(&self) -> Pending<'_, bool> {
        Box::pin(async move { matches!(self.described().await, Ok(Some(who)) if who.two_phase) })
    }

    fn window(&self) -> Option<u32> {
        Some(self.hub.window(&self.lab))
    }
}
