//! The simulated lab over gRPC.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use subtle::ConstantTimeEq as _;
use tonic::{Request, Response, Status};

use super::House;
use super::behaviour::{Fate, LooksUp};
use super::http::BODY_MAX;
use super::imports::Held;
use super::ledger::{Asked, Job, Said, Submitted, Taken};
use crate::domain::order::Stage;
use crate::lab::http::hex;
use crate::proto;
use crate::proto::get_order_response::Stage as LabStage;
use crate::proto::lab_address_service_server::LabAddressServiceServer;
use crate::proto::lab_import_service_server::{LabImportService, LabImportServiceServer};
use crate::proto::lab_service_server::{LabService, LabServiceServer};
use crate::proto::stop_order_response::Answer;

/// The service over a house.
pub(super) fn service(house: Arc<House>) -> LabServiceServer<Front> {
    LabServiceServer::new(Front(house)).max_decoding_message_size(BODY_MAX)
}

/// The first phase over a house.
pub(super) fn imports(house: Arc<House>) -> LabImportServiceServer<Front> {
    LabImportServiceServer::new(Front(house)).max_decoding_message_size(BODY_MAX)
}

/// Changes of addresses over a house.
pub(super) fn addresses(house: Arc<House>) -> LabAddressServiceServer<Front> {
    LabAddressServiceServer::new(Front(house)).max_decoding_message_size(BODY_MAX)
}

/// The lab itself, for calls that come over its own link.
pub(super) fn front(house: Arc<House>) -> Front {
    Front(house)
}

/// The lab as gRPC shows it.
#[derive(Debug)]
pub(super) struct Front(Arc<House>);

impl From<proto::LabOrder> for Job {
    fn from(order: proto::LabOrder) -> Self {
        let printed = order.items.iter().filter(|item| !item.download);
        let copies = printed.clone().map(|item| u64::from(item.quantity)).sum();
        let lines: BTreeMap<_, _> = printed.map(|item| (item.id.clone(), u64::from(item.quantity))).collect();
        let import_reference = Some(order.import_reference).filter(|told| !told.is_empty());
        Self { order: order.id, copies, import_reference, lines }
    }
}

pub(super) fn broken(error: &std::io::Error) -> Status {
    Status::internal(format!("the ledger cannot be written: {error}"))
}

impl Front {
    pub(super) fn house(&self) -> &House {
        &self.0
    }

    pub(super) fn verify<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let checks = !self.0.behaviour().takes_any_signature;
        let Some(secret) = self.0.secret.as_ref().filter(|_| checks) else { return Ok(()) };
        let given = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        if bool::from(given.as_bytes().ct_eq(secret.expose_secret().trim().as_bytes())) {
            Ok(())
        } else {
            Err(Status::unauthenticated("the token is not this lab's"))
        }
    }
}

#[tonic::async_trait]
impl LabService for Front {
    async fn describe(
        &self,
        request: Request<proto::DescribeRequest>,
    ) -> Result<Response<proto::DescribeResponse>, Status> {
        self.verify(&request)?;
        let (name, contract) = ("Simulated lab".to_owned(), "stoppress/1".to_owned());
        let two_phase = self.0.behaviour().two_phase;
        Ok(Response::new(proto::DescribeResponse { name, contract, two_phase }))
    }

    async fn submit_orders(
        &self,
        request: Request<proto::SubmitOrdersRequest>,
    ) -> Result<Response<proto::SubmitOrdersResponse>, Status> {
        self.verify(&request)?;
        let refused = request.extensions().get::<Fate>().is_some_and(|fate| fate.refused);
        let upload = request.into_inner();
        if upload.key.is_empty() && self.0.behaviour().takes_anything {
            return Ok(Response::new(proto::SubmitOrdersResponse::default()));
        }
        if upload.key.is_empty() {
            return Err(Status::invalid_argument("key is empty"));
        }
        let instant = |at: prost_types::Timestamp| Timestamp::new(at.seconds, at.nanos);
        let not_after = upload.not_after.map(instant).transpose();
        let not_after = not_after.map_err(|_| Status::invalid_argument("not_after is not an instant"))?;
        let submitted = Submitted {
            transfer: upload.transfer,
            key: upload.key,
            sha256: hex(&upload.manifest_sha256),
            not_after,
            orders: upload.orders.into_iter().map(Job::from).collect(),
        };
        match self.0.submit(submitted, refused).await.map_err(|error| broken(&error))? {
            Taken::Accepted(lab_reference) => {
                Ok(Response::new(proto::SubmitOrdersResponse { lab_reference }))
            }
            Taken::TooLate(reason) => Err(Status::failed_precondition(reason)),
            Taken::Refused(reason) => Err(Status::invalid_argument(reason)),
        }
    }

    async fn stop_order(
        &self,
        request: Request<proto::StopOrderRequest>,
    ) -> Result<Response<proto::StopOrderResponse>, Status> {
        self.verify(&request)?;
        let ask = request.into_inner();
        let asked = Asked { order: ask.order, stop: ask.stop, items: ask.items.clone() };
        let (said, stage) = self.0.stop(asked).await.map_err(|error| broken(&error))?;
        let items = self.0.names(said, ask.items);
        let answer = match said {
            Said::Removed => Answer::Removed,
            Said::WillPrint => Answer::WillPrint,
            Said::AnswerLater => Answer::Later,
            Said::NotFound => Answer::NotFound,
            Said::NotTaken => return Err(Status::unimplemented("this lab takes no stops")),
        };
        let reason = if stage == Stage::Printed { "it was printed".to_owned() } else { String::new() };
        let stage = match answer {
            Answer::WillPrint => wire(stage),
            _ => LabStage::Unspecified,
        };
        let (answer, stage) = (answer.into(), stage.into());
        Ok(Response::new(proto::StopOrderResponse { answer, reason, stage, items }))
    }

    async fn get_order(
        &self,
        request: Request<proto::GetOrderRequest>,
    ) -> Result<Response<proto::GetOrderResponse>, Status> {
        self.verify(&request)?;
        if self.0.behaviour().looks_up == LooksUp::No {
            return Err(Status::unimplemented("this lab cannot be asked"));
        }
        let seen = self.0.look_up(request.into_inner().order).await.map_err(|error| broken(&error))?;
        let Some(seen) = seen else { return Err(Status::not_found("there is no such order")) };
        let stage = match seen.stage {
            None => LabStage::Removed,
            Some(stage) => wire(stage),
        };
        let prints = u32::try_from(seen.prints).ok();
        Ok(Response::new(proto::GetOrderResponse { stage: stage.into(), prints }))
    }
}

pub(super) fn wire(stage: Stage) -> LabStage {
    match stage {
        Stage::Received => LabStage::Received,
        Stage::InProduction => LabStage::InProduction,
        Stage::Printed => LabStage::Printed,
        Stage::Shipped => LabStage::Shipped,
    }
}

#[tonic::async_trait]
impl LabImportService for Front {
    async fn import_order(
        &self,
        request: Request<proto::ImportOrderRequest>,
    ) -> Result<Response<proto::ImportOrderResponse>, Status> {
        self.verify(&request)?;
        let job = Job::from(request.into_inner().order.unwrap_or_default());
        if job.order.is_empty() {
            return Err(Status::invalid_argument("order is missing"));
        }
        match self.0.hold(job).await.map_err(|error| broken(&error))? {
            Held::Done(lab_reference) => Ok(Response::new(proto::ImportOrderResponse { lab_reference })),
            Held::NotTaken => Err(Status::unimplemented("this lab has no first phase")),
        }
    }

    async fn discard_import(
        &self,
        request: Request<proto::DiscardImportRequest>,
    ) -> Result<Response<proto::DiscardImportResponse>, Status> {
        self.verify(&request)?;
        match self.0.discard(request.into_inner().order).await.map_err(|error| broken(&error))? {
            Held::Done(_) => Ok(Response::new(proto::DiscardImportResponse::default())),
            Held::NotTaken => Err(Status::unimplemented("this lab forgets nothing")),
        }
    }
}
