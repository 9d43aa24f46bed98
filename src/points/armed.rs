//! What stands behind the points and the planted mistakes of a debug build.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The process ends at the n-th time that a point is reached: `name@n`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// The point.
    pub point: String,
    /// The hit, from 1.
    pub hit: u64,
}

impl FromStr for Crash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('@').and_then(|(point, hit)| {
            let hit = hit.parse().ok().filter(|hit| *hit > 0)?;
            (!point.is_empty()).then(|| Self { point: point.to_owned(), hit })
        });
        parsed.ok_or_else(|| format!("{text:?} is not a point and a hit, such as \"work.submit.before@1\""))
    }
}

#[derive(Debug)]
struct Desk {
    crash: Option<Crash>,
    hits: BTreeMap<String, u64>,
}

static WATCHED: AtomicBool = AtomicBool::new(false);
static DESK: Mutex<Desk> = Mutex::new(Desk { crash: None, hits: BTreeMap::new() });

fn desk<T>(work: impl FnOnce(&mut Desk) -> T) -> T {
    work(&mut DESK.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Counts from now on how often points are reached in this process, and ends it where that is said: at once, without
/// unwinding, as a `kill -9` would.
pub fn watch(crash: Option<Crash>) {
    desk(|desk| desk.crash = crash);
    WATCHED.store(true, Ordering::Release);
}

/// How often each point was reached since [`watch`].
#[must_use]
pub fn hits() -> BTreeMap<String, u64> {
    desk(|desk| desk.hits.clone())
}

/// A point is reached.
pub fn reached(name: &str) {
    if !WATCHED.load(Ordering::Acquire) {
        return;
    }
    let ends = desk(|desk| {
        let count = desk.hits.entry(name.to_owned()).or_default();
        *count += 1;
        desk.crash.as_ref().is_some_and(|crash| crash.point == name && crash.hit == *count)
    });
    if ends {
        std::process::abort();
    }
}

/// The points of a transaction, one for each kind of write in it, at one edge of its commit.
pub fn commit(edge: &str, kinds: impl Iterator<Item = &'static str>) {
    if !WATCHED.load(Ordering::Acquire) {
        return;
    }
    let kinds: std::collections::BTreeSet<_> = kinds.collect();
    for kind in kinds {
        reached(&format!("store.{kind}.{edge}"));
    }
}

macro_rules! mistakes {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)*) => {
        /// A mistake that the exhaustive model of the protocol shows to break the promise, where the real code could
        /// make it; and those about addresses, which the model does not know.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Mistake {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Mistake {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in the design.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// The mistake of that name.
            #[must_use]
            pub fn named(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|mistake| mistake.word() == word)
            }
        }
    };
}

mistakes! {
    /// Orders and stops are answered before their transaction commits.
    AnswerBeforeCommit = "answer-before-commit",
    /// The same reference makes another order each time.
    IntakeWithoutUniqueKey = "intake-without-unique-key",
    /// A stop reads the order's standing without its lock. Only PostgreSQL: SQLite has one writer.
    WriteSkew = "write-skew",
    /// A stop that was asked before the hand-over began, by the clock, is granted.
    WallClockStop = "wall-clock-stop",
    /// A stop is granted while a copy may be on the wire.
    GrantWhileSending = "grant-while-sending",
    /// A sender begins before its intent commits.
    SendBeforeIntent = "send-before-intent",
    /// A time-out of the present attempt is read as "not sent".
    TimeoutMeansNotSent = "timeout-means-not-sent",
    /// A time-out of any attempt is.
    UnfencedTimeout = "unfenced-timeout",
    /// What is unknown is sent again, whatever the lab can do.
    BlindResend = "blind-resend",
    /// It is sent again under a key that the lab may have forgotten.
    ResendAfterKeyWindow = "resend-after-key-window",
    /// What is sent again is built anew from who is alive, under the same key.
    RebuildContentSameKey = "rebuild-content-same-key",
    /// The same under a new key, without a proof of absence.
    RebuildContentNewKey = "rebuild-content-new-key",
    /// A look-up asks at once, and its "not there" is believed.
    AbsentIsProof = "absent-is-proof",
    /// The "not found" that answers a stop is believed at once.
    CancelNotFoundIsProof = "cancel-not-found-is-proof",
    /// The horizon is the instant of the claim.
    HorizonTooEarly = "horizon-declared-too-early",
    /// "Not there" is believed whichever attempt it was asked about.
    StaleAbsence = "stale-absence-about-older-attempt",
    /// The refusal of the last attempt counts for all that have no end.
    RefusalClearsAll = "refusal-of-last-attempt-clears-all",
    /// A commit may vanish with a power cut.
    CommitCanVanish = "commit-can-vanish",
    /// Nobody takes over what a dead sender left.
    NoTakeover = "no-takeover",
    /// No deadline gives anything to a person.
    NoEscalation = "no-escalation",
    /// A lab's later word changes what was told of an address.
    AddressWordFlips = "address-word-flips",
    /// The stage of an order refuses an address that its lab may have taken.
    AddressStageDecides = "address-stage-decides",
    /// The refusal of one attempt counts for all that were made about an address.
    AddressRefusalClearsAll = "address-refusal-clears-all",
}

/// The mistakes of a thread, and of the stores that were opened on it.
#[derive(Debug, Clone, Default)]
pub struct Planted(Arc<AtomicU32>);

thread_local! {
    static PLANTED: RefCell<Planted> = RefCell::default();
}

impl Planted {
    /// The mistakes of this thread.
    #[must_use]
    pub fn here() -> Self {
        PLANTED.with_borrow(Clone::clone)
    }

    /// This thread shares them from now on: for threads that work for the one that planted.
    pub fn install(&self) {
        PLANTED.with_borrow_mut(|planted| *planted = self.clone());
    }
}

/// Keeps mistakes planted until it is dropped.
#[derive(Debug)]
#[must_use = "the mistakes are gone when this is dropped"]
pub struct Plant {
    planted: Planted,
    before: u32,
}

impl Drop for Plant {
    fn drop(&mut self) {
        self.planted.0.store(self.before, Ordering::Release);
    }
}

/// Plants mistakes on this thread, and in the stores that were or will be opened on it. Tasks of a runtime with
/// threads of its own make them only if its threads [`Planted::install`] them.
pub fn plant(mistakes: &[Mistake]) -> Plant {
    let planted = Planted::here();
    let wanted = mistakes.iter().fold(0, |bits, mistake| bits | 1 << *mistake as u32);
    let before = planted.0.fetch_or(wanted, Ordering::AcqRel);
    Plant { planted, before }
}

/// Whether this thread makes a mistake.
#[must_use]
pub fn makes(mistake: Mistake) -> bool {
    PLANTED.with_borrow(|planted| planted.0.load(Ordering::Acquire) & (1 << mistake as u32) != 0)
}
