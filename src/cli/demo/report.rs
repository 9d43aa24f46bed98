//! The report: what was asked, what came of it, and what the check found.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use serde_json::Value;

use super::cast::ROLES;
use super::check::{Findings, Kind};
use super::house::House;
use super::play::Book;
use super::screen::{local, plural, thousands};
use super::script::Script;
use super::wire::{Batch, Event, Odd};
use crate::cli::simulate::ledger::{Said, What};
use crate::domain::batch::TransferPhase;
use crate::domain::stop::{Evidence, StopState};

/// A window of a lab, as the gateway shows it.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the names of the report")]
pub struct WindowLine {
    pub lab: String,
    pub cutoff: String,
    pub orders: u64,
    pub stopped_before: u64,
    pub handed_over: u64,
    pub transfers: usize,
    pub attempts: u64,
    pub with_a_person: u64,
}

/// A lab, by its own ledger.
#[derive(Debug, Clone, Default, Serialize)]
#[expect(missing_docs, reason = "the names of the report")]
pub struct LabLine {
    pub lab: String,
    pub manner: String,
    pub received: usize,
    pub printed: u64,
    pub taken_out: u64,
    pub uploads: usize,
    pub repeated: usize,
    pub refused: usize,
    pub answers_lost: usize,
    pub stops_answered: BTreeMap<String, usize>,
}

/// How stops ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names of the report")]
pub struct Stops {
    pub asked: usize,
    pub in_the_gateway: usize,
    pub proven_never_handed: usize,
    pub by_the_lab: usize,
    pub by_a_person: usize,
    pub too_late: usize,
    pub too_late_by_a_person: usize,
    pub with_a_person: usize,
    pub pending: usize,
}

/// The report.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the names of the report")]
pub struct Report {
    pub origin: String,
    pub simulated_from: String,
    pub simulated_to: String,
    pub seconds: f64,
    pub calls: usize,
    pub orders_accepted: usize,
    pub orders_refused: Vec<String>,
    pub left_out: BTreeMap<String, usize>,
    pub broken_lines: Vec<String>,
    pub stops_by_lab: BTreeMap<String, Stops>,
    pub stops_of_unknown_orders: usize,
    pub stops_of_clock_watchers: usize,
    pub decided_by_the_person: BTreeMap<String, usize>,
    pub windows: Vec<WindowLine>,
    pub labs: Vec<LabLine>,
    pub unclear_hand_overs: BTreeMap<String, usize>,
    pub events: i64,
    pub checkpoints: i64,
    pub check: Findings,
}

/// Reads the windows from the gateway.
///
/// # Errors
/// If a page cannot be read.
pub async fn windows(house: &House) -> Result<Vec<WindowLine>, Odd> {
    let listed: Vec<Batch> = house.ops.all(&["batches"], "batches", "").await?;
    let mut lines = Vec::with_capacity(listed.len());
    for batch in listed {
        let batch: Batch = house.ops.get(&["batches", batch.id.as_str()], "").await?;
        let of = |phase| {
            let found = batch.transfers.iter().filter(move |transfer| transfer.phase == phase);
            found.map(|transfer| transfer.orders).sum::<u64>()
        };
        lines.push((
            batch.window.closes_at,
            WindowLine {
                lab: format!("{}/{}", batch.lab, batch.region),
                cutoff: local(&batch.window.closes_at_local),
                orders: batch.orders,
                stopped_before: batch
                    .orders
                    .saturating_sub(batch.transfers.iter().map(|t| t.orders).sum::<u64>()),
                handed_over: of(TransferPhase::AtLab),
                transfers: batch.transfers.len(),
                attempts: batch.transfers.iter().map(|transfer| transfer.attempts).sum(),
                with_a_person: of(TransferPhase::WithAPerson),
            },
        ));
    }
    lines.sort_by(|a, b| (&a.1.lab, a.0).cmp(&(&b.1.lab, b.0)));
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

/// Reads from the feed how hand-overs of unknown outcome were cleared up.
///
/// # Errors
/// If a page cannot be read.
pub async fn unclear(house: &House) -> Result<BTreeMap<String, usize>, Odd> {
    #[derive(serde::Deserialize)]
    struct Page {
        events: Vec<Event>,
        next: i64,
    }
    let mut waiting = BTreeSet::new();
    let (mut after, mut found) = (0, BTreeMap::new());
    loop {
        let page: Page = house.ops.get(&["events"], &format!("after={after}&limit=200")).await?;
        if page.events.is_empty() {
            break;
        }
        after = page.next;
        for event in page.events.iter().filter(|event| event.kind.starts_with("transfer.")) {
            if event.kind == "transfer.unknown" {
                waiting.insert(event.subject.clone());
            } else if event.kind != "transfer.answer" && waiting.remove(&event.subject) {
                *found.entry(cleared(event).to_owned()).or_default() += 1;
            }
        }
    }
    if !waiting.is_empty() {
        found.insert("still unknown".to_owned(), waiting.len());
    }
    Ok(found)
}

fn cleared(event: &Event) -> &'static str {
    let looked_up = event.detail["source"] == "look_up";
    match event.kind.as_str() {
        "transfer.sending" => "sent again: same bytes, same key",
        "transfer.at_lab" if looked_up => "looked up: the lab had it",
        "transfer.at_lab" if event.actor == "gateway" => "the lab's answer to a stop: it had it",
        "transfer.at_lab" => "the lab's own report: it had it",
        "transfer.closed" if looked_up => "looked up: absent, sent anew under a new key",
        "transfer.with_a_person" => "given to a person",
        _ => "otherwise",
    }
}

/// The labs, by their own ledgers.
#[must_use]
pub fn labs(house: &House) -> Vec<LabLine> {
    let mut lines = Vec::new();
    for staff in &house.labs {
        let ledger = staff.lab.ledger();
        let mut line = LabLine {
            lab: format!("{}/{}", staff.role.id, staff.role.region),
            manner: staff.role.manner.to_owned(),
            ..LabLine::default()
        };
        for verdict in ledger.verdicts() {
            line.received += usize::from(verdict.received > 0);
            line.printed += verdict.prints;
            line.taken_out += u64::from(verdict.removed > 0);
        }
        for entry in ledger.entries() {
            match &entry.what {
                What::Received { .. } => line.uploads += 1,
                What::Repeated { .. } => line.repeated += 1,
                What::Refused { .. } => line.refused += 1,
                What::AnswerLost { .. } => line.answers_lost += 1,
                What::StopAnswered { answer, .. } if *answer != Said::AnswerLater => {
                    let word = serde_json::to_value(answer).unwrap_or_default();
                    let word = word.as_str().unwrap_or_default().to_owned();
                    *line.stops_answered.entry(word).or_default() += 1;
                }
                _ => {}
            }
        }
        lines.push(line);
    }
    lines
}

/// How stops ended, by lab.
#[must_use]
pub fn stops(book: &Book) -> BTreeMap<String, Stops> {
    let mut by_lab: BTreeMap<String, Stops> = BTreeMap::new();
    for account in &book.accounts {
        let Some((first, last)) = account.told.first().zip(account.last()) else { continue };
        let line = by_lab.entry(account.lab.clone()).or_default();
        line.asked += 1;
        let person = last.evidence == Some(Evidence::PersonConfirmed)
            || account.told.iter().any(|told| told.state == StopState::WithAPerson);
        let count = match last.state {
            StopState::Stopped if first.state == StopState::Stopped => &mut line.in_the_gateway,
            StopState::Stopped if last.evidence == Some(Evidence::NeverHanded) => {
                &mut line.proven_never_handed
            }
            StopState::Stopped if person => &mut line.by_a_person,
            StopState::Stopped | StopState::StoppedInPart => &mut line.by_the_lab,
            StopState::TooLate if person => &mut line.too_late_by_a_person,
            StopState::TooLate => &mut line.too_late,
            StopState::WithAPerson => &mut line.with_a_person,
            StopState::Pending => &mut line.pending,
        };
        *count += 1;
    }
    by_lab
}

fn table(out: &mut dyn Write, head: &[&str], rows: Vec<Vec<String>>, texts: &[usize]) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for nth in 0..head.len() {
        if let Some(column) = table.column_mut(nth).filter(|_| !texts.contains(&nth)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.to_string().lines() {
        writeln!(out, " {}", line.trim_end())?;
    }
    writeln!(out)
}

fn row(first: &str, numbers: &[usize]) -> Vec<String> {
    let numbers =
        numbers.iter().map(|number| if *number == 0 { "·".to_owned() } else { thousands(*number as u64) });
    std::iter::once(first.to_owned()).chain(numbers).collect()
}

impl Report {
    /// Prints it for people.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn print(&self, script: &Script, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Orders: {}", self.origin)?;
        writeln!(
            out,
            "  {} accepted, {} refused; {} of {}; {} to {}, in {:.1} s.",
            thousands(self.orders_accepted as u64),
            self.orders_refused.len(),
            plural(script.cancels(), "cancellation", "cancellations"),
            plural(script.shops.len(), "shop", "shops"),
            self.simulated_from,
            self.simulated_to,
            self.seconds,
        )?;
        for refused in self.orders_refused.iter().take(10) {
            writeln!(out, "  refused: {refused}")?;
        }
        for (what, times) in &self.left_out {
            writeln!(out, "  {}: {what}", thousands(*times as u64))?;
        }
        if !self.broken_lines.is_empty() {
            writeln!(out, "  {} cannot be read:", plural(self.broken_lines.len(), "line", "lines"))?;
            for broken in self.broken_lines.iter().take(10) {
                writeln!(out, "    {broken}")?;
            }
        }
        writeln!(out, "\nHanded over, by lab and window (gateway)")?;
        self.print_windows(out)?;
        writeln!(out, "What the labs did (their ledgers)")?;
        self.print_labs(out)?;
        writeln!(out, "Stops")?;
        self.print_stops(out)?;
        if !self.unclear_hand_overs.is_empty() {
            let all: usize = self.unclear_hand_overs.values().sum();
            writeln!(out, "Hand-overs of unknown outcome: {all}, cleared up by")?;
            for (how, times) in &self.unclear_hand_overs {
                writeln!(out, "  {times:>4}  {how}")?;
            }
            writeln!(out)?;
        }
        self.print_check(out)
    }

    fn print_windows(&self, out: &mut dyn Write) -> io::Result<()> {
        let head =
            ["lab", "cutoff", "orders", "stopped", "handed over", "transfers", "attempts", "with a person"];
        let rows = self.windows.iter().enumerate().map(|(nth, line)| {
            let again = nth > 0 && self.windows[nth - 1].lab == line.lab;
            let numbers = [
                line.orders as usize,
                line.stopped_before as usize,
                line.handed_over as usize,
                line.transfers,
                line.attempts as usize,
                line.with_a_person as usize,
            ];
            let mut cells = row(if again { "" } else { &line.lab }, &numbers);
            cells.insert(1, line.cutoff.clone());
            cells
        });
        table(out, &head, rows.collect(), &[0, 1])
    }

    fn print_labs(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = [
            "lab",
            "orders",
            "printed",
            "taken out",
            "uploads",
            "repeats",
            "refused",
            "answers lost",
            "manner",
        ];
        let rows = self.labs.iter().map(|line| {
            let numbers = [
                line.received,
                line.printed as usize,
                line.taken_out as usize,
                line.uploads,
                line.repeated,
                line.refused,
                line.answers_lost,
            ];
            let mut cells = row(&line.lab, &numbers);
            cells.push(line.manner.clone());
            cells
        });
        table(out, &head, rows.collect(), &[0, 8])
    }

    fn print_stops(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = [
            "lab",
            "asked",
            "stopped: gateway",
            "proven absent",
            "lab",
            "person",
            "too late",
            "by person",
            "person, open",
        ];
        let numbers = |line: &Stops| {
            [
                line.asked,
                line.in_the_gateway,
                line.proven_never_handed,
                line.by_the_lab,
                line.by_a_person,
                line.too_late,
                line.too_late_by_a_person,
                line.with_a_person + line.pending,
            ]
        };
        let mut total = [0; 8];
        let mut rows = Vec::new();
        for (lab, line) in &self.stops_by_lab {
            let numbers = numbers(line);
            total.iter_mut().zip(numbers).for_each(|(total, number)| *total += number);
            rows.push(row(lab, &numbers));
        }
        rows.push(row("all", &total));
        table(out, &head, rows, &[0])?;
        if self.stops_of_clock_watchers > 0 {
            let times = self.stops_of_clock_watchers;
            writeln!(out, "  {times} of these were added: customers who stop within 90 s of the cutoff.")?;
        }
        if !self.decided_by_the_person.is_empty() {
            let decided: Vec<_> =
                self.decided_by_the_person.iter().map(|(what, times)| format!("{what} {times}")).collect();
            writeln!(out, "  Decided by the person at the desk, by telephone: {}.", decided.join(", "))?;
        }
        let times = self.stops_of_unknown_orders;
        writeln!(out, "  {times} more were of orders that the gateway never had: answered 404.\n")
    }

    fn print_check(&self, out: &mut dyn Write) -> io::Result<()> {
        let found = &self.check;
        writeln!(
            out,
            "The check: {} answers about stops and {} orders, against the ledgers of {} labs",
            thousands(found.answers as u64),
            thousands(found.orders as u64),
            ROLES.len(),
        )?;
        let explained = [
            (
                Kind::BrokenPromise,
                "told stopped and printed, asked in time and not stopped, an answer that changed",
            ),
            (Kind::Loss, "accepted, not stopped, and neither printed nor with a person"),
            (Kind::DoublePrint, "printed more than once"),
            (Kind::Fault, "answers that should not have been, and a changelog that does not hold together"),
        ];
        for (kind, words) in Kind::ALL {
            let why = explained.iter().find(|(of, _)| *of == kind).map_or("", |(_, why)| why);
            writeln!(out, "  {:>4} {words:<16} {why}", found.count(kind))?;
        }
        let in_time = plural(found.in_time, "stop was", "stops were");
        writeln!(
            out,
            "       {in_time} asked before the promised instant; each had to be told stopped at once"
        )?;
        writeln!(
            out,
            "       {} in hash chains under {} verified",
            plural(self.events as usize, "event", "events"),
            plural(self.checkpoints as usize, "checkpoint", "checkpoints"),
        )?;
        for (what, times) in &found.remarks {
            writeln!(out, "       {what}: {times}")?;
        }
        Ok(())
    }

    /// The report as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
