//! A whole gateway with one simulated lab, on a clock that the test moves.

use std::sync::Arc;
use std::time::Duration;

use hyper::http::{HeaderMap, HeaderValue, Method};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use stoppress::app::{self, Ambient, Running};
use stoppress::cli::simulate::behaviour::Behaviour;
use stoppress::cli::simulate::{Gateway, Simulator, SimulatorSettings};
use stoppress::clock::{Clock as _, ManualClock, SeededRandom};
use stoppress::config::{Config, LimitsConfig, MailConfig};
use stoppress::domain::ids::LabId;
use stoppress::lab::Drivers;
use stoppress::lab::outbound::{Outbound, Request};

use crate::lab_support::eventually;

/// How many connections the lab has to a gateway.
pub fn connections(to: &Running) -> usize {
    to.bench.labs.connections(&LabId::parse("nordprint").unwrap())
}

/// The gateway, the lab, and keys for both sides.
pub struct Rig {
    pub clock: ManualClock,
    pub running: Option<Running>,
    pub lab: Simulator,
    pub ops: String,
    pub platform: String,
    _folder: tempfile::TempDir,
    /// What a gateway is started with from now on.
    pub config: Config,
    client: Outbound,
}

/// An instant of text.
pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

impl Rig {
    /// A gateway at an instant, with a lab in Helsinki that closes at midnight and has this profile.
    pub async fn new(now: &str, driver: &str, profile: Value, behaviour: Value) -> Self {
        Self::on(None, now, driver, profile, behaviour).await
    }

    /// The same on a database of its own.
    pub async fn on(
        database: Option<&str>,
        now: &str,
        driver: &str,
        profile: Value,
        behaviour: Value,
    ) -> Self {
        Self::mailing(database, now, driver, profile, behaviour, MailConfig::default()).await
    }

    /// The same with a mail server.
    pub async fn mailing(
        database: Option<&str>,
        now: &str,
        driver: &str,
        profile: Value,
        behaviour: Value,
        mail: MailConfig,
    ) -> Self {
        let clock = ManualClock::at(at(now));
        let random = Arc::new(SeededRandom::new(7));
        let behaviour: Behaviour = serde_json::from_value(behaviour).unwrap();
        let settings = SimulatorSettings { behaviour, ..SimulatorSettings::default() };
        let lab = Simulator::start(settings, Arc::new(clock.clone()), random.clone()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            database: database.map_or_else(
                || format!("sqlite:{}", folder.path().join("gateway.db").display()),
                str::to_owned,
            ),
            outbound: stoppress::config::OutboundConfig {
                allow: vec!["127.0.0.0/8".parse().unwrap()],
                extra_ca: None,
            },
            mail,
            // Tests come from one address, and look at many pages while the clock stands still.
            limits: LimitsConfig { link_pages_per_minute: 0, ..LimitsConfig::default() },
            ..Config::default()
        };
        let mut rig = Self {
            clock,
            running: None,
            lab,
            ops: String::new(),
            platform: String::new(),
            _folder: folder,
            config,
            client: Outbound::trusted().unwrap(),
        };
        rig.start().await;
        rig.ops = rig.running.as_ref().unwrap().ops_key.as_ref().unwrap().expose_secret().to_owned();
        let ops = rig.ops.clone();
        rig.call(&ops, Method::PUT, "/v1/platforms/acme", json!({"id": "acme", "name": "Acme"})).await;
        let key = json!({"scope": "platform", "owner": "acme", "name": "test"});
        let (_, made) = rig.call(&ops, Method::POST, "/v1/keys", key).await;
        rig.platform = made["secret"].as_str().unwrap().to_owned();
        let driver = match driver {
            "link" => json!({"kind": "link", "heartbeat": "200ms"}),
            "grpc" => json!({"kind": "grpc", "endpoint": format!("http://{}", rig.lab.grpc_addr)}),
            _ => json!({"kind": "http", "base_url": format!("http://{}", rig.lab.http_addr)}),
        };
        let lab = json!({
            "id": "nordprint", "name": "Nordprint", "driver": driver, "profile": profile,
            "regions": [{"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}],
        });
        let (status, answer) = rig.call(&ops, Method::PUT, "/v1/labs/nordprint", lab).await;
        assert_eq!(status, 201, "{answer}");
        rig
    }

    /// Starts the gateway on its database, at the clock's time.
    pub async fn start(&mut self) {
        self.running = Some(self.another(11).await);
    }

    /// A gateway on the same database, at the clock's time.
    pub async fn another(&self, seed: u64) -> Running {
        let ambient = Ambient {
            clock: Arc::new(self.clock.clone()),
            random: Arc::new(SeededRandom::new(seed)),
            poll: SignedDuration::from_hours(1),
            chores: false,
        };
        let drivers = Drivers::default().with(crate::lab_driver::DRIVER);
        app::start_driving(&self.config, ambient, drivers, |_| {}).await.unwrap()
    }

    /// Ends the gateway.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// One call of the API.
    pub async fn call(&self, key: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
        let running = self.running.as_ref().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {key}")).unwrap());
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let request = Request {
            method,
            url: format!("{}{path}", running.url()).parse().unwrap(),
            headers,
            body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
            timeout: Duration::from_secs(20),
            body_max: 1 << 20,
        };
        let response = self.client.call(request).await.unwrap();
        (response.status, serde_json::from_slice(&response.body).unwrap_or(Value::Null))
    }

    /// One call as a browser makes it: no key, and a form if there is one. Gives the status, the headers and
    /// the page.
    pub async fn browse(&self, method: Method, path: &str, form: Option<&str>) -> (u16, HeaderMap, String) {
        self.browse_with(method, path, &[], form).await
    }

    /// The same with headers.
    pub async fn browse_with(
        &self,
        method: Method,
        path: &str,
        with: &[(&'static str, &str)],
        form: Option<&str>,
    ) -> (u16, HeaderMap, String) {
        let running = self.running.as_ref().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
        for (name, value) in with {
            headers.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let request = Request {
            method,
            url: format!("{}{path}", running.url()).parse().unwrap(),
            headers,
            body: form.unwrap_or_default().as_bytes().to_vec(),
            timeout: Duration::from_secs(20),
            body_max: 1 << 20,
        };
        let response = self.client.call(request).await.unwrap();
        (response.status, response.headers, String::from_utf8(response.body).unwrap())
    }

    /// Waits until the stop of an order stands so.
    pub async fn eventually_state(&self, order: &str, state: &str) {
        let mut stands = Value::Null;
        for _ in 0..300 {
            stands = self.read(order).await["stop"]["state"].clone();
            if stands == state {
                return;
            }
            crate::grpc_support::breathe(50).await;
        }
        panic!("the stop of {order} is {stands}, not {state}");
    }

    /// Submits an order and gives its id.
    pub async fn order(&self, reference: &str) -> String {
        self.order_of("nordprint", reference).await
    }

    /// Submits an order of a lab and gives its id.
    pub async fn order_of(&self, lab: &str, reference: &str) -> String {
        let order = json!({"reference": reference, "lab": lab,
            "ship_to": {"name": "n", "line1": "l", "city": "c", "country": "FI"},
            "items": [{"id": "1", "sku": "print", "quantity": 1}]});
        let (status, answer) = self.call(&self.platform, Method::POST, "/v1/orders", order).await;
        assert_eq!(status, 201, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    /// Asks for a stop; gives the status and the stop.
    pub async fn ask(&self, order: &str) -> (u16, Value) {
        let body = json!({"reason": "test", "asked_by": "merchant"});
        let (status, answer) =
            self.call(&self.platform, Method::POST, &format!("/v1/orders/{order}/stop"), body).await;
        (status, answer["stop"].clone())
    }

    /// An order as the platform sees it.
    pub async fn read(&self, order: &str) -> Value {
        self.call(&self.platform, Method::GET, &format!("/v1/orders/{order}"), Value::Null).await.1
    }

    /// The kinds of the events in an order's changelog.
    pub async fn kinds(&self, order: &str) -> Vec<String> {
        let path = format!("/v1/orders/{order}/changelog");
        let (_, log) = self.call(&self.platform, Method::GET, &path, Value::Null).await;
        let kind = |event: &Value| event["kind"].as_str().unwrap().to_owned();
        log["events"].as_array().unwrap().iter().map(kind).collect()
    }

    /// Waits until nobody is at work, at the time as it is.
    pub async fn settle(&self) {
        let bells = &self.running.as_ref().unwrap().bench.bells;
        tokio::time::timeout(Duration::from_secs(30), bells.settled(self.clock.now()))
            .await
            .expect("it settles");
    }

    /// Moves the clock to an instant, stopping at everything that is due before.
    pub async fn go_to(&self, until: &str) {
        let until = at(until);
        let bells = self.running.as_ref().unwrap().bench.bells.clone();
        loop {
            let now = self.clock.now();
            let next =
                tokio::time::timeout(Duration::from_secs(30), bells.settled(now)).await.expect("it settles");
            match next.filter(|next| *next <= until) {
                Some(next) => self.clock.set(next.max(now)),
                None => break,
            }
        }
        self.clock.set(until);
        self.settle().await;
    }

    /// A key for a lab.
    pub async fn lab_key(&self, lab: &str) -> String {
        let key = json!({"scope": "lab", "owner": lab, "name": "link"});
        let (status, made) = self.call(&self.ops, Method::POST, "/v1/keys", key).await;
        assert_eq!(status, 201, "{made}");
        made["secret"].as_str().unwrap().to_owned()
    }

    /// The lab dials a gateway, takes so many calls at a time, and is connected when this returns.
    pub async fn dial(&self, to: &Running, key: &str, window: u32) {
        let gateway = Gateway { url: to.url().parse().unwrap(), key: key.to_owned().into() };
        let before = connections(to);
        self.lab.dial(&gateway, window).unwrap();
        eventually("the lab is connected", || connections(to) > before).await;
    }

    /// How often the lab printed an order.
    pub fn prints(&self, order: &str) -> u64 {
        self.lab.ledger().prints(order)
    }
}
