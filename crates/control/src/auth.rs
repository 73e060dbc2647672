//! Who may ask what. Everything here is pure: facts about the peer and the socket go in, a decision
//! comes out.
//!
//! The facts are the kernel's (`SO_PEERCRED`, unix(7)): uid, gid and pid of the process that
//! connected, as they were when it connected. Supplementary groups are not among them, and
//! reading them from `/proc/PID/status` afterwards would ask about whatever process has that pid by
//! then. The socket's own mode answers instead: connecting needs write permission on the socket
//! file, so while the mode gives none to others, the kernel has already checked that a peer
//! which is neither root nor the owner belongs to the file's group.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The process at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Its effective user id when it connected.
    pub uid: u32,
    /// Its effective group id when it connected.
    pub gid: u32,
    /// Its process id when it connected; for a person to read, never to decide by (pids are reused).
    pub pid: Option<i32>,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {} gid {}", self.uid, self.gid)?;
        match self.pid {
            Some(pid) => write!(f, " pid {pid}"),
            None => Ok(()),
        }
    }
}

/// What a caller is trusted with; each role includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May look.
    Viewer,
    /// May start, stop, restart and signal programs.
    Operator,
    /// May deploy, roll back and run backups.
    Deployer,
    /// May do everything, such as ending the daemon.
    Admin,
}

impl Role {
    /// The name in configuration, on the wire and in errors.
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Deployer => "deployer",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What one can ask of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Opening a connection; only written to the audit, when a stranger is turned away.
    Connect,
    /// Is anybody there?
    Ping,
    /// Which version answers?
    Version,
    /// Programs, backups, disks.
    Status,
    /// The same in numbers.
    Metrics,
    /// Captured output of a program.
    Logs,
    /// Start programs.
    Start,
    /// Stop programs.
    Stop,
    /// Stop and start programs.
    Restart,
    /// Send a signal to programs.
    Signal,
    /// Close and open the log files again, after somebody moved them.
    ReopenLogs,
    /// Change which levels of the daemon's log and of programs' lines are let through.
    LogLevel,
    /// How alerts stand.
    Alerts,
    /// Raise an alert, or say that it is over.
    RaiseAlert,
    /// Not be told of some alerts for a while.
    SilenceAlerts,
    /// End that again.
    UnsilenceAlerts,
    /// Send a test message through each channel.
    TestAlerts,
    /// What went wrong in programs.
    Faults,
    /// Have something done about the work of a fault.
    OrderFault,
    /// Forget faults.
    ForgetFaults,
    /// End the daemon and what it supervises.
    Shutdown,
    /// Replace the running binary in place.
    Upgrade,
}

impl Verb {
    /// Every verb, with its name and the least role that may ask it.
    pub const TABLE: [(Verb, &'static str, Role); 22] = [
        (Verb::Connect, "connect", Role::Viewer),
        (Verb::Ping, "ping", Role::Viewer),
        (Verb::Version, "version", Role::Viewer),
        (Verb::Status, "status", Role::Viewer),
        (Verb::Metrics, "metrics", Role::Viewer),
        (Verb::Logs, "logs", Role::Viewer),
        (Verb::Start, "start", Role::Operator),
        (Verb::Stop, "stop", Role::Operator),
        (Verb::Restart, "restart", Role::Operator),
        (Verb::Signal, "signal", Role::Operator),
        (Verb::ReopenLogs, "reopen_logs", Role::Operator),
        (Verb::LogLevel, "log_level", Role::Operator),
        (Verb::Alerts, "alerts", Role::Viewer),
        (Verb::RaiseAlert, "raise_alert", Role::Operator),
        (Verb::SilenceAlerts, "silence_alerts", Role::Operator),
        (Verb::UnsilenceAlerts, "unsilence_alerts", Role::Operator),
        (Verb::TestAlerts, "test_alerts", Role::Operator),
        (Verb::Faults, "faults", Role::Viewer),
        (Verb::OrderFault, "order_fault", Role::Operator),
        (Verb::ForgetFaults, "forget_faults", Role::Operator),
        (Verb::Shutdown, "shutdown", Role::Admin),
        (Verb::Upgrade, "upgrade", Role::Admin),
    ];

    fn row(self) -> (Verb, &'static str, Role) {
        let index = match self {
            Verb::Connect => 0,
            Verb::Ping => 1,
            Verb::Version => 2,
            Verb::Status => 3,
            Verb::Metrics => 4,
            Verb::Logs => 5,
            Verb::Start => 6,
            Verb::Stop => 7,
            Verb::Restart => 8,
            Verb::Signal => 9,
            Verb::ReopenLogs => 10,
            Verb::LogLevel => 11,
            Verb::Alerts => 12,
            Verb::RaiseAlert => 13,
            Verb::SilenceAlerts => 14,
            Verb::UnsilenceAlerts => 15,
            Verb::TestAlerts => 16,
            Verb::Faults => 17,
            Verb::OrderFault => 18,
            Verb::ForgetFaults => 19,
            Verb::Shutdown => 20,
            Verb::Upgrade => 21,
        };
        Self::TABLE[index]
    }

    /// The name on the wire and in the audit.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The least role that may ask it.
    pub fn needs(self) -> Role {
        self.row().2
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The facts about the socket that decide who is who.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The user the daemon runs as.
    pub own_uid: u32,
    /// The socket file's group, if its mode lets that group connect.
    pub group: Option<u32>,
    /// Whether the socket file's mode keeps others out, so that the kernel vouches for the group
    /// membership of whoever got through.
    pub closed_to_others: bool,
}

/// May they?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Yes, in this role.
    Allow(Role),
    /// No: the actor has this role (none for a stranger) and would need that one.
    Deny {
        /// The role the actor has.
        has: Option<Role>,
        /// The role the verb needs.
        needs: Role,
    },
}

/// The role of that actor, or `None` for a stranger.
///
/// Root and the daemon's own user are admin, since either could replace the daemon anyway. Members
/// of the socket's group are operators. Nobody else has a role, whatever the socket's mode.
pub fn role_of(policy: &Policy, actor: &Actor) -> Option<Role> {
    if actor.uid == 0 || actor.uid == policy.own_uid {
        return Some(Role::Admin);
    }
    let group = policy.group?;
    (policy.closed_to_others || actor.gid == group).then_some(Role::Operator)
}

/// May that actor ask this?
pub fn decide(policy: &Policy, actor: &Actor, verb: Verb) -> Decision {
    let needs = verb.needs();
    match role_of(policy, actor) {
        Some(role) if role >= needs => Decision::Allow(role),
        has => Decision::Deny { has, needs },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAEMON: u32 = 500;
    const DEPLOY: u32 = 700;

    fn actor(uid: u32, gid: u32) -> Actor {
        Actor {
            uid,
            gid,
            pid: Some(4242),
        }
    }

    #[test]
    fn roles_by_peer_and_socket() {
        use Role::{Admin, Operator};
        // (why, socket's group, closed to others, uid, gid, role)
        type Row = (&'static str, Option<u32>, bool, u32, u32, Option<Role>);
        let table: &[Row] = &[
            ("root", None, true, 0, 0, Some(Admin)),
            (
                "root through an open socket",
                Some(DEPLOY),
                false,
                0,
                0,
                Some(Admin),
            ),
            ("the daemon's user", None, true, DAEMON, 1, Some(Admin)),
            (
                "the daemon's user, open socket",
                None,
                false,
                DAEMON,
                1,
                Some(Admin),
            ),
            (
                "primary group",
                Some(DEPLOY),
                true,
                1000,
                DEPLOY,
                Some(Operator),
            ),
            (
                "primary group, open socket",
                Some(DEPLOY),
                false,
                1000,
                DEPLOY,
                Some(Operator),
            ),
            (
                "supplementary group: let in by the kernel",
                Some(DEPLOY),
                true,
                1000,
                1000,
                Some(Operator),
            ),
            (
                "open socket proves nothing",
                Some(DEPLOY),
                false,
                1000,
                1000,
                None,
            ),
            ("no group may connect", None, true, 1000, 1000, None),
            ("no group, open socket", None, false, 1000, 0, None),
            (
                "group number like the daemon's uid",
                None,
                false,
                1000,
                DAEMON,
                None,
            ),
            (
                "group root is not user root",
                Some(DEPLOY),
                false,
                1000,
                0,
                None,
            ),
        ];
        for &(why, group, closed_to_others, uid, gid, role) in table {
            let policy = Policy {
                own_uid: DAEMON,
                group,
                closed_to_others,
            };
            assert_eq!(role_of(&policy, &actor(uid, gid)), role, "{why}");
        }
    }

    #[test]
    fn decisions() {
        let policy = Policy {
            own_uid: DAEMON,
            group: Some(DEPLOY),
            closed_to_others: false,
        };
        for (verb, name, needs) in Verb::TABLE {
            assert_eq!(
                decide(&policy, &actor(0, 0), verb),
                Decision::Allow(Role::Admin),
                "{name}"
            );
            assert_eq!(
                decide(&policy, &actor(1000, 1000), verb),
                Decision::Deny { has: None, needs },
                "a stranger, {name}"
            );
            let member = decide(&policy, &actor(1000, DEPLOY), verb);
            let expected = if matches!(verb, Verb::Shutdown | Verb::Upgrade) {
                Decision::Deny {
                    has: Some(Role::Operator),
                    needs: Role::Admin,
                }
            } else {
                Decision::Allow(Role::Operator)
            };
            assert_eq!(member, expected, "a member, {name}");
        }
    }

    #[test]
    fn each_role_includes_the_ones_before() {
        let roles = [Role::Viewer, Role::Operator, Role::Deployer, Role::Admin];
        assert!(roles.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn every_verb_finds_its_own_row_and_name() {
        for row in Verb::TABLE {
            assert_eq!(row.0.row(), row);
            assert_eq!(
                serde_json::to_string(&row.0).unwrap(),
                format!("\"{}\"", row.1)
            );
        }
    }
}
