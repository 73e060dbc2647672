//! Which program a process belongs to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_control::Actor;
use mainstay_supervise::{Event, Phase, ProgramSpec, Status};

/// How far up its parents a process is looked for.
const GENERATIONS: usize = 32;

/// The processes of the programs.
#[derive(Default)]
pub(super) struct Roster {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The program of each process that was started, by its id.
    pids: BTreeMap<i32, String>,
    /// The program that alone runs as this user.
    users: BTreeMap<u32, String>,
}

/// The program of a process, by the process's name.
fn program(process: &str) -> &str {
    process
        .split_once(':')
        .map_or(process, |(program, _)| program)
}

impl Roster {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the users of the programs. One that several programs run as, and those that may do
    /// everything, name none.
    pub(super) fn read(&self, programs: &[Arc<ProgramSpec>], own: u32) {
        let mut users: BTreeMap<u32, Option<String>> = BTreeMap::new();
        for spec in programs {
            let uid = match &spec.user {
                None => own,
                Some(user) => match uid(user) {
                    Some(uid) => uid,
                    None => continue,
                },
            };
            users
                .entry(uid)
                .and_modify(|one| *one = None)
                .or_insert_with(|| Some(spec.name.clone()));
        }
        let alone = users
            .into_iter()
            .filter(|(uid, _)| *uid != 0 && *uid != own)
            .filter_map(|(uid, program)| Some((uid, program?)));
        self.state().users = alone.collect();
    }

    /// Takes what happened in the supervision.
    pub(super) fn note(&self, event: &Event) {
        match event {
            Event::Spawned { process, pid }
            | Event::Adopted { process, pid, .. }
            | Event::LeftOver { process, pid } => {
                self.insert(*pid, program(process));
            }
            Event::Changed(change) => {
                let is_over = matches!(
                    change.to,
                    Phase::Stopped | Phase::Backoff | Phase::Exited | Phase::Fatal
                );
                if is_over && let Some(pid) = change.pid.and_then(|pid| i32::try_from(pid).ok()) {
                    self.state().pids.remove(&pid);
                }
            }
            _ => {}
        }
    }

    /// Takes how the processes are now.
    pub(super) fn refresh(&self, statuses: &[Status]) {
        for status in statuses {
            if let Some(pid) = status.pid {
                self.insert(pid, &status.program);
            }
        }
    }

    fn insert(&self, pid: u32, program: &str) {
        if let Ok(pid) = i32::try_from(pid) {
            self.state().pids.insert(pid, program.to_owned());
        }
    }

    /// Whether a process of this program runs.
    pub(super) fn runs(&self, program: &str) -> bool {
        self.state().pids.values().any(|other| other == program)
    }

    /// The program that it belongs to: its session is that of a process that was started, or a parent
    /// of it was started, or it runs as the user of one program alone.
    pub(super) fn who(&self, actor: &Actor) -> Option<String> {
        let state = self.state();
        let by_process = actor.pid.and_then(|pid| {
            let session = relations(pid).and_then(|(_, session)| session);
            let own = [Some(pid), session].into_iter().flatten();
            let parents = std::iter::successors(parent(pid), |pid| parent(*pid));
            own.chain(parents.take(GENERATIONS))
                .find_map(|pid| state.pids.get(&pid))
        });
        by_process.or_else(|| state.users.get(&actor.uid)).cloned()
    }
}

/// The user of this name or number.
fn uid(user: &str) -> Option<u32> {
    if let Ok(uid) = user.parse() {
        return Some(uid);
    }
    Some(mainstay_sys::users::lookup(user).ok()??.identity.uid)
}

/// The parent and the session of a process, by `/proc/PID/stat` (`proc_pid_stat(5)`). What lies beyond
/// our namespace of pids is none.
fn relations(pid: i32) -> Option<(Option<i32>, Option<i32>)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(1);
    let mut next = || fields.next()?.parse::<i32>().ok();
    let (parent, _group, session) = (next()?, next()?, next()?);
    let real = |pid: i32| (pid > 1).then_some(pid);
    Some((real(parent), real(session)))
}

fn parent(pid: i32) -> Option<i32> {
    relations(pid)?.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(uid: u32, pid: Option<u32>) -> Actor {
        Actor {
            uid,
            gid: uid,
            pid: pid.map(u32::cast_signed),
        }
    }

    #[test]
    fn a_process_is_known_by_itself_its_session_its_parents_and_its_user() {
        let roster = Roster::default();
        let own = std::process::id();
        let spawned = |process: &str, pid| Event::Spawned {
            process: process.to_owned(),
            pid,
        };
        assert_eq!(roster.who(&actor(4242, Some(own))), None);
        roster.note(&spawned("web:1", own));
        assert!(roster.runs("web") && !roster.runs("web:1"));
        assert_eq!(roster.who(&actor(4242, Some(own))).as_deref(), Some("web"));
        // A child, in a session of its own or not.
        for command in ["sleep", "setsid"] {
            let mut child = std::process::Command::new(command);
            child.args(if command == "sleep" {
                &["60"][..]
            } else {
                &["sleep", "60"]
            });
            let mut child = child.spawn().unwrap();
            let found = roster.who(&actor(4242, Some(child.id())));
            let _ = child.kill();
            let _ = child.wait();
            assert_eq!(found.as_deref(), Some("web"), "{command}");
        }
        assert_eq!(roster.who(&actor(4242, Some(1))), None, "init is nobody's");
        assert_eq!(roster.who(&actor(4242, None)), None);
    }

    #[test]
    fn a_user_is_a_program_only_where_no_other_has_it() {
        let spec = |name: &str, user: Option<&str>| {
            let mut spec = ProgramSpec::new(name, Vec::new(), "/log".as_ref());
            spec.user = user.map(str::to_owned);
            Arc::new(spec)
        };
        let programs = [
            spec("web", Some("4001")),
            spec("worker", Some("4002")),
            spec("other", Some("4002")),
            spec("plain", None),
            spec("root", Some("0")),
        ];
        let roster = Roster::default();
        roster.read(&programs, 500);
        for (uid, expected) in [
            (4001, Some("web")),
            (4002, None),
            (500, None),
            (0, None),
            (9, None),
        ] {
            assert_eq!(roster.who(&actor(uid, None)).as_deref(), expected, "{uid}");
        }
    }
}
