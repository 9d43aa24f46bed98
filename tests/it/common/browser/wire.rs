//! One Chromium for all tests of the process, spoken to over a pipe: no port, no driver, no other crate.
//!
//! The pipe is the browser's life: when this process ends, however it ends, the pipe closes, and Chromium ends
//! by itself (that is what `--remote-debugging-pipe` promises); the shell around it then removes its folder.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{OnceCell, oneshot};

use super::seen::Seen;

/// What says where the browser is, if it is none of [`PROGRAMS`].
const NAMED_BY: &str = "CHROME";
/// What the browser is called, in the order of preference.
const PROGRAMS: &[&str] =
    &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
/// Where it is besides.
const PLACES: &[&str] = &[
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
];
const MISSING: &str = "these tests need Chromium: install the package `chromium` (Debian: apt-get install chromium; Fedora: dnf install chromium; macOS: brew install --cask chromium), or name the program in CHROME";
/// How long an answer of the browser may take, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Nothing that calls anybody, nothing that slows down what nobody looks at.
const FLAGS: &[&str] = &[
    "--headless",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-default-apps",
    "--disable-breakpad",
    "--disable-client-side-phishing-detection",
    "--disable-dev-shm-usage",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-features=Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--mute-audio",
    "--password-store=basic",
    "--use-mock-keychain",
    "--lang=en-US",
];

type Reply = Result<Value, String>;

/// The conversation with the browser.
pub(super) struct Wire {
    out: Mutex<ChildStdin>,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    /// What happens on each page, by its session.
    pages: Mutex<HashMap<String, Arc<Seen>>>,
    /// Where it writes what troubles itself.
    log: PathBuf,
    /// The name that it gives itself, which other languages are told together with.
    agent: OnceCell<String>,
    /// Holds the pipe; never waited for.
    _keeper: Mutex<Child>,
}

/// The browser, started by whoever needs it first.
pub(super) async fn browser() -> Arc<Wire> {
    static BROWSER: OnceCell<Arc<Wire>> = OnceCell::const_new();
    BROWSER.get_or_init(start).await.clone()
}

async fn start() -> Arc<Wire> {
    let program = program().expect(MISSING);
    let folder = tempfile::Builder::new().prefix("stoppress-browser-").tempdir().unwrap().keep();
    // The browser reads what it is told at 3 and answers at 4.
    let script = r#"trap '' INT TERM HUP
        folder=$1 log=$2; shift 2
        "$@" 3<&0 4>&1 0</dev/null >"$log" 2>&1
        rm -rf "$folder" 2>/dev/null || { sleep 1; rm -rf "$folder"; }"#;
    let mut command = Command::new("sh");
    // Beside the pictures, where it outlives the browser.
    let log = pictures().with_file_name("browser.log");
    command.args(["-c", script, "sh"]).args([&folder, &log, &program]).args(FLAGS);
    command.arg(format!("--user-data-dir={}", folder.join("profile").display()));
    if is_root() {
        // Its walls are made by changing the user, which it refuses to do from root.
        command.arg("--no-sandbox");
    }
    let mut keeper = command
        .arg("about:blank")
        .env("HOME", &folder)
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = Mutex::new(keeper.stdin.take().unwrap());
    let answers = keeper.stdout.take().unwrap();
    let wire = Arc::new(Wire {
        out,
        next: AtomicU64::new(1),
        waiting: Mutex::default(),
        pages: Mutex::default(),
        log,
        agent: OnceCell::new(),
        _keeper: Mutex::new(keeper),
    });
    let reader = wire.clone();
    std::thread::Builder::new().name("browser".into()).spawn(move || reader.listen(answers)).unwrap();
    let version = wire.call(None, "Browser.getVersion", json!({})).await.unwrap_or_else(|e| panic!("{e}"));
    wire.agent.set(version["userAgent"].as_str().unwrap().to_owned()).unwrap();
    wire
}

impl Wire {
    /// What the browser calls itself.
    pub(super) fn agent(&self) -> &str {
        self.agent.get().unwrap()
    }

    /// From now on what happens in a session is told to `seen`.
    pub(super) fn watch(&self, session: &str, seen: Arc<Seen>) {
        self.pages.lock().unwrap().insert(session.to_owned(), seen);
    }

    /// From now on nothing of a session is told.
    pub(super) fn unwatch(&self, session: &str) {
        self.pages.lock().unwrap().remove(session);
    }

    /// Calls a method of the browser, or of a page.
    pub(super) async fn call(&self, session: Option<&str>, method: &str, params: Value) -> Reply {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        self.waiting.lock().unwrap().insert(id, sender);
        if !self.send(id, session, method, &params) {
            return Err(self.ended(method));
        }
        match tokio::time::timeout(PATIENCE, reply).await {
            Ok(Ok(reply)) => reply.map_err(|error| format!("{method}: {error}")),
            Ok(Err(_)) => Err(self.ended(method)),
            Err(_) => Err(format!("{method}: no answer within {PATIENCE:?}")),
        }
    }

    /// Calls a method whose answer nobody waits for.
    pub(super) fn tell(&self, session: Option<&str>, method: &str, params: &Value) {
        // A browser that has gone needs no telling.
        self.send(self.next.fetch_add(1, Ordering::Relaxed), session, method, params);
    }

    fn send(&self, id: u64, session: Option<&str>, method: &str, params: &Value) -> bool {
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        let mut out = self.out.lock().unwrap();
        out.write_all(&bytes).and_then(|()| out.flush()).is_ok()
    }

    fn ended(&self, method: &str) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(15).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        format!("{method}: Chromium has ended; the last that it said:\n{}", last.join("\n"))
    }

    /// Reads until the browser ends.
    fn listen(&self, answers: ChildStdout) {
        let mut answers = BufReader::new(answers);
        let mut bytes = Vec::new();
        while matches!(answers.read_until(0, &mut bytes), Ok(read) if read > 0) {
            if let Ok(message) = serde_json::from_slice::<Value>(bytes.strip_suffix(&[0]).unwrap_or(&bytes)) {
                self.heard(message);
            }
            bytes.clear();
        }
        // Whoever still waits learns that nothing will come.
        self.waiting.lock().unwrap().clear();
    }

    fn heard(&self, mut message: Value) {
        if let Some(id) = message["id"].as_u64() {
            let waiting = self.waiting.lock().unwrap().remove(&id);
            let error = message["error"]["message"].as_str().map(str::to_owned);
            if let Some(waiting) = waiting {
                // Whoever asked may have given up.
                let _ = waiting.send(error.map_or_else(|| Ok(message["result"].take()), Err));
            }
            return;
        }
        let session = message["sessionId"].as_str().unwrap_or_default();
        let seen = self.pages.lock().unwrap().get(session).cloned();
        let method = message["method"].as_str().unwrap_or_default();
        if method == "Page.javascriptDialogOpening" {
            self.tell(Some(session), "Page.handleJavaScriptDialog", &json!({"accept": false}));
        }
        if let Some(seen) = seen {
            seen.event(method, &message["params"]);
        }
    }
}

/// The browser's program.
fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(NAMED_BY).filter(|named| !named.is_empty()) {
        return Some(PathBuf::from(named));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let in_path = PROGRAMS.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    in_path.chain(PLACES.iter().map(PathBuf::from)).find(|program| program.is_file())
}

fn is_root() -> bool {
    let user = Command::new("id").arg("-u").output().ok();
    user.is_some_and(|said| String::from_utf8_lossy(&said.stdout).trim() == "0")
}

/// Where screenshots go: they are written anew by every run.
pub(super) fn pictures() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let folder = target.join("test-output").join("pages");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
