//! Pages, looked at and used in a real browser: headless Chromium, one for all tests of the process, and for
//! each [`Page`] a profile of its own that knows nothing of the others.
//!
//! ```ignore
//! use crate::common::browser::{Page, View};
//!
//! #[tokio::test(flavor = "multi_thread")]
//! async fn an_operator_answers() {
//!     let rig = Rig::new(…).await;
//!     let page = Page::open(View::PHONE.dark().zone("Europe/Helsinki").language("fi-FI")).await;
//!     page.goto(&format!("{}/lab", rig.running.as_ref().unwrap().url())).await;   // waits until it is loaded
//!     page.wait_text("h1", "Stops").await;                    // waits until it says so
//!     page.wait("document.querySelectorAll('.card').length === 2").await;         // any condition, in script
//!     assert_eq!(page.text("#A-1 .badge").await, "waiting");
//!     page.tab_to("text=Too late").await;                     // by keyboard; sees that the focus can be seen
//!     page.press("Enter").await;
//!     page.fill("#reason", "on the press").await;
//!     page.click("text=Send").await;                          // a real mouse: what is covered is not hit
//!     page.looks("inbox").await;   // 4 pictures: light, dark, desktop, phone; axe; nothing wider than the screen
//! }                                // here the test fails if the page had any trouble
//! ```
//!
//! - A **selector** is one of CSS, or `text=` and what a button, link, label or summary says (whole, or in part).
//! - Whatever the page should not do is a **trouble**, and fails the test at the end of the [`Page`]: errors and
//!   warnings in the console, exceptions, breaches of the policy (CSP), what the browser finds fault with, failed
//!   requests, requests to elsewhere, dialogs. What a test does on purpose it says before:
//!   `page.forgive("status of 404")`, `page.forgive("net::ERR_")`.
//! - Every `wait…` gives up after 20 s, tells what was on the page then, and leaves a picture.
//! - Pictures are in `target/test-output/pages/`: look at them.
//! - axe runs in a world of its own, the test's scripts come over the debugger: the policy of the page stays as
//!   it is. The page's own scripts meet it whole.
//! - The browser's clock is the real one; `View::clock_off` sets it wrong, `rig.clock` is the server's.
//! - A line that breaks or falls silent is a [`crate::common::cable::Cable`] between browser and gateway:
//!   `let cable = Cable::to(&running.url()).await; page.goto(&format!("{}/", cable.url)).await; cable.silence();`
//! - Cookies named `__Host-…`, with `Secure`, are kept for `http://127.0.0.1`: sign in as people do.
//! - `page.tab()` is another tab of the same person; another `Page::open` is another person.
//! - Tests that use it are `flavor = "multi_thread"`, so that gateway and test do not wait for each other.

mod act;
mod axe;
mod page;
mod seen;
mod view;
mod wire;

pub(crate) use page::Page;
pub(crate) use view::View;
