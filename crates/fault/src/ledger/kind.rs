//! Faults of one kind: what is kept of many occurrences, and how one more joins them. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::class::Severity;
use crate::fault::Fault;
use crate::id::Id;
use crate::redact::{cut, redact};

/// How many occurrences are kept whole.
const RECENT: usize = 5;
/// How many more, if their work is not over.
const UNSETTLED: usize = 20;
/// How many bytes of all these; the details of the older ones go first.
const RECENT_BYTES: usize = 96 * 1024;
/// What is kept of an occurrence: entries of lists, and bytes of each text.
const CAUSES: usize = 8;
const FRAMES: usize = 64;
const RECORDS: usize = 20;
const STEPS: usize = 32;
const LONG: usize = 1024;
const SHORT: usize = 300;

/// Something that went wrong in an app: once, or several times in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// Whose fault it is.
    pub app: String,
    /// What makes faults of that app one kind.
    pub fingerprint: String,
    /// Its class by name; it may be one that this version does not know.
    pub class: String,
    /// The status of the answer.
    pub status: u16,
    /// How grave it is.
    pub severity: Severity,
    /// One line: what went wrong.
    pub title: String,
    /// Where.
    pub place: Option<String>,
    /// The code of the first of them.
    pub code: Id,
    /// How many.
    pub count: u64,
    /// When the first was.
    pub first: Timestamp,
    /// When the last was.
    pub last: Timestamp,
    /// The release of the app.
    pub release: Option<String>,
    /// More of it.
    pub detail: Detail,
}

/// What is known of an occurrence beyond its kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Detail {
    /// What caused it, the nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// The frames that led to it, the innermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<String>,
    /// The request in which it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Asking>,
    /// Records of the log around it, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<String>,
    /// What becomes of the work that it broke off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Asking {
    /// Its id, as the log has it.
    pub id: String,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
}

/// A unit of work of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Its id in the app's journal.
    pub id: String,
    /// How far it is.
    pub state: WorkState,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// How far a work is. The order is that of how much it needs a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkState {
    /// All of it is done.
    Done,
    /// All that it did is undone.
    Undone,
    /// The rest of it is being done.
    Finishing,
    /// It is not decided which way it ends.
    Open,
    /// What it did is being undone.
    Undoing,
    /// A person decides.
    Stuck,
}

impl WorkState {
    const ALL: [Self; 6] = [
        Self::Done,
        Self::Undone,
        Self::Finishing,
        Self::Open,
        Self::Undoing,
        Self::Stuck,
    ];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Undone => "undone",
            Self::Finishing => "finishing",
            Self::Open => "open",
            Self::Undoing => "undoing",
            Self::Stuck => "stuck",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == text)
    }

    /// Whether nothing more becomes of it.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Undone)
    }
}

/// A step of a work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What the app calls it.
    pub name: String,
    /// How far it is, in the app's words.
    pub state: String,
    /// Its last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Occurrence {
    /// A fault of that app, at that time.
    pub fn of(app: impl Into<String>, fault: &Fault, at: Timestamp) -> Self {
        let mut chain = fault.chain().iter().cloned();
        Self {
            app: app.into(),
            fingerprint: fault.fingerprint().to_owned(),
            class: fault.class().name().to_owned(),
            status: fault.status().as_u16(),
            severity: fault.severity(),
            title: chain.next().unwrap_or_else(|| fault.class().to_string()),
            place: fault.place().map(ToString::to_string),
            code: fault.id(),
            count: 1,
            first: at,
            last: at,
            release: None,
            detail: Detail {
                causes: chain.collect(),
                trace: fault.frames().iter().map(ToString::to_string).collect(),
                ..Detail::default()
            },
        }
    }

    /// With secrets struck out, and all texts and lists within bounds. What goes into the ledger passes
    /// through here.
    pub(super) fn sealed(mut self) -> Self {
        seal(&mut self.app, SHORT);
        seal(&mut self.fingerprint, SHORT);
        seal(&mut self.class, SHORT);
        seal(&mut self.title, SHORT);
        for text in [&mut self.place, &mut self.release].into_iter().flatten() {
            seal(text, SHORT);
        }
        self.count = self.count.max(1);
        self.first = self.first.min(self.last);
        let detail = &mut self.detail;
        seal_all(&mut detail.causes, CAUSES, LONG);
        seal_all(&mut detail.trace, FRAMES, SHORT);
        let surplus = detail.records.len().saturating_sub(RECORDS);
        detail.records.drain(..surplus);
        seal_all(&mut detail.records, RECORDS, LONG);
        if let Some(asking) = &mut detail.request {
            for text in [&mut asking.id, &mut asking.method, &mut asking.path] {
                seal(text, SHORT);
            }
        }
        if let Some(work) = &mut detail.work {
            // It is told to the app as it was told by it, so it is not struck through.
            bound(&mut work.id, SHORT);
            work.steps.truncate(STEPS);
            for step in &mut work.steps {
                bound(&mut step.name, SHORT);
                seal(&mut step.state, SHORT);
                if let Some(error) = &mut step.error {
                    seal(error, LONG);
                }
            }
        }
        self
    }
}

fn bound(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        *text = cut(text, bytes).to_owned();
    }
    if text.chars().any(char::is_control) {
        *text = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
    }
}

fn seal(text: &mut String, bytes: usize) {
    *text = redact(text);
    bound(text, bytes);
}

fn seal_all(texts: &mut Vec<String>, count: usize, bytes: usize) {
    texts.truncate(count);
    for text in texts {
        seal(text, bytes);
    }
}

/// An occurrence of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its code.
    #[serde(serialize_with = "write_id", deserialize_with = "read_id")]
    pub code: Id,
    /// When it was; of several, the last.
    pub at: Timestamp,
    /// How many.
    pub count: u64,
    /// The release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// What it said.
    pub title: String,
    /// More of it.
    pub detail: Detail,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn write_id<S: Serializer>(id: &Id, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(id.bits())
}

fn read_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
    let bits = u64::deserialize(deserializer)?;
    Id::from_bits(bits).ok_or_else(|| serde::de::Error::custom("no code has this number"))
}

impl Seen {
    /// How far its work is, if it broke one off.
    pub fn work_state(&self) -> Option<WorkState> {
        self.detail.work.as_ref().map(|work| work.state)
    }

    fn is_settled(&self) -> bool {
        self.work_state().is_none_or(WorkState::is_over)
    }

    /// About how much room it takes.
    fn bytes(&self) -> usize {
        let texts = |texts: &[String]| texts.iter().map(|text| text.len() + 3).sum::<usize>();
        let detail = &self.detail;
        let work = detail.work.as_ref().map_or(0, |work| {
            let step =
                |step: &Step| step.name.len() + 60 + step.error.as_ref().map_or(0, String::len);
            60 + work.steps.iter().map(step).sum::<usize>()
        });
        300 + texts(&detail.causes) + texts(&detail.trace) + texts(&detail.records) + work
    }
}

/// Faults of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Whose.
    pub app: String,
    /// What makes them one kind.
    pub fingerprint: String,
    /// Class, status, gravity, words and place of the last one.
    pub class: String,
    /// The status of the answer.
    pub status: u16,
    /// How grave.
    pub severity: Severity,
    /// What went wrong.
    pub title: String,
    /// Where.
    pub place: Option<String>,
    /// How many there were.
    pub count: u64,
    /// When the first was.
    pub first: Timestamp,
    /// When the last was.
    pub last: Timestamp,
    /// The release in which the first was.
    pub introduced: Option<String>,
    /// The release in which the last was.
    pub release: Option<String>,
    /// The code of the last one.
    pub code: Id,
    /// How far the undo of their works is: of the one that needs a person most.
    pub undo: Option<WorkState>,
    /// The last ones, the newest first, and older ones whose work is not over. Empty in a list.
    pub recent: Vec<Seen>,
}

impl Kind {
    /// The kind of this, of which there is none yet.
    pub(super) fn new(occurrence: &Occurrence) -> Self {
        Self {
            app: occurrence.app.clone(),
            fingerprint: occurrence.fingerprint.clone(),
            class: String::new(),
            status: 0,
            severity: occurrence.severity,
            title: String::new(),
            place: None,
            count: 0,
            first: occurrence.first,
            last: occurrence.first,
            introduced: occurrence.release.clone(),
            release: None,
            code: occurrence.code,
            undo: None,
            recent: Vec::new(),
        }
    }

    /// One more of this kind. `known` is how many this code stood for before, if it is no new one: then
    /// its count and its work are brought up to date. The answer is how many it stands for now.
    pub(super) fn add(&mut self, occurrence: &Occurrence, known: Option<u64>) -> u64 {
        let before = known.unwrap_or(0);
        let now = occurrence.count.max(before);
        self.count = self.count.saturating_add(now - before);
        if occurrence.first < self.first {
            self.first = occurrence.first;
            self.introduced.clone_from(&occurrence.release);
        }
        if known.is_none() && occurrence.last >= self.last {
            self.class.clone_from(&occurrence.class);
            self.status = occurrence.status;
            self.severity = occurrence.severity;
            self.title.clone_from(&occurrence.title);
            self.place.clone_from(&occurrence.place);
            self.release.clone_from(&occurrence.release);
            self.code = occurrence.code;
        }
        self.last = self.last.max(occurrence.last);
        let there = self
            .recent
            .iter_mut()
            .find(|seen| seen.code == occurrence.code);
        if let Some(seen) = there {
            seen.at = seen.at.max(occurrence.last);
            seen.count = now;
            let (old, new) = (&mut seen.detail, &occurrence.detail);
            if new.work.is_some() {
                old.work.clone_from(&new.work);
            }
            if new.request.is_some() {
                old.request.clone_from(&new.request);
            }
            for (old, new) in [
                (&mut old.causes, &new.causes),
                (&mut old.trace, &new.trace),
                (&mut old.records, &new.records),
            ] {
                if !new.is_empty() {
                    old.clone_from(new);
                }
            }
        } else if known.is_none() || occurrence.detail.work.is_some() {
            self.recent.push(Seen {
                code: occurrence.code,
                at: occurrence.last,
                count: now,
                release: occurrence.release.clone(),
                title: occurrence.title.clone(),
                detail: occurrence.detail.clone(),
            });
        }
        self.keep();
        now
    }

    /// What another ledger knows of the same kind.
    pub(super) fn join(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        if other.first < self.first {
            (self.first, self.introduced) = (other.first, other.introduced);
        }
        if other.last >= self.last {
            self.class = other.class;
            self.status = other.status;
            self.severity = other.severity;
            self.title = other.title;
            self.place = other.place;
            self.last = other.last;
            self.release = other.release;
            self.code = other.code;
        }
        for seen in other.recent {
            self.recent.retain(|old| old.code != seen.code);
            self.recent.push(seen);
        }
        self.keep();
    }

    /// Keeps what is to be kept of the occurrences.
    fn keep(&mut self) {
        self.recent
            .sort_by_key(|seen| std::cmp::Reverse((seen.at, seen.code)));
        let (mut whole, mut unsettled) = (0, 0);
        self.recent.retain(|seen| {
            whole += 1;
            if whole <= RECENT {
                return true;
            }
            unsettled += usize::from(!seen.is_settled());
            !seen.is_settled() && unsettled <= UNSETTLED
        });
        let mut bytes: usize = self.recent.iter().map(Seen::bytes).sum();
        for seen in self.recent.iter_mut().skip(1).rev() {
            if bytes <= RECENT_BYTES {
                break;
            }
            let before = seen.bytes();
            let work = seen.detail.work.take();
            let request = seen.detail.request.take();
            seen.detail = Detail {
                request,
                work,
                ..Detail::default()
            };
            bytes -= before - seen.bytes();
        }
        self.undo = self.recent.iter().filter_map(Seen::work_state).max();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_770_000_000 + seconds).unwrap()
    }

    pub(crate) fn code(number: u64) -> Id {
        Id::from_bits(number).unwrap()
    }

    /// An occurrence of the app `shop`.
    pub(crate) fn seen(number: u64, seconds: i64, release: &str) -> Occurrence {
        Occurrence {
            app: "shop".into(),
            fingerprint: "a".into(),
            class: "panic".into(),
            status: 500,
            severity: Severity::Critical,
            title: format!("it broke {number}"),
            place: Some("src/main.rs:1".into()),
            code: code(number),
            count: 1,
            first: at(seconds),
            last: at(seconds),
            release: Some(release.into()),
            detail: Detail::default(),
        }
    }

    pub(crate) fn work(state: WorkState) -> Work {
        Work {
            id: "w1".into(),
            state,
            steps: vec![Step {
                name: "crm.create".into(),
                state: state.name().into(),
                error: None,
            }],
        }
    }

    fn begun(occurrence: &Occurrence) -> Kind {
        let mut kind = Kind::new(occurrence);
        kind.add(occurrence, None);
        kind
    }

    #[test]
    fn how_occurrences_join() {
        type Step = (
            &'static str,
            Occurrence,
            Option<u64>,
            (u64, u64, u64, i64, i64),
        );
        let several = |count, seconds| Occurrence {
            count,
            ..seen(3, seconds, "1.1")
        };
        // (what, occurrence, known before, (count of the code, of the kind, code shown, first, last))
        let table: Vec<Step> = vec![
            ("a second", seen(2, 10, "1.1"), None, (1, 2, 2, 0, 10)),
            (
                "several",
                Occurrence {
                    first: at(11),
                    ..several(5, 20)
                },
                None,
                (5, 7, 3, 0, 20),
            ),
            ("the same again", several(5, 20), Some(5), (5, 7, 3, 0, 20)),
            (
                "more of the same code",
                several(8, 25),
                Some(5),
                (8, 10, 3, 0, 25),
            ),
            (
                "a smaller count of it is an old report",
                several(2, 15),
                Some(8),
                (8, 10, 3, 0, 25),
            ),
            ("late", seen(4, -5, "0.9"), None, (1, 11, 3, -5, 25)),
            (
                "gone from the list",
                seen(99, 1, "1.0"),
                Some(1),
                (1, 11, 3, -5, 25),
            ),
        ];
        let mut kind = begun(&seen(1, 0, "1.0"));
        assert_eq!(kind.introduced.as_deref(), Some("1.0"));
        for (what, occurrence, known, expected) in table {
            let stands_for = kind.add(&occurrence, known);
            let found = (
                stands_for,
                kind.count,
                kind.code.bits(),
                kind.first.as_second() - at(0).as_second(),
                kind.last.as_second() - at(0).as_second(),
            );
            assert_eq!(found, expected, "{what}");
        }
        assert_eq!(kind.introduced.as_deref(), Some("0.9"));
        assert_eq!(kind.release.as_deref(), Some("1.1"));
        assert_eq!(kind.title, "it broke 3");
        assert!(kind.recent.iter().all(|seen| seen.code != code(99)));
    }

    #[test]
    fn works_that_are_not_over_are_kept_and_shown() {
        let mut kind = begun(&seen(1, 0, "1"));
        for number in 2..40 {
            let mut occurrence = seen(number, i64::try_from(number).unwrap(), "1");
            if number % 2 == 0 {
                occurrence.detail.work = Some(work(WorkState::Undoing));
            }
            kind.add(&occurrence, None);
        }
        let kept = |kind: &Kind| {
            let unsettled = kind.recent.iter().filter(|seen| !seen.is_settled()).count();
            (kind.recent.len(), unsettled, kind.undo)
        };
        // Of the last five two have a work; of the older ones all that have one.
        assert_eq!(kept(&kind), (22, 19, Some(WorkState::Undoing)));
        let mut stuck = seen(4, 4, "1");
        stuck.detail.work = Some(work(WorkState::Stuck));
        kind.add(&stuck, Some(1));
        assert_eq!(kept(&kind), (22, 19, Some(WorkState::Stuck)));
        for number in 2..40 {
            let mut over = seen(number, i64::try_from(number).unwrap(), "1");
            if number % 2 == 0 {
                over.detail.work = Some(work(WorkState::Undone));
                kind.add(&over, Some(1));
            }
        }
        assert_eq!(kept(&kind), (5, 0, Some(WorkState::Undone)));
        assert_eq!(kind.count, 39);
        // A work whose occurrence was forgotten comes back when it is stuck.
        stuck.code = code(2);
        kind.add(&stuck, Some(1));
        assert_eq!(kept(&kind), (6, 1, Some(WorkState::Stuck)));
    }

    #[test]
    fn what_is_kept_is_bounded_and_holds_no_secret() {
        let long = "x ".repeat(5000);
        let mut kind: Option<Kind> = None;
        for number in 0..50 {
            let mut occurrence = seen(number, 0, "1");
            occurrence.title = "password=hunter2\u{1b}[2J".into();
            occurrence.detail = Detail {
                causes: vec!["password=hunter2".into(); 100],
                trace: vec![long.clone(); 1000],
                request: Some(Asking {
                    id: "1".into(),
                    method: "GET".into(),
                    path: "/form?token=hunter2".into(),
                }),
                records: vec![format!("token=hunter2 {long}"); 100],
                work: Some(work(WorkState::Stuck)),
            };
            let sealed = occurrence.sealed();
            assert!(!format!("{sealed:?}").contains("hunter2"), "{sealed:?}");
            match &mut kind {
                None => kind = Some(begun(&sealed)),
                Some(kind) => drop(kind.add(&sealed, None)),
            }
        }
        let kind = kind.unwrap();
        let json = serde_json::to_string(&kind.recent).unwrap();
        assert!(json.len() < 128 * 1024, "{}", json.len());
        assert!(
            !kind.recent[0].detail.trace.is_empty(),
            "the newest is whole"
        );
        assert_eq!(kind.count, 50);
        let back: Vec<Seen> = serde_json::from_str(&json).unwrap();
        assert_eq!(back, kind.recent);
    }
}
