use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};
use ipnet::{IpNet, Ipv4Net};
use medcards_core::{Error, ErrorKind, Result};

/// The most entries of `X-Forwarded-For` that are looked at: more proxies than anyone chains.
const HOPS_MAX: usize = 32;

/// Which proxies are believed when they say for whom they call.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads addresses and networks.
    pub(crate) fn parse(networks: &[String]) -> Result<Self> {
        let one = |text: &String| {
            let network = text.parse::<IpNet>().ok();
            network
                .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
                .map(canonical)
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::Invalid,
                        "read trusted proxies",
                        "each must be an address or a network such as 10.0.0.0/8",
                    )
                })
        };
        networks.iter().map(one).collect::<Result<_>>().map(Self)
    }

    /// The address of the client, or `None` if the server does not know who opened the connection.
    ///
    /// Read from the right: each proxy appends whom it was called by, so the first entry that is not
    /// a trusted proxy is the nearest one that nobody we trust vouches for. What is left of it
    /// anyone can write.
    pub(crate) fn client(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
        let mut client = peer.ip().to_canonical();
        if !self.trusts(client) {
            return Some(client);
        }
        let values = headers.get_all("x-forwarded-for").iter().rev();
        // As bytes: what the client wrote, which may be anything, can stand in one value with what a
        // proxy appended.
        let hops = values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
        for hop in hops.take(HOPS_MAX) {
            let Some(address) = str::from_utf8(hop).ok().and_then(address_of) else {
                break;
            };
            client = address;
            if !self.trusts(client) {
                break;
            }
        }
        Some(client)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// The network as one of IPv4 where it is one, as the addresses are that it is compared with.
fn canonical(network: IpNet) -> IpNet {
    /// How many bits of a mapped address stand before those of IPv4.
    const MAPPED_PREFIX: u8 = 96;

    let IpNet::V6(v6) = network else {
        return network;
    };
    let mapped = v6.addr().to_ipv4_mapped();
    let length = v6.prefix_len().checked_sub(MAPPED_PREFIX);
    let v4 = mapped
        .zip(length)
        .and_then(|(v4, length)| Ipv4Net::new(v4, length).ok());
    v4.map_or(network, IpNet::from)
}

/// The address of an entry, which some proxies write with a port.
fn address_of(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let address = hop.parse::<IpAddr>().ok();
    let address = address.or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    let bracketed = || {
        hop.strip_prefix('[')?
            .strip_suffix(']')?
            .parse::<IpAddr>()
            .ok()
    };
    address
        .or_else(bracketed)
        .map(|address| address.to_canonical())
}

/// What counts as one client: an IPv4 address, or the /64 network that an IPv6 client can choose
/// addresses from as it likes.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(peer: &str, forwarded: &[&str], client: &str) {
        let values: Vec<_> = forwarded.iter().map(|value| value.as_bytes()).collect();
        check_bytes(peer, &values, client);
    }

    #[track_caller]
    fn check_bytes(peer: &str, forwarded: &[&[u8]], client: &str) {
        let trusted = [
            "10.0.0.0/8",
            "192.0.2.7",
            "fd00::/8",
            "::ffff:172.16.0.0/108",
        ];
        let trusted = TrustedProxies::parse(&trusted.map(str::to_owned)).unwrap();
        let mut extensions = Extensions::new();
        let peer: IpAddr = peer.parse().unwrap();
        extensions.insert(ConnectInfo(SocketAddr::new(peer, 4_000)));
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(value).unwrap());
        }
        let seen = trusted.client(&headers, &extensions).unwrap();
        assert_eq!(
            seen,
            client.parse::<IpAddr>().unwrap(),
            "{peer} {forwarded:?}"
        );
    }

    #[test]
    fn only_trusted_proxies_say_who_the_client_is() {
        check("203.0.113.9", &[], "203.0.113.9");
        check("203.0.113.9", &["198.51.100.1"], "203.0.113.9");
        check("10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["1.2.3.4, 198.51.100.1"], "198.51.100.1");
        check(
            "10.0.0.1",
            &["1.2.3.4, 198.51.100.1, 192.0.2.7"],
            "198.51.100.1",
        );
        check(
            "10.0.0.1",
            &["1.2.3.4", "198.51.100.1, 10.2.2.2"],
            "198.51.100.1",
        );
        check("10.0.0.1", &["10.3.3.3, 10.2.2.2"], "10.3.3.3");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.1:8080"], "198.51.100.1");
        check("10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1");
        check("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1");
        check("10.0.0.1", &["1.2.3.4, unknown, 10.2.2.2"], "10.2.2.2");
        check("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("fd00::1", &["::ffff:198.51.100.1"], "198.51.100.1");
        check("172.31.0.1", &["198.51.100.1"], "198.51.100.1");
        check("::ffff:172.31.0.1", &["198.51.100.1"], "198.51.100.1");
        check("172.32.0.1", &["198.51.100.1"], "172.32.0.1");
        check("10.0.0.1", &["198.51.100.1", "", "10.2.2.2"], "10.2.2.2");
        check(
            "10.0.0.1",
            &["1.2.3.4", "198.51.100.1", "10.2.2.2"],
            "198.51.100.1",
        );
    }

    /// What a client wrote before the entry of a proxy is not looked at, and does not hide that entry.
    #[test]
    fn bytes_that_are_no_text_do_not_hide_what_a_proxy_appended() {
        let client = "198.51.100.1";
        check_bytes("10.0.0.1", &[b"\xff, 198.51.100.1"], client);
        check_bytes("10.0.0.1", &[b"9.9.9.9", b"\xff, 198.51.100.1"], client);
        check_bytes("10.0.0.1", &[b"9.9.9.9", b"\xff\xfe"], "10.0.0.1");
        check_bytes("10.0.0.1", &[b"9.9.9.9, \xff, 10.2.2.2"], "10.2.2.2");
    }

    #[test]
    fn more_proxies_than_anyone_chains_end_the_search() {
        let mut hops = vec!["10.1.1.1"; HOPS_MAX];
        check("10.0.0.1", &[&hops.join(",")], "10.1.1.1");
        hops.insert(0, "198.51.100.1");
        check("10.0.0.1", &[&hops.join(",")], "10.1.1.1");
        hops.pop();
        check("10.0.0.1", &[&hops.join(",")], "198.51.100.1");
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let network = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("198.51.100.1"), "198.51.100.1");
    }
}
