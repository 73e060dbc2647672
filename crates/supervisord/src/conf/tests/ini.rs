//! INI texts against what Python makes of them.

use std::process::Command;

use proptest::prelude::*;

use super::*;

/// Texts with their meaning: `[section] key=value|…`, or the message of the error.
const CASES: &[(&str, &str, &str)] = &[
    ("plain", "[a]\nk=v\n", "a{k='v'}"),
    ("colon", "[a]\nk: v = w\n", "a{k='v = w'}"),
    ("spaces", "[a]\nk   =    v   \n", "a{k='v'}"),
    ("lower-cased option", "[a]\nKEY=V\n", "a{key='V'}"),
    ("section case", "[A]\nk=1\n[a]\nk=2\n", "A{k='1'}a{k='2'}"),
    ("section spaces", "[ a ]\nk=1\n", " a {k='1'}"),
    ("duplicate key", "[a]\nk=1\nk=2\n", "a{k='2'}"),
    ("merged", "[a]\nk=1\n[b]\n[a]\nl=2\n", "a{k='1',l='2'}b{}"),
    ("full comments", "; x\n# y\n[a]\n ;z\nk=1\n", "a{k='1'}"),
    (
        "inline comment",
        "[a]\nk=1 ; c\nl=2 # c\n",
        "a{k='1',l='2'}",
    ),
    ("no comment", "[a]\nk=1;c\nl=2#c\n", "a{k='1;c',l='2#c'}"),
    ("tab comment", "[a]\nk=1\t;c\n", "a{k='1'}"),
    ("odd comment", "[a]\nk=a;b ;c #d\n", "a{k='a;b ;c'}"),
    ("odd comment 2", "[a]\nk=a#b;c #d ;e\n", "a{k='a#b;c'}"),
    ("comment in header", "[a] ; x\nk=1\n", "a{k='1'}"),
    (
        "continuation",
        "[a]\nk=1\n  2\n\t3\nl=4\n",
        "a{k='1\\n2\\n3',l='4'}",
    ),
    (
        "empty lines",
        "[a]\nk=1\n\n  2\n\n\nl=3\n\n",
        "a{k='1\\n\\n2',l='3'}",
    ),
    ("comment between", "[a]\nk=1\n;x\n  2\n", "a{k='1\\n2'}"),
    (
        "indented option",
        "[a]\n  k=1\n  l=2\n m=3\n",
        "a{k='1',l='2',m='3'}",
    ),
    (
        "header continued",
        "[a]\nk=1\n [b]\nl=1\n",
        "a{k='1\\n[b]',l='1'}",
    ),
    ("bracket in header", "[a]b]c\nk=1\n", "a]b{k='1'}"),
    ("no value", "[a]\nk=\nl=\n  x\n", "a{k='',l='\\nx'}"),
    ("CRLF", "[a]\r\nk=1\r\n\r\nl=2\r", "a{k='1',l='2'}"),
    ("default", "[DEFAULT]\nk=1\n[a]\nl=2\n", "a{l='2',k='1'}"),
    ("unicode", "[ä]\nÖ=ü\n", "ä{ö='ü'}"),
    ("no-break space", "[a]\nk=\u{a0}v\u{a0};c\n", "a{k='v'}"),
    ("separator", "[a]\nk=\u{1f}v\u{1c}\n", "a{k='v'}"),
    ("last wins whole", "[a]\nk=1\n 2\nk=3\n", "a{k='3'}"),
    ("empty", "", ""),
    (
        "no section",
        "\nk=1\n",
        "File contains no section headers.\nfile: 'FILE', line: 2\n'k=1\\n'",
    ),
    (
        "BOM",
        "\u{feff}[a]\n",
        "File contains no section headers.\nfile: 'FILE', line: 1\n'\\ufeff[a]\\n'",
    ),
    (
        "no delimiter",
        "[a]\nfoo\nk=1\n'b'\n",
        "Source contains parsing errors: 'FILE'\n\t[line  2]: 'foo\\n'\n\t[line  4]: \"'b'\\n\"",
    ),
    (
        "no name",
        "[a]\n=1\n",
        "Source contains parsing errors: 'FILE'\n\t[line  2]: '=1\\n'",
    ),
    (
        "empty header",
        "[a]\n[]\n",
        "Source contains parsing errors: 'FILE'\n\t[line  2]: '[]\\n'",
    ),
];

fn show(ini: &Ini) -> String {
    let section = |section: &Section| {
        let options: Vec<String> = ini
            .entries(section)
            .map(|entry| format!("{}={}", entry.key, quote(&entry.value)))
            .collect();
        format!("{}{{{}}}", section.name, options.join(","))
    };
    ini.sections().iter().map(section).collect()
}

fn meaning(file: &str, text: &str) -> String {
    let mut ini = Ini::new();
    match ini.read(file, text) {
        Ok(()) => show(&ini),
        Err(error) => error.to_string(),
    }
}

#[test]
fn texts_mean_what_they_mean_to_python() {
    for (name, text, expected) in CASES {
        assert_eq!(meaning("FILE", text), *expected, "{name}");
    }
}

const PYTHON: &str = r"
import configparser, sys
for path in sys.argv[1:]:
    p = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(';', '#'))
    try:
        with open(path, encoding='utf-8') as f:
            p.read_file(f, 'FILE')
    except configparser.ParsingError as e:
        out = str(e)
    else:
        out = ''.join('%s{%s}' % (s, ','.join('%s=%r' % i for i in sorted(p.items(s)))) for s in p.sections())
    sys.stdout.buffer.write(out.encode() + b'\0')
";

/// Texts made of the pieces that matter, in a fixed pseudo-random order.
fn made_up(seed: u64) -> String {
    const PIECES: &[&str] = &[
        "[a]\n", "[b] ;x\n", "k=1", "K : 2", "\n", "\n", "\n", "  ", "\t", ";", "#", " ;c", " #d",
        "=", ":", "]", "[", "x", "y z", "\r\n", "\r", "'", "\"", "\u{a0}", "ü", "\u{1c}", "%(x)s",
    ];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::from(if seed.is_multiple_of(3) { "" } else { "[a]\n" });
    for _ in 0..40 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = usize::try_from(state % PIECES.len() as u64).unwrap();
        text.push_str(PIECES[at]);
    }
    text
}

/// The same as [`show`] with the options sorted, because Python lists those of DEFAULT first.
fn sorted_meaning(text: &str) -> String {
    let mut ini = Ini::new();
    if let Err(error) = ini.read("FILE", text) {
        return error.to_string();
    }
    for section in &mut ini.sections {
        section.entries.sort_by(|a, b| a.key.cmp(&b.key));
    }
    show(&ini)
}

#[test]
fn python_itself_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let mut texts: Vec<String> = CASES.iter().map(|case| case.1.to_owned()).collect();
    texts.retain(|text| !text.contains("DEFAULT"));
    texts.extend((0..400).map(made_up));
    let paths: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| {
            let path = dir.path().join(number.to_string());
            std::fs::write(&path, text).unwrap();
            path
        })
        .collect();
    let Ok(run) = Command::new("python3")
        .env("PYTHONIOENCODING", "utf-8")
        .args(["-c", PYTHON])
        .args(&paths)
        .output()
    else {
        println!("SKIPPED: python3 is not installed");
        return;
    };
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let said = String::from_utf8(run.stdout).unwrap();
    let said: Vec<&str> = said.split_terminator('\0').collect();
    assert_eq!(said.len(), texts.len());
    for (text, said) in texts.iter().zip(said) {
        assert_eq!(sorted_meaning(text), said, "{text:?}");
    }
}

#[test]
fn keys_and_values_know_their_places() {
    let mut ini = Ini::new();
    ini.read("one", "[a]\n\n  ük = v\n").unwrap();
    ini.read("two", "[a]\nl:w\n[b]\n").unwrap();
    let entry = ini.get("a", "ük").unwrap();
    assert_eq!(entry.key_place.to_string(), "one:3:3");
    assert_eq!(entry.value_place.to_string(), "one:3:8");
    assert_eq!(
        ini.get("a", "l").unwrap().value_place.to_string(),
        "two:2:3"
    );
    assert_eq!(ini.section("b").unwrap().place.to_string(), "two:3:1");
}

#[test]
fn a_text_without_bounds_is_refused() {
    let long = "#".repeat(MAX_TEXT + 1);
    assert!(meaning("f", &long).contains("longer than"));
}

proptest! {
    #[test]
    fn no_text_panics(text in "(?s)([\\[\\]=:;# \\r\\na-cé\u{a0}]|.){0,200}") {
        let _ = meaning("f", &text);
    }
}
