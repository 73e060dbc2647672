//! Which scheduled job is due when. Pure: time comes in, names come out.

use jiff::Timestamp;
use mainstay_base::Schedule;

/// The jobs that have a schedule, and when each is due next.
#[derive(Debug)]
pub(crate) struct Timetable<K> {
    jobs: Vec<Job<K>>,
}

#[derive(Debug)]
struct Job<K> {
    name: K,
    schedule: Schedule,
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
        schedule: Schedule,
        last: Option<Timestamp>,
        now: Timestamp,
    ) {
        let next = match last.and_then(|last| schedule.next_after(last)) {
            Some(missed) if missed <= now => Some(now),
            _ => schedule.next_after(now),
        };
        self.jobs.push(Job {
            name,
            schedule,
            next,
            running: false,
        });
    }

    /// The names that are due now. Each is running until [`Timetable::ended`]; a time that comes
    /// while it still runs is passed over.
    pub(crate) fn due(&mut self, now: Timestamp) -> Vec<K> {
        let mut names = Vec::new();
        for job in &mut self.jobs {
            if job.next.is_some_and(|next| next <= now) {
                job.next = job.schedule.next_after(now);
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

    fn at(text: &str) -> Timestamp {
        format!("2026-11-22T{text}Z").parse().unwrap()
    }

    fn table(schedule: &str, last: Option<&str>, now: &str) -> Timetable<&'static str> {
        let mut table = Timetable::default();
        table.add("db", schedule.parse().unwrap(), last.map(at), at(now));
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
    fn a_missed_time_is_made_up_for_once() {
        let mut table = table("0 * * * *", Some("07:00:00"), "10:30:00");
        assert_eq!(table.due(at("10:30:00")), ["db"]);
        table.ended(&"db");
        assert!(table.due(at("10:30:01")).is_empty());
        assert_eq!(table.next(), Some(at("11:00:00")));
    }

    #[test]
    fn a_job_that_ran_on_time_is_not_made_up_for() {
        assert_eq!(
            table("0 * * * *", Some("10:00:00"), "10:30:00").next(),
            Some(at("11:00:00"))
        );
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
