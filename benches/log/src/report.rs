//! The figures as tables for people and as values for JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::check::Findings;
use crate::contestants::Entry;
use crate::job::{Job, Measure, Outcome};
use crate::machine::Machine;

/// All that was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where and when.
    pub machine: Machine,
    /// Load averages before the first child.
    pub load_before: String,
    /// Load averages after the last one.
    pub load_after: String,
    /// How long a line of memory takes from one processor to another and back, in nanoseconds, before
    /// each round of each measurement.
    pub exchange_ns: Vec<f64>,
    /// How often each was measured.
    pub rounds: usize,
    /// Records of a run of `speed`.
    pub records: u64,
    /// Nanoseconds from call to call where they were paced.
    pub pace_ns: u64,
    /// Bytes after which a file was rolled.
    pub roll: u64,
    /// The contestant that ratios are to.
    pub reference: Option<String>,
    /// What was measured.
    pub rows: Vec<Row>,
    /// What could not be.
    pub failures: Vec<String>,
}

/// One measurement of one contestant, all its rounds.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub contestant: String,
    /// What was measured.
    pub measure: Measure,
    /// Threads that logged at once.
    pub threads: u64,
    /// Sinks that each got every record.
    pub sinks: usize,
    /// Bytes of the message where it is not the usual one.
    pub message: Option<usize>,
    /// Part of the tables of growth.
    pub growth: bool,
    /// How the file was rolled.
    pub rolls: &'static str,
    /// Whether it is one of ours.
    pub ours: bool,
    /// Whether it is set up so that it may lose records.
    pub may_lose: bool,
    /// What was read back, summed over the rounds.
    pub findings: Findings,
    /// Each round.
    pub outcomes: Vec<Outcome>,
}

type Figure = fn(&Outcome) -> Option<f64>;

impl Row {
    /// An empty row.
    pub fn new(entry: &Entry, job: &Job, growth: bool) -> Self {
        Self {
            contestant: entry.name.to_owned(),
            measure: job.measure,
            threads: job.threads,
            sinks: job.sinks,
            message: job.message,
            growth,
            rolls: entry.rolls,
            ours: entry.is_ours(),
            may_lose: entry.may_lose,
            findings: Findings::default(),
            outcomes: Vec::new(),
        }
    }

    /// Whether nothing is wrong with the output, beyond what this set-up allows.
    pub fn is_right(&self) -> bool {
        self.findings.is_whole()
            || self.may_lose && self.findings.doubled == 0 && self.findings.disordered == 0
    }

    fn median(&self, figure: Figure) -> Option<f64> {
        median(self.outcomes.iter().filter_map(figure).collect())
    }

    /// Bytes per record that is there.
    fn bytes(&self) -> Option<f64> {
        let there = self.findings.expected - self.findings.lost;
        (there > 0).then(|| self.findings.bytes as f64 / there as f64)
    }

    /// What is wrong with the output, in a few characters.
    fn wrong(&self) -> String {
        let found = &self.findings;
        if found.expected == 0 {
            return "–".to_owned();
        }
        let mut parts = Vec::new();
        if found.lost > 0 {
            let percent = found.lost as f64 * 100.0 / found.expected as f64;
            parts.push(if percent < 0.1 {
                format!("{} lost", found.lost)
            } else {
                format!("{percent:.1} % lost")
            });
        }
        for (count, what) in [
            (found.doubled, "doubled"),
            (found.disordered, "out of order"),
            (found.foreign, "other lines"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        if parts.is_empty() {
            "0".to_owned()
        } else {
            parts.join(", ")
        }
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// The tables.
pub fn text(report: &Report) -> String {
    let mut out = head(report);
    let mut threads: Vec<u64> = report
        .rows_of(Measure::Speed)
        .map(|row| row.threads)
        .collect();
    threads.extend(report.rows_of(Measure::Latency).map(|row| row.threads));
    threads.sort_unstable();
    threads.dedup();
    for threads in threads {
        out.push_str(&report.contest(threads));
    }
    out.push_str(&report.single());
    out.push_str(&report.growth("threads", |row| {
        (row.message.is_none() && row.sinks == 1).then_some(row.threads)
    }));
    out.push_str(&report.growth("sinks", |row| {
        (row.message.is_none() && row.threads == 1).then_some(row.sinks as u64)
    }));
    out.push_str(&report.growth("bytes of message", |row| {
        row.message.map(|size| size as u64)
    }));
    for failure in &report.failures {
        let _ = writeln!(out, "\nFAILED: {failure}");
    }
    for row in report.rows.iter().filter(|row| !row.is_right()) {
        let _ = writeln!(
            out,
            "\nWRONG: {}, {}, {} threads: {}",
            row.contestant,
            row.measure.name(),
            row.threads,
            row.wrong()
        );
    }
    out
}

fn head(report: &Report) -> String {
    let machine = &report.machine;
    let versions: Vec<String> = machine
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    format!(
        "{}, {}, {} processors, Linux {}, output on {}; load {} before, {} after.\n\
         mainstay {}; {}.\n\
         A line of memory took {} ns from one processor to another and back.\n\
         Median of {} rounds, {} records a run; × is how many times the cost of `{}`.\n",
        machine.date,
        machine.processor,
        machine.processors,
        machine.kernel,
        machine.file_system,
        report.load_before,
        report.load_after,
        machine.commit,
        versions.join(", "),
        spread(&report.exchange_ns),
        report.rounds,
        report.records,
        report.reference.as_deref().unwrap_or("nothing"),
    )
}

/// The least, the median and the most.
fn spread(values: &[f64]) -> String {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(least), Some(median), Some(most)) => {
            format!("{least:.0} to {most:.0} (median {median:.0})")
        }
        _ => "an unknown number of".to_owned(),
    }
}

impl Report {
    fn rows_of(&self, measure: Measure) -> impl Iterator<Item = &Row> {
        self.rows
            .iter()
            .filter(move |row| row.measure == measure && !row.growth)
    }

    fn find(&self, contestant: &str, measure: Measure, threads: u64) -> Option<&Row> {
        self.rows_of(measure)
            .find(|row| row.contestant == contestant && row.threads == threads)
    }

    /// The names that have any such row, in the order of the list.
    fn names(&self, wanted: &[Measure], threads: u64) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for row in &self.rows {
            let fits = wanted.contains(&row.measure) && row.threads == threads && !row.growth;
            if fits && !names.contains(&row.contestant.as_str()) {
                names.push(&row.contestant);
            }
        }
        names
    }

    /// A figure and how many times that of the reference it is.
    fn against(&self, row: Option<&Row>, figure: Figure, more_is_better: bool) -> [String; 2] {
        let Some((row, value)) = row.and_then(|row| Some((row, row.median(figure)?))) else {
            return ["–".to_owned(), String::new()];
        };
        let reference = self
            .reference
            .as_deref()
            .and_then(|name| self.find(name, row.measure, row.threads))
            .and_then(|row| row.median(figure));
        let ratio = reference.map_or_else(String::new, |reference| {
            let (more, less) = if more_is_better {
                (reference, value)
            } else {
                (value, reference)
            };
            if less > 0.0 {
                format!("{}×", digits(more / less))
            } else {
                "–".to_owned()
            }
        });
        [digits(value), ratio]
    }

    fn contest(&self, threads: u64) -> String {
        let mut table = Table::new(
            &format!("{threads} thread{}", if threads == 1 { "" } else { "s" }),
            &[
                "",
                "rolls",
                "caller ns",
                "×",
                "CPU ns",
                "×",
                "records/s",
                "×",
                "p50 ns",
                "p99",
                "p99.9",
                "×",
                "max",
                "writes",
                "bytes",
                "peak MB",
                "lost",
            ],
        );
        for name in self.names(&[Measure::Speed, Measure::Latency], threads) {
            let speed = self.find(name, Measure::Speed, threads);
            let latency = self.find(name, Measure::Latency, threads);
            let [caller, caller_ratio] = self.against(speed, |one| one.caller_ns, false);
            let [cpu, cpu_ratio] = self.against(speed, |one| one.cpu_ns, false);
            let [rate, rate_ratio] = self.against(speed, |one| one.per_second, true);
            let [p999, p999_ratio] = self.against(latency, |one| one.p999, false);
            let plain = |row: Option<&Row>, figure: Figure| {
                row.and_then(|row| row.median(figure))
                    .map_or_else(|| "–".to_owned(), digits)
            };
            // Both were read back; of the two, the one with something wrong is shown.
            let lost = [speed, latency]
                .into_iter()
                .flatten()
                .map(Row::wrong)
                .max_by_key(|wrong| (wrong != "0", wrong != "–"))
                .unwrap_or_default();
            table.row([
                name.to_owned(),
                speed.or(latency).map_or("", |row| row.rolls).to_owned(),
                caller,
                caller_ratio,
                cpu,
                cpu_ratio,
                rate,
                rate_ratio,
                plain(latency, |one| one.p50),
                plain(latency, |one| one.p99),
                p999,
                p999_ratio,
                plain(latency, |one| one.max),
                plain(speed, |one| one.writes),
                speed
                    .or(latency)
                    .and_then(Row::bytes)
                    .map_or_else(|| "–".to_owned(), digits),
                plain(speed, |one| one.peak_bytes.map(|bytes| bytes / 1e6)),
                lost,
            ]);
        }
        table.text()
    }

    /// What is measured with one thread only.
    fn single(&self) -> String {
        let mut table = Table::new(
            &format!("1 thread, a call each {} ns", digits(self.pace_ns as f64)),
            &[
                "",
                "p50 ns",
                "×",
                "p99",
                "×",
                "p99.9",
                "×",
                "max",
                "lost",
                "allocations",
                "disabled ns",
            ],
        );
        let kinds = [Measure::Paced, Measure::Allocations, Measure::Disabled];
        for name in self.names(&kinds, 1) {
            let paced = self.find(name, Measure::Paced, 1);
            let [p50, p50_ratio] = self.against(paced, |one| one.p50, false);
            let [p99, p99_ratio] = self.against(paced, |one| one.p99, false);
            let [p999, p999_ratio] = self.against(paced, |one| one.p999, false);
            let [max, _] = self.against(paced, |one| one.max, false);
            let allocations = self.find(name, Measure::Allocations, 1);
            let disabled = self.find(name, Measure::Disabled, 1);
            table.row([
                name.to_owned(),
                p50,
                p50_ratio,
                p99,
                p99_ratio,
                p999,
                p999_ratio,
                max,
                paced.map_or_else(|| "–".to_owned(), Row::wrong),
                allocations
                    .and_then(|row| row.median(|one| one.allocations))
                    .map_or_else(|| "–".to_owned(), |count| format!("{count:.3}")),
                disabled
                    .and_then(|row| row.median(|one| one.disabled_ns))
                    .map_or_else(|| "–".to_owned(), |nanos| format!("{nanos:.2}")),
            ]);
        }
        table.text()
    }

    /// How ours grow with something.
    fn growth(&self, with: &str, key: fn(&Row) -> Option<u64>) -> String {
        let mut table = Table::new(
            &format!("mainstay by {with}"),
            &[
                "",
                with,
                "caller ns",
                "CPU ns",
                "records/s",
                "MB/s",
                "writes",
                "peak MB",
                "lost",
            ],
        );
        let mut rows: Vec<(&Row, u64)> = self
            .rows
            .iter()
            .filter(|row| row.growth)
            .filter_map(|row| Some((row, key(row)?)))
            .collect();
        rows.sort_by(|one, other| (&one.0.contestant, one.1).cmp(&(&other.0.contestant, other.1)));
        for (row, key) in rows {
            let figure = |figure: Figure| row.median(figure).map_or_else(|| "–".to_owned(), digits);
            // A record is written once for each sink.
            let speed = row
                .median(|one| one.per_second)
                .zip(row.bytes())
                .map_or_else(
                    || "–".to_owned(),
                    |(rate, bytes)| digits(rate * bytes * row.sinks as f64 / 1e6),
                );
            table.row([
                row.contestant.clone(),
                key.to_string(),
                figure(|one| one.caller_ns),
                figure(|one| one.cpu_ns),
                figure(|one| one.per_second),
                speed,
                figure(|one| one.writes),
                figure(|one| one.peak_bytes.map(|bytes| bytes / 1e6)),
                row.wrong(),
            ]);
        }
        table.text()
    }
}

/// A value with about three digits: `0.0123`, `1.23`, `12.3`, `123`, `12 345`, `1.23 M`.
fn digits(value: f64) -> String {
    let size = value.abs();
    if size >= 999_950.0 {
        return format!("{} M", digits(value / 1e6));
    }
    if size >= 1000.0 {
        let whole = format!("{value:.0}");
        let (thousands, rest) = whole.split_at(whole.len() - 3);
        return format!("{thousands} {rest}");
    }
    match size {
        _ if size >= 99.95 => format!("{value:.0}"),
        _ if size >= 9.995 => format!("{value:.1}"),
        _ if size >= 0.0995 => format!("{value:.2}"),
        _ if value == 0.0 => "0".to_owned(),
        _ if size < 0.000_05 => "≈ 0".to_owned(),
        _ => format!("{value:.4}"),
    }
}

/// A table in Markdown whose columns stand under each other as plain text too.
struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(title: &str, columns: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            rows: vec![columns.iter().map(|&column| column.to_owned()).collect()],
        }
    }

    fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Nothing if there is no row.
    fn text(&self) -> String {
        if self.rows.len() < 2 {
            return String::new();
        }
        let columns = self.rows[0].len();
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].chars().count());
                cells.max().unwrap_or(0)
            })
            .collect();
        let mut out = format!("\n### {}\n\n", self.title);
        for (number, row) in self.rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = if column == 0 {
                    write!(out, "| {cell:<width$} ")
                } else {
                    write!(out, "| {cell:>width$} ")
                };
            }
            out.push_str("|\n");
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(*width + 1);
                    let _ = if column == 0 {
                        write!(out, "|{dashes}-")
                    } else {
                        write!(out, "|{dashes}:")
                    };
                }
                out.push_str("|\n");
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        let cases: [(&[f64], Option<f64>); 4] = [
            (&[], None),
            (&[3.0], Some(3.0)),
            (&[9.0, 1.0, 5.0], Some(5.0)),
            (&[4.0, 1.0, 2.0, 9.0], Some(3.0)),
        ];
        for (values, wanted) in cases {
            assert_eq!(median(values.to_vec()), wanted, "{values:?}");
        }
    }

    #[test]
    fn numbers_have_about_three_digits() {
        let cases = [
            (0.0, "0"),
            (0.00123, "0.0012"),
            (0.000_01, "≈ 0"),
            (0.5, "0.50"),
            (9.994, "9.99"),
            (9.996, "10.0"),
            (99.96, "100"),
            (999.4, "999"),
            (12_345.4, "12 345"),
            (8_912_345.0, "8.91 M"),
            (999_999.0, "1.00 M"),
        ];
        for (value, wanted) in cases {
            assert_eq!(digits(value), wanted, "{value}");
        }
    }

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new("one", &["", "ns"]);
        assert_eq!(table.text(), "");
        table.row(["a".to_owned(), "12".to_owned()]);
        assert_eq!(
            table.text(),
            "\n### one\n\n|   | ns |\n|---|---:|\n| a | 12 |\n"
        );
    }
}
