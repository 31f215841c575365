//! The machine's own DNS servers (resolv.conf(5)).

use std::net::{IpAddr, SocketAddr};

/// As many as the C library uses.
const MAX: usize = 3;

/// The `nameserver` lines of `text`, without `own`.
pub(super) fn parse(text: &str, own: SocketAddr) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split(['#', ';']).next()?.split_whitespace();
            (words.next()? == "nameserver").then(|| words.next()?.parse::<IpAddr>().ok())?
        })
        .map(|address| SocketAddr::new(address, 53))
        .filter(|address| *address != own)
        .take(MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn servers_are_read_and_the_server_itself_is_left_out() {
        let text = "# comment\nsearch example.org\nnameserver 192.0.2.1 # first\n nameserver ::1\nnameserver 10.223.0.10\n\
                    nameserver nonsense\nnameserver\noptions ndots:5\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        let own = "10.223.0.10:53".parse().unwrap();
        let expected: Vec<SocketAddr> =
            ["192.0.2.1:53", "[::1]:53", "192.0.2.2:53"].iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(parse(text, own), expected);
    }
}
