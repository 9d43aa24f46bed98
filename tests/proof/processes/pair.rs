//! A primary and its synchronous standby, made with the server's own tools, behind an address that leads to the primary.
//!
//! A commit at the primary is answered once the standby has it on its disk: whatever was acknowledged is on both. When
//! the primary is gone, the standby is promoted, and a new one is made of it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use jiff::SignedDuration;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use stoppress::clock::{Clock as _, HostClock};

use super::gateways::signal;
use super::pause;
use super::relay::Relay;
use crate::common::postgres::{Runner, programs};

/// How long a server may take to start, to follow, to take over: this machine has other work too.
pub(crate) const WITHIN: SignedDuration = SignedDuration::from_secs(120);

/// A server in a folder, running or not.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    pub(crate) folder: PathBuf,
    process: Option<Child>,
}

/// How a server ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// As when its host loses power: it and all its children at once.
    Killed,
    /// At once, by its own means: `pg_ctl stop -m immediate`.
    Immediate,
}

/// Both of them.
pub(crate) struct Pair {
    folder: PathBuf,
    /// Holds a pipe: when this process ends, however it ends, the servers end and their folders go.
    _keeper: Child,
    user: Runner,
    programs: PathBuf,
    database: String,
    made: u32,
    pub(crate) relay: Relay,
    pub(crate) primary: Server,
    pub(crate) standby: Server,
}

impl Pair {
    /// Makes a pair with everything that the server of this database has.
    pub(crate) async fn of(url: &str) -> Self {
        let (rest, from) = url.split_once("?host=").expect("a folder with a socket");
        let database = rest.rsplit('/').next().unwrap().to_owned();
        let folder = tempfile::Builder::new().prefix("stoppress-pair-").tempdir().unwrap().keep();
        let user = Runner::choose(&folder);
        let script = r#"trap '' INT TERM HUP
            cat >/dev/null
            for server in "$1"/*/data/postmaster.pid; do
                kill -QUIT "$(head -n 1 "$server")" 2>/dev/null
            done
            sleep 1
            rm -rf "$1""#;
        let keeper = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nobody = |name: &str| Server { name: name.to_owned(), folder: folder.join(name), process: None };
        let mut pair = Self {
            primary: nobody("s1"),
            standby: nobody("s2"),
            _keeper: keeper,
            user,
            programs: programs().expect("the programs of PostgreSQL"),
            database,
            made: 1,
            relay: Relay::open().await,
            folder,
        };
        pair.copy(Path::new(from), &pair.primary.folder, false);
        pair.primary.process = Some(pair.spawn(&pair.primary));
        pair.ready(&pair.primary).await;
        pair.attach().await;
        pair.relay.lead(&pair.primary.folder);
        pair
    }

    /// The database, where the address leads.
    pub(crate) fn url(&self) -> String {
        self.relay.url(&self.database)
    }

    /// The name of the standby that is made next.
    fn next(&self) -> String {
        format!("s{}", self.made + 1)
    }

    /// Copies a running server.
    fn copy(&self, from: &Path, to: &Path, follows: bool) {
        let made = self.user.command(Path::new("mkdir")).arg(to).status().unwrap();
        assert!(made.success(), "no folder for a server");
        let mut command = self.user.command(&self.programs.join("pg_basebackup"));
        command.args(["--username=postgres", "--checkpoint=fast", "--no-sync", "--host"]).arg(from);
        command.arg("--pgdata").arg(to.join("data")).args(follows.then_some("--write-recovery-conf"));
        let output = command.current_dir(&self.folder).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "no copy: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn spawn(&self, server: &Server) -> Child {
        let log = File::options().append(true).create(true).open(server.folder.join("log")).unwrap();
        let mut command = self.user.command(&self.programs.join("postgres"));
        command.arg("-D").arg(server.folder.join("data")).current_dir(&self.folder);
        // Under its name a standby follows.
        command.args(["-c", &format!("cluster_name={}", server.name), "-c", "listen_addresses="]);
        command.args(["-c", "wal_retrieve_retry_interval=200ms"]);
        // Enough for whoever was away for a while, and for a copy during a checkpoint.
        command.args(["-c", "wal_keep_size=256MB", "-c"]);
        command.arg(format!("unix_socket_directories={}", server.folder.display()));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap()
    }

    /// A connection past the address.
    pub(crate) async fn connect(&self, server: &Server) -> sqlx::Result<PgConnection> {
        let url = format!("postgres://postgres@localhost/{}?host={}", self.database, server.folder.display());
        PgConnection::connect(&url).await
    }

    async fn ready(&self, server: &Server) {
        let until = HostClock.now() + WITHIN;
        while let Err(error) = self.connect(server).await {
            let log = || std::fs::read_to_string(server.folder.join("log")).unwrap_or_default();
            assert!(HostClock.now() < until, "{} did not start: {error}\n{}", server.name, log());
            pause(50).await;
        }
    }

    /// Starts a server that has ended, where it was.
    pub(crate) async fn start(&self, server: &mut Server) {
        server.process = Some(self.spawn(server));
        self.ready(server).await;
    }

    /// Starts the primary again, where it was.
    pub(crate) async fn start_primary(&mut self) {
        self.primary.process = Some(self.spawn(&self.primary));
        self.ready(&self.primary).await;
    }

    /// Starts the standby again, where it was.
    pub(crate) async fn start_standby(&mut self) {
        self.standby.process = Some(self.spawn(&self.standby));
        self.ready(&self.standby).await;
    }

    /// Makes a new standby of the primary, and waits until every commit waits for it.
    pub(crate) async fn attach(&mut self) {
        let name = self.next();
        self.made += 1;
        let standby = Server { folder: self.folder.join(&name), name, process: None };
        tokio::task::block_in_place(|| self.copy(&self.primary.folder, &standby.folder, true));
        self.standby = standby;
        self.start_standby().await;
        self.wait_for(&self.standby.name, &self.primary).await;
        self.attached().await;
    }

    /// Lets the commits of a server wait for a standby, or for nobody.
    pub(crate) async fn wait_for(&self, name: &str, server: &Server) {
        let mut admin = self.connect(server).await.unwrap();
        let sql = format!("alter system set synchronous_standby_names = '{name}'");
        admin.execute(AssertSqlSafe(sql)).await.unwrap();
        admin.execute("select pg_reload_conf()").await.unwrap();
    }

    /// Waits until every commit waits for the standby, and it has all that was committed before.
    pub(crate) async fn attached(&self) {
        let mut admin = self.connect(&self.primary).await.unwrap();
        let follows = format!("from pg_stat_replication where application_name = '{}'", self.standby.name);
        self.until(&mut admin, &format!("select exists (select {follows} and sync_state = 'sync')")).await;
        // It is the checkpointer that tells the others about the setting: it has read it when it is done with this.
        admin.execute("checkpoint").await.unwrap();
        let last = admin.fetch_one("select pg_current_wal_insert_lsn()::text").await.unwrap();
        let last: String = last.get(0);
        self.until(&mut admin, &format!("select exists (select {follows} and flush_lsn >= '{last}')")).await;
    }

    pub(crate) async fn until(&self, admin: &mut PgConnection, sql: &str) {
        let until = HostClock.now() + WITHIN;
        loop {
            let row = admin.fetch_one(AssertSqlSafe(sql.to_owned())).await.unwrap();
            if row.get(0) {
                return;
            }
            assert!(HostClock.now() < until, "never true: {sql}");
            pause(30).await;
        }
    }

    /// Makes a primary of the standby, which has all that it was sent. `strict`: its commits wait until the next standby
    /// follows; else they wait for nobody until then. Gives who was the primary; the address still leads there.
    pub(crate) async fn promote(&mut self, strict: bool) -> Server {
        let names = if strict { self.next() } else { String::new() };
        self.wait_for(&names, &self.standby).await;
        let mut admin = self.connect(&self.standby).await.unwrap();
        let done = admin.fetch_one("select pg_promote(true, 120)").await.unwrap();
        assert!(done.get::<bool, _>(0), "the standby did not take over");
        let nobody = Server { name: String::new(), folder: PathBuf::new(), process: None };
        let now = std::mem::replace(&mut self.standby, nobody);
        std::mem::replace(&mut self.primary, now)
    }
}

impl Server {
    /// Whether it was started and not ended.
    pub(crate) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Ends it, if it runs.
    pub(crate) fn end(&mut self, how: End) {
        let Some(mut process) = self.process.take() else { return };
        let file = self.folder.join("data/postmaster.pid");
        let text = std::fs::read_to_string(&file).unwrap();
        let pid: u32 = text.lines().next().unwrap().trim().parse().unwrap();
        match how {
            End::Immediate => signal(pid, "QUIT"),
            End::Killed => {
                let children = children(pid);
                signal(pid, "KILL");
                for child in children {
                    signal(child, "KILL");
                }
            }
        }
        process.wait().unwrap();
        // Its number may be somebody else's from now on.
        let _ = std::fs::remove_file(file);
    }

    /// Ends it and removes what it has.
    pub(crate) fn remove(mut self) {
        self.end(End::Immediate);
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// The children of a process.
fn children(pid: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("a system with /proc").flatten();
    let of = |name: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{name}/stat")).ok()?;
        // The name of a program is in brackets and may have anything in it; its parent is the second word behind.
        let parent: u32 = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
        (parent == pid).then(|| name.parse().ok())?
    };
    all.filter_map(|entry| of(entry.file_name().to_str()?)).collect()
}
