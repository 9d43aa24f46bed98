//! The pieces of the board: rows, numbers and the band, each rendered once when it changes.
//!
//! What counts down is written as an instant in UTC, which holds for ever; the page's script makes a countdown
//! of it. So a piece that was rendered long ago still says the truth, also without scripts.

mod cutoffs;
mod show;

pub(in crate::api) use self::cutoffs::cutoffs;
pub(in crate::api) use self::show::{board, board_live};

use askama::Template;
use jiff::Timestamp;
use jiff::civil::DateTime;

use crate::api::board::Totals;
use crate::api::board::band::Band;
use crate::api::board::region::{Alert, AlertKind, Level, Region};
use crate::domain::health::Reach;

/// How wide the band is drawn.
const WIDE: i64 = 960;
/// How high its bars may be.
const HIGH: f64 = 92.0;

/// A number as people read it.
pub(super) fn thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        out.push('-');
    }
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// An instant to the second, for `datetime`.
pub(super) fn iso(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An instant for people, in UTC.
pub(super) fn utc(at: Timestamp) -> String {
    at.strftime("%a %H:%M UTC").to_string()
}

/// What a region's clocks show, such as `Sun 00:00`, of a local time with its zone.
pub(super) fn there(local: &str) -> String {
    let shown = local.get(..19).and_then(|text| text.parse::<DateTime>().ok());
    shown.map_or_else(|| local.to_owned(), |at| at.strftime("%a %H:%M").to_string())
}

/// What is wrong, as it is written.
struct Todo<'a> {
    text: &'a str,
    /// A word, the instant for people and for programs, and whether it counts down.
    at: Option<(&'static str, String, String, bool)>,
    link: (&'static str, String),
}

impl<'a> Todo<'a> {
    fn of(alert: &'a Alert, region: &Region) -> Self {
        let lab = &region.lab;
        let to_batch =
            || alert.batch.as_ref().map(|batch| ("Look at the batch", format!("/ops/batches/{batch}")));
        let to_lab = || ("Look at the lab", format!("/ops/labs/{lab}"));
        let (word, counts) = match alert.kind {
            AlertKind::TransferUnclear => ("Until a person is asked:", true),
            AlertKind::StopDueSoon => ("Due:", true),
            AlertKind::WillMiss => ("It closes:", true),
            AlertKind::LabSilent => ("Tried again at", false),
            AlertKind::StopOverdue | AlertKind::Escalated => ("Due", false),
            _ => ("Since", false),
        };
        let link = match alert.kind {
            AlertKind::NotClosed
            | AlertKind::NotHandedOver
            | AlertKind::NotTaken
            | AlertKind::TransferUnclear => to_batch().unwrap_or_else(to_lab),
            AlertKind::TransferWithAPerson | AlertKind::StopWithAPerson | AlertKind::Escalated => {
                ("Decide", format!("/ops/escalations?lab={lab}"))
            }
            AlertKind::StopOverdue | AlertKind::StopDueSoon => {
                ("Look at the stops", format!("/ops/stops?lab={lab}&state=open"))
            }
            AlertKind::WillMiss => ("See which", format!("/ops/labs/{lab}#warned")),
            AlertKind::Paused | AlertKind::LabSilent | AlertKind::LabAway | AlertKind::LabUnusable => {
                to_lab()
            }
        };
        Self { text: &alert.text, at: alert.at.map(|at| (word, utc(at), iso(at), counts)), link }
    }
}

#[derive(Template)]
#[template(path = "board/row.html")]
struct RowPiece<'a> {
    id: String,
    it: &'a Region,
    /// The row's class, the badge's, and the word.
    level: (&'static str, &'static str, &'static str),
    alerts: Vec<Todo<'a>>,
    cutoff: Option<(String, String, String)>,
    waiting: String,
    later: Option<i64>,
    stopped: i64,
    stops: i64,
    due: Option<(String, String)>,
    transfers: Vec<(&'static str, String)>,
    health: Option<(&'static str, &'static str)>,
    heard: Option<(&'static str, String, String)>,
}

/// How a lab's reach is told.
pub(super) fn reach(reach: Reach) -> (&'static str, &'static str) {
    match reach {
        Reach::Open => ("ok", "answers"),
        Reach::Closed => ("bad", "silent"),
        Reach::Away => ("bad", "not connected"),
        Reach::ByHand => ("", "by hand"),
        Reach::Unusable => ("bad", "unusable"),
    }
}

/// A row.
pub(in crate::api) fn row(it: &Region) -> String {
    let mut transfers = Vec::new();
    for (count, badge, word) in [
        (it.transfers.with_a_person, "bad", "with a person"),
        (it.transfers.unclear, "warn", "unclear"),
        (it.transfers.to_send_again, "warn", "to send again"),
        (it.transfers.under_way, "", "under way"),
    ] {
        if count > 0 {
            transfers.push((badge, format!("{count} {word}")));
        }
    }
    let later: i64 = it.open.iter().map(|open| open.waiting).sum::<i64>() - it.waiting();
    let piece = RowPiece {
        id: format!("r:{}:{}", it.lab, it.region),
        it,
        level: match it.level {
            Level::Act => ("act", "bad", "Act"),
            Level::Watch => ("watch", "warn", "Watch"),
            Level::Fine => ("fine", "ok", "Fine"),
        },
        alerts: it.alerts.iter().map(|alert| Todo::of(alert, it)).collect(),
        cutoff: it
            .closes_at
            .map(|at| (iso(at), utc(at), it.closes_at_local.as_deref().map(there).unwrap_or_default())),
        waiting: thousands(it.waiting()),
        later: (later > 0).then_some(later),
        stopped: it.stopped(),
        stops: it.stops.pending + it.stops.with_a_person,
        due: it.stops.due_at.map(|at| (iso(at), utc(at))),
        transfers,
        health: it.health.as_ref().map(|health| reach(health.reach)),
        heard: it.health.as_ref().and_then(|health| {
            let at = health.last_answer_at?;
            Some((health.last_answer?, iso(at), utc(at)))
        }),
    };
    written(&piece)
}

#[derive(Template)]
#[template(path = "board/totals.html")]
struct TotalsPiece<'a> {
    it: &'a Totals,
    waiting: String,
}

/// The numbers over all.
pub(in crate::api) fn totals(it: &Totals) -> String {
    written(&TotalsPiece { it, waiting: thousands(it.waiting) })
}

/// A quarter of an hour, drawn.
struct Bar {
    x: i64,
    y: i64,
    height: i64,
    waiting: i64,
    iso: String,
    utc: String,
    many: String,
}

#[derive(Template)]
#[template(path = "board/band.html")]
struct BandPiece {
    summary: String,
    hours: Vec<i64>,
    bars: Vec<Bar>,
    from: String,
    marks: Vec<(String, String)>,
}

fn count(many: i64, one: &str, all: &str) -> String {
    match many {
        1 => format!("1 {one}"),
        _ => format!("{} {all}", thousands(many)),
    }
}

/// What closes in a quarter of an hour.
fn of_slot(cutoffs: usize, waiting: i64) -> String {
    let cutoffs = i64::try_from(cutoffs).unwrap_or(i64::MAX);
    format!("{}, {}", count(cutoffs, "cutoff", "cutoffs"), count(waiting, "order", "orders"))
}

/// The band.
pub(in crate::api) fn band(it: &Band) -> String {
    let most = it.slots.iter().map(|slot| slot.waiting).max().unwrap_or(0).max(1);
    let (cutoffs, waiting) = it
        .slots
        .iter()
        .fold((0, 0), |(cutoffs, waiting), slot| (cutoffs + slot.cutoffs, waiting + slot.waiting));
    let bars = it.slots.iter().map(|slot| {
        let height = (6.0 + (HIGH - 6.0) * (slot.waiting as f64 / most as f64).sqrt()).round() as i64;
        let x = (slot.at.as_second() - it.from.as_second()) * WIDE / 86_400 + 1;
        let many = of_slot(slot.cutoffs, slot.waiting);
        Bar { x, y: 100 - height, height, waiting: slot.waiting, iso: iso(slot.at), utc: utc(slot.at), many }
    });
    let marks = (0..8).filter_map(|nth| Timestamp::from_second(it.from.as_second() + nth * 3 * 3600).ok());
    let piece = BandPiece {
        summary: format!(
            "{} of 24 hours, {} waiting",
            count(i64::try_from(cutoffs).unwrap_or(i64::MAX), "cutoff", "cutoffs"),
            count(waiting, "order", "orders")
        ),
        hours: (0..24).map(|hour| hour * WIDE / 24).collect(),
        bars: bars.collect(),
        from: iso(it.from),
        marks: marks.map(|at| (iso(at), utc(at))).collect(),
    };
    written(&piece)
}

/// A piece without the ends of its lines.
fn written(piece: &impl Template) -> String {
    match piece.render() {
        Ok(text) => text.trim_end().to_owned(),
        Err(error) => {
            // Writing into a text cannot fail; should it, an empty piece shows that something is missing.
            tracing::error!(%error, "a piece of the board was not rendered");
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_written_for_people() {
        let table = [(0, "0"), (999, "999"), (1000, "1,000"), (200_000, "200,000"), (-1234, "-1,234")];
        for (number, text) in table {
            assert_eq!(thousands(number), text);
        }
        assert_eq!(there("2026-11-22T00:00:00+02:00[Europe/Helsinki]"), "Sun 00:00");
        assert_eq!(there("?"), "?");
        let at = "2026-11-21T22:00:00.5Z".parse().unwrap();
        assert_eq!((iso(at).as_str(), utc(at).as_str()), ("2026-11-21T22:00:00Z", "Sat 22:00 UTC"));
    }

    /// Everything that a row can say stands in its own place, once.
    #[test]
    fn a_row_says_all_that_there_is_to_say() {
        use crate::api::board::region::{Health, Open, OpenStops, OpenTransfers};
        use crate::domain::ids::{BatchId, LabId, RegionId};

        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let batch = BatchId::parse(&format!("bat_{:032x}", 7)).unwrap();
        let alert = |kind, level, batch, text: &str| Alert {
            kind,
            level,
            count: 2,
            at: Some(at("2026-11-21T22:00:00Z")),
            batch,
            text: text.to_owned(),
        };
        let open = |closes_at: &str, waiting, stopped| Open {
            batch: batch.clone(),
            closes_at: at(closes_at),
            waiting,
            stopped,
        };
        let it = Region {
            lab: LabId::parse("nord").unwrap(),
            name: "Nord & Co".to_owned(),
            region: RegionId::parse("fi").unwrap(),
            time_zone: "Europe/Helsinki".to_owned(),
            tzdata: "2026f".to_owned(),
            offset: "+02:00".to_owned(),
            closes_at: Some(at("2026-11-21T22:00:00Z")),
            closes_at_local: Some("2026-11-22T00:00:00+02:00[Europe/Helsinki]".to_owned()),
            rule: Some("season:peak 24:00".to_owned()),
            season: Some("peak".to_owned()),
            peak: true,
            open: vec![open("2026-11-21T22:00:00Z", 1200, 34), open("2026-11-22T22:00:00Z", 5, 0)],
            direct: 3,
            will_miss: None,
            stops: OpenStops { pending: 4, with_a_person: 1, due_at: Some(at("2026-11-21T21:30:00Z")) },
            transfers: OpenTransfers {
                under_way: 6,
                to_send_again: 7,
                first_at: None,
                unclear: 8,
                with_a_person: 9,
                deadline_at: None,
            },
            behind: 0,
            escalations: 0,
            paused_at: None,
            health: Some(Health {
                reach: Reach::Closed,
                last_answer: Some("unclear"),
                last_answer_at: Some(at("2026-11-21T20:58:00Z")),
                connections: None,
                closed_until: None,
                cause: None,
            }),
            level: Level::Act,
            alerts: vec![
                alert(AlertKind::NotClosed, Level::Act, Some(batch.clone()), "It is still open."),
                alert(AlertKind::WillMiss, Level::Watch, None, "2 orders will miss it."),
            ],
        };
        let shown = row(&it);
        let cells: Vec<&str> = shown.split("data-label=\"").skip(1).collect();
        let expected: [(&str, &[&str]); 9] = [
            (
                "Lab",
                &[
                    "<a href=\"/ops/labs/nord\">Nord &#38; Co</a>",
                    ">fi<",
                    "<span class=\"badge warn\">▲ peak</span>",
                ],
            ),
            (
                "Standing",
                &[
                    "<b class=\"badge bad\">Act</b>",
                    "It is still open. Since <time datetime=\"2026-11-21T22:00:00Z\" data-local>",
                    "It closes: <time datetime=\"2026-11-21T22:00:00Z\" data-until>",
                    "<a href=\"/ops/labs/nord#warned\">See which</a>",
                ],
            ),
            (
                "Next cutoff",
                &["datetime=\"2026-11-21T22:00:00Z\" data-until", "Sat 22:00 UTC", "Sun 00:00 there"],
            ),
            ("Time there", &["data-zone=\"Europe/Helsinki\">UTC+02:00<", "Europe/Helsinki, 2026f"]),
            ("Waiting", &[">1,200</a>", "+3 direct", "+5 later"]),
            ("Stopped", &[">34<"]),
            (
                "Open stops",
                &[
                    "<a href=\"/ops/stops?lab=nord&amp;state=open\">5</a>",
                    "<time datetime=\"2026-11-21T21:30:00Z\" data-until data-over=\"overdue\">Sat 21:30 UTC</time>",
                ],
            ),
            (
                "Hand-overs",
                &[
                    "<span class=\"badge bad\">9 with a person</span>",
                    "<span class=\"badge warn\">8 unclear</span>",
                    "<span class=\"badge warn\">7 to send again</span>",
                    "<span class=\"badge \">6 under way</span>",
                ],
            ),
            (
                "Lab's health",
                &[
                    "<span class=\"badge bad\">silent</span>",
                    ">unclear<",
                    "datetime=\"2026-11-21T20:58:00Z\"",
                ],
            ),
        ];
        assert_eq!(cells.len(), expected.len(), "{shown}");
        for (cell, (label, parts)) in cells.iter().zip(expected) {
            assert!(cell.starts_with(&format!("{label}\"")), "{label}: {cell}");
            for part in parts {
                assert_eq!(cell.matches(part).count(), 1, "{label}: {part}: {cell}");
            }
        }
        assert!(shown.starts_with("<tr id=\"r:nord:fi\" class=\"act\">"), "{shown}");
        let batch = format!("/ops/batches/{batch}");
        assert!(cells[1].contains(&batch) && cells[4].contains(&batch), "{shown}");
        // A season that is none of the peaks says its name, and no more.
        let calm = row(&Region { season: Some("summer".to_owned()), peak: false, ..it });
        assert!(calm.contains("<span class=\"badge\">summer</span>") && !calm.contains('▲'), "{calm}");
    }
}
