//! What is seen while it plays: a bar on a terminal, plain lines otherwise.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use jiff::civil::DateTime;

use super::house::Staff;
use super::play::Book;
use super::wire::Batch;

/// The screen.
#[derive(Debug)]
pub(super) struct Screen {
    mode: Mode,
    away: BTreeSet<&'static str>,
}

#[derive(Debug)]
enum Mode {
    /// Nothing is shown.
    Quiet,
    /// Lines on standard error.
    Plain,
    /// A bar on standard error, and lines above it.
    Bar(ProgressBar),
}

/// An instant as its region's clocks show it (`2010-12-02T00:00:00+02:00[Europe/Helsinki]`), for people.
#[must_use]
pub(super) fn local(shown: &str) -> String {
    let (stamp, zone) = shown.split_once('[').unwrap_or((shown, ""));
    match stamp.get(..19).and_then(|civil| civil.parse::<DateTime>().ok()) {
        Some(civil) => format!("{} {}", civil.strftime("%a %F %H:%M"), zone.trim_end_matches(']')),
        None => shown.to_owned(),
    }
}

/// An instant in UTC, for people.
#[must_use]
pub(super) fn utc(at: Timestamp) -> String {
    at.strftime("%a %F %H:%M UTC").to_string()
}

/// One word or the other.
#[must_use]
pub(super) fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", thousands(count as u64), if count == 1 { one } else { many })
}

/// A number with its thousands apart.
#[must_use]
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Screen {
    /// The screen of this process.
    #[must_use]
    pub(super) fn new(acts: usize) -> Self {
        let mode = if std::io::stderr().is_terminal() {
            let plain = crate::config::variable("NO_COLOR").is_some();
            let bar = if plain { "{bar:30}" } else { "{bar:30.cyan/blue}" };
            let style = ProgressStyle::with_template(&format!("{{spinner}} {bar} {{percent:>3}} %  {{msg}}"));
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::with_draw_target(Some(acts as u64), ProgressDrawTarget::stderr());
            Mode::Bar(bar.with_style(style))
        } else {
            Mode::Plain
        };
        Self { mode, away: BTreeSet::new() }
    }

    /// A screen on which nothing is seen.
    #[must_use]
    pub(super) fn quiet() -> Self {
        Self { mode: Mode::Quiet, away: BTreeSet::new() }
    }

    /// Shows a line.
    pub(super) fn line(&self, text: &str) {
        match &self.mode {
            Mode::Quiet => {}
            // A screen that is gone is no reason to end.
            Mode::Plain => drop(writeln!(std::io::stderr(), "{text}")),
            Mode::Bar(bar) => bar.println(text),
        }
    }

    /// A cutoff has passed.
    pub(super) fn closed(&self, batch: &Batch) {
        let before =
            if batch.stopped > 0 { format!(", {} stopped before", batch.stopped) } else { String::new() };
        let orders = plural(batch.orders as usize, "order", "orders");
        let place = format!("{}/{}", batch.lab, batch.region);
        self.line(&format!(
            "{:<38} {place:<16} closed {orders}{before}",
            local(&batch.window.closes_at_local)
        ));
    }

    /// How a lab is: told when it goes away or comes back.
    pub(super) fn lab(&mut self, staff: &Staff, now: Timestamp) {
        let away = staff.lab.behaviour().down_at(now).is_some();
        let told = if away { self.away.insert(staff.role.id) } else { self.away.remove(staff.role.id) };
        if told {
            let what = if away { "goes away: its port closes connections" } else { "is back" };
            let place = format!("{}/{}", staff.role.id, staff.role.region);
            self.line(&format!("{:<38} {place:<16} {what}", utc(now)));
        }
    }

    /// Shows how far it is.
    pub(super) fn at(&self, now: Timestamp, book: &Book) {
        let Mode::Bar(bar) = &self.mode else { return };
        bar.set_position((book.accounts.len() + book.refused.len() + book.asked + book.unknown) as u64);
        let (orders, stops) = (book.accounts.len(), book.asked + book.unknown);
        bar.set_message(format!("{}  {orders} orders  {stops} stops", utc(now)));
        bar.tick();
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        if let Mode::Bar(bar) = &self.mode {
            bar.finish_and_clear();
        }
    }

    /// How long the bar may stand still before it is drawn again.
    pub(super) fn steady(&self) {
        if let Mode::Bar(bar) = &self.mode {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_times_are_read_by_people() {
        assert_eq!(
            local("2010-12-02T00:00:00+02:00[Europe/Helsinki]"),
            "Thu 2010-12-02 00:00 Europe/Helsinki"
        );
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(plural(1, "order", "orders"), "1 order");
    }
}
