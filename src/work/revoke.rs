//! Asks platforms to deactivate the links of downloads, and gives those without an answer to a person by their
//! deadline.
//!
//! The intent is durable before a call, under a lease: whoever dies in the middle, another gateway or the next start
//! asks again, under the same id. An answer counts whenever it comes. A platform that is silent keeps only its own
//! questions waiting.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};

use super::{Bench, Step};
use crate::domain::batch::later;
use crate::domain::downloads::{DownloadReply, Question};
use crate::domain::ids::PlatformId;
use crate::domain::retry;
use crate::lab::download::{Revoked, SharedRevoker};
use crate::lab::sign::Signer;
use crate::lab::webhook::Post;
use crate::store::{ClaimDownloads, DownloadAsk, DownloadDue, Result, SettleDownload, Write, Written, one};

/// The loop's name.
pub const NAME: &str = "revoke";
/// How long a download that was taken is ours: longer than a call can take.
const LEASE: SignedDuration = SignedDuration::from_secs(45);
/// How many are taken at once.
const SET: usize = 16;
/// From so many questions on that are open at once, a platform is asked no more.
const PLATFORM_MAX: usize = 16;
/// When it is looked again for what could not be taken now.
const AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// The loop that asks platforms.
#[derive(Debug, Clone)]
pub struct Revoke {
    bench: Bench,
    revoker: SharedRevoker,
    /// Questions that are open, by platform.
    open: Arc<Mutex<BTreeMap<PlatformId, usize>>>,
}

impl Revoke {
    /// The loop.
    #[must_use]
    pub fn new(bench: Bench, revoker: SharedRevoker) -> Self {
        Self { bench, revoker, open: Arc::default() }
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<PlatformId, usize>) -> T) -> T {
        work(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn start(&self, ask: DownloadAsk) {
        let platform = ask.facts.platform.clone();
        self.with(|open| *open.entry(platform.clone()).or_default() += 1);
        let (own, guard) = (self.clone(), self.bench.bells.call());
        tokio::spawn(async move {
            // In a task of its own, so that a mistake of ours leaves no place taken.
            let asking = own.clone();
            let done = tokio::spawn(async move { asking.ask(&ask).await }).await;
            if let Err(error) = done {
                tracing::error!(%platform, %error, "asking about a download ended by a mistake of ours");
                metrics::counter!("stoppress_loop_failures_total", "loop" => NAME).increment(1);
            }
            own.with(|open| {
                let left = open.get(&platform).map_or(0, |count| count.saturating_sub(1));
                if left == 0 {
                    open.remove(&platform);
                } else {
                    open.insert(platform, left);
                }
            });
            own.bench.bells.nudge(NAME);
            drop(guard);
        });
    }

    async fn ask(&self, ask: &DownloadAsk) {
        let (bench, facts) = (&self.bench, &ask.facts);
        let Revoked { reply, retry_after } = match post(ask, bench.clock.now()) {
            Ok(post) => self.revoker.revoke(&post).await,
            Err(cause) => Revoked { reply: DownloadReply::Unclear { cause }, retry_after: None },
        };
        let word = match &reply {
            DownloadReply::Said(word) => format!("{word:?}").to_lowercase(),
            DownloadReply::Unclear { .. } => "unclear".to_owned(),
        };
        tracing::info!(order = %facts.order, download = %facts.id, attempt = facts.attempts, answer = word, "a platform was asked to deactivate a download");
        metrics::counter!("stoppress_download_answers_total", "answer" => word).increment(1);
        let now = bench.clock.now();
        let settle = SettleDownload {
            download: facts.id.clone(),
            attempt: facts.attempts,
            reply,
            at: now,
            next_at: later(now, retry::delay(facts.attempts, retry_after, &*bench.random)),
        };
        if let Err(error) = one(&*bench.store, Write::SettleDownload(Box::new(settle))).await {
            tracing::error!(download = %facts.id, %error, "what a platform said of a download could not be written; it is asked again");
        }
    }
}

/// The signed question.
fn post(ask: &DownloadAsk, now: Timestamp) -> std::result::Result<Post, String> {
    let (facts, callback) = (&ask.facts, &ask.callback);
    let secrets: Vec<&str> = callback.secrets.at(now).map(ExposeSecret::expose_secret).collect();
    let signer = Signer::new(&SecretString::from(secrets.join(" "))).map_err(|fault| fault.to_string())?;
    let url = callback.url.parse().map_err(|_| "the URL cannot be read".to_owned())?;
    let question = Question::of(facts, &ask.reference, now);
    let body = serde_json::to_string(&question).map_err(|error| error.to_string())?;
    Ok(Post { url, id: facts.id.to_string(), body: body.into(), signer: Arc::new(signer) })
}

impl Step for Revoke {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn tick(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let bench = &self.bench;
        if bench.end.is_cancelled() {
            return Ok(None);
        }
        let next = bench.store.download_next().await?;
        if next.is_none_or(|next| next > now) {
            // Nearly always: no download is waited for.
            return Ok(next);
        }
        let busy = self.with(|open| {
            open.iter().filter(|(_, count)| **count >= PLATFORM_MAX).map(|(id, _)| id.clone()).collect()
        });
        let claim = ClaimDownloads { limit: SET as i64, busy, now, lease_until: later(now, LEASE) };
        let written = one(&*bench.store, Write::ClaimDownloads(claim)).await?;
        let claimed = if let Written::DownloadsClaimed(claimed) = written { claimed } else { Vec::new() };
        let whole = claimed.len() == SET;
        for due in claimed {
            match due {
                DownloadDue::Ask(ask) => self.start(*ask),
                DownloadDue::Person(facts) => {
                    tracing::warn!(order = %facts.order, download = %facts.id, attempts = facts.attempts, "a person finds out about a download");
                }
            }
        }
        // What is due and was not taken is another gateway's, or of a platform that has enough questions open.
        let again = if whole { SignedDuration::from_millis(1) } else { AGAIN };
        Ok(bench.store.download_next().await?.map(|next| if next > now { next } else { later(now, again) }))
    }
}
