//! How a caller sees what is going on, and how it asks to stop.

/// Receives what a run is doing. Every method may be called from any thread.
///
/// Nothing here prints: a command line draws a bar from it, a daemon ignores it.
pub trait Progress: Send + Sync {
    /// A step begins; `total` is its size in bytes when it is known. A step that has begun may begin
    /// again with a better total.
    fn begin(&self, what: &str, total: Option<u64>);
    /// That many more bytes of the step are done.
    fn advance(&self, bytes: u64);
    /// Something worth knowing that is no error.
    fn message(&self, text: &str);
    /// The step is done.
    fn finish(&self);
    /// Whether the work is worth a look ahead to learn the total (one more walk over the directory).
    fn wants_total(&self) -> bool {
        true
    }
    /// Whether the caller wants the run to stop. Asked often; a run that stops writes no snapshot.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Shows nothing and never cancels.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _what: &str, _total: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn message(&self, _text: &str) {}
    fn finish(&self) {}
    fn wants_total(&self) -> bool {
        false
    }
}
