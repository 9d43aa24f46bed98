//! The table `[mail]`: the server through which the people of labs are written to.

use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::domain::Fault;
use crate::domain::lab::{Lasting, SecretRef};
use crate::domain::mail::is_address;

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailTls {
    /// It begins in the clear and must change to TLS before anything else.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Implicit,
    /// None: only to a server on this host.
    None,
}

/// Mail to the people of labs. Without a server none is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailConfig {
    /// The mail server: a host name or an address.
    pub server: Option<String>,
    /// Its port; by `tls` unless told: 587, 465, 25.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub tls: MailTls,
    /// A file with more certificate authorities for the mail server, PEM.
    pub ca: Option<PathBuf>,
    /// The user, if the server wants one.
    pub username: Option<String>,
    /// Where the user's password is kept.
    #[serde(deserialize_with = "named_only")]
    pub password: Option<SecretRef>,
    /// The sender: `stops@gateway.example` or `Stoppress <stops@gateway.example>`.
    pub from: Option<String>,
    /// The address of this gateway as the people of labs reach it: what links in mails begin with.
    pub public_url: Option<String>,
    /// How long one sending may take.
    pub send_within: Lasting,
}

/// Where a secret is kept. Whoever writes the secret itself here by mistake does not find it in the message.
fn named_only<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretRef>, D::Error> {
    let written = serde_json::Value::deserialize(deserializer)?;
    serde_json::from_value(written).map(Some).map_err(|_| {
        D::Error::custom(
            "what is there is not { env = \"VARIABLE\" } or { file = \"/path\" }; it is not shown",
        )
    })
}

impl Default for MailConfig {
    fn default() -> Self {
        Self {
            server: None,
            port: None,
            tls: MailTls::default(),
            ca: None,
            username: None,
            password: None,
            from: None,
            public_url: None,
            send_within: Lasting::seconds(30),
        }
    }
}

impl MailConfig {
    /// The port in force.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            MailTls::Starttls => 587,
            MailTls::Implicit => 465,
            MailTls::None => 25,
        })
    }

    /// What is wrong with it, named from the root of the configuration.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let at = |field: &str| format!("mail.{field}");
        if self.send_within.0.is_zero() || self.send_within > Lasting::seconds(60) {
            let got = self.send_within.to_string();
            return Err(Fault::not(at("send_within"), got, "a duration of more than 0s and at most 60s"));
        }
        let Some(server) = &self.server else {
            let others = [
                ("port", self.port.is_some()),
                ("ca", self.ca.is_some()),
                ("username", self.username.is_some()),
                ("password", self.password.is_some()),
                ("from", self.from.is_some()),
                ("public_url", self.public_url.is_some()),
            ];
            return match others.iter().find(|(_, told)| *told) {
                Some((field, _)) => Err(Fault::missing(
                    at("server"),
                    &format!("the name of a mail server, because mail.{field} is there"),
                )),
                None => Ok(()),
            };
        };
        let named = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
        if server.is_empty() || server.len() > 253 || !server.chars().all(named) {
            return Err(Fault::not(
                at("server"),
                server,
                "a host name or an address, without port and scheme",
            ));
        }
        if self.tls == MailTls::None && !on_this_host(server) {
            let allowed =
                "\"starttls\" or \"implicit\": without TLS only a server on this host is written to";
            return Err(Fault::not(at("tls"), "none", allowed));
        }
        if self.tls == MailTls::None && self.ca.is_some() {
            return Err(Fault::new(
                at("ca"),
                "must not be there with tls = \"none\": no certificate is shown",
            ));
        }
        if self.username.is_some() != self.password.is_some() {
            let field = if self.username.is_some() { "password" } else { "username" };
            return Err(Fault::missing(at(field), "there: a user and a password come together"));
        }
        let allowed = "an address such as \"stops@gateway.example\" or \"Stoppress <stops@gateway.example>\"";
        match &self.from {
            None => return Err(Fault::missing(at("from"), allowed)),
            Some(from) if !is_address(bare(from)) || from.chars().any(char::is_control) => {
                return Err(Fault::not(at("from"), from, allowed));
            }
            Some(_) => {}
        }
        let Some(text) = &self.public_url else { return Err(Fault::missing(at("public_url"), PUBLIC_URL)) };
        if is_public(text) { Ok(()) } else { Err(Fault::not(at("public_url"), text, PUBLIC_URL)) }
    }
}

/// What a public address must be.
pub(super) const PUBLIC_URL: &str = "an https URL without user name, query and fragment, such as \
    \"https://gateway.example\"; http only of this host";

/// Whether links that people are given can begin with it.
pub(super) fn is_public(text: &str) -> bool {
    url::Url::parse(text).ok().is_some_and(|url| {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let safe = url.scheme() == "https" || (url.scheme() == "http" && on_this_host(host));
        let bare = url.username().is_empty() && url.password().is_none();
        safe && bare && !host.is_empty() && url.query().is_none() && url.fragment().is_none()
    })
}

/// The address of a sender, without the name before it.
fn bare(from: &str) -> &str {
    let inner = from.trim().strip_suffix('>').and_then(|rest| rest.rsplit_once('<'));
    inner.map_or(from.trim(), |(_, address)| address)
}

fn on_this_host(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn read(text: &str) -> Result<Config, String> {
        Config::parse(&format!("[mail]\n{text}")).map_err(|fault| fault.to_string())
    }

    const GOOD: &str = "server = \"mail.example\"\nfrom = \"Stops <stops@gw.example>\"\n\
        public_url = \"https://gw.example/x\"\n";

    #[test]
    fn mail_is_off_unless_told_and_whole_when_it_is_on() {
        assert!(read("").is_ok_and(|config| config.mail.server.is_none()));
        assert_eq!(read(GOOD).map(|config| config.mail.port()), Ok(587));
        let with = |more: &str| read(&format!("{GOOD}{more}")).map(|config| config.mail.port());
        assert_eq!(with("tls = \"implicit\""), Ok(465));
        assert_eq!(with("port = 2525"), Ok(2525));
        assert_eq!(with("username = \"u\"\npassword = { env = \"P\" }"), Ok(587));
        let local =
            GOOD.replace("mail.example", "127.0.0.1").replace("https://gw.example", "http://[::1]:80");
        assert_eq!(read(&format!("{local}tls = \"none\"")).map(|config| config.mail.port()), Ok(25));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases: &[(&str, &str)] = &[
            ("from = \"a@b.example\"", "mail.server: is missing"),
            ("server = \"mail.example\"", "mail.from: is missing"),
            ("server = \"mail.example\"\nfrom = \"a@b.example\"", "mail.public_url: is missing"),
            ("server = \"smtp://mail.example\"", "mail.server: \"smtp://mail.example\" is not"),
            (&format!("{GOOD}tls = \"none\""), "mail.tls: \"none\" is not"),
            ("ca = \"ca.pem\"", "mail.server: is missing"),
            (
                &format!("{}tls = \"none\"\nca = \"ca.pem\"", GOOD.replace("mail.example", "127.0.0.1")),
                "mail.ca: must not be there",
            ),
            (&format!("{GOOD}tls = \"maybe\""), "mail.tls: unknown variant"),
            (&format!("{GOOD}username = \"u\""), "mail.password: is missing"),
            (&format!("{GOOD}password = {{ env = \"P\" }}"), "mail.username: is missing"),
            (&format!("{GOOD}pasword = \"x\""), "mail.pasword"),
            (&format!("{GOOD}password = \"in the clear\""), "mail.password"),
            (&format!("{GOOD}send_within = \"0s\""), "mail.send_within: \"0s\" is not"),
            (&GOOD.replace("stops@gw", "stops at gw"), "mail.from: "),
            (&GOOD.replace("https://", "http://"), "mail.public_url: "),
            (&GOOD.replace("example/x", "example/?x=1"), "mail.public_url: "),
        ];
        for (text, expected) in cases {
            let told = read(text).err().unwrap_or_default();
            assert!(told.starts_with(expected), "{text}\n{told}");
            assert!(!told.contains("in the clear"), "{told}");
        }
    }

    #[test]
    fn what_customers_links_begin_with_is_checked_alike() {
        let read = |url: &str| Config::parse(&format!("[serve]\npublic_url = \"{url}\"\n"));
        for good in
            ["https://gw.example", "https://gw.example/x/", "http://127.0.0.1:8080", "http://localhost"]
        {
            assert!(read(good).is_ok(), "{good}");
        }
        for bad in ["http://gw.example", "gw.example", "https://u:p@gw.example", "https://gw.example/?a", ""]
        {
            let told = read(bad).err().map(|fault| fault.to_string()).unwrap_or_default();
            assert!(told.starts_with("serve.public_url: "), "{bad}: {told}");
        }
    }
}
