//! What the macros make of a message is what `format!` makes of it.

use std::fmt;

use mainstay_log::seelog::Options;
use mainstay_log::{Config, Format, Logger, Pipeline, SinkKind, Surroundings, When, info};

use crate::front::ALONE;
use crate::{clock, text};

struct Named(&'static str);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Named").field(&self.0).finish()
    }
}

impl Named {
    fn say(&self, all: &mut Vec<String>) {
        info!("{self} and {}", self.0);
        all.push(format!("{self} and {}", self.0));
    }
}

/// A value whose `Display` fails half way.
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("half")?;
        Err(fmt::Error)
    }
}

/// Logs while it is shown.
struct Chatty;

impl fmt::Display for Chatty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        info!("inside {}", 1);
        f.write_str("outside")
    }
}

const TEN: u8 = 10;
const MESSAGE: &str = "handed on";

macro_rules! hand_on {
    ($message:literal $($rest:tt)*) => { info!($message $($rest)*) };
}

#[test]
fn messages_are_what_format_makes_of_them() {
    let _alone = ALONE.lock().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path(), jiff::tz::TimeZone::UTC);
    let file = |name: &str| SinkKind::File { path: name.into() };
    let plain = Format::seelog("%Msg%n", &Options::new()).unwrap();
    config.route("plain", When::default(), file("plain"), plain);
    config.route("text", When::default(), file("text"), Format::text());
    config.route("json", When::default(), file("json"), Format::json());
    let surroundings = Surroundings::new(clock());
    Logger::new(Pipeline::build(&config, surroundings).unwrap()).make_global();

    let mut all = Vec::new();
    macro_rules! same {
        ($($message:tt)+) => {{
            info!($($message)+);
            all.push(format!($($message)+));
        }};
    }
    let (user, text_of, slice, float) = (-17_i64, String::from("ü \"quoted\""), "slice", 1.5);
    let (boxed, width, named) = (Box::<str>::from("boxed"), 8, Named("Ada"));
    same!("plain");
    same!("");
    same!("braces {{}} and {{{user}}}");
    same!("{user} {text_of} {slice} {float} {boxed} {named} {TEN}");
    same!("{} {} {} {}", user, text_of, slice.len(), 'c');
    same!("{}{}", u64::MAX, i64::MIN,);
    same!("{0} {1} {0}", user, slice);
    same!(
        "{user:>8} {text_of:?} {named:?} {named:>6}|{named:<6}| {float:.3} {:#x} {:08.2}",
        255,
        2.5
    );
    same!("{:width$} {:>1$} {:.*}", user, 9, 2, float);
    same!("{who} {}", user, who = named);
    same!("{who:?} {who}", who = Some(1).map_or(0, |n| n + 1));
    same!(
        "{} {}",
        Vec::<u8>::new().len(),
        [1, 2].iter().map(|n| n * 2).sum::<i32>()
    );
    same!("{:p} {:p}", slice, &raw const user);
    same!("escaped \\ \u{e4} \x41 {}", "\u{1f600}");
    same!(r#"raw "{}" \n"#, user);
    same!(
        "a long \
           one {user}"
    );
    same!("{}", if user < 0 { "negative" } else { "positive" });
    same!("{}", &&&user);
    same!("{}", text_of.clone() + "moved");
    same!("{}", format_args!("{user}-{slice}"));
    same!(concat!("made {} ", "of two"), user);
    let mut count = 0;
    same!("{}", {
        count += 1;
        count
    });
    assert_eq!(count, 2, "once for each of both");
    named.say(&mut all);
    hand_on!("handed {} {user}", slice);
    all.push(format!("handed {slice} {user}"));
    info!("{MESSAGE}");
    all.push(MESSAGE.to_owned());
    info!("{} {}", Broken, 1);
    all.push("half<cannot be shown>".to_owned());

    // The block above was evaluated anew for what is expected.
    let block = all.iter().position(|message| message == "2").unwrap();
    all[block] = "1".to_owned();
    let expected: String = all.iter().map(|message| format!("{message}\n")).collect();
    assert_eq!(text(dir.path().join("plain")), expected);
    let json: Vec<String> = text(dir.path().join("json"))
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["message"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(json, all);
    let lines = text(dir.path().join("text"));
    for (line, message) in lines.lines().zip(&all) {
        assert!(line.ends_with(message.as_str()), "{line} is {message}");
    }

    // What is logged meanwhile, once for each of three formats, comes before the record it is in.
    info!("{}", Chatty);
    let plain = text(dir.path().join("plain"));
    let ends = "inside 1\noutside\ninside 1\ninside 1\n";
    assert!(plain.ends_with(ends), "{plain}");
}
