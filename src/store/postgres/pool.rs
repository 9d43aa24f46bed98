//! The connections that are kept, and when they are not kept any more.
//!
//! A server that is left is left by all connections at once. The first one that finds it gone, silent or without writes says
//! so; those that rest then are not used again, and those that are in use are looked at when they come back. Otherwise each
//! would be found out by a caller of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection, Postgres as Driver};
use sqlx::{ConnectOptions as _, Row as _};

/// How many connections there are at most.
const CONNECTIONS_MAX: u32 = 16;
/// How long a connection is waited for.
const ACQUIRED_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection that is given back may take until nothing of its last statement is left to come.
const CLEARED_WITHIN: Duration = Duration::from_secs(5);

/// What is said where a server takes no writes.
const NO_WRITES: &str = "it takes no writes: a standby that has not taken over, or a server set to read only; the address must lead to the primary";

/// When a connection was last found to lead nowhere.
#[derive(Debug, Default)]
pub(super) struct Doubt(Mutex<Option<Instant>>);

impl Doubt {
    /// From now on, what rests is not used again.
    pub(super) fn arises(&self, why: &str) {
        tracing::warn!("the database {why}: its connections are made anew");
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a connection that has rested for so long may be used.
    fn clears(&self, idle: Duration) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|since| idle < since.elapsed())
    }
}

/// How connections are kept for one address.
pub(super) fn options(doubt: &Arc<Doubt>) -> PoolOptions<Driver> {
    let (resting, returning) = (Arc::clone(doubt), Arc::clone(doubt));
    PoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .test_before_acquire(false)
        .acquire_timeout(ACQUIRED_WITHIN)
        .after_connect(|connection, _| Box::pin(takes_writes(connection)))
        .before_acquire(move |_, about| {
            let clear = resting.clears(about.idle_for);
            Box::pin(async move { Ok(clear) })
        })
        .after_release(move |connection, _| {
            let doubt = Arc::clone(&returning);
            Box::pin(async move {
                if let Err(why) = is_there(connection).await {
                    doubt.arises(&format!("is left: {why}"));
                    return Err(why);
                }
                Ok(true)
            })
        })
}

/// Lets nobody in who would read what is old: a standby, or a primary that has become one. The connection is made again
/// until it leads to a server that takes writes, or nobody waits for it any more.
async fn takes_writes(connection: &mut PgConnection) -> sqlx::Result<()> {
    let row = sqlx::query("select current_setting('transaction_read_only')").fetch_one(connection).await?;
    match row.try_get::<&str, _>(0)? {
        "off" => Ok(()),
        _ => Err(sqlx::Error::Protocol(NO_WRITES.to_owned())),
    }
}

/// Whether a connection still leads to a server that takes writes.
///
/// It keeps no place in the pool for a server that vanished without a word: the pool itself would wait for it until the
/// system gives up, which takes a quarter of an hour.
pub(super) async fn is_there(connection: &mut PgConnection) -> sqlx::Result<()> {
    let look = tokio::time::timeout(CLEARED_WITHIN, takes_writes(connection)).await;
    look.unwrap_or_else(|_| Err(sqlx::Error::Protocol("it says nothing any more".to_owned())))
}

/// Why the database cannot be opened: the pool does not tell what it met at each of its tries.
pub(super) async fn not_reached(options: &PgConnectOptions, place: &str, error: &sqlx::Error) -> String {
    let look = async { takes_writes(&mut options.connect().await?).await };
    match tokio::time::timeout(ACQUIRED_WITHIN, look).await {
        Ok(Err(sqlx::Error::Protocol(why))) => format!("cannot use PostgreSQL at {place}: {why}"),
        _ => format!("cannot reach PostgreSQL at {place}: {error}"),
    }
}
