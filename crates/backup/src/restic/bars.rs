//! Our progress as the library wants it.

use std::sync::Arc;

use rustic_core::{Progress as RusticHandle, ProgressBars, ProgressType, RusticProgress};

use crate::progress::Progress;

/// What is done once the library knows how many bytes a work is.
pub(super) type Measured = Arc<dyn Fn(u64) + Send + Sync>;

/// Bytes are passed on; what the library counts otherwise is not bytes.
pub(super) struct Bars {
    pub(super) progress: Arc<dyn Progress>,
    pub(super) measured: Measured,
}

impl std::fmt::Debug for Bars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bars")
    }
}

impl ProgressBars for Bars {
    fn progress(&self, kind: ProgressType, _prefix: &str) -> RusticHandle {
        match kind {
            ProgressType::Bytes => RusticHandle::new(Bar {
                progress: Arc::clone(&self.progress),
                measured: Arc::clone(&self.measured),
            }),
            _ => RusticHandle::hidden(),
        }
    }
}

struct Bar {
    progress: Arc<dyn Progress>,
    measured: Measured,
}

impl std::fmt::Debug for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bar")
    }
}

impl RusticProgress for Bar {
    fn is_hidden(&self) -> bool {
        false
    }
    fn set_length(&self, bytes: u64) {
        (self.measured)(bytes);
    }
    // Steps begin and end where they are called; the library only moves them on.
    fn set_title(&self, _: &str) {}
    fn inc(&self, bytes: u64) {
        self.progress.advance(bytes);
    }
    fn finish(&self) {}
}
