//! What went wrong, as RFC 9457 problem documents with a closed list of codes.
//!
//! Every refusal of the HTTP surface is a [`Problem`]. Its code is stable, its text may be improved;
//! it never carries an internal detail. The mapping from the store's errors, from faults and from
//! JSON errors is here, once.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::Fault;
use crate::store;

macro_rules! codes {
    ($($name:ident $word:literal $status:ident $title:literal $advice:literal;)*) => {
        /// The closed list of what can go wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable word.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The status that it is sent with.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// What it means, in a few words.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What the caller can do.
            #[must_use]
            pub fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }
    };
}

codes! {
    Malformed "malformed" BAD_REQUEST "The request cannot be read" "Correct the syntax; the detail says where.";
    Invalid "invalid" UNPROCESSABLE_ENTITY "The request has faults" "Correct the fields that `errors` names.";
    Unauthenticated "unauthenticated" UNAUTHORIZED "There is no valid key" "Send `Authorization: Bearer sp_…` with a key that is neither expired nor revoked.";
    Forbidden "forbidden" FORBIDDEN "The key may not do this" "Use a key of a scope that the detail names.";
    NotFound "not_found" NOT_FOUND "There is no such object" "Check the id; objects of others look the same as none.";
    NoSuchRoute "no_such_route" NOT_FOUND "There is no such route" "See /openapi.json for all of them.";
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "The route does not take this method" "The `Allow` header lists those that it takes.";
    NoRoute "no_route" UNPROCESSABLE_ENTITY "No lab can take the order" "`considered` says why each was passed over; name a `lab`, submit what other labs make as orders of their own, or let ops change the routes.";
    TooSlow "too_slow" REQUEST_TIMEOUT "The body did not come in time" "Send it again, in one go.";
    DeadlinePassed "deadline_passed" REQUEST_TIMEOUT "The time that the caller gave is over" "What was asked may be done or not: repeat the same request to learn which; it is done once.";
    TooLarge "too_large" PAYLOAD_TOO_LARGE "The body is too large" "Send less at once; many orders go to /v1/orders/bulk.";
    MediaType "media_type" UNSUPPORTED_MEDIA_TYPE "The body is not of a type that is taken" "Send `Content-Type: application/json`, or `application/x-ndjson` to /v1/orders/bulk.";
    ReferenceTaken "reference_taken" CONFLICT "The reference names an order with other content" "`order` is the order that has the reference; give a new order a new reference.";
    NotAllowed "not_allowed" CONFLICT "The order's state does not allow this" "`state` is the state now; see its verdict for what can still be done.";
    HeldByOthers "held_by_others" CONFLICT "Others hold the order" "`held_by` says who or what; only they can release it, or ops by naming the hold.";
    AddressChangeOpen "address_change_open" CONFLICT "Another change of its address is open" "Wait until the order's `address_change` is taken or refused, at the latest shortly after `answer_due_at`; then ask for the next.";
    VersionMismatch "version_mismatch" PRECONDITION_FAILED "It has another version" "Read it again, and repeat with its `ETag` in `If-Match`.";
    IdempotencyKeyInvalid "idempotency_key_invalid" BAD_REQUEST "The Idempotency-Key cannot be used" "Send 1 to 255 printable ASCII characters, quoted or bare; a UUID is best.";
    IdempotencyKeyReused "idempotency_key_reused" UNPROCESSABLE_ENTITY "The Idempotency-Key was used for another request" "Use a new key for a new request.";
    IdempotencyKeyInUse "idempotency_key_in_use" CONFLICT "The first request with this Idempotency-Key is still running" "Repeat the same request in a second.";
    RateLimited "rate_limited" TOO_MANY_REQUESTS "Too many requests" "Wait for as many seconds as `Retry-After` says.";
    CustomerStopsOff "customer_stops_off" FORBIDDEN "Customers may not stop orders of this platform" "Ask as `merchant` or `support`, or let ops change the platform's `customer_stops`.";
    NoPublicUrl "no_public_url" CONFLICT "The gateway does not know the address that customers reach" "Let whoever runs the gateway set `serve.public_url`.";
    TooManyWebhooks "too_many_webhooks" CONFLICT "The platform has as many endpoints as it may have" "Delete one that is not needed, or change one.";
    SecondFactorInForce "second_factor_in_force" CONFLICT "The key has a second factor" "Remove it first, with another key of scope ops or `stoppress keys second-factor --remove --database`.";
    LabInUse "lab_in_use" CONFLICT "Orders wait for the lab" "`orders` says how many; stop them or let them be handed over first.";
    BatchNotOpen "batch_not_open" CONFLICT "The batch is not open any more" "`phase` is its phase now.";
    EarlierThanPromised "earlier_than_promised" CONFLICT "That would be earlier than promised" "Name an instant after `closes_at`, or release the batch by name.";
    NotHandedOver "not_handed_over" CONFLICT "The lab was never given this order" "The report was kept as evidence; do not make the order.";
    AlreadyDecided "already_decided" CONFLICT "It was decided before" "Read it to see how; what was sent now is kept as evidence where there is a stop.";
    DecisionDoesNotFit "decision_does_not_fit" CONFLICT "The decision does not fit the escalation" "See /openapi.json for the decisions that fit its `kind`.";
    Unavailable "unavailable" SERVICE_UNAVAILABLE "The gateway cannot answer now" "Nothing was changed, or it can be repeated without harm: repeat the same request.";
    Internal "internal" INTERNAL_SERVER_ERROR "The gateway made a mistake" "Repeat the same request later; tell whoever runs the gateway if it stays.";
}

/// A problem document as it is sent.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Document {
    /// `/problems#` and the code.
    #[serde(rename = "type")]
    #[schema(example = "/problems#invalid")]
    pub kind: String,
    /// What it means, in a few words.
    pub title: &'static str,
    /// The status, once more.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// The stable word to act on.
    pub code: Code,
    /// What went wrong here.
    pub detail: String,
    /// What the caller can do.
    pub advice: &'static str,
    /// Every fault that was found, by field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<Fault>,
    /// More, such as `order`, `state`, `version`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub more: Map<String, Value>,
}

/// A refusal on its way out.
#[derive(Debug, Clone)]
pub struct Problem(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    detail: String,
    errors: Vec<Fault>,
    more: Map<String, Value>,
    headers: HeaderMap,
    /// Whether whoever gets it is to wait for it.
    held_back: bool,
}

/// What a handler gives.
pub type Answer<T> = Result<T, Problem>;

impl Problem {
    /// A problem with its own words.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self(Box::new(Inner {
            code,
            detail,
            errors: Vec::new(),
            more: Map::new(),
            headers: HeaderMap::new(),
            held_back: false,
        }))
    }

    /// One fault or more in the input.
    #[must_use]
    pub fn faults(errors: Vec<Fault>) -> Self {
        let mut text: Vec<String> = errors.iter().take(3).map(ToString::to_string).collect();
        if errors.len() > 3 {
            text.push(format!("and {} more", errors.len() - 3));
        }
        let mut problem = Self::new(Code::Invalid, text.join("; "));
        problem.0.errors = errors;
        problem
    }

    /// The object is not there, or not the caller's: one text for both.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "There is no such object within the scope of the key.")
    }

    /// An answer that is not of the kind that was asked for: our own mistake.
    #[must_use]
    pub fn unexpected(what: &str) -> Self {
        tracing::error!(what, "an outcome of another kind than its write's");
        Self::new(Code::Internal, "An unexpected outcome.")
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).unwrap_or_default();
        self.0.more.insert(member.to_owned(), value);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers.insert(name, value);
        }
        self
    }

    /// Says after how many seconds to come again.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, &seconds.to_string())
    }

    /// The same, with its faults seen from the object that contains the field.
    #[must_use]
    pub fn under(self, parent: &str) -> Self {
        self.under_unless(parent, "")
    }

    /// The same, but for the faults of one field, which stands beside that object.
    #[must_use]
    pub fn under_unless(mut self, parent: &str, beside: &str) -> Self {
        if self.0.errors.is_empty() {
            return self;
        }
        let place = |fault: Fault| {
            let stays = !beside.is_empty() && fault.field == beside;
            if stays { fault } else { fault.under(parent) }
        };
        let faults = std::mem::take(&mut self.0.errors).into_iter().map(place).collect();
        let placed = *Self::faults(faults).0;
        Self(Box::new(Inner { detail: placed.detail, errors: placed.errors, ..*self.0 }))
    }

    /// Says that whoever gets it is to wait for it.
    #[must_use]
    pub(super) fn held_back(mut self) -> Self {
        self.0.held_back = true;
        self
    }

    /// Whether whoever gets it is to wait for it.
    pub(super) fn is_held_back(&self) -> bool {
        self.0.held_back
    }

    /// After how many seconds to come again, if it says so.
    #[must_use]
    pub fn wait(&self) -> Option<u64> {
        self.0.headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()
    }

    /// The headers that it is sent with.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The document, as bulk answers carry it a line.
    #[must_use]
    pub fn document(self) -> Document {
        let Inner { code, detail, errors, more, .. } = *self.0;
        Document {
            kind: format!("/problems#{}", code.word()),
            title: code.title(),
            status: code.status().as_u16(),
            code,
            detail,
            advice: code.advice(),
            errors,
            more,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response<Body> {
        let headers = std::mem::take(&mut self.0.headers);
        let status = self.0.code.status();
        let body = serde_json::to_vec(&self.document()).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::faults(vec![fault])
    }
}

impl From<Vec<Fault>> for Problem {
    fn from(faults: Vec<Fault>) -> Self {
        Self::faults(faults)
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Unavailable(cause) => {
                tracing::warn!(cause, "the store is unavailable");
                Self::new(Code::Unavailable, "The store did not answer.").retry_after(1)
            }
            store::Error::Open(cause) => {
                tracing::error!(cause, "the store is not open");
                Self::new(Code::Unavailable, "The store did not answer.").retry_after(5)
            }
            corrupt @ store::Error::Corrupt { .. } => {
                tracing::error!(error = %corrupt, "corrupt row");
                Self::new(Code::Internal, "A stored row cannot be read.")
            }
        }
    }
}

/// The page that the `type` of every problem points to.
#[must_use]
pub fn page() -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Problems</title><h1>Problems</h1><dl>",
    );
    for code in Code::ALL {
        let (word, status) = (code.word(), code.status().as_u16());
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "<dt id=\"{word}\"><code>{word}</code> ({status})</dt><dd>{}. {}</dd>",
            code.title(),
            code.advice()
        );
    }
    text.push_str("</dl></html>");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_documents_and_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.word());
            assert!(seen.insert(code.word()), "{} twice", code.word());
            assert!(code.advice().ends_with('.'), "{}", code.word());
        }
    }

    #[test]
    fn a_problem_says_everything_once() {
        let problem = Problem::faults(vec![Fault::missing("lab", "a lab")]).with("order", "ord_1");
        let value = serde_json::to_value(problem.document()).unwrap();
        assert_eq!(value["type"], "/problems#invalid");
        assert_eq!(value["status"], 422);
        assert_eq!(value["errors"][0]["field"], "lab");
        assert_eq!(value["order"], "ord_1");
    }
}
