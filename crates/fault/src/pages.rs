//! The directory of an app's pages, watched.

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Response;
use mainstay_base::Clock;

use crate::accept::Asked;
use crate::answer::answer;
use crate::catalog::FILE;
use crate::fault::Fault;
use crate::page_set::{PageSet, Trouble, counts};

/// How often the directory is looked at, at most.
const PAUSE: Duration = Duration::from_secs(1);
/// How many troubles are remembered as told.
const TOLD: usize = 64;

/// One file as it was seen: name, inode, size, changed.
type Stamp = (String, u64, u64, i64, i64);

/// Pages from a directory, read again when they change; looked at only when a page is wanted, at most
/// once in a second, so that a server without faults does nothing.
///
/// A page that can't be used is told in the log once, and the last good one stays; where there is
/// none, the one that is built in. Nothing here fails.
pub struct Pages {
    directory: PathBuf,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    current: Arc<PageSet>,
    stamps: Option<Vec<Stamp>>,
    next: Duration,
    told: BTreeSet<String>,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("directory", &self.directory)
            .field("current", &self.state().current)
            .finish_non_exhaustive()
    }
}

impl Pages {
    /// Reads the directory for the first time. `fallback` is the language for those who read none
    /// that there is: `en`, `zh-Hant` or `zh-Hans`, or one of the app's own texts.
    pub fn open(directory: &Path, fallback: &str, clock: Arc<dyn Clock>) -> Self {
        let pages = Self {
            directory: directory.to_owned(),
            state: Mutex::new(State {
                current: Arc::new(PageSet::built_in().with_fallback(fallback)),
                stamps: None,
                next: Duration::ZERO,
                told: BTreeSet::new(),
            }),
            clock,
        };
        let _ = pages.current();
        pages
    }

    /// Answers a request with the pages as they are now.
    pub fn answer(&self, asked: &Asked, fault: &Fault) -> Response<Vec<u8>> {
        let answer = answer(asked, fault, &self.current());
        if let Some(trouble) = answer.trouble {
            self.tell(&[trouble], "the page that is built in was sent");
        }
        answer.response
    }

    /// The pages as they are now.
    pub fn current(&self) -> Arc<PageSet> {
        let now = self.clock.monotonic();
        let (current, known) = {
            let mut state = self.state();
            if now < state.next {
                return Arc::clone(&state.current);
            }
            // Others go on with what there is while this thread reads.
            state.next = now.saturating_add(PAUSE);
            (Arc::clone(&state.current), state.stamps.clone())
        };
        let stamps = stamps(&self.directory);
        if known.as_ref() == Some(&stamps) {
            return current;
        }
        let (new, troubles) = PageSet::load(&self.directory, &current);
        let new = Arc::new(new);
        {
            let mut state = self.state();
            state.current = Arc::clone(&new);
            state.stamps = Some(stamps);
            // What is still wrong after a change is told again.
            state.told.clear();
        }
        self.tell(
            &troubles,
            "the last good one goes on, or the one that is built in",
        );
        new
    }

    fn tell(&self, troubles: &[Trouble], so: &str) {
        for trouble in troubles {
            let text = trouble.to_string();
            let mut state = self.state();
            let is_new = state.told.len() < TOLD && state.told.insert(text.clone());
            drop(state);
            if is_new {
                log::warn!("{text}; {so}");
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What would differ if a page had changed; empty where the directory can't be read.
fn stamps(directory: &Path) -> Vec<Stamp> {
    let mut stamps: Vec<Stamp> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry
                .file_name()
                .into_string()
                .ok()
                .filter(|name| counts(name) || name == FILE)?;
            let seen = std::fs::metadata(entry.path()).ok();
            let of = seen.map_or((0, 0, 0, 0), |seen| {
                (seen.ino(), seen.size(), seen.ctime(), seen.ctime_nsec())
            });
            Some((name, of.0, of.1, of.2, of.3))
        })
        .collect();
    stamps.sort();
    stamps
}
