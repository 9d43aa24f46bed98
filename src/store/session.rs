//! One open transaction, seen the same way on both engines: statements in, rows of numbers and texts
//! out. All columns of the schema are one of the two, so this is all that the one body needs.

use std::future::Future;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Visitor};

use super::sql::Statements;
use super::{Error, Result};

/// A bound value.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub(super) enum Arg<'a> {
    /// A number.
    Int(i64),
    /// A text.
    Text(&'a str),
    /// Nothing.
    Null,
}

impl From<Option<i64>> for Arg<'_> {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::Null, Self::Int)
    }
}

impl<'a> From<Option<&'a str>> for Arg<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

impl From<i64> for Arg<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Arg<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl From<Timestamp> for Arg<'_> {
    fn from(at: Timestamp) -> Self {
        Self::Int(at.as_microsecond())
    }
}

/// A value of a row.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
    /// Nothing.
    Null,
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visit;
        impl Visitor<'_> for Visit {
            type Value = Cell;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a whole number, a text or null")
            }
            fn visit_i64<E>(self, number: i64) -> std::result::Result<Cell, E> {
                Ok(Cell::Int(number))
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> std::result::Result<Cell, E> {
                i64::try_from(number).map(Cell::Int).map_err(E::custom)
            }
            fn visit_str<E>(self, text: &str) -> std::result::Result<Cell, E> {
                Ok(Cell::Text(text.to_owned()))
            }
            fn visit_string<E>(self, text: String) -> std::result::Result<Cell, E> {
                Ok(Cell::Text(text))
            }
            fn visit_unit<E>(self) -> std::result::Result<Cell, E> {
                Ok(Cell::Null)
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

/// A row, read from left to right: the order of a statement's columns is the order of the reads.
#[derive(Debug)]
pub(super) struct Row {
    cells: std::vec::IntoIter<Cell>,
    table: &'static str,
}

impl Row {
    pub(super) fn new(cells: Vec<Cell>) -> Self {
        Self { cells: cells.into_iter(), table: "?" }
    }

    /// Names the table in errors.
    pub(super) fn of(mut self, table: &'static str) -> Self {
        self.table = table;
        self
    }

    pub(super) fn corrupt(&self, what: impl Into<String>) -> Error {
        Error::Corrupt { table: self.table, what: what.into() }
    }

    fn next(&mut self) -> Result<Cell> {
        self.cells.next().ok_or_else(|| self.corrupt("a column is missing"))
    }

    pub(super) fn int(&mut self) -> Result<i64> {
        match self.next()? {
            Cell::Int(number) => Ok(number),
            other => Err(self.corrupt(format!("{other:?} is not a number"))),
        }
    }

    pub(super) fn opt_int(&mut self) -> Result<Option<i64>> {
        match self.next()? {
            Cell::Int(number) => Ok(Some(number)),
            Cell::Null => Ok(None),
            other @ Cell::Text(_) => Err(self.corrupt(format!("{other:?} is not a number"))),
        }
    }

    /// A value of either kind, as text.
    pub(super) fn shown(&mut self) -> Result<String> {
        Ok(match self.next()? {
            Cell::Int(number) => number.to_string(),
            Cell::Text(text) => text,
            Cell::Null => String::new(),
        })
    }

    pub(super) fn text(&mut self) -> Result<String> {
        match self.next()? {
            Cell::Text(text) => Ok(text),
            other => Err(self.corrupt(format!("{other:?} is not a text"))),
        }
    }

    pub(super) fn opt_text(&mut self) -> Result<Option<String>> {
        match self.next()? {
            Cell::Text(text) => Ok(Some(text)),
            Cell::Null => Ok(None),
            other @ Cell::Int(_) => Err(self.corrupt(format!("{other:?} is not a text"))),
        }
    }

    pub(super) fn at(&mut self) -> Result<Timestamp> {
        let micros = self.int()?;
        Timestamp::from_microsecond(micros).map_err(|_| self.corrupt(format!("{micros} is not an instant")))
    }

    pub(super) fn opt_at(&mut self) -> Result<Option<Timestamp>> {
        self.opt_int()?
            .map(|us| {
                Timestamp::from_microsecond(us).map_err(|_| self.corrupt(format!("{us} is not an instant")))
            })
            .transpose()
    }

    pub(super) fn flag(&mut self) -> Result<bool> {
        Ok(self.int()? != 0)
    }

    /// Reads a text with a parser of its own, such as an id.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &mut self,
        parse: impl Fn(&str) -> std::result::Result<T, E>,
    ) -> Result<T> {
        let text = self.text()?;
        parse(&text).map_err(|error| self.corrupt(error.to_string()))
    }

    /// Reads a number with a parser of its own, such as a phase.
    pub(super) fn coded<T>(&mut self, parse: impl Fn(i64) -> Option<T>) -> Result<T> {
        let code = self.int()?;
        parse(code).ok_or_else(|| self.corrupt(format!("{code} is not a known code")))
    }

    /// Whether the next column is null: an outer join found nothing. Skips `columns` if so.
    pub(super) fn absent(&mut self, columns: usize) -> bool {
        let absent = matches!(self.cells.as_slice().first(), Some(Cell::Null) | None);
        if absent {
            self.cells.by_ref().take(columns).for_each(drop);
        }
        absent
    }
}

/// The rows in a text of listed columns; null, where there are none.
pub(super) fn listed(text: Option<String>) -> Result<Vec<Row>> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let rows: Vec<Vec<Cell>> = serde_json::from_str(&text)
        .map_err(|error| Error::Corrupt { table: "?", what: error.to_string() })?;
    Ok(rows.into_iter().map(Row::new).collect())
}

/// A connection in a transaction.
pub(super) trait Session: Send {
    /// Whether several gateways may be at work on the same database.
    const SHARED: bool;
    /// The statements in this engine's dialect.
    fn sql(&self) -> &'static Statements;
    /// Runs a statement and gives its rows.
    fn fetch(&mut self, sql: &'static str, args: &[Arg<'_>])
    -> impl Future<Output = Result<Vec<Row>>> + Send;
    /// Runs a statement and gives the number of rows that it changed.
    fn run(&mut self, sql: &'static str, args: &[Arg<'_>]) -> impl Future<Output = Result<u64>> + Send;
    /// Runs a statement that has a bound set, and gives the number of rows that it changed. `rows` have the
    /// columns of the set, in its order.
    fn put<const N: usize>(
        &mut self,
        sql: &'static str,
        rows: &[[Arg<'_>; N]],
    ) -> impl Future<Output = Result<u64>> + Send;
}

const MET: &str = "two transactions met, and this one gave way";
const READ_ONLY: &str = "the database takes no writes: it is a standby, or was set to read only";
const NOT_REACHED: &str = "no connection to the database could be had in time";

impl Error {
    /// Another transaction was first: this one is to be run again, and will see what that one did.
    pub(super) fn met() -> Self {
        Self::Unavailable(MET.to_owned())
    }

    /// Whether running the same transaction again is all that is needed.
    pub(super) fn has_met(&self) -> bool {
        matches!(self, Self::Unavailable(cause) if cause == MET)
    }

    /// Whether the connection led to a server that takes no writes: nothing was done, and another connection may lead
    /// to one that does.
    pub(super) fn is_read_only(&self) -> bool {
        matches!(self, Self::Unavailable(cause) if cause == READ_ONLY)
    }

    /// Whether there was no connection: nothing was done, for no fault of what was to be written, and whoever is next
    /// would wait for nothing too.
    pub(super) fn is_not_reached(&self) -> bool {
        matches!(self, Self::Unavailable(cause) if cause == NOT_REACHED)
    }
}

/// The driver's errors, as callers can act on them.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return Self::Unavailable(NOT_REACHED.to_owned());
        }
        // Deadlock found, serialization failure: PostgreSQL's way to say who goes first.
        match error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() {
            Some("40P01" | "40001") => Self::met(),
            Some("25006") => Self::Unavailable(READ_ONLY.to_owned()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
