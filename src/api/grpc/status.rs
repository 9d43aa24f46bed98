//! A problem as a gRPC status: one table of codes, and the details of `google.rpc`.

use std::collections::HashMap;
use std::time::Duration;

use tonic::Status;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::api::problem::{Code, Problem};
use crate::proto;

/// Whose words the reasons are.
pub(super) const DOMAIN: &str = "stoppress";
/// What names and texts of faults may take together, in bytes: details travel in a header, of which many
/// clients take no more than 8 KiB.
const FAULTS_MAX: usize = 2_500;
/// The longest text that is sent in a header, in bytes.
const TEXT_MAX: usize = 500;

/// The code that a problem is sent with.
#[must_use]
pub(super) fn code(code: Code) -> tonic::Code {
    match code {
        Code::Malformed | Code::Invalid | Code::MediaType => tonic::Code::InvalidArgument,
        Code::IdempotencyKeyInvalid | Code::IdempotencyKeyReused => tonic::Code::InvalidArgument,
        Code::Unauthenticated => tonic::Code::Unauthenticated,
        Code::Forbidden | Code::CustomerStopsOff => tonic::Code::PermissionDenied,
        Code::NotFound => tonic::Code::NotFound,
        Code::NoSuchRoute | Code::MethodNotAllowed => tonic::Code::Unimplemented,
        Code::TooSlow | Code::DeadlinePassed => tonic::Code::DeadlineExceeded,
        Code::TooLarge | Code::RateLimited => tonic::Code::ResourceExhausted,
        Code::ReferenceTaken => tonic::Code::AlreadyExists,
        Code::VersionMismatch | Code::IdempotencyKeyInUse => tonic::Code::Aborted,
        Code::NotAllowed
        | Code::HeldByOthers
        | Code::AddressChangeOpen
        | Code::LabInUse
        | Code::BatchNotOpen
        | Code::EarlierThanPromised
        | Code::NotHandedOver
        | Code::AlreadyDecided
        | Code::NoPublicUrl
        | Code::TooManyWebhooks
        | Code::SecondFactorInForce
        | Code::NoRoute
        | Code::DecisionDoesNotFit => tonic::Code::FailedPrecondition,
        Code::Unavailable => tonic::Code::Unavailable,
        Code::Internal => tonic::Code::Internal,
    }
}

/// A problem as the status of a call.
#[must_use]
pub(super) fn status(problem: Problem) -> Status {
    let wait = problem.wait().map(Duration::from_secs);
    let document = problem.document();
    let mut metadata = HashMap::from([("advice".to_owned(), cut(document.advice, TEXT_MAX))]);
    if !document.errors.is_empty() {
        metadata.insert("faults".to_owned(), document.errors.len().to_string());
    }
    metadata.extend(document.more.iter().map(|(name, value)| (name.clone(), cut(&word(value), TEXT_MAX))));
    let mut details = ErrorDetails::with_error_info(document.code.word(), DOMAIN, metadata);
    if wait.is_some() {
        details.set_retry_info(wait);
    }
    let mut room = FAULTS_MAX;
    let mut violations = Vec::new();
    for fault in &document.errors {
        let (field, message) = (cut(&fault.field, TEXT_MAX), cut(&fault.message, TEXT_MAX));
        let Some(left) = room.checked_sub(field.len() + message.len()) else { break };
        room = left;
        violations.push(FieldViolation::new(field, message));
    }
    if !violations.is_empty() {
        details.set_bad_request(violations);
    }
    Status::with_error_details(code(document.code), cut(&document.detail, TEXT_MAX), details)
}

/// A problem as the result of one order of many.
#[must_use]
pub(super) fn problem(problem: Problem) -> proto::Problem {
    let document = problem.document();
    let fault =
        |fault: crate::domain::Fault| proto::FieldFault { field: fault.field, message: fault.message };
    proto::Problem {
        code: document.code.word().to_owned(),
        detail: document.detail,
        advice: document.advice.to_owned(),
        faults: document.errors.into_iter().map(fault).collect(),
        more: document.more.iter().map(|(name, value)| (name.clone(), word(value))).collect(),
        status: code(document.code) as i32,
    }
}

fn word(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A text, cut where it is too long.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Fault;

    #[test]
    fn every_problem_has_a_code_and_says_its_word() {
        for known in Code::ALL {
            let said = status(Problem::new(*known, "what went wrong").with("order", "ord_1"));
            assert_eq!(said.code(), code(*known), "{}", known.word());
            assert_ne!(said.code(), tonic::Code::Ok, "{}", known.word());
            assert_ne!(said.code(), tonic::Code::Unknown, "{}", known.word());
            let info = said.get_details_error_info().unwrap();
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (known.word(), DOMAIN));
            assert_eq!(info.metadata["order"], "ord_1");
            assert_eq!(info.metadata["advice"], known.advice());
            assert!(said.get_details_retry_info().is_none(), "{}", known.word());
            // Whose fault it is, both faces say alike.
            let ours = matches!(said.code(), tonic::Code::Internal | tonic::Code::Unavailable);
            assert_eq!(ours, known.status().is_server_error(), "{}", known.word());
        }
    }

    #[test]
    fn a_wait_is_told_as_retry_info() {
        let said = status(Problem::new(Code::RateLimited, "too many").retry_after(7));
        let wait = said.get_details_retry_info().unwrap().retry_delay;
        assert_eq!(wait, Some(Duration::from_secs(7)));
    }

    #[test]
    fn every_fault_is_named_as_far_as_the_header_goes() {
        let few = vec![Fault::new("order.lab", "is missing"), Fault::new("order.items[0].sku", "is missing")];
        let said = status(few.into());
        let named = said.get_details_bad_request().unwrap().field_violations;
        let fields: Vec<&str> = named.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["order.lab", "order.items[0].sku"]);
        let many: Vec<Fault> = (0..5_000)
            .map(|at| Fault::not(format!("order.items[{at}].sku"), "ä".repeat(2_000), "a product code"))
            .collect();
        let said = status(many.into());
        let headers = said.into_http::<()>().into_parts().0.headers;
        let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        assert!(size < 8 * 1024, "{size} bytes of headers");
        let said = Status::from_header_map(&headers).unwrap();
        assert!(!said.get_details_bad_request().unwrap().field_violations.is_empty());
        assert_eq!(said.get_details_error_info().unwrap().metadata["faults"], "5000");
    }
}
