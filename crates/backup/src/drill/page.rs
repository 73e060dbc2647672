//! A report of a drill for people, as Markdown. Pure.

use std::fmt::Write as _;

use mainstay_base::{Size, counted};

use super::{DrillReport, Verdict};

/// The report as a page.
pub fn page(report: &DrillReport) -> String {
    let mut text = String::new();
    let verdict = match report.verdict {
        Verdict::Proven => "PROVEN: the backup was restored, and is whole",
        Verdict::Failed => "FAILED: nothing is proven",
        Verdict::Impossible => "NOT DRILLED: it cannot be tried on this host",
    };
    let _ = writeln!(
        text,
        "# Restore drill of `{}` on {}\n",
        code(&report.backup),
        line(&report.host)
    );
    let _ = writeln!(text, "**{verdict}**\n");
    if let Some(why) = &report.why {
        let _ = writeln!(text, "{}\n", line(why));
    }
    if let Some(help) = &report.help {
        let _ = writeln!(text, "What to do: {}\n", line(help));
    }
    let mut rows = vec![
        ("source", report.source.clone()),
        (
            "drilled",
            format!("{}, by {}", moment(report.began), report.made_by),
        ),
    ];
    if let Some(snapshot) = &report.snapshot {
        let id = snapshot.id.get(..8).unwrap_or(&snapshot.id);
        let place = report.repository.as_deref().unwrap_or("?");
        rows.push((
            "snapshot",
            format!(
                "{id} of {} in repository {place}, made on {} from {}",
                moment(snapshot.taken),
                snapshot.host,
                snapshot.path
            ),
        ));
        rows.push((
            "size",
            format!(
                "{}, {}",
                counted(snapshot.files, "file"),
                Size(snapshot.bytes).human()
            ),
        ));
    }
    if let Some(server) = &report.server {
        rows.push(("scratch server", server.clone()));
    }
    if report.verdict == Verdict::Proven {
        rows.push(("a restore takes", seconds(report.restore_milliseconds)));
    }
    rows.push(("the drill took", seconds(report.milliseconds)));
    text.push_str("| | |\n|---|---|\n");
    for (name, value) in rows {
        let _ = writeln!(text, "| {name} | {} |", cell(&value));
    }
    if !report.steps.is_empty() {
        text.push_str("\n## Steps\n\n| step | took | |\n|---|---:|---|\n");
        for step in &report.steps {
            let remark = match (&step.error, step.restores) {
                (Some(error), _) => format!("FAILED: {error}"),
                (None, true) => String::new(),
                (None, false) => "only in a drill".to_owned(),
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                cell(&step.what),
                seconds(step.milliseconds),
                cell(&remark)
            );
        }
    }
    if !report.checks.is_empty() {
        text.push_str("\n## Checks\n\n| | what | expected | found |\n|---|---|---|---|\n");
        // What does not hold first; of the rest a server may have thousands.
        let (good, bad): (Vec<_>, Vec<_>) = report.checks.iter().partition(|check| check.holds);
        for check in bad.iter().chain(good.iter().take(CHECKS)) {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                if check.holds { "ok" } else { "**NO**" },
                cell(&check.what),
                cell(&check.expected),
                cell(&check.found)
            );
        }
        if good.len() > CHECKS {
            let _ = writeln!(text, "\n… and {} more that hold", good.len() - CHECKS);
        }
    }
    if !report.notes.is_empty() {
        text.push_str("\n## Notes\n\n");
        for note in &report.notes {
            let _ = writeln!(text, "- {}", line(note));
        }
    }
    text
}

/// So many checks that hold are listed; all are in the JSON.
const CHECKS: usize = 200;

fn moment(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn seconds(milliseconds: u64) -> String {
    let (whole, rest) = (milliseconds / 1000, milliseconds % 1000);
    match whole {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{whole}.{} s", rest / 100),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

/// Text of others in one line, without what a terminal would obey.
fn line(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => '⏎',
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

fn code(text: &str) -> String {
    line(text).replace('`', "'")
}

/// The same in a table.
fn cell(text: &str) -> String {
    line(text).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;
    use crate::drill::{Check, Drilled, Step};

    #[test]
    fn a_person_can_read_it() {
        let mut report = report();
        report.repository = Some("local".to_owned());
        report.snapshot = Some(Drilled {
            id: "0a1b2c3d".repeat(8),
            taken: "2026-11-26T03:00:00Z".parse().unwrap(),
            host: "shop1".to_owned(),
            path: "/srv/shop.db".to_owned(),
            files: 1,
            bytes: 12_345_678,
        });
        report.steps = vec![
            Step {
                what: "write the database".to_owned(),
                milliseconds: 61_500,
                restores: true,
                error: None,
            },
            Step {
                what: "ask what the config asserts".to_owned(),
                milliseconds: 12,
                restores: false,
                error: None,
            },
        ];
        report.checks = vec![
            Check {
                what: "rows of `a|b`".to_owned(),
                expected: "2".to_owned(),
                found: "2".to_owned(),
                holds: true,
            },
            Check {
                what: "SELECT count(*) > 0 FROM orders".to_owned(),
                expected: "1".to_owned(),
                found: "0\n\u{1b}[31m".to_owned(),
                holds: false,
            },
        ];
        report.notes = vec!["a word".to_owned()];
        report.end(report.began, std::time::Duration::from_secs(4000), None);
        let page = page(&report);
        assert_eq!(
            page,
            "# Restore drill of `db` on shop1

**FAILED: nothing is proven**

SELECT count(*) > 0 FROM orders: expected 1, found 0⏎\u{fffd}[31m

What to do: look at the whole report: `mainstay backup drill --show db`; an older snapshot is drilled with `--snapshot ID` (`mainstay backup list db`)

| | |
|---|---|
| source | sqlite /srv/shop.db |
| drilled | 2026-11-26 05:00:00 UTC, by mainstay 0.1.0 |
| snapshot | 0a1b2c3d of 2026-11-26 03:00:00 UTC in repository local, made on shop1 from /srv/shop.db |
| size | 1 file, 12 MB |
| the drill took | 1 h 6 min |

## Steps

| step | took | |
|---|---:|---|
| write the database | 1 min 1 s |  |
| ask what the config asserts | 12 ms | only in a drill |

## Checks

| | what | expected | found |
|---|---|---|---|
| **NO** | SELECT count(*) > 0 FROM orders | 1 | 0⏎\u{fffd}[31m |
| ok | rows of `a\\|b` | 2 | 2 |

## Notes

- a word
"
        );
        report.verdict = Verdict::Proven;
        report.restore_milliseconds = 2_345;
        let proven = super::page(&report);
        assert!(proven.contains("**PROVEN"), "{proven}");
        assert!(proven.contains("| a restore takes | 2.3 s |"), "{proven}");
    }
}
