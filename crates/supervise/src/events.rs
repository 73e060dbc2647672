//! Notifications to event listeners, as supervisord has them (spec `supervisord.md`, 1.7).

/// A set of kinds of notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mask(u32);
