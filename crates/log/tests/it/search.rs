//! Looking for records in files that were rolled.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_log::{Level, LevelSet, Search, Tail, TextTest, Wanted};
use proptest::prelude::*;

fn wanted() -> Wanted {
    Wanted::all(Level::Info, TimeZone::UTC)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_366_000 + seconds).unwrap()
}

fn found(path: &Path, wanted: Wanted) -> Vec<(Level, String)> {
    let tail = Tail::open(path).unwrap();
    let mut search = Search::begin(&tail, wanted, true).unwrap();
    let mut hits = Vec::new();
    let mut take = |hit: mainstay_log::Hit<'_>| {
        hits.push((hit.level, String::from_utf8_lossy(hit.bytes).into_owned()));
    };
    while search.step(&mut take).unwrap() {}
    search.finish(&mut take);
    hits
}

fn texts(hits: &[(Level, String)]) -> Vec<&str> {
    hits.iter().map(|(_, text)| text.as_str()).collect()
}

#[test]
fn by_level_time_and_text_over_rolled_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    fs::write(
        dir.path().join("web.log.2"),
        format!("{} ERROR one\n  of it\n{} INFO two\n", at(0), at(1)),
    )
    .unwrap();
    fs::write(
        dir.path().join("web.log.1"),
        format!("{} WARN three\nplain\n", at(2)),
    )
    .unwrap();
    fs::write(
        &path,
        format!("{} ERROR four\n{} INFO five\nend", at(3), at(4)),
    )
    .unwrap();
    let all = found(&path, wanted());
    let names = [
        "one\n  of it",
        "two",
        "three",
        "plain",
        "four",
        "five",
        "end",
    ];
    assert_eq!(all.len(), names.len(), "{all:?}");
    assert!(
        all.iter()
            .zip(names)
            .all(|((_, text), name)| text.ends_with(name)),
        "{all:?}"
    );
    let ends = |wanted: Wanted, names: &[&str]| {
        let hits = found(&path, wanted);
        let texts = texts(&hits);
        assert_eq!(texts.len(), names.len(), "{texts:?}");
        assert!(
            texts
                .iter()
                .zip(names)
                .all(|(text, name)| text.ends_with(name)),
            "{texts:?}"
        );
    };
    let errors = LevelSet::from(Level::Error);
    ends(
        Wanted {
            levels: errors,
            ..wanted()
        },
        &["one\n  of it", "four"],
    );
    ends(
        Wanted {
            levels: errors,
            last: Some(1),
            ..wanted()
        },
        &["four"],
    );
    ends(
        Wanted {
            last: Some(3),
            ..wanted()
        },
        &["four", "five", "end"],
    );
    ends(
        Wanted {
            last: Some(0),
            ..wanted()
        },
        &[],
    );
    ends(
        Wanted {
            last: Some(6),
            ..wanted()
        },
        &names[1..],
    );
    ends(
        Wanted {
            last: Some(60),
            ..wanted()
        },
        &names,
    );
    ends(
        Wanted {
            since: Some(at(3)),
            ..wanted()
        },
        &["four", "five", "end"],
    );
    ends(
        Wanted {
            until: Some(at(2)),
            ..wanted()
        },
        &["one\n  of it", "two", "three", "plain"],
    );
    ends(
        Wanted {
            since: Some(at(1)),
            until: Some(at(3)),
            last: Some(2),
            ..wanted()
        },
        &["plain", "four"],
    );
    let text: TextTest = Arc::new(|bytes: &[u8]| bytes.windows(2).any(|part| part == b"of"));
    ends(
        Wanted {
            text: Some(text),
            last: Some(5),
            ..wanted()
        },
        &["one\n  of it"],
    );
    assert_eq!(found(&dir.path().join("none.log"), wanted()), []);
}

/// One record a second; its number is in its text.
fn large(path: &Path, records: i64) -> u64 {
    let mut all = String::new();
    for number in 0..records {
        let level = if number % 1000 == 7 { "ERROR" } else { "INFO" };
        writeln!(
            all,
            "{} {level} record {number} {}",
            at(number),
            "x".repeat(60)
        )
        .unwrap();
    }
    fs::write(path, &all).unwrap();
    all.len() as u64
}

#[test]
fn a_large_file_is_searched_from_its_end_and_by_halves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    assert!(large(&path, 60_000) > 5 << 20);
    let number = |text: &str| -> i64 { text.split(' ').nth(3).unwrap().parse().unwrap() };
    let numbers = |wanted: Wanted| -> Vec<i64> {
        found(&path, wanted)
            .iter()
            .map(|(_, text)| number(text))
            .collect()
    };
    assert_eq!(
        numbers(Wanted {
            last: Some(3),
            ..wanted()
        }),
        [59_997, 59_998, 59_999]
    );
    let errors = LevelSet::from(Level::Error);
    assert_eq!(
        numbers(Wanted {
            levels: errors,
            last: Some(2),
            ..wanted()
        }),
        [58_007, 59_007]
    );
    assert_eq!(
        numbers(Wanted {
            levels: errors,
            last: Some(2),
            until: Some(at(20_000)),
            ..wanted()
        }),
        [18_007, 19_007]
    );
    let between = Wanted {
        since: Some(at(30_000)),
        until: Some(at(30_004)),
        ..wanted()
    };
    assert_eq!(numbers(between), (30_000..=30_004).collect::<Vec<_>>());
    assert_eq!(
        numbers(Wanted {
            since: Some(at(59_998)),
            last: Some(50),
            ..wanted()
        }),
        [59_998, 59_999]
    );
    assert_eq!(
        numbers(Wanted {
            levels: errors,
            ..wanted()
        })
        .len(),
        60
    );
    assert_eq!(numbers(wanted()), (0..60_000).collect::<Vec<_>>());
}

#[test]
fn compressed_files_are_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    let records = |from: i64| -> String {
        (from..from + 1000).fold(String::new(), |mut all, number| {
            writeln!(all, "{} ERROR record {number}\n  of it", at(number)).unwrap();
            all
        })
    };
    let file = |name: &str| fs::File::create(dir.path().join(name)).unwrap();
    let mut zstd = zstd::Encoder::new(file("web.log.3.zst"), 3).unwrap();
    zstd.write_all(records(0).as_bytes()).unwrap();
    zstd.finish().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(file("web.log.2.gz"), flate2::Compression::fast());
    gzip.write_all(records(1000).as_bytes()).unwrap();
    gzip.finish().unwrap();
    fs::write(dir.path().join("web.log.1"), records(2000)).unwrap();
    fs::write(&path, records(3000)).unwrap();
    let numbers = |wanted: Wanted| -> Vec<i64> {
        let number = |text: &str| text.split(['\n', ' ']).nth(3).unwrap().parse().unwrap();
        found(&path, wanted)
            .iter()
            .map(|(_, text)| number(text))
            .collect()
    };
    assert_eq!(numbers(wanted()), (0..4000).collect::<Vec<_>>());
    for last in [1, 999, 1000, 1001, 2001, 2500, 3500, 4000, 5000] {
        let expected: Vec<i64> = (0.max(4000 - last)..4000).collect();
        let last = Some(u64::try_from(last).unwrap());
        assert_eq!(numbers(Wanted { last, ..wanted() }), expected);
    }
    let until = Wanted {
        until: Some(at(1500)),
        last: Some(3),
        ..wanted()
    };
    assert_eq!(numbers(until), [1498, 1499, 1500]);
    let since = Wanted {
        since: Some(at(998)),
        until: Some(at(1001)),
        ..wanted()
    };
    assert_eq!(numbers(since), [998, 999, 1000, 1001]);
}

#[test]
fn what_is_added_is_looked_through_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    fs::write(&path, "ERROR: one\n  of").unwrap();
    let mut tail = Tail::open(&path).unwrap();
    let mut search = Search::begin(&tail, wanted(), false).unwrap();
    let mut hits = Vec::new();
    let mut take =
        |hit: mainstay_log::Hit<'_>| hits.push(String::from_utf8_lossy(hit.bytes).into_owned());
    while search.step(&mut take).unwrap() {}
    fs::write(&path, "ERROR: one\n  of it\nERROR: two\n").unwrap();
    let mut new = Vec::new();
    tail.read_new(&mut new).unwrap();
    search.push(&new, Duration::from_secs(1), at(0), &mut take);
    search.on_time(Duration::from_millis(1200), &mut take);
    search.on_time(Duration::from_millis(1300), &mut take);
    assert_eq!(hits, ["ERROR: one\n  of it", "ERROR: two"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// The last ones are what a look at everything ends with, wherever pieces and files are cut.
    #[test]
    fn the_last_ones_are_the_end_of_all(
        lines in prop::collection::vec((0_u8..6, 0_usize..1500), 1..400),
        rolled in 0_usize..400,
        last in 1_u64..60,
        grave in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        let mut files = [String::new(), String::new()];
        for (number, (kind, length)) in lines.iter().enumerate() {
            let filler = "y".repeat(*length);
            let line = match kind {
                0 => format!("{} ERROR {number} {filler}", at(number.try_into().unwrap())),
                1 => format!("  indented {number} {filler}"),
                2 => "Traceback (most recent call last):".to_owned(),
                3 => format!("{{\"level\":\"error\",\"n\":{number},\"msg\":\"{filler}\"}}"),
                4 => String::new(),
                _ => format!("plain {number} {filler}"),
            };
            writeln!(files[usize::from(number >= rolled)], "{line}").unwrap();
        }
        if !files[0].is_empty() {
            fs::write(dir.path().join("web.log.1"), &files[0]).unwrap();
        }
        fs::write(&path, &files[1]).unwrap();
        let levels = if grave { LevelSet::from(Level::Warn) } else { LevelSet::ALL };
        let all = found(&path, Wanted { levels, ..wanted() });
        let some = found(&path, Wanted { levels, last: Some(last), ..wanted() });
        let expected = &all[all.len().saturating_sub(usize::try_from(last).unwrap())..];
        prop_assert_eq!(&some[..], expected);
    }
}
