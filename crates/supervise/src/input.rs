//! The standard input of a process: a pipe, and what does not fit into it yet.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mainstay_sys::Errno;

/// How much may wait for a process that does not read.
const MOST_WAITING: usize = 4 << 20;

/// The writing end of a process's input.
#[derive(Debug)]
pub(crate) struct Input {
    fd: OwnedFd,
    waiting: VecDeque<u8>,
    /// Its token in the epoll set, while it is there: only as long as something waits.
    pub(crate) token: Option<u64>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Everything is in the pipe.
    All,
    /// A rest waits for room.
    Waits,
    /// Nobody has the other end open any more.
    Closed,
    /// Too much waits already: nothing was taken.
    Full,
}

impl Input {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            waiting: VecDeque::new(),
            token: None,
        }
    }

    /// Takes all of `data`, or nothing.
    pub(crate) fn send(&mut self, data: &[u8]) -> Sent {
        if self.waiting.len().saturating_add(data.len()) > MOST_WAITING {
            return Sent::Full;
        }
        self.waiting.extend(data);
        self.flush()
    }

    /// Writes what waits, as far as there is room.
    pub(crate) fn flush(&mut self) -> Sent {
        while !self.waiting.is_empty() {
            let (head, _) = self.waiting.as_slices();
            match rustix::io::write(&self.fd, head) {
                Ok(bytes) => {
                    self.waiting.drain(..bytes);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Sent::Waits,
                Err(_) => {
                    self.waiting = VecDeque::new();
                    return Sent::Closed;
                }
            }
        }
        // A large event must not keep its room for ever.
        self.waiting.shrink_to(4096);
        Sent::All
    }

    /// How many bytes were not written yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes out what was not written yet.
    pub(crate) fn take_waiting(&mut self) -> VecDeque<u8> {
        std::mem::take(&mut self.waiting)
    }

    /// Gives the descriptor away, and what was not written is lost.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Input {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use mainstay_sys::pipe;

    use super::*;

    #[test]
    fn what_does_not_fit_waits_in_order() {
        let (writer, reader) = pipe::input_pipe().unwrap();
        let mut input = Input::new(writer);
        assert_eq!(input.send(b"small\n"), Sent::All);
        let large: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        assert_eq!(input.send(&large), Sent::Waits);
        assert_eq!(input.send(&vec![0; MOST_WAITING]), Sent::Full);
        let mut reader = std::fs::File::from(reader);
        let mut got = vec![0; 6 + large.len()];
        let mut at = 0;
        while at < got.len() {
            at += reader.read(&mut got[at..]).unwrap();
            let _ = input.flush();
        }
        assert_eq!(&got[..6], b"small\n");
        assert_eq!(&got[6..], &large);
    }

    #[test]
    fn a_closed_end_is_told() {
        let (writer, reader) = pipe::input_pipe().unwrap();
        let mut input = Input::new(writer);
        drop(reader);
        assert_eq!(input.send(b"x"), Sent::Closed);
    }
}
