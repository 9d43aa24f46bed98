//! A tab: where it goes, what is on it, what became of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use serde_json::{Value, json};
use stoppress::clock::{Clock as _, HostClock};

use super::seen::{Seen, Transfer};
use super::view::View;
use super::wire::{self, Wire};

/// How long something may take to come about.
const PATIENCE: SignedDuration = SignedDuration::from_secs(20);
const LOOK_AGAIN: SignedDuration = SignedDuration::from_millis(25);

/// Finds what a selector means; begins every script about an element.
const FIND: &str = r"const find = (selector) => {
    if (!selector.startsWith('text=')) return document.querySelector(selector);
    const wanted = selector.slice(5);
    const kinds = 'a,button,summary,label,[role=button],[role=tab],[role=link],input[type=submit]';
    const there = [...document.querySelectorAll(kinds)].filter((e) => e.checkVisibility());
    const says = (e) => (e.innerText || e.value || e.ariaLabel || '').replace(/\s+/g, ' ').trim();
    return there.find((e) => says(e) === wanted) || there.find((e) => says(e).includes(wanted)) || null;
};";

/// What is waited for.
#[derive(Debug, Clone, Copy)]
enum Until<'a> {
    /// The document of this loader is loaded.
    Loaded(&'a str),
    /// More documents than so many are loaded.
    MoreLoads(usize),
    /// A script gives true.
    True(&'a str),
}

/// A profile: cookies and stores of one person.
struct Person {
    wire: Arc<Wire>,
    id: String,
}

impl Drop for Person {
    fn drop(&mut self) {
        self.wire.tell(None, "Target.disposeBrowserContext", &json!({"browserContextId": self.id}));
    }
}

/// A tab. When it is dropped the test fails if it had troubles.
pub(crate) struct Page {
    pub(super) wire: Arc<Wire>,
    person: Arc<Person>,
    pub(super) view: View,
    target: String,
    session: String,
    seen: Arc<Seen>,
}

impl Drop for Page {
    fn drop(&mut self) {
        self.wire.unwatch(&self.session);
        self.wire.tell(None, "Target.closeTarget", &json!({"targetId": self.target}));
        if !std::thread::panicking() {
            self.sound();
        }
    }
}

impl Page {
    /// A new person opens a tab.
    pub(crate) async fn open(view: View) -> Self {
        let wire = wire::browser().await;
        let made = wire.call(None, "Target.createBrowserContext", json!({"disposeOnDetach": true})).await;
        let id = made.unwrap()["browserContextId"].as_str().unwrap().to_owned();
        let person = Arc::new(Person { wire: wire.clone(), id });
        Self::of(wire, person, view).await
    }

    /// The same person opens another tab.
    pub(crate) async fn tab(&self) -> Self {
        Self::of(self.wire.clone(), self.person.clone(), self.view).await
    }

    async fn of(wire: Arc<Wire>, person: Arc<Person>, view: View) -> Self {
        let params = json!({"url": "about:blank", "browserContextId": person.id});
        let made = wire.call(None, "Target.createTarget", params).await.unwrap();
        let target = made["targetId"].as_str().unwrap().to_owned();
        let params = json!({"targetId": target, "flatten": true});
        let attached = wire.call(None, "Target.attachToTarget", params).await.unwrap();
        let session = attached["sessionId"].as_str().unwrap().to_owned();
        let seen = Arc::new(Seen::new(&target));
        wire.watch(&session, seen.clone());
        let page = Self { wire, person, view, target, session, seen };
        for domain in ["Page", "Runtime", "Log", "Network", "Audits"] {
            page.call(&format!("{domain}.enable"), json!({})).await;
        }
        page.call("Page.setLifecycleEventsEnabled", json!({"enabled": true})).await;
        for (method, params) in view.sits(page.wire.agent()) {
            let done = page.wire.call(Some(&page.session), method, params).await;
            // Tabs of one person may share a process, which has one zone and one language.
            if let Err(error) = done.as_ref().map_err(String::as_str) {
                assert!(error.contains("already in effect"), "{error}");
            }
        }
        page.look(view).await;
        page
    }

    /// Calls a method of the protocol.
    pub(super) async fn call(&self, method: &str, params: Value) -> Value {
        match self.wire.call(Some(&self.session), method, params).await {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }

    /// The main frame.
    pub(super) fn frame(&self) -> &str {
        &self.target
    }

    /// From now on it is seen like this; zone, language, scripts and clock stay as they were.
    pub(crate) async fn look(&self, view: View) {
        for (method, params) in view.looks() {
            self.call(method, params).await;
        }
    }

    /// Goes to an address, and waits until all of it is there.
    pub(crate) async fn goto(&self, url: &str) {
        self.seen.visit(url);
        let gone = self.call("Page.navigate", json!({"url": url})).await;
        assert!(gone["errorText"].is_null(), "{url}: {}", gone["errorText"]);
        // Within the same document nothing is loaded.
        let Some(loader) = gone["loaderId"].as_str() else { return };
        self.until(Until::Loaded(loader)).await;
    }

    /// How many documents it has loaded: see [`Page::loaded_after`].
    pub(crate) fn loads(&self) -> usize {
        self.seen.loads()
    }

    /// Waits until another document than those is loaded, after what leads to it was done.
    pub(crate) async fn loaded_after(&self, loads: usize) {
        self.until(Until::MoreLoads(loads)).await;
    }

    /// Loads it once more.
    pub(crate) async fn reload(&self) {
        let loads = self.loads();
        self.call("Page.reload", json!({})).await;
        self.loaded_after(loads).await;
    }

    /// Where it is.
    pub(crate) async fn url(&self) -> String {
        self.eval("location.href").await.as_str().unwrap().to_owned()
    }

    /// What a script gives, or why it gives nothing.
    pub(super) async fn try_eval(&self, script: &str) -> Result<Value, String> {
        let params = json!({"expression": script, "returnByValue": true, "awaitPromise": true,
            "userGesture": true});
        let done = self.wire.call(Some(&self.session), "Runtime.evaluate", params).await?;
        let wrong = &done["exceptionDetails"];
        if wrong.is_null() {
            Ok(done["result"]["value"].clone())
        } else {
            Err(format!("{} {}", wrong["text"], wrong["exception"]["description"]))
        }
    }

    /// What a script gives; a promise is waited for.
    pub(crate) async fn eval(&self, script: &str) -> Value {
        match self.try_eval(script).await {
            Ok(value) => value,
            Err(error) => panic!("{error}\nin {script}"),
        }
    }

    /// What a function in script gives for an element; nothing if there is no such element.
    pub(super) async fn of_element(&self, selector: &str, function: &str) -> Option<Value> {
        let script = format!(
            "(() => {{ {FIND} const e = find({}); return e ? [({function})(e)] : null; }})()",
            json!(selector)
        );
        self.eval(&script).await.get(0).cloned()
    }

    async fn one(&self, selector: &str, function: &str) -> Value {
        match self.of_element(selector, function).await {
            Some(value) => value,
            None => self.failed(&format!("there is no {selector}")).await,
        }
    }

    /// The visible text of the first such element.
    pub(crate) async fn text(&self, selector: &str) -> String {
        self.one(selector, "(e) => e.innerText.trim()").await.as_str().unwrap().to_owned()
    }

    /// The texts of all such elements (CSS only).
    pub(crate) async fn texts(&self, css: &str) -> Vec<String> {
        let script = format!("[...document.querySelectorAll({})].map((e) => e.innerText.trim())", json!(css));
        serde_json::from_value(self.eval(&script).await).unwrap()
    }

    /// An attribute of the first such element.
    pub(crate) async fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        let value = self.one(selector, &format!("(e) => e.getAttribute({})", json!(name))).await;
        value.as_str().map(str::to_owned)
    }

    /// Whether there is such an element, to be seen.
    pub(crate) async fn shows(&self, selector: &str) -> bool {
        let seen = "(e) => e.checkVisibility({opacityProperty: true, visibilityProperty: true})";
        self.of_element(selector, seen).await == Some(json!(true))
    }

    async fn until(&self, what: Until<'_>) {
        let end = HostClock.now() + PATIENCE;
        loop {
            let is_so = match what {
                Until::Loaded(loader) => self.seen.is_loaded(loader),
                Until::MoreLoads(loads) => self.seen.loads() > loads,
                // While another document comes, a script may find none.
                Until::True(script) => self.try_eval(script).await == Ok(json!(true)),
            };
            if is_so {
                return;
            }
            if HostClock.now() > end {
                self.failed(&format!("it never came to be: {what:?}")).await;
            }
            HostClock.sleep_until(HostClock.now() + LOOK_AGAIN).await;
        }
    }

    /// Waits until a script gives something true.
    pub(crate) async fn wait(&self, script: &str) {
        self.until(Until::True(&format!("Boolean({script})"))).await;
    }

    /// Waits until there is such an element, to be seen.
    pub(crate) async fn wait_for(&self, selector: &str) {
        let seen = format!("(() => {{ {FIND} return find({})?.checkVisibility(); }})()", json!(selector));
        self.wait(&seen).await;
    }

    /// Waits until the first such element says this.
    pub(crate) async fn wait_text(&self, selector: &str, part: &str) {
        let (selector, part) = (json!(selector), json!(part));
        self.wait(&format!("(() => {{ {FIND} return find({selector})?.innerText.includes({part}); }})()"))
            .await;
    }

    /// Ends the test, saying what is on the page and leaving a picture of it.
    pub(super) async fn failed(&self, what: &str) -> ! {
        let there = "`${location.href}\n${document.title}\n${document.body?.innerText.slice(0, 1500)}`";
        let there = self
            .try_eval(there)
            .await
            .map_or_else(|error| error, |text| text.as_str().unwrap_or("").to_owned());
        // After the page, without what may be secret in its address.
        let page =
            self.try_eval("location.pathname.split('/')[1].replace(/\\W/g, '')").await.unwrap_or_default();
        let picture = self.picture(&format!("failed-{}", page.as_str().unwrap_or("page"))).await;
        let picture = picture.map_or_else(|error| error, |path| path.display().to_string());
        panic!("{what}\n--- {there}\n--- {:#?}\n--- {picture}", self.troubles());
    }

    async fn picture(&self, name: &str) -> Result<PathBuf, String> {
        let params = json!({"format": "png", "captureBeyondViewport": true});
        let taken = self.wire.call(Some(&self.session), "Page.captureScreenshot", params).await?;
        let path = wire::pictures().join(format!("{name}.png"));
        let bytes = STANDARD.decode(taken["data"].as_str().unwrap_or_default()).map_err(|e| e.to_string())?;
        std::fs::write(&path, bytes).map_err(|e| e.to_string())?;
        Ok(path)
    }

    /// Takes a picture of the whole page: `target/test-output/pages/NAME.png`.
    pub(crate) async fn shot(&self, name: &str) {
        // Fonts and the next frame, so that it is as people see it.
        self.try_eval("document.fonts.ready.then(() => true)").await.ok();
        if let Err(error) = self.picture(name).await {
            panic!("{name}: {error}");
        }
    }

    /// Prints it, as a browser does, to `target/test-output/pages/NAME.pdf`; gives how many bytes that is.
    pub(crate) async fn print(&self, name: &str) -> usize {
        let printed = self.call("Page.printToPDF", json!({"printBackground": false})).await;
        let bytes = STANDARD.decode(printed["data"].as_str().unwrap()).unwrap();
        std::fs::write(wire::pictures().join(format!("{name}.pdf")), &bytes).unwrap();
        bytes.len()
    }

    /// Sets a cookie for an address.
    pub(crate) async fn set_cookie(&self, url: &str, name: &str, value: &str) {
        let secure = name.starts_with("__");
        let cookie = json!({"url": url, "name": name, "value": value, "secure": secure, "path": "/",
            "httpOnly": true, "sameSite": "Strict"});
        let set = self.call("Network.setCookie", cookie).await;
        assert_eq!(set["success"], true, "the browser refuses the cookie {name}");
    }

    /// The cookies that the page at an address would send, by the protocol's names (`httpOnly`, `sameSite`, …).
    pub(crate) async fn cookies(&self, url: &str) -> Vec<Value> {
        let got = self.call("Network.getCookies", json!({"urls": [url]})).await;
        got["cookies"].as_array().unwrap().clone()
    }

    /// Refuses it the network, or no longer. Streams under way go on: what is to cut those is
    /// [`crate::common::cable::Cable`].
    pub(crate) async fn offline(&self, offline: bool) {
        let network =
            json!({"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1});
        self.call("Network.emulateNetworkConditions", network).await;
    }

    /// What was transferred since the last [`Page::goto`].
    pub(crate) fn transfers(&self) -> Vec<Transfer> {
        self.seen.transfers()
    }

    /// How much that was, with headers, in bytes.
    pub(crate) fn transferred(&self) -> u64 {
        self.transfers().iter().map(|transfer| transfer.bytes).sum()
    }

    /// Troubles in which this stands are meant to be.
    pub(crate) fn forgive(&self, part: &str) {
        self.seen.forgive(part);
    }

    /// What the page should not have done, up to now.
    pub(crate) fn troubles(&self) -> Vec<String> {
        self.seen.troubles()
    }

    /// Fails if it had troubles.
    pub(crate) fn sound(&self) {
        let troubles = self.troubles();
        assert!(troubles.is_empty(), "the page had troubles:\n{}", troubles.join("\n"));
    }

    /// Waits a moment, for what should *not* happen.
    pub(crate) async fn pause(&self, time: Duration) {
        HostClock.sleep_until(HostClock.now() + time).await;
    }
}
