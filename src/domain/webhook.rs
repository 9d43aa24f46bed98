//! Webhooks: who is told what, when it is told again, and when an endpoint is switched off. By the Standard
//! Webhooks specification.

mod message;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use url::{Host, Url};
use utoipa::ToSchema;

pub use self::message::{KINDS, Message, MessageData, MessageId, MessageStop, MessageWarning, PING};
use super::batch::later;
use super::event::fits;
use super::{Fault, nearest};
use crate::clock::Random;

/// The most patterns of one endpoint.
pub const EVENTS_MAX: usize = 50;
/// The most endpoints of one platform.
pub const ENDPOINTS_MAX: i64 = 50;
/// How long an old secret signs beside the new one unless told, and at most.
pub const KEEP_OLD: SignedDuration = SignedDuration::from_hours(24);
/// See [`KEEP_OLD`].
pub const KEEP_OLD_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long an endpoint may be tried without success before it is switched off.
pub const FAILING_MAX: SignedDuration = SignedDuration::from_hours(5 * 24);
/// How long one call may take, all in all.
pub const CALL_WITHIN: Duration = Duration::from_secs(15);
/// How much of an answer is read, and how much of it is kept.
pub const ANSWER_READ: usize = 64 * 1024;
/// See [`ANSWER_READ`].
pub const ANSWER_KEPT: usize = 1024;
/// What a secret looks like.
pub const SECRET: &str = "`whsec_` and the base64 of 24 to 64 random bytes";

/// An endpoint as its platform wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSpec {
    /// Where messages are sent.
    pub url: String,
    /// Which events: kinds such as `stop.stopped`, families such as `stop.*`, or `*`. All unless told.
    #[serde(default = "everything")]
    #[schema(min_items = 1, max_items = 50)]
    pub events: Vec<String>,
    /// What it is for, at most 200 characters.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub description: String,
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

impl WebhookSpec {
    /// Everything that is wrong with it, but for where its URL leads: that is for the guard over outgoing calls.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        const EVENTS: &str = "1 to 50 of `*`, a family such as `stop.*`, or a kind such as `stop.stopped`";
        let mut faults = Vec::new();
        if let Err(fault) = url(&self.url) {
            faults.push(fault);
        }
        if self.events.is_empty() || self.events.len() > EVENTS_MAX {
            faults.push(Fault::not("events", self.events.len(), EVENTS));
        }
        for (nth, pattern) in self.events.iter().take(EVENTS_MAX).enumerate() {
            if !is_pattern(pattern) {
                let field = format!("events[{nth}]");
                let hint = nearest(pattern, KINDS.iter().copied());
                let hint = hint.map_or(String::new(), |hint| format!("; did you mean {hint:?}?"));
                faults.push(Fault::new(field, format!("{pattern:?} is not {EVENTS}{hint}")));
            }
        }
        let plain = !self.description.chars().any(char::is_control);
        if !plain || self.description.chars().count() > 200 {
            faults.push(Fault::new(
                "description",
                "must have at most 200 characters and no control characters",
            ));
        }
        faults
    }

    /// Whether it is told about events of this kind.
    #[must_use]
    pub fn takes(&self, kind: &str) -> bool {
        self.events.iter().any(|pattern| fits(pattern, kind))
    }
}

/// Checks what can be seen of a URL without looking anything up.
fn url(text: &str) -> Result<(), Fault> {
    const ALLOWED: &str = "an https URL of at most 2,000 characters without a fragment";
    let wrong = || Err(Fault::not("url", text, ALLOWED));
    let Ok(url) = text.parse::<Url>() else { return wrong() };
    let schemes = matches!(url.scheme(), "https" | "http");
    if !schemes
        || text.chars().count() > 2_000
        || url.fragment().is_some()
        || text.chars().any(char::is_control)
    {
        return wrong();
    }
    // Plain http is for networks that ops list: only an address can be seen to be in one.
    match url.host() {
        None => wrong(),
        Some(Host::Domain(name)) if url.scheme() == "http" && name != "localhost" => wrong(),
        Some(_) => Ok(()),
    }
}

fn is_pattern(text: &str) -> bool {
    let family = text.strip_suffix(".*");
    text == "*"
        || KINDS.contains(&text)
        || family.is_some_and(|family| KINDS.iter().any(|kind| kind.split('.').next() == Some(family)))
}

/// The bytes of a secret that the gateway makes.
const SECRET_BYTES: usize = 32;

/// A new secret, as it is shown.
#[must_use]
pub fn new_secret(random: &dyn Random) -> SecretString {
    let mut bytes = [0; SECRET_BYTES];
    random.fill(&mut bytes);
    SecretString::from(format!("whsec_{}", STANDARD.encode(bytes)))
}

/// Checks a secret that a platform brings. It is not repeated.
///
/// # Errors
/// If it is not [`SECRET`].
pub fn check_secret(secret: &SecretString) -> Result<(), Fault> {
    let text = secret.expose_secret();
    let bytes = text.strip_prefix("whsec_").and_then(|rest| STANDARD.decode(rest).ok());
    if bytes.is_some_and(|bytes| (24..=64).contains(&bytes.len())) {
        Ok(())
    } else {
        Err(Fault::new("secret", format!("is not {SECRET}")))
    }
}

/// The secrets that sign: the one in force, and the one before while it still holds.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// The one in force.
    pub now: SecretString,
    /// The one before, and until when it signs as well.
    pub before: Option<(SecretString, Timestamp)>,
}

impl Secrets {
    /// Those that sign at an instant, the newest first.
    pub fn at(&self, now: Timestamp) -> impl Iterator<Item = &SecretString> {
        let before = self.before.as_ref().filter(|(_, until)| now < *until).map(|(secret, _)| secret);
        std::iter::once(&self.now).chain(before)
    }
}

/// What came back of one attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Posted {
    /// The status; 0 where there was no answer.
    pub status: u16,
    /// What was wrong, in words; none where it was taken.
    pub cause: Option<String>,
    /// The beginning of the answer's body, cut and without secrets.
    pub answer: String,
    /// How long the receiver asked to be left alone.
    pub retry_after: Option<Duration>,
}

/// What an attempt means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// It was taken.
    Delivered,
    /// The endpoint wants nothing any more.
    Gone,
    /// It was not taken, and the receiver wants to be left alone for a while.
    Slow,
    /// It was not taken.
    Failed,
}

impl Posted {
    /// What it means: only 2xx is success, a redirect is none.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        match self.status {
            200..=299 => Meaning::Delivered,
            410 => Meaning::Gone,
            429 | 502 | 503 | 504 => Meaning::Slow,
            _ if self.retry_after.is_some() => Meaning::Slow,
            _ => Meaning::Failed,
        }
    }
}

/// After attempt number n, how long until the next: the schedule of the specification.
pub const SCHEDULE: [SignedDuration; 9] = [
    SignedDuration::from_secs(5),
    SignedDuration::from_mins(5),
    SignedDuration::from_mins(30),
    SignedDuration::from_hours(2),
    SignedDuration::from_hours(5),
    SignedDuration::from_hours(10),
    SignedDuration::from_hours(14),
    SignedDuration::from_hours(20),
    SignedDuration::from_hours(24),
];
/// How much longer than the schedule a wait may be, in hundredths of it: so that what failed together does not
/// come back together.
const JITTER: u64 = 10;
/// The longest wait that a receiver can ask for.
const ASKED_MAX: Duration = Duration::from_hours(24);

/// How long to wait after attempt number `attempts` failed; `None` if it was the last.
#[must_use]
pub fn again(attempts: i64, asked: Option<Duration>, random: &dyn Random) -> Option<SignedDuration> {
    let nth = usize::try_from(attempts.max(1) - 1).ok()?;
    let wait = Duration::try_from(*SCHEDULE.get(nth)?).ok()?;
    let wait = jittered(wait, random).max(asked.unwrap_or_default().min(ASKED_MAX));
    Some(SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX))
}

fn jittered(wait: Duration, random: &dyn Random) -> Duration {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    let most = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX) / 100 * JITTER;
    wait + Duration::from_micros(u64::from_le_bytes(bytes) % (most + 1))
}

/// Failures in a row after which an endpoint is left alone for a while.
pub const FAILURES_MAX: i64 = 5;
/// How long at first; doubled at each further failure.
pub const REST_MIN: Duration = Duration::from_secs(30);
/// How long at most.
pub const REST_MAX: Duration = Duration::from_mins(15);
/// How long where the receiver said that it is too busy, and not for how long.
const REST_BUSY: Duration = Duration::from_secs(5);

/// An endpoint that fails and for which anything waits is tried at least so often: the longest wait of the
/// [`SCHEDULE`] with its jitter, and the longest rest. It was not tried at all between failures that are further apart:
/// nothing was to be told, or the gateway was not there.
pub const TRIED_EVERY: SignedDuration = SignedDuration::from_secs(
    SCHEDULE[SCHEDULE.len() - 1].as_secs() * (100 + JITTER as i64) / 100 + REST_MAX.as_secs() as i64,
);

/// Why an endpoint is switched off by the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Off {
    /// It answered 410.
    Gone,
    /// It was tried for [`FAILING_MAX`], never longer apart than [`TRIED_EVERY`], and took nothing.
    Failing,
}

impl Off {
    /// The words for it.
    #[must_use]
    pub fn cause(self) -> &'static str {
        match self {
            Self::Gone => "the endpoint answered 410 (gone)",
            Self::Failing => "nothing was taken for five days",
        }
    }
}

/// How an endpoint has done lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Condition {
    /// Failures in a row.
    pub failures: i64,
    /// Since when it was tried again and again, and nothing was taken.
    pub failing_since: Option<Timestamp>,
    /// When an attempt failed last.
    pub failed_at: Option<Timestamp>,
    /// Until when it is left alone.
    pub rest_until: Option<Timestamp>,
}

impl Condition {
    /// Whether it is left alone at an instant.
    #[must_use]
    pub fn rests(&self, now: Timestamp) -> bool {
        self.rest_until.is_some_and(|until| now < until)
    }

    /// Whether one message at a time tries whether it is back.
    #[must_use]
    pub fn probes(&self) -> bool {
        self.failures >= FAILURES_MAX
    }

    /// Takes the end of an attempt into account; says whether it is to be switched off.
    pub fn after(&mut self, posted: &Posted, now: Timestamp, random: &dyn Random) -> Option<Off> {
        let meaning = posted.meaning();
        if meaning == Meaning::Delivered {
            *self = Self::default();
            return None;
        }
        // After a time in which nobody tried, nothing is known of that time.
        let tried = self.failed_at.is_some_and(|last| now.duration_since(last) <= TRIED_EVERY);
        let since = self.failing_since.filter(|_| tried).unwrap_or(now);
        (self.failing_since, self.failed_at) = (Some(since), Some(now));
        self.failures = self.failures.saturating_add(1);
        if meaning == Meaning::Gone {
            return Some(Off::Gone);
        }
        let asked = posted.retry_after.map(|asked| asked.min(ASKED_MAX));
        let busy = (meaning == Meaning::Slow).then(|| asked.unwrap_or(REST_BUSY));
        let broken = self.probes().then(|| {
            let doublings = u32::try_from(self.failures - FAILURES_MAX).unwrap_or(u32::MAX).min(16);
            jittered(REST_MIN.saturating_mul(1 << doublings).min(REST_MAX), random)
        });
        if let Some(rest) = busy.max(broken) {
            let until = later(now, SignedDuration::try_from(rest).unwrap_or(SignedDuration::MAX));
            self.rest_until = Some(self.rest_until.map_or(until, |known| known.max(until)));
        }
        (now.duration_since(since) >= FAILING_MAX).then_some(Off::Failing)
    }
}

/// A text of a receiver, for its owner: cut, on one line where it has control characters, without what looks like
/// a credential.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(ANSWER_KEPT)];
    let text = String::from_utf8_lossy(cut);
    let plain: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    let mut out = String::with_capacity(plain.len());
    for (nth, word) in plain.split(' ').enumerate() {
        if nth > 0 {
            out.push(' ');
        }
        match CREDENTIALS.iter().filter_map(|mark| word.find(mark).map(|at| at + mark.len())).min() {
            Some(end) => {
                out.push_str(&word[..end]);
                out.push('…');
            }
            None => out.push_str(word),
        }
    }
    let after_bearer = out.to_ascii_lowercase().find("bearer ").map(|at| at + "bearer ".len());
    if let Some(at) = after_bearer {
        out.truncate(at);
        out.push('…');
    }
    // The replacement of half a character at the cut may be longer than what it replaces.
    while out.len() > ANSWER_KEPT + '…'.len_utf8() {
        out.pop();
    }
    out
}

/// What secrets begin with.
const CREDENTIALS: [&str; 4] = ["whsec_", "sp_", "v1,", "eyJ"];
