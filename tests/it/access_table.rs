//! Who may use which route: the table that `access` holds every route against. Read it like this: for each route what
//! becomes of the platform whose order it is, another platform, the lab that prints it, another lab, and ops.

/// What a route does with a caller whose key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It is let in, and what it asked for is there for it.
    In,
    /// It is let in, and what it asked for is as if it were not there.
    Hidden,
    /// Its scope may not do this.
    No,
}

use Then::{Hidden, In, No};

/// Of the platform, another platform, the lab, another lab, ops.
pub(crate) type Class = [Then; 5];

/// A platform's own objects.
const OWN: Class = [In, Hidden, No, No, In];
/// Lists, and what makes something of the caller's own.
const OWN_LIST: Class = [In, In, No, No, In];
/// Lists of labs: a lab sees itself.
const ALL: Class = [In, In, In, In, In];
/// A lab and its calendars: platforms may know them, other labs need not.
const KNOWN: Class = [In, In, In, Hidden, In];
/// A lab's own objects.
const LAB: Class = [No, No, In, Hidden, In];
/// A lab's lists.
const LAB_LIST: Class = [No, No, In, In, In];
/// Only ops.
const OPS: Class = [No, No, No, No, In];

const ADDRESS: &str = r#"{"ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"}}"#;
const ANSWER: &str = r#"{"answer": "will_print"}"#;
const CALLBACK: &str = r#"{"url": "https://other.example/hook"}"#;
const EMPTY: &str = "{}";
const REASON: &str = r#"{"reason": "matrix"}"#;
const REPLACE: &str = r#"{"order": {"reference": "M-1", "lab": "nord",
    "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
    "items": [{"id": "1", "sku": "print", "quantity": 1}]}}"#;

/// Routes of the API: what they are, whom they serve, and a body that is right, which only those are sent with whom
/// nothing must come of it; who is let in sends one that has a fault.
pub(crate) const ROUTES: &[(&str, Class, &str)] = &[
    ("POST /v1/orders", OWN_LIST, ""),
    ("POST /v1/orders/bulk", OWN_LIST, ""),
    ("GET /v1/orders", OWN_LIST, ""),
    ("GET /v1/orders/{order}", OWN, ""),
    ("GET /v1/orders/{order}/verdict", OWN, ""),
    ("GET /v1/orders/{order}/changelog", OWN, ""),
    ("GET /v1/orders/{order}/route", OWN, ""),
    ("GET /v1/orders/{order}/evidence", OWN, ""),
    ("POST /v1/orders/{order}/pay", OWN, EMPTY),
    ("POST /v1/orders/{order}/hold", OWN, REASON),
    ("POST /v1/orders/{order}/release", OWN, EMPTY),
    ("POST /v1/orders/{order}/review", OWN, REASON),
    ("POST /v1/orders/{order}/reinstate", OPS, REASON),
    ("PATCH /v1/orders/{order}", OWN, ADDRESS),
    ("POST /v1/orders/{order}/replace", OWN, REPLACE),
    ("POST /v1/orders/{order}/stop", OWN, EMPTY),
    ("GET /v1/orders/{order}/stop", OWN, ""),
    ("GET /v1/orders/{order}/stop/receipt", OWN, ""),
    ("GET /v1/stops", OWN_LIST, ""),
    ("GET /v1/approvals", OWN_LIST, ""),
    ("GET /v1/approvals/{approval}", OWN, ""),
    ("POST /v1/approvals/{approval}/approve", OWN, EMPTY),
    ("POST /v1/approvals/{approval}/decline", OWN, REASON),
    ("POST /v1/orders/{order}/downloads", OWN, r#"{"item": "2", "said": "fetched"}"#),
    ("POST /v1/orders/{order}/links", OWN, EMPTY),
    ("DELETE /v1/orders/{order}/links", OWN, ""),
    ("POST /v1/customer-links/rotate", OPS, EMPTY),
    ("GET /v1/labs", ALL, ""),
    ("GET /v1/labs/{lab}", KNOWN, ""),
    ("PUT /v1/labs/{lab}", OPS, EMPTY),
    ("DELETE /v1/labs/{lab}", OPS, ""),
    ("POST /v1/labs/{lab}/pause", OPS, REASON),
    ("POST /v1/labs/{lab}/resume", OPS, EMPTY),
    ("GET /v1/labs/{lab}/regions/{region}/cutoffs", KNOWN, ""),
    ("GET /v1/labs/{lab}/regions/{region}/cutoffs.ics", KNOWN, ""),
    ("POST /v1/labs/{lab}/regions/{region}/cutoffs/links", KNOWN, EMPTY),
    ("DELETE /v1/labs/{lab}/regions/{region}/cutoffs/links", LAB, ""),
    ("GET /v1/board", OPS, ""),
    ("GET /v1/batches", OPS, ""),
    ("GET /v1/batches/{batch}", LAB, ""),
    ("POST /v1/batches/{batch}/release", OPS, REASON),
    ("POST /v1/batches/{batch}/postpone", OPS, r#"{"until": "2026-11-30T00:00:00Z", "reason": "r"}"#),
    ("GET /v1/lab/stops", LAB_LIST, ""),
    ("POST /v1/lab/stops/{stop}/answer", LAB, ANSWER),
    ("POST /v1/lab/orders/{order}/status", LAB, r#"{"stage": "printed"}"#),
    ("GET /v1/lab/batches", LAB_LIST, ""),
    ("GET /v1/platforms", OPS, ""),
    ("GET /v1/platforms/{platform}", OWN, ""),
    ("PUT /v1/platforms/{platform}", OPS, EMPTY),
    ("GET /v1/platforms/{platform}/downloads", OWN, ""),
    ("PUT /v1/platforms/{platform}/downloads", OWN, CALLBACK),
    ("POST /v1/platforms/{platform}/downloads/rotate-secret", OWN, EMPTY),
    ("DELETE /v1/platforms/{platform}/downloads", OWN, ""),
    ("GET /v1/routes", OPS, ""),
    ("GET /v1/routes/{platform}", OWN, ""),
    ("PUT /v1/routes/{platform}", OPS, r#"{"rules": []}"#),
    ("DELETE /v1/routes/{platform}", OPS, ""),
    ("POST /v1/routes/explain", OWN_LIST, ""),
    ("GET /v1/keys", OPS, ""),
    ("POST /v1/keys", OPS, EMPTY),
    ("POST /v1/keys/{key}/links", OPS, EMPTY),
    ("POST /v1/keys/{key}/second-factor", OWN_KEY, EMPTY),
    ("POST /v1/keys/{key}/second-factor/confirm", OWN_KEY, r#"{"code": "123456"}"#),
    ("DELETE /v1/keys/{key}/second-factor", OPS, ""),
    ("DELETE /v1/keys/{key}", OPS, ""),
    ("GET /v1/escalations", OPS, ""),
    ("POST /v1/escalations/{escalation}/resolve", OPS, r#"{"decision": "noted", "reason": "r"}"#),
    ("GET /v1/webhooks", OWN_LIST, ""),
    ("POST /v1/webhooks", OWN_LIST, ""),
    ("GET /v1/webhooks/{webhook}", OWN, ""),
    ("PATCH /v1/webhooks/{webhook}", OWN, r#"{"enabled": false}"#),
    ("POST /v1/webhooks/{webhook}/rotate-secret", OWN, EMPTY),
    ("POST /v1/webhooks/{webhook}/ping", OWN, EMPTY),
    ("GET /v1/webhooks/{webhook}/deliveries", OWN, ""),
    ("POST /v1/webhooks/{webhook}/replay", OWN, r#"{"after": 0}"#),
    ("DELETE /v1/webhooks/{webhook}", OWN, ""),
    ("GET /v1/events", OWN_LIST, ""),
    ("GET /v1/events/stream", OWN_LIST, ""),
];

/// A key makes a second factor for itself, and only ops for others.
const OWN_KEY: Class = [In, Hidden, Hidden, Hidden, In];

/// Pages for people who have signed in.
pub(crate) const PAGES: &[(&str, Class)] = &[
    ("GET /", [No, No, In, In, In]),
    ("GET /ops/board/live", OPS),
    ("GET /ops/cutoffs", OPS),
    ("GET /ops/labs/{lab}", OPS),
    ("GET /ops/labs/{lab}/live", OPS),
    ("POST /ops/labs/{lab}/pause", OPS),
    ("POST /ops/labs/{lab}/resume", OPS),
    ("GET /ops/batches/{batch}", OPS),
    ("GET /ops/batches/{batch}/live", OPS),
    ("POST /ops/batches/{batch}/release", OPS),
    ("POST /ops/batches/{batch}/postpone", OPS),
    ("GET /ops/orders/{order}", OPS),
    ("GET /ops/orders/{order}/live", OPS),
    ("GET /ops/orders/{order}/stop", OPS),
    ("GET /ops/orders/{order}/stop/live", OPS),
    ("POST /ops/orders/{order}/stop", OPS),
    ("GET /ops/stops", OPS),
    ("GET /ops/stops/live", OPS),
    ("GET /ops/escalations", OPS),
    ("GET /ops/escalations/live", OPS),
    ("POST /ops/escalations/{escalation}", OPS),
    ("POST /ops/approvals/{approval}", OPS),
    ("GET /ops/webhooks", OPS),
    ("GET /ops/webhooks/{webhook}", OPS),
    ("GET /ops/search", OPS),
    ("GET /lab", LAB_LIST),
    ("GET /lab/live", LAB_LIST),
    ("GET /lab/pictures/{stop}/{item}", LAB),
    ("POST /lab/stops/{stop}", LAB),
    ("POST /sign-out", ALL),
];

/// What everybody may ask for, with or without a key: what is behind a signed link is there for whoever has the link.
pub(crate) const OPEN: &[&str] = &[
    "GET /a/{token}",
    "POST /a",
    "GET /assets/{name}",
    "GET /c",
    "GET /c/confirm",
    "GET /c/live",
    "GET /c/receipt.txt",
    "GET /c/stop",
    "GET /c/{token}",
    "POST /c/confirm",
    "POST /c/stop",
    "GET /cal/{token}",
    "GET /healthz",
    "GET /metrics",
    "GET /openapi.json",
    "GET /problems",
    "GET /readyz",
    "GET /sign-in",
    "GET /sign-in/{token}",
    "POST /sign-in",
    "POST /sign-in/link",
];
