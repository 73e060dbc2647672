//! Buffers of the calling thread, so that a record costs no allocation once they have grown.

use std::cell::RefCell;
use std::ops::Range;

use crate::head::Moments;

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
    /// What is remembered for the pipeline with this number.
    pub(crate) moments: Option<(u64, Moments)>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    static MESSAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends an empty buffer for one message, another one than [`with`].
pub(crate) fn with_message<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let take = |held: &RefCell<Vec<u8>>| {
        held.try_borrow_mut()
            .map(|mut held| std::mem::take(&mut *held))
    };
    let mut bytes = MESSAGE
        .try_with(take)
        .ok()
        .and_then(Result::ok)
        .unwrap_or_default();
    bytes.clear();
    let result = work(&mut bytes);
    if bytes.capacity() <= KEEP {
        let _ = MESSAGE.try_with(|held| held.try_borrow_mut().map(|mut held| *held = bytes));
    }
    result
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
