//! Buffers of the calling thread, so that a record costs no allocation once they have grown.

use std::cell::RefCell;
use std::ops::Range;

use crate::stamp::Stamp;

/// A buffer this large is given back after use: one huge record should not cost for ever.
const KEEP: usize = 256 * 1024;

/// What one thread needs to hand a record to the sinks.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The formatted records, one after another.
    pub(crate) bytes: Vec<u8>,
    /// Where each format's text lies in there, once it was asked for.
    pub(crate) rendered: Vec<Option<Range<usize>>>,
    /// Which sinks have the record already.
    pub(crate) served: Vec<bool>,
    /// Stamps of the pipeline with this number.
    pub(crate) stamp: Option<(u64, Stamp)>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Lends the thread's buffers. A record that is written while another is being formatted (something
/// logs in its `Display`) gets fresh ones, as does one from a thread that is ending.
pub(crate) fn with<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut work = Some(work);
    let done = SCRATCH.try_with(|scratch| {
        let mut scratch = scratch.try_borrow_mut().ok()?;
        let result = work.take().map(|work| work(&mut scratch));
        if scratch.bytes.capacity() > KEEP {
            scratch.bytes = Vec::new();
        }
        result
    });
    match (done, work) {
        (Ok(Some(result)), _) => result,
        (_, Some(work)) => work(&mut Scratch::default()),
        // `work` is taken only on the way to a result.
        (_, None) => unreachable!("work that was done has a result"),
    }
}
