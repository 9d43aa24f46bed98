//! Mail to the people of labs: the only file that speaks SMTP.
//!
//! One connection a mail, so that it is known where it broke: before the mail was offered, nothing was
//! sent; after that, only the server's own word says whether it was.

use std::sync::Arc;
use std::time::Duration;

use lettre::message::{Mailbox, Message, MessageBuilder};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Pending, words};
use crate::domain::Fault;
use crate::domain::mail::MailOutcome;

/// A mail, written out.
#[derive(Debug, Clone)]
pub struct Mail {
    /// To whom.
    pub to: String,
    /// About what, in one line.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The same for every sending of the same mail, so that who gets it twice can see it. Letters, digits,
    /// dots, hyphens and underscores.
    pub id: String,
}

/// Sends mails. Each call is one attempt and ends by itself.
pub trait Mailer: Send + Sync + std::fmt::Debug {
    /// Sends one.
    fn send<'a>(&'a self, mail: &'a Mail) -> Pending<'a, MailOutcome>;
}

/// No mail server: whoever should be written to cannot be.
#[derive(Debug, Clone, Copy)]
pub struct NoMailer;

impl Mailer for NoMailer {
    fn send<'a>(&'a self, _: &'a Mail) -> Pending<'a, MailOutcome> {
        let cause = "this gateway has no mail server (mail.server)".to_owned();
        Box::pin(std::future::ready(MailOutcome::Refused(cause)))
    }
}

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// From the first byte.
    Tls,
    /// After `STARTTLS`, without which nothing is sent.
    StartTls,
    /// Not at all.
    None,
}

/// The server, and who sends.
#[derive(Debug)]
pub struct SmtpSettings {
    /// A host name or an address.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub protection: Protection,
    /// The user and the password.
    pub login: Option<(String, SecretString)>,
    /// The sender.
    pub from: String,
    /// More certificate authorities, PEM, each with the key of the configuration that names it.
    pub authorities: Vec<(&'static str, Vec<u8>)>,
    /// How long one sending may take.
    pub within: Duration,
}

/// A mail server.
pub struct Smtp {
    server: String,
    port: u16,
    protection: Protection,
    tls: Option<TlsParameters>,
    login: Option<Credentials>,
    from: Mailbox,
    within: Duration,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp").field("server", &self.server).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Smtp {
    /// A server; it connects to nothing yet.
    ///
    /// # Errors
    /// If the sender or the certificates cannot be read; named from the root of the configuration.
    pub fn new(settings: SmtpSettings) -> Result<Self, Fault> {
        let SmtpSettings { server, port, protection, login, from, authorities, within } = settings;
        let mailbox: Mailbox = from.parse().map_err(|_| Fault::not("mail.from", &from, "an address"))?;
        let tls = match protection {
            Protection::None => None,
            Protection::Tls | Protection::StartTls => {
                let mut builder = TlsParameters::builder(server.clone());
                for (field, all) in authorities {
                    for certificate in certificates(field, &all)? {
                        builder = builder.add_root_certificate(certificate);
                    }
                }
                let unusable = |error: Error| Fault::new("mail.tls", error.to_string());
                Some(builder.build_rustls().map_err(unusable)?)
            }
        };
        let login = login.map(|(name, word)| Credentials::new(name, word.expose_secret().to_owned()));
        Ok(Self { server, port, protection, tls, login, from: mailbox, within })
    }

    fn message(&self, mail: &Mail) -> Result<Message, String> {
        let to: Mailbox = mail.to.parse().map_err(|_| "the address cannot be read".to_owned())?;
        let builder: MessageBuilder = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(words(&mail.subject, 200))
            .message_id(Some(format!("<{}@{}>", mail.id, self.from.email.domain())));
        builder
            .header(lettre::message::header::ContentType::TEXT_PLAIN)
            .body(mail.text.clone())
            .map_err(|error| error.to_string())
    }

    /// A connection that only waits for the mail. Until here nothing was sent.
    async fn connect(&self) -> Result<AsyncSmtpConnection, (Step, Error)> {
        let hello = ClientId::default();
        let first = self.tls.clone().filter(|_| self.protection == Protection::Tls);
        let server = (self.server.as_str(), self.port);
        let connection = AsyncSmtpConnection::connect_tokio1(server, Some(self.within), &hello, first, None);
        let mut connection = connection.await.map_err(|error| (Step::Connect, error))?;
        if let Some(tls) = self.tls.clone().filter(|_| self.protection == Protection::StartTls) {
            connection.starttls(tls, &hello).await.map_err(|error| (Step::StartTls, error))?;
        }
        if let Some(login) = &self.login {
            connection.auth(DEFAULT_MECHANISMS, login).await.map_err(|error| (Step::LogIn, error))?;
        }
        Ok(connection)
    }

    async fn deliver(&self, mail: &Mail) -> MailOutcome {
        let message = match self.message(mail) {
            Ok(message) => message,
            Err(cause) => return MailOutcome::Refused(cause),
        };
        let mut connection = match tokio::time::timeout(self.within, self.connect()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err((step, error))) => {
                let cause = || shown(step, &error);
                return answered(step, &error).unwrap_or_else(|| MailOutcome::Unreachable(cause()));
            }
            Err(_) => return MailOutcome::Unreachable("no connection in time".to_owned()),
        };
        let bytes = message.formatted();
        let sending = connection.send(message.envelope(), &bytes);
        match tokio::time::timeout(self.within, sending).await {
            Ok(Ok(_)) => {
                // The mail is taken; whether the farewell is heard changes nothing.
                let _ = tokio::time::timeout(Duration::from_secs(1), connection.quit()).await;
                MailOutcome::Sent
            }
            Ok(Err(error)) => {
                let cause = || shown(Step::Send, &error);
                answered(Step::Send, &error).unwrap_or_else(|| MailOutcome::Unclear(cause()))
            }
            Err(_) => MailOutcome::Unclear("the server did not answer in time".to_owned()),
        }
    }
}

impl Mailer for Smtp {
    fn send<'a>(&'a self, mail: &'a Mail) -> Pending<'a, MailOutcome> {
        Box::pin(self.deliver(mail))
    }
}

/// Where a sending is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Connect,
    StartTls,
    LogIn,
    Send,
}

/// What the server itself said: it did not take the mail, for now or for good.
fn answered(step: Step, error: &Error) -> Option<MailOutcome> {
    if error.is_permanent() {
        Some(MailOutcome::Refused(shown(step, error)))
    } else if error.is_transient() {
        Some(MailOutcome::Unreachable(shown(step, error)))
    } else if error.is_client() {
        // Ours, before a byte of the mail: no TLS or no login offered, an address that does not fit.
        Some(MailOutcome::Refused(shown(step, error)))
    } else {
        None
    }
}

/// What went wrong, for whoever runs the gateway: kind and status only, because servers repeat addresses in
/// their texts, and a login that they did not take.
fn shown(step: Step, error: &Error) -> String {
    if let Some(cause) = distrust(error) {
        return cause;
    }
    match (step, error.status()) {
        (Step::LogIn, Some(code)) if error.is_permanent() => {
            format!("the mail server answered {code}: it did not take mail.username with mail.password")
        }
        (Step::LogIn, Some(code)) => format!("the mail server answered {code} to the login"),
        (Step::LogIn, None) if error.is_client() => {
            "the mail server offers no login that is known here (mail.username)".to_owned()
        }
        (Step::StartTls, None) if error.is_client() => {
            "the mail server offers no STARTTLS, and nothing is sent in the clear (mail.tls)".to_owned()
        }
        (_, Some(code)) => format!("the mail server answered {code}"),
        (_, None) if error.is_timeout() => "the mail server did not answer in time".to_owned(),
        (_, None) if error.is_tls() => "the TLS connection to the mail server failed".to_owned(),
        (_, None) => words(&error.to_string(), 100),
    }
}

/// Why the server's certificate is not trusted, if it is not.
fn distrust(error: &Error) -> Option<String> {
    use rustls::CertificateError as Bad;
    let mut cause = std::error::Error::source(error);
    let bad = loop {
        let inner = cause?;
        // An error of the socket hides what it was made of.
        let wrapped = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let inner = wrapped.map_or(inner, |wrapped| wrapped);
        match inner.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidCertificate(bad)) => break bad,
            Some(_) => return None,
            None => cause = inner.source(),
        }
    };
    let why = match bad {
        Bad::UnknownIssuer | Bad::BadSignature => "is not from an authority that is trusted here (mail.ca)",
        Bad::Expired | Bad::ExpiredContext { .. } => "has expired",
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => "is not valid yet",
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "is for another name (mail.server)",
        Bad::Revoked => "was revoked",
        _ => "cannot be trusted",
    };
    Some(format!("the mail server's certificate {why}"))
}

/// The certificates of a PEM file, of which there must be one at least.
fn certificates(field: &'static str, all: &[u8]) -> Result<Vec<Certificate>, Fault> {
    let unreadable =
        |why: String| Fault::new(field, format!("the file has a certificate that cannot be used: {why}"));
    let mut found = Vec::new();
    for one in CertificateDer::pem_slice_iter(all) {
        let one = one.map_err(|error| unreadable(error.to_string()))?;
        // Looked at now, so that the file is named, and not only TLS.
        rustls::RootCertStore::empty().add(one.clone()).map_err(|error| unreadable(error.to_string()))?;
        found.push(Certificate::from_der(one.to_vec()).map_err(|error| unreadable(error.to_string()))?);
    }
    if found.is_empty() {
        Err(Fault::new(field, "the file has no certificate in PEM form"))
    } else {
        Ok(found)
    }
}

/// A mailer that can be shared.
pub type SharedMailer = Arc<dyn Mailer>;
