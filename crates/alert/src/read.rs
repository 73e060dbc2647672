//! The `[alert]` section of a config file as a [`Config`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use mainstay_base::config::{FromValue, Section, Value, one_of};
use mainstay_base::{Diagnostic, Pattern, Schedule, SecretRef, Size, Template, parse_duration};

use crate::channel::Credential;
use crate::config::{
    ChannelConfig, Config, ExecConfig, HeartbeatConfig, Keep, MailConfig, Target, Tls,
    WebhookConfig,
};
use crate::dialect::Dialect;
use crate::mail::{TIMEOUTS, check_header};
use crate::message::When;
use crate::policy::{Digest, GroupBy, Limit, Policy};

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
    ///   delivery may take four times that) and `headers` (a table). The port is 587, 465 with
    ///   implicit TLS and 25 without TLS.
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

fn read_channel(name: String, mut section: Section<'_>) -> Option<ChannelConfig> {
    let text = section.value("when").filter(Value::is_str);
    let when = if let Some(text) = text {
        section.report(
            text.error("a condition is a table")
                .help("write when = { severity = \"critical\" }"),
        );
        When::default()
    } else {
        section.section("when").map(read_when).unwrap_or_default()
    };
    for dialect in Dialect::ALL {
        // A service that is known, written as if it were a channel of its own.
        if let Some(value) = section.value(dialect.name()) {
            section.report(
                value
                    .error(format!("`{}` is a kind of webhook", dialect.name()))
                    .help(format!(
                        "write webhook = {{ kind = \"{}\", … }}",
                        dialect.name()
                    )),
            );
        }
    }
    let kinds = ["mail", "webhook", "exec"];
    let given = kinds
        .iter()
        .filter(|kind| section.value(kind).is_some())
        .count();
    let mail = section.section("mail").and_then(read_mail);
    let webhook = section.section("webhook").and_then(read_webhook);
    let exec = section.section("exec").and_then(read_exec);
    if given != 1 {
        section.report(
            Diagnostic::error(format!(
                "the channel `{name}` is exactly one of `mail`, `webhook` and `exec`"
            ))
            .at(section.place())
            .help(format!(
                "write mail = {{ … }}, webhook = {{ … }} or exec = {{ … }} in [{}]",
                section.path()
            )),
        );
    }
    section.finish();
    Some(ChannelConfig {
        name,
        when,
        target: mail
            .map(Target::Mail)
            .or(webhook.map(Target::Webhook))
            .or(exec.map(Target::Exec))?,
    })
}

/// A list, or a text alone for a list of one.
fn one_or_more<T: FromValue>(section: &mut Section<'_>, key: &str) -> Vec<T> {
    match section.value(key) {
        Some(value) if value.is_str() => section.get::<T>(key).into_iter().collect(),
        Some(_) => section.get::<Vec<T>>(key).unwrap_or_default(),
        None => Vec::new(),
    }
}

fn read_when(mut section: Section<'_>) -> When {
    let default = When::default();
    let when = When {
        severity: section.get("severity").unwrap_or(default.severity),
        apps: one_or_more::<String>(&mut section, "app")
            .into_iter()
            .map(Pattern::new)
            .collect(),
    };
    section.finish();
    when
}

fn missing(section: &mut Section<'_>, key: &str, form: &str) -> bool {
    let missing = section.value(key).is_none();
    if missing {
        section.report(
            Diagnostic::error(format!("`{}.{key}` is missing", section.path()))
                .at(section.place())
                .help(format!("add {form}")),
        );
    }
    missing
}

fn read_timeout(section: &mut Section<'_>, default: Duration) -> Duration {
    let Some(timeout) = section.get_spanned::<Duration>("timeout") else {
        return default;
    };
    let (least, most) = TIMEOUTS;
    if timeout.value < least || timeout.value > most {
        section.report(
            Diagnostic::error("`timeout` is from 1s to 10m")
                .at(&timeout.place)
                .help("30s is enough for most servers"),
        );
    }
    timeout.value
}

fn read_mail(mut section: Section<'_>) -> Option<MailConfig> {
    let tls = section.get::<Tls>("tls").unwrap_or(Tls::Required);
    missing(&mut section, "to", "to = [\"ops@example.com\"]");
    let to = addresses(&mut section, "to");
    missing(&mut section, "from", "from = \"mainstay@example.com\"");
    let from = addresses(&mut section, "from").into_iter().next();
    missing(&mut section, "server", "server = \"smtp.example.com:587\"");
    let server = section.value("server").and_then(|value| {
        read_server(&value, tls)
            .map_err(|diagnostic| section.report(diagnostic))
            .ok()
    });
    let user = section.get::<String>("user");
    let password = read_credential(&mut section, "password", true);
    let password_file = section
        .get::<PathBuf>("password_file")
        .map(|path| Credential::Reference(SecretRef::File(path)));
    let has_password = section.value("password").is_some();
    let has_file = section.value("password_file").is_some();
    if has_password && has_file {
        section.report(
            Diagnostic::error("`password` and `password_file` exclude each other")
                .at(section.place())
                .help("keep one of them"),
        );
    }
    if user.is_some() != (has_password || has_file) {
        section.report(
            Diagnostic::error("`user` and a password belong together")
                .at(section.place())
                .help("give both for a server with a login, none for a relay without one"),
        );
    }
    let ca = one_or_more(&mut section, "ca");
    let timeout = read_timeout(&mut section, Duration::from_secs(30));
    let mut headers = Vec::new();
    if let Some(value) = section.value("headers") {
        let named = section
            .get::<BTreeMap<String, String>>("headers")
            .unwrap_or_default();
        for (name, text) in named {
            if let Err(why) = check_header(&name, &text) {
                section.report(value.error(why).help("remove or rename the header"));
            }
            headers.push((name, text));
        }
    }
    section.finish();
    let (host, port) = server?;
    Some(MailConfig {
        to,
        from: from?,
        host,
        port,
        tls,
        ca,
        user,
        password: password.or(password_file),
        timeout,
        headers,
    })
}

/// Mail addresses, each checked; a text alone is a list of one.
fn addresses(section: &mut Section<'_>, key: &str) -> Vec<String> {
    let found = one_or_more::<String>(section, key);
    if let Some(value) = section.value(key) {
        for text in &found {
            if let Err(error) = text.parse::<lettre::message::Mailbox>() {
                section.report(
                    value
                        .error(format!("`{text}` is no mail address: {error}"))
                        .help("write ops@example.com or Ops <ops@example.com>"),
                );
            }
        }
        if found.is_empty() && value.as_array().is_ok_and(|items| items.is_empty()) {
            section.report(
                value
                    .error("it names nobody")
                    .help("name at least one address"),
            );
        }
    }
    found
}

/// `HOST` or `HOST:PORT`; an IPv6 address stands in brackets.
fn read_server(value: &Value<'_>, tls: Tls) -> Result<(String, u16), Diagnostic> {
    let text = String::from_value(value)?;
    let default = match tls {
        Tls::Required | Tls::Opportunistic => 587,
        Tls::Implicit => 465,
        Tls::None => 25,
    };
    let refuse = || {
        value
            .error(format!("`{text}` is no server"))
            .help("write smtp.example.com or smtp.example.com:587")
    };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(refuse)?;
            (
                host,
                rest.strip_prefix(':')
                    .or(if rest.is_empty() { None } else { Some("") }),
            )
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text.as_str(), None),
        },
    };
    let port = match port {
        Some(port) => port.parse().map_err(|_| refuse())?,
        None => default,
    };
    if host.is_empty() || host.contains([' ', '/', '@']) || port == 0 {
        return Err(refuse());
    }
    Ok((host.to_owned(), port))
}

/// A secret by reference. Where `secret` is set, a text without a reference is refused: the config
/// names where secrets are, it does not hold them.
fn read_credential(section: &mut Section<'_>, key: &str, secret: bool) -> Option<Credential> {
    let value = section.value(key)?;
    let form = "write \"${secret.NAME}\" or { file = \"…\" }";
    if value.is_table() {
        return section.get::<SecretRef>(key).map(Credential::Reference);
    }
    let template = section.get::<Template>(key)?;
    if template.has_secret() || template.parts().len() > 1 {
        return Some(Credential::Template(template));
    }
    if let [mainstay_base::secret::Part::Env(_)] = template.parts() {
        return Some(Credential::Template(template));
    }
    if secret {
        section.report(
            value
                .error("a secret is never written into the config")
                .label("readable by whoever reads the config")
                .help(form),
        );
        return None;
    }
    Some(Credential::Template(template))
}

fn read_webhook(mut section: Section<'_>) -> Option<WebhookConfig> {
    use Dialect::{Dingtalk, Feishu, Json, Pagerduty, Telegram};
    missing(&mut section, "kind", "kind = \"slack\"");
    let dialect = section.get::<Dialect>("kind");
    // The address of these is all that it takes to post there.
    let address_is_secret = matches!(
        dialect,
        Some(
            Dialect::Slack
                | Dialect::Teams
                | Dialect::Discord
                | Dialect::Feishu
                | Dialect::Dingtalk
                | Dialect::Wecom
        )
    );
    let standard = dialect.and_then(Dialect::standard_url);
    if standard.is_none() && dialect.is_some() {
        missing(&mut section, "url", "url = { file = \"secrets/webhook\" }");
    }
    let url = read_credential(&mut section, "url", address_is_secret)
        .or_else(|| standard.map(|url| Credential::Template(Template::literal(url))));
    let token = read_credential(&mut section, "token", true);
    let secret = read_credential(&mut section, "secret", true);
    let chat = match section.value("chat") {
        Some(value) if value.is_str() => section.get::<String>("chat"),
        Some(_) => section.get::<i64>("chat").map(|id| id.to_string()),
        None => None,
    };
    for (key, kinds, form) in [
        (
            "token",
            [Telegram, Pagerduty].as_slice(),
            Some("token = { file = \"secrets/token\" }"),
        ),
        (
            "chat",
            &[Telegram],
            Some("chat = \"-1001234567890\", the id of the chat"),
        ),
        ("secret", &[Json, Feishu, Dingtalk], None),
    ] {
        let Some(dialect) = dialect else { break };
        if !kinds.contains(&dialect) {
            only_for(&mut section, key, kinds);
        } else if let Some(form) = form {
            missing(&mut section, key, form);
        }
    }
    let ca = one_or_more(&mut section, "ca");
    let timeout = read_timeout(&mut section, Duration::from_secs(30));
    section.finish();
    Some(WebhookConfig {
        dialect: dialect?,
        url: url?,
        token,
        chat: chat.unwrap_or_default(),
        secret,
        ca,
        timeout,
    })
}

fn only_for(section: &mut Section<'_>, key: &str, kinds: &[Dialect]) {
    if let Some(value) = section.value(key) {
        let names: Vec<String> = kinds
            .iter()
            .map(|kind| format!("`{}`", kind.name()))
            .collect();
        section.report(
            value
                .error(format!(
                    "only a webhook of kind {} has it",
                    names.join(" or ")
                ))
                .help("remove it, or change `kind`"),
        );
    }
}

fn read_exec(mut section: Section<'_>) -> Option<ExecConfig> {
    missing(
        &mut section,
        "command",
        "command = [\"/usr/local/bin/page\", \"--urgent\"]",
    );
    let command = section.value("command").and_then(|value| {
        read_command(&value)
            .map_err(|diagnostic| section.report(diagnostic))
            .ok()
    });
    let env = section.get_spanned::<BTreeMap<String, Template>>("env");
    if let Some(env) = &env {
        for name in env.value.keys() {
            if name.is_empty() || name.contains(['=', '\0']) {
                section.report(
                    Diagnostic::error(format!("`{name}` is no name of a variable"))
                        .at(&env.place)
                        .help("write it as a program reads it, as in TOKEN = \"${secret.pager}\""),
                );
            }
        }
    }
    let env = env.map_or_else(Vec::new, |env| {
        env.value
            .into_iter()
            .map(|(name, value)| (name, Credential::Template(value)))
            .collect()
    });
    let user = section.get::<String>("user");
    let timeout = read_timeout(&mut section, Duration::from_secs(30));
    section.finish();
    Some(ExecConfig {
        command: command?,
        env,
        user,
        timeout,
    })
}

/// A list of words, or a text that is split into some.
fn read_command(value: &Value<'_>) -> Result<Vec<String>, Diagnostic> {
    let words: Vec<String> = if value.is_str() {
        shell_words::split(value.as_str()?).map_err(|_| value.error("a quote is not closed"))?
    } else {
        value
            .as_array()?
            .iter()
            .map(|word| word.as_str().map(str::to_owned))
            .collect::<Result<_, _>>()?
    };
    if words.first().is_none_or(String::is_empty) {
        return Err(value
            .error("it names no program")
            .help("write command = [\"/usr/local/bin/page\"]"));
    }
    if words
        .iter()
        .any(|word| word.contains("${secret.") || word.contains("${env."))
    {
        return Err(value
            .error("a command has no references in it: everybody on the host can read the arguments of a process")
            .help("hand it over in a variable, as in env = { TOKEN = \"${secret.NAME}\" }"));
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(value.error("an argument has no NUL in it"));
    }
    Ok(words)
}

fn read_heartbeat(mut section: Section<'_>) -> Option<HeartbeatConfig> {
    missing(
        &mut section,
        "url",
        "url = { file = \"secrets/heartbeat\" }",
    );
    let url = read_credential(&mut section, "url", false);
    let every = section.get_spanned::<Duration>("every");
    if let Some(every) = &every
        && !(Duration::from_secs(10)..=Duration::from_hours(24)).contains(&every.value)
    {
        section.report(
            Diagnostic::error("`every` is from 10s to 24h")
                .at(&every.place)
                .help("1m is what most services expect"),
        );
    }
    let ca = one_or_more(&mut section, "ca");
    let timeout = read_timeout(&mut section, Duration::from_secs(20));
    section.finish();
    let default = HeartbeatConfig::new(url?);
    Some(HeartbeatConfig {
        every: every.map_or(default.every, |every| every.value),
        ca,
        timeout,
        ..default
    })
}

impl FromValue for Tls {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        one_of(value, "way to protect a connection", &Self::ALL, Self::name)
    }
}

impl FromValue for Dialect {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        one_of(value, "kind of webhook", &Self::ALL, Self::name)
    }
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
