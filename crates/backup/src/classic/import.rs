//! Dumps of `mysqldump` and its like, given to a server.
//!
//! A file is read twice. The first time nothing is sent: it must be whole, no statement longer than the
//! server takes, and no database written to that is there already. Only then it is given to the server,
//! one statement after the other, over a connection of our own.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use mainstay_base::counted;
use mainstay_mysql::{Connection, Options};

use super::split::{Broken, Effect, Splitter, effect, first_words};
use crate::config::SourceConfig;
use crate::error::{Error, ErrorKind};
use crate::progress::Progress;
use crate::run::{Backups, backup_lock};
use crate::source::mysql::{Mysql, RIGHTS, is_one_name, literal};

/// What is read at once.
const PIECE: usize = 256 << 10;
/// What a header and an end of a dump are looked for in.
const EDGE: usize = 4096;
/// What helps a user who may not do what a dump says.
const AS_ANOTHER: &str = "who backs up may read only, as a rule: import as a user who may write with --user NAME and --password-file FILE";
/// Character sets in which a byte of a character may be a backslash or a quote.
const DOUBLE: [&str; 5] = ["big5", "cp932", "gbk", "gb18030", "sjis"];

/// What is to be given to a server.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// The backup whose server it is.
    pub backup: String,
    /// Another server than the backup's own, or as another user: see [`Backups::server_at`].
    pub server: Option<Options>,
    /// The dumps, in this order: `.sql`, or the same with gzip or zstd.
    pub files: Vec<PathBuf>,
    /// The database of those that name none. It is made if it is not there.
    pub database: Option<String>,
    /// Databases that may be written to although they are there.
    pub over: Vec<String>,
    /// Only look.
    pub dry_run: bool,
}

/// What was given to a server.
#[derive(Debug, Clone)]
pub struct ImportReport {
    /// The files.
    pub files: Vec<ImportedFile>,
    /// The databases that they write to.
    pub databases: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// One file of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Statements in it.
    pub statements: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl Backups {
    /// Gives dumps to the server of a backup.
    ///
    /// A failure in the middle leaves what was loaded until then; it says in which statement of which
    /// line it was, and which databases are half there.
    pub fn import(
        &self,
        request: &ImportRequest,
        progress: &Arc<dyn Progress>,
    ) -> Result<ImportReport, Error> {
        let backup = self.backup_config(&request.backup)?;
        let attempt = format!("import into the server of `{}`", request.backup);
        let SourceConfig::Mysql(config) = &backup.source else {
            return Err(Error::new(
                ErrorKind::UnknownBackup,
                attempt,
                format!(
                    "it is a backup of {}, not of a database server",
                    backup.source.kind()
                ),
            )
            .with_help("name one with `mysql = { … }`"));
        };
        let begun = self.clock.monotonic();
        let _lock = self.lock(&backup_lock(&request.backup), &attempt, progress)?;
        let options = match &request.server {
            Some(options) => options.clone(),
            None => Mysql::new(config, self.resolver())?.options().clone(),
        };
        let mut server = Server::open(&options, &attempt)?;
        let mut looked = Vec::new();
        let mut databases = BTreeSet::new();
        for path in &request.files {
            let seen = look(
                path,
                request.database.as_deref(),
                &server,
                &attempt,
                progress,
            )?;
            databases.extend(seen.databases.iter().cloned());
            looked.push(seen);
        }
        server.refuse_if_there(&databases, &request.over, &attempt)?;
        let mut warnings: Vec<String> = looked
            .iter_mut()
            .flat_map(|seen| seen.warnings.drain(..))
            .collect();
        if !request.dry_run {
            if let Some(database) = &request.database {
                let make = format!(
                    "CREATE DATABASE IF NOT EXISTS {}",
                    crate::source::mysql::name(database)
                );
                server
                    .run(make.as_bytes())
                    .map_err(|error| server_error(&attempt, &error))?;
            }
            for path in &request.files {
                let told = server.give(path, request.database.as_deref(), &attempt, progress);
                warnings.extend(told.map_err(|error| half_done(error, &databases))?);
            }
        }
        Ok(ImportReport {
            files: looked.into_iter().map(|seen| seen.file).collect(),
            databases: databases.into_iter().collect(),
            warnings,
            took: self.clock.monotonic().saturating_sub(begun),
        })
    }
}

fn half_done(error: Error, databases: &BTreeSet<String>) -> Error {
    if databases.is_empty() {
        return error;
    }
    let names: Vec<String> = databases.iter().map(|name| format!("`{name}`")).collect();
    let help = match error.help() {
        Some(help) => format!("{help}; "),
        None => String::new(),
    };
    error.with_help(format!(
        "{help}what came before that statement is loaded: drop {} and import again, or look what is there",
        names.join(", ")
    ))
}

fn server_error(attempt: &str, error: &mainstay_mysql::Error) -> Error {
    let made = Error::new(ErrorKind::Io, attempt, error.reason());
    match error.help() {
        Some(help) => made.with_help(help),
        None => made,
    }
}

/// What a look at a file found.
struct Seen {
    file: ImportedFile,
    databases: BTreeSet<String>,
    warnings: Vec<String>,
}

/// Counts what is read of a file.
struct Counted<'a> {
    file: File,
    progress: &'a Arc<dyn Progress>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.progress.advance(read as u64);
        Ok(read)
    }
}

/// Opens a file, and takes off its compression.
fn open<'a>(
    path: &Path,
    what: &str,
    attempt: &str,
    progress: &'a Arc<dyn Progress>,
) -> Result<Box<dyn Read + 'a>, Error> {
    let fail = |error: &io::Error| Error::io(attempt, path, error);
    let mut file = File::open(path).map_err(|error| fail(&error))?;
    let metadata = file.metadata().map_err(|error| fail(&error))?;
    if !metadata.is_file() {
        return Err(Error::new(
            ErrorKind::Io,
            attempt,
            format!("{} is no file", path.display()),
        )
        .with_help("it is read twice, which a pipe cannot be: write the dump into a file first"));
    }
    let mut magic = Vec::new();
    (&mut file)
        .take(6)
        .read_to_end(&mut magic)
        .and_then(|_| file.seek(SeekFrom::Start(0)))
        .map_err(|error| fail(&error))?;
    progress.begin(&format!("{what} {}", path.display()), Some(metadata.len()));
    let file = BufReader::with_capacity(PIECE, Counted { file, progress });
    let other = |how: &str, program: &str| {
        Error::new(
            ErrorKind::Io,
            attempt,
            format!("{} is compressed with {how}", path.display()),
        )
        .with_help(format!(
            "gzip and zstd are read here: `{program} -d` it first"
        ))
    };
    Ok(match magic.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Box::new(zstd::Decoder::with_buffer(file).map_err(|error| fail(&error))?)
        }
        [b'B', b'Z', b'h', ..] => return Err(other("bzip2", "bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => return Err(other("xz", "xz")),
        _ => Box::new(file),
    })
}

/// What is done with a statement.
type Each<'a> = dyn FnMut(&[u8], u64) -> Result<(), Error> + 'a;

/// Reads a file, statement after statement; its first and its last bytes come back.
fn read(
    path: &Path,
    from: &mut dyn Read,
    splitter: &mut Splitter,
    attempt: &str,
    progress: &Arc<dyn Progress>,
    each: &mut Each<'_>,
) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let mut piece = vec![0; PIECE];
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    let mut ended = false;
    while !ended {
        if progress.cancelled() {
            let why = "the caller asked to stop";
            return Err(Error::new(ErrorKind::Cancelled, attempt, why));
        }
        let length = match from.read(&mut piece) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Error::new(
                    ErrorKind::Damaged,
                    attempt,
                    format!("{} cannot be read to its end: {error}", path.display()),
                )
                .with_help("it is cut off or damaged: take another dump"));
            }
        };
        let bytes = &piece[..length];
        head.extend_from_slice(&bytes[..length.min(EDGE - EDGE.min(head.len()))]);
        tail.extend_from_slice(bytes);
        let long = tail.len().saturating_sub(EDGE);
        tail.drain(..long);
        ended = length == 0;
        if ended {
            splitter.end();
        } else {
            splitter.feed(bytes);
        }
        loop {
            match splitter.statement() {
                Ok(Some(statement)) => each(statement.text, statement.line)?,
                Ok(None) => break,
                Err(broken) => {
                    let help = match broken {
                        Broken::TooLong(_) => {
                            "it is longer than the server takes: raise `max_allowed_packet` there"
                        }
                        _ => "the dump is cut off, or no dump: take another one",
                    };
                    let reason = format!("{}: {broken}", path.display());
                    return Err(Error::new(ErrorKind::Damaged, attempt, reason).with_help(help));
                }
            }
        }
    }
    progress.finish();
    Ok((head, tail))
}

/// Reads a file without sending anything.
fn look(
    path: &Path,
    database: Option<&str>,
    server: &Server,
    attempt: &str,
    progress: &Arc<dyn Progress>,
) -> Result<Seen, Error> {
    let mut from = open(path, "Looking at", attempt, progress)?;
    let mut seen = Seen {
        file: ImportedFile {
            path: path.to_owned(),
            statements: 0,
            bytes: 0,
        },
        databases: BTreeSet::new(),
        warnings: Vec::new(),
    };
    let at = |line: u64| format!("{}, line {line}", path.display());
    let refuse = |reason: String, help: &str| {
        Error::new(ErrorKind::SourceUnreadable, attempt, reason).with_help(help)
    };
    let mut here = database.map(str::to_owned);
    let mut each = |text: &[u8], line: u64| {
        seen.file.statements += 1;
        seen.file.bytes += text.len() as u64;
        let length = text.len() as u64 + 1;
        if length > server.longest {
            return Err(refuse(
                format!(
                    "{}: `{}` has {length} bytes, and the server takes {} at once",
                    at(line),
                    first_words(text),
                    server.longest
                ),
                "raise it before: `SET GLOBAL max_allowed_packet = 1073741824`, and in the server's config; nothing was loaded",
            ));
        }
        match effect(text) {
            Effect::Use(name) => here = Some(name),
            Effect::Writes(name) => {
                seen.databases.insert(name);
            }
            Effect::WritesHere => match &here {
                Some(name) => {
                    if !seen.databases.contains(name) {
                        seen.databases.insert(name.clone());
                    }
                }
                None => {
                    return Err(refuse(
                        format!(
                            "{}: `{}` is of no database, since the dump names none",
                            at(line),
                            first_words(text)
                        ),
                        "say into which one it goes, with `--database NAME`; nothing was loaded",
                    ));
                }
            },
            Effect::Charset(charset) if DOUBLE.contains(&charset.as_str()) => {
                return Err(refuse(
                    format!("{}: the dump is in the character set {charset}", at(line)),
                    "that cannot be taken apart here: dump it with `--default-character-set=utf8mb4`, or load it with the `mysql` client; nothing was loaded",
                ));
            }
            Effect::Charset(_) | Effect::Nothing => {}
        }
        Ok(())
    };
    let mut splitter = server.splitter();
    let (head, tail) = read(
        path,
        from.as_mut(),
        &mut splitter,
        attempt,
        progress,
        &mut each,
    )?;
    let has = |bytes: &[u8], what: &str| {
        bytes
            .windows(what.len())
            .any(|part| part == what.as_bytes())
    };
    let of_dump = ["-- MySQL dump", "-- MariaDB dump", "-- mainstay "]
        .iter()
        .any(|mark| has(&head, mark));
    if of_dump && !has(&tail, "-- Dump completed") {
        return Err(Error::new(
            ErrorKind::Damaged,
            attempt,
            format!(
                "{} does not end with `-- Dump completed`: the dump was cut off when it was made",
                path.display()
            ),
        )
        .with_help(
            "the program that made it failed before its end: take another dump; nothing was loaded",
        ));
    }
    if seen.file.statements == 0 {
        return Err(refuse(
            format!("there is no statement in {}", path.display()),
            "take another dump; nothing was loaded",
        ));
    }
    if !of_dump {
        seen.warnings.push(format!(
            "{} does not say that it is a dump, so it is not known whether it is a whole one",
            path.display()
        ));
    }
    Ok(seen)
}

/// Those of these databases that the server has, and that may not be written to all the same.
fn there<'a>(
    databases: &'a BTreeSet<String>,
    known: &BTreeSet<String>,
    over: &[String],
    folds: bool,
) -> Vec<&'a String> {
    databases
        .iter()
        .filter(|name| known.iter().any(|known| is_one_name(known, name, folds)))
        .filter(|name| !over.iter().any(|over| is_one_name(over, name, folds)))
        .collect()
}

struct Server {
    connection: Connection,
    sql_mode: String,
    /// The longest packet in bytes that it takes.
    longest: u64,
    databases: BTreeSet<String>,
    /// Whether `Shop` and `shop` are one database to it (`lower_case_table_names`).
    folds: bool,
}

impl Server {
    fn open(options: &Options, attempt: &str) -> Result<Self, Error> {
        let opened = || -> Result<Self, mainstay_mysql::Error> {
            let mut connection = Connection::open(options)?;
            let text = |cell: Option<Vec<u8>>| {
                String::from_utf8_lossy(&cell.unwrap_or_default()).into_owned()
            };
            connection.run("SET NAMES utf8mb4")?;
            // A limit on statements is for the app's; not every version has it.
            if let Err(error) = connection.run("SET SESSION max_statement_time = 0")
                && error.server().is_none()
            {
                return Err(error);
            }
            let mut row = connection
                .fetch("SELECT @@sql_mode, @@max_allowed_packet, @@lower_case_table_names")?
                .into_iter()
                .flatten();
            let sql_mode = text(row.next().flatten());
            let longest = text(row.next().flatten()).parse().unwrap_or(1 << 20);
            let folds = text(row.next().flatten()) != "0";
            let databases = connection
                .fetch("SHOW DATABASES")?
                .into_iter()
                .flatten()
                .map(text)
                .collect();
            Ok(Self {
                connection,
                sql_mode,
                longest,
                databases,
                folds,
            })
        };
        opened().map_err(|error| {
            let kind = match error.kind() {
                mainstay_mysql::ErrorKind::Connect => ErrorKind::SourceMissing,
                mainstay_mysql::ErrorKind::Server => ErrorKind::Denied,
                _ => ErrorKind::SourceUnreadable,
            };
            let made = Error::new(kind, attempt, error.to_string());
            made.with_help(error.help().unwrap_or("nothing was loaded"))
        })
    }

    fn splitter(&self) -> Splitter {
        let limit = usize::try_from(self.longest).unwrap_or(usize::MAX);
        // What is too long is refused with the words of the statement, so it is read to its end.
        Splitter::new(limit.saturating_mul(2)).with_mode(&self.sql_mode)
    }

    fn refuse_if_there(
        &self,
        databases: &BTreeSet<String>,
        over: &[String],
        attempt: &str,
    ) -> Result<(), Error> {
        let there = there(databases, &self.databases, over, self.folds);
        if there.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = there.iter().map(|name| format!("`{name}`")).collect();
        let told: Vec<String> = there
            .iter()
            .map(|name| format!("--over {}", literal(name)))
            .collect();
        Err(Error::new(
            ErrorKind::TargetNotEmpty,
            attempt,
            format!("the server has {} already", names.join(", ")),
        )
        .with_help(format!(
            "rename or drop it, or say that it may be written over: {}; nothing was loaded",
            told.join(" ")
        )))
    }

    fn run(&mut self, statement: &[u8]) -> Result<u16, mainstay_mysql::Error> {
        let mut results = self.connection.query_bytes(statement)?;
        while results.next_result()? {}
        Ok(results.finish()?.warnings)
    }

    /// The first thing that the server warned of at the last statement.
    fn warning(&mut self) -> Result<String, mainstay_mysql::Error> {
        let rows = self.connection.fetch("SHOW WARNINGS LIMIT 1")?;
        // Its level, its number, and its text.
        let text = rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().nth(2));
        Ok(String::from_utf8_lossy(&text.flatten().unwrap_or_default()).into_owned())
    }

    /// Gives a file to the server; what it warned of comes back.
    fn give(
        &mut self,
        path: &Path,
        database: Option<&str>,
        attempt: &str,
        progress: &Arc<dyn Progress>,
    ) -> Result<Vec<String>, Error> {
        let mut from = open(path, "Importing", attempt, progress)?;
        let mut splitter = self.splitter();
        // Each file begins as if it were the only one.
        self.connection
            .reset()
            .and_then(|()| self.run(b"SET NAMES utf8mb4").map(drop))
            .map_err(|error| server_error(attempt, &error))?;
        if let Some(database) = database {
            let using = format!("USE {}", crate::source::mysql::name(database));
            self.run(using.as_bytes())
                .map_err(|error| server_error(attempt, &error))?;
        }
        let (mut count, mut first) = (0u64, None);
        read(
            path,
            from.as_mut(),
            &mut splitter,
            attempt,
            progress,
            &mut |text, line| {
                let told = self.run(text).and_then(|warnings| {
                    count += u64::from(warnings);
                    if warnings > 0 && first.is_none() {
                        first = Some((line, first_words(text), self.warning()?));
                    }
                    Ok(())
                });
                match told {
                    Ok(()) => {}
                    Err(error) => {
                        let reason = format!(
                            "{}, line {line}: `{}`: {}",
                            path.display(),
                            first_words(text),
                            error.reason()
                        );
                        let refused = error.code().is_some_and(|code| RIGHTS.contains(&code));
                        return Err(if refused {
                            Error::new(ErrorKind::Denied, attempt, reason).with_help(AS_ANOTHER)
                        } else {
                            Error::new(ErrorKind::Io, attempt, reason)
                        });
                    }
                }
                Ok(())
            },
        )?;
        Ok(first
            .map(|(line, words, warning)| {
                format!(
                    "{}: the server warned of {}, of the first at line {line}: `{words}`: {warning}",
                    path.display(),
                    counted(count, "thing")
                )
            })
            .into_iter()
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_there_in_whatever_case_the_server_takes_for_the_same() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let set = |them: &[&str]| names(them).into_iter().collect::<BTreeSet<_>>();
        for (dump, over, folds, expected) in [
            (&["shop", "new"][..], &[][..], false, &["shop"][..]),
            (&["Shop"], &[], false, &[]),
            (&["Shop"], &[], true, &["Shop"]),
            (&["Shop"], &["SHOP"], true, &[]),
            (&["shop"], &["SHOP"], false, &["shop"]),
            (&["\u{c4}pfel"], &[], true, &["\u{c4}pfel"]),
        ] {
            let dump = set(dump);
            let found = there(&dump, &set(&["shop", "\u{e4}pfel"]), &names(over), folds);
            assert_eq!(found, expected, "{dump:?} {over:?} {folds}");
        }
    }
}
