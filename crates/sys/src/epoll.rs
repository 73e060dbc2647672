//! Waiting for many descriptors at once, and being woken by another thread.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};

use crate::call::{retry, whole_millis};

/// What to wait for on a descriptor. Errors and hang-ups are always reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    /// Report when there is something to read.
    pub readable: bool,
    /// Report when there is room to write.
    pub writable: bool,
    /// Report a change once instead of reporting the state at every wait.
    pub edge: bool,
}

impl Interest {
    /// Reported at every wait while there is something to read.
    pub const READ: Self = Self {
        readable: true,
        writable: false,
        edge: false,
    };
    /// Reported at every wait while there is room to write.
    pub const WRITE: Self = Self {
        readable: false,
        writable: true,
        edge: false,
    };
    /// Reported once each time something new can be read; right for adopted processes, see
    /// [`Child::try_wait`](crate::Child::try_wait).
    pub const READ_EDGE: Self = Self {
        readable: true,
        writable: false,
        edge: true,
    };
    /// Only errors and hang-ups: a source that is paused but not forgotten.
    pub const NONE: Self = Self {
        readable: false,
        writable: false,
        edge: false,
    };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.readable);
        flags.set(EventFlags::OUT, self.writable);
        flags.set(EventFlags::ET, self.edge);
        flags
    }
}

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The token the descriptor was added with.
    pub token: u64,
    /// There is something to read, or the end of the input.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
    /// The other end is gone. What is left in a pipe can still be read.
    pub hangup: bool,
    /// The descriptor is in error; for the write end of a pipe: nobody reads it.
    pub error: bool,
}

/// The buffer that a wait fills. Made once and used again, so that a wait allocates nothing.
pub struct Events {
    buffer: Box<[MaybeUninit<epoll::Event>]>,
    filled: Vec<Event>,
}

impl Events {
    /// Room for `capacity` events at a time (at least one); more than that come with the next wait.
    pub fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            buffer: Box::new_uninit_slice(capacity),
            filled: Vec::with_capacity(capacity),
        }
    }

    /// The events of the last wait.
    pub fn iter(&self) -> std::slice::Iter<'_, Event> {
        self.filled.iter()
    }

    /// How many events the last wait ended with.
    pub fn len(&self) -> usize {
        self.filled.len()
    }

    /// Whether the last wait ended without an event.
    pub fn is_empty(&self) -> bool {
        self.filled.is_empty()
    }
}

impl<'a> IntoIterator for &'a Events {
    type Item = &'a Event;
    type IntoIter = std::slice::Iter<'a, Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self).finish()
    }
}

/// A set of descriptors to wait for (epoll(7)).
///
/// The set does not own what is added. A descriptor leaves it when its last copy is closed, in
/// *any* process: always [`delete`](Self::delete) before closing one that a child may hold too.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            fd: epoll::create(CreateFlags::CLOEXEC)?,
        })
    }

    /// Adds a descriptor; its events carry `token`. Regular files answer `EPERM`: they are always
    /// ready.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(
            &self.fd,
            fd,
            EventData::new_u64(token),
            interest.flags(),
        )?)
    }

    /// Changes what a descriptor in the set is watched for, and its token.
    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(
            &self.fd,
            fd,
            EventData::new_u64(token),
            interest.flags(),
        )?)
    }

    /// Takes a descriptor out.
    pub fn delete(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.fd, fd)?)
    }

    /// Waits until something happens or the time is over (`None` waits for ever), and fills
    /// `events`.
    ///
    /// The time is rounded up to whole milliseconds. A signal that interrupts the wait ends it
    /// without events.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.filled.clear();
        let timeout = timeout.map(whole_millis);
        let (ready, _) = match epoll::wait(&self.fd, &mut events.buffer[..], timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            other => other?,
        };
        events.filled.extend(ready.iter().map(|event| {
            // Copied out first: the kernel's structure is packed.
            let (flags, data) = (event.flags, event.data);
            Event {
                token: data.u64(),
                readable: flags.contains(EventFlags::IN),
                writable: flags.contains(EventFlags::OUT),
                hangup: flags.contains(EventFlags::HUP),
                error: flags.contains(EventFlags::ERR),
            }
        }));
        Ok(())
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Wakes a thread that waits in an [`Epoll`] (eventfd(2)). Share it by reference or `Arc`.
#[derive(Debug)]
pub struct Wake {
    fd: OwnedFd,
}

impl Wake {
    /// A handle that has not been rung.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Makes the descriptor readable. Many calls before a [`drain`](Self::drain) count as one.
    pub fn wake(&self) -> io::Result<()> {
        match retry(|| Ok(rustix::io::write(&self.fd, &1_u64.to_ne_bytes())?)) {
            // The counter is full, so the other side has not looked yet and will: the aim is met.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            other => other.map(drop),
        }
    }

    /// Makes the descriptor unreadable again; `true` if it had been rung. Drain first, look at the
    /// queue then: the other way round loses a wake-up.
    pub fn drain(&self) -> io::Result<bool> {
        match retry(|| Ok(rustix::io::read(&self.fd, &mut [0_u8; 8])?)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            other => other.map(|_| true),
        }
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_is_seen_once_and_many_count_as_one() {
        let (epoll, wake, mut events) = (
            Epoll::new().unwrap(),
            Wake::new().unwrap(),
            Events::with_capacity(0),
        );
        epoll.add(&wake, u64::MAX, Interest::READ).unwrap();
        epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
        std::thread::scope(|scope| {
            scope.spawn(|| (0..3).for_each(|_| wake.wake().unwrap()));
            epoll.wait(&mut events, None).unwrap();
        });
        let want = Event {
            token: u64::MAX,
            readable: true,
            writable: false,
            hangup: false,
            error: false,
        };
        assert_eq!(events.iter().copied().collect::<Vec<_>>(), [want]);
        assert!(wake.drain().unwrap());
        assert!(!wake.drain().unwrap());
        epoll
            .wait(&mut events, Some(Duration::from_nanos(1)))
            .unwrap();
        assert!(events.is_empty());
    }

    #[test]
    fn more_events_than_room_come_with_the_next_wait() {
        let (epoll, mut events) = (Epoll::new().unwrap(), Events::with_capacity(2));
        let wakes: Vec<Wake> = (0..5).map(|_| Wake::new().unwrap()).collect();
        for (token, wake) in (0..).zip(&wakes) {
            epoll.add(wake, token, Interest::READ_EDGE).unwrap();
            wake.wake().unwrap();
        }
        let mut seen = Vec::new();
        while seen.len() < 5 {
            epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
            assert!((1..=2).contains(&events.iter().len()), "after {seen:?}");
            seen.extend(events.iter().map(|event| event.token));
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty(), "an edge is told once");
    }

    #[test]
    fn a_paused_source_is_silent_until_it_is_asked_again() {
        let (epoll, mut events) = (Epoll::new().unwrap(), Events::with_capacity(4));
        let wake = Wake::new().unwrap();
        wake.wake().unwrap();
        epoll.add(&wake, 1, Interest::NONE).unwrap();
        epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
        epoll.modify(&wake, 2, Interest::READ).unwrap();
        epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(
            events.iter().map(|event| event.token).collect::<Vec<_>>(),
            [2]
        );
        epoll.delete(&wake).unwrap();
        epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
    }
}
