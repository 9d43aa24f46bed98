//! SQLite: one writer connection outside any pool, a read-only pool beside it, one process a file.
//!
//! WAL with `synchronous=FULL`: a commit that was acknowledged survives a power cut, as far as the disk
//! tells the truth. Every set is one `BEGIN IMMEDIATE` transaction.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{
    Sqlite as Driver, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous,
};
use sqlx::{Column as _, ConnectOptions as _, Connection as _, Row as _, TypeInfo as _, ValueRef as _};
use tokio::sync::Mutex;

use super::dialect::{Dialect, GATHERED, SET_ROWS_MAX, sized};
use super::session::{Arg, Cell, Row, Session, listed};
use super::sql::Statements;
use super::verbs;
use super::wal::{Mover, WRITER_PAGES};
use super::{Error, Result, Write, Written};
use crate::points::{mistake, point};

/// The embedded engine.
#[derive(Debug)]
pub(super) struct Sqlite {
    writer: Mutex<Option<SqliteConnection>>,
    readers: sqlx::Pool<Driver>,
    mover: Mover,
    file: PathBuf,
    lock: std::sync::Mutex<Option<File>>,
}

impl Sqlite {
    /// Opens or creates the file, migrates it, and holds it for this process.
    pub(super) async fn open(file: &Path, now: Timestamp) -> Result<Self> {
        if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| {
                Error::Open(format!("cannot create the folder {}: {error}", folder.display()))
            })?;
        }
        let lock = hold(file, now)?;
        let shown = file.display();
        let options = SqliteConnectOptions::from_str("sqlite:")?
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(if mistake!(CommitCanVanish) {
                SqliteSynchronous::Off
            } else {
                SqliteSynchronous::Full
            })
            .busy_timeout(Duration::from_secs(10))
            .foreign_keys(true)
            .pragma("cache_size", "-32768")
            .pragma("wal_autocheckpoint", WRITER_PAGES)
            .pragma("temp_store", "memory")
            .statement_cache_capacity(256)
            .disable_statement_logging();
        let mut writer = options
            .clone()
            .connect()
            .await
            .map_err(|error| Error::Open(format!("cannot open the database {shown}: {error}")))?;
        point!("store.migrations.before");
        super::migrations::of(Dialect::Sqlite).run(&mut writer).await.map_err(super::migrations::explain)?;
        point!("store.migrations.after");
        let mover = Mover::start(options.clone().pragma("cache_size", "-64")).await?;
        let readers = PoolOptions::new()
            .min_connections(1)
            .max_connections(4)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.read_only(true).pragma("cache_size", "-16384"))
            .await
            .map_err(|error| Error::Open(format!("cannot open the database {shown} for reading: {error}")))?;
        Ok(Self {
            writer: Mutex::new(Some(writer)),
            readers,
            mover,
            file: file.to_owned(),
            lock: std::sync::Mutex::new(Some(lock)),
        })
    }
}

/// Takes the lock file beside the database, or says who has it.
fn hold(file: &Path, now: Timestamp) -> Result<File> {
    let mut name = file.as_os_str().to_owned();
    name.push("-lock");
    let path = PathBuf::from(name);
    let cannot =
        |error: std::io::Error| Error::Open(format!("cannot open the lock file {}: {error}", path.display()));
    let mut lock =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(cannot)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            let holder = if holder.trim().is_empty() { "another process" } else { holder.trim() };
            return Err(Error::Open(format!(
                "the database {} is held by {holder}: a SQLite file serves one process; stop that one, or use PostgreSQL for several",
                file.display()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(cannot(error)),
    }
    // The text is only for the message above; the lock is what holds.
    let _ = lock.set_len(0);
    let _ = write!(lock, "process {} (since {})", std::process::id(), now.strftime("%Y-%m-%d %H:%M:%SZ"));
    Ok(lock)
}

impl Session for SqliteConnection {
    const SHARED: bool = false;

    fn sql(&self) -> &'static Statements {
        Dialect::Sqlite.statements()
    }

    async fn fetch(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>> {
        let rows = bind(sql, args).fetch_all(&mut *self).await?;
        match rows.as_slice() {
            [row] if row.len() == 1 && row.column(0).name() == GATHERED => listed(row.try_get(0)?),
            rows => rows.iter().map(decode).collect(),
        }
    }

    async fn run(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64> {
        Ok(bind(sql, args).execute(&mut *self).await?.rows_affected())
    }

    async fn put<const N: usize>(&mut self, sql: &'static str, rows: &[[Arg<'_>; N]]) -> Result<u64> {
        let mut changed = 0;
        for rows in rows.chunks(SET_ROWS_MAX) {
            // Places without a value are null.
            let query = bind(sized(sql, N, rows.len()), rows.as_flattened());
            changed += query.execute(&mut *self).await?.rows_affected();
        }
        Ok(changed)
    }
}

fn bind<'a>(
    sql: &'static str,
    args: impl IntoIterator<Item = &'a Arg<'a>>,
) -> sqlx::query::Query<'static, Driver, sqlx::sqlite::SqliteArguments> {
    args.into_iter().fold(sqlx::query(sql), |query, arg| match arg {
        Arg::Int(number) => query.bind(*number),
        Arg::Text(text) => query.bind(Arc::<str>::from(*text)),
        Arg::Null => query.bind(None::<i64>),
    })
}

fn decode(row: &sqlx::sqlite::SqliteRow) -> Result<Row> {
    let mut cells = Vec::with_capacity(row.len());
    for column in row.columns() {
        let value = row.try_get_raw(column.ordinal())?;
        let cell = if value.is_null() {
            Cell::Null
        } else {
            match value.type_info().name() {
                "INTEGER" => Cell::Int(row.try_get(column.ordinal())?),
                "TEXT" => Cell::Text(row.try_get(column.ordinal())?),
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

impl super::batch::Engine for Sqlite {
    type Reader = sqlx::pool::PoolConnection<Driver>;

    async fn apply(&self, writes: &[Write]) -> Result<Vec<Written>> {
        let mut slot = self.writer.lock().await;
        let connection = slot.as_mut().ok_or_else(|| Error::Unavailable("the store is closed".to_owned()))?;
        connection.run("begin immediate", &[]).await?;
        let done = match verbs::apply(connection, writes).await {
            Ok(written) => {
                #[cfg(debug_assertions)]
                crate::points::commit("before_commit", writes.iter().map(Write::kind));
                connection.run("commit", &[]).await.map(|_| written)
            }
            Err(error) => Err(error),
        };
        if done.is_ok() {
            #[cfg(debug_assertions)]
            crate::points::commit("after_commit", writes.iter().map(Write::kind));
            self.mover.committed(writes.len());
        } else {
            // Also after a commit that failed, which may leave the transaction open. If even this fails,
            // because nothing is open any more, there is nothing to take back.
            let _ = connection.run("rollback", &[]).await;
        }
        done
    }

    #[cfg(debug_assertions)]
    async fn rehearse(&self, writes: &[Write]) -> Result<Vec<Written>> {
        let mut slot = self.writer.lock().await;
        let connection = slot.as_mut().ok_or_else(|| Error::Unavailable("the store is closed".to_owned()))?;
        connection.run("begin immediate", &[]).await?;
        let done = verbs::apply(connection, writes).await;
        let _ = connection.run("rollback", &[]).await;
        done
    }

    async fn reader(&self) -> Result<Self::Reader> {
        Ok(self.readers.acquire().await?)
    }

    async fn durability(&self) -> Result<Vec<(&'static str, String)>> {
        let mut slot = self.writer.lock().await;
        let connection = slot.as_mut().ok_or_else(|| Error::Unavailable("the store is closed".to_owned()))?;
        let mut found = Vec::new();
        for (name, sql) in [("journal_mode", "pragma journal_mode"), ("synchronous", "pragma synchronous")] {
            for mut row in connection.fetch(sql, &[]).await? {
                found.push((name, row.shown()?));
            }
        }
        Ok(found)
    }

    async fn close(&self) {
        self.readers.close().await;
        self.mover.close().await;
        if let Some(writer) = self.writer.lock().await.take() {
            // No `pragma optimize`: statistics of a young database make the planner scan a grown one. The
            // plans without any are those that the tests check.
            let _ = writer.close().await;
        }
        // Others may open the file from here on, even while somebody still holds this engine.
        if let Ok(mut lock) = self.lock.lock() {
            lock.take();
        }
        tracing::debug!(file = %self.file.display(), "database closed");
    }
}
