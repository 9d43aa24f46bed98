//! A customer with a browser that keeps one cookie, in front of a whole gateway.

use std::cell::RefCell;

use hyper::http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::rig::Rig;

/// The customer of an order.
pub struct Customer<'a> {
    pub rig: &'a Rig,
    cookie: RefCell<Option<String>>,
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
        Self { rig, cookie: RefCell::new(None) }
    }

    /// One who has opened the link.
    pub async fn of(rig: &'a Rig, order: &str, action: &str) -> Self {
        let customer = Self::new(rig);
        let page = customer.get(&link(rig, order, action).await.0).await;
        assert_eq!((page.status, page.header("location")), (303, "../c"), "{page:?}");
        customer
    }

    /// The cookie, as it is sent.
    pub fn cookie(&self) -> String {
        self.cookie.borrow().clone().unwrap_or_default()
    }

    /// Sends another cookie from now on.
    pub fn carry(&self, cookie: &str) {
        *self.cookie.borrow_mut() = Some(cookie.to_owned());
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
        let (status, headers, text) = self.rig.browse_with(method, path, &with, form).await;
        if let Some(set) = headers.get("set-cookie") {
            let set = set.to_str().unwrap();
            for mark in ["__Host-", "; Path=/;", "; Secure", "; HttpOnly", "; SameSite=Lax", "; Max-Age="] {
                assert!(set.contains(mark), "{mark}: {set}");
            }
            self.carry(set.split(';').next().unwrap());
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
        assert!(page.text.contains("action=\"stop\""), "{}", page.text);
        let page = self.post("/c/stop", &form).await;
        assert_eq!((page.status, page.header("location")), (303, "../c?lang=en"), "{}", page.text);
        self.get("/c").await
    }
}
