//! A throwaway PostgreSQL cluster, one a test process, and a database of its own for each test.
//!
//! The server is a child of a small shell whose standard input is a pipe from this process. When this
//! process ends, however it ends, the pipe closes, and the shell stops the server and removes its folder.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use stoppress::clock::{Clock as _, HostClock};
use tokio::sync::OnceCell;

/// Where distributions put the server's programs, besides PATH.
const PLACES: &[&str] =
    &["/usr/lib/postgresql", "/usr/pgsql", "/usr/local/pgsql", "/opt/homebrew/opt", "/usr/local/opt"];
const MISSING: &str = "these tests need PostgreSQL 15 or later: install the package `postgresql` so that `initdb` is there (Debian: apt-get install postgresql; Fedora: dnf install postgresql-server; macOS: brew install postgresql@17)";
/// The database that all others are copies of.
const TEMPLATE: &str = "stoppress_template";

struct Cluster {
    folder: PathBuf,
    /// Holds the pipe; never waited for.
    _keeper: Mutex<Child>,
}

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
/// Databases whose tests have ended.
static ENDED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A migrated database of its own.
pub(crate) struct Database {
    pub(crate) url: String,
    name: String,
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Ok(mut ended) = ENDED.lock() {
            ended.push(std::mem::take(&mut self.name));
        }
    }
}

/// Makes a database.
pub(crate) async fn database() -> Database {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let cluster = CLUSTER.get_or_init(start).await;
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut admin = connect(&cluster.url("postgres")).await.unwrap();
    let ended = std::mem::take(&mut *ENDED.lock().unwrap());
    for old in ended {
        run(&mut admin, format!("drop database if exists {old} with (force)")).await;
    }
    run(&mut admin, format!("create database {name} template {TEMPLATE}")).await;
    admin.close().await.unwrap();
    Database { url: cluster.url(&name), name }
}

async fn run(connection: &mut PgConnection, sql: String) {
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
}

async fn connect(url: &str) -> sqlx::Result<PgConnection> {
    PgConnectOptions::from_str(url)?.disable_statement_logging().connect().await
}

impl Cluster {
    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.folder.display())
    }
}

async fn start() -> Cluster {
    let programs = programs().unwrap_or_else(|| {
        install();
        programs().expect(MISSING)
    });
    let folder = tempfile::Builder::new().prefix("stoppress-pg-").tempdir().unwrap().keep();
    let user = Runner::choose(&folder);
    let data = folder.join("data");
    let made = user
        .command(&programs.join("initdb"))
        .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));

    // Only what makes no difference to what transactions see; everything else as it comes.
    let settings = data.join("postgresql.conf");
    let text = std::fs::read_to_string(&settings).unwrap() + "\nfsync = off\n";
    std::fs::write(&settings, text).unwrap();

    let server = user.command(&programs.join("postgres"));
    let log = folder.join("log");
    let script = r#"trap '' INT TERM HUP
        folder=$1; shift
        "$@" >"$folder/log" 2>&1 </dev/null &
        cat >/dev/null
        kill -INT "$(head -n 1 "$folder/data/postmaster.pid")" 2>/dev/null
        wait
        rm -rf "$folder""#;
    let keeper = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(&folder)
        .arg(server.get_program())
        .args(server.get_args())
        .arg("-D")
        .arg(&data)
        .args(["-c", "listen_addresses=", "-c"])
        .arg(format!("unix_socket_directories={}", folder.display()))
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let cluster = Cluster { folder, _keeper: Mutex::new(keeper) };

    let until = HostClock.now() + Duration::from_mins(1);
    let mut admin = loop {
        match connect(&cluster.url("postgres")).await {
            Ok(connection) => break connection,
            Err(error) if HostClock.now() > until => {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("PostgreSQL did not start: {error}\n{log}");
            }
            Err(_) => HostClock.sleep_until(HostClock.now() + Duration::from_millis(50)).await,
        }
    };
    run(&mut admin, format!("create database {TEMPLATE}")).await;
    admin.close().await.unwrap();
    let store = stoppress::store::open(&cluster.url(TEMPLATE), HostClock.now()).await.unwrap();
    store.close().await;
    cluster
}

/// Where PostgreSQL's programs are: the folder with the newest `initdb`.
pub(crate) fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for place in PLACES.iter().map(Path::new) {
        let parent = place.parent().into_iter().flat_map(std::fs::read_dir).flatten().flatten();
        // `/usr/pgsql-17` beside `/usr/lib/postgresql/17`.
        let beside = parent.map(|entry| entry.path()).filter(|path| {
            let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
            name(path).zip(name(place)).is_some_and(|(path, place)| path.starts_with(&place))
        });
        let below = std::fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path());
        found.extend(beside.chain(below).map(|folder| folder.join("bin")));
    }
    found.retain(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file());
    let version = |folder: &PathBuf| {
        let said = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        said.split(|c: char| !c.is_ascii_digit()).find_map(|word| word.parse::<u32>().ok())
    };
    found.into_iter().filter(|folder| version(folder) >= Some(15)).max_by_key(version)
}

/// Installs the server where that is possible without asking anybody.
fn install() {
    assert!(is_root() && Command::new("apt-get").arg("--version").output().is_ok(), "{MISSING}");
    for args in [&["update"][..], &["install", "--yes", "--no-install-recommends", "postgresql"]] {
        let done = Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").output();
        let done = done.expect(MISSING);
        assert!(done.status.success(), "{MISSING}\n{}", String::from_utf8_lossy(&done.stderr));
    }
}

fn is_root() -> bool {
    id(&["-u"]) == Some(0)
}

fn id(args: &[&str]) -> Option<u32> {
    let said = Command::new("id").args(args).output().ok().filter(|said| said.status.success())?;
    String::from_utf8_lossy(&said.stdout).trim().parse().ok()
}

/// How the server's programs are started: they refuse to run as root.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Runner {
    Own,
    Other { user: &'static str, uid: u32, gid: u32 },
}

impl Runner {
    /// Who that is; a folder becomes theirs.
    pub(crate) fn choose(folder: &Path) -> Self {
        if !is_root() {
            return Self::Own;
        }
        let other = ["postgres", "nobody"]
            .into_iter()
            .find_map(|user| Some(Self::Other { user, uid: id(&["-u", user])?, gid: id(&["-g", user])? }));
        let other = other.expect("a user `postgres` or `nobody`, because the server refuses to run as root");
        if let Self::Other { uid, gid, .. } = other {
            std::os::unix::fs::chown(folder, Some(uid), Some(gid)).unwrap();
        }
        other
    }

    pub(crate) fn command(&self, program: &Path) -> Command {
        let Self::Other { user, uid, gid } = self else { return Command::new(program) };
        let has = |name: &str| Command::new(name).arg("--version").output().is_ok();
        let mut command;
        if has("setpriv") {
            command = Command::new("setpriv");
            command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
        } else {
            command = Command::new("runuser");
            command.args(["-u", user, "--"]);
        }
        command.arg(program);
        command
    }
}
