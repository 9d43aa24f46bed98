//! Whether everybody can use a page: axe's rules for WCAG 2.2 AA, and that it fits the narrowest screen.

use serde_json::{Value, json};

use super::page::Page;
use super::view::View;

/// The engine, as its makers publish it: see `tests/axe/README.md`.
const AXE: &str = include_str!("../../../axe/axe.min.js");
const RUN: &str = "axe.run(document, {
    runOnly: {type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']},
    rules: {'target-size': {enabled: true}},
    resultTypes: ['violations'],
    preload: false,
}).then((found) => found.violations.map((v) => ({
    rule: v.id, impact: v.impact, help: v.help, url: v.helpUrl,
    nodes: v.nodes.map((n) => `${n.target.join(' ')}: ${n.failureSummary.replace(/\\s+/g, ' ')}\\n      ${n.html.slice(0, 200)}`),
})))";
/// What the text stands on.
const GROUND: &str =
    "[document.documentElement, document.body].map((e) => getComputedStyle(e).backgroundColor).join()";
/// What is wider than the screen, but for what scrolls within itself; a table that folds where it is narrow must not.
const WIDER: &str = "(() => {
    const wide = document.documentElement.scrollWidth;
    const folds = matchMedia('(max-width: 48rem)').matches ? [...document.querySelectorAll('.scroll:has(> .folds)')] : [];
    const cut = folds.filter((e) => e.scrollWidth > e.clientWidth + 1);
    if (wide <= WIDTH) return cut.map((e) => `cut at ${e.clientWidth} of ${e.scrollWidth} px: ${e.innerHTML.slice(0, 200)}`);
    const out = [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > WIDTH + 0.5);
    return [`${wide} px`, ...out.slice(-5).map((e) => e.outerHTML.slice(0, 200))];
})()";

impl Page {
    /// What axe finds, a text for each.
    pub(crate) async fn axe(&self) -> Vec<String> {
        // A world of its own: the page's policy and names are as they were.
        let world = json!({"frameId": self.frame(), "worldName": "axe"});
        let world = self.call("Page.createIsolatedWorld", world).await["executionContextId"].clone();
        let mut found = Value::Null;
        for script in [&format!("{AXE}\n;true"), RUN] {
            let params = json!({"expression": script, "contextId": world, "awaitPromise": true,
                "returnByValue": true});
            let done = self.call("Runtime.evaluate", params).await;
            assert!(done["exceptionDetails"].is_null(), "axe: {}", done["exceptionDetails"]);
            found = done["result"]["value"].clone();
        }
        let told = |v: &Value| {
            let nodes = v["nodes"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let nodes: Vec<&str> = nodes.collect();
            let part = |name: &str| v[name].as_str().unwrap_or_default();
            format!(
                "{} ({}): {}\n    {}\n    {}",
                part("rule"),
                part("impact"),
                part("help"),
                part("url"),
                nodes.join("\n    ")
            )
        };
        found.as_array().unwrap().iter().map(told).collect()
    }

    /// Fails if axe finds something.
    pub(crate) async fn accessible(&self) {
        let found = self.axe().await;
        if !found.is_empty() {
            self.failed(&format!("axe finds:\n{}", found.join("\n"))).await;
        }
    }

    /// What is wider than a screen of this width, in CSS pixels.
    pub(crate) async fn wider_than(&self, width: u32) -> Vec<String> {
        let found = self.eval(&WIDER.replace("WIDTH", &width.to_string())).await;
        serde_json::from_value(found).unwrap()
    }

    /// Looks at the page as it is now in all ways: light and dark on desktop and phone, narrow, and on the wall, with
    /// a picture of each (`NAME-desktop-light.png`, …). Nothing may be wider than its screen, the dark must be
    /// another one than the light, and axe finds nothing. Afterwards it is seen as before.
    pub(crate) async fn looks(&self, name: &str) {
        let looks = [
            ("desktop-light", View::DESKTOP),
            ("desktop-dark", View::DESKTOP.dark()),
            ("phone-light", View::PHONE),
            ("phone-dark", View::PHONE.dark()),
            ("narrow-light", View::NARROW),
            ("wall-dark", View::WALL.dark().still()),
        ];
        let mut grounds = Vec::new();
        for (look, view) in looks {
            self.look(view).await;
            let wider = self.wider_than(view.width).await;
            if !wider.is_empty() {
                self.failed(&format!("{name}-{look} is wider than {} px: {wider:#?}", view.width)).await;
            }
            self.shot(&format!("{name}-{look}")).await;
            grounds.push(self.eval(GROUND).await);
            if grounds.len() == 2 && grounds[0] == grounds[1] {
                self.failed(&format!("{name} is the same in the dark: {}", grounds[0])).await;
            }
            self.accessible().await;
        }
        self.look(self.view).await;
    }
}
