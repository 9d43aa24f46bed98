//! PostgreSQL 15 and later: several replicas over one database.
//!
//! READ COMMITTED with row locks; `synchronous_commit` is set on for every connection, whatever the
//! server's default: an answer may only follow a commit that cannot vanish. Where the server has a
//! synchronous standby, that is a commit which the standby has on its disk as well.
//!
//! The address may lead to another server at any time, because a standby took over. Whatever is kept here
//! beyond a transaction must hold there too, and a server that takes no writes is nobody's: what it shows
//! may be old.

mod pool;

use std::collections::{HashSet, VecDeque};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, Postgres as Driver};
use sqlx::{Column as _, ConnectOptions as _, Connection as _, Row as _, TypeInfo as _, ValueRef as _};

use super::dialect::Dialect;
use super::session::{Arg, Cell, Row, Session};
use super::sql::Statements;
use super::verbs;
use super::{Error, Result, Write, Written};
use crate::points::{mistake, point};
use pool::Doubt;

/// The server engine.
#[derive(Debug)]
pub(super) struct Postgres {
    pool: sqlx::Pool<Driver>,
    doubt: Arc<Doubt>,
    settled: Mutex<Settled>,
}

/// Up to which entry of the log nothing can appear any more.
///
/// Entries get their numbers before their transactions commit, and these commit in any order: whoever
/// reads 8 may have missed a 7 that is still on its way. A mark notes the last number that is there, and then
/// who is writing to the log: whoever got a number up to it is among them or has ended. Once they all have
/// ended, the entries up to the mark are there or never will be.
///
/// Not the last number given out: what was given to a transaction that never committed is given out again
/// after a crash, or by the standby that took over, and the one who gets it then is still to come.
///
/// And all of it is about one server. One that was left may still be looked at, over a connection that was in use: who
/// writes to its log says nothing of who writes to the other's.
#[derive(Debug, Default)]
struct Settled {
    /// When the server was started: which one it is.
    server: i64,
    until: i64,
    /// The last number that was there, and the transactions that were writing; oldest first.
    marks: VecDeque<(i64, HashSet<String>)>,
}

impl Settled {
    /// What is known without asking who writes.
    fn at_once(&mut self, server: i64, last: i64) -> Option<i64> {
        if self.server != server {
            *self = Self { server, ..Self::default() };
        }
        (self.until == last).then_some(last)
    }

    /// What follows from who writes to the log of a server whose last entry is known.
    fn until(&mut self, server: i64, last: i64, writing: HashSet<String>) -> i64 {
        if let Some(until) = self.at_once(server, last) {
            return until;
        }
        while let Some((seq, _)) = self.marks.pop_front_if(|(_, then)| then.is_disjoint(&writing)) {
            self.until = self.until.max(seq);
        }
        if writing.is_empty() {
            self.until = self.until.max(last);
        } else if self.marks.len() < MARKS_MAX {
            self.marks.push_back((last, writing));
        }
        self.until
    }
}

/// How many marks are kept while an old transaction runs.
const MARKS_MAX: usize = 64;
/// How often, a hundredth of a second apart, a check of the whole log looks for its end.
const LOOKS_MAX: usize = 1_000;
/// How often a transaction that met another one, or a server that takes no writes, is run again.
const TRIES_MAX: usize = 8;

/// How long a statement is waited for: longer than the server lets it run, so that only a server that vanished without
/// a word, with its host or its network, is given up here.
const STATEMENT_WITHIN: Duration = Duration::from_secs(65);
/// The same for all statements of a set.
const SET_WITHIN: Duration = Duration::from_secs(75);

fn silent(within: Duration) -> Error {
    Error::Unavailable(format!("the database said nothing for {} seconds", within.as_secs()))
}

/// The oldest server that is supported.
const VERSION_MIN: i64 = 150_000;

impl Postgres {
    /// Connects and migrates.
    pub(super) async fn open(url: &str) -> Result<Self> {
        // The URL may carry a password: it is never part of a message.
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| Error::Open(format!("the database URL cannot be read: {error}")))?
            .application_name("stoppress")
            .options([
                ("synchronous_commit", if mistake!(CommitCanVanish) { "off" } else { "on" }),
                ("default_transaction_isolation", "read committed"),
                ("statement_timeout", "60s"),
                ("idle_in_transaction_session_timeout", "60s"),
            ])
            .statement_cache_capacity(256)
            .disable_statement_logging();
        let place = format!("{}:{}", options.get_host(), options.get_port());
        let doubt = Arc::default();
        let pool = match pool::options(&doubt).connect_with(options.clone()).await {
            Ok(pool) => pool,
            Err(error) => return Err(Error::Open(pool::not_reached(&options, &place, &error).await)),
        };
        let mut reader = pool.acquire().await?;
        let connection: &mut PgConnection = &mut reader;
        let sql = "select current_setting('server_version_num')::bigint";
        let version = int(connection.fetch(sql, &[]).await?)?;
        if version < VERSION_MIN {
            return Err(Error::Open(format!(
                "PostgreSQL at {place} has version {version}; 15 or later is needed"
            )));
        }
        point!("store.migrations.before");
        super::migrations::of(Dialect::Postgres).run(&pool).await.map_err(super::migrations::explain)?;
        point!("store.migrations.after");
        drop(reader);
        Ok(Self { pool, doubt, settled: Mutex::default() })
    }

    /// Up to where the log is settled, and its last number.
    async fn look(&self, connection: &mut PgConnection) -> Result<(i64, i64)> {
        let sql =
            "select coalesce(max(seq), 0), (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint
            from events";
        let Some(mut row) = connection.fetch(sql, &[]).await?.pop() else { return Ok((0, 0)) };
        let (last, server) = (row.int()?, row.int()?);
        if let Some(until) = self.settled.lock().ok().and_then(|mut settled| settled.at_once(server, last)) {
            return Ok((until, last));
        }
        let sql = "select k.virtualtransaction from pg_locks k
            where k.relation = 'events'::regclass and k.mode = 'RowExclusiveLock' and k.granted
                and k.database = (select d.oid from pg_database d where d.datname = current_database())";
        let rows = connection.fetch(sql, &[]).await?;
        let writing = rows.into_iter().map(|mut row| row.text()).collect::<Result<HashSet<_>>>()?;
        let Ok(mut settled) = self.settled.lock() else { return Ok((0, last)) };
        Ok((settled.until(server, last, writing), last))
    }

    async fn transaction(&self, writes: &[Write]) -> Result<Vec<Written>> {
        let mut connection = self.pool.acquire().await?;
        let error = match tokio::time::timeout(SET_WITHIN, Self::set(&mut connection, writes)).await {
            Ok(Ok(written)) => return Ok(written),
            Ok(Err(error)) => error,
            Err(_) => silent(SET_WITHIN),
        };
        // The caller may be back before the pool has looked at the connection.
        if !error.has_met()
            && let Err(why) = pool::is_there(&mut connection).await
        {
            self.doubt.arises(&format!("is left: {why}"));
            drop(connection.detach());
        }
        Err(error)
    }

    async fn set(connection: &mut PgConnection, writes: &[Write]) -> Result<Vec<Written>> {
        let mut tx = connection.begin().await?;
        let written = verbs::apply(&mut *tx, writes).await?;
        #[cfg(debug_assertions)]
        crate::points::commit("before_commit", writes.iter().map(Write::kind));
        tx.commit().await?;
        #[cfg(debug_assertions)]
        crate::points::commit("after_commit", writes.iter().map(Write::kind));
        Ok(written)
    }
}

/// The one number that a statement gives.
fn int(rows: Vec<Row>) -> Result<i64> {
    rows.into_iter().next().map_or(Ok(0), |mut row| row.int())
}

impl Session for PgConnection {
    const SHARED: bool = true;

    fn sql(&self) -> &'static Statements {
        Dialect::Postgres.statements()
    }

    async fn fetch(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>> {
        let rows = bind(sql, args).fetch_all(&mut *self);
        let rows = tokio::time::timeout(STATEMENT_WITHIN, rows).await;
        let rows = rows.map_err(|_| silent(STATEMENT_WITHIN))??;
        rows.iter().map(decode).collect()
    }

    async fn run(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64> {
        Ok(bind(sql, args).execute(&mut *self).await?.rows_affected())
    }

    async fn put<const N: usize>(&mut self, sql: &'static str, rows: &[[Arg<'_>; N]]) -> Result<u64> {
        let set = json(rows.iter().map(<[_; N]>::as_slice))?;
        self.run(sql, &[Arg::Text(&set)]).await
    }
}

/// A bound set as JSON.
fn json<'a>(rows: impl Iterator<Item = &'a [Arg<'a>]>) -> Result<String> {
    let rows: Vec<&[Arg<'_>]> = rows.collect();
    serde_json::to_string(&rows)
        .map_err(|error| Error::Corrupt { table: "(parameter)", what: error.to_string() })
}

fn bind(sql: &'static str, args: &[Arg<'_>]) -> sqlx::query::Query<'static, Driver, PgArguments> {
    args.iter().fold(sqlx::query(sql), |query, arg| match arg {
        Arg::Int(number) => query.bind(*number),
        Arg::Text(text) => query.bind((*text).to_owned()),
        Arg::Null => query.bind(None::<i64>),
    })
}

fn decode(row: &sqlx::postgres::PgRow) -> Result<Row> {
    let mut cells = Vec::with_capacity(row.len());
    for column in row.columns() {
        let at = column.ordinal();
        let value = row.try_get_raw(at)?;
        let cell = if value.is_null() {
            Cell::Null
        } else {
            match value.type_info().name() {
                "INT8" => Cell::Int(row.try_get(at)?),
                "INT4" => Cell::Int(row.try_get::<i32, _>(at)?.into()),
                "TEXT" => Cell::Text(row.try_get(at)?),
                other => {
                    return Err(Error::Corrupt {
                        table: "?",
                        what: format!("{}: a value of type {other}", column.name()),
                    });
                }
            }
        };
        cells.push(cell);
    }
    Ok(Row::new(cells))
}

impl super::batch::Engine for Postgres {
    type Reader = sqlx::pool::PoolConnection<Driver>;

    async fn apply(&self, writes: &[Write]) -> Result<Vec<Written>> {
        for _ in 1..TRIES_MAX {
            match self.transaction(writes).await {
                Err(error) if error.has_met() || error.is_read_only() => {
                    tracing::debug!("{error}; it is run again");
                }
                done => return done,
            }
        }
        self.transaction(writes).await
    }

    #[cfg(debug_assertions)]
    async fn rehearse(&self, writes: &[Write]) -> Result<Vec<Written>> {
        let mut tx = self.pool.begin().await?;
        let written = verbs::apply(&mut *tx, writes).await?;
        tx.rollback().await?;
        Ok(written)
    }

    async fn reader(&self) -> Result<Self::Reader> {
        Ok(self.pool.acquire().await?)
    }

    async fn settled(&self, reader: &mut Self::Reader) -> Result<i64> {
        let connection: &mut PgConnection = reader;
        self.look(connection).await.map(|(until, _)| until)
    }

    async fn settled_whole(&self, reader: &mut Self::Reader) -> Result<i64> {
        let connection: &mut PgConnection = reader;
        let (mut until, wanted) = self.look(connection).await?;
        for _ in 0..LOOKS_MAX {
            if until >= wanted {
                return Ok(until);
            }
            connection.fetch("select 1 from pg_sleep(0.01)", &[]).await?;
            until = self.look(connection).await?.0;
        }
        Err(Error::Unavailable("a transaction has been writing to the log for too long".to_owned()))
    }

    async fn durability(&self) -> Result<Vec<(&'static str, String)>> {
        let mut reader = self.pool.acquire().await?;
        let connection: &mut PgConnection = &mut reader;
        let mut found = Vec::new();
        for (name, sql) in [
            ("synchronous_commit", "show synchronous_commit"),
            ("transaction_isolation", "show transaction_isolation"),
        ] {
            for mut row in connection.fetch(sql, &[]).await? {
                found.push((name, row.shown()?));
            }
        }
        Ok(found)
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writing(who: &[&str]) -> HashSet<String> {
        who.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn the_log_is_settled_up_to_where_nobody_writes_any_more() {
        let mut settled = Settled::default();
        assert_eq!(settled.until(1, 5, writing(&[])), 5);
        assert_eq!(settled.at_once(1, 5), Some(5));
        assert_eq!(settled.at_once(1, 6), None);
        assert_eq!(settled.until(1, 8, writing(&["4/9"])), 5, "it may have got a number before 8");
        assert_eq!(settled.until(1, 9, writing(&["4/9", "4/10"])), 5);
        assert_eq!(settled.until(1, 9, writing(&["4/10"])), 8);
        assert_eq!(settled.until(1, 9, writing(&["4/11"])), 9);
    }

    #[test]
    fn who_writes_to_one_server_says_nothing_of_another() {
        let mut settled = Settled::default();
        assert_eq!(settled.until(1, 100, writing(&[])), 100);
        // A standby took over, and somebody there has got 105.
        assert_eq!(settled.until(2, 110, writing(&["4/9"])), 0);
        // Nobody writes to the one that was left.
        assert_eq!(settled.until(1, 100, writing(&[])), 100);
        assert_eq!(settled.until(2, 110, writing(&["4/9"])), 0, "what is behind 105 waits");
        assert_eq!(settled.until(2, 110, writing(&[])), 110);
        // It has less than the one before.
        assert_eq!(settled.until(3, 95, writing(&["4/1"])), 0);
    }
}
