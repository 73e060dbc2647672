//! A server of `MariaDB` by its files: `mariadb-backup` reads them while the server runs, and what it
//! streams is taken apart on the way, so that each file of the data directory is one of the snapshot.
//!
//! No copy of the data lies anywhere but in the repository. What is stored is the data directory as it
//! was read, page by page over some time, with the log that makes one moment of it: before a server can
//! be started on it, `mariadb-backup --prepare` must have gone over it, which a restore does.

mod place;
mod preflight;
mod told;
mod tool;

use std::collections::BTreeMap;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use mainstay_base::Resolver;
use mainstay_mysql::Options;

use self::place::Place;
use self::told::Told;
use self::tool::{Watched, Work, cancelled};
use super::xbstream::{Broken, Event, Reader};
use super::{Failure, Mysql, moment};
use crate::config::MysqlConfig;
use crate::error::{Error, ErrorKind};
use crate::progress::Progress;
use crate::source::files::plain_meta;
use crate::source::{
    Context, Entry, Facts, Flow, Issues, Meta, Part, Reading, ServerFacts, Source, Weight,
};

pub(crate) use self::tool::Tool;

/// How the files of a server came into a snapshot, and what reads them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PhysicalFacts {
    /// The program that read them.
    pub program: String,
    /// The server's data directory.
    pub data: String,
    /// Up to where in the log of `InnoDB` the pages must be brought.
    pub to_lsn: u64,
    /// Up to where the log itself goes.
    pub last_lsn: u64,
    /// Settings that a server must have to read them.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Tables whose rows are not in it, because they are in no file: those of the engine MEMORY.
    #[serde(default)]
    pub without_rows: u64,
}

/// A line: by what, up to where.
impl std::fmt::Display for PhysicalFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "its files in {}, read by {}, up to {} in the log of InnoDB",
            self.data, self.program, self.last_lsn
        )
    }
}

/// A server whose files are read.
#[derive(Debug, Clone)]
pub struct Physical {
    server: Mysql,
    program: Option<PathBuf>,
}

impl Physical {
    /// The server of a config; its password is read now.
    pub fn new(config: &MysqlConfig, resolver: &Resolver) -> Result<Self, Error> {
        Ok(Self {
            server: Mysql::new(config, resolver)?,
            program: config.program.clone(),
        })
    }

    fn attempt(&self) -> String {
        format!(
            "back up the files of the server at {} as `{}`",
            self.server.options.endpoint, self.server.options.user
        )
    }
}

impl Source for Physical {
    fn kind(&self) -> &'static str {
        "mysql"
    }

    fn open(&self, context: &Context<'_>) -> Result<Box<dyn Reading>, Error> {
        let attempt = self.attempt();
        let failed = |failure: Failure| self.server.error(failure);
        let tool = Tool::find(self.program.as_deref(), &attempt)?;
        let mut connection = moment::connect(&self.server.options).map_err(failed)?;
        let version = connection.version().clone();
        let place = Place::of(&mut connection, &self.server.options).map_err(failed)?;
        tool.fits(&version, &attempt)?;
        Ok(Box::new(Copy {
            attempt,
            root: self.server.root.clone(),
            options: self.server.options.clone(),
            threads: self.server.connections,
            version: version.text,
            private: context.staging.join("mariadb-backup"),
            place: Arc::new(place),
            tool,
            told: Arc::default(),
            issues: Issues::default(),
            progress: Arc::clone(context.progress),
        }))
    }
}

/// A server that is to be read.
struct Copy {
    attempt: String,
    root: PathBuf,
    options: Options,
    threads: usize,
    version: String,
    /// Where the program works.
    private: PathBuf,
    place: Arc<Place>,
    tool: Tool,
    /// What the stream that came last has told.
    told: Arc<Mutex<Told>>,
    issues: Issues,
    progress: Arc<dyn Progress>,
}

impl Copy {
    fn begin(&self) -> Result<Stream, Error> {
        // What an earlier one left; the program wants a directory that is not there.
        let _ = fs::remove_dir_all(&self.private);
        mainstay_base::fs::create_dir_private(&self.private, 0o700)
            .map_err(|error| Error::io(&self.attempt, &self.private, &error))?;
        *lock(&self.told) = Told::default();
        let (work, stream) = self.tool.backup(
            &self.options,
            &self.place.data,
            self.threads,
            &self.private,
            &self.attempt,
            &self.progress,
        )?;
        Ok(Stream {
            attempt: self.attempt.clone(),
            root: self.root.clone(),
            place: Arc::clone(&self.place),
            reading: Some((work, Reader::new(BufReader::with_capacity(BUFFER, stream)))),
            told: Arc::clone(&self.told),
            issues: self.issues.clone(),
            progress: Arc::clone(&self.progress),
        })
    }
}

/// So much of the stream is read at once at least.
const BUFFER: usize = 64 << 10;

impl Reading for Copy {
    fn root(&self) -> &Path {
        &self.root
    }

    fn total(&self) -> Option<u64> {
        None
    }

    /// They come as a flow.
    fn entries(&self) -> Box<dyn Iterator<Item = Entry> + Send> {
        Box::new(std::iter::empty())
    }

    fn flow(&self) -> Option<Result<Box<dyn Flow>, Error>> {
        Some(self.begin().map(|stream| Box::new(stream) as Box<dyn Flow>))
    }

    fn take_issues(&self) -> Vec<crate::source::Issue> {
        self.issues.take()
    }

    fn facts(&self) -> Facts {
        let told = lock(&self.told);
        let (databases, tables) = told.counts();
        let (to_lsn, last_lsn) = told.checkpoint().unwrap_or_default();
        Facts {
            kind: "mysql".to_owned(),
            server: Some(ServerFacts {
                // The files of a restore are those of its own server.
                folds: false,
                version: self.version.clone(),
                taken: told.taken.unwrap_or(Timestamp::UNIX_EPOCH).to_string(),
                databases,
                tables,
                position: told.position(),
                stall_us: None,
            }),
            physical: Some(PhysicalFacts {
                program: self.tool.said(),
                data: self.place.data.display().to_string(),
                to_lsn,
                last_lsn,
                settings: self.place.settings.clone(),
                without_rows: told.memory().count() as u64,
            }),
            ..Facts::default()
        }
    }

    fn unchanged_by_times(&self) -> bool {
        false
    }
}

fn lock(told: &Mutex<Told>) -> std::sync::MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the program streams, as files of the snapshot.
struct Stream {
    attempt: String,
    root: PathBuf,
    place: Arc<Place>,
    /// Until it came to its end.
    reading: Option<(Work, Reader<BufReader<Watched>>)>,
    told: Arc<Mutex<Told>>,
    issues: Issues,
    progress: Arc<dyn Progress>,
}

impl Stream {
    fn part(&self, event: Event) -> Result<Part, Error> {
        let at = |path: &Path| self.root.join(path);
        lock(&self.told).hear(&event);
        Ok(match event {
            Event::Bytes(path, bytes) => {
                if path.extension().is_some_and(|extension| extension == "isl") {
                    return Err(place::elsewhere(&self.attempt, &path));
                }
                Part::Bytes(at(&path), bytes)
            }
            Event::Zeros(path, count) => Part::Zeros(at(&path), count),
            Event::End(path) => Part::End(at(&path), Box::new(self.meta(&path))),
            Event::Gone(path) => Part::Gone(at(&path)),
            Event::Moved(from, to) => Part::Moved(at(&from), at(&to)),
        })
    }

    /// Mode, owner and times of a file: the stream has none, but the file itself is there.
    fn meta(&self, path: &Path) -> Meta {
        match fs::metadata(self.place.data.join(path)) {
            Ok(metadata) if metadata.is_file() => Meta {
                hard_link: None,
                ..plain_meta(&metadata)
            },
            // One of the program's own, or gone since.
            _ => self.place.file(lock(&self.told).taken),
        }
    }

    fn finish(&mut self) -> Result<(), Error> {
        let Some((work, reader)) = self.reading.take() else {
            return Ok(());
        };
        drop(reader);
        work.finish(&self.attempt, &self.progress)?;
        let told = lock(&self.told);
        for table in told.memory() {
            self.issues.add(
                Weight::Warning,
                &self.root.join(table),
                "its rows are in no file (engine MEMORY): only the table is in the snapshot",
            );
        }
        told.whole().map_err(|why| {
            Error::new(ErrorKind::SourceUnreadable, &self.attempt, why)
                .with_help("nothing was stored; the version of mariadb-backup is another than those that are known here: leave `engine` out")
        })
    }

    /// What is wrong with the stream; where it is only cut off, why the program ended, if that says why.
    fn broken(&mut self, broken: &Broken) -> Error {
        let work = self.reading.take().map(|(work, reader)| {
            drop(reader);
            work
        });
        if self.progress.cancelled() {
            return cancelled(&self.attempt);
        }
        let cut = matches!(broken, Broken::Cut(_));
        work.filter(|_| cut)
            .and_then(|work| work.ended(&self.attempt))
            .unwrap_or_else(|| {
                Error::new(
                    ErrorKind::SourceUnreadable,
                    &self.attempt,
                    format!("the stream of mariadb-backup {broken}"),
                )
                .with_help("nothing was stored, and no older snapshot was removed; run it again")
            })
    }
}

impl Flow for Stream {
    fn next(&mut self) -> Result<Option<Part>, Error> {
        let Some((_, reader)) = &mut self.reading else {
            return Ok(None);
        };
        match reader.next() {
            Ok(Some(event)) => self.part(event).map(Some),
            Ok(None) => self.finish().map(|()| None),
            Err(broken) => Err(self.broken(&broken)),
        }
    }

    fn directory(&self, path: &Path) -> Meta {
        let found = path
            .strip_prefix(&self.root)
            .ok()
            .and_then(|below| fs::metadata(self.place.data.join(below)).ok())
            .filter(fs::Metadata::is_dir);
        match found {
            Some(metadata) => Meta {
                hard_link: None,
                ..plain_meta(&metadata)
            },
            None => self.place.directory(lock(&self.told).taken),
        }
    }
}
