//! The simulated lab's changes of addresses: it takes them until it makes the order, or does what it must not.

use std::io;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tonic::{Request, Response, Status};

use super::House;
use super::grpc::{Front, broken, wire};
use super::ledger::{Entry, What};
use crate::domain::order::Stage;
use crate::proto;
use crate::proto::change_address_response::Answer;
use crate::proto::get_order_response::Stage as LabStage;
use crate::proto::lab_address_service_server::LabAddressService;

/// What the lab says to changes of addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Addresses {
    /// It takes them until the order is in production or printed, and says the same each time.
    #[default]
    Takes,
    /// It has no such operation.
    No,
    /// It takes none.
    TooLate,
    /// It hears them, and never decides.
    Later,
    /// It takes a change, and says of its repeat that it is too late.
    Wavers,
    /// It says that it took whatever comes: of orders that it does not have, and when it must not any more.
    Anything,
}

/// What the lab says to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressSaid {
    /// The parcel goes there.
    Taken,
    /// It goes where it was to go.
    TooLate,
    /// Wait for it.
    AnswerLater,
    /// There is no such order.
    NotFound,
    /// It came after the instant at which it had to be refused.
    Expired,
    /// The lab has no such operation.
    NotTaken,
}

/// A change as the lab was asked.
#[derive(Debug, Clone)]
pub(super) struct Moved {
    pub(super) order: String,
    pub(super) change: String,
    /// Street and number of the new address.
    pub(super) to: String,
    pub(super) answer_by: Option<Timestamp>,
}

impl House {
    /// Answers a change of an address.
    pub(super) async fn readdress(&self, asked: Moved) -> io::Result<(AddressSaid, Stage)> {
        self.on_ledger(move |ledger, now, how| {
            let before = ledger.entries().iter().rev().find_map(|entry: &Entry| match &entry.what {
                What::AddressAnswered { change, answer, .. } if *change == asked.change => Some(*answer),
                _ => None,
            });
            let final_word = before.filter(|said| matches!(said, AddressSaid::Taken | AddressSaid::TooLate));
            let seen = ledger.look_up(now, &asked.order)?;
            let stage = seen.and_then(|seen| seen.stage).unwrap_or_default();
            let expired = asked.answer_by.is_some_and(|by| now > by);
            let said = match (how.addresses, final_word, seen) {
                (Addresses::No, ..) => AddressSaid::NotTaken,
                (Addresses::Anything, ..) => AddressSaid::Taken,
                (Addresses::Wavers, Some(AddressSaid::Taken), _) => AddressSaid::TooLate,
                // What the lab has said, it says, however late it is asked again.
                (_, Some(said), _) => said,
                (.., None) => AddressSaid::NotFound,
                _ if expired => AddressSaid::Expired,
                (Addresses::TooLate, ..) => AddressSaid::TooLate,
                (Addresses::Later, ..) => AddressSaid::AnswerLater,
                (.., Some(seen)) if seen.stage == Some(Stage::Received) => AddressSaid::Taken,
                _ => AddressSaid::TooLate,
            };
            let Moved { order, change, to, .. } = asked;
            ledger.line(now, What::AddressAnswered { order, change, to, answer: said })?;
            Ok((said, stage))
        })
        .await
    }
}

#[tonic::async_trait]
impl LabAddressService for Front {
    async fn change_address(
        &self,
        request: Request<proto::ChangeAddressRequest>,
    ) -> Result<Response<proto::ChangeAddressResponse>, Status> {
        self.verify(&request)?;
        let asked = request.into_inner();
        let answer_by = asked.answer_by.map(|at| Timestamp::new(at.seconds, at.nanos)).transpose();
        let answer_by = answer_by.map_err(|_| Status::invalid_argument("answer_by is not an instant"))?;
        let to = asked.ship_to.map(|to| to.line1).unwrap_or_default();
        let moved = Moved { order: asked.order, change: asked.change, to, answer_by };
        let (said, stage) = self.house().readdress(moved).await.map_err(|error| broken(&error))?;
        let answer = match said {
            AddressSaid::Taken => Answer::Taken,
            AddressSaid::TooLate => Answer::TooLate,
            AddressSaid::AnswerLater => Answer::Later,
            AddressSaid::NotFound => Answer::NotFound,
            AddressSaid::Expired => return Err(Status::failed_precondition("it came too late to be taken")),
            AddressSaid::NotTaken => return Err(Status::unimplemented("this lab takes no other address")),
        };
        let stage = if answer == Answer::TooLate { wire(stage) } else { LabStage::Unspecified };
        let (answer, stage) = (answer.into(), stage.into());
        Ok(Response::new(proto::ChangeAddressResponse { answer, reason: String::new(), stage }))
    }
}
