//! Which scheduled job is due when. Pure: time comes in, names come out.

use jiff::Timestamp;

/// The jobs that have a schedule, and when each is due next.
pub(crate) struct Timetable<K> {
    jobs: Vec<Job<K>>,
}

/// When a job is due next after a time.
type Due = Box<dyn Fn(Timestamp) -> Option<Timestamp> + Send>;

struct Job<K> {
    name: K,
    due: Due,
    next: Option<Timestamp>,
    running: bool,
}

impl<K> Default for Timetable<K> {
    fn default() -> Self {
        Self { jobs: Vec::new() }
    }
}

impl<K: Clone + PartialEq> Timetable<K> {
    /// Adds a job that last began at `last`.
    ///
    /// A time that passed while nobody watched is made up for at once, one time only. A job that
    /// never ran waits for its first time: a new config must not set off everything at once.
    pub(crate) fn add(
        &mut self,
        name: K,
        due: impl Fn(Timestamp) -> Option<Timestamp> + Send + 'static,
        last: Option<Timestamp>,
        now: Timestamp,
    ) {
        let next = match last.and_then(&due) {
            Some(missed) if missed <= now => Some(now),
            _ => due(now),
        };
        self.jobs.push(Job {
            name,
            due: Box::new(due),
            next,
            running: false,
        });
    }

    /// The names that are due now. Each is running until [`Timetable::ended`]; a time that comes
    /// while it still runs is passed over.
    pub(crate) fn due(&mut self, now: Timestamp) -> Vec<K> {
        let mut names = Vec::new();
        for job in &mut self.jobs {
            // After the clock was set back, what was next is far ahead.
            let from_now = (job.due)(now);
            if from_now.is_some_and(|sooner| job.next.is_some_and(|next| sooner < next)) {
                job.next = from_now;
            }
            if job.next.is_some_and(|next| next <= now) {
                job.next = from_now;
                if !job.running {
                    job.running = true;
                    names.push(job.name.clone());
                }
            }
        }
        names
    }

    /// Says that a job is over.
    pub(crate) fn ended(&mut self, name: &K) {
        for job in self.jobs.iter_mut().filter(|job| job.name == *name) {
            job.running = false;
        }
    }

    /// The next time anything is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.jobs.iter().filter_map(|job| job.next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_base::Schedule;

    fn at(text: &str) -> Timestamp {
        format!("2026-11-22T{text}Z").parse().unwrap()
    }

    fn table(schedule: &str, last: Option<&str>, now: &str) -> Timetable<&'static str> {
        let mut table = Timetable::default();
        let schedule: Schedule = schedule.parse().unwrap();
        let due = move |after| schedule.next_after(after);
        table.add("db", due, last.map(at), at(now));
        table
    }

    #[test]
    fn a_new_job_waits_for_its_first_time() {
        let mut table = table("0 * * * *", None, "10:30:00");
        assert_eq!(table.next(), Some(at("11:00:00")));
        assert!(table.due(at("10:59:59")).is_empty());
        assert_eq!(table.due(at("11:00:00")), ["db"]);
        assert_eq!(table.next(), Some(at("12:00:00")));
    }

    #[test]
    fn missed_times_are_made_up_for_once() {
        for (name, schedule, last, now, due, next) in [
            ("one", "0 * * * *", "09:00:00", "10:30:00", true, "11:00:00"),
            (
                "many",
                "*/5 * * * *",
                "01:00:00",
                "10:31:00",
                true,
                "10:35:00",
            ),
            (
                "none",
                "0 * * * *",
                "10:00:00",
                "10:30:00",
                false,
                "11:00:00",
            ),
            (
                "just now",
                "0 * * * *",
                "09:00:00",
                "10:00:00",
                true,
                "11:00:00",
            ),
            // A clock that was wrong once: it waits for its next time as it is now.
            (
                "in the future",
                "0 * * * *",
                "23:00:00",
                "10:30:00",
                false,
                "11:00:00",
            ),
        ] {
            let mut table = table(schedule, Some(last), now);
            let expected: &[&str] = if due { &["db"] } else { &[] };
            assert_eq!(table.due(at(now)), expected, "{name}");
            table.ended(&"db");
            assert!(table.due(at(now)).is_empty(), "{name}: twice");
            assert_eq!(table.next(), Some(at(next)), "{name}");
        }
    }

    #[test]
    fn a_machine_that_slept_runs_once() {
        let mut table = table("every 1m", Some("10:00:00"), "10:00:30");
        assert_eq!(table.due(at("14:00:07")), ["db"]);
        table.ended(&"db");
        assert!(table.due(at("14:00:08")).is_empty());
        assert_eq!(table.next(), Some(at("14:01:00")));
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up() {
        let mut table = table("0 * * * *", None, "10:30:00");
        let ahead = "2099-01-01T00:30:00Z".parse().unwrap();
        assert_eq!(table.due(ahead), ["db"]);
        table.ended(&"db");
        assert!(table.due(at("10:40:00")).is_empty());
        assert_eq!(table.next(), Some(at("11:00:00")));
        assert_eq!(table.due(at("11:00:00")), ["db"]);
    }

    #[test]
    fn a_job_never_runs_twice_at_once() {
        let mut table = table("every 1m", None, "10:00:30");
        assert_eq!(table.due(at("10:01:00")), ["db"]);
        assert!(table.due(at("10:02:00")).is_empty(), "the first still runs");
        table.ended(&"db");
        assert_eq!(table.due(at("10:03:00")), ["db"]);
    }

    #[test]
    fn without_jobs_nothing_is_due() {
        assert_eq!(Timetable::<&str>::default().next(), None);
    }
}
