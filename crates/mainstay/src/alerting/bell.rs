//! What is rung when a person must know: the alerts of this daemon, which another config may replace
//! while somebody rings.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_alert::{Alert, Alerts, Config, Error, Key, Overview, Tried};
use mainstay_base::SystemClock;
use mainstay_log::seelog::Smtp;

use super::records;

/// How long alerts that make place for others may still bring what is on its way.
const CHANGE: Duration = Duration::from_secs(2);

/// How many kinds of alerts wait while others take over; what exceeds it is joined to the last.
const ROOM: usize = 1024;

/// The alerts of the daemon.
pub(crate) struct Bell {
    state: Mutex<State>,
    /// What they were started with.
    config: Mutex<Config>,
    /// Those by mail servers that a config of seelog names. They stay until the daemon ends: records
    /// may still be on their way to them.
    mails: Mutex<Vec<Mailed>>,
}

struct Mailed {
    smtp: Smtp,
    name: String,
    alerts: Alerts,
}

enum State {
    Up(Alerts),
    /// Others take over. What is rung meanwhile is for them.
    Changing(Vec<Rung>),
    /// The daemon has ended, or is another binary now.
    Down,
}

enum Rung {
    Raised(Box<Alert>),
    Over(Key),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(config: Config) -> Result<Alerts, Error> {
    Alerts::start(config, Arc::new(SystemClock::new()))
}

impl Bell {
    /// Starts the alerts.
    pub(crate) fn start(config: Config) -> Result<Self, Error> {
        Ok(Self {
            state: Mutex::new(State::Up(start(config.clone())?)),
            config: Mutex::new(config),
            mails: Mutex::default(),
        })
    }

    /// Raises an alert. Never waits.
    pub(crate) fn raise(&self, alert: Alert) {
        match &mut *lock(&self.state) {
            State::Up(alerts) => alerts.raise(alert),
            State::Changing(rung) => keep(rung, alert),
            State::Down => {}
        }
    }

    /// Ends an alert. Never waits.
    pub(crate) fn resolve(&self, key: Key) {
        let taken = match &mut *lock(&self.state) {
            State::Up(alerts) => alerts.resolve(&key),
            State::Changing(rung) => {
                rung.push(Rung::Over(key.clone()));
                true
            }
            State::Down => true,
        };
        // With nothing locked: what is logged may be rung.
        if !taken {
            log::warn!("there was no room to say that {key} is over");
        }
    }

    /// The alerts themselves; absent in the moments in which there are none.
    pub(crate) fn alerts(&self) -> Option<Alerts> {
        match &*lock(&self.state) {
            State::Up(alerts) => Some(alerts.clone()),
            State::Changing(_) | State::Down => None,
        }
    }

    /// Puts another config in place, unless it says the same; whether it did. With one that cannot be
    /// used everything stays. Waits for what is on its way, for a short time.
    pub(crate) fn change(&self, config: Config) -> Result<bool, Error> {
        let mut current = lock(&self.config);
        // All that a config holds is in its text, but for values of secrets, of which there are none.
        if format!("{current:?}") == format!("{config:?}") {
            return Ok(false);
        }
        let before = {
            let mut state = lock(&self.state);
            match std::mem::replace(&mut *state, State::Changing(Vec::new())) {
                State::Up(alerts) => alerts,
                other => {
                    *state = other;
                    return Ok(false);
                }
            }
        };
        // Both go on from the same file: the one ends before the other begins.
        before.shutdown(CHANGE);
        drop(before);
        let (alerts, result) = match start(config.clone()) {
            Ok(alerts) => {
                *current = config;
                (Some(alerts), Ok(true))
            }
            Err(error) => (start(current.clone()).ok(), Err(error)),
        };
        let mut state = lock(&self.state);
        let next = alerts.map_or(State::Down, State::Up);
        if let (State::Changing(rung), State::Up(alerts)) =
            (std::mem::replace(&mut *state, State::Down), &next)
        {
            for rung in rung {
                match rung {
                    Rung::Raised(alert) => alerts.raise(*alert),
                    Rung::Over(key) => {
                        alerts.resolve(&key);
                    }
                }
            }
            *state = next;
        }
        result
    }

    /// The alerts that go to this mail server, the same for the same config.
    pub(crate) fn mail(&self, smtp: &Smtp) -> Result<Alerts, String> {
        let own = lock(&self.config).clone();
        let mut mails = lock(&self.mails);
        if let Some(known) = mails.iter().find(|known| known.smtp == *smtp) {
            return Ok(known.alerts.clone());
        }
        let place = format!(
            "{}-{}-{}",
            smtp.host,
            smtp.port,
            smtp.recipients.first().map_or("", String::as_str)
        );
        let place: String = place
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-._@".contains(*c))
            .take(100)
            .collect();
        let taken = |name: &str| mails.iter().any(|known| known.name == name);
        let names = (2..).map(|number| format!("{place}-{number}"));
        let mut names = std::iter::once(place.clone()).chain(names);
        let name = names.find(|name| !taken(name)).unwrap_or(place);
        let outbox = own.outbox.with_file_name(format!("alerts-{name}.db"));
        let config = records::by_mail(&own, smtp, outbox)?;
        let said = |error: Error| format!("{error}; {}", error.help());
        let alerts = start(config).map_err(said)?;
        // Where the daemon's own are being changed, they have the silences they had.
        if let Some(own) = self.alerts() {
            let silences = own.list().map_err(said)?.silences;
            alerts.adopt_silences(silences).map_err(said)?;
        }
        mails.push(Mailed {
            smtp: smtp.clone(),
            name,
            alerts: alerts.clone(),
        });
        Ok(alerts)
    }

    /// Has those by mail servers of seelog's configs keep the silences that the daemon's own keep.
    pub(crate) fn share_silences(&self) -> Result<(), Error> {
        let Some(own) = self.alerts() else {
            return Ok(());
        };
        // One after the other, so that the last to come leaves what there is last.
        let mails = lock(&self.mails);
        let silences = own.list()?.silences;
        for mailed in mails.iter() {
            mailed.alerts.adopt_silences(silences.clone())?;
        }
        Ok(())
    }

    /// All of them; none in the moments in which there are none.
    fn all(&self) -> Option<Vec<Alerts>> {
        let mut all = vec![self.alerts()?];
        all.extend(lock(&self.mails).iter().map(|mailed| mailed.alerts.clone()));
        Some(all)
    }

    /// How everything stands, those by mail servers of seelog's configs included.
    pub(crate) fn list(&self) -> Option<Result<Overview, Error>> {
        let mut all = self.all()?.into_iter().map(|alerts| alerts.list());
        let own = all.next()?;
        Some(own.and_then(|own| all.try_fold(own, |sum, more| Ok(joined(sum, more?)))))
    }

    /// Sends a test message through each channel and waits for what comes of it.
    pub(crate) fn test(&self) -> Option<Vec<Tried>> {
        let all = self.all()?;
        Some(all.iter().flat_map(Alerts::test).collect())
    }

    /// Stores everything and tells what is due, for up to this time. Nothing can be rung any more.
    pub(crate) fn shutdown(&self, at_most: Duration) {
        let own = std::mem::replace(&mut *lock(&self.state), State::Down);
        let mut all: Vec<Alerts> = lock(&self.mails)
            .drain(..)
            .map(|mailed| mailed.alerts)
            .collect();
        if let State::Up(alerts) = own {
            all.push(alerts);
        }
        std::thread::scope(|scope| {
            for alerts in &all {
                scope.spawn(|| alerts.shutdown(at_most));
            }
        });
    }
}

/// Two lists as one.
fn joined(mut sum: Overview, more: Overview) -> Overview {
    sum.alerts.extend(more.alerts);
    sum.alerts
        .sort_by_key(|listed| std::cmp::Reverse(listed.severity));
    // Its silences are the daemon's own.
    sum.deliveries.extend(more.deliveries);
    sum.deliveries
        .sort_by_key(|delivery| std::cmp::Reverse(delivery.at));
    sum.channels.extend(more.channels);
    let counts = &mut sum.counts;
    counts.raised += more.counts.raised;
    counts.told += more.counts.told;
    counts.silenced += more.counts.silenced;
    counts.inhibited += more.counts.inhibited;
    counts.messages += more.counts.messages;
    sum.waiting += more.waiting;
    sum.overflowed += more.overflowed;
    sum.trouble = sum.trouble.or(more.trouble);
    sum
}

/// Keeps an alert for those that take over; one like an earlier one joins it.
fn keep(rung: &mut Vec<Rung>, alert: Alert) {
    let full = rung.len() >= ROOM;
    for earlier in rung.iter_mut().rev() {
        match earlier {
            Rung::Raised(known) if full || known.key == alert.key => {
                known.count = known.count.saturating_add(alert.count);
                known.severity = known.severity.max(alert.severity);
                return;
            }
            Rung::Over(key) if *key == alert.key => break,
            _ => {}
        }
    }
    rung.push(Rung::Raised(Box::new(alert)));
}

#[cfg(test)]
mod tests {
    use mainstay_alert::Severity;

    use super::*;

    fn alert(title: &str) -> Alert {
        Alert::new("web", Severity::Error, title)
    }

    #[test]
    fn another_config_takes_over_what_was_raised() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config::new("shop1", directory.path().join("alerts.db"));
        let bell = Bell::start(config.clone()).unwrap();
        bell.raise(alert("first").lasting());
        assert!(!bell.change(config.clone()).unwrap(), "nothing has changed");
        let mut other = config.clone();
        other.policy.wait = Duration::from_mins(7);
        std::thread::scope(|scope| {
            let ringing = scope.spawn(|| {
                for _ in 0..1000 {
                    bell.raise(alert("second"));
                    std::thread::yield_now();
                }
            });
            assert!(bell.change(other).unwrap());
            ringing.join().unwrap();
        });
        let listed = bell.alerts().unwrap().list().unwrap();
        let count = |title: &str| {
            let mut all = listed.alerts.iter();
            all.find(|l| l.title == title).map(|l| l.total)
        };
        assert_eq!((count("first"), count("second")), (Some(1), Some(1000)));
        bell.resolve(alert("first").key);
        bell.shutdown(Duration::from_secs(5));
        assert!(bell.alerts().is_none());
    }

    #[test]
    fn a_config_that_cannot_be_used_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config::new("shop1", directory.path().join("alerts.db"));
        let bell = Bell::start(config.clone()).unwrap();
        let mail = mainstay_alert::MailConfig::new("no address", ["ops@example.com"], "localhost");
        let wrong = config.channel(
            "mail",
            mainstay_alert::When::default(),
            mainstay_alert::Target::Mail(mail),
        );
        let error = bell.change(wrong).unwrap_err();
        assert!(error.to_string().contains("no address"), "{error}");
        bell.raise(alert("later"));
        let listed = bell.alerts().unwrap().list().unwrap();
        assert_eq!(listed.alerts.len(), 1);
    }

    #[test]
    fn what_is_rung_meanwhile_is_joined_and_bounded() {
        let mut rung = Vec::new();
        for n in 0..3 * ROOM {
            keep(&mut rung, alert(["kind a", "kind b", "kind c"][n % 3]));
        }
        assert_eq!(rung.len(), 3);
        rung.push(Rung::Over(alert("kind a").key));
        keep(&mut rung, alert("kind a"));
        assert_eq!(rung.len(), 5, "what is over begins anew");
        let mut count = 0;
        let mut many = Vec::new();
        for n in 0..2 * ROOM {
            let mut one = alert("x").fingerprint(n.to_string());
            one.count = 2;
            keep(&mut many, one);
        }
        for one in &many {
            if let Rung::Raised(alert) = one {
                count += alert.count;
            }
        }
        assert_eq!((many.len(), count), (ROOM, 4 * ROOM as u64));
    }
}
