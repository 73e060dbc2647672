//! What a notification can be about, and sets of that.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use crate::machine::Phase;

/// What a notification is about. Names that only stand for several kinds are no kind: they are
/// names of a [`Mask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A process entered STOPPED.
    ProcessStateStopped = 0,
    /// A process entered EXITED.
    ProcessStateExited = 1,
    /// A process entered STARTING.
    ProcessStateStarting = 2,
    /// A process entered STOPPING.
    ProcessStateStopping = 3,
    /// A process entered BACKOFF.
    ProcessStateBackoff = 4,
    /// A process entered FATAL.
    ProcessStateFatal = 5,
    /// A process entered RUNNING.
    ProcessStateRunning = 6,
    /// A process entered UNKNOWN.
    ProcessStateUnknown = 7,
    /// A process wrote between the capture tokens on its stdout.
    ProcessCommunicationStdout = 8,
    /// A process wrote between the capture tokens on its stderr.
    ProcessCommunicationStderr = 9,
    /// A process wrote to its stdout.
    ProcessLogStdout = 10,
    /// A process wrote to its stderr.
    ProcessLogStderr = 11,
    /// A client called `sendRemoteCommEvent`.
    RemoteCommunication = 12,
    /// The daemon has started.
    SupervisorStateChangeRunning = 13,
    /// The daemon begins to stop.
    SupervisorStateChangeStopping = 14,
    /// Five seconds of the wall clock are over.
    Tick5 = 15,
    /// A minute of the wall clock is over.
    Tick60 = 16,
    /// An hour of the wall clock is over.
    Tick3600 = 17,
    /// A group was added.
    ProcessGroupAdded = 18,
    /// A group was removed.
    ProcessGroupRemoved = 19,
}

impl Kind {
    /// Every kind, in the order of their numbers, which are those of a [`crate::events::InFlight`]
    /// on disk.
    pub const ALL: [Self; 20] = [
        Self::ProcessStateStopped,
        Self::ProcessStateExited,
        Self::ProcessStateStarting,
        Self::ProcessStateStopping,
        Self::ProcessStateBackoff,
        Self::ProcessStateFatal,
        Self::ProcessStateRunning,
        Self::ProcessStateUnknown,
        Self::ProcessCommunicationStdout,
        Self::ProcessCommunicationStderr,
        Self::ProcessLogStdout,
        Self::ProcessLogStderr,
        Self::RemoteCommunication,
        Self::SupervisorStateChangeRunning,
        Self::SupervisorStateChangeStopping,
        Self::Tick5,
        Self::Tick60,
        Self::Tick3600,
        Self::ProcessGroupAdded,
        Self::ProcessGroupRemoved,
    ];

    /// supervisord's name, as in `eventname:` of the header.
    pub fn name(self) -> &'static str {
        match self {
            Self::ProcessStateStopped => "PROCESS_STATE_STOPPED",
            Self::ProcessStateExited => "PROCESS_STATE_EXITED",
            Self::ProcessStateStarting => "PROCESS_STATE_STARTING",
            Self::ProcessStateStopping => "PROCESS_STATE_STOPPING",
            Self::ProcessStateBackoff => "PROCESS_STATE_BACKOFF",
            Self::ProcessStateFatal => "PROCESS_STATE_FATAL",
            Self::ProcessStateRunning => "PROCESS_STATE_RUNNING",
            Self::ProcessStateUnknown => "PROCESS_STATE_UNKNOWN",
            Self::ProcessCommunicationStdout => "PROCESS_COMMUNICATION_STDOUT",
            Self::ProcessCommunicationStderr => "PROCESS_COMMUNICATION_STDERR",
            Self::ProcessLogStdout => "PROCESS_LOG_STDOUT",
            Self::ProcessLogStderr => "PROCESS_LOG_STDERR",
            Self::RemoteCommunication => "REMOTE_COMMUNICATION",
            Self::SupervisorStateChangeRunning => "SUPERVISOR_STATE_CHANGE_RUNNING",
            Self::SupervisorStateChangeStopping => "SUPERVISOR_STATE_CHANGE_STOPPING",
            Self::Tick5 => "TICK_5",
            Self::Tick60 => "TICK_60",
            Self::Tick3600 => "TICK_3600",
            Self::ProcessGroupAdded => "PROCESS_GROUP_ADDED",
            Self::ProcessGroupRemoved => "PROCESS_GROUP_REMOVED",
        }
    }

    /// The name that stands for this kind and its siblings, as in `PROCESS_STATE`. `None` for
    /// the one kind that has no other above it than `EVENT`.
    pub fn parent(self) -> Option<&'static str> {
        FAMILIES
            .iter()
            .find(|(_, mask)| *mask != Mask::ALL && mask.contains(self))
            .map(|(name, _)| *name)
    }

    /// The kind that tells of a process which entered `phase`.
    pub fn of_phase(phase: Phase) -> Self {
        match phase {
            Phase::Stopped => Self::ProcessStateStopped,
            Phase::Starting => Self::ProcessStateStarting,
            Phase::Running => Self::ProcessStateRunning,
            Phase::Backoff => Self::ProcessStateBackoff,
            Phase::Stopping => Self::ProcessStateStopping,
            Phase::Exited => Self::ProcessStateExited,
            Phase::Fatal => Self::ProcessStateFatal,
            Phase::Unknown => Self::ProcessStateUnknown,
        }
    }

    /// The kind with this number, see [`Kind::ALL`].
    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of kinds of notifications.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Mask(u32);

/// The names that stand for several kinds.
const FAMILIES: [(&str, Mask); 7] = [
    ("EVENT", Mask::ALL),
    ("PROCESS_STATE", Mask(0xff)),
    ("PROCESS_COMMUNICATION", Mask(0b11 << 8)),
    ("PROCESS_LOG", Mask(0b11 << 10)),
    ("SUPERVISOR_STATE_CHANGE", Mask(0b11 << 13)),
    ("TICK", Mask(0b111 << 15)),
    ("PROCESS_GROUP", Mask(0b11 << 18)),
];

impl Mask {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Every kind: `EVENT`.
    pub const ALL: Self = Self((1 << Kind::ALL.len()) - 1);
    /// Every kind that tells of the phase of a process: `PROCESS_STATE`.
    pub const PROCESS_STATE: Self = FAMILIES[1].1;
    /// Output of processes: `PROCESS_LOG`.
    pub const PROCESS_LOG: Self = FAMILIES[3].1;
    /// The ticks: `TICK`.
    pub const TICK: Self = FAMILIES[5].1;

    /// The set that `name` stands for in `events=`, given in capitals; `None` if supervisord has
    /// no such name.
    pub fn from_name(name: &str) -> Option<Self> {
        let family = FAMILIES.iter().find(|(known, _)| *known == name);
        let kind = || Kind::ALL.into_iter().find(|kind| kind.name() == name);
        family
            .map(|(_, mask)| *mask)
            .or_else(|| kind().map(Self::from))
    }

    /// Every name that [`Mask::from_name`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let families = FAMILIES.iter().map(|(name, _)| *name);
        families.chain(Kind::ALL.into_iter().map(Kind::name))
    }

    /// Whether the kind is in the set.
    pub fn contains(self, kind: Kind) -> bool {
        self.0 & Self::from(kind).0 != 0
    }

    /// Whether a kind is in both sets.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether no kind is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds in the set.
    pub fn kinds(self) -> impl Iterator<Item = Kind> {
        Kind::ALL
            .into_iter()
            .filter(move |kind| self.contains(*kind))
    }
}

impl From<Kind> for Mask {
    fn from(kind: Kind) -> Self {
        Self(1 << kind as u8)
    }
}

impl BitOr for Mask {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Mask {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl FromIterator<Self> for Mask {
    fn from_iter<I: IntoIterator<Item = Self>>(masks: I) -> Self {
        masks.into_iter().fold(Self::NONE, BitOr::bitor)
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kinds()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places() {
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
            assert_eq!(Kind::from_number(kind as u8), Some(kind));
        }
        assert_eq!(Kind::from_number(20), None);
        assert_eq!(Kind::from_number(255), None);
    }

    #[test]
    fn names_stand_for_what_begins_with_them() {
        for (family, mask) in FAMILIES.into_iter().skip(1) {
            for kind in Kind::ALL {
                let of_family = kind.name().starts_with(family);
                assert_eq!(mask.contains(kind), of_family, "{family} {kind}");
                assert_eq!(kind.parent() == Some(family), of_family, "{family} {kind}");
            }
        }
        assert_eq!(Kind::RemoteCommunication.parent(), None);
        assert!(Kind::ALL.into_iter().all(|kind| Mask::ALL.contains(kind)));
        assert_eq!(Mask::ALL.kinds().count(), 20);
    }

    #[test]
    fn names_and_masks() {
        assert_eq!(Mask::names().count(), 27);
        for name in Mask::names() {
            assert!(!Mask::from_name(name).unwrap().is_empty(), "{name}");
        }
        for unknown in ["", "event", "TICK_", "TICK_10", "EVENT ", "Tick"] {
            assert_eq!(Mask::from_name(unknown), None, "{unknown}");
        }
        for phase in Phase::ALL {
            let name = format!("PROCESS_STATE_{phase}");
            assert_eq!(Kind::of_phase(phase).name(), name);
        }
    }

    #[test]
    fn sets() {
        let both = Mask::from(Kind::Tick5) | Mask::from(Kind::ProcessLogStderr);
        assert!(both.contains(Kind::Tick5) && both.contains(Kind::ProcessLogStderr));
        assert!(!both.contains(Kind::Tick60));
        assert!(both.intersects(Mask::TICK) && !both.intersects(Mask::PROCESS_STATE));
        assert!(Mask::NONE.is_empty() && Mask::default().is_empty() && !both.is_empty());
        let all: Mask = Kind::ALL.into_iter().map(Mask::from).collect();
        assert_eq!(all, Mask::ALL);
        assert_eq!(format!("{both:?}"), "{ProcessLogStderr, Tick5}");
    }
}
