//! How a simulated lab behaves and misbehaves. Everything that is left to chance is drawn from the
//! `Random` that the simulator was given.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use super::addresses::Addresses;
pub use super::imports::Imports;
use crate::clock::Random;
use crate::domain::Fault;
use crate::domain::lab::Lasting;

/// A share of calls, 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Share(f64);

impl Share {
    /// All calls.
    pub const ALL: Self = Self(1.0);

    /// Draws whether this call is one of them.
    #[must_use]
    pub fn draw(self, random: &dyn Random) -> bool {
        // 53 bits: what a double holds.
        let drawn = (number(random) >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < self.0
    }
}

fn number(random: &dyn Random) -> u64 {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

impl TryFrom<f64> for Share {
    type Error = Fault;
    fn try_from(share: f64) -> Result<Self, Fault> {
        if (0.0..=1.0).contains(&share) {
            Ok(Self(share))
        } else {
            Err(Fault::not("", share, "a share from 0 to 1"))
        }
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> Self {
        share.0
    }
}

impl FromStr for Share {
    type Err = Fault;
    fn from_str(text: &str) -> Result<Self, Fault> {
        let share: f64 = text.parse().map_err(|_| Fault::not("", text, "a share from 0 to 1"))?;
        Self::try_from(share)
    }
}

/// A delay in real time, drawn evenly from a range: `1s` or `0s..2s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Delay {
    from: Lasting,
    to: Lasting,
}

impl Delay {
    /// Draws a delay.
    #[must_use]
    pub fn draw(self, random: &dyn Random) -> SignedDuration {
        let span = (self.to.0 - self.from.0).as_micros().unsigned_abs();
        let extra = u128::from(number(random)) % (span + 1);
        self.from.0 + SignedDuration::from_micros(i64::try_from(extra).unwrap_or(0))
    }
}

impl FromStr for Delay {
    type Err = Fault;
    fn from_str(text: &str) -> Result<Self, Fault> {
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        let bad = || Fault::not("", text, "a duration such as \"1s\", or a range such as \"0s..2s\"");
        let (from, to) = (lasting(from).map_err(|_| bad())?, lasting(to).map_err(|_| bad())?);
        if from <= to { Ok(Self { from, to }) } else { Err(bad()) }
    }
}

impl TryFrom<String> for Delay {
    type Error = Fault;
    fn try_from(text: String) -> Result<Self, Fault> {
        text.parse()
    }
}

impl From<Delay> for String {
    fn from(delay: Delay) -> Self {
        format!("{}..{}", delay.from, delay.to)
    }
}

pub(super) fn lasting(text: &str) -> Result<Lasting, Fault> {
    Lasting::try_from(text.trim().to_owned())
}

/// How an answer is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum LosesBy {
    /// The connection is closed.
    #[default]
    Close,
    /// Nothing ever comes.
    Silence,
}

/// What the lab says to stops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Stops {
    /// It takes an order out if it is not printed yet.
    #[default]
    Yes,
    /// It has no such operation.
    No,
    /// It is always too late.
    TooLate,
    /// It says "removed" of whatever it is asked, and prints all the same.
    Lies,
    /// It takes out the whole order, whatever lines a stop names.
    Whole,
}

/// What the lab says to look-ups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum LooksUp {
    /// What it knows.
    #[default]
    Yes,
    /// It has no such operation.
    No,
    /// That there is no such order, whatever it has.
    Blind,
}

/// Which idempotency keys the lab forgets: `no`, `after_removal`, or a duration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Forgets {
    /// None.
    #[default]
    No,
    /// Those of jobs that were taken out: it knows live jobs only.
    AfterRemoval,
    /// All, so long after it got them.
    After(Lasting),
}

impl FromStr for Forgets {
    type Err = Fault;
    fn from_str(text: &str) -> Result<Self, Fault> {
        match text {
            "no" => Ok(Self::No),
            "after_removal" => Ok(Self::AfterRemoval),
            _ => lasting(text)
                .map(Self::After)
                .map_err(|_| Fault::not("", text, "\"no\", \"after_removal\" or a duration such as \"10m\"")),
        }
    }
}

impl TryFrom<String> for Forgets {
    type Error = Fault;
    fn try_from(text: String) -> Result<Self, Fault> {
        text.parse()
    }
}

impl From<Forgets> for String {
    fn from(forgets: Forgets) -> Self {
        match forgets {
            Forgets::No => "no".to_owned(),
            Forgets::AfterRemoval => "after_removal".to_owned(),
            Forgets::After(lasting) => lasting.to_string(),
        }
    }
}

/// How the lab is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum DownBy {
    /// Connections are taken, and closed without an answer.
    #[default]
    Close,
    /// The port refuses connections.
    Refuse,
}

/// When the lab is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Down {
    /// How.
    pub by: DownBy,
    /// From this instant on; at once if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Up to this instant; until told otherwise if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What the lab does. The default is an honest lab that prints two hours after receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// How long after receipt an order is printed.
    pub prints_after: Lasting,
    /// How long before it is printed an order is in production: from then on it is not taken out any more.
    /// Unless told it is taken out until it is printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_production_for: Option<Lasting>,
    /// How long after it is printed an order leaves the lab; never, unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ships_after: Option<Lasting>,
    /// Every answer takes so long, in real time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<Delay>,
    /// Refuses this share of uploads.
    pub refuses: Share,
    /// Answers this share of calls with an error of the server: half of them before it did what was
    /// asked, half of them after.
    pub fails: Share,
    /// Does what was asked in this share of calls, and the answer is lost.
    pub loses_answers: Share,
    /// How answers are lost.
    pub loses_by: LosesBy,
    /// Answers stops later, so long after they were asked, through the gateway's API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers_late: Option<Lasting>,
    /// Prints again what comes again under the same key.
    pub duplicates: bool,
    /// Which keys it forgets.
    pub forgets_keys: Forgets,
    /// What it says to stops.
    pub stops: Stops,
    /// What it says to look-ups.
    pub looks_up: LooksUp,
    /// Takes other bytes under a key that it knows, as new orders.
    pub takes_other_bytes: bool,
    /// Takes uploads after the instant at which they had to be refused.
    pub ignores_not_after: bool,
    /// Takes calls that are not signed, or signed wrongly.
    pub takes_any_signature: bool,
    /// Says yes to uploads that are none.
    pub takes_anything: bool,
    /// Looks whether it knows a key, takes a breath, and only then takes the upload.
    pub races: bool,
    /// The most orders of one upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takes_at_most: Option<u32>,
    /// Says yes to longer uploads, and loses what is beyond the most.
    pub drops_the_rest: bool,
    /// Says that it has a first phase.
    pub two_phase: bool,
    /// What it does in it.
    pub imports: Imports,
    /// What it says to changes of addresses.
    pub addresses: Addresses,
    /// Says nothing on a link but what it is asked.
    pub never_beats: bool,
    /// When it is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down: Option<Down>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            prints_after: Lasting::seconds(2 * 3600),
            in_production_for: None,
            ships_after: None,
            slow: None,
            refuses: Share::default(),
            fails: Share::default(),
            loses_answers: Share::default(),
            loses_by: LosesBy::default(),
            answers_late: None,
            duplicates: false,
            forgets_keys: Forgets::default(),
            stops: Stops::default(),
            looks_up: LooksUp::default(),
            takes_other_bytes: false,
            ignores_not_after: false,
            takes_any_signature: false,
            takes_anything: false,
            races: false,
            takes_at_most: None,
            drops_the_rest: false,
            two_phase: false,
            imports: Imports::default(),
            addresses: Addresses::default(),
            never_beats: false,
            down: None,
        }
    }
}

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// How long the answer takes, in real time.
    pub delay: Option<SignedDuration>,
    /// An upload is refused.
    pub refused: bool,
    /// The server fails before it did anything.
    pub fails_before: bool,
    /// The server fails after it did what was asked.
    pub fails_after: bool,
    /// The answer is lost.
    pub lost: bool,
}

impl Behaviour {
    /// Draws the fate of one call.
    #[must_use]
    pub fn draw(&self, random: &dyn Random) -> Fate {
        let fails = self.fails.draw(random);
        let before = Share(0.5).draw(random);
        Fate {
            delay: self.slow.map(|delay| delay.draw(random)),
            refused: self.refuses.draw(random),
            fails_before: fails && before,
            fails_after: fails && !before,
            lost: self.loses_answers.draw(random),
        }
    }

    /// How the lab is away at `now`, if it is.
    #[must_use]
    pub fn down_at(&self, now: Timestamp) -> Option<DownBy> {
        let down = self.down?;
        let begun = down.from.is_none_or(|from| from <= now);
        let over = down.until.is_some_and(|until| until <= now);
        (begun && !over).then_some(down.by)
    }

    /// The next instant at which the lab goes away or comes back.
    #[must_use]
    pub fn next_edge(&self, now: Timestamp) -> Option<Timestamp> {
        let down = self.down?;
        [down.from, down.until].into_iter().flatten().filter(|edge| *edge > now).min()
    }
}
