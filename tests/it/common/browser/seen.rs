//! What happened on a page while nobody asked: loads, transfers, and everything that should not have been.

use std::sync::Mutex;

use serde_json::Value;
use url::Url;

/// A transfer of the page.
#[derive(Debug, Clone)]
pub(crate) struct Transfer {
    id: String,
    pub(crate) url: String,
    /// The status, 0 while there is no answer.
    pub(crate) status: u16,
    /// What came over the wire, headers and all, in bytes.
    pub(crate) bytes: u64,
}

#[derive(Default)]
struct State {
    /// The loaders of documents that have been loaded.
    loaded: Vec<String>,
    transfers: Vec<Transfer>,
    /// Where the transfers of this visit begin.
    visit: usize,
    /// Where the test itself went.
    origins: Vec<String>,
    troubles: Vec<String>,
    forgiven: Vec<String>,
}

/// What was seen of a page.
#[derive(Default)]
pub(crate) struct Seen {
    /// The main frame: others load too.
    frame: String,
    state: Mutex<State>,
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn origin(url: &str) -> Option<String> {
    Url::parse(url).ok().filter(Url::has_host).map(|url| url.origin().ascii_serialization())
}

impl Seen {
    pub(super) fn new(frame: &str) -> Self {
        Self { frame: frame.to_owned(), state: Mutex::default() }
    }

    fn with<T>(&self, take: impl FnOnce(&mut State) -> T) -> T {
        take(&mut self.state.lock().unwrap())
    }

    /// The test goes to a place: what is transferred counts from here, and that origin is its own.
    pub(super) fn visit(&self, url: &str) {
        self.with(|state| {
            state.visit = state.transfers.len();
            state.origins.extend(origin(url));
        });
    }

    /// How many documents have been loaded.
    pub(super) fn loads(&self) -> usize {
        self.with(|state| state.loaded.len())
    }

    /// Whether this document has been loaded.
    pub(super) fn is_loaded(&self, loader: &str) -> bool {
        self.with(|state| state.loaded.iter().any(|loaded| loaded == loader))
    }

    /// The transfers since the test went to the place.
    pub(super) fn transfers(&self) -> Vec<Transfer> {
        self.with(|state| state.transfers[state.visit..].to_vec())
    }

    /// What says this is meant to be.
    pub(super) fn forgive(&self, part: &str) {
        self.with(|state| state.forgiven.push(part.to_owned()));
    }

    /// Everything that should not have been.
    pub(super) fn troubles(&self) -> Vec<String> {
        self.with(|state| {
            let forgiven =
                |trouble: &&String| state.forgiven.iter().any(|part| trouble.contains(part.as_str()));
            state.troubles.iter().filter(|trouble| !forgiven(trouble)).cloned().collect()
        })
    }

    /// Takes in an event of the protocol.
    pub(super) fn event(&self, method: &str, event: &Value) {
        self.with(|state| match method {
            "Page.lifecycleEvent" if event["name"] == "load" && event["frameId"] == self.frame => {
                state.loaded.push(text(&event["loaderId"]));
            }
            "Page.javascriptDialogOpening" => state.trouble("a dialog opened", &event["message"]),
            "Runtime.exceptionThrown" => {
                let details = &event["exceptionDetails"];
                let exception = &details["exception"]["description"];
                let said = if exception.is_null() { &details["text"] } else { exception };
                state.trouble("an exception", said);
            }
            "Runtime.consoleAPICalled"
                if matches!(event["type"].as_str(), Some("error" | "warning" | "assert")) =>
            {
                let said: Vec<String> = event["args"].as_array().into_iter().flatten().map(said).collect();
                state.trouble("the console", &Value::String(said.join(" ")));
            }
            "Log.entryAdded" if matches!(event["entry"]["level"].as_str(), Some("error" | "warning")) => {
                let entry = &event["entry"];
                let said =
                    format!("{} ({})", text(&entry["text"]), entry["url"].as_str().unwrap_or("no address"));
                state.trouble(&format!("{} says", text(&entry["source"])), &Value::String(said));
            }
            "Audits.issueAdded" => {
                let issue = &event["issue"];
                state.trouble(&format!("{} of the browser", text(&issue["code"])), &issue["details"]);
            }
            _ if method.starts_with("Network.") => state.network(method, event),
            _ => {}
        });
    }
}

/// What was given to the console.
fn said(argument: &Value) -> String {
    let parts = [&argument["value"], &argument["description"], &argument["type"]];
    parts.into_iter().find(|part| !part.is_null()).map(text).unwrap_or_default()
}

impl State {
    fn trouble(&mut self, kind: &str, said: &Value) {
        self.troubles.push(format!("{kind}: {}", text(said)));
    }

    fn transfer(&mut self, id: &Value) -> Option<&mut Transfer> {
        self.transfers.iter_mut().rev().find(|transfer| *id == transfer.id)
    }

    fn network(&mut self, method: &str, event: &Value) {
        let (id, bytes) = (&event["requestId"], event["encodedDataLength"].as_f64());
        match method {
            "Network.requestWillBeSent" => {
                let redirected = &event["redirectResponse"];
                if let Some(before) = self.transfer(id).filter(|_| !redirected.is_null()) {
                    before.status = redirected["status"].as_u64().unwrap_or_default() as u16;
                    before.bytes = redirected["encodedDataLength"].as_f64().unwrap_or_default() as u64;
                    // The same id goes on elsewhere.
                    before.id.push_str(" redirected");
                }
                let url = text(&event["request"]["url"]);
                let Some(from) = origin(&url) else { return };
                if !self.origins.contains(&from) {
                    self.trouble("a request to elsewhere", &event["request"]["url"]);
                }
                self.transfers.push(Transfer { id: text(id), url, status: 0, bytes: 0 });
            }
            "Network.responseReceived" => {
                let response = &event["response"];
                if let Some(transfer) = self.transfer(id) {
                    transfer.status = response["status"].as_u64().unwrap_or_default() as u16;
                    transfer.bytes = response["encodedDataLength"].as_f64().unwrap_or_default() as u64;
                }
            }
            // A stream that goes on is counted as it comes; the end has the sum of all.
            "Network.dataReceived" => {
                if let Some(transfer) = self.transfer(id) {
                    transfer.bytes += bytes.unwrap_or_default() as u64;
                }
            }
            "Network.loadingFinished" => {
                if let Some((transfer, bytes)) = self.transfer(id).zip(bytes) {
                    transfer.bytes = bytes as u64;
                }
            }
            _ => {}
        }
    }
}
