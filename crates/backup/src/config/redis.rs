//! `redis = { … }` of a backup.

use std::path::{Path, PathBuf};

use mainstay_base::config::Section;
use mainstay_base::{Credential, Diagnostic};

use super::{SourceConfig, read_path, read_tls};
use crate::source::redis::{Address, RedisConfig};

/// The port of a server that names none.
const PORT: u16 = 6379;

/// Reads the section.
pub(super) fn read(mut section: Section<'_>) -> Option<SourceConfig> {
    let address = read_address(&mut section);
    let user = section.get::<String>("user");
    let password = section.get_spanned::<Credential>("password");
    if let Some(password) = &password
        && !password.value.refers()
    {
        section.report(
            Diagnostic::error("a password is not written into the config")
                .at(&password.place)
                .help(
                    "write `password = \"${secret.NAME}\"` and say in [secret] where NAME is kept",
                ),
        );
    }
    if let (Some(_), None) = (&user, &password) {
        section.report(
            Diagnostic::error(format!("`{}.user` needs a `password`", section.path()))
                .at(section.place()),
        );
    }
    let tls = read_tls(&mut section, |_, _| {});
    let group = section.get::<String>("group");
    let replica = section.get::<bool>("replica").unwrap_or(false);
    if replica && group.is_none() {
        section.report(
            Diagnostic::error(format!("`{}.replica` needs `group`", section.path()))
                .at(section.place())
                .help("it chooses among the servers that a Sentinel knows; to pull from a replica without one, name it as `address`"),
        );
    }
    let data = read_path(&mut section, "data", false);
    if let (Some(Address::Unix(_)), Some(_)) = (&address, &tls) {
        section.report(
            Diagnostic::error("TLS is for addresses of the network")
                .at(section.place())
                .help("remove `tls`, or name `address` in place of `socket`"),
        );
    }
    section.finish();
    let address = address?;
    let path = path_of(&address, group.as_deref());
    Some(SourceConfig::Redis(Box::new(RedisConfig {
        address,
        user,
        password: password.map(|password| password.value),
        tls,
        group,
        replica,
        data,
        path,
    })))
}

/// What snapshots are of. A group keeps its name whichever of its servers, or Sentinels, is asked.
fn path_of(address: &Address, group: Option<&str>) -> PathBuf {
    let root = Path::new("/redis");
    match (group, address) {
        (Some(group), _) => root.join("group").join(group.replace('/', "_")),
        (None, Address::Unix(path)) => root.join(path.strip_prefix("/").unwrap_or(path)),
        (None, address) => root.join(address.to_string()),
    }
}

fn read_address(section: &mut Section<'_>) -> Option<Address> {
    let socket = read_path(section, "socket", false);
    let address = section.get_spanned::<String>("address");
    match (socket, address) {
        (Some(_), Some(address)) => {
            section.report(
                Diagnostic::error("a server has `address` or `socket`, not both")
                    .at(&address.place),
            );
            None
        }
        (Some(socket), None) => Some(Address::Unix(socket)),
        (None, Some(address)) => {
            let parsed = parse_address(&address.value);
            if parsed.is_none() {
                section.report(
                    Diagnostic::error(format!("`{}` is not an address", address.value))
                        .at(&address.place)
                        .help("write \"host\", \"host:port\" or \"[::1]:port\"; a socket in the file system is `socket = \"/run/redis/redis.sock\"`"),
                );
            }
            parsed
        }
        (None, None) => {
            if section.value("socket").is_none() && section.value("address").is_none() {
                section.report(
                    Diagnostic::error(format!("`{}` does not say where the server is", section.path()))
                        .at(section.place())
                        .help("write `address = \"127.0.0.1:6379\"` or `socket = \"/run/redis/redis.sock\"`"),
                );
            }
            None
        }
    }
}

fn parse_address(text: &str) -> Option<Address> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        match rest.strip_prefix(':') {
            Some(port) => (host, port.parse().ok()?),
            None if rest.is_empty() => (host, PORT),
            None => return None,
        }
    } else if text.parse::<std::net::Ipv6Addr>().is_ok() {
        (text, PORT)
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, PORT),
        }
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let fits = !host.is_empty() && !host.starts_with('.') && host.chars().all(is_name);
    (fits && port != 0).then(|| Address::Tcp(host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_several_forms() {
        let tcp = |host: &str, port| Some(Address::Tcp(host.to_owned(), port));
        for (text, expected) in [
            ("db1", tcp("db1", 6379)),
            ("db1.example.org:7000", tcp("db1.example.org", 7000)),
            ("10.0.0.1:6380", tcp("10.0.0.1", 6380)),
            ("::1", tcp("::1", 6379)),
            ("[::1]", tcp("::1", 6379)),
            ("[fe80::1]:6380", tcp("fe80::1", 6380)),
            ("", None),
            (":6379", None),
            ("db1:", None),
            ("db1:0", None),
            ("db1:70000", None),
            ("redis://db1", None),
            ("db 1", None),
            ("../x", None),
            ("[db1]:1", None),
            ("[::1]x", None),
            ("user:secret@db1:6379", None),
        ] {
            assert_eq!(parse_address(text), expected, "{text}");
        }
    }

    #[test]
    fn what_snapshots_are_of() {
        let tcp = parse_address("[::1]:1").unwrap();
        let unix = Address::Unix("/run/redis.sock".into());
        for (address, group, expected) in [
            (&tcp, None, "/redis/[::1]:1"),
            (&unix, None, "/redis/run/redis.sock"),
            (&tcp, Some("a/b"), "/redis/group/a_b"),
        ] {
            assert_eq!(path_of(address, group), Path::new(expected));
        }
    }
}
