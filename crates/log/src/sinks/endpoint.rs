//! Where a stream or datagram goes: the kinds of networks and their addresses.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use rustix::net::SocketAddrUnix;

/// A kind of network, by the names that Go's `net.Dial` and seelog's `conn` know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Net {
    /// TCP, whatever address family the name has.
    Tcp,
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP, whatever address family the name has.
    Udp,
    /// UDP over IPv4.
    Udp4,
    /// UDP over IPv6.
    Udp6,
    /// A unix socket with a stream.
    Unix,
    /// A unix socket with datagrams.
    UnixDatagram,
    /// A unix socket with a connection that keeps the borders of messages.
    UnixPacket,
}

impl Net {
    const ALL: [(&'static str, Self); 9] = [
        ("tcp", Self::Tcp),
        ("tcp4", Self::Tcp4),
        ("tcp6", Self::Tcp6),
        ("udp", Self::Udp),
        ("udp4", Self::Udp4),
        ("udp6", Self::Udp6),
        ("unix", Self::Unix),
        ("unixgram", Self::UnixDatagram),
        ("unixpacket", Self::UnixPacket),
    ];

    /// The name, as written in a config.
    pub fn name(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(_, net)| *net == self)
            .map_or("", |(name, _)| name)
    }

    /// Whether bytes flow without borders, so that records need a framing.
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Tcp4 | Self::Tcp6 | Self::Unix)
    }

    /// Whether TLS can be spoken over it.
    pub const fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp | Self::Tcp4 | Self::Tcp6)
    }

    /// Whether the address is a path.
    pub const fn is_unix(self) -> bool {
        matches!(self, Self::Unix | Self::UnixDatagram | Self::UnixPacket)
    }

    fn takes(self, address: &SocketAddr) -> bool {
        match self {
            Self::Tcp4 | Self::Udp4 => address.is_ipv4(),
            Self::Tcp6 | Self::Udp6 => address.is_ipv6(),
            _ => true,
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownNet(pub String);

impl fmt::Display for UnknownNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Net::ALL.into_iter().map(|(name, _)| name).collect();
        write!(
            f,
            "`{}` is no network; networks are {}",
            self.0.escape_debug(),
            names.join(", ")
        )
    }
}

impl std::error::Error for UnknownNet {}

impl FromStr for Net {
    type Err = UnknownNet;

    fn from_str(text: &str) -> Result<Self, UnknownNet> {
        Self::ALL
            .into_iter()
            .find(|(name, _)| *name == text)
            .map(|(_, net)| net)
            .ok_or_else(|| UnknownNet(text.to_owned()))
    }
}

/// The host of `host:port`, without the brackets of an IPv6 address; `localhost` where there is none,
/// as in Go.
pub(super) fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    match host {
        "" => "localhost",
        host => host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host),
    }
}

/// Looks the name up: waits as long as the resolver of the system does (resolv.conf(5), `timeout` and
/// `attempts`: 5 s and 2 by default).
pub(super) fn resolve(net: Net, address: &str) -> io::Result<Vec<SocketAddr>> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text);
    let (_, port) = address
        .rsplit_once(':')
        .ok_or_else(|| invalid("the address has no port: write host:port"))?;
    let port: u16 = port
        .parse()
        .map_err(|_| invalid("the port of the address is no number up to 65535"))?;
    let found: Vec<SocketAddr> = (host(address), port)
        .to_socket_addrs()?
        .filter(|found| net.takes(found))
        .collect();
    if found.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            "the name has no address of this family",
        ));
    }
    Ok(found)
}

/// A path, or after `@` a name in the abstract namespace (unix(7)).
pub(super) fn unix(address: &str) -> io::Result<SocketAddrUnix> {
    Ok(match address.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(address)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_hosts() {
        for (name, net) in Net::ALL {
            assert_eq!(name.parse(), Ok(net));
            assert_eq!(net.to_string(), name);
        }
        assert!(
            "TCP"
                .parse::<Net>()
                .unwrap_err()
                .to_string()
                .contains("unixgram"),
            "the names are told"
        );
        for (address, expected) in [
            ("logs.example.org:514", "logs.example.org"),
            (":514", "localhost"),
            ("[::1]:514", "::1"),
            ("192.0.2.1:1", "192.0.2.1"),
        ] {
            assert_eq!(host(address), expected);
        }
    }

    #[test]
    fn addresses_are_looked_up_by_family() {
        for (net, address, expected) in [
            (Net::Tcp, "127.0.0.1:514", Some("127.0.0.1:514")),
            (Net::Tcp4, "127.0.0.1:514", Some("127.0.0.1:514")),
            (Net::Tcp6, "127.0.0.1:514", None),
            (Net::Udp6, "[::1]:514", Some("[::1]:514")),
            (Net::Udp, "127.0.0.1", None),
            (Net::Udp, "127.0.0.1:70000", None),
            (Net::Udp, "127.0.0.1:syslog", None),
        ] {
            let found = resolve(net, address).ok();
            let expected = expected.map(|text| vec![text.parse::<SocketAddr>().unwrap()]);
            assert_eq!(found, expected, "{net} {address}");
        }
    }
}
