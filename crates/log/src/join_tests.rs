use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

const S: fn(u64) -> Duration = Duration::from_millis;

/// Joins lines that come 1 ms apart; each record with its level, if any.
fn joined(lines: &[&str], limits: Limits) -> Vec<(Option<Level>, String)> {
    let mut joiner = Joiner::new(limits);
    let mut records = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let mut emit = |joined: Joined<'_>| {
            records.push((
                joined.level,
                String::from_utf8_lossy(joined.bytes).into_owned(),
            ));
        };
        joiner.line(line.as_bytes(), S(at as u64), 0, &mut emit);
    }
    joiner.finish(|joined| {
        records.push((
            joined.level,
            String::from_utf8_lossy(joined.bytes).into_owned(),
        ));
    });
    assert_eq!(joiner.wake_at(), None);
    records
}

/// A file of cases: `## name`, then records, each begun by `= LEVEL`, each line behind `> `.
type Case = (String, Vec<(Option<Level>, String)>);

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for row in include_str!("join_cases.txt").lines() {
        if let Some(name) = row.strip_prefix("## ") {
            cases.push((name.to_owned(), Vec::new()));
        } else if let Some(level) = row.strip_prefix("= ") {
            let level = (level != "-").then(|| level.parse().unwrap());
            cases.last_mut().unwrap().1.push((level, String::new()));
        } else if let Some(line) = row.strip_prefix('>') {
            let line = line
                .strip_prefix(' ')
                .unwrap_or(line)
                .replace("\\t", "\t")
                .replace("\\e", "\x1b");
            let text = &mut cases.last_mut().unwrap().1.last_mut().unwrap().1;
            text.push_str(&line);
            text.push('\n');
        }
    }
    for (_, records) in &mut cases {
        for (_, text) in records {
            text.pop();
        }
    }
    cases
}

#[test]
fn table() {
    let mut wrong = String::new();
    let cases = cases();
    assert!(cases.len() >= 30, "{}", cases.len());
    for (name, expected) in cases {
        let all: Vec<&str> = expected
            .iter()
            .flat_map(|(_, text)| text.split('\n'))
            .collect();
        let records = joined(&all, Limits::default());
        if records != expected {
            writeln!(wrong, "## {name}").unwrap();
            for (level, text) in records {
                let level = level.map_or("-", Level::name);
                writeln!(wrong, "= {level}\n> {}", text.replace('\n', "\n> ")).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "what comes out instead:\n{wrong}");
}

#[test]
fn a_record_waits_for_its_next_line_and_no_longer() {
    let mut joiner = Joiner::new(Limits::default());
    let mut seen = Vec::new();
    let mut emit = |joined: Joined<'_>| seen.push((joined.bytes.to_vec(), joined.mark));
    joiner.line(b"plain", S(0), 1, &mut emit);
    assert_eq!(joiner.wake_at(), None, "nothing can follow");
    joiner.line(b"ERROR: one", S(0), 2, &mut emit);
    assert_eq!(joiner.wake_at(), Some(S(300)));
    joiner.line(b"  two", S(200), 3, &mut emit);
    assert_eq!(joiner.wake_at(), Some(S(500)));
    joiner.on_time(S(499), &mut emit);
    assert_eq!(joiner.wake_at(), Some(S(500)));
    joiner.on_time(S(500), &mut emit);
    assert_eq!(joiner.wake_at(), None);
    joiner.line(b"  late", S(501), 4, &mut emit);
    assert_eq!(
        seen,
        [
            (b"plain".to_vec(), 1),
            (b"ERROR: one\n  two".to_vec(), 2),
            (b"  late".to_vec(), 4)
        ]
    );
}

#[test]
fn beyond_the_limits_a_record_goes_on_in_parts() {
    let limits = Limits {
        bytes: 20,
        lines: 3,
        ..Limits::default()
    };
    let mut joiner = Joiner::new(limits);
    let mut seen = Vec::new();
    let mut emit = |joined: Joined<'_>| {
        seen.push((
            String::from_utf8_lossy(joined.bytes).into_owned(),
            joined.level,
            joined.part,
            joined.more,
        ));
    };
    for line in [
        "WARN: a",
        " 1",
        " 2",
        " 3",
        " long line that is more than it",
        "next",
    ] {
        joiner.line(line.as_bytes(), S(0), 0, &mut emit);
    }
    let warn = Some(Level::Warn);
    assert_eq!(
        seen,
        [
            ("WARN: a\n 1\n 2".to_owned(), warn, 0, true),
            (" 3".to_owned(), warn, 1, true),
            (" long line that is more than it".to_owned(), warn, 2, false),
            ("next".to_owned(), None, 0, false),
        ]
    );
}

fn lines() -> impl Strategy<Value = Vec<String>> {
    let known: Vec<String> = cases()
        .into_iter()
        .flat_map(|(_, records)| records)
        .flat_map(|(_, text)| text.split('\n').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    prop::collection::vec(
        prop_oneof![6 => prop::sample::select(known), 1 => "[ -~]{0,20}", 1 => Just(String::new())],
        0..60,
    )
}

proptest! {
    #[test]
    fn no_line_is_lost_and_none_changes_place(
        lines in lines(),
        bytes in 1_usize..400,
        count in 1_usize..20,
        gaps in prop::collection::vec(0_u64..200, 60),
    ) {
        let limits = Limits { bytes, lines: count, ..Limits::default() };
        let mut joiner = Joiner::new(limits);
        let mut records: Vec<(String, usize, u64, bool)> = Vec::new();
        let mut emit = |joined: Joined<'_>| {
            records.push((String::from_utf8_lossy(joined.bytes).into_owned(), joined.lines, joined.part, joined.more));
        };
        let mut now = 0;
        for (line, gap) in lines.iter().zip(gaps) {
            now += gap;
            joiner.on_time(S(now), &mut emit);
            joiner.line(line.as_bytes(), S(now), 0, &mut emit);
        }
        joiner.finish(&mut emit);
        let mut cuts = false;
        for (text, lines, _, more) in &records {
            prop_assert!(*lines <= count.max(1));
            prop_assert!(text.len() <= bytes || *lines == 1, "{text:?}");
            prop_assert_eq!(text.split('\n').count(), *lines);
            cuts |= *more;
        }
        let out: Vec<&str> = records.iter().flat_map(|(text, ..)| text.split('\n')).collect();
        // Blank lines inside a record are empty lines, and where one is cut they are dropped.
        let solid = |lines: Vec<&str>| {
            let plain = lines.into_iter().map(|line| if line.trim_ascii().is_empty() { "" } else { line });
            plain.filter(|line| !cuts || !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        let came: Vec<&str> = lines.iter().map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
        prop_assert_eq!(solid(out), solid(came));
    }

    #[test]
    fn any_bytes_are_taken(lines in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter("no line feed", |b| *b != b'\n'), 0..60), 0..30)) {
        let mut joiner = Joiner::new(Limits::default());
        let mut count = 0;
        for line in &lines {
            joiner.line(line, S(0), 0, |joined| count += joined.lines);
        }
        joiner.finish(|joined| count += joined.lines);
        prop_assert_eq!(count, lines.len());
    }
}
