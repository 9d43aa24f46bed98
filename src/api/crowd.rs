//! How many connections one address may have at the same time: one may not take the places of all others.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;

use crate::domain::source::Source;

/// How many connections each address has.
pub(super) struct Crowd {
    each: usize,
    uncounted: Vec<IpNet>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that is counted, until it ends.
pub(super) struct Counted {
    crowd: Arc<Crowd>,
    of: Option<IpAddr>,
}

impl Crowd {
    /// Each may have so many, 0: as many as it likes; what comes from some networks is not counted.
    pub(super) fn new(each: usize, uncounted: Vec<IpNet>) -> Self {
        Self { each, uncounted, open: Mutex::default() }
    }

    /// Counts a connection; none if its address has as many as it may.
    pub(super) fn enter(crowd: &Arc<Self>, peer: IpAddr) -> Option<Counted> {
        let peer = peer.to_canonical();
        let free = crowd.each == 0 || crowd.uncounted.iter().any(|network| network.contains(&peer));
        let of = (!free).then(|| Source::of(peer, std::iter::empty(), &[]).network());
        if let Some(of) = of {
            let mut open = crowd.open.lock().unwrap_or_else(PoisonError::into_inner);
            let count = open.entry(of).or_default();
            if *count >= crowd.each {
                return None;
            }
            *count += 1;
        }
        Some(Counted { crowd: Arc::clone(crowd), of })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some(of) = self.of else { return };
        let mut open = self.crowd.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = open.entry(of) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_places() {
        // Whose connections are not counted has as many as it likes.
        let spared = Arc::new(Crowd::new(1, vec!["127.0.0.0/8".parse().unwrap()]));
        let here: Vec<_> =
            (0..5).map(|_| Crowd::enter(&spared, "::ffff:127.0.0.1".parse().unwrap())).collect();
        assert!(here.iter().all(Option::is_some));
        // An IPv6 network is one; others are not touched; nothing is kept of who has left.
        let one = Crowd::enter(&spared, "2001:db8::1".parse().unwrap());
        assert!(one.is_some() && Crowd::enter(&spared, "2001:db8::2".parse().unwrap()).is_none());
        assert!(Crowd::enter(&spared, "2001:db8:0:1::2".parse().unwrap()).is_some());
        drop(one);
        assert!(spared.open.lock().unwrap().is_empty());
    }
}
