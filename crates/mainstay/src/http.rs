//! `[control.http]`: what supervisord's clients and browsers ask, answered from a `mainstay.toml`.
//!
//! Here is what the config says and how the sockets are opened; [`Native`] answers.

mod native;

use std::collections::BTreeSet;
use std::path::Path;

use mainstay_base::config::{FileMode, FromValue, Section, Value};
use mainstay_base::secret::{Part, SecretError};
use mainstay_base::{Diagnostic, Resolver, Template};
use mainstay_supervise::ProgramSpec;
use mainstay_supervisord::conf::import;
use mainstay_supervisord::conf::servers::{Address, HttpServer};
use mainstay_supervisord::namespec;

use crate::exit::{Exit, Failure};
use crate::supervisord::{Door, listen};
use crate::upgrade::Heritage;

pub(crate) use native::Native;

/// A unix socket's path has at most this many bytes (`sun_path` in unix(7), less its NUL), and the
/// file is made under a longer name first.
const LONGEST_SOCKET: usize = 107 - 11;

/// `[control.http]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Http {
    pub(crate) listen: Vec<Address>,
    /// Who may ask. Without it, everybody who can connect.
    pub(crate) login: Option<(String, Template)>,
}

impl Http {
    /// Reads the section. What is wrong is reported.
    pub(crate) fn read(mut section: Section<'_>) -> Self {
        let addresses = addresses(&mut section);
        let login = login(&mut section);
        let insecure = section.get::<bool>("insecure").unwrap_or(false);
        let mode = section.get_spanned::<FileMode>("mode");
        if let Some(mode) = &mode
            && !(addresses.iter()).any(|(address, _)| matches!(address, Address::Unix { .. }))
        {
            section.report(
                Diagnostic::error("no unix socket is there whose mode this could be")
                    .at(&mode.place)
                    .help("remove it, or listen at \"unix:/…\""),
            );
        }
        let mut seen = BTreeSet::new();
        for (address, value) in &addresses {
            if !seen.insert(shown(address)) {
                section.report(value.error("it is named twice"));
            }
            if login.is_some() || insecure {
                continue;
            }
            let Address::Tcp { .. } = address else {
                continue;
            };
            let help = "add user = \"…\" and password = \"${secret.NAME}\"; or insecure = true, to open it all the same";
            section.report(if listen::reaches_others(address) {
                value
                    .error("everybody who reaches this machine could stop and start programs")
                    .help(help)
            } else {
                Diagnostic::warning(
                    "every user of this machine can stop and start programs without a password",
                )
                .at(value.place())
                .help(help)
            });
        }
        section.finish();
        Self {
            listen: addresses
                .into_iter()
                .map(|(address, _)| match (address, &mode) {
                    (Address::Unix { file, owner, .. }, Some(mode)) => Address::Unix {
                        file,
                        mode: mode.value.0,
                        owner,
                    },
                    (address, _) => address,
                })
                .collect(),
            login,
        }
    }

    /// The servers with the password read.
    ///
    /// # Errors
    /// The password cannot be read.
    pub(crate) fn servers(&self, resolver: &Resolver) -> Result<Vec<HttpServer>, SecretError> {
        let login = match &self.login {
            None => None,
            Some((user, password)) => Some((user.clone(), password.resolve(resolver)?)),
        };
        let server = |address: &Address| HttpServer {
            section: label(address),
            address: address.clone(),
            login: login.clone(),
            insecure: true,
        };
        Ok(self.listen.iter().map(server).collect())
    }

    /// Opens the sockets, or takes those over that the binary before left open.
    pub(crate) fn open(
        &self,
        resolver: &Resolver,
        heritage: &mut Heritage,
    ) -> Result<Vec<Door>, Failure> {
        let servers = self.servers(resolver).map_err(|error| {
            Failure::new(Exit::Failed, format!("[control] http: {error}")).help(error.help())
        })?;
        let mut logins = servers.iter().filter_map(|server| server.login.as_ref());
        if logins.any(|(_, password)| password.expose().is_empty()) {
            return Err(
                Failure::new(Exit::Failed, "[control] http: the password is empty")
                    .help("give the secret a value, or remove user and password"),
            );
        }
        let mut doors = Vec::new();
        for server in servers {
            let inherited = heritage.door(&server.section);
            let mut tell = |text: &str| log::info!("{text}");
            let opened = listen::open(&server, inherited, &mut tell).map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    format!("cannot listen at {}: {error}", shown(&server.address)),
                )
                .help("see who is there already (ss -ltnp), or name another address: `[control]`, `http = { listen = \"…\" }`")
            })?;
            doors.push(opened);
        }
        Ok(doors)
    }

    /// Tells listeners where the daemon is and who they are, as supervisord does: libraries for them
    /// look there. What a program says itself is left as it is.
    pub(crate) fn introduce(&self, programs: &mut [ProgramSpec]) {
        let mut servers: Vec<HttpServer> = self
            .listen
            .iter()
            .map(|address| HttpServer {
                section: String::new(),
                address: address.clone(),
                login: None,
                insecure: true,
            })
            .collect();
        let any = import::server_url(&servers);
        servers.retain(|server| matches!(server.address, Address::Tcp { .. }));
        let tcp = import::server_url(&servers);
        let listeners = programs.iter_mut().filter(|it| it.listener.is_some());
        for program in listeners {
            // Another user may not open our unix socket.
            let theirs = tcp.as_ref().filter(|_| program.user.is_some());
            let Some(url) = theirs.or(any.as_ref()) else {
                return;
            };
            let group = &program.group.name;
            for process in &mut program.processes {
                for (name, value) in [
                    ("SUPERVISOR_ENABLED", "1".to_owned()),
                    ("SUPERVISOR_SERVER_URL", url.clone()),
                    ("SUPERVISOR_GROUP_NAME", group.clone()),
                    (
                        "SUPERVISOR_PROCESS_NAME",
                        namespec::member(group, &process.process),
                    ),
                ] {
                    process
                        .env
                        .entry(name.to_owned())
                        .or_insert_with(|| Template::literal(value));
                }
            }
        }
    }
}

/// The addresses, one alone or in a list, each with its place.
fn addresses<'d>(section: &mut Section<'d>) -> Vec<(Address, Value<'d>)> {
    let Some(value) = section.value("listen") else {
        section.report(
            Diagnostic::error(format!("`{}.listen` is missing", section.path()))
                .at(section.place())
                .help(FORM),
        );
        return Vec::new();
    };
    let values = if value.is_str() {
        Ok(vec![value])
    } else {
        value.as_array()
    };
    let read = |value: Value<'d>| {
        let text = String::from_value(&value)?;
        let base = value.place().source.path().parent();
        let address = address(&text, base.unwrap_or(Path::new("")))
            .map_err(|why| value.error(why).help(FORM))?;
        Ok((address, value))
    };
    let read: Vec<Result<_, Diagnostic>> = match values {
        Ok(values) => values.into_iter().map(read).collect(),
        Err(diagnostic) => vec![Err(diagnostic)],
    };
    read.into_iter()
        .filter_map(|one| one.map_err(|diagnostic| section.report(diagnostic)).ok())
        .collect()
}

const FORM: &str =
    "write listen = \"127.0.0.1:9001\", or \"unix:/run/http.sock\", or a list of such";

/// `host:port` or `unix:path`; `*` and no host are all addresses. A relative path starts at `base`.
fn address(text: &str, base: &Path) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.ends_with('/') {
            return Err("it names no file".to_owned());
        }
        let file = base.join(path);
        let bytes = file.as_os_str().len();
        if bytes > LONGEST_SOCKET {
            return Err(format!(
                "the path is too long for a unix socket ({bytes} bytes, at most {LONGEST_SOCKET})"
            ));
        }
        return Ok(Address::Unix {
            file,
            mode: 0o700,
            owner: None,
        });
    }
    let (host, port) = text.rsplit_once(':').ok_or("there is no port")?;
    let port = port
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| format!("`{port}` is no port"))?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .filter(|host| host.parse::<std::net::Ipv6Addr>().is_ok())
            .ok_or("what stands in [ ] is no IPv6 address")?,
        None if host == "*" => "",
        None if host.contains(':') => return Err("an IPv6 address is written in [ ]".to_owned()),
        None => host,
    };
    Ok(Address::Tcp {
        host: host.to_owned(),
        port,
    })
}

/// An address as a person reads it.
pub(crate) fn shown(address: &Address) -> String {
    match address {
        Address::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
        Address::Tcp { host, port } if host.is_empty() => format!("*:{port}"),
        Address::Tcp { host, port } => format!("{host}:{port}"),
        Address::Unix { file, .. } => format!("unix:{}", file.display()),
    }
}

/// The name under which a socket is handed to another binary: it has no `,` and no `=`.
fn label(address: &Address) -> String {
    shown(address)
        .replace('%', "%25")
        .replace(',', "%2C")
        .replace('=', "%3D")
}

fn login(section: &mut Section<'_>) -> Option<(String, Template)> {
    let user = section.get_spanned::<String>("user");
    let password = section.get_spanned::<Template>("password");
    if let Some(user) = &user
        && (user.value.is_empty() || user.value.contains(':'))
    {
        section.report(
            Diagnostic::error("nobody can log in by this name")
                .at(&user.place)
                .help("write a name without `:`"),
        );
    }
    if let Some(password) = &password
        && password
            .value
            .parts()
            .iter()
            .all(|part| matches!(part, Part::Literal(_)))
    {
        section.report(
            Diagnostic::error("a password is not written into the config")
                .at(&password.place)
                .help(
                    "write `password = \"${secret.NAME}\"` and say in [secret] where NAME is kept",
                ),
        );
    }
    let there = (
        section.value("user").is_some(),
        section.value("password").is_some(),
    );
    if there.0 != there.1 {
        section.report(
            Diagnostic::error("a login is a user and a password")
                .at(section.place())
                .help("write both, or neither"),
        );
    }
    // One that could not be read is no reason to say that there is none.
    let nobody = || Template::literal("");
    match (user, password) {
        (None, None) if !there.0 => None,
        (user, password) => Some((
            user.map(|user| user.value).unwrap_or_default(),
            password.map_or_else(nobody, |password| password.value),
        )),
    }
}

#[cfg(test)]
mod tests {
    use mainstay_base::config::Document;

    use super::*;

    fn read(text: &str) -> (Http, String) {
        let document = Document::parse("/etc/m.toml", text).unwrap();
        let mut root = document.root();
        let http = root.section("http").map(Http::read).unwrap_or_default();
        root.finish();
        (http, document.take_diagnostics().to_string())
    }

    #[test]
    fn where_it_listens() {
        let (http, said) = read(
            "[http]\nlisten = [\"127.0.0.1:9001\", \"[::1]:9002\", \"*:3\", \"unix:/run/h\", \"unix:///run/i\", \"unix:h\"]\nuser = \"admin\"\npassword = \"${env.HOME}\"\n",
        );
        assert_eq!(said, "");
        let shown: Vec<String> = http.listen.iter().map(shown).collect();
        let expected = [
            "127.0.0.1:9001",
            "[::1]:9002",
            "*:3",
            "unix:/run/h",
            "unix:/run/i",
            "unix:/etc/h",
        ];
        assert_eq!(shown, expected);
        let (http, said) = read("[http]\nlisten = \"unix:/run/h\"\n");
        assert_eq!((http.login, said.as_str()), (None, ""));
        let (_, said) = read("[http]\nlisten = \"0.0.0.0:1\"\ninsecure = true\n");
        assert_eq!(said, "");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let login = "user = \"a\"\npassword = \"${env.HOME}\"\n";
        for (text, words) in [
            (login.to_owned(), "`http.listen` is missing"),
            ("listen = 1".into(), "`http.listen` must be a list"),
            ("listen = \"9001\"".into(), "there is no port"),
            ("listen = \"a:0\"".into(), "`0` is no port"),
            ("listen = \"::1:5\"".into(), "is written in [ ]"),
            ("listen = \"[x]:5\"".into(), "is no IPv6 address"),
            ("listen = \"unix:/x/\"".into(), "names no file"),
            (
                "listen = [\"127.0.0.1:1\", \"127.0.0.1:1\"]".into(),
                "named twice",
            ),
            (
                "listen = \"0.0.0.0:1\"".into(),
                "error: `http.listen`: everybody who reaches",
            ),
            ("listen = \":1\"".into(), "everybody who reaches"),
            ("listen = \"[::]:1\"".into(), "everybody who reaches"),
            (
                "listen = \"127.0.0.1:1\"".into(),
                "warning: every user of this machine",
            ),
            (
                "listen = \"127.0.0.1:1\"\nuser = \"a\"".into(),
                "a login is a user and a password",
            ),
            (
                "listen = \"127.0.0.1:1\"\nuser = \"a\"\npassword = \"b\"".into(),
                "a password is not written",
            ),
            (
                "listen = \"127.0.0.1:1\"\nuser = \"a:b\"\npassword = \"${env.HOME}\"".into(),
                "nobody can log in by this name",
            ),
            (
                format!("listen = \"127.0.0.1:1\"\npasswort = 1\n{login}"),
                "did you mean `password`?",
            ),
        ] {
            let (_, said) = read(&format!("[http]\n{text}\n"));
            assert!(said.contains(words), "{text}: {said}");
        }
    }

    #[test]
    fn listeners_know_where_the_daemon_is() {
        let http = Http {
            listen: ["*:9", "unix:/h"]
                .map(|text| address(text, Path::new("/")).unwrap())
                .into(),
            login: None,
        };
        let word = || vec![Template::literal("x")];
        let mut programs = vec![
            ProgramSpec::new("web", word(), Path::new("/")),
            ProgramSpec::new("ears", word(), Path::new("/")),
        ];
        programs[1].listener = Some(mainstay_supervise::ListenerSpec {
            events: mainstay_supervise::events::Mask::ALL,
            buffer: 1,
        });
        programs[1].processes[0]
            .env
            .insert("SUPERVISOR_ENABLED".to_owned(), Template::literal("mine"));
        programs[1].user = Some("nobody".to_owned());
        http.introduce(&mut programs);
        assert!(programs[0].processes[0].env.is_empty());
        let env = &programs[1].processes[0].env;
        let get = |name: &str| env[name].to_string();
        assert_eq!(get("SUPERVISOR_SERVER_URL"), "http://localhost:9");
        assert_eq!(get("SUPERVISOR_PROCESS_NAME"), "ears");
        assert_eq!(get("SUPERVISOR_ENABLED"), "mine");
        programs[1].user = None;
        programs[1].processes[0].env.clear();
        http.introduce(&mut programs);
        let url = programs[1].processes[0].env["SUPERVISOR_SERVER_URL"].to_string();
        assert_eq!(url, "unix:///h");
    }
}
