//! The sections `unix_http_server` and `inet_http_server`.

use std::path::PathBuf;

use mainstay_base::Secret;

use super::ConfigError;
use super::expand::Expansions;
use super::ini::{Ini, Section};
use super::load::{expand_user, group_id, normalize, user_id};
use super::values;

/// Where HTTP is served, and to whom.
#[derive(Debug, Clone)]
pub struct HttpServer {
    /// The section.
    pub section: String,
    /// Where.
    pub address: Address,
    /// Who may ask; `None`: everybody who can connect.
    pub login: Option<(String, Secret)>,
    /// `insecure = true`: mainstay's own word for a server that everybody may use.
    pub insecure: bool,
}

/// Where HTTP is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// TCP; an empty host is all addresses.
    Tcp {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Unix {
        /// Its file, absolute.
        file: PathBuf,
        /// The mode of the file.
        mode: u32,
        /// Who the file is given to: user id and group id.
        owner: Option<(u32, Option<u32>)>,
    },
}

/// Reads the sections, those of TCP first.
///
/// # Errors
/// A value that is missing or that its type refuses, a password without a name or the other way
/// round.
pub fn servers(
    ini: &Ini,
    names: &Expansions,
    home: Option<&str>,
) -> Result<Vec<HttpServer>, ConfigError> {
    let with = |prefix: &'static str| {
        ini.sections()
            .iter()
            .filter(move |section| section.name.starts_with(prefix))
    };
    let mut out = Vec::new();
    for section in with("inet_http_server") {
        let at = Reader {
            ini,
            section,
            names,
        };
        let login = at.login()?;
        let Some(port) = at.text("port")? else {
            return Err(at.fault(format!("section [{}] has no port value", section.name)));
        };
        let (host, port) = values::inet_address(&port).map_err(|why| at.fault(why))?;
        out.push(HttpServer {
            section: section.name.clone(),
            address: Address::Tcp { host, port },
            login,
            insecure: at.insecure()?,
        });
    }
    for section in with("unix_http_server") {
        let at = Reader {
            ini,
            section,
            names,
        };
        let Some(file) = at.text("file")? else {
            return Err(at.fault(format!("section [{}] has no file value", section.name)));
        };
        let login = at.login()?;
        let owner = match at.text("chown")? {
            None => None,
            Some(text) => {
                let (user, group) = values::user_group(&text);
                let group = group.map(group_id).transpose();
                match (user_id(user), group) {
                    (Ok(user), Ok(group)) => Some((user, group)),
                    _ => return Err(at.fault(format!("Invalid sockchown value {text}"))),
                }
            }
        };
        let mode = match at.text("chmod")? {
            None => 0o700,
            Some(text) => {
                values::octal(&text).map_err(|_| at.fault(format!("Invalid chmod value {text}")))?
            }
        };
        out.push(HttpServer {
            section: section.name.clone(),
            address: Address::Unix {
                file: normalize(&expand_user(file.trim(), home)),
                mode,
                owner,
            },
            login,
            insecure: at.insecure()?,
        });
    }
    Ok(out)
}

struct Reader<'a> {
    ini: &'a Ini,
    section: &'a Section,
    names: &'a Expansions,
}

impl Reader<'_> {
    fn fault(&self, why: String) -> ConfigError {
        ConfigError::new(why).at(self.section.place.clone())
    }

    fn text(&self, key: &str) -> Result<Option<String>, ConfigError> {
        let found = self.ini.expanded(&self.section.name, key, self.names)?;
        Ok(found.map(|(text, _)| text))
    }

    fn insecure(&self) -> Result<bool, ConfigError> {
        self.text("insecure")?.map_or(Ok(false), |text| {
            values::boolean(&text).map_err(|why| self.fault(why))
        })
    }

    fn login(&self) -> Result<Option<(String, Secret)>, ConfigError> {
        match (self.text("username")?, self.text("password")?) {
            (None, None) => Ok(None),
            (Some(name), Some(password)) => Ok(Some((name, Secret::new(password)))),
            _ => Err(self.fault(format!(
                "Section [{}] contains incomplete authentication: If a username or a password is \
                 specified, both the username and password must be specified",
                self.section.name
            ))),
        }
    }
}
