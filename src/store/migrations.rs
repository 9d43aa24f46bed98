//! The migrations of both engines, compiled in: what the binary ships, it contains.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::Error;
use super::dialect::Dialect;

macro_rules! migrations {
    ($($version:literal $name:literal;)*) => {
        const FILES: &[(i64, &str, &str, &str)] = &[$((
            $version,
            $name,
            include_str!(concat!("../../migrations/sqlite/", $name, ".sql")),
            include_str!(concat!("../../migrations/postgres/", $name, ".sql")),
        )),*];
    };
}

migrations! {
    1 "0001_ground";
    2 "0002_views";
    3 "0003_standings_index";
    4 "0004_replicas";
    6 "0006_mails";
    7 "0007_lab_side";
    9 "0009_sessions";
    10 "0010_board";
    11 "0011_customer_links";
    12 "0012_webhooks";
    13 "0013_changes";
    14 "0014_lines";
    15 "0015_routes";
    16 "0016_warnings";
    18 "0018_ops";
    19 "0019_stops_decided";
    20 "0020_downloads";
    21 "0021_second_factors";
    22 "0022_retention";
    23 "0023_approvals_of_lines";
    24 "0024_addresses";
    25 "0025_address_attempts";
}

/// The migrations of one engine.
pub(super) fn of(dialect: Dialect) -> Migrator {
    let all = FILES.iter().map(|(version, name, sqlite, postgres)| {
        let text = match dialect {
            Dialect::Sqlite => *sqlite,
            Dialect::Postgres => *postgres,
        };
        Migration::new(*version, (*name).into(), MigrationType::Simple, text.into_sql_str(), false)
    });
    Migrator::with_migrations(all.collect())
}

/// The migrations that this program carries.
pub(super) fn versions() -> Vec<i64> {
    FILES.iter().map(|(version, ..)| *version).collect()
}

/// What went wrong, with what to do about it.
pub(super) fn explain(error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => {
            Error::Open(format!(
                "the database was written by a newer stoppress (it has migration {version}, this binary knows {}): run that version, or restore a backup",
                FILES.len()
            ))
        }
        MigrateError::VersionMismatch(version) => Error::Open(format!(
            "migration {version} of the database is not the one that this binary carries: it was changed after it ran; restore a backup"
        )),
        other => Error::Open(format!("the database could not be migrated: {other}")),
    }
}
