//! Which addresses nothing is fetched from: those that a machine answers itself about, such as a cloud's metadata service.
//!
//! Loopback and private networks are allowed: that is where one's own Git server and registry are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// Metadata services that are not link-local: AWS over IPv6, Alibaba Cloud.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
const METADATA_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);

/// Whether nothing may be fetched from there: link-local addresses, however they are written, and metadata services.
pub(crate) fn is_refused(address: IpAddr) -> bool {
    let v4 = |address: Ipv4Addr| address.is_link_local() || address == METADATA_V4;
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => {
            let [first, second, .., high, low] = address.segments();
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            // IPv4 inside of IPv6: mapped, compatible, and through a translator.
            let prefix = address.segments();
            let embeds = prefix[..5] == [0; 5] || prefix[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
            (first & 0xffc0) == 0xfe80
                || address == METADATA_V6
                || (embeds && v4(Ipv4Addr::new(a, b, c, d)))
                // 6to4 carries the address behind its prefix.
                || (first == 0x2002 && second == 0xa9fe)
        }
    }
}

/// Why an address is refused, for people.
pub(crate) fn refusal(host: &str, address: IpAddr) -> String {
    format!("{host} is the link-local or metadata address {address}; nothing is fetched from there")
}

/// Whether a host is this machine by its name or address alone.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost" || literal(host).is_some_and(|address| address.is_loopback())
}

/// Refuses schemes other than http and https, and addresses that are written out. Names are checked when they are resolved.
pub(crate) fn check(url: &Url) -> Result<(), String> {
    if !matches!(url.scheme(), "https" | "http") {
        return Err(format!("the scheme {:?} is not supported: use https", url.scheme()));
    }
    let host = url.host_str().unwrap_or_default();
    match literal(host).filter(|address| is_refused(*address)) {
        Some(address) => Err(refusal(host, address)),
        None => Ok(()),
    }
}

/// Resolves a host and refuses it if one of its addresses is refused. For connections that other programs make.
pub(crate) fn check_host(host: &str, port: u16) -> Result<(), String> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    // What cannot be resolved here may be an alias of ssh's configuration; the connection says what is wrong with it.
    let Ok(addresses) = (host, port).to_socket_addrs() else { return Ok(()) };
    match addresses.map(|address| address.ip()).find(|address| is_refused(*address)) {
        Some(address) => Err(refusal(host, address)),
        None => Ok(()),
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Resolves names as the machine does and leaves no address that is refused.
#[derive(Debug)]
pub(crate) struct CheckedNames;

impl Resolve for CheckedNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            if let Some(address) = found.iter().find(|address| is_refused(address.ip())) {
                return Err(refusal(&host, address.ip()).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn metadata_addresses_are_refused_however_they_are_written() {
        for url in [
            "http://169.254.169.254/latest/meta-data",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://0251.0376.0251.0376/",
            "http://[fe80::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[::169.254.169.254]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[2002:a9fe:a9fe::]/",
            "http://[fd00:ec2::254]/",
            "http://100.100.100.200/",
            "ftp://example.org/x",
            "file:///etc/passwd",
        ] {
            assert!(check(&Url::parse(url).unwrap()).is_err(), "{url}");
        }
        for url in
            ["http://127.0.0.1:8080/", "http://192.168.1.2/", "http://[::1]/", "http://[fd00::1]/", "https://x.org/"]
        {
            assert_eq!(check(&Url::parse(url).unwrap()), Ok(()), "{url}");
        }
        assert!(check_host("169.254.169.254", 22).unwrap_err().contains("metadata"));
        assert!(check_host("[fe80::1]", 22).is_err());
    }
}
