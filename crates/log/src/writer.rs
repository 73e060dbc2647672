//! A rolling file for whoever only wants to write: for `tracing_subscriber::fmt`, and for many threads.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

use crate::error::{Error, Notice};
use crate::outlet::lock;
use crate::rolling::RollingFile;

/// A [`RollingFile`] that threads share; clones write to the same. Each write is a line that is not
/// mixed with those of other threads.
///
/// ```
/// use mainstay_log::{Retention, RollingFile, RollingWriter};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.log");
///
/// let clock = std::sync::Arc::new(mainstay_base::SystemClock::new());
/// let writer = RollingWriter::from(RollingFile::open(&path, Retention::default(), clock)?);
/// let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
/// tracing::subscriber::with_default(subscriber, || tracing::warn!("the disk is nearly full"));
/// assert!(std::fs::read_to_string(&path)?.ends_with("the disk is nearly full\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The program's own [layer](crate::layer()) does more: queues, routes, levels that change. What should
/// be told to a person, such as a roll that fails, is in [`RollingWriter::take_notices`].
#[derive(Debug, Clone)]
pub struct RollingWriter(Arc<Mutex<RollingFile>>);

impl From<RollingFile> for RollingWriter {
    fn from(file: RollingFile) -> Self {
        Self(Arc::new(Mutex::new(file)))
    }
}

impl RollingWriter {
    /// See [`RollingFile::take_notices`].
    pub fn take_notices(&self) -> Vec<Notice> {
        lock(&self.0).take_notices()
    }

    /// See [`RollingFile::reopen`].
    pub fn reopen(&self) -> Result<(), Error> {
        lock(&self.0).reopen()
    }
}

impl Write for &RollingWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Write::write(&mut *lock(&self.0), data)
    }

    /// As [`Write::write`], but nothing of another thread comes in between.
    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        RollingFile::write(&mut lock(&self.0), data).map_err(io::Error::from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for RollingWriter {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}
