//! A copy of a database while gateways work on it.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::inspect::file_of;
use super::{Error, Result};

/// Copies the SQLite database of a URL into a new file, as it stands at one commit. Whoever works on it goes on: a
/// copy only reads. Nothing but its owner can read the file, where files have owners: it holds what the database does.
///
/// # Errors
/// If the URL names PostgreSQL, which brings tools of its own; if there is no database; if `to` is there already, or
/// cannot be written.
pub async fn copy(url: &str, to: &Path) -> Result<()> {
    let Some(file) = file_of(url) else {
        return Err(Error::Open(
            "only SQLite is copied by this; for PostgreSQL: pg_dump --format=custom, or a base backup"
                .to_owned(),
        ));
    };
    let (from, place) = (file.display(), to.display());
    if !file.exists() {
        return Err(Error::Open(format!("there is no database {from}")));
    }
    let Some(path) = to.to_str() else {
        return Err(Error::Open(format!("{place} is not a name that SQLite can write; use Unicode")));
    };
    let mut new = OpenOptions::new();
    new.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut new, 0o600);
    new.open(to).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Error::Open(format!("{place} is there already; a copy overwrites nothing"))
        }
        _ => Error::Open(format!("cannot write {place}: {error}")),
    })?;
    let done = vacuum(file, path).await;
    if let Err(error) = &done {
        // What is there is no database.
        let _ = std::fs::remove_file(to);
        return Err(Error::Open(format!("cannot copy {from} to {place}: {error}")));
    }
    Ok(())
}

async fn vacuum(file: &Path, to: &str) -> sqlx::Result<()> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true).disable_statement_logging();
    let mut connection = options.connect().await?;
    let done = sqlx::query("vacuum into ?1").bind(to).execute(&mut connection).await;
    connection.close().await?;
    done?;
    // On the disk before anybody is told that there is a copy.
    std::fs::File::open(to).and_then(|file| file.sync_all()).map_err(sqlx::Error::Io)
}
