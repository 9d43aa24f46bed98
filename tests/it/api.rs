//! The HTTP surface against a real store: the bench that the `api_…` tests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use stoppress::api::auth::{Grant, mint};
use stoppress::api::limits::Budgets;
use stoppress::api::registry::Registry;
use stoppress::api::{Api, Nudge, Parts, router};
use stoppress::clock::{Clock as _, HostRandom, ManualClock};
use stoppress::domain::Fault;
use stoppress::domain::customer_link::CustomerKeys;
use stoppress::domain::event::Actor;
use stoppress::domain::ids::{LabId, PlatformId};
use stoppress::domain::link::LinkKey;
use stoppress::domain::second_factor::Wanted;
use stoppress::domain::zones::Zones;
use stoppress::store::{self, Scope, Store, Write};
use tower::ServiceExt as _;

use crate::common::world::World;

/// Helsinki, 14:00 on a Saturday: the window of `fi` closes at 22:00 UTC.
pub(crate) const NOON: &str = "2026-11-21T12:00:00Z";

/// A gateway without loops, over a fresh file.
pub(crate) struct Bench {
    pub(crate) api: Api,
    pub(crate) router: axum::Router,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: ManualClock,
    pub(crate) ops: String,
    pub(crate) shop: String,
    pub(crate) other: String,
    pub(crate) lab: String,
    /// How often somebody wanted to know how a lab stands.
    pub(crate) looks: Arc<AtomicU64>,
    /// Where the rows are.
    _place: Box<dyn std::any::Any + Send + Sync>,
}

/// A surface that calls nothing: one host is refused, and test messages have no answer.
pub(crate) fn endpoints() -> stoppress::api::Endpoints {
    use stoppress::domain::webhook::Posted;
    stoppress::api::Endpoints {
        refusal: Arc::new(|url| url.contains("refused.example").then(|| "it is refused here".to_owned())),
        ping: Arc::new(|_| {
            Box::pin(async { Posted { cause: Some("nothing is called".into()), ..Posted::default() } })
        }),
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// A problem document with this status and code.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        let body = self.is(status);
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["type"], format!("/problems#{code}"));
        assert_eq!(body["status"], status);
        assert!(body["title"].is_string() && body["detail"].is_string() && body["advice"].is_string());
        body
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {:?}", self.headers)).to_str().unwrap()
    }
}

pub(crate) fn lab(cutoffs: &Value) -> Value {
    json!({
        "id": "nord", "name": "Nordprint", "driver": {"kind": "person"},
        "profile": {"stops": "yes"},
        "policy": {"contact": {"email": "help@nord.example"}, "grace": "60s"},
        "regions": [{"id": "fi", "countries": ["FI"], "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": cutoffs}}],
    })
}

pub(crate) fn order(reference: &str) -> Value {
    json!({
        "reference": reference, "lab": "nord",
        "ship_to": {"name": "Aino", "line1": "Katu 1", "city": "Helsinki", "country": "FI"},
        "items": [{"id": "1", "sku": "print-10x15", "quantity": 2, "personalised": true}],
    })
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(Budgets::off()).await
    }

    pub(crate) async fn with(budgets: Budgets) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("stoppress.db");
        let url = format!("sqlite:{}", file.display());
        let store = store::open(&url, NOON.parse().unwrap()).await.unwrap();
        Self::of(budgets, store, Box::new(folder), Wanted::Offered).await
    }

    /// Over the store of a world.
    pub(crate) async fn over(world: World) -> Self {
        let store = Arc::clone(&world.store);
        Self::of(Budgets::off(), store, Box::new(world), Wanted::Offered).await
    }

    /// Where people of ops need a second factor.
    pub(crate) async fn guarded() -> Self {
        let world = World::sqlite().await;
        let store = Arc::clone(&world.store);
        Self::of(Budgets::off(), store, Box::new(world), Wanted::Required).await
    }

    async fn of(
        budgets: Budgets,
        store: Arc<dyn Store>,
        place: Box<dyn std::any::Any + Send + Sync>,
        second_factor: Wanted,
    ) -> Self {
        let clock = ManualClock::at(NOON.parse().unwrap());
        let parse = |id| (PlatformId::parse(id).unwrap(), LabId::parse("nord").unwrap());
        let mut keys = Vec::new();
        let (shop, nord) = parse("shop");
        for scope in [Scope::Ops, Scope::Platform(shop), Scope::Platform(parse("other").0), Scope::Lab(nord)]
        {
            let grant = Grant { scope, name: "test".into(), expires_at: None };
            let (row, secret) = mint(grant, clock.now(), &HostRandom);
            store::one(&*store, Write::PutKey(Box::new(row), Actor::gateway())).await.unwrap();
            keys.push(secret.expose_secret().to_owned());
        }
        let registry = Registry::load(Arc::clone(&store), Zones::bundled(), clock.now()).await.unwrap();
        let looks = Arc::new(AtomicU64::new(0));
        let parts = Parts {
            store: Arc::clone(&store),
            clock: Arc::new(clock.clone()),
            random: Arc::new(HostRandom),
            registry: Arc::new(registry),
            nudge: Nudge::default(),
            check_driver: Arc::new(|driver| {
                let known = driver.kind == "person";
                if known { vec![] } else { vec![Fault::not("kind", &driver.kind, "a known driver")] }
            }),
            health: {
                let looks = Arc::clone(&looks);
                Arc::new(move |_| {
                    looks.fetch_add(1, Ordering::Relaxed);
                    None
                })
            },
            metrics: Arc::new(|| "up 1\n".to_owned()),
            budgets,
            links: Arc::new(LinkKey::parse(&"5a".repeat(32)).unwrap()),
            customers: Arc::new(stoppress::api::Customers {
                keys: CustomerKeys::parse([(1, "5b".repeat(32).as_str())]).unwrap(),
                base: Some("https://gw.example".to_owned()),
            }),
            endpoints: crate::api::endpoints(),
            second_factor,
            replica: "test".into(),
            end: tokio_util::sync::CancellationToken::new(),
        };
        let api = Api::open(parts).await.unwrap();
        let router = router(&api);
        let [ops, shop, other, lab_key] = keys.try_into().unwrap();
        let bench = Self { api, router, store, clock, ops, shop, other, lab: lab_key, looks, _place: place };
        bench.put("/v1/labs/nord", &lab(&json!(["24:00"]))).await.is(201);
        for platform in ["shop", "other"] {
            let path = format!("/v1/platforms/{platform}");
            bench.put(&path, &json!({"id": platform, "name": platform})).await.is(201);
        }
        bench
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Sends a request as it is.
    pub(crate) async fn raw(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes: Bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply { status: parts.status, headers: parts.headers, text }
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        key: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        if !key.is_empty() {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.raw(request.body(body).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str, key: &str) -> Reply {
        self.call("GET", path, key, None, &[]).await
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: &Value) -> Reply {
        self.call("POST", path, key, Some(body), &[]).await
    }

    /// As ops.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Reply {
        self.call("PUT", path, &self.ops, Some(body), &[]).await
    }

    /// A fresh order of the shop; its id.
    pub(crate) async fn admitted(&self, reference: &str) -> String {
        let body = self.post("/v1/orders", &self.shop, &order(reference)).await.is(201);
        body["id"].as_str().unwrap().to_owned()
    }
}
