//! What people do on a page: mouse and keyboard as the browser gets them.

use serde_json::{Value, json};

use super::page::Page;

/// Brings an element into sight, and says where to press and what would be hit.
const AIM: &str = "(e) => {
    e.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'});
    const box = e.getBoundingClientRect();
    const x = box.left + box.width / 2, y = box.top + box.height / 2;
    const at = document.elementFromPoint(x, y);
    const hit = at !== null && (e.contains(at) || at.contains(e) && at.tagName === 'LABEL');
    return {x, y, hit: hit && !e.disabled, at: e.disabled ? 'it is disabled' : at?.outerHTML.slice(0, 200)};
}";
/// How the focused element can be seen to be it. Of a field for long texts the browser may show only the line with
/// the caret: what is within sight counts.
const FOCUS: &str = "(e) => {
    const style = getComputedStyle(e), box = e.getBoundingClientRect();
    const top = Math.max(box.top, 0), bottom = Math.min(box.bottom, innerHeight);
    const at = document.elementFromPoint(box.left + box.width / 2, (top + bottom) / 2);
    const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
    return {is: document.activeElement === e, ring: ring || style.boxShadow !== 'none', hidden: !(at && e.contains(at))};
}";
/// How often Tab is pressed before the way is too long.
const TABS: usize = 100;

/// Name, code, virtual key and text of a key.
fn key(name: &str) -> (&str, String, u32, String) {
    let (code, number, text) = match name {
        "Tab" => ("Tab", 9, ""),
        "Enter" => ("Enter", 13, "\r"),
        "Escape" => ("Escape", 27, ""),
        "Space" => ("Space", 32, " "),
        "PageUp" => ("PageUp", 33, ""),
        "PageDown" => ("PageDown", 34, ""),
        "End" => ("End", 35, ""),
        "Home" => ("Home", 36, ""),
        "ArrowLeft" => ("ArrowLeft", 37, ""),
        "ArrowUp" => ("ArrowUp", 38, ""),
        "ArrowRight" => ("ArrowRight", 39, ""),
        "ArrowDown" => ("ArrowDown", 40, ""),
        "Backspace" => ("Backspace", 8, ""),
        _ => {
            let one = name.chars().next().filter(|_| name.chars().count() == 1);
            let one = one.unwrap_or_else(|| panic!("no key is called {name:?}"));
            let kind = if one.is_ascii_digit() { "Digit" } else { "Key" };
            let upper = one.to_ascii_uppercase();
            return (name, format!("{kind}{upper}"), upper.into(), name.to_owned());
        }
    };
    (if name == "Space" { " " } else { name }, code.to_owned(), number, text.to_owned())
}

impl Page {
    /// Presses an element with the mouse, once it is there, enabled and not covered.
    pub(crate) async fn click(&self, selector: &str) {
        self.wait_for(selector).await;
        let mut aim = Value::Null;
        for _ in 0..80 {
            aim = self.of_element(selector, AIM).await.unwrap_or_default();
            if aim["hit"] == true {
                break;
            }
            self.pause(std::time::Duration::from_millis(25)).await;
        }
        if aim["hit"] != true {
            self.failed(&format!("{selector} cannot be pressed: {}", aim["at"])).await;
        }
        let mouse = |kind: &str, buttons: u32| {
            json!({"type": kind, "x": aim["x"], "y": aim["y"], "button": if kind == "mouseMoved" {"none"} else {"left"},
                "buttons": buttons, "clickCount": 1})
        };
        for (kind, buttons) in [("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)] {
            self.call("Input.dispatchMouseEvent", mouse(kind, buttons)).await;
        }
    }

    /// Presses a key: `Enter`, `Tab`, `Escape`, `Space`, `ArrowDown`, …, `a`; before it `Shift+`, `Control+`, `Alt+`.
    pub(crate) async fn press(&self, keys: &str) {
        let (mut modifiers, mut writes) = (0, true);
        let mut name = keys;
        while let Some((modifier, rest)) = name.split_once('+').filter(|(first, _)| !first.is_empty()) {
            writes &= modifier == "Shift";
            modifiers |= match modifier {
                "Alt" => 1,
                "Control" => 2,
                "Shift" => 8,
                other => panic!("no modifier is called {other:?}"),
            };
            name = rest;
        }
        let (name, code, number, text) = key(name);
        // With Control or Alt a key writes nothing.
        let text = if writes { text } else { String::new() };
        let event = |kind: &str, text: &str| {
            json!({"type": kind, "key": name, "code": code, "windowsVirtualKeyCode": number,
                "modifiers": modifiers, "text": text})
        };
        let down = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        self.call("Input.dispatchKeyEvent", event(down, &text)).await;
        self.call("Input.dispatchKeyEvent", event("keyUp", "")).await;
    }

    /// From the next address on it is a tab that was opened behind another, and that nobody has seen.
    pub(crate) async fn born_hidden(&self) {
        let source = "for (const [name, value] of [['hidden', true], ['visibilityState', 'hidden']]) \
            Object.defineProperty(document, name, { configurable: true, get: () => value });";
        self.call("Page.addScriptToEvaluateOnNewDocument", json!({"source": source})).await;
    }

    /// Writes where the focus is.
    pub(crate) async fn write(&self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Puts a text into a field, instead of what is in it.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        self.click(selector).await;
        self.of_element(selector, "(e) => e.select && e.select()").await;
        if text.is_empty() {
            self.press("Backspace").await;
        } else {
            self.write(text).await;
        }
    }

    /// Chooses an option of a list by its value.
    pub(crate) async fn choose(&self, selector: &str, value: &str) {
        self.wait_for(selector).await;
        let choose = format!(
            "(e) => {{ e.focus(); e.value = {0}; e.dispatchEvent(new Event('input', {{bubbles: true}}));
                e.dispatchEvent(new Event('change', {{bubbles: true}})); return e.value === {0}; }}",
            json!(value)
        );
        if self.of_element(selector, &choose).await != Some(json!(true)) {
            self.failed(&format!("{selector} has no option {value:?}")).await;
        }
    }

    /// Goes by Tab to an element; fails if it cannot be reached so, or if nobody could see that the focus is there.
    pub(crate) async fn tab_to(&self, selector: &str) {
        self.wait_for(selector).await;
        for _ in 0..TABS {
            self.press("Tab").await;
            let focus = self.of_element(selector, FOCUS).await.unwrap_or_default();
            if focus["is"] != true {
                continue;
            }
            if focus["ring"] != true || focus["hidden"] == true {
                self.failed(&format!("nobody sees that the focus is on {selector}: {focus}")).await;
            }
            return;
        }
        self.failed(&format!("{selector} cannot be reached by Tab")).await;
    }
}
