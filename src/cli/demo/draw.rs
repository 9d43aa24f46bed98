//! Orders that are drawn, from figures measured on a real shop.
//!
//! The figures: "Online Retail" (D. Chen, 2015, UCI Machine Learning Repository, CC BY 4.0), a UK
//! gift shop, its first 10,000 order lines: 2010-12-01 to 2010-12-05, local time of day, without the
//! lines that name no article and without stock corrections: 438 orders with 9,834 lines, and 43
//! cancellations. Only 9 of these refer to an order of the same five days (same customer, same
//! article); the delays are theirs.

use jiff::civil::{Date, Time};
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::script::{Act, Cancel, Deed, Script, Shop, submission};
use crate::clock::{Random, SeededRandom};
use crate::domain::Fault;
use crate::domain::batch::later;
use crate::domain::ids::PlatformId;
use crate::domain::zones::Zones;

/// Orders a day: Wednesday to Sunday. The shop is closed on Saturdays.
const BY_DAY: [u64; 5] = [136, 142, 73, 0, 87];
/// Orders an hour, from 07:00 on.
const BY_HOUR: [u64; 13] = [2, 12, 29, 40, 50, 76, 47, 52, 63, 37, 18, 10, 2];
const FIRST_HOUR: u64 = 7;
/// Lines an order: minimum, the nine deciles, the 99 % quantile, maximum.
const LINES: [f64; 12] = [1.0, 1.0, 2.0, 5.0, 9.0, 13.0, 16.0, 19.0, 29.0, 50.0, 138.0, 592.0];
/// Pieces a line, at the same quantiles.
const PIECES: [f64; 12] = [1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 6.0, 12.0, 18.0, 97.0, 2880.0];
/// The quantiles of the two above.
const AT: [f64; 12] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1.0];
/// Orders from the shop's own country, and from others.
const HOME: u64 = 406;
const ABROAD: [(&str, u64); 14] = [
    ("DE", 9),
    ("IE", 6),
    ("FR", 4),
    ("LT", 3),
    ("AU", 1),
    ("NL", 1),
    ("NO", 1),
    ("CH", 1),
    ("ES", 1),
    ("PL", 1),
    ("PT", 1),
    ("IT", 1),
    ("BE", 1),
    ("JP", 1),
];
/// Cancellations, per so many orders.
const CANCELLED: (u64, u64) = (43, 438);
/// Minutes from an order to its cancellation, in the cases where both are known.
const DELAYS: [f64; 9] = [5.0, 7.0, 9.0, 1394.0, 1658.0, 1804.0, 1839.0, 2862.0, 5627.0];

/// Shops with the habits of the measured one, each at home elsewhere.
const SHOPS: [(&str, &str, &str, &str); 6] = [
    ("oxbow", "Oxbow Gifts, London", "GB", "Europe/London"),
    ("kuvala", "Kuvala, Helsinki", "FI", "Europe/Helsinki"),
    ("rheinufer", "Rheinufer, Cologne", "DE", "Europe/Berlin"),
    ("brightbox", "Brightbox, New York", "US", "America/New_York"),
    ("azulejo", "Azulejo, Valencia", "ES", "Europe/Madrid"),
    ("southframe", "Southframe, Sydney", "AU", "Australia/Sydney"),
];
const ARTICLES: [&str; 8] = [
    "print-10x15",
    "print-13x18",
    "poster-50x70",
    "canvas-30x40",
    "mug-white",
    "book-a4-32",
    "calendar-a3",
    "magnet-7x7",
];
const REASONS: [&str; 5] =
    ["wrong size", "ordered twice", "wrong address", "changed my mind", "wrong picture"];
/// The day before the first: its orders were sold before the shops had the gateway.
const EVE: Date = Date::constant(2010, 11, 30);

struct Dice(SeededRandom);

impl Dice {
    fn below(&self, most: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % most.max(1)
    }

    fn share(&self) -> f64 {
        self.below(1 << 53) as f64 / (1_u64 << 53) as f64
    }

    /// One of a list, by weights.
    fn weighted(&self, weights: impl Iterator<Item = u64> + Clone) -> usize {
        let mut left = self.below(weights.clone().sum());
        for (nth, weight) in weights.enumerate() {
            if left < weight {
                return nth;
            }
            left -= weight;
        }
        0
    }

    /// A number, by its quantiles.
    fn quantile(&self, values: &[f64; 12]) -> u32 {
        let share = self.share();
        let upper = AT.iter().position(|at| *at >= share).unwrap_or(11).max(1);
        let part = (share - AT[upper - 1]) / (AT[upper] - AT[upper - 1]);
        (values[upper - 1] + part * (values[upper] - values[upper - 1])).round().max(1.0) as u32
    }

    /// A delay between the measured ones, evenly on a logarithmic scale between two neighbours.
    fn delay(&self) -> SignedDuration {
        let place = self.share() * (DELAYS.len() - 1) as f64;
        let nth = (place as usize).min(DELAYS.len() - 2);
        let (from, to) = (DELAYS[nth].ln(), DELAYS[nth + 1].ln());
        let minutes = (from + (place - nth as f64) * (to - from)).exp();
        SignedDuration::from_secs((minutes * 60.0) as i64)
    }
}

/// Draws orders: about `count` of them over `days` days from 2010-12-01 on.
///
/// # Errors
/// If the zone data lacks a shop's zone.
pub(super) fn draw(count: u64, days: usize, seed: u64, zones: &Zones) -> Result<Script, Fault> {
    let dice = Dice(SeededRandom::new(seed));
    let days = days.clamp(1, BY_DAY.len());
    let mut script = Script {
        origin: format!(
            "drawn (seed {seed}) from figures of a real shop: UCI Online Retail, 2010-12-01 to 05, CC BY 4.0"
        ),
        watchers: true,
        ..Script::default()
    };
    // The eve is played without its orders: their cancellations are of orders that nobody knows here.
    let eve = count * BY_DAY[0] / BY_DAY.iter().take(days).sum::<u64>().max(1) / SHOPS.len() as u64;
    for (shop, (id, name, ..)) in SHOPS.iter().enumerate() {
        script.shops.push(Shop { id: PlatformId::parse(id)?, name: (*name).to_owned() });
        let share = count / SHOPS.len() as u64 + u64::from((shop as u64) < count % SHOPS.len() as u64);
        for nth in 0..share + eve {
            let day = if nth < share { Some(dice.weighted(BY_DAY.iter().take(days).copied())) } else { None };
            one(&mut script, &dice, (shop, nth + 1), day, zones)?;
        }
    }
    script.sort();
    // On the eve itself nobody had the gateway yet.
    let first = script.acts.iter().position(|act| matches!(act.deed, Deed::Submit(_)));
    script.acts.drain(..first.unwrap_or(0));
    Ok(script)
}

fn one(
    script: &mut Script,
    dice: &Dice,
    (shop, number): (usize, u64),
    day: Option<usize>,
    zones: &Zones,
) -> Result<(), Fault> {
    let (id, _, home, zone) = SHOPS[shop];
    let date = match day {
        Some(day) => EVE.saturating_add((1 + day as i64).days()),
        None => EVE,
    };
    let hour = FIRST_HOUR + dice.weighted(BY_HOUR.iter().copied()) as u64;
    let time =
        Time::new(hour as i8, dice.below(60) as i8, dice.below(60) as i8, 0).unwrap_or(Time::midnight());
    let at = zones.get(zone)?.to_ambiguous_timestamp(date.to_datetime(time)).compatible();
    let at = at.map_err(|error| Fault::new("", error.to_string()))?;
    let lines: Vec<_> = (0..dice.quantile(&LINES))
        .map(|_| (ARTICLES[dice.below(ARTICLES.len() as u64) as usize].to_owned(), dice.quantile(&PIECES)))
        .collect();
    let abroad: u64 = ABROAD.iter().map(|(_, weight)| weight).sum();
    let country = if dice.below(HOME + abroad) < HOME {
        home
    } else {
        // Who is a foreigner in London may be at home in the shop of the draw.
        let foreign = ABROAD[dice.weighted(ABROAD.iter().map(|(_, weight)| *weight))].0;
        if foreign == home { "GB" } else { foreign }
    };
    let reference = format!("{}-{:05}", id.to_uppercase(), number);
    if day.is_some() {
        let customer = format!("Customer {}", 10_000 + dice.below(8_000));
        let order = submission(&reference, country, &customer, &lines);
        script.acts.push(Act { at, shop, deed: Deed::Submit(Box::new(order)) });
    }
    if dice.below(CANCELLED.1) < CANCELLED.0 {
        let reason = REASONS[dice.below(REASONS.len() as u64) as usize].to_owned();
        let asked: Timestamp = later(at, dice.delay());
        let cancel = Cancel { reference, reason, racing: false };
        script.acts.push(Act { at: asked, shop, deed: Deed::Cancel(cancel) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_orders_and_another_one_others() {
        let zones = Zones::bundled();
        let draw = |seed| draw(600, 5, seed, &zones).unwrap();
        let (one, same, other) = (draw(1), draw(1), draw(2));
        assert_eq!(one.acts, same.acts);
        assert_ne!(one.acts, other.acts);
        assert_eq!(one.orders(), 600);
        assert!(one.acts.is_sorted_by_key(|act| act.at));
    }

    #[test]
    fn what_is_drawn_keeps_to_the_figures() {
        let script = draw(20_000, 5, 7, &Zones::bundled()).unwrap();
        let orders: Vec<_> = script
            .acts
            .iter()
            .filter_map(|act| match &act.deed {
                Deed::Submit(order) => Some(order),
                Deed::Cancel(_) => None,
            })
            .collect();
        let mut lines: Vec<_> = orders.iter().map(|order| order.items.len()).collect();
        lines.sort_unstable();
        assert!((12..=14).contains(&lines[lines.len() / 2]), "the median basket has 13 lines");
        let of_orders: std::collections::HashSet<_> = orders.iter().map(|order| &order.reference).collect();
        let known = script.acts.iter().filter(|act| match &act.deed {
            Deed::Cancel(cancel) => of_orders.contains(&cancel.reference),
            Deed::Submit(_) => false,
        });
        let share = known.count() as f64 / orders.len() as f64;
        assert!((share - 43.0 / 438.0).abs() < 0.01, "{share}");
    }
}
