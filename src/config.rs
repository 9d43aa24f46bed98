//! The only reader of the configuration file, the environment and flags.
//!
//! What is set later wins: defaults, `stoppress.toml`, environment, flags. Unknown keys are refused with
//! the nearest known one; errors name the key, what was there, and where it came from.

mod mail;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::domain::lab::{Lasting, SecretRef};
use crate::domain::second_factor::Wanted;
use crate::domain::{Fault, nearest};

pub use self::mail::{MailConfig, MailTls};

/// The file that is read when none is named.
pub const FILE: &str = "stoppress.toml";

/// The configuration of `serve`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where HTTP and gRPC are served.
    pub listen: SocketAddr,
    /// `sqlite:FILE` or `postgres://…`.
    pub database: String,
    /// Zone data.
    pub zones: ZonesConfig,
    /// Calls to labs.
    pub outbound: OutboundConfig,
    /// Mail to the people of labs.
    pub mail: MailConfig,
    /// Limits of the API, a key.
    pub limits: LimitsConfig,
    /// Connections and shutdown.
    pub serve: ServeConfig,
    /// People of ops at the pages.
    pub ops: OpsConfig,
    /// How long what orders say of people is kept.
    pub retention: RetentionConfig,
    /// The log.
    pub log: LogConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            database: "sqlite:stoppress.db".to_owned(),
            zones: ZonesConfig::default(),
            outbound: OutboundConfig::default(),
            mail: MailConfig::default(),
            limits: LimitsConfig::default(),
            serve: ServeConfig::default(),
            ops: OpsConfig::default(),
            retention: RetentionConfig::default(),
            log: LogConfig::default(),
        }
    }
}

/// Zone data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ZonesConfig {
    /// A zoneinfo folder. The newest of this, the host's and the bundled data is used.
    pub dir: Option<PathBuf>,
}

/// Calls to labs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutboundConfig {
    /// Private networks that may be called, such as `10.1.2.0/24`. Public addresses always may.
    pub allow: Vec<ipnet::IpNet>,
    /// A file with more certificate authorities, PEM.
    pub extra_ca: Option<PathBuf>,
}

/// Limits of the API, each a key or an address. 0 switches one off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Writes a second.
    pub writes_per_second: u32,
    /// Writes at once.
    pub writes_burst: u32,
    /// Stops a second.
    pub stops_per_second: u32,
    /// Stops at once.
    pub stops_burst: u32,
    /// Reads a second.
    pub reads_per_second: u32,
    /// Reads at once.
    pub reads_burst: u32,
    /// Sign-ins with a wrong key from one address, a minute; more wait for their answer.
    pub failed_sign_ins_per_minute: u32,
    /// Looks at pages behind links of mails from one address, a minute.
    pub link_pages_per_minute: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            writes_per_second: 50,
            writes_burst: 100,
            stops_per_second: 10,
            stops_burst: 20,
            reads_per_second: 100,
            reads_burst: 200,
            failed_sign_ins_per_minute: 10,
            link_pages_per_minute: 10,
        }
    }
}

/// Connections and shutdown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeConfig {
    /// Connections at the same time.
    pub connections_max: u32,
    /// The same from one address, or one IPv6 network; more are closed at once. 0: no more than in all. Connections
    /// from this host and from `trusted_proxies` are not counted.
    pub connections_each_max: u32,
    /// How long a request head may take, and an HTTP/1.1 connection may be without a request.
    pub header_within: Lasting,
    /// How long an HTTP/2 connection may be without a request.
    pub idle_within: Lasting,
    /// How long the end waits for what is under way.
    pub drain_within: Lasting,
    /// The networks of proxies in front of the gateway, whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// The address of this gateway as customers reach it: what their links begin with. `mail.public_url`
    /// unless told.
    pub public_url: Option<String>,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_each_max: 1_000,
            header_within: Lasting::seconds(10),
            idle_within: Lasting::seconds(75),
            drain_within: Lasting::seconds(20),
            trusted_proxies: Vec::new(),
            public_url: None,
        }
    }
}

/// People of ops at the pages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpsConfig {
    /// Whether they need a second factor for what cannot be taken back.
    pub second_factor: Wanted,
}

/// How long what orders say of people is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionConfig {
    /// Addresses, e-mails, telephone numbers, pictures, texts that are printed, and metadata: so many days after
    /// an order came to its end and nothing more was heard of it. 0: for ever.
    pub addresses_days: u32,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { addresses_days: 30 }
    }
}

/// How the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `text` or `json`.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, or a filter such as `info,stoppress::work=debug`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// What flags can say.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config FILE`.
    pub file: Option<PathBuf>,
    /// `--listen ADDR`.
    pub listen: Option<String>,
    /// `--database URL`.
    pub database: Option<String>,
    /// `--log-level LEVEL`.
    pub log_level: Option<String>,
    /// `--log-format text|json`.
    pub log_format: Option<String>,
}

impl Config {
    /// Reads file, environment and flags.
    ///
    /// # Errors
    /// The first fault, named by its key.
    pub fn load(flags: &Flags) -> Result<Self, Fault> {
        let named = flags.file.clone().or_else(|| variable("STOPPRESS_CONFIG").map(PathBuf::from));
        let mut config = match &named {
            Some(file) => Self::read(file)?,
            None if Path::new(FILE).exists() => Self::read(Path::new(FILE))?,
            None => Self::default(),
        };
        let say = |flag: &Option<String>, name: &str| flag.clone().or_else(|| variable(name));
        if let Some(listen) = say(&flags.listen, "STOPPRESS_LISTEN") {
            config.listen = listen.parse().map_err(|_| {
                Fault::not("listen", &listen, "an address with a port, such as \"127.0.0.1:8080\"")
            })?;
        }
        if let Some(database) = say(&flags.database, "STOPPRESS_DATABASE") {
            config.database = database;
        }
        if let Some(level) = say(&flags.log_level, "STOPPRESS_LOG") {
            config.log.level = level;
        }
        if let Some(format) = say(&flags.log_format, "STOPPRESS_LOG_FORMAT") {
            config.log.format = match format.as_str() {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                other => return Err(Fault::not("log.format", other, "\"text\" or \"json\"")),
            };
        }
        config.check()?;
        Ok(config)
    }

    fn read(file: &Path) -> Result<Self, Fault> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Fault::new("", format!("{}: cannot be read: {error}", file.display())))?;
        Self::parse(&text)
            .map_err(|fault| Fault::new(fault.field, format!("{} (in {})", fault.message, file.display())))
    }

    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// The first fault, named by its key.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let input = toml::Deserializer::parse(text).map_err(|error| Fault::new("", error.to_string()))?;
        let config: Self = serde_path_to_error::deserialize(input).map_err(|error| {
            let path = error.path().to_string();
            let message = error.inner().message().to_owned();
            Fault::new(if path == "." { String::new() } else { path }, suggest(&message))
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Fault> {
        let known = ["sqlite:", "postgres://", "postgresql://"];
        let scheme = self.database.split_once("://").map(|(scheme, _)| scheme);
        if self.database.is_empty()
            || scheme.is_some_and(|s| !matches!(s, "postgres" | "postgresql" | "sqlite"))
        {
            // The text after the scheme may carry a password.
            let got = scheme.map_or(String::new(), |scheme| format!("{scheme}://…"));
            return Err(Fault::not("database", got, &format!("a URL that begins with {}", known.join(", "))));
        }
        if self.serve.connections_max == 0 {
            return Err(Fault::not("serve.connections_max", 0, "a whole number of at least 1"));
        }
        if self.retention.addresses_days > 36_500 {
            let days = self.retention.addresses_days;
            return Err(Fault::not(
                "retention.addresses_days",
                days,
                "a whole number up to 36500; 0: for ever",
            ));
        }
        if let Some(text) = self.serve.public_url.as_ref().filter(|text| !mail::is_public(text)) {
            return Err(Fault::not("serve.public_url", text, mail::PUBLIC_URL));
        }
        self.mail.check()
    }
}

/// Adds the nearest known key to serde's message about an unknown one.
fn suggest(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((word, known)) if message.starts_with("unknown field") => {
            match nearest(word, known.iter().copied()) {
                Some(hint) => format!("{message}; did you mean `{hint}`?"),
                None => message.to_owned(),
            }
        }
        _ => message.to_owned(),
    }
}

/// The host's folder for files that need not last.
#[must_use]
pub fn temporary() -> PathBuf {
    std::env::temp_dir()
}

/// A variable of the environment; an empty one counts as not set.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Finds a secret that a lab's definition names.
///
/// # Errors
/// If it is not there; the message names the variable or file, never the content.
pub fn secret(named: &SecretRef) -> Result<SecretString, Fault> {
    match named {
        SecretRef::Env(name) => variable(name).map(SecretString::from).ok_or_else(|| {
            Fault::new("env", format!("the environment of the gateway has no variable {name:?}"))
        }),
        SecretRef::File(file) => std::fs::read_to_string(file)
            .map(|text| SecretString::from(text.trim_end().to_owned()))
            .map_err(|error| Fault::new("file", format!("{file:?} cannot be read: {error}"))),
    }
}
