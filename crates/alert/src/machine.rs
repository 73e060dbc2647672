//! The deciding part, pure: what becomes of each alert that is raised. Time comes in as a value.
//!
//! A kind of alert is *pending* from its first moment until its group's wait is over, then *firing*,
//! and *resolved* until that is told. Every alert that is raised ends in exactly one place: told in a
//! message, silenced, inhibited, or still waiting. [`Counts`] says how many are where.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::alert::{Alert, Key, Scope};
use crate::message::{ENTRIES, Entry, Message, Purpose, Rest, Standing};
use crate::policy::{GroupBy, Matcher, Policy};
use crate::severity::Severity;

/// A promise not to be told of some alerts for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Its number.
    pub id: i64,
    /// Which alerts.
    pub matcher: Matcher,
    /// When it was made.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// Who asked for it.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// Where all alerts that were ever raised are now, in numbers of alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Raised since the state was begun.
    pub raised: u64,
    /// Told in a message.
    pub told: u64,
    /// Kept back by a silence.
    pub silenced: u64,
    /// Kept back because something wider was broken, or an app was being deployed.
    pub inhibited: u64,
    /// Messages made.
    pub messages: u64,
}

/// How a kind of alert stands, for a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Raised and not told yet.
    Pending,
    /// Told, and it lasts or may happen again.
    Firing,
    /// Kept back; by what is in words.
    Muted,
    /// Over, and that is not told yet.
    Resolved,
}

impl State {
    /// `pending`, `firing`, `muted` or `resolved`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Muted => "muted",
            Self::Resolved => "resolved",
        }
    }
}

/// One kind of alert, for a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub key: Key,
    /// The gravest it was.
    pub severity: Severity,
    /// What happened.
    pub title: String,
    /// The host; empty for this one.
    pub host: String,
    /// How it stands.
    pub state: State,
    /// What keeps it back.
    pub muted_by: Option<String>,
    /// When it began.
    pub since: Timestamp,
    /// When it happened last.
    pub last: Timestamp,
    /// How often since it began.
    pub total: u64,
    /// How many of these are in no message yet.
    pub waiting: u64,
}

/// Why something is not told now.
enum Mute {
    Silenced(String),
    Inhibited(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kind {
    alert: Alert,
    severity: Severity,
    since: Timestamp,
    last: Timestamp,
    total: u64,
    fresh: u64,
    muted: u64,
    resolved: Option<Timestamp>,
    /// The gravest severity that was told, and when it was told last.
    told: Option<(Severity, Timestamp)>,
    /// It lasts and was kept back: when nothing keeps it back any more, it is told.
    owed: bool,
    /// When it was looked at last, with something to tell.
    flushed: Option<Timestamp>,
}

impl Kind {
    fn new(alert: &Alert, at: Timestamp) -> Self {
        Self {
            severity: alert.severity,
            since: alert.since.unwrap_or(at),
            last: at,
            total: 0,
            fresh: 0,
            muted: 0,
            resolved: None,
            told: None,
            owed: false,
            flushed: None,
            alert: alert.clone(),
        }
    }

    fn firing(&self) -> bool {
        self.alert.lasting && self.resolved.is_none()
    }

    /// No moment of its past lies after `now`: the clock was set back, and what is counted from such
    /// a moment would wait for as long.
    fn not_after(&mut self, now: Timestamp) {
        self.since = self.since.min(now);
        self.last = self.last.min(now);
        self.resolved = self.resolved.map(|at| at.min(now));
        self.told = self.told.map(|(severity, at)| (severity, at.min(now)));
        self.flushed = self.flushed.map(|at| at.min(now));
    }

    fn entry(&self, standing: Standing) -> Entry {
        let alert = self.alert.clone();
        Entry {
            key: alert.key,
            severity: self.severity,
            title: alert.title,
            body: alert.body,
            host: alert.host,
            standing,
            lasting: alert.lasting,
            since: self.since,
            last: self.resolved.unwrap_or(self.last),
            fresh: self.fresh,
            total: self.total,
            muted: self.muted,
            labels: alert.labels,
            links: alert.links,
            context: alert.context,
            command: alert.command,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    kinds: Vec<Kind>,
    due: Option<Timestamp>,
    sent: Option<Timestamp>,
}

/// Entries that wait to be told together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Pile {
    entries: Vec<Entry>,
    rest: Option<Rest>,
}

impl Pile {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.rest.is_none()
    }

    fn count(&self) -> u64 {
        self.entries
            .iter()
            .map(|entry| entry.fresh)
            .chain(self.rest.iter().map(|rest| rest.count))
            .sum()
    }

    fn severity(&self) -> Severity {
        self.entries
            .iter()
            .map(|entry| entry.severity)
            .chain(self.rest.iter().map(|rest| rest.severity))
            .max()
            .unwrap_or(Severity::Info)
    }

    fn add(&mut self, entry: Entry, most: usize) {
        let entry = entry.brief();
        let room = self.entries.len() < most;
        match self.entries.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => known.absorb(entry),
            None if room => self.entries.push(entry),
            None => sum(&mut self.rest, &entry),
        }
    }

    /// All of it, gravest first; what a message does not list is summed.
    fn take(&mut self) -> (Vec<Entry>, Option<Rest>) {
        let mut entries = std::mem::take(&mut self.entries);
        let mut rest = self.rest.take();
        sort(&mut entries);
        for entry in entries.split_off(entries.len().min(ENTRIES)) {
            sum(&mut rest, &entry);
        }
        (entries, rest)
    }
}

fn sum(rest: &mut Option<Rest>, entry: &Entry) {
    let rest = rest.get_or_insert(Rest {
        count: 0,
        kinds: 0,
        severity: entry.severity,
        since: entry.since,
    });
    rest.count = rest.count.saturating_add(entry.fresh);
    rest.kinds += 1;
    rest.severity = rest.severity.max(entry.severity);
    rest.since = rest.since.min(entry.since);
}

fn sort(entries: &mut [Entry]) {
    entries.sort_by(|a, b| {
        (a.standing == Standing::Resolved)
            .cmp(&(b.standing == Standing::Resolved))
            .then(b.severity.cmp(&a.severity))
            .then(b.fresh.cmp(&a.fresh))
            .then(a.key.cmp(&b.key))
    });
}

/// An app that is being deployed, and until when that excuses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Excuse {
    until: Timestamp,
    reason: String,
}

/// What is small and kept as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Core {
    salt: String,
    counts: Counts,
    sent: VecDeque<Timestamp>,
    excuses: BTreeMap<String, Excuse>,
    digest_due: Option<Timestamp>,
    next_silence: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piles {
    held: Pile,
    digest: Pile,
}

/// What is on disk of a machine.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) core: Core,
    pub(crate) piles: Piles,
    pub(crate) groups: Vec<Group>,
    pub(crate) silences: Vec<Silence>,
}

/// What has changed since it was asked last.
pub(crate) struct Changes<'m> {
    pub(crate) core: &'m Core,
    pub(crate) piles: Option<&'m Piles>,
    pub(crate) groups: Vec<(&'m str, Option<&'m Group>)>,
    pub(crate) silences: Option<&'m [Silence]>,
}

/// The state of all alerts.
#[derive(Debug)]
pub struct Machine {
    policy: Policy,
    host: String,
    core: Core,
    piles: Piles,
    groups: BTreeMap<String, Group>,
    silences: Vec<Silence>,
    dirty: BTreeSet<String>,
    piles_dirty: bool,
    silences_dirty: bool,
}

/// `at` and so much later, at most the end of time.
fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| at.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

impl Machine {
    /// A machine that knows of nothing yet. `salt` makes the ids of its messages unique.
    pub fn new(policy: Policy, host: impl Into<String>, salt: impl Into<String>) -> Self {
        let core = Core {
            salt: salt.into(),
            ..Core::default()
        };
        let stored = Stored {
            core,
            ..Stored::default()
        };
        Self::from_stored(policy, host, stored, Timestamp::MAX)
    }

    /// A machine that goes on from what is stored. Moments that lie further ahead than any wait is
    /// long are brought near: the clock was set back.
    pub(crate) fn from_stored(
        policy: Policy,
        host: impl Into<String>,
        stored: Stored,
        now: Timestamp,
    ) -> Self {
        let longest = later(now, policy.repeat.max(policy.forget).max(policy.interval));
        let mut machine = Self {
            policy,
            host: host.into(),
            core: stored.core,
            piles: stored.piles,
            groups: BTreeMap::new(),
            silences: stored.silences,
            dirty: BTreeSet::new(),
            piles_dirty: false,
            silences_dirty: false,
        };
        machine.core.sent.retain(|sent| *sent <= now);
        for group in stored.groups {
            for mut kind in group.kinds {
                kind.not_after(now);
                // The config may group otherwise than it did.
                let name = machine.group_of(&kind.alert, kind.severity);
                let into = machine.groups.entry(name).or_default();
                into.kinds.push(kind);
                into.due = into.due.into_iter().chain(group.due).min();
                into.due = into.due.map(|due| due.min(longest));
                into.sent = into.sent.into_iter().chain(group.sent).max();
                into.sent = into.sent.map(|sent| sent.min(now));
            }
        }
        if machine.core.digest_due.is_some_and(|due| due > now) {
            machine.core.digest_due = None;
        }
        machine.plan_digest(now);
        machine
    }

    /// Gives a machine that has never had one what makes its ids unique.
    pub(crate) fn salted(&mut self, salt: impl FnOnce() -> String) {
        if self.core.salt.is_empty() {
            self.core.salt = salt();
        }
    }

    /// Where all alerts are.
    pub fn counts(&self) -> Counts {
        self.core.counts
    }

    /// How many alerts wait to be told: in groups, held back by the limit, or for the digest.
    pub fn waiting(&self) -> u64 {
        let in_groups: u64 = self
            .groups
            .values()
            .flat_map(|group| &group.kinds)
            .map(|kind| kind.fresh)
            .sum();
        in_groups + self.piles.held.count() + self.piles.digest.count()
    }

    fn group_of(&self, alert: &Alert, severity: Severity) -> String {
        if alert.not_via.is_some() {
            return format!("\u{1}{}", alert.key);
        }
        self.policy
            .group_by
            .iter()
            .map(|by| match by {
                GroupBy::App => alert.key.app.as_str(),
                GroupBy::Fingerprint => alert.key.fingerprint.as_str(),
                GroupBy::Severity => severity.name(),
                GroupBy::Host => alert.host.as_str(),
            })
            .collect::<Vec<_>>()
            .join("\u{1f}")
    }

    fn find(&self, key: &Key) -> Option<(String, usize)> {
        self.groups.iter().find_map(|(name, group)| {
            let at = group.kinds.iter().position(|kind| kind.alert.key == *key)?;
            Some((name.clone(), at))
        })
    }

    /// Takes an alert that was raised at `at`.
    pub fn raise(&mut self, alert: Alert, at: Timestamp) {
        let mut alert = alert.trimmed();
        let count = alert.count;
        self.core.counts.raised = self.core.counts.raised.saturating_add(count);
        // The usual grouping names the group, which spares the search through all of them.
        let usual = self.group_of(&alert, alert.severity);
        let known = self
            .groups
            .get(&usual)
            .and_then(|group| {
                group
                    .kinds
                    .iter()
                    .position(|kind| kind.alert.key == alert.key)
            })
            .map(|index| (usual.clone(), index))
            .or_else(|| self.find(&alert.key));
        let (name, index) = if let Some(known) = known {
            known
        } else {
            let kinds: usize = self.groups.values().map(|group| group.kinds.len()).sum();
            let name = if kinds >= self.policy.kinds.max(1) {
                alert = overflow(&alert);
                self.group_of(&alert, alert.severity)
            } else {
                usual
            };
            let group = self.groups.entry(name.clone()).or_default();
            let known = group.kinds.iter().position(|k| k.alert.key == alert.key);
            let index = known.unwrap_or(group.kinds.len());
            if known.is_none() {
                group.kinds.push(Kind::new(&alert, at));
            }
            (name, index)
        };
        let policy = &self.policy;
        let Some(group) = self.groups.get_mut(&name) else {
            return;
        };
        let Some(kind) = group.kinds.get_mut(index) else {
            return;
        };
        kind.severity = kind.severity.max(alert.severity);
        kind.last = kind.last.max(at);
        kind.total = kind.total.saturating_add(count);
        kind.fresh = kind.fresh.saturating_add(count);
        kind.resolved = None;
        // The first of those that are not told yet speaks for them; one without context does not
        // take the place of one with it.
        if kind.fresh == count && (!alert.context.is_empty() || kind.alert.context.is_empty()) {
            kind.alert = alert;
        }
        let escalates = kind.told.is_some_and(|(told, _)| kind.severity > told);
        let wait = if kind.alert.not_via.is_some() {
            Duration::ZERO
        } else {
            policy.wait
        };
        let soonest = later(at, wait);
        let due = match group.sent {
            Some(sent) if !escalates => soonest.max(later(sent, policy.interval)),
            _ => soonest,
        };
        group.due = Some(group.due.map_or(due, |known| known.min(due)));
        self.dirty.insert(name);
    }

    /// Takes that the alert of this key is over since `at`. One that nobody raised is ignored.
    pub fn resolve(&mut self, key: &Key, at: Timestamp) {
        let Some((name, index)) = self.find(key) else {
            return;
        };
        let interval = self.policy.interval;
        let wait = self.policy.wait;
        let mut wider = false;
        if let Some(group) = self.groups.get_mut(&name)
            && let Some(kind) = group.kinds.get_mut(index)
            && kind.resolved.is_none()
        {
            kind.resolved = Some(at);
            wider = kind.alert.scope > Scope::App;
            let urgent = kind.alert.not_via.is_some();
            let due = match group.sent {
                Some(sent) if !urgent => at.max(later(sent, interval)),
                _ if urgent => at,
                _ => later(at, wait),
            };
            group.due = Some(group.due.map_or(due, |known| known.min(due)));
        }
        self.dirty.insert(name);
        if wider {
            self.wake_owed(at);
        }
    }

    /// Silences alerts; gives the number of the silence. It must be for something and end after
    /// `now`: whoever asks says so in words before.
    pub fn silence(&mut self, mut silence: Silence) -> i64 {
        self.core.next_silence += 1;
        silence.id = self.core.next_silence;
        let id = silence.id;
        self.silences.push(silence);
        self.silences_dirty = true;
        id
    }

    /// Ends a silence; whether there was one of that number.
    pub fn unsilence(&mut self, id: i64, now: Timestamp) -> bool {
        let before = self.silences.len();
        self.silences.retain(|silence| silence.id != id);
        let found = self.silences.len() < before;
        if found {
            self.silences_dirty = true;
            self.wake_owed(now);
        }
        found
    }

    /// Has these silences and no others, with their numbers.
    pub(crate) fn adopt_silences(&mut self, silences: Vec<Silence>, now: Timestamp) {
        if self.silences == silences {
            return;
        }
        let highest = silences.iter().map(|silence| silence.id).max();
        self.core.next_silence = self.core.next_silence.max(highest.unwrap_or(0));
        self.silences = silences;
        self.silences_dirty = true;
        self.wake_owed(now);
    }

    /// The silences that hold.
    pub fn silences(&self) -> &[Silence] {
        &self.silences
    }

    /// While an app is being deployed, alerts about it and its programs are only counted; what still
    /// lasts afterwards is told then. Ends by itself at `until`.
    pub fn excuse(&mut self, app: &str, until: Timestamp, reason: &str) {
        let excuse = Excuse {
            until,
            reason: reason.to_owned(),
        };
        self.core.excuses.insert(app.to_owned(), excuse);
    }

    /// The deploy of an app is over.
    pub fn end_excuse(&mut self, app: &str, now: Timestamp) {
        if self.core.excuses.remove(app).is_some() {
            self.wake_owed(now);
        }
    }

    /// What was kept back and lasts is told soon: something that kept it back has ended.
    fn wake_owed(&mut self, now: Timestamp) {
        let due = later(now, self.policy.wait);
        for (name, group) in &mut self.groups {
            if group.kinds.iter().any(|kind| kind.owed) {
                group.due = Some(group.due.map_or(due, |known| known.min(due)));
                self.dirty.insert(name.clone());
            }
        }
    }

    fn mute_of(&self, kind: &Kind, wider: &[(Scope, String, Key)], now: Timestamp) -> Option<Mute> {
        let silence = self.silences.iter().find(|silence| {
            silence.until > now && silence.matcher.matches(&kind.alert.key, kind.severity)
        });
        if let Some(silence) = silence {
            return Some(Mute::Silenced(format!(
                "silence {} by {}: {}",
                silence.id, silence.author, silence.reason
            )));
        }
        let scope = kind.alert.scope;
        let broken = wider.iter().find(|(above, host, key)| {
            *above > scope
                && *host == kind.alert.host
                && (*above >= Scope::Disk || key.app == kind.alert.key.app)
        });
        if let Some((_, _, key)) = broken {
            return Some(Mute::Inhibited(format!("follows from {key}")));
        }
        let excuse = self.core.excuses.get(&kind.alert.key.app)?;
        (excuse.until > now && scope <= Scope::Service)
            .then(|| Mute::Inhibited(excuse.reason.clone()))
    }

    fn wider(&self) -> Vec<(Scope, String, Key)> {
        self.groups
            .values()
            .flat_map(|group| &group.kinds)
            .filter(|kind| kind.firing() && kind.alert.scope > Scope::App)
            .map(|kind| {
                let alert = &kind.alert;
                (alert.scope, alert.host.clone(), alert.key.clone())
            })
            .collect()
    }

    /// How many messages may be out in the span before one of this severity has to wait.
    fn room(&self, severity: Severity) -> Option<usize> {
        let limit = self.policy.limit?;
        let messages = limit.messages.max(1);
        let kept = if severity == Severity::Critical {
            0
        } else {
            messages / 4
        };
        usize::try_from(messages - kept).ok()
    }

    fn allowed(&self, severity: Severity) -> bool {
        self.room(severity)
            .is_none_or(|room| self.core.sent.len() < room)
    }

    /// When a message of this severity may be sent.
    fn allowed_at(&self, severity: Severity, now: Timestamp) -> Timestamp {
        let (Some(room), Some(limit)) = (self.room(severity), self.policy.limit) else {
            return now;
        };
        self.core
            .sent
            .len()
            .checked_sub(room)
            .and_then(|index| self.core.sent.get(index))
            .map_or(now, |oldest| later(*oldest, limit.per))
    }

    /// The messages that are due at `now`.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Message> {
        self.expire(now);
        let wider = self.wider();
        let due: Vec<String> = self
            .groups
            .iter()
            .filter(|(_, group)| group.due.is_some_and(|due| due <= now))
            .map(|(name, _)| name.clone())
            .collect();
        let mut messages = Vec::new();
        let mut batches: Vec<(Vec<Entry>, Option<String>)> = Vec::new();
        for name in due {
            let Some(group) = self.groups.remove(&name) else {
                continue;
            };
            let (group, entries, not_via) = self.flush(group, &wider, now);
            if !group.kinds.is_empty() {
                self.groups.insert(name.clone(), group);
            }
            self.dirty.insert(name);
            if !entries.is_empty() {
                batches.push((entries, not_via));
            }
        }
        batches.sort_by_key(|(entries, _)| {
            std::cmp::Reverse(entries.iter().map(|entry| entry.severity).max())
        });
        for (mut entries, not_via) in batches {
            sort(&mut entries);
            let severity = entries.iter().map(|e| e.severity).max();
            let severity = severity.unwrap_or(Severity::Info);
            // What is about a channel goes past the limit: there are no more of them than channels.
            let first = self.piles.held.is_empty() || severity == Severity::Critical;
            if not_via.is_some() || first && self.allowed(severity) {
                let mut rest = None;
                for entry in entries.split_off(entries.len().min(ENTRIES)) {
                    sum(&mut rest, &entry);
                }
                messages.push(self.message(Purpose::Alert, entries, rest, not_via, now));
            } else {
                for entry in entries {
                    self.piles.held.add(entry, self.policy.kinds.max(1));
                }
                self.piles_dirty = true;
            }
        }
        if !self.piles.held.is_empty() && self.allowed(self.piles.held.severity()) {
            let (entries, rest) = self.piles.held.take();
            self.piles_dirty = true;
            messages.push(self.message(Purpose::Summary, entries, rest, None, now));
        }
        if self.core.digest_due.is_some_and(|due| due <= now) {
            self.core.digest_due = None;
            if !self.piles.digest.is_empty() {
                let (entries, rest) = self.piles.digest.take();
                self.piles_dirty = true;
                messages.push(self.message(Purpose::Digest, entries, rest, None, now));
            }
        }
        self.plan_digest(now);
        messages
    }

    fn expire(&mut self, now: Timestamp) {
        let before = (self.silences.len(), self.core.excuses.len());
        self.silences.retain(|silence| silence.until > now);
        self.core.excuses.retain(|_, excuse| excuse.until > now);
        self.silences_dirty |= self.silences.len() != before.0;
        if before != (self.silences.len(), self.core.excuses.len()) {
            self.wake_owed(now);
        }
        if let Some(limit) = self.policy.limit {
            while let Some(oldest) = self.core.sent.front()
                && later(*oldest, limit.per) <= now
            {
                self.core.sent.pop_front();
            }
        }
    }

    fn plan_digest(&mut self, now: Timestamp) {
        if self.core.digest_due.is_none() && !self.piles.digest.is_empty() {
            self.core.digest_due = match &self.policy.digest {
                Some(digest) => digest.at.next_after(now),
                None => Some(now),
            };
        }
    }

    /// What a group has to tell, and the group afterwards.
    fn flush(
        &mut self,
        mut group: Group,
        wider: &[(Scope, String, Key)],
        now: Timestamp,
    ) -> (Group, Vec<Entry>, Option<String>) {
        let mut entries = Vec::new();
        let mut not_via = None;
        let mut kinds = Vec::new();
        for mut kind in std::mem::take(&mut group.kinds) {
            not_via = not_via.or_else(|| kind.alert.not_via.clone());
            let mute = self.mute_of(&kind, wider, now);
            let had_something = kind.fresh > 0 || kind.owed;
            if let Some(mute) = &mute {
                let counts = &mut self.core.counts;
                let counted = match mute {
                    Mute::Silenced(_) => &mut counts.silenced,
                    Mute::Inhibited(_) => &mut counts.inhibited,
                };
                *counted = counted.saturating_add(kind.fresh);
                kind.muted = kind.muted.saturating_add(kind.fresh);
                kind.fresh = 0;
                kind.owed = kind.firing();
            }
            let told_before = kind.told.is_some();
            let repeat_due = kind
                .told
                .is_some_and(|(_, at)| later(at, self.policy.repeat) <= now);
            let standing = if kind.resolved.is_some() {
                // Whoever was told that it began is told that it ended, silence or not. What came
                // and went before anyone was told can wait.
                (told_before || (mute.is_none() && had_something)).then_some(Standing::Resolved)
            } else if mute.is_some() {
                None
            } else if had_something {
                Some(if told_before {
                    Standing::Again
                } else {
                    Standing::New
                })
            } else if kind.firing() && repeat_due {
                Some(Standing::Still)
            } else {
                None
            };
            if had_something {
                kind.flushed = Some(now);
                group.sent = Some(now);
            }
            if let Some(standing) = standing {
                let entry = kind.entry(standing);
                kind.fresh = 0;
                kind.owed = false;
                kind.told = Some((kind.severity, now));
                group.sent = Some(now);
                let can_wait = self.policy.digest.as_ref().is_some_and(|digest| {
                    kind.severity < digest.below || (standing == Standing::Resolved && !told_before)
                });
                if can_wait {
                    self.piles.digest.add(entry, self.policy.kinds.max(1));
                    self.piles_dirty = true;
                } else {
                    entries.push(entry);
                }
            }
            let over = kind.resolved.is_some()
                || (!kind.alert.lasting && self.forget_at(&kind).is_none_or(|at| at <= now));
            if !over {
                kinds.push(kind);
            }
        }
        group.kinds = kinds;
        group.due = group
            .kinds
            .iter()
            .filter_map(|kind| {
                if kind.alert.lasting {
                    // What is kept back is looked at when that ends.
                    let told = kind.told.filter(|_| !kind.owed);
                    Some(later(told.map_or(now, |(_, at)| at), self.policy.repeat))
                } else {
                    self.forget_at(kind)
                }
            })
            .min();
        (group, entries, not_via)
    }

    /// When an event that does not happen again is forgotten.
    fn forget_at(&self, kind: &Kind) -> Option<Timestamp> {
        let span = self.policy.forget.max(self.policy.interval);
        kind.flushed.map(|at| later(at, span))
    }

    fn message(
        &mut self,
        purpose: Purpose,
        entries: Vec<Entry>,
        rest: Option<Rest>,
        not_via: Option<String>,
        now: Timestamp,
    ) -> Message {
        let counts = &mut self.core.counts;
        counts.messages += 1;
        let mut message = Message {
            id: format!("{}.{}", self.core.salt, counts.messages),
            at: now,
            purpose,
            host: self.host.clone(),
            entries,
            rest,
            notes: Vec::new(),
            not_via,
        };
        counts.told = counts.told.saturating_add(message.fresh());
        if message.not_via.is_none() {
            self.core.sent.push_back(now);
        }
        if let Some(limit) = self.policy.limit
            && !self.allowed(Severity::Error)
            && message.not_via.is_none()
        {
            let until = crate::text::utc(self.allowed_at(Severity::Error, now));
            let what = match limit.messages / 4 {
                0 => "everything".to_owned(),
                kept => format!("all but {kept} critical messages"),
            };
            message.notes.push(format!(
                "The limit of {} messages per {} is reached: until {until} {what} is counted and told together.",
                limit.messages,
                mainstay_base::format_duration(limit.per),
            ));
        }
        message
    }

    /// When [`Machine::tick`] has something to do next.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let groups = self.groups.values().filter_map(|group| group.due);
        let held =
            (!self.piles.held.is_empty()).then(|| self.allowed_at(self.piles.held.severity(), now));
        let ends = self
            .silences
            .iter()
            .map(|silence| silence.until)
            .chain(self.core.excuses.values().map(|excuse| excuse.until));
        groups
            .chain(held)
            .chain(self.core.digest_due)
            .chain(ends)
            .min()
    }

    /// What is raised and not over, gravest first.
    pub fn list(&self, now: Timestamp) -> Vec<Listed> {
        let wider = self.wider();
        let mut listed: Vec<Listed> = self
            .groups
            .values()
            .flat_map(|group| &group.kinds)
            .map(|kind| {
                let mute = self.mute_of(kind, &wider, now);
                let state = if kind.resolved.is_some() {
                    State::Resolved
                } else if mute.is_some() {
                    State::Muted
                } else if kind.told.is_some() && kind.fresh == 0 {
                    State::Firing
                } else {
                    State::Pending
                };
                Listed {
                    key: kind.alert.key.clone(),
                    severity: kind.severity,
                    title: kind.alert.title.clone(),
                    host: kind.alert.host.clone(),
                    state,
                    muted_by: mute.map(|mute| match mute {
                        Mute::Silenced(by) | Mute::Inhibited(by) => by,
                    }),
                    since: kind.since,
                    last: kind.last,
                    total: kind.total,
                    waiting: kind.fresh,
                }
            })
            .collect();
        listed.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.key.cmp(&b.key)));
        listed
    }

    /// What has changed since [`Machine::stored`] was called last.
    pub(crate) fn changes(&self) -> Changes<'_> {
        Changes {
            core: &self.core,
            piles: self.piles_dirty.then_some(&self.piles),
            groups: self
                .dirty
                .iter()
                .map(|name| (name.as_str(), self.groups.get(name)))
                .collect(),
            silences: self.silences_dirty.then_some(self.silences.as_slice()),
        }
    }

    /// Whether a group, a pile or a silence has changed since [`Machine::stored`].
    pub(crate) fn is_changed(&self) -> bool {
        !self.dirty.is_empty() || self.piles_dirty || self.silences_dirty
    }

    /// Everything is to be stored again, elsewhere.
    pub(crate) fn all_changed(&mut self) {
        self.dirty.extend(self.groups.keys().cloned());
        self.piles_dirty = true;
        self.silences_dirty = true;
    }

    /// The changes are on disk.
    pub(crate) fn stored(&mut self) {
        self.dirty.clear();
        self.piles_dirty = false;
        self.silences_dirty = false;
    }
}

/// The kind under which alerts are counted that are of more kinds than are kept apart.
fn overflow(alert: &Alert) -> Alert {
    Alert {
        count: alert.count,
        ..Alert::new(
            "mainstay",
            alert.severity,
            "alerts of more kinds than are kept apart",
        )
        .body(format!(
            "They are only counted. The first was of {}: {}",
            alert.key.app, alert.title
        ))
        .command("mainstay alert list")
    }
}
