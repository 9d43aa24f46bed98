//! Where a request comes from: the address at the other end of its connection, or, if that is one of our own
//! proxies, the address that the proxy names.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// The address that a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// The source of a request that came from `peer` with these `X-Forwarded-For` lines.
    ///
    /// The lines count only as far as proxies of `trusted` networks wrote them: each names, at the end, who
    /// called it. What stands before the first address that is not trusted was written by a stranger. Where
    /// something else than an address stands, the last proxy counts as the source.
    pub fn of<'a>(
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
        trusted: &[IpNet],
    ) -> Self {
        let mut at = peer.to_canonical();
        let mut hops = forwarded.flat_map(|line| line.split(',')).rev();
        while trusted.iter().any(|network| network.contains(&at)) {
            let Some(before) = hops.next().and_then(address) else { break };
            at = before;
        }
        Self(at)
    }

    /// What is counted as one: an IPv4 address, or the 64 bits of an IPv6 one that a household is given.
    #[must_use]
    pub fn network(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An address of `X-Forwarded-For`, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_own_proxies_wrote_counts() {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"].map(|net| net.parse().unwrap()).into();
        let none: [&str; 0] = [];
        let cases: &[(&str, &[&str], &str)] = &[
            // Nobody of ours: whatever it says.
            ("203.0.113.5", &none, "203.0.113.5"),
            ("203.0.113.5", &["198.51.100.1"], "203.0.113.5"),
            ("192.0.2.8", &["198.51.100.1"], "192.0.2.8"),
            // A proxy of ours names who called it, at the end.
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
            // Two of ours behind each other; then one that only says that it is ours.
            ("10.0.0.1", &["198.51.100.1, 192.0.2.7"], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.9, 198.51.100.1, 192.0.2.7"], "198.51.100.1"),
            // Nothing that helps: the proxy itself.
            ("10.0.0.1", &none, "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, _hidden, 192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
            // Ports, brackets, and IPv4 that is written as IPv6.
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("fd00::1", &["[2001:db8::5]:4711"], "2001:db8::5"),
            ("fd00::1", &["[2001:db8::5]"], "2001:db8::5"),
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
        ];
        for (peer, lines, expected) in cases {
            let source = Source::of(peer.parse().unwrap(), lines.iter().copied(), &trusted);
            assert_eq!(source.to_string(), *expected, "{peer} {lines:?}");
        }
        let nobody = Source::of("10.0.0.1".parse().unwrap(), ["1.1.1.1"].into_iter(), &[]);
        assert_eq!(nobody.to_string(), "10.0.0.1", "nobody is trusted unless told");
    }

    #[test]
    fn a_household_is_one_source() {
        let network = |text: &str| Source(text.parse().unwrap()).network();
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_ne!(network("198.51.100.1"), network("198.51.100.2"));
    }
}
