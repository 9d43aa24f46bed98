//! The guard over addresses: nothing private is called, by whatever spelling or name.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::{HeaderMap, Method};
use stoppress::lab::guard::{Names, Reach, is_public};
use stoppress::lab::outbound::{Failure, Outbound, OutboundSettings, Request};

use crate::lab_support::{Step, scripted, settings};

/// A name server from a table.
#[derive(Debug, Default)]
pub(crate) struct Table(pub(crate) HashMap<String, Vec<IpAddr>>);

impl Names for Table {
    fn look_up<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send + 'a>> {
        let found = self.0.get(host).cloned();
        Box::pin(async move { found.ok_or_else(|| std::io::Error::other("no such name")) })
    }
}

pub(crate) fn table(names: &[(&str, &[&str])]) -> Arc<Table> {
    let parsed = names
        .iter()
        .map(|(name, all)| ((*name).to_owned(), all.iter().map(|one| one.parse().unwrap()).collect()));
    Arc::new(Table(parsed.collect()))
}

pub(crate) fn get(url: &str) -> Request {
    Request {
        method: Method::GET,
        url: url.parse().unwrap(),
        headers: HeaderMap::new(),
        body: Vec::new(),
        timeout: Duration::from_secs(5),
        body_max: 1024,
    }
}

#[test]
fn every_special_range_is_refused_from_its_first_to_its_last_address() {
    let refused = [
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.0",
        "127.255.255.255",
        "169.254.0.0",
        "169.254.169.254",
        "169.254.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.0",
        "192.0.0.255",
        "192.0.2.0",
        "192.0.2.255",
        "192.88.99.0",
        "192.88.99.255",
        "192.168.0.0",
        "192.168.255.255",
        "198.18.0.0",
        "198.19.255.255",
        "198.51.100.0",
        "198.51.100.255",
        "203.0.113.0",
        "203.0.113.255",
        "224.0.0.0",
        "239.255.255.255",
        "240.0.0.0",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.1.2.3",
        "64:ff9b::10.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2002:c0a8:101::",
        "100::",
        "100::1",
        "2001::",
        "2001:1ff:ffff::",
        "2001:db8::",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        "3fff::1",
        "5f00::1",
        "fc00::",
        "fdff:ffff::1",
        "fe80::",
        "febf::1",
        "fec0::1",
        "feff::1",
        "ff00::",
        "ff02::1",
        "4000::1",
    ];
    for address in refused {
        assert!(!is_public(address.parse().unwrap()), "{address}");
    }
    let public = [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "192.88.98.255",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2606:4700:4700::1111",
        "2001:200::1",
        "2001:db7::1",
        "2a00::1",
    ];
    for address in public {
        assert!(is_public(address.parse().unwrap()), "{address}");
    }
}

#[test]
fn every_spelling_of_a_private_address_is_refused() {
    let outbound = Outbound::new(OutboundSettings::default()).unwrap();
    for url in [
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://①②⑦.0.0.1/",
        "https://127.0.0.1./",
        "https://0/",
        "https://169.254.169.254/latest/meta-data",
        "https://10.1.2.3:8443/",
    ] {
        let url = url.parse().unwrap();
        assert!(outbound.guard().check(&url).is_err(), "{url}");
    }
    for url in [
        "http://8.8.8.8/",
        "https://8.8.8.8:22/",
        "https://8.8.8.8:80/",
        "https://me@8.8.8.8/",
        "https://:hunter2@8.8.8.8/",
        "ftp://8.8.8.8/",
        "file:///etc/passwd",
        "data:text/plain,x",
        "unix:/run/x.sock",
    ] {
        let refusal = outbound.guard().check(&url.parse().unwrap()).unwrap_err();
        assert!(!refusal.0.contains("hunter2"), "{refusal}");
    }
    for (url, reach) in [
        ("https://8.8.8.8/", Reach::Public),
        ("https://lab.example:8443/", Reach::Public),
        ("https://lab.example:9443/", Reach::Listed),
        ("http://lab.example/", Reach::Listed),
    ] {
        assert_eq!(outbound.guard().check(&url.parse().unwrap()), Ok(reach), "{url}");
    }
}

#[tokio::test]
async fn a_name_is_refused_if_any_of_its_addresses_is_private() {
    let names = table(&[
        ("inside.example", &["10.0.0.1"]),
        ("mixed.example", &["8.8.8.8", "192.168.1.1"]),
        ("mapped.example", &["::ffff:127.0.0.1"]),
        ("empty.example", &[]),
    ]);
    let outbound = Outbound::new(OutboundSettings { names, ..OutboundSettings::default() }).unwrap();
    for host in ["inside.example", "mixed.example", "mapped.example"] {
        let failure = outbound.call(get(&format!("https://{host}/"))).await.unwrap_err();
        assert!(matches!(failure, Failure::Forbidden(_)), "{host}: {failure:?}");
        assert!(outbound.guard().connect(host, 443, Reach::Public).await.is_err());
    }
    for host in ["empty.example", "unknown.example"] {
        let failure = outbound.call(get(&format!("https://{host}/"))).await.unwrap_err();
        assert!(matches!(failure, Failure::NotDelivered(_)), "{host}: {failure:?}");
    }
}

#[tokio::test]
async fn localhost_is_a_name_like_any_other() {
    let server = scripted(vec![Step::Close]).await;
    let outbound = Outbound::new(OutboundSettings::default()).unwrap();
    let url = format!("https://localhost:{}/", server.addr.port());
    let failure = outbound.call(get(&url)).await.unwrap_err();
    assert!(matches!(failure, Failure::Forbidden(_)), "{failure:?}");
    assert_eq!(server.seen(), 0);
}

#[tokio::test]
async fn plain_http_reaches_listed_networks_only() {
    let server =
        scripted(vec![Step::Write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_vec())]).await;
    let names = table(&[
        ("lab.local", &["127.0.0.1"]),
        ("lab.example", &["8.8.8.8"]),
        ("both.example", &["127.0.0.1", "8.8.8.8"]),
    ]);
    let outbound = Outbound::new(OutboundSettings { names, ..settings() }).unwrap();
    let url = |host: &str| format!("http://{host}:{}/", server.addr.port());
    assert_eq!(outbound.call(get(&url("lab.local"))).await.unwrap().body, b"hi");
    for host in ["lab.example", "both.example"] {
        let failure = outbound.call(get(&url(host))).await.unwrap_err();
        assert!(matches!(failure, Failure::Forbidden(_)), "{host}: {failure:?}");
    }
    // The same port with https is unusual as well.
    let failure =
        outbound.call(get(&format!("https://lab.example:{}/", server.addr.port()))).await.unwrap_err();
    assert!(matches!(failure, Failure::Forbidden(_)), "{failure:?}");
}

#[test]
fn the_command_line_may_call_what_its_user_names() {
    let outbound = Outbound::trusted().unwrap();
    for url in
        ["http://127.0.0.1:8080/", "http://[::1]:8080/", "https://10.0.0.1:1234/", "http://gateway.internal/"]
    {
        assert!(outbound.guard().check(&url.parse().unwrap()).is_ok(), "{url}");
    }
}
