//! What a gRPC status of a lab means: the table of the protocol.

use std::time::Duration;

use prost::Message as _;
use tonic::{Code, ConnectError, Status};

use super::outbound::causes;
use crate::domain::lab::Answer;

/// What a status is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// An upload.
    Submit,
    /// A stop.
    Stop,
    /// A look-up, or asking who the lab is.
    LookUp,
}

/// What a status that is not OK means.
#[must_use]
pub fn classify(status: &Status, about: About) -> Answer {
    let cause = format!("gRPC {:?}: {}", status.code(), super::words(status.message(), 300));
    if let Some(error) = std::error::Error::source(status) {
        // Made on this side. A connect error was given to this request in place of a connection,
        // so that the request went nowhere; all other failures of the transport may have come after it.
        let mut next = Some(error);
        while let Some(error) = next {
            if error.is::<ConnectError>() {
                return Answer::Unreachable { cause: causes(error) };
            }
            next = error.source();
        }
        return Answer::Unclear { cause };
    }
    match (status.code(), about) {
        (Code::NotFound, About::Stop | About::LookUp) => Answer::NotFound,
        (
            Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented,
            About::Submit | About::Stop,
        ) => Answer::Refused { reason: cause },
        _ => Answer::Unclear { cause },
    }
}

/// How long the lab asked to be left alone: `RetryInfo` in the details, or the pushback trailer.
#[must_use]
pub fn retry_after(status: &Status) -> Option<Duration> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Details {
        #[prost(message, repeated, tag = "3")]
        details: Vec<prost_types::Any>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        retry_delay: Option<prost_types::Duration>,
    }
    let info = Details::decode(status.details()).ok().and_then(|all| {
        all.details
            .into_iter()
            .find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))
            .and_then(|any| RetryInfo::decode(any.value.as_slice()).ok())
            .and_then(|info| Duration::try_from(info.retry_delay?).ok())
    });
    let pushback = || {
        let millis = status.metadata().get("grpc-retry-pushback-ms")?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_millis(millis))
    };
    info.or_else(pushback)
}
