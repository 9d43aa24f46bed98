//! The statement table and the schema: everything prepares, the hot ones use their index, both trees agree.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, Row as _};
use stoppress::store::sql::Dialect;
use stoppress::store::{Error, open};

use super::on_both;
use crate::common::world::{World, at};

on_both!(
    every_statement_prepares,
    hot_statements_use_an_index,
    a_newer_database_is_refused,
    commits_are_durable
);

async fn file(world: &World) -> SqliteConnection {
    SqliteConnectOptions::from_str(&world.url).unwrap().connect().await.unwrap()
}

async fn every_statement_prepares(world: World) {
    if world.is_postgres() {
        let mut other = PgConnection::connect(&world.url).await.unwrap();
        for (name, sql) in Dialect::Postgres.statements().all() {
            other
                .prepare(AssertSqlSafe(sql).into_sql())
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}\n{sql}"));
        }
    } else {
        let mut other = file(&world).await;
        for (name, sql) in Dialect::Sqlite.statements().all() {
            other
                .prepare(AssertSqlSafe(sql).into_sql())
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}\n{sql}"));
        }
    }
}

trait IntoSql {
    fn into_sql(self) -> sqlx::SqlStr;
}

impl IntoSql for AssertSqlSafe<&'static str> {
    fn into_sql(self) -> sqlx::SqlStr {
        sqlx::SqlSafeStr::into_sql_str(self)
    }
}

/// Reads of everything: checks of the whole log, lists of what is few by nature, the registry.
const WHOLE: &[&str] = &[
    "checkpoint_all",
    "checkpoint_last",
    "checkpoint_lock",
    "customer_keys",
    "customer_keys_lock",
    "event_heads_missing",
    "escalation_list",
    "gauge_escalations",
    "key_list",
    "lab_list",
    "lab_waiting",
    "ping",
    "platform_list",
    "replica_clear",
    "replica_forget",
    "replica_others",
    "routes_list",
];
/// What grows with the orders.
const BIG: &[&str] = &[
    "orders",
    "standings",
    "transfers",
    "stops",
    "events",
    "batches",
    "holds",
    "approvals",
    "replacements",
    "extras",
    "downloads",
    "address_changes",
    "remembered",
    "escalations",
    "imports",
    "mails",
    "reports",
    "deliveries",
];

async fn hot_statements_use_an_index(world: World) {
    let found =
        if world.is_postgres() { scans_of_postgres(&world).await } else { scans_of_sqlite(&world).await };
    assert_eq!(found, Vec::<String>::new());
}

async fn scans_of_sqlite(world: &World) -> Vec<String> {
    let mut other = file(world).await;
    let mut found = Vec::new();
    for (name, sql) in Dialect::Sqlite.statements().all() {
        if WHOLE.contains(&name) {
            continue;
        }
        let sql = AssertSqlSafe(format!("explain query plan {sql}"));
        let mut looped = BTreeSet::new();
        for row in sqlx::query(sql).fetch_all(&mut other).await.unwrap() {
            let step: String = row.get("detail");
            // The set of rows comes first: as an inner loop it is read again for every outer row.
            let within: i64 = row.get("parent");
            let set = step == "SCAN r" || step.starts_with("SCAN r ");
            if set && looped.contains(&within) {
                found.push(format!("{name}: {step} as an inner loop"));
            }
            if step.starts_with("SCAN ") || step.starts_with("SEARCH ") {
                looped.insert(within);
            }
            // A claim of a few out of many that wait must not sort them all.
            if name == "claim_fresh" && step.contains("TEMP B-TREE") {
                found.push(format!("{name}: {step}"));
            }
            // `SCAN b USING INDEX batches_open` walks a partial index in its order: that is its use.
            let walks =
                step.starts_with("SCAN") && !step.contains("INDEX") && !step.contains("VIRTUAL TABLE");
            // `q` is the inner query whose few rows are gathered; a bound set is constant rows.
            if walks && !set && !step.ends_with("CONSTANT ROW") && step != "SCAN q" {
                found.push(format!("{name}: {step}"));
            }
        }
    }
    found
}

async fn scans_of_postgres(world: &World) -> Vec<String> {
    let mut other = PgConnection::connect(&world.url).await.unwrap();
    // The tables are empty here, and the planner would read an empty table whole: it is told not to. What
    // is left of sequential reads has no index to use.
    let settings = "set enable_seqscan = off; set plan_cache_mode = force_generic_plan; set jit = off";
    other.execute(settings).await.unwrap();
    let mut found = Vec::new();
    for (name, sql) in Dialect::Postgres.statements().all() {
        if WHOLE.contains(&name) {
            continue;
        }
        let places = (1..=9).rev().find(|nth| sql.contains(&format!("${nth}"))).unwrap_or(0);
        other.execute(AssertSqlSafe(format!("prepare {name} as {sql}"))).await.unwrap();
        let nulls = vec!["null"; places].join(", ");
        let call = if places == 0 { name.to_owned() } else { format!("{name}({nulls})") };
        let rows = sqlx::query(AssertSqlSafe(format!("explain execute {call}")))
            .fetch_all(&mut other)
            .await
            .unwrap();
        for row in rows {
            let step: String = row.get(0);
            if let Some((_, table)) = step.split_once("Seq Scan on ") {
                let table = table.split_whitespace().next().unwrap_or_default();
                if BIG.contains(&table) {
                    found.push(format!("{name}: {}", step.trim()));
                }
            }
        }
    }
    found
}

type Columns = BTreeMap<String, Vec<(String, bool)>>;

#[tokio::test]
async fn both_trees_give_the_same_schema() {
    let (sqlite, postgres) = (World::sqlite().await, World::postgres().await);
    let mut one = Columns::new();
    let mut connection = file(&sqlite).await;
    let sql = "select t.name, c.name, c.\"notnull\" or c.pk > 0 from sqlite_schema t join pragma_table_info(t.name) c
        where t.type = 'table' and t.name not like 'sqlite%' and t.name not like '\\_sqlx%' escape '\\' order by t.name, c.cid";
    for row in sqlx::query(sql).fetch_all(&mut connection).await.unwrap() {
        one.entry(row.get(0)).or_default().push((row.get(1), row.get::<i64, _>(2) == 1));
    }
    let mut two = Columns::new();
    let mut connection = PgConnection::connect(&postgres.url).await.unwrap();
    let sql = "select table_name::text, column_name::text, is_nullable = 'NO' from information_schema.columns
        join information_schema.tables using (table_schema, table_name)
        where table_schema = 'public' and table_type = 'BASE TABLE' and table_name not like '\\_sqlx%'
        order by table_name, ordinal_position";
    for row in sqlx::query(sql).fetch_all(&mut connection).await.unwrap() {
        two.entry(row.get(0)).or_default().push((row.get(1), row.get(2)));
    }
    assert_eq!(one, two);
    assert_eq!(one.len(), 33, "{:?}", one.keys());

    let indexes = "select count(*) from sqlite_schema where type = 'index' and name not like 'sqlite%'";
    let named =
        "select count(*) from pg_indexes where schemaname = 'public' and indexname not like '%\\_pkey'
        and tablename not like '\\_sqlx%'";
    assert_eq!(sqlite.number(indexes).await, postgres.number(named).await);
}

#[test]
fn both_trees_have_the_same_files() {
    let names = |engine: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(engine);
        let files = std::fs::read_dir(folder).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    assert_eq!(names("sqlite"), names("postgres"));
    assert!(!names("sqlite").is_empty());
}

async fn a_newer_database_is_refused(world: World) {
    let bytes = if world.is_postgres() { "'\\x00'" } else { "x'00'" };
    world
        .run(&format!(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                values (9000, 'later', true, {bytes}, 0)"
        ))
        .await;
    world.store.close().await;
    let url = world.url.clone();
    // The file is let go of with the store.
    let World { store, .. } = &world;
    assert!(store.ping().await.is_err());
    let error = if world.is_postgres() {
        open(&url, at(0)).await.unwrap_err()
    } else {
        let file = url.strip_prefix("sqlite:").unwrap();
        let copy = format!("{file}-copy");
        std::fs::copy(file, &copy).unwrap();
        // What has not reached the file itself yet, if another connection was still closing.
        if let Ok(bytes) = std::fs::read(format!("{file}-wal")) {
            std::fs::write(format!("{copy}-wal"), bytes).unwrap();
        }
        open(&copy, at(0)).await.unwrap_err()
    };
    let Error::Open(text) = error else { panic!("{error:?}") };
    assert!(text.contains("newer stoppress") && text.contains("9000"), "{text}");
}

#[tokio::test]
async fn a_second_process_is_told_who_holds_the_file() {
    let world = World::sqlite().await;
    let Error::Open(text) = open(&world.url, at(0)).await.unwrap_err() else { panic!("opened twice") };
    let own = format!("is held by process {}", std::process::id());
    assert!(text.contains(&own) && text.contains("PostgreSQL"), "{text}");
}

async fn commits_are_durable(world: World) {
    let settings: BTreeMap<_, _> = world.store.durability().await.unwrap().into_iter().collect();
    if world.is_postgres() {
        assert_eq!(settings["synchronous_commit"], "on");
        assert_eq!(settings["transaction_isolation"], "read committed");
    } else {
        // 2 is FULL: a commit is on the disk before it is told.
        assert_eq!((settings["journal_mode"].as_str(), settings["synchronous"].as_str()), ("wal", "2"));
    }
}
