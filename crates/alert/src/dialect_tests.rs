//! Each service's limits, and that a stranger's text calls nobody.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::message::Rest;
use crate::{Alert, Entry, Key, Link, Machine, Policy};

/// What strangers write, for every service what means something there.
const NASTY: &[&str] = &[
    "<!channel>",
    "<@U012>",
    "<at id=all></at>",
    "<at user_id=\"all\">",
    "<@all>",
    "@everyone",
    "@here",
    "@all",
    "<at>ops</at>",
    "**bold**",
    "*b* _i_ ~s~ `c`",
    "```",
    "[link](https://evil.example.com)",
    "||spoiler||",
    "&amp;",
    "\"quoted\"\\",
    "😀😀😀",
    "資料庫",
    "<script>",
    "\n",
    "# head",
    "\t\t",
];

fn nasty(length: usize) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => prop::sample::select(NASTY).prop_map(str::to_owned),
        1 => "[a-z ]{1,20}",
        1 => "\\PC{1,30}",
    ];
    (prop::collection::vec(piece, 1..8), 1..length)
        .prop_map(|(pieces, times)| pieces.concat().repeat(times))
}

fn entry() -> impl Strategy<Value = Entry> {
    let texts = (nasty(20), nasty(300), nasty(20), nasty(5));
    let context = prop::collection::vec(nasty(30), 0..25);
    let numbers = (0..4_usize, 0..4_u8, 0..1_000_000_u64, any::<bool>());
    (texts, context, numbers).prop_map(|((title, body, app, label), context, numbers)| {
        let (severity, standing, fresh, host) = numbers;
        let alert = Alert::new(app, Severity::ALL[severity], title)
            .body(body)
            .context(context)
            .label(label.clone(), label.clone())
            .link(label.clone(), format!("https://example.com/{label}"))
            .command(label.clone())
            .host(if host { label } else { String::new() })
            .trimmed();
        Entry {
            key: Key::new(alert.key.app, alert.key.fingerprint),
            severity: alert.severity,
            title: alert.title,
            body: alert.body,
            host: alert.host,
            standing: [
                Standing::New,
                Standing::Again,
                Standing::Still,
                Standing::Resolved,
            ][usize::from(standing)],
            lasting: true,
            since: Timestamp::UNIX_EPOCH,
            last: Timestamp::UNIX_EPOCH,
            fresh,
            total: fresh.max(1),
            muted: 0,
            labels: alert.labels,
            links: alert.links,
            context: alert.context,
            command: alert.command,
        }
    })
}

fn message() -> impl Strategy<Value = Message> {
    let purpose = prop::sample::select(vec![
        Purpose::Alert,
        Purpose::Alert,
        Purpose::Summary,
        Purpose::Digest,
    ]);
    let entries = prop_oneof![
        3 => prop::collection::vec(entry(), 1..2),
        1 => prop::collection::vec(entry(), 1..50),
    ];
    (purpose, entries, any::<bool>(), nasty(3)).prop_map(|(purpose, entries, rest, host)| {
        let mut message = Message::test("salt.1", "shop1", Timestamp::UNIX_EPOCH);
        message.host = crate::alert::cut(host.replace('\n', " "), 100);
        message.purpose = purpose;
        message.entries = entries;
        message.rest = rest.then_some(Rest {
            count: 1000,
            kinds: 7,
            severity: Severity::Error,
            since: Timestamp::UNIX_EPOCH,
        });
        message.notes = vec!["The limit of 20 messages per 1h is reached.".into()];
        message
    })
}

/// All texts in a value that people are shown.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// Whether a sign stands without its character of no width.
fn bare(text: &str, sign: char) -> bool {
    text.split(sign)
        .skip(1)
        .any(|after| !after.starts_with('\u{200b}') && !after.is_empty())
}

fn check(message: &Message) -> Result<(), TestCaseError> {
    let zone = TimeZone::UTC;
    let one = |dialect: Dialect| bodies(dialect, message, &zone, "-100").remove(0);

    let slack = one(Dialect::Slack);
    let blocks = slack["blocks"].as_array().unwrap();
    prop_assert!(blocks.len() <= 50);
    prop_assert!(units(blocks[0]["text"]["text"].as_str().unwrap()) <= 150);
    prop_assert!(units(blocks[1]["text"]["text"].as_str().unwrap()) <= 3000);
    for block in blocks {
        prop_assert_eq!(&block["text"]["type"], "plain_text");
        prop_assert!(!block["text"]["text"].as_str().unwrap().is_empty());
    }
    prop_assert!(!slack["text"].as_str().unwrap().contains(['<', '>']));

    let teams = one(Dialect::Teams);
    prop_assert!(teams.to_string().len() <= 28_000);
    let card = &teams["attachments"][0]["content"];
    for block in card["body"].as_array().unwrap() {
        prop_assert_eq!(&block["type"], "RichTextBlock", "a text block would format");
    }
    prop_assert!(card["msteams"].get("entities").is_none(), "no mention");

    let discord = one(Dialect::Discord);
    let content = discord["content"].as_str().unwrap();
    prop_assert!(units(content) <= 2000);
    prop_assert_eq!(&discord["allowed_mentions"], &json!({ "parse": [] }));
    let (head, block) = content.split_once("```\n").unwrap();
    prop_assert_eq!(block.matches("```").count(), 1, "only its end: {}", content);
    prop_assert!(block.ends_with("```"));
    let subject = head.strip_prefix("**").unwrap().trim_end();
    let subject = subject.strip_suffix("**").unwrap();
    let mut before = ' ';
    for c in subject.chars() {
        if before == '\\' {
            before = ' ';
            continue;
        }
        prop_assert!(!"*_~`|[<@#".contains(c), "{c} formats in {subject}");
        before = c;
    }

    let telegram = one(Dialect::Telegram);
    let text = telegram["text"].as_str().unwrap();
    prop_assert!(units(text) <= 4096);
    prop_assert!(telegram.get("parse_mode").is_none());
    prop_assert!(!bare(text, '@'), "{}", text);

    let feishu = one(Dialect::Feishu);
    prop_assert!(feishu.to_string().len() + 200 <= 20_000);
    for text in texts(&feishu) {
        prop_assert!(!bare(text, '<'), "{}", text);
    }

    let dingtalk = one(Dialect::Dingtalk);
    prop_assert!(dingtalk.to_string().len() <= 20_000);
    prop_assert_eq!(&dingtalk["at"]["isAtAll"], false);
    prop_assert!(!bare(dingtalk["text"]["content"].as_str().unwrap(), '@'));

    let wecom = one(Dialect::Wecom);
    let content = wecom["text"]["content"].as_str().unwrap();
    prop_assert!(content.len() <= 2048);
    prop_assert!(!bare(content, '@') && !bare(content, '<'), "{}", content);
    prop_assert!(wecom["text"].get("mentioned_list").is_none());

    let apprise = one(Dialect::Apprise);
    for name in ["title", "body"] {
        let text = apprise[name].as_str().unwrap();
        prop_assert!(units(text) <= 8000 && !text.is_empty());
        prop_assert!(!bare(text, '@') && !bare(text, '<'), "{}", text);
    }

    let events = bodies(Dialect::Pagerduty, message, &zone, "");
    let expected = match message.purpose {
        Purpose::Digest => 0,
        _ => message.entries.len() + usize::from(message.rest.is_some()),
    };
    prop_assert_eq!(events.len(), expected);
    for event in &events {
        prop_assert!(event.to_string().len() + 1000 <= 512 * 1024);
        prop_assert!(
            event["payload"]["summary"]
                .as_str()
                .unwrap()
                .chars()
                .count()
                <= 1024
        );
        prop_assert!((1..=255).contains(&event["dedup_key"].as_str().unwrap().len()));
        prop_assert!(!event["payload"]["source"].as_str().unwrap().is_empty());
    }
    Ok(())
}

proptest! {
    #[test]
    fn each_service_keeps_its_limits_and_a_stranger_calls_nobody(message in message()) {
        check(&message)?;
    }
}

/// The largest message that the machine makes: many kinds, each of the most that is kept.
#[test]
fn the_largest_message_keeps_to_the_limits() {
    let mut machine = Machine::new(
        Policy {
            group_by: vec![crate::policy::GroupBy::Host],
            ..Policy::default()
        },
        "h".repeat(128),
        "salt",
    );
    for n in 0..200_u32 {
        let mut alert = Alert::new("a".repeat(500), Severity::Critical, "😀".repeat(500))
            .fingerprint(format!("{n}{}", "f".repeat(500)))
            .body("\"".repeat(100_000))
            .context((0..50).map(|_| "\\".repeat(5000)))
            .command("c".repeat(5000));
        for label in 0..100 {
            alert = alert.label(format!("{label}"), "\"".repeat(5000));
        }
        alert.links = vec![
            Link {
                title: "t".repeat(1000),
                url: format!("https://{}", "u".repeat(5000)),
            };
            20
        ];
        machine.raise(alert, Timestamp::UNIX_EPOCH);
    }
    let later = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(1);
    let messages = machine.tick(later);
    assert_eq!(messages.len(), 1);
    check(&messages[0]).unwrap();
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
