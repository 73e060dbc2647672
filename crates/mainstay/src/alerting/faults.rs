//! Of the faults of programs, which ones a person is told.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mainstay_alert::{Alert, Key, Severity};
use mainstay_fault::Notify;
use mainstay_fault::ledger::{Kind, Noted, Seen, WorkState};

use super::{Act, Watch};

/// So many of one kind within a minute are often, for those that are told only then.
const OFTEN: u64 = 5;
/// That minute, in seconds.
const PERIOD: i64 = 60;
/// How many kinds are counted apart.
const KINDS: usize = 1024;

/// The fingerprint of works that are stuck begins so.
const STUCK: &str = "undo-stuck ";

/// How often faults of a kind are, for those that are told when they are frequent.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// When counting began, how many since then, and whether that was told of.
    kinds: BTreeMap<Key, (Timestamp, u64, bool)>,
}

impl Rates {
    /// Counts some more. The answer is how many are to be told of now; zero: none.
    fn add(&mut self, key: &Key, more: u64, now: Timestamp) -> u64 {
        if self.kinds.len() >= KINDS && !self.kinds.contains_key(key) {
            let fresh = |since: Timestamp| now.as_second() - since.as_second() < PERIOD;
            self.kinds.retain(|_, (since, ..)| fresh(*since));
            if self.kinds.len() >= KINDS {
                // So many kinds at once are worth a word themselves.
                return more;
            }
        }
        let (since, count, told) = self.kinds.entry(key.clone()).or_insert((now, 0, false));
        if now.as_second() - since.as_second() >= PERIOD {
            // It stays told while each period has enough of them.
            *told &= *count >= OFTEN;
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(more);
        if *told {
            return more;
        }
        if *count >= OFTEN {
            *told = true;
            return *count;
        }
        0
    }
}

fn severity(severity: mainstay_fault::Severity) -> Severity {
    use mainstay_fault::Severity as Fault;
    match severity {
        Fault::Critical => Severity::Critical,
        Fault::Error => Severity::Error,
        Fault::Warning => Severity::Warning,
        Fault::Info | Fault::Debug => Severity::Info,
    }
}

/// Whether an alert that is raised is about a work that is stuck.
pub(super) fn is_ours(fingerprint: &str) -> bool {
    fingerprint.starts_with(STUCK)
}

impl Watch {
    /// A fault was noted. Its class, or its app, says whether a person is told; nobody is by us if the
    /// app does that itself.
    pub(crate) fn on_fault(
        &mut self,
        noted: &Noted,
        notify: Notify,
        alerted: bool,
        now: Timestamp,
    ) -> Vec<Act> {
        let kind = &noted.kind;
        let key = Key::new(&kind.app, &kind.fingerprint);
        let count = match notify {
            _ if alerted => 0,
            Notify::Never => 0,
            Notify::Always => noted.more,
            Notify::OnRate | Notify::OnChange => match noted.more {
                0 => 0,
                more => self.rates.add(&key, more, now),
            },
        };
        let mut acts = Vec::new();
        if count > 0 {
            acts.push(Act::Raise(Box::new(alert(noted, count))));
        }
        for seen in &kind.recent {
            acts.extend(self.on_work(kind, seen, alerted, now));
        }
        acts
    }

    /// How the work of one occurrence is.
    fn on_work(&mut self, kind: &Kind, seen: &Seen, alerted: bool, now: Timestamp) -> Option<Act> {
        let work = seen.detail.work.as_ref()?;
        let fingerprint = format!("{STUCK}{}", work.id);
        if work.state != WorkState::Stuck {
            return self.ends(Key::new(&kind.app, fingerprint));
        }
        if alerted {
            return None;
        }
        // What an app marks is what is stuck; else it is what has an error.
        let mut steps = work.steps.iter().rev();
        let step = steps
            .clone()
            .find(|step| step.state == WorkState::Stuck.name())
            .or_else(|| steps.find(|step| step.error.is_some()));
        let at = step.map_or_else(String::new, |step| format!(" at `{}`", step.name));
        let alert = Alert::new(
            &kind.app,
            Severity::Critical,
            format!("a work of {} is stuck{at}: a person decides", kind.app),
        )
        .fingerprint(fingerprint)
        .body(step.and_then(|step| step.error.clone()).unwrap_or_default())
        .label("work", &work.id)
        .label("code", seen.code.to_string())
        .command(format!("mainstay faults {}", seen.code));
        let begun = self.begins(alert, now)?;
        Some(Act::Raise(Box::new(begun)))
    }

    /// A kind was forgotten: nothing more is told of its works.
    pub(crate) fn on_forgotten(&mut self, kind: &Kind) -> Vec<Act> {
        let works = kind
            .recent
            .iter()
            .filter_map(|seen| seen.detail.work.as_ref());
        let keys: Vec<Key> = works
            .map(|work| Key::new(&kind.app, format!("{STUCK}{}", work.id)))
            .collect();
        keys.into_iter().filter_map(|key| self.ends(key)).collect()
    }
}

fn alert(noted: &Noted, count: u64) -> Alert {
    let kind = &noted.kind;
    let seen = kind.recent.iter().find(|seen| seen.code == noted.code);
    let mut body = String::new();
    if let Some(place) = &kind.place {
        body = format!("at {place}\n");
    }
    let mut alert = Alert::new(&kind.app, severity(kind.severity), &kind.title)
        .fingerprint(&kind.fingerprint)
        .label("code", noted.code.to_string())
        .label("class", &kind.class)
        .command(format!("mainstay faults {}", noted.code));
    if let Some(seen) = seen {
        for cause in &seen.detail.causes {
            body.push_str("caused by: ");
            body.push_str(cause);
            body.push('\n');
        }
        alert = alert.context(seen.detail.records.iter().map(String::as_str));
        if let Some(asking) = &seen.detail.request {
            alert = alert.label("request", format!("{} {}", asking.method, asking.path));
        }
    }
    if let Some(release) = &kind.release {
        alert = alert.label("release", release);
    }
    if let Some(introduced) = &kind.introduced
        && kind.release.as_ref() != Some(introduced)
    {
        alert = alert.label("since release", introduced);
    }
    alert = alert.body(body);
    alert.count = count;
    alert.since = seen.map(|seen| seen.at);
    alert
}

#[cfg(test)]
mod tests {
    use mainstay_fault::Id;
    use mainstay_fault::ledger::{Detail, Step, Work};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_770_000_000 + second).unwrap()
    }

    fn noted(more: u64, work: Option<WorkState>) -> Noted {
        let code: Id = "K7Q29-XWD4M".parse().unwrap();
        let work = work.map(|state| Work {
            id: "w1".into(),
            state,
            steps: vec![
                Step {
                    name: "crm.create".into(),
                    state: "done".into(),
                    error: Some("refused".into()),
                },
                Step {
                    name: "mail.send".into(),
                    state: "undone".into(),
                    error: None,
                },
            ],
        });
        Noted {
            kind: Kind {
                app: "shop".into(),
                fingerprint: "a".into(),
                class: "panic".into(),
                status: 500,
                severity: mainstay_fault::Severity::Critical,
                title: "it broke".into(),
                place: Some("src/main.rs:1".into()),
                count: 10,
                first: at(0),
                last: at(0),
                introduced: Some("1".into()),
                release: Some("2".into()),
                code,
                undo: work.as_ref().map(|work| work.state),
                recent: vec![Seen {
                    code,
                    at: at(0),
                    count: 1,
                    release: Some("2".into()),
                    title: "it broke".into(),
                    detail: Detail {
                        causes: vec!["the reason".into()],
                        records: vec!["before it".into()],
                        work,
                        ..Detail::default()
                    },
                }],
            },
            more,
            is_new: false,
            code,
        }
    }

    /// The acts in few words.
    fn shown(acts: &[Act]) -> String {
        let words: Vec<String> = acts
            .iter()
            .map(|act| match act {
                Act::Raise(alert) | Act::RaiseWithOutput(alert, _) => {
                    format!("{} ×{}", alert.title, alert.count)
                }
                Act::Resolve(key) => format!("over: {key}"),
            })
            .collect();
        words.join("; ")
    }

    #[test]
    fn which_faults_are_told() {
        use Notify::{Always, Never, OnChange, OnRate};
        let mut watch = Watch::default();
        let table: &[(&str, Notify, u64, i64, &str)] = &[
            ("always", Always, 1, 0, "it broke ×1"),
            ("with its number", Always, 1000, 0, "it broke ×1000"),
            ("brought up to date", Always, 0, 0, ""),
            ("never", Never, 1000, 0, ""),
            ("seldom", OnRate, 4, 10, ""),
            ("often", OnRate, 1, 20, "it broke ×5"),
            ("and still", OnRate, 1, 30, "it broke ×1"),
            ("in the next minute", OnRate, 1, 80, "it broke ×1"),
            ("after a quiet one", OnRate, 1, 500, ""),
            ("often again", OnChange, 7, 501, "it broke ×8"),
        ];
        for (what, notify, more, second, expected) in table {
            let acts = watch.on_fault(&noted(*more, None), *notify, false, at(*second));
            assert_eq!(shown(&acts), *expected, "{what}");
        }
        let acts = watch.on_fault(&noted(3, None), Always, false, at(0));
        let [Act::Raise(alert)] = &acts[..] else {
            panic!("{acts:?}");
        };
        assert_eq!(
            alert.command.as_deref(),
            Some("mainstay faults K7Q29-XWD4M")
        );
        assert_eq!(alert.key, Key::new("shop", "a"));
        assert_eq!(alert.severity, Severity::Critical);
        let labels = [
            ("class", "panic"),
            ("code", "K7Q29-XWD4M"),
            ("release", "2"),
            ("since release", "1"),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(alert.labels, labels.into());
        assert!(
            alert.body.contains("caused by: the reason"),
            "{}",
            alert.body
        );
        assert_eq!(alert.context, ["before it"]);
    }

    #[test]
    fn a_stuck_work_is_told_until_it_is_not() {
        use Notify::{Always, Never};
        use WorkState::{Stuck, Undoing, Undone};
        const BEGINS: &str = "a work of shop is stuck at `crm.create`: a person decides ×1";
        const ENDS: &str = "over: shop/undo-stuck w1";
        let mut watch = Watch::default();
        let table = [
            (Undoing, ""),
            (Stuck, BEGINS),
            (Stuck, ""),
            (Undoing, ENDS),
            (Stuck, BEGINS),
            (Undone, ENDS),
            (Undone, ""),
        ];
        for (number, (state, expected)) in table.into_iter().enumerate() {
            let acts = watch.on_fault(&noted(0, Some(state)), Never, false, at(0));
            assert_eq!(shown(&acts), expected, "step {number}");
        }
        // An app that tells people itself.
        let stuck = noted(1, Some(Stuck));
        let acts = watch.on_fault(&stuck, Always, true, at(0));
        assert_eq!(shown(&acts), "");
        let acts = watch.on_fault(&stuck, Never, false, at(0));
        assert_eq!(shown(&acts), BEGINS);
        // A daemon that begins anew ends what an earlier one began.
        assert!(is_ours("undo-stuck w1") && !is_ours("a"));
        assert_eq!(shown(&watch.on_forgotten(&stuck.kind)), ENDS);
        assert_eq!(shown(&watch.on_forgotten(&stuck.kind)), "");
    }
}
