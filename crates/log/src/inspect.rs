//! Who decides, byte by byte, what of a program's output is kept.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use mainstay_sys::pipe;

use crate::plumbing::Periscope;

/// How much an inspector is shown at once, at most.
pub(crate) const VIEW: usize = 256 * 1024;
/// How many runs are acted upon in one go, so that output in small pieces does not keep the thread
/// from the other programs.
pub(crate) const RUNS: usize = 1024;

/// Decides what of a program's output gets into its file and to the routes.
///
/// It is shown the head of the pipe, by tee(2), before anything of it is taken. What it decides is
/// then done by itself: bytes that are kept are spliced into the file, bytes that are dropped are
/// taken out and forgotten. So a kill of this process at any moment loses and doubles nothing in the
/// file, and each byte is decided upon once. The exception are bytes of which the answer was given and
/// not yet carried out when this process was killed: they are still in the pipe, and are shown to the
/// inspector of the next process.
///
/// A dropped run of up to 256 KiB leaves the pipe as a whole or not at all; a kept run may leave it in
/// parts.
///
/// Each pipe has an inspector of its own: a program that was started again has another pipe.
pub trait Inspect: Send {
    /// Says what becomes of the first bytes of `ahead`, which is never empty and begins with the
    /// first byte that is not decided upon. Asked again for what follows.
    ///
    /// `last` says that waiting brings nothing: the program has ended and this is all, or the pipe
    /// has no room for more until some of it is taken. Then [`Verdict::Wait`] means
    /// `Keep(ahead.len())`.
    ///
    /// After [`Verdict::Wait`] the same bytes are shown again, with more behind them or with `last`
    /// set; what was learned from them must not be counted twice.
    fn inspect(&mut self, ahead: &[u8], last: bool) -> Verdict;

    /// The program behind the pipe has ended and all that it wrote is decided upon. Bytes may follow
    /// all the same, from children of it that live on.
    fn finish(&mut self) {}
}

impl<F: FnMut(&[u8], bool) -> Verdict + Send> Inspect for F {
    fn inspect(&mut self, ahead: &[u8], last: bool) -> Verdict {
        self(ahead, last)
    }
}

/// What becomes of the head of the pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// So many bytes go into the file and to the routes. At least one; more than there are means all
    /// there are.
    Keep(usize),
    /// So many bytes go nowhere, with the same limits.
    Drop(usize),
    /// More bytes must be seen first: a token or a sequence may be split here. They stay in the pipe.
    Wait,
}

impl Verdict {
    /// The run that is decided on; `None`: nothing is.
    fn run(self, ahead: usize, last: bool) -> Option<Run> {
        let (keep, bytes) = match self {
            Self::Keep(bytes) => (true, bytes),
            Self::Drop(bytes) => (false, bytes),
            Self::Wait if last => (true, ahead),
            Self::Wait => return None,
        };
        Some(Run {
            keep,
            left: bytes.clamp(1, ahead.max(1)),
        })
    }
}

/// Bytes at the head of a pipe with the same fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) keep: bool,
    /// So many of them are still in the pipe.
    pub(crate) left: usize,
}

/// A pipe under inspection.
pub(crate) struct Head {
    inode: u64,
    inspector: Box<dyn Inspect>,
    /// What was decided and is not done yet.
    pub(crate) run: Option<Run>,
}

impl Head {
    /// Asks the inspector. `None`: it waits.
    pub(crate) fn decide(&mut self, ahead: &[u8], last: bool) -> Option<Run> {
        let verdict = self.inspector.inspect(ahead, last);
        self.run = verdict.run(ahead.len(), last);
        self.run
    }

    /// So many bytes of the run have left the pipe.
    pub(crate) fn done(&mut self, bytes: usize) {
        if let Some(run) = &mut self.run {
            run.left = run.left.saturating_sub(bytes);
            if run.left == 0 {
                self.run = None;
            }
        }
    }
}

type Make = Box<dyn FnMut() -> Box<dyn Inspect> + Send>;

/// The inspectors of a stream, one for each pipe it comes from.
pub(crate) struct Inspection {
    make: Make,
    heads: Vec<Head>,
    /// Opened when there is something to look at.
    periscope: Option<Periscope>,
    scratch: Vec<u8>,
}

impl Inspection {
    pub(crate) fn new(make: Make) -> Self {
        Self {
            make,
            heads: Vec::new(),
            periscope: None,
            scratch: Vec::new(),
        }
    }

    /// What is known of this pipe, what looks into it, and where dropped bytes pass through.
    pub(crate) fn at(
        &mut self,
        pipe: BorrowedFd<'_>,
    ) -> io::Result<(&mut Head, &mut Periscope, &mut Vec<u8>)> {
        let inode = pipe::inode(pipe)?;
        let periscope = match self.periscope.take() {
            Some(periscope) => periscope,
            None => Periscope::new(VIEW)?,
        };
        let known = self.heads.iter().position(|head| head.inode == inode);
        let at = known.unwrap_or_else(|| {
            self.heads.push(Head {
                inode,
                inspector: (self.make)(),
                run: None,
            });
            self.heads.len() - 1
        });
        Ok((
            &mut self.heads[at],
            self.periscope.insert(periscope),
            &mut self.scratch,
        ))
    }

    /// The program behind the pipe has ended; `closed`: nothing will come out of the pipe any more.
    pub(crate) fn finish(&mut self, pipe: BorrowedFd<'_>, closed: bool) {
        let Ok(inode) = pipe::inode(pipe) else { return };
        if let Some(at) = self.heads.iter().position(|head| head.inode == inode) {
            self.heads[at].inspector.finish();
            if closed {
                self.heads.swap_remove(at);
            }
        }
    }
}

impl fmt::Debug for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspection")
            .field("pipes", &self.heads.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_cut_to_what_there_is() {
        use Verdict::{Drop, Keep, Wait};
        type Case = (Verdict, bool, Option<(bool, usize)>);
        let table: [Case; 8] = [
            (Keep(3), false, Some((true, 3))),
            (Keep(0), false, Some((true, 1))),
            (Keep(usize::MAX), true, Some((true, 5))),
            (Drop(5), false, Some((false, 5))),
            (Drop(0), true, Some((false, 1))),
            (Drop(6), false, Some((false, 5))),
            (Wait, false, None),
            (Wait, true, Some((true, 5))),
        ];
        for (verdict, last, expected) in table {
            let run = verdict.run(5, last).map(|run| (run.keep, run.left));
            assert_eq!(run, expected, "{verdict:?}, last: {last}");
        }
    }
}
