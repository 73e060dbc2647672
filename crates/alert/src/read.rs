//! The `[alert]` section of a config file as a [`Config`].

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use mainstay_base::config::{FromValue, Section, Value, one_of};
use mainstay_base::{Diagnostic, Schedule, Size, parse_duration};

use crate::config::{Config, Keep};
use crate::policy::{Digest, GroupBy, Limit, Policy};
use crate::read_channel::{read_channel, read_heartbeat};

/// What the section does not say.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// The host that messages name.
    pub host: String,
    /// The zone of times in messages and of the digest's schedule.
    pub zone: TimeZone,
    /// The database of the outbox.
    pub outbox: PathBuf,
}

impl Config {
    /// The config of a file without `[alert]`: alerts are kept and listed, and nobody is told.
    pub fn standard(defaults: &Defaults) -> Self {
        let mut config = Self::new(&defaults.host, &defaults.outbox);
        config.zone = defaults.zone.clone();
        if let Some(digest) = &mut config.policy.digest {
            digest.at = digest.at.clone().in_zone(defaults.zone.clone());
        }
        config
    }

    /// Reads `[alert]`; what is wrong with it goes to the document's list of diagnostics. The
    /// caller puts its resolver of secrets into [`Config::resolver`].
    ///
    /// ```toml
    /// [alert]
    /// group_by = ["app", "fingerprint"]   # also severity, host: what makes alerts of one message
    /// wait = "30s"                        # the first message of a group waits for what belongs to it
    /// interval = "5m"                     # at least between two messages of a group
    /// repeat = "12h"                      # what lasts is told again
    /// forget = "1h"                       # an event that does not happen again is forgotten
    /// limit = "20 per hour"               # over all messages, or "none"; the rest is told summed
    /// digest = { at = "0 8 * * *", below = "warning" }   # or false: everything by itself
    /// keep = { age = "3d", size = "16MB", history = "30d", messages = 1000 }
    /// channel_failure = "5m"              # so long a channel may fail before the others tell it
    /// heartbeat = { url = { file = "secrets/heartbeat" }, every = "1m" }   # a dead man's switch
    /// [alert.to.admin]
    /// when = { severity = "critical", app = ["blog*", "shop"] }   # default: from warning, all apps
    /// mail = { to = ["ops@example.com"], from = "mainstay <mainstay@example.com>",
    ///          server = "smtp.example.com:587", user = "ops", password = "${secret.smtp}" }
    /// [alert.to.chat]
    /// webhook = { kind = "slack", url = { file = "secrets/slack" } }
    /// [alert.to.pager]
    /// exec = { command = ["/usr/local/bin/page", "--urgent"], env = { TOKEN = "${secret.pager}" } }
    /// ```
    ///
    /// A channel is one of:
    ///
    /// - `mail`, which also has `tls` (`required`, the default, is STARTTLS; `opportunistic`;
    ///   `implicit`; `none`), `password_file` instead of `password`, `ca` (PEM files with the only
    ///   authorities that are believed), `timeout` (`30s`, for each answer of the server; a whole
    ///   delivery may take four times that), `subject` (what stands in front of each subject) and
    ///   `headers` (a table). The port is 587, 465 with implicit TLS and 25 without TLS.
    /// - `webhook`, with `kind`, `url`, `ca` and `timeout` (`30s`, for all of a request), and by kind:
    ///   - `json`: our own JSON, for programs; `secret` is the key of the HMAC-SHA256 of the body in
    ///     `X-Mainstay-Signature-256`;
    ///   - `slack`, `teams` (a workflow that posts a card), `discord`;
    ///   - `telegram`: `token` (the bot's) and `chat`; no `url` but for a server of one's own;
    ///   - `feishu` (and Lark), `dingtalk`: `secret` where the robot asks for signatures; where it asks
    ///     for a keyword, `mainstay` is in every message;
    ///   - `wecom`;
    ///   - `pagerduty`: `token` is the routing key of an integration of the Events API v2; no `url` but
    ///     for the service region of the EU. Each kind of alert is an incident, which is resolved with
    ///     it; a digest makes none;
    ///   - `apprise`: the `url` is that of a server of Apprise, as in `http://host:8000/notify/key`.
    /// - `exec`: `command` (a list, or a text that is split as by a shell, without one), `env` (a table),
    ///   `user` (by default the one mainstay runs as) and `timeout` (`30s`, then it is killed with all
    ///   of its group). The program gets the message on its standard input, as the JSON of a webhook of
    ///   kind `json`. It ends with 0 when it has taken the message, with 65 when it never will;
    ///   otherwise it is tried again. It has no environment but `PATH`, `LANG`,
    ///   `MAINSTAY_MESSAGE_ID` (the same at each attempt) and `env`.
    ///
    /// `heartbeat` asks an address (GET) at an interval: a service outside that hears nothing tells
    /// somebody that the host is dead. It is held back while no channel works. It has `url`, `every`
    /// (`1m`), `ca` and `timeout` (`20s`).
    ///
    /// Addresses and tokens that are secrets are references: `"${secret.NAME}"`, `{ file = … }`,
    /// `{ env = … }` or `{ credential = … }`.
    pub fn read(mut section: Section<'_>, defaults: &Defaults) -> Self {
        let mut config = Self::standard(defaults);
        config.policy = read_policy(&mut section, config.policy, &defaults.zone);
        config.keep = read_keep(&mut section);
        if let Some(length) = section.get::<Duration>("channel_failure") {
            config.channel_failure = length;
        }
        config.heartbeat = section.section("heartbeat").and_then(read_heartbeat);
        for (name, channel) in section.sections("to") {
            config.channels.extend(read_channel(name.value, channel));
        }
        section.finish();
        config
    }
}

fn read_policy(section: &mut Section<'_>, mut policy: Policy, zone: &TimeZone) -> Policy {
    if let Some(by) = section.get_spanned::<Vec<GroupBy>>("group_by") {
        if by.value.is_empty() {
            section.report(
                Diagnostic::error("alerts are grouped by something")
                    .at(&by.place)
                    .help("write group_by = [\"app\", \"fingerprint\"]"),
            );
        }
        policy.group_by = by.value;
    }
    policy.wait = section.get("wait").unwrap_or(policy.wait);
    policy.interval = section.get("interval").unwrap_or(policy.interval);
    if let Some(repeat) = section.get_spanned::<Duration>("repeat") {
        if repeat.value < Duration::from_mins(1) {
            section.report(
                Diagnostic::error("`repeat` is at least 1m")
                    .at(&repeat.place)
                    .help("what lasts would fill the limit of messages alone"),
            );
        }
        policy.repeat = repeat.value;
    }
    policy.forget = section.get("forget").unwrap_or(policy.forget);
    if let Some(value) = section.value("limit") {
        match read_limit(&value) {
            Ok(limit) => policy.limit = limit,
            Err(diagnostic) => section.report(diagnostic),
        }
    }
    if let Some(value) = section.value("digest") {
        if value.is_table() {
            if let (Some(mut table), Some(digest)) =
                (section.section("digest"), policy.digest.take())
            {
                policy.digest = Some(Digest {
                    at: table
                        .get::<Schedule>("at")
                        .map_or(digest.at, |at| at.in_zone(zone.clone())),
                    below: table.get("below").unwrap_or(digest.below),
                });
                table.finish();
            }
        } else if section.get::<bool>("digest") == Some(false) {
            policy.digest = None;
        } else if matches!(bool::from_value(&value), Ok(true)) {
            section.report(
                value
                    .error("`true` does not say when")
                    .help("write digest = { at = \"0 8 * * *\" }, or leave it out for that"),
            );
        }
    }
    policy
}

/// `20 per hour`, `5 per 10m`, `none`.
fn read_limit(value: &Value<'_>) -> Result<Option<Limit>, Diagnostic> {
    let text = value.as_str()?;
    if text == "none" {
        return Ok(None);
    }
    let form = "write \"20 per hour\", \"5 per 10m\" or \"none\"";
    let refuse = |why: &str| Err(value.error(why).help(form));
    let Some((messages, per)) = text.split_once(" per ") else {
        return refuse("it is no limit");
    };
    let per = match per.trim() {
        "minute" => Duration::from_mins(1),
        "hour" => Duration::from_hours(1),
        "day" => Duration::from_hours(24),
        other => match parse_duration(other) {
            Ok(per) if !per.is_zero() => per,
            _ => return refuse(&format!("`{other}` is no span of time")),
        },
    };
    match messages.trim().parse() {
        Ok(messages) if messages > 0 => Ok(Some(Limit { messages, per })),
        _ => refuse("the number of messages is at least 1"),
    }
}

fn read_keep(section: &mut Section<'_>) -> Keep {
    let default = Keep::default();
    let Some(mut keep) = section.section("keep") else {
        return default;
    };
    let read = Keep {
        age: keep.get("age").unwrap_or(default.age),
        size: keep
            .get::<Size>("size")
            .map_or(default.size, |Size(bytes)| bytes),
        history: keep.get("history").unwrap_or(default.history),
        messages: keep.get("messages").unwrap_or(default.messages),
    };
    keep.finish();
    read
}

impl FromValue for GroupBy {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let all = [Self::App, Self::Fingerprint, Self::Severity, Self::Host];
        one_of(value, "part of a group", &all, |by| match by {
            Self::App => "app",
            Self::Fingerprint => "fingerprint",
            Self::Severity => "severity",
            Self::Host => "host",
        })
    }
}

#[cfg(test)]
mod tests {
    use mainstay_base::config::Document;

    use super::*;
    use crate::config::{Target, Tls};
    use crate::severity::Severity;

    fn read(text: &str) -> (Config, String) {
        let document = Document::parse("m.toml", text).unwrap();
        let mut root = document.root();
        let defaults = Defaults {
            host: "shop1".into(),
            zone: TimeZone::UTC,
            outbox: "/var/lib/mainstay/alerts.db".into(),
        };
        let config = Config::read(root.section("alert").unwrap(), &defaults);
        root.finish();
        (config, document.take_diagnostics().to_string())
    }

    #[test]
    fn everything_at_once() {
        let (config, said) = read(
            r#"
            [alert]
            group_by = ["app"]
            wait = "1s"
            interval = "2s"
            repeat = "3h"
            forget = "4m"
            limit = "5 per 10m"
            digest = { at = "0 7 * * *", below = "error" }
            keep = { age = "1d", size = "1MB", history = "2d", messages = 7 }
            channel_failure = "8m"
            [alert.to.admin]
            when = { severity = "critical", app = ["blog*", "shop"] }
            mail = { to = ["Ops <ops@example.com>", "b@example.com"], from = "m@example.com", server = "smtp.example.com:2525", tls = "implicit", user = "ops", password = "${secret.smtp}", ca = "ca.pem", timeout = "5s", headers = { "X-Team" = "ops" } }
            [alert.to.relay]
            mail = { to = "ops@example.com", from = "m@example.com", server = "localhost", tls = "none" }
            [alert.to.chat]
            when = { app = "blog" }
            webhook = { kind = "slack", url = { file = "slack" } }
            [alert.to.bot]
            webhook = { kind = "telegram", token = "${secret.bot}", chat = -100 }
            [alert.to.own]
            webhook = { kind = "json", url = "http://127.0.0.1:1/x", secret = "${env.KEY}" }
            [alert.to.lark]
            webhook = { kind = "feishu", url = "${secret.lark}", secret = "${secret.sign}" }
            [alert.to.pager]
            webhook = { kind = "pagerduty", token = "${secret.pager}" }
            [alert.to.script]
            exec = { command = "/bin/page --to 'the team'", env = { TOKEN = "${secret.t}", MODE = "fast" }, user = "nobody", timeout = "5s" }
            [alert.to.list]
            exec = { command = ["page", "a b"] }
            [alert.heartbeat]
            url = { file = "beat" }
            every = "2m"
            timeout = "3s"
            ca = ["a.pem", "b.pem"]
            "#,
        );
        assert_eq!(said, "");
        let policy = &config.policy;
        assert_eq!(policy.group_by, [GroupBy::App]);
        assert_eq!(policy.wait, Duration::from_secs(1));
        assert_eq!(
            policy.limit,
            Some(Limit {
                messages: 5,
                per: Duration::from_mins(10)
            })
        );
        assert_eq!(policy.digest.as_ref().unwrap().below, Severity::Error);
        assert_eq!(config.keep.messages, 7);
        let [admin, relay, chat, bot, own, lark, pager, script, list] = config.channels.as_slice()
        else {
            panic!("{:?}", config.channels);
        };
        assert!(admin.when.takes("blog-2", Severity::Critical));
        assert!(!admin.when.takes("blog-2", Severity::Error));
        assert!(!admin.when.takes("other", Severity::Critical));
        let Target::Mail(mail) = &admin.target else {
            panic!("{admin:?}")
        };
        assert_eq!((mail.host.as_str(), mail.port), ("smtp.example.com", 2525));
        assert_eq!(mail.headers, [("X-Team".to_owned(), "ops".to_owned())]);
        let Target::Mail(mail) = &relay.target else {
            panic!("{relay:?}")
        };
        assert_eq!((mail.port, mail.tls, &mail.user), (25, Tls::None, &None));
        assert_eq!(chat.when.severity, Severity::Warning);
        let Target::Webhook(hook) = &bot.target else {
            panic!("{bot:?}")
        };
        assert_eq!(hook.chat, "-100");
        assert!(matches!(&own.target, Target::Webhook(hook) if hook.secret.is_some()));
        assert!(matches!(&lark.target, Target::Webhook(hook) if hook.secret.is_some()));
        assert!(matches!(&pager.target, Target::Webhook(hook)
            if hook.token.is_some() && format!("{:?}", hook.url).contains("events.pagerduty.com")));
        let (Target::Exec(script), Target::Exec(list)) = (&script.target, &list.target) else {
            panic!("{script:?} {list:?}")
        };
        assert_eq!(script.command, ["/bin/page", "--to", "the team"]);
        let names: Vec<&str> = script.env.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["MODE", "TOKEN"]);
        assert_eq!(script.user.as_deref(), Some("nobody"));
        assert_eq!(list.command, ["page", "a b"]);
        let heartbeat = config.heartbeat.unwrap();
        assert_eq!(heartbeat.every, Duration::from_mins(2));
        assert_eq!(heartbeat.timeout, Duration::from_secs(3));
        assert_eq!(heartbeat.ca.len(), 2);
    }

    #[test]
    fn faults_are_told_at_their_place() {
        let mail = "to = \"a@b.c\", from = \"m@b.c\", server = \"h\"";
        for (text, expected) in [
            (
                "wiat = \"1s\"",
                "m.toml:2:1: error: unknown key `wiat` in [alert]",
            ),
            ("wiat = \"1s\"", "did you mean `wait`?"),
            (
                "limit = \"many\"",
                "m.toml:2:9: error: `alert.limit`: it is no limit",
            ),
            ("limit = \"0 per hour\"", "at least 1"),
            ("digest = true", "does not say when"),
            ("group_by = [\"ap\"]", "did you mean `app`?"),
            ("group_by = []", "grouped by something"),
            ("repeat = \"1s\"", "at least 1m"),
            (
                "[alert.to.x]",
                "exactly one of `mail`, `webhook` and `exec`",
            ),
            (
                &format!("[alert.to.x]\nmail = {{ {mail} }}\nexec = {{ command = \"x\" }}"),
                "exactly one of `mail`, `webhook` and `exec`",
            ),
            ("[alert.to.x]\nexec = { command = [] }", "names no program"),
            (
                "[alert.to.x]\nexec = { }",
                "`alert.to.x.exec.command` is missing",
            ),
            (
                "[alert.to.x]\nexec = { command = [\"page\", \"${secret.token}\"] }",
                "everybody on the host can read the arguments",
            ),
            (
                "[alert.to.x]\nexec = { command = \"page 'x\" }",
                "a quote is not closed",
            ),
            (
                "[alert.to.x]\nexec = { command = \"page\", timeout = \"1h\" }",
                "`timeout` is from 1s to 10m",
            ),
            (
                "[alert.to.x]\npagerduty = { token = \"x\" }",
                "write webhook = { kind = \"pagerduty\", … }",
            ),
            (
                "[alert.to.x]\nwebhook = { kind = \"pagerduty\" }",
                "`alert.to.x.webhook.token` is missing",
            ),
            (
                "[alert.to.x]\nwebhook = { kind = \"wecom\", url = { file = \"x\" }, secret = \"${secret.x}\" }",
                "only a webhook of kind `json` or `feishu` or `dingtalk` has it",
            ),
            (
                "heartbeat = { every = \"1m\" }",
                "`alert.heartbeat.url` is missing",
            ),
            (
                "heartbeat = { url = \"http://h\", every = \"1s\" }",
                "`every` is from 10s to 24h",
            ),
            (
                "[alert.to.x]\nmail = { from = \"m@b.c\", server = \"h\" }",
                "`alert.to.x.mail.to` is missing",
            ),
            (
                &format!("[alert.to.x]\nmail = {{ {mail}, tls = \"requird\" }}"),
                "did you mean `required`?",
            ),
            (
                &format!("[alert.to.x]\nmail = {{ {mail}, user = \"u\" }}"),
                "belong together",
            ),
            (
                &format!("[alert.to.x]\nmail = {{ {mail}, user = \"u\", password = \"hunter2\" }}"),
                "never written into the config",
            ),
            (
                &format!("[alert.to.x]\nmail = {{ {mail}, headers = {{ Subject = \"x\" }} }}"),
                "set by mainstay itself",
            ),
            (
                "[alert.to.x]\nmail = { to = \"nobody\", from = \"m@b.c\", server = \"h\" }",
                "`nobody` is no mail address",
            ),
            (
                "[alert.to.x]\nmail = { to = \"a@b.c\", from = \"m@b.c\", server = \"h:x\" }",
                "`h:x` is no server",
            ),
            (
                "[alert.to.x]\nwhen = \"severity >= critical\"\nwebhook = { kind = \"json\", url = \"http://h\" }",
                "when = { severity",
            ),
            (
                "[alert.to.x]\nwhen = { severity = \"crit\" }\nwebhook = { kind = \"json\", url = \"http://h\" }",
                "is no severity",
            ),
            (
                "[alert.to.x]\nwebhook = { kind = \"slak\", url = \"x\" }",
                "did you mean `slack`?",
            ),
            (
                "[alert.to.x]\nwebhook = { kind = \"slack\", url = \"https://hooks/SECRET\" }",
                "never written into the config",
            ),
            (
                "[alert.to.x]\nwebhook = { kind = \"json\", url = \"http://h\", chat = \"1\" }",
                "only a webhook of kind `telegram`",
            ),
            (
                "[alert.to.x]\nwebhook = { kind = \"telegram\" }",
                "`alert.to.x.webhook.token` is missing",
            ),
        ] {
            let (_, said) = read(&format!("[alert]\n{text}\n"));
            assert!(said.contains(expected), "{text}\n{said}");
        }
    }
}
