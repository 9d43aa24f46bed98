//! What the configuration says of the port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::std_duration;
use crate::api::serve::Settings;
use crate::config::ServeConfig;

/// The bounds of the port. A proxy on this host may bring everybody: its connections are not counted, nor are those of
/// the proxies that are named.
pub(super) fn settings(config: &ServeConfig) -> Settings {
    let here = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].map(IpNet::from);
    Settings {
        connections: config.connections_max as usize,
        connections_each: config.connections_each_max as usize,
        uncounted: here.into_iter().chain(config.trusted_proxies.iter().copied()).collect(),
        head_within: std_duration(config.header_within),
        idle_within: std_duration(config.idle_within),
        drain_within: std_duration(config.drain_within),
        trusted_proxies: config.trusted_proxies.clone(),
        ..Settings::default()
    }
}
