//! Cuts a stream of bytes into lines, however it comes in pieces.

use super::bulk::SET;
use super::limits::{BODY_MAX, BULK_MAX};
use super::problem::{Answer, Code, Problem};

/// The number of a line, from 1, and the line without blanks around it; or why there will be none.
pub type Line = (u64, Answer<Vec<u8>>);

/// Cuts lines. Empty ones are counted and passed over; one that is too long is refused.
#[derive(Debug, Default)]
pub struct Cutter {
    /// What was read and is no whole line yet.
    held: Vec<u8>,
    line: u64,
    bytes: usize,
    ended: bool,
}

impl Cutter {
    /// Takes the next piece, and adds the lines that are whole to a set, up to its size.
    pub fn take(&mut self, piece: &[u8], set: &mut Vec<Line>) {
        self.bytes += piece.len();
        if self.bytes > BULK_MAX {
            let text = "The request has more than 64 MiB; later lines were not read.";
            return self.end(set, Some(Problem::new(Code::TooLarge, text)));
        }
        self.held.extend_from_slice(piece);
        self.lines(set);
    }

    /// Cuts whole lines off what was read, up to a set.
    pub fn lines(&mut self, set: &mut Vec<Line>) {
        let mut from = 0;
        while set.len() < SET {
            let Some(length) = self.held[from..].iter().position(|byte| *byte == b'\n') else { break };
            let line = &self.held[from..from + length];
            from += length + 1;
            push(&mut self.line, line, set);
        }
        self.held.drain(..from);
        // A line that is too long already is refused; where it ends, nobody knows.
        if set.len() < SET && self.held.len() > BODY_MAX && !self.held.contains(&b'\n') {
            self.held.clear();
            let text = "The line has more than 256 KiB; later lines were not read.";
            self.end(set, Some(Problem::new(Code::TooLarge, text)));
        }
    }

    /// Nothing comes any more: the rest is lines, or there is a reason why it is not read.
    pub fn end(&mut self, set: &mut Vec<Line>, why: Option<Problem>) {
        self.ended = true;
        let rest = std::mem::take(&mut self.held);
        match why {
            Some(problem) => {
                self.line += 1;
                set.push((self.line, Err(problem)));
            }
            None => rest.split(|byte| *byte == b'\n').for_each(|line| push(&mut self.line, line, set)),
        }
    }

    /// Whether nothing comes any more.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended
    }
}

fn push(count: &mut u64, line: &[u8], set: &mut Vec<Line>) {
    *count += 1;
    let line = line.trim_ascii();
    if line.len() > BODY_MAX {
        set.push((*count, Err(Problem::new(Code::TooLarge, "The line has more than 256 KiB."))));
    } else if !line.is_empty() {
        set.push((*count, Ok(line.to_vec())));
    }
}
