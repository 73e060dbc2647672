//! How each service wants to be told, pure: a message as JSON within the service's limits, with
//! nothing in it that the service would take for a command.

use std::time::Duration;

use jiff::tz::TimeZone;
use mainstay_base::hex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::alert::cut;
use crate::message::{Message, Purpose, Standing};
use crate::severity::Severity;
use crate::text;

/// Whose webhook it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Our own JSON, for programs.
    Json,
    /// Slack's incoming webhooks.
    Slack,
    /// A Teams workflow that posts an adaptive card.
    Teams,
    /// Discord's webhooks.
    Discord,
    /// A Telegram bot.
    Telegram,
    /// A custom bot of Feishu, or of Lark, its name abroad.
    Feishu,
    /// A custom robot of `DingTalk`.
    Dingtalk,
    /// A robot in a group of `WeCom`.
    Wecom,
    /// `PagerDuty`'s Events API v2: an incident for each kind of alert, resolved with it.
    Pagerduty,
    /// A server of Apprise, which knows a hundred further services.
    Apprise,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Json,
        Self::Slack,
        Self::Teams,
        Self::Discord,
        Self::Telegram,
        Self::Feishu,
        Self::Dingtalk,
        Self::Wecom,
        Self::Pagerduty,
        Self::Apprise,
    ];

    /// The name as a config has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
            Self::Teams => "teams",
            Self::Discord => "discord",
            Self::Telegram => "telegram",
            Self::Feishu => "feishu",
            Self::Dingtalk => "dingtalk",
            Self::Wecom => "wecom",
            Self::Pagerduty => "pagerduty",
            Self::Apprise => "apprise",
        }
    }

    /// The address of a service that has one for all; what is secret there is the token.
    pub const fn standard_url(self) -> Option<&'static str> {
        match self {
            Self::Telegram => Some("https://api.telegram.org"),
            Self::Pagerduty => Some("https://events.pagerduty.com/v2/enqueue"),
            _ => None,
        }
    }
}

/// Slack refuses a longer text of a section (reference of the section block).
const SLACK_SECTION: usize = 3000;
/// And of a header.
const SLACK_HEADER: usize = 150;
/// Discord refuses longer content (webhook resource, execute webhook).
const DISCORD_CONTENT: usize = 2000;
/// Telegram refuses longer texts (Bot API, sendMessage).
const TELEGRAM_TEXT: usize = 4096;
/// Teams refuses larger messages; a little is left for what it adds.
const TEAMS_BYTES: usize = 28_000 - 1000;
/// Feishu refuses larger requests (custom bot guide: 20 KB); the signature is added to it.
const FEISHU_BYTES: usize = 20_000 - 500;
/// `DingTalk` refuses larger requests (custom robot: 20000 bytes).
const DINGTALK_BYTES: usize = 20_000 - 500;
/// `WeCom` cuts a longer text (group robot: 2048 bytes of UTF-8).
const WECOM_TEXT: usize = 2048;
/// `PagerDuty` refuses a longer summary (Events API v2, alert event).
const PAGERDUTY_SUMMARY: usize = 1024;
/// And a longer key.
const PAGERDUTY_KEY: usize = 255;
/// `PagerDuty` refuses larger events (512 KB); its key is added to it.
const PAGERDUTY_BYTES: usize = 512_000 - 1000;
/// What Apprise gets; it cuts as the service behind it asks.
const APPRISE_TEXT: usize = 8000;

/// The bodies of the requests, one for each; few services need more than one, and none is no request.
pub(crate) fn bodies(
    dialect: Dialect,
    message: &Message,
    zone: &TimeZone,
    chat: &str,
) -> Vec<Value> {
    vec![match dialect {
        Dialect::Json => plain(message, zone),
        Dialect::Slack => slack(message, zone),
        Dialect::Teams => teams(message, zone),
        Dialect::Discord => discord(message, zone),
        Dialect::Telegram => telegram(message, zone, chat),
        Dialect::Feishu => feishu(message, zone),
        Dialect::Dingtalk => dingtalk(message, zone),
        Dialect::Wecom => wecom(message, zone),
        Dialect::Pagerduty => return pagerduty(message, zone),
        Dialect::Apprise => apprise(message, zone),
    }]
}

/// The largest of these that keeps to so many bytes as JSON, made with ever less room for its text.
fn fitted(bytes: usize, make: impl Fn(usize) -> Value) -> Value {
    let mut room = bytes * 3 / 5;
    loop {
        let made = make(room);
        if made.to_string().len() <= bytes || room < 100 {
            return made;
        }
        room = room * 3 / 4;
    }
}

/// A character without width behind each of these, so that the text reads the same and calls nobody.
fn defused(text: &str, signs: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        out.push(c);
        if signs.contains(&c) {
            out.push('\u{200b}');
        }
    }
    out
}

/// The end of a message in a chat: a robot may be set to take only what has a keyword in it, and
/// `mainstay` is one.
fn signed_off(message: &Message) -> String {
    format!("mainstay on {}, message {}", message.host, message.id)
}

/// Services count in UTF-16 units or in characters; the former is never less.
fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

pub(crate) fn plain(message: &Message, zone: &TimeZone) -> Value {
    json!({
        "schema": 1,
        "id": message.id,
        "at": message.at,
        "purpose": message.purpose,
        "host": message.host,
        "severity": message.severity(),
        "resolved": message.is_resolved(),
        "subject": text::subject(message),
        "text": text::full(message, zone),
        "entries": message.entries,
        "rest": message.rest,
        "notes": message.notes,
    })
}

/// Slack's `plain_text` knows no formatting and no mentions. The text beside the blocks is for
/// notifications, and is escaped as its formatting guide says, so that `<!channel>` is only text.
fn slack(message: &Message, zone: &TimeZone) -> Value {
    let subject = text::subject(message);
    let escaped = subject
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let shown = text::short(message, zone, SLACK_SECTION, str::to_owned, units);
    json!({
        "text": escaped,
        "blocks": [
            { "type": "header", "text": { "type": "plain_text", "emoji": false,
                "text": within(&subject, SLACK_HEADER) } },
            { "type": "section", "text": { "type": "plain_text", "emoji": false, "text": shown } },
        ],
    })
}

fn colour(message: &Message) -> &'static str {
    match message.severity() {
        _ if message.is_resolved() => "Good",
        Severity::Critical | Severity::Error => "Attention",
        Severity::Warning => "Warning",
        Severity::Info => "Default",
    }
}

/// Runs of rich text are shown as they are; a mention needs an entity, and there are none.
fn teams(message: &Message, zone: &TimeZone) -> Value {
    let card = |most: usize| {
        let run = |text: &str, mono: bool| {
            json!({ "type": "TextRun", "text": text,
                "fontType": if mono { "Monospace" } else { "Default" } })
        };
        let mut blocks = vec![json!({
            "type": "RichTextBlock",
            "inlines": [{ "type": "TextRun", "text": text::subject(message), "weight": "Bolder",
                "size": "Medium", "color": colour(message) }],
        })];
        let shown = text::short(message, zone, most, str::to_owned, units);
        blocks.extend(shown.lines().filter(|line| !line.is_empty()).map(|line| {
            json!({ "type": "RichTextBlock", "spacing": "None",
                "inlines": [run(line, line.starts_with("  "))] })
        }));
        json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "msteams": { "width": "Full" },
                    "body": blocks,
                },
            }],
        })
    };
    fitted(TEAMS_BYTES, card)
}

/// The text stands in a block of code, where Discord formats nothing, and cannot end it: each
/// backtick is followed by a character without width. No mention is looked for at all.
fn discord(message: &Message, zone: &TimeZone) -> Value {
    let escape = |text: &str| defused(text, &['`']);
    let subject: String = text::subject(message)
        .chars()
        .flat_map(|c| {
            let special = "\\*_~`|>#[]()<:@-".contains(c);
            special.then_some('\\').into_iter().chain([c])
        })
        .collect();
    let head = format!("**{subject}**\n```\n");
    let room = DISCORD_CONTENT.saturating_sub(units(&head) + 4);
    let shown = text::short(message, zone, room, escape, units);
    json!({
        "content": within(&format!("{head}{shown}\n```"), DISCORD_CONTENT),
        "allowed_mentions": { "parse": [] },
    })
}

/// Without a `parse_mode` nothing is formatted; but `@name` would still call somebody, so a
/// character without width stands behind each `@`.
fn telegram(message: &Message, zone: &TimeZone, chat: &str) -> Value {
    let escape = |text: &str| defused(text, &['@']);
    let subject = escape(&text::subject(message));
    let room = TELEGRAM_TEXT.saturating_sub(units(&subject) + 2);
    let shown = text::short(message, zone, room, escape, units);
    json!({
        "chat_id": chat,
        "text": within(&format!("{subject}\n\n{shown}"), TELEGRAM_TEXT),
        "link_preview_options": { "is_disabled": true },
        "disable_notification": message.entries.iter().all(|entry| {
            entry.standing == Standing::Resolved || entry.severity == Severity::Info
        }),
    })
}

/// A post, whose runs of text are shown as they are; `<at …>` is a mention in other kinds of messages,
/// so it is defused all the same.
fn feishu(message: &Message, zone: &TimeZone) -> Value {
    let escape = |text: &str| defused(text, &['<']);
    fitted(FEISHU_BYTES, |room| {
        let shown = text::short(message, zone, room, escape, str::len);
        let lines: Vec<Value> = shown
            .lines()
            .chain([escape(&signed_off(message)).as_str()])
            .map(|line| json!([{ "tag": "text", "text": line }]))
            .collect();
        json!({
            "msg_type": "post",
            "content": { "post": { "en_us": {
                "title": escape(&text::subject(message)),
                "content": lines,
            } } },
        })
    })
}

/// Plain text; whom it calls is said beside it, and that is nobody.
fn dingtalk(message: &Message, zone: &TimeZone) -> Value {
    let escape = |text: &str| defused(text, &['@']);
    fitted(DINGTALK_BYTES, |room| {
        let subject = escape(&text::subject(message));
        let shown = text::short(message, zone, room, escape, str::len);
        json!({
            "msgtype": "text",
            "text": { "content": format!("{subject}\n\n{shown}\n{}", escape(&signed_off(message))) },
            "at": { "atMobiles": [], "atUserIds": [], "isAtAll": false },
        })
    })
}

/// Plain text; `<@name>` would be a mention.
fn wecom(message: &Message, zone: &TimeZone) -> Value {
    let escape = |text: &str| defused(text, &['<', '@']);
    let subject = escape(&text::subject(message));
    let end = escape(&signed_off(message));
    let room = WECOM_TEXT.saturating_sub(subject.len() + end.len() + 3);
    let shown = text::short(message, zone, room, escape, str::len);
    json!({
        "msgtype": "text",
        "text": { "content": cut(format!("{subject}\n\n{shown}\n{end}"), WECOM_TEXT) },
    })
}

/// An event for each kind of alert, because that is what is resolved. What could wait for the digest
/// wakes nobody.
fn pagerduty(message: &Message, zone: &TimeZone) -> Vec<Value> {
    if message.purpose == Purpose::Digest {
        return Vec::new();
    }
    let entries = message.entries.iter().map(|entry| {
        let host = if entry.host.is_empty() {
            &message.host
        } else {
            &entry.host
        };
        let resolved = entry.standing == Standing::Resolved;
        let links: Vec<Value> = entry
            .links
            .iter()
            .filter(|link| link.url.starts_with("https://") || link.url.starts_with("http://"))
            .map(|link| json!({ "href": link.url, "text": link.title }))
            .collect();
        json!({
            "event_action": if resolved { "resolve" } else { "trigger" },
            "dedup_key": pagerduty_key(host, &entry.key.to_string()),
            "client": "mainstay",
            "links": links,
            "payload": {
                "summary": within(&format!("{}: {}", entry.key.app, entry.title), PAGERDUTY_SUMMARY),
                "source": host,
                "severity": entry.severity,
                "timestamp": entry.since,
                "component": entry.key.app,
                "custom_details": {
                    "text": cut(text::entry(message, entry, zone), PAGERDUTY_BYTES / 4),
                    "fresh": entry.fresh,
                    "total": entry.total,
                    "message": message.id,
                },
            },
        })
    });
    let rest = message.rest.as_ref().map(|rest| {
        json!({
            "event_action": "trigger",
            "dedup_key": pagerduty_key(&message.host, &message.id),
            "client": "mainstay",
            "payload": {
                "summary": within(&text::rest(message, zone).unwrap_or_default(), PAGERDUTY_SUMMARY),
                "source": message.host,
                "severity": rest.severity,
                "timestamp": rest.since,
            },
        })
    });
    entries.chain(rest).collect()
}

/// The key of an incident: the host and the kind of alert, or a digest of both where that is too
/// long.
fn pagerduty_key(host: &str, key: &str) -> String {
    let whole = format!("{host}/{key}");
    if whole.len() <= PAGERDUTY_KEY {
        return whole;
    }
    hex(&Sha256::digest(whole.as_bytes()))
}

/// What is behind Apprise is not known, so what calls somebody anywhere is defused.
fn apprise(message: &Message, zone: &TimeZone) -> Value {
    let escape = |text: &str| defused(text, &['@', '<']);
    json!({
        "title": escape(&text::subject(message)),
        "body": text::short(message, zone, APPRISE_TEXT, escape, units),
        "type": match message.severity() {
            _ if message.is_resolved() => "success",
            Severity::Critical | Severity::Error => "failure",
            Severity::Warning => "warning",
            Severity::Info => "info",
        },
        "format": "text",
    })
}

/// At most so many UTF-16 units of the text.
fn within(text: &str, most: usize) -> String {
    if units(text) <= most {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.len_utf16();
        if used > most {
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    kept
}

/// How long a service asks to be left alone: `Retry-After` in seconds (RFC 9110 section 10.2.3),
/// or what Discord and Telegram say in the body.
pub(crate) fn retry_after(header: Option<&str>, body: &str) -> Option<Duration> {
    let from_header = header.and_then(|text| text.trim().parse::<f64>().ok());
    let from_body = || {
        let body: Value = serde_json::from_str(body).ok()?;
        body.get("retry_after")
            .or_else(|| body.pointer("/parameters/retry_after"))?
            .as_f64()
    };
    let seconds = from_header.or_else(from_body)?;
    (seconds.is_finite() && (0.0..1e9).contains(&seconds)).then(|| Duration::from_secs_f64(seconds))
}

/// What a service says of a message in the body of a 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Taken,
    /// Not now: after so long, or after the usual time where that is zero.
    Later(Duration),
    Never,
}

/// Some services answer everything with 200 and say in the body whether they took it.
pub(crate) fn word(dialect: Dialect, body: &str) -> Word {
    let minute = Duration::from_mins(1);
    let (keys, waits): (&[&str], &[(i64, Duration)]) = match dialect {
        // Too many in a minute or in a second (error codes of the server API).
        Dialect::Feishu => (
            &["code", "StatusCode"],
            &[(11_232, minute), (11_233, minute)],
        ),
        // Past twenty in a minute a robot is deaf for ten (custom robot, limits).
        Dialect::Dingtalk => (
            &["errcode"],
            &[
                (130_101, Duration::from_mins(10)),
                (410_100, Duration::from_mins(10)),
                (-1, Duration::ZERO),
            ],
        ),
        // More than twenty in a minute, too many at once, busy (global error codes).
        Dialect::Wecom => (
            &["errcode"],
            &[(45_009, minute), (45_033, minute), (-1, Duration::ZERO)],
        ),
        _ => return Word::Taken,
    };
    let code = serde_json::from_str::<Value>(body)
        .ok()
        .and_then(|body| keys.iter().find_map(|key| body.get(key)?.as_i64()));
    match code {
        Some(0) => Word::Taken,
        Some(code) => waits
            .iter()
            .find(|(known, _)| *known == code)
            .map_or(Word::Never, |(_, wait)| Word::Later(*wait)),
        // Not the service: a portal or a proxy in between.
        None => Word::Later(Duration::ZERO),
    }
}

/// What a service said of a request, short enough for an error.
pub(crate) fn excerpt(body: &str) -> String {
    let line: String = body
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    cut(line.trim().to_owned(), 200)
}

#[cfg(test)]
#[path = "dialect_tests.rs"]
mod tests;
