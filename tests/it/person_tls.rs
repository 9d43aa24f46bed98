//! Mail through a server that asks for TLS and a login: real handshakes with certificates made for the test,
//! and what is said when they, or the password, are not right.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::http::Method;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use stoppress::config::{MailConfig, MailTls};
use stoppress::domain::lab::SecretRef;
use stoppress::domain::mail::MailOutcome;
use stoppress::lab::mail::{Mail, Mailer as _, Protection, Smtp, SmtpSettings};
use stoppress::lab::outbound::install_tls;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::rig::Rig;
use crate::sink::{Door, Sink};

const USER: &str = "stoppress";
const PASSWORD: &str = "right-word-7";
const WRONG: &str = "pass-word-9";

/// An authority of the test's own.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A server's certificate for a name, that ends in this year.
    fn shows(&self, name: &str, until: i32) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let shown = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        TlsAcceptor::from(Arc::new(config.with_single_cert(vec![shown.der().clone()], key).unwrap()))
    }
}

fn door(tls: Option<TlsAcceptor>, implicit: bool) -> Door {
    Door { tls, implicit, login: Some((USER, PASSWORD)) }
}

fn mailer(sink: &Sink, protection: Protection, password: &str, trusted: Option<&Authority>) -> Smtp {
    Smtp::new(SmtpSettings {
        server: "127.0.0.1".to_owned(),
        port: sink.config().port.unwrap(),
        protection,
        login: Some((USER.to_owned(), password.to_owned().into())),
        from: "Stoppress <stops@gateway.example>".to_owned(),
        authorities: trusted.iter().map(|known| ("mail.ca", known.pem.clone().into_bytes())).collect(),
        within: Duration::from_secs(5),
    })
    .unwrap()
}

fn mail() -> Mail {
    Mail {
        to: "maija@lab.example".to_owned(),
        subject: "please stop order A-1".to_owned(),
        text: "text".to_owned(),
        id: "stp_1.ask".to_owned(),
    }
}

/// Everything that is logged while it lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Hears this thread's log, of every level.
    fn hears(&self) -> tracing::subscriber::DefaultGuard {
        let to = self.clone();
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        tracing::subscriber::set_default(log.with_writer(move || to.clone()).finish())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn a_mail_goes_over_tls_with_a_login_both_ways() {
    install_tls();
    let authority = Authority::new("ours");
    for (protection, implicit) in [(Protection::StartTls, false), (Protection::Tls, true)] {
        let sink = Sink::behind(door(Some(authority.shows("127.0.0.1", 2100)), implicit)).await;
        let outcome = mailer(&sink, protection, PASSWORD, Some(&authority)).send(&mail()).await;
        assert_eq!((outcome, sink.mails().len(), sink.logins()), (MailOutcome::Sent, 1, 1), "{protection:?}");
    }
}

#[tokio::test]
async fn what_is_not_right_is_named_and_neither_mail_nor_password_goes_out() {
    install_tls();
    let log = Log::default();
    let _hears = log.hears();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let namesake = Authority::new("ours");
    let good = || Some(ours.shows("127.0.0.1", 2100));
    // Whether it is for good, what is said, and how many logins the server saw.
    let for_good = true;
    let cases = [
        (
            "another authority",
            Some(theirs.shows("127.0.0.1", 2100)),
            PASSWORD,
            !for_good,
            "authority that is trusted here (mail.ca)",
            0,
        ),
        (
            "an authority of the same name",
            Some(namesake.shows("127.0.0.1", 2100)),
            PASSWORD,
            !for_good,
            "authority that is trusted here (mail.ca)",
            0,
        ),
        ("over", Some(ours.shows("127.0.0.1", 2021)), PASSWORD, !for_good, "certificate has expired", 0),
        (
            "another name",
            Some(ours.shows("10.9.8.7", 2100)),
            PASSWORD,
            !for_good,
            "for another name (mail.server)",
            0,
        ),
        ("wrong password", good(), WRONG, for_good, "answered 535: it did not take mail.username", 1),
    ];
    for (name, tls, password, permanent, said, logins) in cases {
        for (protection, implicit) in [(Protection::StartTls, false), (Protection::Tls, true)] {
            let sink = Sink::behind(door(tls.clone(), implicit)).await;
            let outcome = mailer(&sink, protection, password, Some(&ours)).send(&mail()).await;
            assert_eq!(matches!(outcome, MailOutcome::Refused(_)), permanent, "{name}: {outcome:?}");
            assert_eq!(matches!(outcome, MailOutcome::Unreachable(_)), !permanent, "{name}: {outcome:?}");
            assert!(outcome.cause().unwrap().contains(said), "{name}: {outcome:?}");
            assert!(!format!("{outcome:?}").contains(password), "{name}: {outcome:?}");
            assert_eq!((sink.mails().len(), sink.logins()), (0, logins), "{name} {protection:?}");
        }
    }
    // A server without STARTTLS hears neither the mail nor the login.
    let sink = Sink::behind(door(None, false)).await;
    let outcome = mailer(&sink, Protection::StartTls, PASSWORD, Some(&ours)).send(&mail()).await;
    let said = "the mail server offers no STARTTLS, and nothing is sent in the clear (mail.tls)";
    assert_eq!((outcome, sink.logins()), (MailOutcome::Refused(said.to_owned()), 0));
    // Nor does one without a login, though it would take the mail.
    let sink = Sink::behind(Door { tls: good(), ..Door::default() }).await;
    let outcome = mailer(&sink, Protection::StartTls, PASSWORD, Some(&ours)).send(&mail()).await;
    assert!(outcome.cause().unwrap().contains("no login that is known here"), "{outcome:?}");
    assert_eq!(sink.mails().len(), 0);
    // The host's own authorities do not vouch for the test's.
    let sink = Sink::behind(door(good(), true)).await;
    let outcome = mailer(&sink, Protection::Tls, PASSWORD, None).send(&mail()).await;
    assert!(outcome.cause().unwrap().contains("(mail.ca)"), "{outcome:?}");
    let text = log.text();
    assert!(!text.contains(PASSWORD) && !text.contains(WRONG), "{text}");
}

#[test]
fn a_file_without_certificates_is_refused_by_its_key() {
    install_tls();
    for text in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----"] {
        let fault = Smtp::new(SmtpSettings {
            server: "127.0.0.1".to_owned(),
            port: 1,
            protection: Protection::Tls,
            login: None,
            from: "stops@gateway.example".to_owned(),
            authorities: vec![("mail.ca", text.as_bytes().to_vec())],
            within: Duration::from_secs(1),
        });
        assert_eq!(fault.unwrap_err().field, "mail.ca", "{text:?}");
    }
}

/// Friday, 10:00 in Helsinki; a lab whose people answer stops.
pub(crate) async fn rig(mail: MailConfig) -> Rig {
    let profile = json!({"stops": "yes"});
    let rig = Rig::mailing(None, "2026-11-20T08:00:00Z", "http", profile, json!({}), mail).await;
    let lab = json!({
        "id": "nordprint", "name": "Nordprint",
        "driver": {"kind": "http", "base_url": format!("http://{}", rig.lab.http_addr)},
        "profile": {"dedupes": "forever", "stops": "no", "channel": "person", "answers_within": "40m"},
        "policy": {"contact": {"email": "maija@lab.example"}},
        "regions": [{"id": "fi", "calendar": {"time_zone": "Europe/Helsinki", "cutoffs": ["24:00"]}}],
    });
    let (status, answer) = rig.call(&rig.ops, Method::PUT, "/v1/labs/nordprint", lab).await;
    assert_eq!(status, 200, "{answer}");
    rig
}

async fn mailed(rig: &Rig, order: &str) -> Vec<Value> {
    let (_, log) =
        rig.call(&rig.ops, Method::GET, &format!("/v1/orders/{order}/changelog"), Value::Null).await;
    let mails = |event: &&Value| event["kind"].as_str().unwrap_or_default().starts_with("stop.mail");
    log["events"].as_array().unwrap().iter().filter(mails).cloned().collect()
}

#[tokio::test]
async fn a_gateway_mails_as_it_is_configured_and_calls_ops_when_it_cannot() {
    let authority = Authority::new("ours");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        path
    };
    let ca = file("ca.pem", &authority.pem);
    let foreign = file("foreign.pem", &Authority::new("theirs").pem);
    let password = |name, text| SecretRef::File(file(name, text).to_str().unwrap().to_owned());
    let (right, wrong) = (password("right", PASSWORD), password("wrong", WRONG));
    // What is trusted, what is logged in with, how many sendings are tried until ops are called, and why.
    let cases = [(&ca, &right, 1, ""), (&ca, &wrong, 1, "535"), (&foreign, &right, 4, "authority")];
    for (ca, password, tries, said) in cases {
        let sink = Sink::behind(door(Some(authority.shows("127.0.0.1", 2100)), false)).await;
        let mail = MailConfig {
            tls: MailTls::Starttls,
            ca: Some(ca.clone()),
            username: Some(USER.to_owned()),
            password: Some(password.clone()),
            ..sink.config()
        };
        let rig = rig(mail).await;
        let order = rig.order("A-1").await;
        rig.go_to("2026-11-20T22:00:00Z").await;
        let (_, stop) = rig.ask(&order).await;
        assert_eq!(stop["state"], "pending", "{stop}");
        rig.go_to("2026-11-20T22:10:00Z").await;
        let events = mailed(&rig, &order).await;
        assert_eq!(events.len(), tries, "{events:?}");
        let state = rig.read(&order).await["stop"]["state"].clone();
        if said.is_empty() {
            assert_eq!((sink.mails().len(), &state), (1, &json!("pending")));
        } else {
            assert_eq!((sink.mails().len(), &state), (0, &json!("with_a_person")), "ops were called");
            assert!(events[0].to_string().contains(said), "{}", events[0]);
            assert!(!events[0].to_string().contains(WRONG), "{}", events[0]);
        }
    }
}
