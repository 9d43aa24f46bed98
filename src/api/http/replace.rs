//! One order in the place of another.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::answers::{self, OrderAnswer};
use super::extract::{Json, Order, answer};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::{Answer, Document, Problem};
use crate::api::replace::{Both, replace as take};
use crate::domain::order::Submission;

/// The order that takes the place of another.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplaceRequest {
    /// The new order, with a reference of its own.
    order: Submission,
    /// Why, in a word or two, at most 200 characters; `replaced` unless told.
    #[schema(max_length = 200)]
    reason: Option<String>,
    /// More, at most 2,000 characters.
    #[schema(max_length = 2000)]
    comment: Option<String>,
}

/// Both orders.
#[derive(Serialize, ToSchema)]
pub(super) struct Replacement {
    /// The new order: see its `replaces`.
    #[schema(value_type = OrderAnswer)]
    order: Box<RawValue>,
    /// The old one: see its `stop` and `replaced_by`.
    #[schema(value_type = OrderAnswer)]
    replaced: Box<RawValue>,
}

/// Replaces an order by another.
///
/// The stop of the order is asked, and the new one is admitted in the same moment; it waits for that stop in no
/// window. In the very moment in which the old one is stopped, whoever decides that, the new one is released, and
/// joins the window of that instant; in the moment in which the old one is found to be printed, the new one is
/// stopped. So never both are printed, and never neither because of us. A stop of the new one while it waits is
/// granted at once. The request counts from when its body is there; a repeat gives the same order.
#[utoipa::path(post, path = "/v1/orders/{order}/replace", tag = "orders", request_body = ReplaceRequest,
    params(("order" = String, Path, description = "The old order: its id, or `@` and the platform's reference")),
    responses(
        (status = 201, description = "The new order is admitted.", body = Replacement),
        (status = 200, description = "It was admitted before: this is how both stand now.", body = Replacement),
        (status = 404, description = "`not_found`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`not_allowed`: the old one is printed, waits itself to replace another, or was \
            replaced by `order`; `reference_taken`: the new reference names `order`; `idempotency_key_in_use`.",
            body = Document, content_type = "application/problem+json"),
    ))]
pub(super) async fn replace(
    api: State<Api>,
    caller: Caller,
    order: Order,
    body: Json<ReplaceRequest>,
) -> Answer<Response> {
    let ReplaceRequest { order: submission, reason, comment } = body.0;
    let Both { new, old, created } = take(&api, &caller, order.0, &submission, (reason, comment)).await?;
    let raw = |text: String| RawValue::from_string(text).map_err(|e| Problem::unexpected(&e.to_string()));
    let both = Replacement {
        order: raw(answers::order(&new.0, &new.1)?)?,
        replaced: raw(answers::order(&old.0, &old.1)?)?,
    };
    Ok(answer(if created { StatusCode::CREATED } else { StatusCode::OK }, &both))
}
