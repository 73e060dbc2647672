//! How processes are, and what the config says of them, straight into the bytes of an answer.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_supervise::{Exit, Phase, Status};

use std::borrow::Cow;
use std::path::PathBuf;

use super::times::{capped, moment, seconds, uptime};
use crate::namespec;
use crate::xmlrpc::{StructWriter, ValueWriter};

/// Where the errors of a process go; none, if they go to where its output goes.
pub(super) fn stderr_log(status: &Status) -> Option<&PathBuf> {
    status
        .stderr_log
        .as_ref()
        .filter(|path| status.stdout_log.as_ref() != Some(*path))
}

/// What is wrong with a process, in supervisord's words; nothing while it is up.
fn spawn_error(status: &Status) -> Cow<'_, str> {
    let Some(trouble) = &status.trouble else {
        return "".into();
    };
    match (status.phase, status.last_exit) {
        (Phase::Starting | Phase::Running | Phase::Stopping, _) => "".into(),
        (Phase::Exited, Some(Exit::Code(code))) => format!("Bad exit code {code}").into(),
        (Phase::Exited, Some(_)) => "Bad exit code -1".into(),
        _ => trouble.into(),
    }
}

/// The exit status of a process that is down. A signal is −1, and a failed start has none.
fn exit_status(status: &Status) -> i64 {
    match (status.phase, status.last_exit) {
        (Phase::Stopped | Phase::Exited, Some(Exit::Code(code))) => code.into(),
        (Phase::Stopped | Phase::Exited, Some(Exit::Signal { .. } | Exit::Unknown)) => -1,
        _ => 0,
    }
}

fn stamp(at: Option<Timestamp>) -> i64 {
    at.map_or(0, seconds)
}

/// The line that `supervisorctl status` shows of a process.
pub(crate) fn description(status: &Status, now: Timestamp, zone: &TimeZone) -> String {
    match status.phase {
        Phase::Running => format!(
            "pid {}, uptime {}",
            status.pid.unwrap_or(0),
            uptime(seconds(now) - stamp(status.started))
        ),
        Phase::Fatal | Phase::Backoff => {
            let error = spawn_error(status);
            if error.is_empty() {
                let name = namespec::member(&status.group, &status.process);
                format!("unknown error (try \"tail {name}\")")
            } else {
                error.into_owned()
            }
        }
        Phase::Stopped | Phase::Exited => match status.started {
            // One that was never up has no end; then it is when it was given up.
            Some(_) => moment(status.ended.unwrap_or(status.since), zone),
            None => "Not started".to_owned(),
        },
        Phase::Starting | Phase::Stopping | Phase::Unknown => String::new(),
    }
}

fn shown(path: Option<&PathBuf>) -> Cow<'_, str> {
    path.map_or(Cow::Borrowed(""), |path| path.to_string_lossy())
}

/// Writes processes as `getProcessInfo` has them.
pub(super) struct Writer<'a> {
    now: Timestamp,
    zone: &'a TimeZone,
}

impl<'a> Writer<'a> {
    pub(super) fn new(now: Timestamp, zone: &'a TimeZone) -> Self {
        Self { now, zone }
    }

    pub(super) fn process(&self, status: &Status, writer: ValueWriter<'_>) {
        writer.structure(|members| self.members(status, members));
    }

    fn members(&self, status: &Status, members: &mut StructWriter<'_>) {
        let stdout = shown(status.stdout_log.as_ref());
        let stderr = shown(stderr_log(status));
        members
            .member("name")
            .text(&namespec::member(&status.group, &status.process));
        members.member("group").text(&status.group);
        members.member("start").int(stamp(status.started));
        members.member("stop").int(stamp(status.ended));
        members.member("now").int(seconds(self.now));
        members.member("state").int(status.phase.code().into());
        members.member("statename").text(status.phase.name());
        members.member("spawnerr").text(&spawn_error(status));
        members.member("exitstatus").int(exit_status(status));
        members.member("logfile").text(&stdout);
        members.member("stdout_logfile").text(&stdout);
        members.member("stderr_logfile").text(&stderr);
        members.member("pid").int(status.pid.unwrap_or(0).into());
        members
            .member("description")
            .text(&description(status, self.now, self.zone));
    }
}

/// A path that the config gives, or leaves to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPath {
    /// Ours to choose.
    Auto,
    /// None.
    None,
    /// This one.
    Path(String),
}

impl LogPath {
    fn text(&self) -> &str {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Path(path) => path,
        }
    }
}

/// What the config says of a process, as `getAllConfigInfo` has it. Sizes are in bytes, times in
/// seconds. All fields are those of spec section 1.2.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "they are the options of the config, see the spec"
)]
pub struct ConfigInfo {
    pub autostart: bool,
    pub directory: Option<String>,
    pub uid: Option<u32>,
    pub command: String,
    pub exitcodes: Vec<u8>,
    pub group: String,
    pub group_prio: i64,
    /// Whether the group is supervised.
    pub inuse: bool,
    pub killasgroup: bool,
    pub name: String,
    pub process_prio: i64,
    pub redirect_stderr: bool,
    pub startretries: i64,
    pub startsecs: i64,
    pub stdout_capture_maxbytes: u64,
    pub stdout_events_enabled: bool,
    pub stdout_logfile: LogPath,
    pub stdout_logfile_backups: u64,
    pub stdout_logfile_maxbytes: u64,
    pub stdout_syslog: bool,
    /// The number of the signal.
    pub stopsignal: i32,
    pub stopwaitsecs: i64,
    pub stderr_capture_maxbytes: u64,
    pub stderr_events_enabled: bool,
    pub stderr_logfile: LogPath,
    pub stderr_logfile_backups: u64,
    pub stderr_logfile_maxbytes: u64,
    pub stderr_syslog: bool,
    pub serverurl: LogPath,
}

impl ConfigInfo {
    pub(super) fn write(&self, writer: ValueWriter<'_>) {
        writer.structure(|it| {
            it.member("autostart").bool(self.autostart);
            it.member("directory")
                .text(self.directory.as_deref().unwrap_or("none"));
            match self.uid {
                Some(uid) => it.member("uid").int(capped(uid)),
                None => it.member("uid").text("none"),
            }
            it.member("command").text(&self.command);
            it.member("exitcodes").array(|codes| {
                for code in &self.exitcodes {
                    codes.item().int((*code).into());
                }
            });
            it.member("group").text(&self.group);
            it.member("group_prio").int(capped(self.group_prio));
            it.member("inuse").bool(self.inuse);
            it.member("killasgroup").bool(self.killasgroup);
            it.member("name").text(&self.name);
            it.member("process_prio").int(capped(self.process_prio));
            it.member("redirect_stderr").bool(self.redirect_stderr);
            it.member("startretries").int(capped(self.startretries));
            it.member("startsecs").int(capped(self.startsecs));
            it.member("stdout_capture_maxbytes")
                .int(capped(self.stdout_capture_maxbytes));
            it.member("stdout_events_enabled")
                .bool(self.stdout_events_enabled);
            it.member("stdout_logfile").text(self.stdout_logfile.text());
            it.member("stdout_logfile_backups")
                .int(capped(self.stdout_logfile_backups));
            it.member("stdout_logfile_maxbytes")
                .int(capped(self.stdout_logfile_maxbytes));
            it.member("stdout_syslog").bool(self.stdout_syslog);
            it.member("stopsignal").int(self.stopsignal.into());
            it.member("stopwaitsecs").int(capped(self.stopwaitsecs));
            it.member("stderr_capture_maxbytes")
                .int(capped(self.stderr_capture_maxbytes));
            it.member("stderr_events_enabled")
                .bool(self.stderr_events_enabled);
            it.member("stderr_logfile").text(self.stderr_logfile.text());
            it.member("stderr_logfile_backups")
                .int(capped(self.stderr_logfile_backups));
            it.member("stderr_logfile_maxbytes")
                .int(capped(self.stderr_logfile_maxbytes));
            it.member("stderr_syslog").bool(self.stderr_syslog);
            it.member("serverurl").text(self.serverurl.text());
        });
    }
}
