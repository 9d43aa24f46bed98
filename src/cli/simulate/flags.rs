//! How a simulated lab behaves, as flags of the command line.

use std::path::PathBuf;

use jiff::Timestamp;

use super::behaviour::{
    Addresses, Behaviour, Delay, Down, DownBy, Forgets, Imports, LooksUp, LosesBy, Share, Stops, lasting,
};
use crate::domain::Fault;
use crate::domain::lab::Lasting;

/// The behaviour as flags; what is not given is taken from the file, or is that of an honest lab.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct BehaviourArgs {
    /// Read the behaviour from this TOML file; flags go before it
    #[arg(long, value_name = "FILE")]
    behaviour: Option<PathBuf>,
    /// Print so long after receipt [default: 2h]
    #[arg(long, value_name = "DURATION", value_parser = lasting)]
    prints_after: Option<Lasting>,
    /// Have orders in production so long before they are printed: they are not taken out any more
    #[arg(long, value_name = "DURATION", value_parser = lasting)]
    in_production_for: Option<Lasting>,
    /// Ship so long after printing
    #[arg(long, value_name = "DURATION", value_parser = lasting)]
    ships_after: Option<Lasting>,
    /// Answer slowly: a duration, or a range such as 0s..2s
    #[arg(long, value_name = "RANGE")]
    slow: Option<Delay>,
    /// Refuse this share of uploads (0 to 1)
    #[arg(long, value_name = "SHARE")]
    refuses: Option<Share>,
    /// Answer this share of calls with a server error
    #[arg(long, value_name = "SHARE")]
    fails: Option<Share>,
    /// Do what was asked, but lose this share of the answers
    #[arg(long, value_name = "SHARE")]
    loses_answers: Option<Share>,
    /// How answers are lost
    #[arg(long, value_name = "HOW")]
    loses_by: Option<LosesBy>,
    /// Answer stops so much later, through the gateway's API
    #[arg(long, value_name = "DURATION", value_parser = lasting)]
    answers_late: Option<Lasting>,
    /// Print again what comes again under the same key
    #[arg(long)]
    duplicates: bool,
    /// Forget idempotency keys: `no`, `after_removal`, or after a duration
    #[arg(long, value_name = "WHEN")]
    forgets_keys: Option<Forgets>,
    /// What to say to stops
    #[arg(long, value_name = "WHAT")]
    stops: Option<Stops>,
    /// What to say to look-ups
    #[arg(long, value_name = "WHAT")]
    looks_up: Option<LooksUp>,
    /// Take other bytes under a known key
    #[arg(long)]
    takes_other_bytes: bool,
    /// Take uploads that come too late
    #[arg(long)]
    ignores_not_after: bool,
    /// Take calls whatever their signature
    #[arg(long)]
    takes_any_signature: bool,
    /// Say yes to uploads that are none
    #[arg(long)]
    takes_anything: bool,
    /// Take the same key twice if it comes twice at once
    #[arg(long)]
    races: bool,
    /// Refuse uploads of more orders
    #[arg(long, value_name = "ORDERS")]
    takes_at_most: Option<u32>,
    /// Take longer uploads, and lose what is beyond the most
    #[arg(long, requires = "takes_at_most")]
    drops_the_rest: bool,
    /// Say that it has a first phase
    #[arg(long)]
    two_phase: bool,
    /// What to do with orders that are sent ahead
    #[arg(long, value_name = "WHAT")]
    imports: Option<Imports>,
    /// What to say to changes of addresses
    #[arg(long, value_name = "WHAT")]
    addresses: Option<Addresses>,
    /// Send no heartbeats over a link
    #[arg(long)]
    never_beats: bool,
    /// Be away from this instant on (RFC 3339)
    #[arg(long, value_name = "INSTANT")]
    down_from: Option<Timestamp>,
    /// Be away up to this instant (RFC 3339)
    #[arg(long, value_name = "INSTANT")]
    down_until: Option<Timestamp>,
    /// How to be away
    #[arg(long, value_name = "HOW")]
    down_by: Option<DownBy>,
}

impl BehaviourArgs {
    /// Reads the file, if one is named, and lays the flags over it.
    ///
    /// # Errors
    /// If the file cannot be read or used.
    pub fn behaviour(self) -> Result<Behaviour, Fault> {
        let mut to = match &self.behaviour {
            None => Behaviour::default(),
            Some(path) => {
                let fault = |why: String| Fault::new("--behaviour", format!("{}: {why}", path.display()));
                let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
                toml::from_str(&text).map_err(|error| fault(error.to_string()))?
            }
        };
        to.prints_after = self.prints_after.unwrap_or(to.prints_after);
        to.in_production_for = self.in_production_for.or(to.in_production_for);
        to.ships_after = self.ships_after.or(to.ships_after);
        to.slow = self.slow.or(to.slow);
        to.refuses = self.refuses.unwrap_or(to.refuses);
        to.fails = self.fails.unwrap_or(to.fails);
        to.loses_answers = self.loses_answers.unwrap_or(to.loses_answers);
        to.loses_by = self.loses_by.unwrap_or(to.loses_by);
        to.answers_late = self.answers_late.or(to.answers_late);
        to.duplicates |= self.duplicates;
        to.forgets_keys = self.forgets_keys.unwrap_or(to.forgets_keys);
        to.stops = self.stops.unwrap_or(to.stops);
        to.looks_up = self.looks_up.unwrap_or(to.looks_up);
        to.takes_other_bytes |= self.takes_other_bytes;
        to.ignores_not_after |= self.ignores_not_after;
        to.takes_any_signature |= self.takes_any_signature;
        to.takes_anything |= self.takes_anything;
        to.races |= self.races;
        to.takes_at_most = self.takes_at_most.or(to.takes_at_most);
        to.drops_the_rest |= self.drops_the_rest;
        to.two_phase |= self.two_phase;
        to.imports = self.imports.unwrap_or(to.imports);
        to.addresses = self.addresses.unwrap_or(to.addresses);
        to.never_beats |= self.never_beats;
        if self.down_from.is_some() || self.down_until.is_some() || self.down_by.is_some() {
            let file = to.down.unwrap_or_default();
            to.down = Some(Down {
                by: self.down_by.unwrap_or(file.by),
                from: self.down_from.or(file.from),
                until: self.down_until.or(file.until),
            });
        }
        Ok(to)
    }
}
