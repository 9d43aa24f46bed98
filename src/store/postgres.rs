//! PostgreSQL 15 and later: several replicas over one database.
//!
//! READ COMMITTED with row locks; `synchronous_commit` is set on for every connection, whatever the
//! server's default: an answer may only follow a commit that cannot vanish.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, Postgres as Driver};
use sqlx::{Column as _, ConnectOptions as _, Row as _, TypeInfo as _, ValueRef as _};

use super::session::{Arg, Cell, Row, Session};
use super::sql::{Dialect, Statements};
use super::verbs;
use super::{Error, Result, Write, Written};

/// The server engine.
#[derive(Debug)]
pub(super) struct Postgres {
    pool: sqlx::Pool<Driver>,
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
                ("synchronous_commit", "on"),
                ("default_transaction_isolation", "read committed"),
                ("statement_timeout", "60s"),
                ("idle_in_transaction_session_timeout", "60s"),
            ])
            .statement_cache_capacity(256)
            .disable_statement_logging();
        let place = format!("{}:{}", options.get_host(), options.get_port());
        let pool = PoolOptions::new()
            .max_connections(16)
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await
            .map_err(|error| Error::Open(format!("cannot reach PostgreSQL at {place}: {error}")))?;
        let mut reader = pool.acquire().await?;
        let connection: &mut PgConnection = &mut reader;
        let version = match connection
            .fetch("select current_setting('server_version_num')::bigint", &[])
            .await?
            .pop()
        {
            Some(mut row) => row.int()?,
            None => 0,
        };
        if version < VERSION_MIN {
            return Err(Error::Open(format!(
                "PostgreSQL at {place} has version {version}; 15 or later is needed"
            )));
        }
        super::migrations::of(Dialect::Postgres).run(&pool).await.map_err(super::migrations::explain)?;
        drop(reader);
        Ok(Self { pool })
    }
}

impl Session for PgConnection {
    fn sql(&self) -> &'static Statements {
        Dialect::Postgres.statements()
    }

    async fn fetch(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>> {
        let rows = bind(sql, args).fetch_all(&mut *self).await?;
        rows.iter().map(decode).collect()
    }

    async fn run(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64> {
        Ok(bind(sql, args).execute(&mut *self).await?.rows_affected())
    }
}

fn bind(sql: &'static str, args: &[Arg<'_>]) -> sqlx::query::Query<'static, Driver, PgArguments> {
    args.iter().fold(sqlx::query(sql), |query, arg| match arg {
        Arg::Int(number) => query.bind(*number),
        Arg::Text(text) => query.bind((*text).to_owned()),
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
        {
            let mut tx = self.pool.begin().await?;
            let written = verbs::apply(&mut *tx, writes).await?;
            tx.commit().await?;
            Ok(written)
        }
    }

    async fn reader(&self) -> Result<Self::Reader> {
        Ok(self.pool.acquire().await?)
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}
