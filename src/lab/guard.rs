//! Which addresses the daemon may call: the guard against server-side request forgery.
//!
//! URLs come from platforms and labs. A call goes to public addresses only, unless ops list a
//! private network. A URL whose host is an address is checked before the call; a name is resolved
//! here, once, and refused if *any* of its addresses is not allowed; the connection then goes to the
//! addresses that were checked, so that a second answer of the name server changes nothing.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tokio::net::TcpStream;
use url::{Host, Url};

/// Looks names up: the system's resolver, or a table in tests.
pub trait Names: Send + Sync + std::fmt::Debug {
    /// All addresses of `host`.
    fn look_up<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send + 'a>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemNames;

impl Names for SystemNames {
    fn look_up<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send + 'a>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|addr| addr.ip()).collect()) })
    }
}

/// Why a call was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// How far a URL may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Public addresses and the listed networks.
    Public,
    /// Only the listed networks: the URL is plain `http`, or has a port of its own.
    Listed,
}

/// Checks URLs, and the addresses that names stand for.
#[derive(Debug, Clone)]
pub struct Guard {
    allow: Arc<[IpNet]>,
    ports: Arc<[u16]>,
    names: Arc<dyn Names>,
    connect_timeout: Duration,
}

impl Guard {
    /// A guard that allows public addresses at `ports`, and everything in the networks of `allow`.
    #[must_use]
    pub fn new(allow: Vec<IpNet>, ports: Vec<u16>, names: Arc<dyn Names>, connect_timeout: Duration) -> Self {
        Self { allow: allow.into(), ports: ports.into(), names, connect_timeout }
    }

    /// Checks everything about a URL that can be seen without a look-up.
    ///
    /// # Errors
    /// If the URL must not be called.
    pub fn check(&self, url: &Url) -> Result<Reach, Refusal> {
        let refuse = |why: String| Err(Refusal(why));
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("a URL with a user name or password is not called".to_owned());
        }
        let plain = match url.scheme() {
            "https" => false,
            "http" => true,
            other => return refuse(format!("scheme {other:?} is not \"https\"")),
        };
        let port = url.port_or_known_default().unwrap_or_default();
        let reach = if plain || !self.ports.contains(&port) { Reach::Listed } else { Reach::Public };
        let address = match url.host() {
            None => return refuse("the URL has no host".to_owned()),
            Some(Host::Domain(name)) if name.len() > 253 => {
                return refuse("the host name is longer than 253 characters".to_owned());
            }
            Some(Host::Domain(_)) => return Ok(reach),
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
        };
        self.check_address(address, reach)?;
        Ok(reach)
    }

    /// Checks one address.
    ///
    /// # Errors
    /// If it must not be called.
    pub fn check_address(&self, address: IpAddr, reach: Reach) -> Result<(), Refusal> {
        let address = address.to_canonical();
        if self.allow.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        match reach {
            Reach::Public if is_public(address) => Ok(()),
            Reach::Public => Err(Refusal(format!(
                "{address} is not a public address, and outbound.allow does not list it"
            ))),
            Reach::Listed => Err(Refusal(format!(
                "{address} is called by plain http or at an unusual port, and outbound.allow does not list it"
            ))),
        }
    }

    /// All addresses of a name, if every one of them may be called.
    ///
    /// # Errors
    /// [`Refusal`] inside if one may not, or whatever the look-up ended with.
    pub async fn resolve(&self, host: &str, reach: Reach) -> std::io::Result<Vec<IpAddr>> {
        let addresses = self.names.look_up(host).await?;
        if addresses.is_empty() {
            return Err(std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address"));
        }
        for address in &addresses {
            self.check_address(*address, reach).map_err(std::io::Error::other)?;
        }
        Ok(addresses)
    }

    /// A connection to one of the checked addresses of `host`.
    ///
    /// # Errors
    /// If the host must not be called, or cannot be reached within the connect time-out.
    pub async fn connect(&self, host: &str, port: u16, reach: Reach) -> std::io::Result<TcpStream> {
        let reaching = async {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            let addresses = match bare.parse::<IpAddr>() {
                Ok(address) => {
                    self.check_address(address, reach).map_err(std::io::Error::other)?;
                    vec![address]
                }
                Err(_) => self.resolve(host, reach).await?,
            };
            let addresses: Vec<_> = addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
            let stream = TcpStream::connect(addresses.as_slice()).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        match tokio::time::timeout(self.connect_timeout, reaching).await {
            Ok(connected) => connected,
            Err(_) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection in time")),
        }
    }
}

/// Special IPv4 networks: none of them is another party's public host.
const SPECIAL_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(first: u16, second: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), prefix)
}

/// The only part of IPv6 that is given out as global unicast; everything outside it (loopback,
/// unique local, link and site local, multicast, discard, local NAT64 …) is not public.
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 3);
/// Inside it: protocol assignments with Teredo, and the two ranges for documentation.
const SPECIAL_V6: [Ipv6Net; 3] = [v6(0x2001, 0, 23), v6(0x2001, 0xdb8, 32), v6(0x3fff, 0, 20)];
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 16);

/// Whether an address is somebody's public host. Addresses that carry an IPv4 address (mapped,
/// NAT64, 6to4) are judged by that one.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(inner) => !SPECIAL_V4.iter().any(|net| net.contains(&inner)),
        IpAddr::V6(outer) => {
            let bytes = u128::from(outer);
            if NAT64.contains(&outer) {
                is_public(Ipv4Addr::from(bytes as u32).into())
            } else if SIX_TO_FOUR.contains(&outer) {
                is_public(Ipv4Addr::from((bytes >> 80) as u32).into())
            } else {
                GLOBAL_V6.contains(&outer) && !SPECIAL_V6.iter().any(|net| net.contains(&outer))
            }
        }
    }
}
