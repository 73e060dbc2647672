//! Comparison with supervisord's own classes, where its Python package is installed.

use std::io::Write as _;
use std::process::{Command, Stdio};

use mainstay_log::Level;

use super::*;
use crate::machine::Phase;

const SKIPPED: i32 = 77;

/// Questions with the answers that are expected.
#[derive(Default)]
struct Questions {
    asked: String,
    expected: Vec<String>,
}

impl Questions {
    fn ask(&mut self, command: &str, words: &[&[u8]], expected: impl Into<String>) {
        self.asked.push_str(command);
        for word in words {
            self.asked.push(' ');
            self.asked.push_str(&hex(word));
        }
        self.asked.push('\n');
        self.expected.push(expected.into());
    }

    /// Asks them all.
    fn settle(self) {
        let run = Command::new("/usr/bin/python3")
            .args(["-c", include_str!("oracle.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut run) = run else {
            println!("SKIPPED: /usr/bin/python3 is not installed");
            return;
        };
        let mut stdin = run.stdin.take().unwrap();
        let asked = self.asked.clone();
        let writer = std::thread::spawn(move || {
            // It ends before it reads when it has no supervisor package.
            let _ = stdin.write_all(asked.as_bytes());
        });
        let output = run.wait_with_output().unwrap();
        writer.join().unwrap();
        if output.status.code() == Some(SKIPPED) {
            println!("SKIPPED: the Python package supervisor is not installed");
            return;
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaint}");
        let answers = String::from_utf8(output.stdout).unwrap();
        assert_eq!(answers.lines().count(), self.expected.len());
        for ((question, answer), expected) in
            self.asked.lines().zip(answers.lines()).zip(&self.expected)
        {
            assert_eq!(unhex(answer), *expected, "{}", readable(question));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn unhex(hex: &str) -> String {
    String::from_utf8(bytes_of(hex)).unwrap()
}

fn readable(question: &str) -> String {
    let mut words = question.split(' ');
    let command = words.next().unwrap_or_default();
    let words: Vec<String> = words
        .map(|word| bytes_of(word).escape_ascii().to_string())
        .collect();
    format!("{command} {words:?}")
}

/// Numbers in a fixed pseudo-random order.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

fn said(note: &Notification) -> String {
    format!(
        "{} {}",
        note.kind,
        std::str::from_utf8(&note.payload).unwrap()
    )
}

#[test]
fn names_and_masks() {
    let mut questions = Questions::default();
    let names: Vec<&str> = Mask::names().collect();
    for name in &names {
        let mask = Mask::from_name(name).unwrap();
        let kinds: Vec<&str> = mask.kinds().map(Kind::name).collect();
        questions.ask("mask", &[name.as_bytes()], in_order(&kinds));
    }
    questions.ask("names", &[], in_order(&names));
    questions.settle();
}

/// Names in the order in which supervisord has them.
fn in_order(names: &[&str]) -> String {
    let mut ordered = names.to_vec();
    let place = |name: &str| {
        let kind = |kind: &Kind| kind.name() == name || kind.parent() == Some(name);
        let first = Kind::ALL.iter().position(kind).unwrap_or(0);
        (usize::from(name != "EVENT"), first, name.len())
    };
    ordered.sort_by_key(|name| place(name));
    ordered.join(" ")
}

#[test]
fn payloads_of_phases() {
    let mut questions = Questions::default();
    for from in Phase::ALL {
        for to in Phase::ALL {
            for (process, group, pid, tries, expected) in [
                ("cat", "cat", 4242, 0, true),
                ("a b:c", "größe", 0, 17, false),
            ] {
                let change = PhaseChange {
                    from,
                    to,
                    pid,
                    tries,
                    expected,
                };
                let note = Notification::phase(0, Who { process, group }, change);
                let (pid, tries) = (pid.to_string(), tries.to_string());
                let words: [&[u8]; 7] = [
                    process.as_bytes(),
                    group.as_bytes(),
                    pid.as_bytes(),
                    tries.as_bytes(),
                    if expected { b"1" } else { b"0" },
                    from.name().as_bytes(),
                    to.name().as_bytes(),
                ];
                questions.ask("phase", &words, said(&note));
            }
        }
    }
    questions.settle();
}

#[test]
fn payloads_of_data() {
    let mut questions = Questions::default();
    let all: Vec<u8> = (0..=255).collect();
    let mut samples: Vec<Vec<u8>> = vec![vec![], b"one\ntwo".to_vec(), "ü€𝄞\0".into(), all];
    for seed in 0..200 {
        let mut dice = Dice::new(seed);
        let pieces: [&[u8]; 9] = [
            b"'",
            b"\"",
            b"\\",
            b"\xff",
            b"\n",
            b"x",
            b"\xed\xa0\x80",
            b"\xc3",
            b"\xbc",
        ];
        samples.push((0..5).flat_map(|_| dice.choose(&pieces)).copied().collect());
    }
    let who = Who {
        process: "pröc",
        group: "g",
    };
    for sample in &samples {
        for channel in [Channel::Stdout, Channel::Stderr] {
            for note in [
                Notification::log(0, who, 77, channel, sample),
                Notification::communication(0, who, 77, channel, sample),
            ] {
                let words = [
                    note.kind.name().as_bytes(),
                    who.process.as_bytes(),
                    b"g",
                    b"77",
                    sample,
                ];
                questions.ask("data", &words, said(&note));
            }
        }
    }
    questions.settle();
}

#[test]
fn payloads_of_the_daemon() {
    let mut questions = Questions::default();
    for note in [
        Notification::supervisor_running(0),
        Notification::supervisor_stopping(0),
    ] {
        questions.ask("supervisor", &[note.kind.name().as_bytes()], said(&note));
    }
    for name in ["cat", "größe", ""] {
        for note in [
            Notification::group_added(0, name),
            Notification::group_removed(0, name),
        ] {
            let words = [note.kind.name().as_bytes(), name.as_bytes()];
            questions.ask("group", &words, said(&note));
        }
    }
    for kind in Mask::TICK.kinds() {
        for when in [0, 1_700_000_000] {
            let note = Notification::tick(0, kind, when);
            let words = [kind.name().as_bytes(), &when.to_string().into_bytes()];
            questions.ask("tick", &words, said(&note));
        }
    }
    for (subject, data) in [("t", "d"), ("", ""), ("ü", "€\nmore\n")] {
        let note = Notification::remote(0, subject, data);
        let words = [subject.as_bytes(), data.as_bytes()];
        questions.ask("remote", &words, said(&note));
    }
    questions.settle();
}

#[test]
fn serials() {
    let mut questions = Questions::default();
    for last in [0, 1, i64::MAX as u64 - 1, i64::MAX as u64] {
        let mut serials = Serials::after(last);
        let given: Vec<String> = (0..3).map(|_| serials.next().to_string()).collect();
        let words: [&[u8]; 2] = [&last.to_string().into_bytes(), b"3"];
        questions.ask("serials", &words, given.join(" "));
    }
    questions.settle();
}

#[test]
fn ticks() {
    let mut questions = Questions::default();
    for seed in 0..100 {
        let mut dice = Dice::new(seed);
        let mut now: u64 = 1_700_000_000;
        let mut ticks = Ticks::default();
        let (mut times, mut told) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            now += dice.choose(&[0, 1, 1, 3, 5, 59, 3601]);
            now -= dice.choose(&[0, 0, 0, 0, 0, 0, 7, 4000]);
            times.push(now.to_string().into_bytes());
            let now = std::time::Duration::from_millis(now * 1000 + 500);
            for (kind, when) in ticks.due(now, Mask::ALL) {
                told.push(said(&Notification::tick(0, kind, when)));
            }
        }
        let words: Vec<&[u8]> = times.iter().map(Vec::as_slice).collect();
        questions.ask("ticks", &words, told.join("\n"));
    }
    questions.settle();
}

/// What a listener can say, for better or worse. No number here is 0 or negative: there ours
/// differs on purpose.
const SAYINGS: &[&[u8]] = &[
    b"READY\n",
    b"READY\n",
    b"RESULT 2\nOK",
    b"RESULT 2\nOK",
    b"RESULT 4\nFAIL",
    b"RESULT 2\nOKREADY\n",
    b"RESULT 11\nhello",
    b" world",
    b"RESULT +2 \r\nOK",
    b"RESULT \t\x0b\x0c 0_2\nOK",
    b"RESULT 1__0\n",
    b"RESULT _1\n",
    b"RESULT 1_\n",
    b"RESULT +_1\n",
    b"RESULT +-1\n",
    b"RESULT 2 2\n",
    b"RESULT \x1c2\n",
    b"RESULT \xd9\xa2\n",
    b"RESULT \xff\n",
    b"RESULT 2\0\n",
    b"RESULT \n",
    b"RESULT",
    b"xxxxxxx2\nOK",
    b"2\n",
    b"\n",
    b"R",
    "ü\n".as_bytes(),
    b"OK",
];

/// supervisord's lines about a conversation, in which `!` stands for a notification.
fn lines_about(pieces: &[&[u8]]) -> String {
    let mut listener = Listener::default();
    let mut lines = Vec::new();
    for piece in pieces {
        if *piece == b"!" {
            listener.sent();
            continue;
        }
        listener.feed(piece, |step| {
            for (level, text) in step.lines("p") {
                lines.push(format!("{} {text}", level_name(level)));
            }
            if step.gives_back() {
                lines.push("give back".to_owned());
            }
        });
    }
    lines.join("\n")
}

fn level_name(level: Level) -> String {
    format!("{level:?}").to_uppercase()
}

#[test]
fn conversations() {
    let mut questions = Questions::default();
    for saying in SAYINGS {
        let pieces: [&[u8]; 3] = [b"READY\n", b"!", saying];
        questions.ask("talk", &pieces, lines_about(&pieces));
    }
    for seed in 0..1000 {
        let mut dice = Dice::new(seed);
        // Mostly by the rules, so that it goes on for a while.
        let kinds = if seed % 2 == 0 { 6 } else { SAYINGS.len() };
        let mut pieces: Vec<&[u8]> = vec![b"READY\n"];
        for _ in 0..12 {
            match dice.below(5) {
                0 => pieces.extend([&b"!"[..], b"RESULT 2\nOKREADY\n"]),
                1 | 2 => pieces.push(b"!"),
                _ => {
                    let saying = dice.choose(&SAYINGS[..kinds]);
                    let (one, other) = saying.split_at(dice.below(saying.len()));
                    pieces.extend([one, other].into_iter().filter(|piece| !piece.is_empty()));
                }
            }
        }
        questions.ask("talk", &pieces, lines_about(&pieces));
    }
    questions.settle();
}

/// What supervisord logs and writes when `todo` is done to a pool: `o` offers, `t` takes, `g` gives
/// back the oldest that was taken.
fn pool_lines(capacity: usize, todo: &str) -> String {
    let mut pool = Pool::new("P", Mask::ALL, capacity);
    let mut serials = Serials::default();
    let mut busy = std::collections::VecDeque::new();
    let mut lines = Vec::new();
    for (when, what) in todo.chars().enumerate() {
        let discarded = match what {
            'o' => pool.offer(&Notification::tick(
                serials.next(),
                Kind::Tick5,
                when as u64,
            )),
            't' => {
                if let Some(delivery) = pool.take() {
                    lines.push(String::from_utf8(delivery.envelope("id")).unwrap());
                    lines.push(format!("DEBUG {}", delivery.sent_line("p")));
                    busy.push_back(delivery);
                }
                None
            }
            _ => busy.pop_front().and_then(|delivery| {
                lines.push(format!("DEBUG {}", pool.rebuffering_line(&delivery)));
                pool.give_back(delivery)
            }),
        };
        lines.extend(discarded.map(|discarded| format!("ERROR {discarded}")));
    }
    lines.join("\n")
}

#[test]
fn pools() {
    let mut questions = Questions::default();
    for seed in 0..300 {
        let mut dice = Dice::new(seed);
        let capacity = 1 + dice.below(4);
        let todo: String = (0..30)
            .map(|_| dice.choose(&['o', 'o', 't', 'g']))
            .collect();
        let words: [&[u8]; 2] = [&capacity.to_string().into_bytes(), todo.as_bytes()];
        questions.ask("pool", &words, pool_lines(capacity, &todo));
    }
    questions.settle();
}
