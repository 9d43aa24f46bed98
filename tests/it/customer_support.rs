//! A customer with a browser that keeps cookies, in front of a whole gateway.

use std::cell::RefCell;
use std::collections::BTreeMap;

use hyper::http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::rig::Rig;

/// What the cookies of the page begin with.
pub const COOKIE: &str = "__Host-stoppress-order-";

/// The customer of an order.
pub struct Customer<'a> {
    pub rig: &'a Rig,
    cookies: RefCell<BTreeMap<String, String>>,
    /// The page that was opened last, as its addresses name it.
    of: RefCell<String>,
}

/// A page as it came.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Page {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The text of the session that the page's forms carry.
    pub fn form(&self) -> String {
        let (_, rest) = self.text.split_once("name=\"csrf\" value=\"").expect("a form");
        rest.split_once('"').unwrap().0.to_owned()
    }

    /// Where the page's stream is.
    pub fn live(&self) -> String {
        let (_, rest) = self.text.split_once("data-live=\"").expect("a stream");
        format!("/{}", rest.split_once('"').unwrap().0.replace("&#38;", "&"))
    }

    /// Whether the page says that it was open too long.
    pub fn is_late(&self) -> bool {
        self.status == 410 && self.text.contains("<h1>This page was open too long</h1>")
    }

    /// Whether the page is the one for links that open nothing.
    pub fn is_over(&self) -> bool {
        self.status == 404 && self.text.contains("<h1>This link does not work (any more)</h1>")
    }
}

/// Lets customers of the rig's platform do so much.
pub async fn allow(rig: &Rig, customer_stops: &str) {
    let spec = json!({"id": "acme", "name": "Acme Photo", "policy": {"customer_stops": customer_stops}});
    let (status, answer) = rig.call(&rig.ops, Method::PUT, "/v1/platforms/acme", spec).await;
    assert!(status < 300, "{answer}");
}

/// Makes a link; gives its path and the answer.
pub async fn link(rig: &Rig, order: &str, action: &str) -> (String, Value) {
    let path = format!("/v1/orders/{order}/links");
    let (status, made) = rig.call(&rig.platform, Method::POST, &path, json!({"action": action})).await;
    assert_eq!(status, 201, "{made}");
    let url: url::Url = made["url"].as_str().unwrap().parse().unwrap();
    assert_eq!(rig.running.as_ref().unwrap().url(), url.origin().ascii_serialization());
    (url.path().to_owned(), made)
}

impl<'a> Customer<'a> {
    /// One without a cookie.
    pub fn new(rig: &'a Rig) -> Self {
        Self { rig, cookies: RefCell::default(), of: RefCell::default() }
    }

    /// One who has opened the link.
    pub async fn of(rig: &'a Rig, order: &str, action: &str) -> Self {
        let customer = Self::new(rig);
        customer.opens(&link(rig, order, action).await.0).await;
        customer
    }

    /// Opens a link, as far as the clean address.
    pub async fn opens(&self, path: &str) {
        let page = self.get(path).await;
        let of = self.page();
        assert_eq!(
            (page.status, page.header("location")),
            (303, &*format!("../c?of={of}&from=link")),
            "{page:?}"
        );
        let page = self.get("/c?from=link").await;
        assert_eq!((page.status, page.header("location")), (303, &*format!("c?of={of}")), "{page:?}");
    }

    /// The page that was opened last.
    pub fn page(&self) -> String {
        self.of.borrow().clone()
    }

    /// Goes to another page that was opened before.
    pub fn turns_to(&self, page: &str) {
        page.clone_into(&mut self.of.borrow_mut());
    }

    /// The cookies, as they are sent.
    pub fn cookie(&self) -> String {
        let cookies = self.cookies.borrow();
        cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// Forgets all cookies.
    pub fn forgets(&self) {
        self.cookies.borrow_mut().clear();
    }

    /// Sends other cookies from now on; the page is theirs.
    pub fn carry(&self, cookies: &str) {
        let pairs = cookies.split("; ").filter_map(|pair| pair.split_once('='));
        let pairs: BTreeMap<_, _> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        if let Some(of) = pairs.keys().find_map(|name| name.strip_prefix(COOKIE)) {
            self.turns_to(of);
        }
        *self.cookies.borrow_mut() = pairs;
    }

    /// An address of the page, as the page has it.
    fn named(&self, path: &str) -> String {
        let of = self.of.borrow();
        let bare = path.split('?').next().unwrap_or_default();
        let ours = ["/c", "/c/live", "/c/receipt.txt", "/c/confirm", "/c/stop"].contains(&bare);
        if !ours || of.is_empty() || path.contains("of=") {
            return path.to_owned();
        }
        format!("{path}{}of={of}", if path.contains('?') { '&' } else { '?' })
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        with: &[(&'static str, &str)],
        form: Option<&str>,
    ) -> Page {
        let cookie = self.cookie();
        let mut with = with.to_vec();
        with.push(("cookie", &cookie));
        let (status, headers, text) = self.rig.browse_with(method, &self.named(path), &with, form).await;
        for set in headers.get_all("set-cookie") {
            let set = set.to_str().unwrap();
            for mark in [COOKIE, "; Path=/;", "; Secure", "; HttpOnly", "; SameSite=Lax", "; Max-Age="] {
                assert!(set.contains(mark), "{mark}: {set}");
            }
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            if set.contains("Max-Age=0;") {
                self.cookies.borrow_mut().remove(name);
                continue;
            }
            self.cookies.borrow_mut().insert(name.to_owned(), value.to_owned());
            self.turns_to(name.strip_prefix(COOKIE).unwrap());
        }
        Page { status, headers, text }
    }

    pub async fn get(&self, path: &str) -> Page {
        self.send(Method::GET, path, &[], None).await
    }

    /// Sends a form as a browser does from our own page.
    pub async fn post(&self, path: &str, form: &str) -> Page {
        self.send(Method::POST, path, &[("sec-fetch-site", "same-origin")], Some(form)).await
    }

    /// Presses the button, and the one behind it; gives the page that says what came of it.
    pub async fn presses(&self, reason: &str, comment: &str) -> Page {
        let page = self.get("/c").await;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("csrf", &page.form())
            .append_pair("lang", "en")
            .append_pair("reason", reason)
            .append_pair("comment", comment)
            .finish();
        let page = self.post("/c/confirm", &form).await;
        assert_eq!(page.status, 200, "{}", page.text);
        assert!(page.text.contains("action=\"stop?"), "{}", page.text);
        let page = self.post("/c/stop", &form).await;
        let clean = format!("../c?lang=en&of={}", self.page());
        assert_eq!((page.status, page.header("location")), (303, clean.as_str()), "{}", page.text);
        self.get("/c").await
    }
}
