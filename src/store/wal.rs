//! Moves what the write-ahead log of SQLite holds into the database file, beside the one writer.
//!
//! The writer would do it by itself, as it does when nobody else has ([`WRITER_PAGES`]), and every order
//! that waits for its commit would wait for that as well. Whatever was moved here is left out of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;

use super::Result;

/// After so many writes, what is in the log is moved.
const WRITES: usize = 1024;
/// With so many pages in the log, the writer moves what is left, and the log begins anew.
pub(super) const WRITER_PAGES: &str = "4000";

/// The one that moves.
#[derive(Debug)]
pub(super) struct Mover {
    written: AtomicUsize,
    due: Arc<Notify>,
    end: Arc<Notify>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Mover {
    /// Opens a connection for it and begins.
    pub(super) async fn start(options: SqliteConnectOptions) -> Result<Self> {
        let connection = options.connect().await?;
        let (due, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let task = tokio::spawn(run(connection, Arc::clone(&due), Arc::clone(&end)));
        Ok(Self { written: AtomicUsize::new(0), due, end, task: Mutex::new(Some(task)) })
    }

    /// So many writes were committed.
    pub(super) fn committed(&self, writes: usize) {
        if self.written.fetch_add(writes, Ordering::Relaxed) + writes >= WRITES {
            self.written.store(0, Ordering::Relaxed);
            self.due.notify_one();
        }
    }

    /// Ends, and lets go of the file.
    pub(super) async fn close(&self) {
        self.end.notify_one();
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await;
        }
    }
}

async fn run(mut connection: SqliteConnection, due: Arc<Notify>, end: Arc<Notify>) {
    loop {
        tokio::select! {
            biased;
            () = end.notified() => break,
            () = due.notified() => {}
        }
        // It waits for nobody: what is in use stays for the next time.
        if let Err(error) = sqlx::query("pragma wal_checkpoint(passive)").fetch_all(&mut connection).await {
            tracing::debug!(%error, "the write-ahead log was not moved into the database");
        }
    }
    let _ = connection.close().await;
}
