//! `stoppress orders import`: many orders from a file, in chunks, each line idempotent by its reference.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, Problem, ServerArgs};
use super::records::Format;
use super::{Failure, Terminal};
use crate::domain::batch::later;
use crate::domain::{Fault, retry};

/// So many lines go into one call at most.
const LINES_MAX: u64 = 2_048;
/// So many bytes go into one call.
const CHUNK: usize = 4 * 1024 * 1024;
/// The most bytes that the gateway takes in one line.
const LINE_MAX: usize = 256 * 1024;
/// So often a chunk is sent that is not answered.
const TRIES: i64 = 5;
/// How often progress is told where no bar can be drawn.
const TELL_EVERY: SignedDuration = SignedDuration::from_secs(5);

/// Import orders: NDJSON, one order a line
///
/// Every line is admitted or refused on its own. The same reference of the same platform is the same
/// order, so that the same file can be imported again after a failure.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  stoppress orders import orders.ndjson
  zcat orders.ndjson.gz | stoppress orders import - --platform shop

A line that is refused is printed with its number; the exit code is 1 if there is one. With
--format json, the result of every line is printed.")]
pub struct ImportArgs {
    /// The file; - for standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// The platform whose orders they are, if the key is of scope ops
    #[arg(long, value_name = "ID")]
    platform: Option<String>,
    /// table: the lines that were refused; json: what became of each line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    server: ServerArgs,
}

/// What the gateway says about a line.
#[derive(Deserialize)]
struct LineResult {
    line: u64,
    status: u16,
    #[serde(default)]
    reference: Option<String>,
    #[serde(default)]
    problem: Option<Problem>,
}

/// What became of the lines so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    new: u64,
    known: u64,
    refused: u64,
}

/// Lines that are sent together.
#[derive(Debug, Default)]
struct Chunk {
    /// The number of its first line.
    first: u64,
    bytes: Vec<u8>,
    lines: u64,
    /// Lines that are not empty: as many results are due.
    orders: u64,
    /// Lines that are too long to be sent, by number, with their length.
    too_long: Vec<(u64, usize)>,
}

/// Runs the command.
pub(super) async fn run(args: ImportArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let client = Client::new(&args.server, terminal)?;
    let is_stdin = args.file.as_os_str() == "-";
    let (mut lines, total): (Box<dyn BufRead>, Option<u64>) = if is_stdin {
        (Box::new(BufReader::new(io::stdin())), None)
    } else {
        let file = File::open(&args.file).map_err(|error| {
            Fault::new("FILE", format!("{} cannot be read: {error}", args.file.display()))
        })?;
        let length = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len());
        (Box::new(BufReader::with_capacity(256 * 1024, file)), length)
    };
    let mut progress = Progress::new(terminal, total);
    let mut tally = Tally::default();
    let mut done = 0;
    while let Some(chunk) = next(&mut *lines, done + 1)? {
        for (line, length) in &chunk.too_long {
            tally.refused += 1;
            let message = format!("has {length} bytes; at most {LINE_MAX} are allowed");
            match args.format {
                Format::Table => writeln!(terminal.out, "line {line}: {message}")?,
                Format::Json => {
                    let problem = serde_json::json!({ "code": "too_large", "detail": message });
                    let result = serde_json::json!({ "line": line, "status": 413, "problem": problem });
                    writeln!(terminal.out, "{result}")?;
                }
            }
        }
        if chunk.orders > 0 {
            let answer = deliver(&client, args.platform.as_deref(), &chunk, terminal).await;
            let results = answer.map_err(|failure| told_how_far(failure, done))?;
            for mut result in results {
                tally.take(&mut result, &chunk, args.format, terminal)?;
            }
        }
        done += chunk.lines;
        progress.tell(chunk.bytes.len() as u64, done, terminal)?;
    }
    progress.end();
    terminal.out.flush()?;
    writeln!(
        terminal.err,
        "{done} lines: {} new, {} known before, {} refused.",
        tally.new, tally.known, tally.refused
    )?;
    if tally.refused == 0 { Ok(()) } else { Err(Failure::Told) }
}

/// Reads the next lines that go together.
fn next(lines: &mut dyn BufRead, first: u64) -> Result<Option<Chunk>, Failure> {
    let unreadable = |error: io::Error| Failure::Failed(format!("the orders cannot be read: {error}"));
    let mut chunk = Chunk { first, ..Chunk::default() };
    while chunk.lines < LINES_MAX && chunk.bytes.len() < CHUNK {
        let from = chunk.bytes.len();
        if lines.read_until(b'\n', &mut chunk.bytes).map_err(unreadable)? == 0 {
            break;
        }
        let length = chunk.bytes[from..].trim_ascii().len();
        if length > LINE_MAX {
            // An empty line keeps the numbers right.
            chunk.bytes.truncate(from);
            chunk.too_long.push((first + chunk.lines, length));
        }
        if chunk.bytes.last() != Some(&b'\n') || chunk.bytes.len() == from {
            chunk.bytes.push(b'\n');
        }
        chunk.lines += 1;
        chunk.orders += u64::from(length > 0 && length <= LINE_MAX);
    }
    Ok((chunk.lines > 0).then_some(chunk))
}

/// Sends a chunk until all of its results are here. A repeat does no harm: an order that is in is
/// recognised by its reference.
async fn deliver(
    client: &Client,
    platform: Option<&str>,
    chunk: &Chunk,
    terminal: &Terminal<'_>,
) -> Result<Vec<Value>, Failure> {
    let mut attempt = 1;
    loop {
        let failure = match client.bulk(platform, &chunk.bytes).await {
            Ok(response) => {
                let body = response.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                let results: Vec<Value> = body.filter_map(|line| serde_json::from_slice(line).ok()).collect();
                if results.len() as u64 == chunk.orders {
                    return Ok(results);
                }
                let cut = response.cut.unwrap_or_else(|| "the results are not whole".to_owned());
                Failure::Failed(format!("the gateway broke off: {cut}"))
            }
            Err(refused @ Failure::Refused(_)) => return Err(refused),
            Err(failure) => failure,
        };
        // A gateway that was never reached is not waited for.
        if attempt == TRIES || (chunk.first == 1 && attempt == 1) {
            return Err(failure);
        }
        let wait = retry::delay(attempt, None, &*terminal.random);
        terminal.clock.sleep_until(later(terminal.clock.now(), wait)).await;
        attempt += 1;
    }
}

fn told_how_far(failure: Failure, done: u64) -> Failure {
    match failure {
        Failure::Failed(why) if done > 0 => Failure::Failed(format!(
            "{why}\n  Lines 1 to {done} are in; run the same command again: no order is admitted twice."
        )),
        other => other,
    }
}

impl Tally {
    fn take(
        &mut self,
        result: &mut Value,
        chunk: &Chunk,
        format: Format,
        terminal: &mut Terminal<'_>,
    ) -> Result<(), Failure> {
        let read: LineResult = Deserialize::deserialize(&*result)
            .map_err(|error| Failure::Failed(format!("the gateway's result cannot be read: {error}")))?;
        let line = chunk.first + read.line.saturating_sub(1);
        match read.status {
            201 => self.new += 1,
            200 => self.known += 1,
            _ => self.refused += 1,
        }
        if format == Format::Json {
            result["line"] = line.into();
            writeln!(terminal.out, "{result}")?;
        } else if let Some(problem) = &read.problem {
            let reference = read.reference.map(|reference| format!("{reference}: ")).unwrap_or_default();
            writeln!(terminal.out, "line {line}: {reference}{}", problem.line())?;
        }
        Ok(())
    }
}

/// A bar on a terminal, a line now and then elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    told_at: Timestamp,
    bytes: u64,
    total: Option<u64>,
}

impl Progress {
    fn new(terminal: &Terminal<'_>, total: Option<u64>) -> Self {
        let bar = terminal.live.then(|| match total {
            Some(total) => {
                let style = "{bar:30} {percent:>3} %  {msg}  {elapsed}, {eta} left";
                ProgressBar::new(total).with_style(
                    ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
                )
            }
            None => ProgressBar::new_spinner(),
        });
        Self { bar, told_at: terminal.clock.now(), bytes: 0, total }
    }

    fn tell(&mut self, bytes: u64, lines: u64, terminal: &mut Terminal<'_>) -> io::Result<()> {
        self.bytes += bytes;
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{lines} lines"));
            bar.set_position(self.bytes.min(self.total.unwrap_or(u64::MAX)));
            return Ok(());
        }
        let now = terminal.clock.now();
        if now.duration_since(self.told_at) < TELL_EVERY {
            return Ok(());
        }
        self.told_at = now;
        match self.total {
            Some(total) if total > 0 => {
                writeln!(terminal.err, "{lines} lines ({} %)", (self.bytes * 100 / total).min(100))
            }
            _ => writeln!(terminal.err, "{lines} lines"),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_numbers() {
        let long = "x".repeat(LINE_MAX + 1);
        let text = format!("{{}}\n\n{long}\n{{}}");
        let mut lines = text.as_bytes();
        let chunk = next(&mut lines, 5).unwrap().unwrap();
        assert_eq!((chunk.lines, chunk.orders), (4, 2));
        assert_eq!(chunk.bytes, b"{}\n\n\n{}\n");
        assert_eq!(chunk.too_long, [(7, LINE_MAX + 1)]);
        assert!(next(&mut lines, 9).unwrap().is_none());
    }

    #[test]
    fn a_chunk_ends_after_so_many_lines() {
        let text = "{}\n".repeat(5_000);
        let mut lines = text.as_bytes();
        let mut first = 1;
        let mut counts = Vec::new();
        while let Some(chunk) = next(&mut lines, first).unwrap() {
            first += chunk.lines;
            counts.push(chunk.lines);
        }
        assert_eq!(counts, [2_048, 2_048, 904]);
    }
}
