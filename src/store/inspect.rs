//! Looks at a database from outside and changes nothing: for `doctor`, and before a command opens a
//! database that must be there already.

use std::fs::{File, TryLockError};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use jiff::Timestamp;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::session::Session;
use super::{Error, Result, migrations};

/// What a look at a database shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The engine and its version.
    pub engine: String,
    /// The file, or host and port.
    pub place: String,
    /// The migrations that ran.
    pub applied: Vec<i64>,
    /// The migrations that this program carries.
    pub known: Vec<i64>,
    /// Which processes work with it, in words; `None` if none does.
    pub holder: Option<String>,
    /// The latest instant in the event log.
    pub newest_event_at: Option<Timestamp>,
    /// What the database server's own clock shows; `None` for SQLite.
    pub clock_at: Option<Timestamp>,
    /// Who could take over from the database server; `None` for SQLite.
    pub standbys: Option<Standbys>,
    /// The definitions of the labs, as JSON.
    pub labs: Vec<String>,
}

/// Who could take over from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standbys {
    /// Whether the server itself takes no writes: a standby, or one set to read only.
    pub read_only: bool,
    /// How many follow its log: standbys, and whoever else keeps it.
    pub following: i64,
    /// Its setting `synchronous_standby_names`: for whom a commit waits. Empty: for nobody.
    pub synchronous: String,
    /// The names of those that follow and that a commit need not wait for: asynchronous ones, those whose turn has not
    /// come, and those of which any few are enough.
    pub left_out: String,
}

/// The file of a URL of SQLite; `None` for PostgreSQL.
#[must_use]
pub(super) fn file_of(url: &str) -> Option<&Path> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return None;
    }
    Some(Path::new(url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or(url)))
}

/// Looks at the database that the URL names.
///
/// # Errors
/// If it is not there, or cannot be reached.
pub async fn inspect(url: &str) -> Result<Inspection> {
    match file_of(url) {
        Some(file) => sqlite(file).await,
        None => postgres(url).await,
    }
}

async fn sqlite(file: &Path) -> Result<Inspection> {
    let place = file.display().to_string();
    // A read-only connection creates no file, but its message about a missing one is of no help.
    if !file.exists() {
        return Err(Error::Open(format!("there is no database {place}; `stoppress serve` makes one")));
    }
    let cannot = |error: sqlx::Error| Error::Open(format!("cannot open the database {place}: {error}"));
    let options = SqliteConnectOptions::new().filename(file).read_only(true).disable_statement_logging();
    let mut connection = options.connect().await.map_err(cannot)?;
    let version = text(&mut connection, "select sqlite_version()").await?;
    let tables = "select count(*) from sqlite_master where name = '_sqlx_migrations'";
    let seen = look(&mut connection, tables).await;
    let _ = connection.close().await;
    Ok(Inspection {
        engine: format!("SQLite {version}"),
        place,
        holder: holder(file),
        clock_at: None,
        standbys: None,
        ..seen?
    })
}

/// Who holds the lock file beside the database.
fn holder(file: &Path) -> Option<String> {
    let mut name = file.as_os_str().to_owned();
    name.push("-lock");
    let mut lock = File::open(PathBuf::from(name)).ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            Some(if holder.trim().is_empty() {
                "another process".to_owned()
            } else {
                holder.trim().to_owned()
            })
        }
        // Free; letting go of the file lets go of the lock.
        _ => None,
    }
}

const LEFT_OUT: &str = "select coalesce(string_agg(application_name, ', ' order by application_name), '')
    from pg_stat_replication where sync_state <> 'sync'";

async fn postgres(url: &str) -> Result<Inspection> {
    // The URL may carry a password: it is never part of a message.
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| Error::Open(format!("the database URL cannot be read: {error}")))?
        .application_name("stoppress doctor")
        .disable_statement_logging();
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let cannot = |error: sqlx::Error| Error::Open(format!("cannot reach PostgreSQL at {place}: {error}"));
    let mut connection = options.connect().await.map_err(cannot)?;
    let version = text(&mut connection, "select current_setting('server_version')").await?;
    let clock = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint";
    let clock_at = Timestamp::from_microsecond(number(&mut connection, clock).await?).ok();
    let others = "select count(*) from pg_stat_activity where application_name = 'stoppress' and datname = current_database()";
    let others = number(&mut connection, others).await?;
    let holder = (others > 0).then(|| format!("{others} connections of gateways"));
    let standbys = Standbys {
        read_only: text(&mut connection, "select current_setting('transaction_read_only')").await? == "on",
        following: number(&mut connection, "select count(*) from pg_stat_replication").await?,
        synchronous: text(&mut connection, "select current_setting('synchronous_standby_names')").await?,
        left_out: text(&mut connection, LEFT_OUT).await?,
    };
    let tables = "select count(*) from pg_tables where schemaname = any (current_schemas(false)) \
        and tablename = '_sqlx_migrations'";
    let seen = look(&mut connection, tables).await;
    let _ = connection.close().await;
    let engine = format!("PostgreSQL {version}");
    Ok(Inspection { engine, place, holder, clock_at, standbys: Some(standbys), ..seen? })
}

/// What is looked at in the same way in both engines.
async fn look<S: Session>(connection: &mut S, tables: &'static str) -> Result<Inspection> {
    let mut seen = Inspection {
        engine: String::new(),
        place: String::new(),
        applied: Vec::new(),
        known: migrations::versions(),
        holder: None,
        newest_event_at: None,
        clock_at: None,
        standbys: None,
        labs: Vec::new(),
    };
    if number(connection, tables).await? == 0 {
        return Ok(seen);
    }
    for mut row in connection.fetch("select version from _sqlx_migrations order by version", &[]).await? {
        seen.applied.push(row.int()?);
    }
    if let Some(mut row) = connection.fetch("select max(at) from events", &[]).await?.pop() {
        seen.newest_event_at = row.opt_at()?;
    }
    for mut row in connection.fetch("select spec from labs where deleted_at is null order by id", &[]).await?
    {
        seen.labs.push(row.text()?);
    }
    Ok(seen)
}

async fn number<S: Session>(connection: &mut S, sql: &'static str) -> Result<i64> {
    connection.fetch(sql, &[]).await?.pop().map_or(Ok(0), |mut row| row.int())
}

async fn text<S: Session>(connection: &mut S, sql: &'static str) -> Result<String> {
    connection.fetch(sql, &[]).await?.pop().map_or_else(|| Ok(String::new()), |mut row| row.text())
}
