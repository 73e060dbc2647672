//! Where a server keeps its files, and whether they are all there is to it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mainstay_mysql::{Connection, Endpoint, Options};

use super::super::{Failure, texts};
use crate::error::{Error, ErrorKind, reason_of_io};
use crate::source::Meta;

/// Settings that a server must have to read the files of another.
const SETTINGS: [&str; 4] = [
    "innodb_page_size",
    "innodb_data_file_path",
    "innodb_undo_tablespaces",
    "lower_case_table_names",
];

/// Directories that may be elsewhere.
const DIRECTORIES: [&str; 4] = [
    "innodb_data_home_dir",
    "innodb_log_group_home_dir",
    "innodb_undo_directory",
    "aria_log_dir_path",
];

/// What to do where this engine cannot.
const INSTEAD: &str = "leave `engine` out: the server is then read over its own protocol";

/// The data directory of a server on this machine.
#[derive(Debug)]
pub(super) struct Place {
    /// Where it is.
    pub(super) data: PathBuf,
    /// What must be set to read it.
    pub(super) settings: BTreeMap<String, String>,
    uid: u32,
    gid: u32,
}

impl Place {
    /// Asks the server, and looks whether its files are here, can be read, and are all.
    pub(super) fn of(connection: &mut Connection, options: &Options) -> Result<Self, Failure> {
        if !connection.version().is_mariadb(0, 0) {
            return refused(
                format!("mariadb-backup reads no {}", connection.version().text),
                INSTEAD,
            );
        }
        let rows = texts(connection, "SHOW GLOBAL VARIABLES")?;
        let variables: BTreeMap<String, String> = rows
            .into_iter()
            .filter_map(|row| match <[String; 2]>::try_from(row) {
                Ok([name, value]) => Some((name, value)),
                Err(_) => None,
            })
            .collect();
        let data = directory(&variables)?;
        let about = fs::metadata(&data).map_err(|error| unreadable(&data, &error))?;
        same_server(options, &data, &about)?;
        all_inside(&variables, &data)?;
        for file in log_and_pages(&variables) {
            let path = data.join(file);
            fs::File::open(&path).map_err(|error| unreadable(&path, &error))?;
        }
        if let Some(link) = linked(&data) {
            let error = elsewhere("", &link);
            return refused(error.reason().to_owned(), INSTEAD);
        }
        let encrypts = texts(
            connection,
            "SELECT PLUGIN_NAME FROM information_schema.PLUGINS WHERE PLUGIN_TYPE = 'ENCRYPTION' AND PLUGIN_STATUS = 'ACTIVE'",
        )?;
        if let Some(plugin) = encrypts.into_iter().flatten().next() {
            return refused(
                format!(
                    "the server encrypts its files ({plugin}), and its keys would not be in the backup"
                ),
                INSTEAD,
            );
        }
        let settings = SETTINGS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), variables.get(*name)?.clone())))
            .collect();
        Ok(Self {
            data,
            settings,
            uid: about.uid(),
            gid: about.gid(),
        })
    }

    /// A file that is not there, as the server makes them.
    pub(super) fn file(&self, taken: Option<Timestamp>) -> Meta {
        Meta {
            mode: 0o660,
            uid: self.uid,
            gid: self.gid,
            ..Meta::synthetic(0, taken.unwrap_or_default())
        }
    }

    /// A directory that is not there.
    pub(super) fn directory(&self, taken: Option<Timestamp>) -> Meta {
        Meta {
            mode: 0o700,
            ..self.file(taken)
        }
    }
}

/// That a table's file is not in the data directory.
pub(super) fn elsewhere(attempt: &str, link: &Path) -> Error {
    Error::new(
        ErrorKind::SourceUnreadable,
        attempt,
        format!(
            "{} says that the file of a table lies elsewhere (DATA DIRECTORY), and a server started on the copy would use that one",
            link.display()
        ),
    )
    .with_help(INSTEAD)
}

fn refused<T>(reason: impl Into<String>, help: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Other(reason.into(), Some(help.into())))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let reason = format!("{}: {}", path.display(), reason_of_io(error));
    let help = match error.kind() {
        io::ErrorKind::NotFound => {
            "the engine mariadb-backup reads the data directory itself, so mainstay must run where the server does, and see the same files; or leave `engine` out".to_owned()
        }
        _ => format!(
            "run mainstay as root or as the user that the server runs as: it must be allowed to read {}",
            path.display()
        ),
    };
    Failure::Other(reason, Some(help))
}

fn directory(variables: &BTreeMap<String, String>) -> Result<PathBuf, Failure> {
    let Some(data) = variables
        .get("datadir")
        .filter(|data| data.starts_with('/'))
    else {
        return refused(
            "the server does not say where its data directory is",
            INSTEAD,
        );
    };
    let data = PathBuf::from(data);
    fs::canonicalize(&data).map_err(|error| unreadable(&data, &error))
}

/// That the process at the socket works in this very directory: one in a container may have another
/// under the same name. What cannot be looked at, or was started by another for it, is taken as it is.
fn same_server(options: &Options, data: &Path, about: &fs::Metadata) -> Result<(), Failure> {
    let Endpoint::Unix(socket) = &options.endpoint else {
        return refused(
            "the server is reached over the network, and mariadb-backup reads its data directory",
            "name its `socket`, on the server's own host; or leave `engine` out",
        );
    };
    let peer = UnixStream::connect(socket)
        .and_then(mainstay_sys::peer::credentials)
        .ok()
        .and_then(|peer| peer.pid);
    let Some(pid) = peer else {
        return Ok(());
    };
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let servers = ["mariadbd", "mysqld"];
    let Ok(works_in) = fs::metadata(format!("/proc/{pid}/cwd")) else {
        return Ok(());
    };
    let same = (works_in.dev(), works_in.ino()) == (about.dev(), about.ino());
    if same || !servers.contains(&name.trim()) {
        return Ok(());
    }
    refused(
        format!(
            "the server (process {pid}) works in another directory than {} is here",
            data.display()
        ),
        "it runs in a container or the like: run mainstay in there, or leave `engine` out",
    )
}

/// That nothing of what makes up a server is anywhere but in its data directory.
fn all_inside(variables: &BTreeMap<String, String>, data: &Path) -> Result<(), Failure> {
    let outside = |name: &str, value: &str| {
        refused(
            format!(
                "the server keeps a part of its data elsewhere ({name} = {value}), and a copy of {} would be no whole one",
                data.display()
            ),
            INSTEAD,
        )
    };
    for name in DIRECTORIES {
        let value = variables.get(name).map_or("", String::as_str);
        let path = data.join(value);
        let inside = fs::canonicalize(&path).is_ok_and(|real| real == data);
        if !value.is_empty() && !inside {
            return outside(name, value);
        }
    }
    let pages = "innodb_data_file_path";
    match variables.get(pages) {
        Some(value) if value.contains('/') => outside(pages, value),
        _ => Ok(()),
    }
}

/// The files of which each server has one: the first with pages, and the log.
fn log_and_pages(variables: &BTreeMap<String, String>) -> Vec<&str> {
    let pages = variables.get("innodb_data_file_path");
    let first = pages.and_then(|pages| pages.split(':').next());
    first
        .into_iter()
        .chain(["ib_logfile0"])
        .filter(|name| !name.is_empty())
        .collect()
}

/// A file that says that the file of a table is elsewhere.
fn linked(data: &Path) -> Option<PathBuf> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    entries(data)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .flat_map(|database| entries(&database.path()).collect::<Vec<_>>())
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "isl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        (pairs.iter())
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn what_is_elsewhere_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let data = fs::canonicalize(scratch.path()).unwrap();
        fs::create_dir(data.join("undo")).unwrap();
        let own = data.to_str().unwrap();
        let with_slash = format!("{own}/");
        let pages = ("innodb_data_file_path", "ibdata1:12M:autoextend");
        for inside in [
            variables(&[]),
            variables(&[pages, ("innodb_data_home_dir", "")]),
            variables(&[
                ("innodb_undo_directory", "./"),
                ("aria_log_dir_path", &with_slash),
            ]),
            variables(&[("innodb_log_group_home_dir", own)]),
        ] {
            assert!(all_inside(&inside, &data).is_ok(), "{inside:?}");
        }
        for (name, value) in [
            ("innodb_undo_directory", "undo"),
            ("innodb_log_group_home_dir", "/"),
            ("innodb_data_home_dir", "/nowhere"),
            ("innodb_data_file_path", "/fast/ibdata1:12M:autoextend"),
        ] {
            let Err(Failure::Other(why, Some(help))) =
                all_inside(&variables(&[(name, value)]), &data)
            else {
                panic!("{name}")
            };
            assert!(why.contains(&format!("({name} = {value})")), "{why}");
            assert!(help.contains("leave `engine` out"), "{help}");
        }
        assert_eq!(
            log_and_pages(&variables(&[pages])),
            ["ibdata1", "ib_logfile0"]
        );
    }

    #[test]
    fn tables_elsewhere_are_found() {
        let scratch = tempfile::tempdir().unwrap();
        let shop = scratch.path().join("shop");
        fs::create_dir(&shop).unwrap();
        fs::write(shop.join("a.ibd"), "").unwrap();
        assert_eq!(linked(scratch.path()), None);
        fs::write(shop.join("b.isl"), "/fast/b.ibd").unwrap();
        assert_eq!(linked(scratch.path()), Some(shop.join("b.isl")));
    }
}
