//! Our progress as the library wants it.

use std::sync::Arc;

use rustic_core::{Progress as RusticHandle, ProgressBars, ProgressType, RusticProgress};

use crate::progress::Progress;

/// Bytes are passed on; what the library counts otherwise is not bytes.
pub(super) struct Bars(pub(super) Arc<dyn Progress>);

impl std::fmt::Debug for Bars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bars")
    }
}

impl ProgressBars for Bars {
    fn progress(&self, kind: ProgressType, _prefix: &str) -> RusticHandle {
        match kind {
            ProgressType::Bytes => RusticHandle::new(Bar(Arc::clone(&self.0))),
            _ => RusticHandle::hidden(),
        }
    }
}

struct Bar(Arc<dyn Progress>);

impl std::fmt::Debug for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bar")
    }
}

impl RusticProgress for Bar {
    fn is_hidden(&self) -> bool {
        false
    }
    // Steps begin and end where they are called; the library only moves them on.
    fn set_length(&self, _: u64) {}
    fn set_title(&self, _: &str) {}
    fn inc(&self, bytes: u64) {
        self.0.advance(bytes);
    }
    fn finish(&self) {}
}
