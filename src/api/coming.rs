//! The windows of a region that are to close: its open batches, and the cutoffs of its calendar that nobody
//! waits for yet.
//!
//! A batch closes when its row says so, which a postponement or a changed calendar may have put off: the cutoff
//! of its window is then none any more.

use jiff::Timestamp;

use crate::domain::calendar::Calendar;
use crate::domain::ids::BatchId;
use crate::store::BoardBatch;

/// A window that is to close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Coming {
    /// When it closes by the calendar: of all that are to close in a region, each has another.
    pub(super) window_at: Timestamp,
    /// When it closes.
    pub(super) closes_at: Timestamp,
    /// The same on the region's clocks, with its zone.
    pub(super) local: String,
    /// The local date of its cutoff, as `2026-11-21`.
    pub(super) production_date: String,
    /// The rule of the calendar and the time that is configured, such as `season:peak 24:00`.
    pub(super) rule: String,
    /// The batch, its orders that wait, and those that were stopped; `None` while no order has opened one.
    pub(super) batch: Option<(BatchId, i64, i64)>,
    /// Whether it closes later than its window does by the calendar.
    pub(super) postponed: bool,
}

impl From<&BoardBatch> for Coming {
    fn from(batch: &BoardBatch) -> Self {
        Self {
            window_at: batch.window_at,
            closes_at: batch.closes_at,
            local: batch.closes_at_local.clone(),
            production_date: batch.production_date.clone(),
            rule: batch.rule.clone(),
            batch: Some((batch.batch.clone(), batch.waiting, batch.stopped)),
            postponed: batch.closes_at > batch.window_at,
        }
    }
}

/// The windows of a region, the next one first: all of `open`, its open batches of windows; and the cutoffs that
/// its calendar, if it is configured still, has after `now` and before `until`. An open batch whose cutoff has
/// passed is among them: it closes now.
pub(super) fn coming<'a>(
    open: impl IntoIterator<Item = &'a BoardBatch>,
    calendar: Option<&Calendar>,
    (now, until): (Timestamp, Timestamp),
) -> Vec<Coming> {
    let open: Vec<&BoardBatch> = open.into_iter().collect();
    let mut all: Vec<Coming> = open.iter().copied().map(Coming::from).collect();
    let cutoffs = calendar.map(|calendar| calendar.cutoffs(now, until)).into_iter().flatten();
    all.extend(
        cutoffs
            .filter(|cutoff| cutoff.at > now)
            // Who comes before it joins the batch that has its window, whenever that one closes.
            .filter(|cutoff| open.iter().all(|batch| batch.window_at != cutoff.at))
            .map(|cutoff| Coming {
                window_at: cutoff.at,
                closes_at: cutoff.at,
                rule: format!("{} {}", cutoff.rule, cutoff.time),
                local: cutoff.local,
                production_date: cutoff.production_date.to_string(),
                batch: None,
                postponed: false,
            }),
    );
    all.sort_by(|a, b| (a.closes_at, &a.batch).cmp(&(b.closes_at, &b.batch)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{LabId, RegionId};
    use crate::domain::zones::Zones;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn open(nth: u8, window: &str, closes: &str) -> BoardBatch {
        BoardBatch {
            place: (LabId::parse("nord").unwrap(), RegionId::parse("fi").unwrap()),
            batch: BatchId::parse(&format!("bat_{nth:032x}")).unwrap(),
            window_at: at(window),
            closes_at: at(closes),
            closes_at_local: "there".to_owned(),
            production_date: "2026-11-21".to_owned(),
            rule: "regular 24:00".to_owned(),
            tzdata: "2026a".to_owned(),
            waiting: i64::from(nth),
            stopped: 0,
        }
    }

    #[test]
    fn batches_stand_where_they_close_and_take_the_place_of_their_cutoff() {
        let spec = serde_json::json!({"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]});
        let spec = serde_json::from_value(spec).unwrap();
        let now = at("2026-11-21T12:00:00Z");
        let calendar = Calendar::build(&spec, &Zones::bundled(), now).unwrap();
        let (first, second) = ("2026-11-21T22:00:00Z", "2026-11-22T22:00:00Z");
        let span = (now, at("2026-11-23T12:00:00Z"));
        let shown = |open: &[BoardBatch], calendar: Option<&Calendar>| -> Vec<(String, i64, bool)> {
            let all = coming(open, calendar, span);
            let waiting = |it: &Coming| it.batch.as_ref().map_or(0, |(_, waiting, _)| *waiting);
            all.iter().map(|it| (it.closes_at.to_string(), waiting(it), it.postponed)).collect()
        };
        let is = |at: &str, waiting, postponed| (at.to_owned(), waiting, postponed);
        let bare = [is(first, 0, false), is(second, 0, false)];
        let later = "2026-11-21T22:30:00Z";
        let table: [(&[BoardBatch], &[_]); 5] = [
            (&[], &bare),
            (&[open(3, first, first)], &[is(first, 3, false), is(second, 0, false)]),
            (&[open(3, first, later)], &[is(later, 3, true), is(second, 0, false)]),
            // Beyond the next cutoff: that one closes before it, and whoever comes then is in its batch.
            (
                &[open(3, first, "2026-11-22T23:00:00Z"), open(1, second, second)],
                &[is(second, 1, false), is("2026-11-22T23:00:00Z", 3, true)],
            ),
            // It should have closed by now: it is not forgotten.
            (
                &[open(2, "2026-11-20T22:00:00Z", "2026-11-20T22:00:00Z")],
                &[is("2026-11-20T22:00:00Z", 2, false), bare[0].clone(), bare[1].clone()],
            ),
        ];
        for (open, expected) in table {
            assert_eq!(shown(open, Some(&calendar)), expected);
        }
        assert_eq!(shown(&[open(3, first, first)], None), [is(first, 3, false)]);
    }
}
