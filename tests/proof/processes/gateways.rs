//! Three gateways as processes, and what is done to them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};
use stoppress::clock::{Clock as _, HostClock, Random as _, SeededRandom};
use tempfile::TempDir;

/// One kill so often.
const EVERY: SignedDuration = SignedDuration::from_secs(2);
/// After how many lives it is told how far it is.
const PROGRESS: u64 = 50;
/// Points at which a gateway ends itself, each at one of its next hits.
const POINTS: &[&str] = &[
    "store.admit.after_commit",
    "store.admit.before_commit",
    "store.claim.after_commit",
    "store.claim.before_commit",
    "store.claim_stops.after_commit",
    "store.close.after_commit",
    "store.close.before_commit",
    "store.settle.after_commit",
    "store.settle.before_commit",
    "store.settle_stop.before_commit",
    "store.stop.after_commit",
    "store.stop.before_commit",
    "store.take_over.before_commit",
    "work.close.closed",
    "work.stop.after",
    "work.stop.before",
    "work.submit.after",
    "work.submit.before",
];

/// Numbers from a seed.
#[derive(Debug)]
pub(crate) struct Draw(SeededRandom);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededRandom::new(seed))
    }

    /// A number below another.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % end
    }
}

#[derive(Debug)]
struct Gateway {
    port: u16,
    child: Option<Child>,
    /// When it is started again, and where it ends itself then.
    start_at: Timestamp,
    crash_at: Option<String>,
    /// When it may go on, if it was stopped.
    paused_until: Option<Timestamp>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Gateways {
    folder: TempDir,
    database: String,
    all: Vec<Gateway>,
    /// The ops key.
    pub(crate) ops: String,
    /// How many lives were ended.
    pub(crate) ended: Arc<AtomicU64>,
    how: BTreeMap<&'static str, u64>,
}

impl Drop for Gateways {
    fn drop(&mut self) {
        for gateway in &mut self.all {
            if let Some(child) = &mut gateway.child {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
}

impl Gateways {
    /// Starts three on a database.
    pub(crate) fn start(database: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = "[outbound]\nallow = [\"127.0.0.0/8\"]\n[limits]\nwrites_per_second = 0\nstops_per_second = 0\nreads_per_second = 0\nfailed_sign_ins_per_minute = 0\n";
        std::fs::write(folder.path().join("gateway.toml"), text).unwrap();
        let gateway = |_| Gateway {
            port: free_port(),
            child: None,
            start_at: HostClock.now(),
            crash_at: None,
            paused_until: None,
        };
        let all = (0..3).map(gateway).collect();
        let mut gateways = Self {
            folder,
            database: database.to_owned(),
            all,
            ops: String::new(),
            ended: Arc::default(),
            how: BTreeMap::new(),
        };
        gateways.spawn(0);
        let out = gateways.all[0].child.as_mut().unwrap().stdout.take().unwrap();
        let mut lines = BufReader::new(out).lines().map_while(Result::ok).map(|line| line.trim().to_owned());
        gateways.ops = lines.find(|line| line.starts_with("sp_")).expect("the first start prints a key");
        gateways.spawn(1);
        gateways.spawn(2);
        gateways
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.all.iter().map(|gateway| format!("http://127.0.0.1:{}", gateway.port)).collect()
    }

    /// How the lives ended, in words.
    pub(crate) fn how(&self) -> String {
        self.how.iter().map(|(how, count)| format!("{count} {how}")).collect::<Vec<_>>().join(", ")
    }

    fn spawn(&mut self, nth: usize) {
        let gateway = &mut self.all[nth];
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.folder.path().join(format!("{nth}.log")))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_stoppress"));
        command.current_dir(self.folder.path()).env_clear().env("STOPPRESS_LOG", "error");
        command.env("STOPPRESS_DATABASE", &self.database);
        command.envs(gateway.crash_at.take().map(|point| ("STOPPRESS_CRASH_AT", point)));
        command.args([
            "serve",
            "--config",
            "gateway.toml",
            "--listen",
            &format!("127.0.0.1:{}", gateway.port),
        ]);
        let first = self.ops.is_empty();
        command.stdin(Stdio::null()).stdout(if first { Stdio::piped() } else { Stdio::null() }).stderr(log);
        gateway.child = Some(command.spawn().unwrap());
    }

    fn count(&mut self, how: &'static str) {
        self.ended.fetch_add(1, Ordering::AcqRel);
        *self.how.entry(how).or_default() += 1;
    }

    /// Starts who is to start, resumes who is to go on, notices who has ended.
    fn tend(&mut self, now: Timestamp) {
        for nth in 0..self.all.len() {
            let gateway = &mut self.all[nth];
            if gateway.paused_until.is_some_and(|until| until <= now) {
                gateway.paused_until = None;
                if let Some(child) = &gateway.child {
                    signal(child.id(), "CONT");
                }
            }
            match gateway.child.as_mut().map(|child| child.try_wait().unwrap()) {
                Some(Some(status)) => {
                    use std::os::unix::process::ExitStatusExt as _;
                    gateway.child = None;
                    gateway.start_at = now + SignedDuration::from_millis(300);
                    if status.signal().is_some() {
                        self.count("at a point");
                    }
                }
                None if gateway.start_at <= now => self.spawn(nth),
                _ => {}
            }
        }
    }

    /// Ends so many lives, one every two seconds, and leaves all of them alive and unharmed.
    pub(crate) fn rage(&mut self, kills: u64, draw: &mut Draw) {
        let mut next = HostClock.now();
        let mut told = 0;
        while self.ended.load(Ordering::Acquire) < kills {
            let now = HostClock.now();
            let ended = self.ended.load(Ordering::Acquire);
            if ended >= told + PROGRESS {
                told = ended;
                super::say(&format!("{ended} of {kills} lives ended"));
            }
            self.tend(now);
            if now >= next {
                next = now + EVERY;
                self.harm(draw, now);
            }
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
        // From here on nobody is harmed: whoever was to end itself is started anew.
        for nth in 0..self.all.len() {
            if let Some(mut child) = self.all[nth].child.take() {
                signal(child.id(), "CONT");
                child.kill().unwrap();
                child.wait().unwrap();
            }
            (self.all[nth].crash_at, self.all[nth].paused_until) = (None, None);
            self.spawn(nth);
        }
    }

    /// Keeps them alive until told to end.
    pub(crate) fn keep(&mut self, end: &AtomicBool) {
        while !end.load(Ordering::Acquire) {
            self.tend(HostClock.now());
            std::thread::park_timeout(std::time::Duration::from_millis(100));
        }
    }

    /// The ends of what they said.
    pub(crate) fn logs(&self) -> String {
        let end = |nth: usize| {
            let text =
                std::fs::read_to_string(self.folder.path().join(format!("{nth}.log"))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(15)..].join("\n")
        };
        let all: Vec<_> = (0..self.all.len()).map(|nth| format!("gateway {nth}:\n{}", end(nth))).collect();
        all.join("\n")
    }

    fn harm(&mut self, draw: &mut Draw, now: Timestamp) {
        let nth = draw.below(self.all.len() as u64) as usize;
        let (what, point, hit) =
            (draw.below(10), draw.below(POINTS.len() as u64) as usize, 1 + draw.below(6));
        let (away, long) = (draw.below(1_500) as i64, draw.below(20));
        let gateway = &mut self.all[nth];
        let Some(child) = gateway.child.as_mut() else { return };
        if gateway.paused_until.is_some() {
            return;
        }
        if what < 2 {
            signal(child.id(), "STOP");
            // Mostly a moment; now and then longer than the others wait for it.
            let millis = if long == 0 { 18_000 } else { 300 + 2 * away };
            gateway.paused_until = Some(now + SignedDuration::from_millis(millis));
            *self.how.entry("pauses").or_default() += 1;
            return;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        gateway.child = None;
        gateway.start_at = now + SignedDuration::from_millis(away);
        if what < 7 {
            gateway.crash_at = Some(format!("{}@{hit}", POINTS[point]));
        }
        self.count("by kill -9");
    }
}
