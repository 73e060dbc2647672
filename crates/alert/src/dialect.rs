//! How each service wants to be told, pure: a message as JSON within the service's limits, with
//! nothing in it that the service would take for a command.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::alert::cut;
use crate::message::{Message, Standing};
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
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Json,
        Self::Slack,
        Self::Teams,
        Self::Discord,
        Self::Telegram,
    ];

    /// The name as a config has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
            Self::Teams => "teams",
            Self::Discord => "discord",
            Self::Telegram => "telegram",
        }
    }
}

/// Slack cuts a section's text here (reference of the section block).
const SLACK_SECTION: usize = 3000;
/// And a header's text here.
const SLACK_HEADER: usize = 150;
/// Discord refuses longer content (webhook resource, execute webhook).
const DISCORD_CONTENT: usize = 2000;
/// Telegram refuses longer texts (Bot API, sendMessage).
const TELEGRAM_TEXT: usize = 4096;
/// Teams refuses larger messages; a little is left for what it adds.
const TEAMS_BYTES: usize = 28_000 - 1000;

/// The body of the request.
pub(crate) fn body(dialect: Dialect, message: &Message, zone: &TimeZone, chat: &str) -> Value {
    match dialect {
        Dialect::Json => plain(message, zone),
        Dialect::Slack => slack(message, zone),
        Dialect::Teams => teams(message, zone),
        Dialect::Discord => discord(message, zone),
        Dialect::Telegram => telegram(message, zone, chat),
    }
}

/// Services count in UTF-16 units or in characters; the former is never less.
fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

fn plain(message: &Message, zone: &TimeZone) -> Value {
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
    let mut most = 16_000;
    loop {
        let made = card(most);
        if made.to_string().len() <= TEAMS_BYTES || most < 100 {
            return made;
        }
        most = most * 3 / 4;
    }
}

/// The text stands in a block of code, where Discord formats nothing, and cannot end it: each
/// backtick is followed by a character without width. No mention is looked for at all.
fn discord(message: &Message, zone: &TimeZone) -> Value {
    let escape = |text: &str| text.replace('`', "`\u{200b}");
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
    let escape = |text: &str| text.replace('@', "@\u{200b}");
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
pub(crate) fn retry_after(header: Option<&str>, body: &str) -> Option<std::time::Duration> {
    let from_header = header.and_then(|text| text.trim().parse::<f64>().ok());
    let from_body = || {
        let body: Value = serde_json::from_str(body).ok()?;
        body.get("retry_after")
            .or_else(|| body.pointer("/parameters/retry_after"))?
            .as_f64()
    };
    let seconds = from_header.or_else(from_body)?;
    (seconds.is_finite() && (0.0..1e9).contains(&seconds))
        .then(|| std::time::Duration::from_secs_f64(seconds))
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
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;

    fn nasty() -> Message {
        let mut message = Message::test("id1", "shop1", Timestamp::UNIX_EPOCH);
        message.purpose = crate::Purpose::Alert;
        let entry = &mut message.entries[0];
        entry.title = "<!channel> @everyone ```*bold* <@U1> & more".into();
        entry.body = "```\n@everyone\n<!here> @admin".into();
        entry.context = (0..20)
            .map(|n| format!("@here {n} ``` {}", "😀".repeat(200)))
            .collect();
        entry.severity = Severity::Critical;
        message
    }

    #[test]
    fn each_service_keeps_its_limits() {
        let message = nasty();
        let zone = TimeZone::UTC;
        let slack = body(Dialect::Slack, &message, &zone, "");
        let section = slack["blocks"][1]["text"]["text"].as_str().unwrap();
        assert!(units(section) <= SLACK_SECTION);
        let discord = body(Dialect::Discord, &message, &zone, "");
        assert!(units(discord["content"].as_str().unwrap()) <= DISCORD_CONTENT);
        let telegram = body(Dialect::Telegram, &message, &zone, "-100");
        assert!(units(telegram["text"].as_str().unwrap()) <= TELEGRAM_TEXT);
        let teams = body(Dialect::Teams, &message, &zone, "");
        assert!(teams.to_string().len() <= TEAMS_BYTES);
    }

    #[test]
    fn text_of_a_log_calls_nobody() {
        let message = nasty();
        let zone = TimeZone::UTC;
        let slack = body(Dialect::Slack, &message, &zone, "");
        assert!(slack["text"].as_str().unwrap().contains("&lt;!channel&gt;"));
        assert!(
            slack["blocks"]
                .as_array()
                .unwrap()
                .iter()
                .all(|block| block["text"]["type"] == "plain_text")
        );
        let discord = body(Dialect::Discord, &message, &zone, "");
        assert_eq!(discord["allowed_mentions"], json!({ "parse": [] }));
        let content = discord["content"].as_str().unwrap();
        let block = content.split_once("```\n").unwrap().1;
        assert_eq!(block.matches("```").count(), 1, "only its end: {content}");
        assert!(content.ends_with("```"), "{content}");
        let telegram = body(Dialect::Telegram, &message, &zone, "1");
        assert!(telegram.get("parse_mode").is_none());
        assert!(!telegram["text"].as_str().unwrap().contains("@everyone"));
    }

    #[test]
    fn how_long_to_wait() {
        for (header, body, expected) in [
            (Some("7"), "", Some(7.0)),
            (None, r#"{"retry_after": 0.5}"#, Some(0.5)),
            (None, r#"{"parameters": {"retry_after": 35}}"#, Some(35.0)),
            (Some("Wed, 21 Oct 2015 07:28:00 GMT"), "", None),
            (Some("-1"), "", None),
            (None, "not json", None),
        ] {
            assert_eq!(
                retry_after(header, body),
                expected.map(Duration::from_secs_f64),
                "{header:?} {body}"
            );
        }
    }
}
