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
    /// More certificate authorities, PEM.
    pub extra_ca: Option<Vec<u8>>,
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
        let SmtpSettings { server, port, protection, login, from, extra_ca, within } = settings;
        let mailbox: Mailbox = from.parse().map_err(|_| Fault::not("mail.from", &from, "an address"))?;
        let tls = match protection {
            Protection::None => None,
            Protection::Tls | Protection::StartTls => {
                let mut builder = TlsParameters::builder(server.clone());
                for pem in extra_ca.iter().flat_map(|all| certificates(all)) {
                    let unreadable = |error: Error| Fault::new("outbound.extra_ca", error.to_string());
                    builder = builder.add_root_certificate(Certificate::from_pem(&pem).map_err(unreadable)?);
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
    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let hello = ClientId::default();
        let first = self.tls.clone().filter(|_| self.protection == Protection::Tls);
        let server = (self.server.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(self.within), &hello, first, None).await?;
        if let Some(tls) = self.tls.clone().filter(|_| self.protection == Protection::StartTls) {
            connection.starttls(tls, &hello).await?;
        }
        if let Some(login) = &self.login {
            connection.auth(DEFAULT_MECHANISMS, login).await?;
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
            Ok(Err(error)) => return answered(&error).unwrap_or(MailOutcome::Unreachable(shown(&error))),
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
            Ok(Err(error)) => answered(&error).unwrap_or(MailOutcome::Unclear(shown(&error))),
            Err(_) => MailOutcome::Unclear("the server did not answer in time".to_owned()),
        }
    }
}

impl Mailer for Smtp {
    fn send<'a>(&'a self, mail: &'a Mail) -> Pending<'a, MailOutcome> {
        Box::pin(self.deliver(mail))
    }
}

/// What the server itself said: it did not take the mail, for now or for good.
fn answered(error: &Error) -> Option<MailOutcome> {
    if error.is_permanent() {
        Some(MailOutcome::Refused(shown(error)))
    } else if error.is_transient() {
        Some(MailOutcome::Unreachable(shown(error)))
    } else if error.is_client() {
        // Ours, before a byte of the mail: no TLS or no login offered, an address that does not fit.
        Some(MailOutcome::Refused(shown(error)))
    } else {
        None
    }
}

/// Kind and status only: servers repeat addresses in their texts.
fn shown(error: &Error) -> String {
    match error.status() {
        Some(code) => format!("the mail server answered {code}"),
        None if error.is_timeout() => "the mail server did not answer in time".to_owned(),
        None if error.is_tls() => "the TLS connection to the mail server failed".to_owned(),
        None => words(&error.to_string(), 100),
    }
}

/// The certificates of a PEM file, one each.
fn certificates(all: &[u8]) -> Vec<Vec<u8>> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = String::from_utf8_lossy(all);
    text.split_inclusive(END)
        .filter(|one| one.contains(END))
        .map(|one| one.trim().as_bytes().to_vec())
        .collect()
}

/// A mailer that can be shared.
pub type SharedMailer = Arc<dyn Mailer>;
