//! Another shipping address for an order that a lab has: what every driver says and hears of it.
//!
//! Over HTTP it is `POST {base}/orders/{id}/address` with the change's id as `Idempotency-Key` and the JSON of
//! [`Body`]; the answer is a 2xx with `{"answer": "taken" | "too_late" | "answer_later" | "not_found"}`, and perhaps a
//! `reason` and, with `too_late`, a `stage`. Over gRPC and a link it is `LabAddressService.ChangeAddress`. Only labs
//! with `address_changes` in their profile are asked.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::outbound::Response;
use super::{http, some_words};
use crate::domain::ids::{AddressChangeId, OrderId};
use crate::domain::lab::Answer;
use crate::domain::order::{Address, Stage};
use crate::proto;
use crate::proto::change_address_response::Answer as Said;
use crate::proto::get_order_response::Stage as LabStage;

/// A change on its way to a lab. Repeats carry the same address under the same id.
#[derive(Clone)]
pub struct AddressCall {
    /// The change; also the idempotency key.
    pub change: AddressChangeId,
    /// The order.
    pub order: OrderId,
    /// Where the parcel is to go.
    pub ship_to: Address,
    /// Why; may be empty.
    pub reason: String,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When the answer is due. After this instant the lab must not take the change any more.
    pub answer_by: Timestamp,
}

impl std::fmt::Debug for AddressCall {
    /// Without the address.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AddressCall")
            .field("change", &self.change)
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

/// What is sent over HTTP.
#[derive(Serialize)]
pub struct Body<'a> {
    change: &'a str,
    order: &'a str,
    ship_to: &'a Address,
    reason: &'a str,
    asked_at: Timestamp,
    answer_by: Timestamp,
}

impl<'a> From<&'a AddressCall> for Body<'a> {
    fn from(call: &'a AddressCall) -> Self {
        Self {
            change: call.change.as_str(),
            order: call.order.as_str(),
            ship_to: &call.ship_to,
            reason: &call.reason,
            asked_at: call.asked_at,
            answer_by: call.answer_by,
        }
    }
}

/// What an HTTP answer means: [`Answer::Accepted`] is "taken", [`Answer::WillPrint`] "too late". A 2xx that says neither
/// is delivery only, and the lab is asked again.
#[must_use]
pub fn classify(response: &Response) -> Answer {
    #[derive(Deserialize)]
    struct Heard {
        answer: String,
        #[serde(default)]
        reason: Option<String>,
        #[serde(default)]
        stage: Option<serde_json::Value>,
    }
    match response.status {
        200..=299 => {
            let Some(heard) = response.json::<Heard>() else { return Answer::AnswerLater };
            match heard.answer.as_str() {
                "taken" => Answer::Accepted { lab_reference: None },
                "too_late" => Answer::WillPrint {
                    reason: heard.reason.and_then(|text| some_words(&text, 300)),
                    stage: heard
                        .stage
                        .and_then(|stage| serde_json::from_value(stage).ok())
                        .unwrap_or_default(),
                },
                "not_found" => Answer::NotFound,
                _ => Answer::AnswerLater,
            }
        }
        404 => Answer::NotFound,
        status if http::definite(status) => Answer::Refused { reason: http::said(response) },
        _ => Answer::Unclear { cause: http::said(response) },
    }
}

/// An address as labs get it over gRPC.
pub(super) fn address(to: Address) -> proto::Address {
    proto::Address {
        name: to.name,
        line1: to.line1,
        line2: to.line2.unwrap_or_default(),
        postal_code: to.postal_code.unwrap_or_default(),
        city: to.city,
        state: to.state.unwrap_or_default(),
        country: to.country,
        email: to.email.unwrap_or_default(),
        phone: to.phone.unwrap_or_default(),
    }
}

/// The message of a change.
pub(super) fn message(call: &AddressCall) -> proto::ChangeAddressRequest {
    let timestamp = |at: Timestamp| {
        Some(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() })
    };
    proto::ChangeAddressRequest {
        order: call.order.to_string(),
        change: call.change.to_string(),
        ship_to: Some(address(call.ship_to.clone())),
        reason: call.reason.clone(),
        asked_at: timestamp(call.asked_at),
        answer_by: timestamp(call.answer_by),
    }
}

/// What a lab says to it.
#[must_use]
pub fn changed(said: &proto::ChangeAddressResponse) -> Answer {
    match Said::try_from(said.answer) {
        Ok(Said::Taken) => Answer::Accepted { lab_reference: None },
        Ok(Said::TooLate) => {
            let stage = match LabStage::try_from(said.stage) {
                Ok(LabStage::InProduction) => Stage::InProduction,
                Ok(LabStage::Printed) => Stage::Printed,
                Ok(LabStage::Shipped) => Stage::Shipped,
                Ok(LabStage::Unspecified | LabStage::Received | LabStage::Removed) | Err(_) => {
                    Stage::Received
                }
            };
            Answer::WillPrint { reason: some_words(&said.reason, 300), stage }
        }
        Ok(Said::NotFound) => Answer::NotFound,
        // Delivered; an answer that is not known is no answer.
        Ok(Said::Later | Said::Unspecified) | Err(_) => Answer::AnswerLater,
    }
}
