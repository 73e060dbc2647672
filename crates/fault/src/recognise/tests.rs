use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::class::Severity;

struct Case {
    name: String,
    expected: String,
    text: String,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for row in include_str!("traces.txt").lines().skip(3) {
        if let Some(name) = row.strip_prefix("## ") {
            cases.push(Case {
                name: name.to_owned(),
                expected: String::new(),
                text: String::new(),
            });
        } else if let Some(expected) = row.strip_prefix("= ") {
            cases.last_mut().unwrap().expected = expected.trim_end_matches([' ', '¦']).to_owned();
        } else if let Some(line) = row.strip_prefix('>') {
            let line = line
                .strip_prefix(' ')
                .unwrap_or(line)
                .replace("\\t", "\t")
                .replace("\\e", "\x1b");
            let text = &mut cases.last_mut().unwrap().text;
            text.push_str(&line);
            text.push('\n');
        }
    }
    cases
}

fn shown(traceback: Option<&Traceback>) -> String {
    let Some(traceback) = traceback else {
        return "none".to_owned();
    };
    let mut parts = vec![
        format!(
            "{}{}",
            if traceback.is_whole() { "" } else { "~" },
            traceback.language()
        ),
        traceback.raised().to_string(),
        traceback.place().map(Frame::to_string).unwrap_or_default(),
    ];
    parts.extend(traceback.causes().iter().map(Raised::to_string));
    parts.join(" ¦ ").trim_end_matches([' ', '¦']).to_owned()
}

#[test]
fn table() {
    let cases = cases();
    assert!(cases.len() >= 100, "{}", cases.len());
    let mut wrong = String::new();
    for case in &cases {
        let found = shown(Recogniser::new().find(&case.text).as_ref());
        if found != case.expected {
            writeln!(
                wrong,
                "## {}\nexpected {}\nfound    {found}",
                case.name, case.expected
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn each_language_has_many_rows() {
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    for case in cases() {
        *rows
            .entry(case.name.split(':').next().unwrap().to_owned())
            .or_default() += 1;
    }
    for language in [
        "go", "java", "node", "php", "python", "ruby", "rust", "nothing",
    ] {
        assert!(rows[language] >= 6, "{language}: {rows:?}");
    }
}

/// A traceback is found in the middle of other output, too.
#[test]
fn what_is_around_it_does_not_matter() {
    for case in cases().iter().filter(|case| {
        !case.text.starts_with('{')
            && !case.text.contains("| ")
            && !case.text.contains("]: ")
            && !case.text.contains(" stderr F ")
    }) {
        let text = format!("starting on port 8080\n\n{}\nGET / 200\n", case.text);
        let found = shown(Recogniser::new().find(&text).as_ref());
        // With something behind it, an end can't be told from a missing one.
        assert_eq!(
            found.trim_start_matches('~'),
            case.expected.trim_start_matches('~'),
            "{}",
            case.name
        );
    }
}

fn fingerprint(text: &str) -> String {
    Recogniser::new()
        .find(text)
        .unwrap()
        .fingerprint()
        .to_owned()
}

#[test]
fn one_kind_has_one_fingerprint() {
    let python = |line: u32, function: &str, message: &str| {
        fingerprint(&format!(
            "Traceback (most recent call last):\n  File \"/srv/shop/app.py\", line {line}, in {function}\n    x()\nKeyError: '{message}'\n"
        ))
    };
    assert_eq!(python(3, "load", "a"), python(77, "load", "b b"));
    assert_ne!(python(3, "load", "a"), python(3, "store", "a"));
    let go = |number: u32, address: &str, function: &str| {
        fingerprint(&format!(
            "panic: order {number} is odd\n\ngoroutine {number} [running]:\nmain.{function}({address})\n\t/srv/main.go:{number} +0x1\n"
        ))
    };
    assert_eq!(go(1, "0xc0001", "work"), go(27, "0xc0ffee, {0x1}", "work"));
    assert_ne!(go(1, "0xc0001", "work"), go(1, "0xc0001", "rest"));
    // Another release of a library is no other fault.
    let node = |version: &str| {
        fingerprint(&format!(
            "Error: x\n    at lib (/srv/node_modules/x@{version}/a.js:1:1)\n    at own (/srv/shop.js:1:2)\n"
        ))
    };
    assert_eq!(node("1.0.0"), node("2.3.4"));
    // How deep a recursion went depends on the machine.
    let deep = |times: usize| {
        fingerprint(&format!(
            "Exception in thread \"main\" java.lang.StackOverflowError\n{}\tat a.Main.main(Main.java:1)\n",
            "\tat a.Deep.down(Deep.java:3)\n".repeat(times)
        ))
    };
    assert_eq!(deep(10), deep(50));
    // Without steps it is the words that tell one from another.
    let bare = |message: &str| fingerprint(&format!("fatal runtime error: {message}"));
    assert_eq!(bare("signal 11"), bare("signal 7"));
    assert_ne!(bare("signal 11"), bare("stack overflow"));
}

#[test]
fn rows_of_the_table_are_told_apart() {
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for case in cases() {
        if let Some(found) = Recogniser::new().find(&case.text) {
            let kind = format!(
                "{} {} {:?}",
                found.language(),
                found.raised().exception,
                found.place().map(|place| (&place.function, &place.file))
            );
            kinds
                .entry(found.fingerprint().to_owned())
                .or_default()
                .push(kind);
        }
    }
    for same in kinds.values() {
        assert!(same.iter().all(|kind| *kind == same[0]), "{same:?}");
    }
}

#[test]
fn own_code_can_be_named() {
    let text = "java.lang.IllegalStateException: x\n\tat org.apache.Foo.a(Foo.java:1)\n\tat com.acme.shop.B.b(B.java:2)\n";
    let place = |recogniser: Recogniser| {
        recogniser
            .find(text)
            .unwrap()
            .place()
            .unwrap()
            .function
            .clone()
    };
    assert_eq!(place(Recogniser::new()), "com.acme.shop.B.b");
    assert_eq!(
        place(Recogniser::new().own("org.apache.")),
        "org.apache.Foo.a"
    );
    assert_eq!(
        place(Recogniser::new().own("com.other.")),
        "org.apache.Foo.a",
        "the innermost, if none is own"
    );
}

#[test]
fn faults_of_any_language_have_a_class() {
    for (name, class) in [
        ("python: disk full in a task", Class::DiskFull),
        ("node: disk full", Class::DiskFull),
        ("node: heap", Class::Resources),
        ("java: out of memory", Class::Resources),
        ("php: memory", Class::Resources),
        ("go: out of memory", Class::Resources),
        ("rust: memory", Class::Resources),
        ("go: index", Class::Panic),
        ("rust: plain", Class::Panic),
        ("python: plain", Class::Exception),
        ("java: spring", Class::Exception),
    ] {
        let case = cases().into_iter().find(|case| case.name == name).unwrap();
        let fault = Recogniser::new().fault(&case.text).unwrap();
        assert_eq!(
            (fault.class(), fault.severity()),
            (class, Severity::Critical),
            "{name}"
        );
        assert!(!fault.chain().is_empty());
    }
}

fn lines() -> impl Strategy<Value = Vec<String>> {
    let known: Vec<String> = cases()
        .iter()
        .flat_map(|case| case.text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    prop::collection::vec(
        prop_oneof![8 => prop::sample::select(known), 1 => "[ -~]{0,30}", 1 => "\\PC{0,30}", 1 => Just(String::new())],
        0..60,
    )
}

proptest! {
    #[test]
    fn any_order_of_lines_is_taken_and_what_comes_out_is_bounded(lines in lines(), cut_at in 0_usize..3000) {
        let text = lines.join("\n");
        let text = cut(&text, cut_at);
        if let Some(found) = Recogniser::new().find(text) {
            prop_assert!(found.frames().len() <= FRAMES);
            prop_assert!(found.causes().len() <= CAUSES);
            prop_assert_eq!(found.fingerprint().len(), 12);
            prop_assert!(!found.raised().to_string().contains('\n'));
            let fault = found.into_fault();
            let shown = format!("{fault:?}");
            prop_assert!(shown.len() < 128 * 1024);
        }
    }

    #[test]
    fn noise_alone_is_no_fault(words in prop::collection::vec("[a-z]{1,8}", 0..40)) {
        prop_assert!(Recogniser::new().find(&words.join(" ")).is_none());
        prop_assert!(Recogniser::new().find(&words.join("\n")).is_none());
    }
}
