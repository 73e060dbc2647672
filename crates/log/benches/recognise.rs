//! What it costs to recognise a line, over the lines of the table of its tests, and by kind.
//!
//! `cargo bench -p mainstay-log --bench recognise`

#![allow(clippy::print_stdout, clippy::cast_precision_loss)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use mainstay_log::{Joiner, Limits, recognise};

const ROUNDS: u32 = 2000;

fn main() {
    let rows: Vec<&str> = include_str!("../src/recognise/table.txt")
        .lines()
        .filter(|row| !row.starts_with('#'))
        .filter_map(|row| row.split('¦').nth(1))
        .collect();
    let of = |start: &str| -> Vec<&str> {
        let lines = rows.iter().map(|row| row.trim());
        lines.filter(|row| row.starts_with(start)).collect()
    };
    let plain = vec!["this is an ordinary line of output, with no level and no time in it at all"];
    let long = vec![
        r#"{"timestamp":"2026-01-02T15:04:05.123456Z","fields":{"message":"request done","method":"GET","path":"/api/orders/12","status":200,"took_ms":12.5},"target":"shop::http","span":{"name":"request","id":"8f14e45f"},"level":"INFO"}"#,
    ];
    for (name, lines) in [
        (
            "all rows of the table",
            rows.iter().map(|row| row.trim()).collect(),
        ),
        ("JSON", of("{")),
        ("JSON, 220 bytes, the level last", long),
        ("a time first", of("2026")),
        ("a plain line", plain),
    ] {
        let mut best = Duration::MAX;
        let mut joined = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            for _ in 0..ROUNDS {
                for line in &lines {
                    black_box(recognise(black_box(line.as_bytes())));
                }
            }
            best = best.min(start.elapsed());
            let start = Instant::now();
            let mut joiner = Joiner::new(Limits::default());
            for _ in 0..ROUNDS {
                for line in &lines {
                    joiner.line(line.as_bytes(), Duration::ZERO, 0, |record| {
                        black_box(record.level);
                    });
                }
            }
            joined = joined.min(start.elapsed());
        }
        let per_line =
            |time: Duration| time.as_nanos() as f64 / f64::from(ROUNDS) / lines.len() as f64;
        println!(
            "{name:34} {:5.0} ns a line, {:5.0} ns joined",
            per_line(best),
            per_line(joined)
        );
    }
}
