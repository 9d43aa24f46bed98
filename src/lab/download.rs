//! The question to a platform whether it deactivates the link of a download: a signed call, like a webhook, to an
//! address of its own, of which the answer counts.

use std::sync::Arc;
use std::time::Duration;

use super::http::retry_after;
use super::outbound::Outbound;
use super::webhook::{Post, send};
use super::{Pending, words};
use crate::clock::Clock;
use crate::domain::downloads::DownloadReply;
use hyper::header::RETRY_AFTER;

/// How long one call may take, all in all.
pub const CALL_WITHIN: Duration = Duration::from_secs(10);
/// How much of an answer is read.
const ANSWER_READ: usize = 4 * 1024;

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The answer.
    pub reply: DownloadReply,
    /// How long the platform asked not to be asked again.
    pub retry_after: Option<Duration>,
}

/// Asks platforms. Each call is one attempt and ends by itself.
pub trait Revoker: Send + Sync + std::fmt::Debug {
    /// Asks once.
    fn revoke<'a>(&'a self, post: &'a Post) -> Pending<'a, Revoked>;
}

/// One that can be shared.
pub type SharedRevoker = Arc<dyn Revoker>;

/// Asks through the one client.
#[derive(Debug)]
pub struct Callbacks {
    outbound: Outbound,
    clock: Arc<dyn Clock>,
}

impl Callbacks {
    /// Through this client, signed with this clock's time.
    #[must_use]
    pub fn new(outbound: Outbound, clock: Arc<dyn Clock>) -> Self {
        Self { outbound, clock }
    }

    async fn ask(&self, post: &Post) -> Revoked {
        let unclear = |cause: &str| DownloadReply::Unclear { cause: words(cause, 300) };
        let response = match send(&self.outbound, self.clock.now(), post, CALL_WITHIN, ANSWER_READ).await {
            Ok(response) => response,
            Err(cause) => return Revoked { reply: unclear(&cause), retry_after: None },
        };
        if !(200..300).contains(&response.status) {
            let asked = response.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            return Revoked {
                // Whatever the status is: it is not one of the two words.
                reply: unclear(&format!("HTTP {}", response.status)),
                retry_after: asked.and_then(|text| retry_after(text, self.clock.now())),
            };
        }
        let reply = match response.cut {
            Some(cut) => unclear(&cut),
            None => DownloadReply::read(&response.body),
        };
        Revoked { reply, retry_after: None }
    }
}

impl Revoker for Callbacks {
    fn revoke<'a>(&'a self, post: &'a Post) -> Pending<'a, Revoked> {
        Box::pin(self.ask(post))
    }
}
