//! Checking a whole repository, and how far that is.

use std::sync::Arc;

use rustic_core::{CheckOptions, ReadSubsetOption};

use super::Opened;
use super::bars::Measured;
use super::format::Kind;
use super::told::findings;
use crate::error::{Error, ErrorKind};
use crate::repository::{Depth, Finding};

impl Opened {
    /// What is damaged or untidy. All directories are read, and then the data, as deep as it should be.
    pub(super) fn checked(&self, depth: Depth) -> Result<Vec<Finding>, Error> {
        let mut options = CheckOptions::default();
        match depth {
            Depth::Structure => {}
            Depth::Part { number, of } => {
                options.read_data = true;
                options.read_data_subset = ReadSubsetOption::IdSubSet((number, of.max(1)));
            }
            Depth::All => options.read_data = true,
        }
        let what = format!("Checking repository {}", self.name);
        self.progress.begin(&what, None);
        // An index that cannot be read is told by the check itself.
        if self.progress.wants_total()
            && let Ok(index) = self.index("check")
        {
            self.progress.begin(&what, Some(index.bytes(Kind::Tree)));
        }
        let (progress, store) = (Arc::clone(&self.progress), Arc::clone(&self.store));
        let what = format!("Reading the data of {}", self.name);
        let measured: Measured = Arc::new(move |bytes| {
            store.stop_counting();
            progress.finish();
            progress.begin(&what, Some(bytes));
        });
        self.store.set_checking(true);
        let checked = self.run_measured("check", Some(measured), |repository| {
            repository.check(options)
        });
        self.store.set_checking(false);
        self.progress.finish();
        // What could not be read from then on is not damaged.
        if self.store.cancelled() {
            return Err(Error::new(
                ErrorKind::Cancelled,
                self.attempt("check"),
                "the caller asked to stop",
            ));
        }
        Ok(findings(checked?))
    }
}
