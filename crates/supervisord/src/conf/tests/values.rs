//! Every type of value, row by row.

use std::fmt::Debug;

use proptest::prelude::*;

use super::*;

fn check<T: Debug>(read: impl Fn(&str) -> Result<T, String>, rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        let got = match read(text) {
            Ok(value) => format!("{value:?}"),
            Err(why) => why,
        };
        assert_eq!(got, *expected, "{text:?}");
    }
}

#[test]
fn numbers() {
    check(
        integer,
        &[
            ("5", "5"),
            (" +5 ", "5"),
            ("-1_000", "-1000"),
            ("", "invalid literal for int() with base 10: ''"),
            ("1__0", "invalid literal for int() with base 10: '1__0'"),
            ("1.5", "invalid literal for int() with base 10: '1.5'"),
        ],
    );
    check(
        octal,
        &[
            ("022", "18"),
            ("0o700", "448"),
            ("8", "8 can not be converted to an octal type"),
        ],
    );
    check(
        byte_size,
        &[
            ("0", "0"),
            ("7", "7"),
            ("1kb", "1024"),
            ("50MB", "52428800"),
            ("2 Gb", "2147483648"),
            ("-1MB", "0"),
            ("1K", "invalid literal for int() with base 10: '1k'"),
        ],
    );
    check(
        exit_codes,
        &[
            ("", "[]"),
            ("0, 2,255", "[0, 2, 255]"),
            ("256", "not a valid list of exit codes: '256'"),
            ("1,", "not a valid list of exit codes: '1,'"),
        ],
    );
}

#[test]
fn words() {
    check(
        boolean,
        &[
            ("YES", "true"),
            ("on", "true"),
            ("1", "true"),
            ("Off", "false"),
            ("2", "not a valid boolean value: '2'"),
        ],
    );
    check(
        restart,
        &[
            ("true", "Always"),
            ("No", "Never"),
            ("Unexpected", "Unexpected"),
            ("Maybe", "invalid 'autorestart' value 'maybe'"),
        ],
    );
    check(
        level,
        &[
            ("WARN", "Warn"),
            ("blather", "Blather"),
            ("loud", "bad logging level name 'loud'"),
        ],
    );
    check(
        signal,
        &[
            ("TERM", "15"),
            (" sigusr2 ", "12"),
            ("9", "9"),
            ("0", "value '0' is not a valid signal number"),
            ("99", "value '99' is not a valid signal number"),
            ("NOPE", "value 'NOPE' is not a valid signal name"),
        ],
    );
    check(
        |text| Ok(log_file(text)),
        &[
            ("Auto", "Auto"),
            ("NONE", "Off"),
            ("off", "Off"),
            ("syslog", "Syslog"),
            ("/x", "File(\"/x\")"),
        ],
    );
    check(
        name,
        &[
            (" a ", "\"a\""),
            ("a b", "Invalid name: 'a b' because of character: ' '"),
            ("a:b", "Invalid name: 'a:b' because of character: ':'"),
            ("a/b", "Invalid name: 'a/b' because of character: '/'"),
        ],
    );
    assert_eq!(strings("a, b,,"), ["a", "b", "", ""]);
    assert!(strings("").is_empty());
    assert_eq!(user_group("a:b:c"), ("a", Some("b:c")));
    assert_eq!(user_group("a"), ("a", None));
}

#[test]
fn addresses() {
    check(
        inet_address,
        &[
            ("9001", "(\"\", 9001)"),
            ("*:9001", "(\"\", 9001)"),
            ("LocalHost:1", "(\"localhost\", 1)"),
            ("a:", "no port number specified in ''"),
            ("x", "not a valid port number: 'x' "),
            ("h:0", "0 is below lower bound (1)"),
            ("h:65536", "65536 is above upper bound (65535)"),
        ],
    );
}

#[test]
fn environments() {
    let end = "Unexpected end of key/value pairs in value ";
    check(
        environment,
        &[
            ("", "[]"),
            ("A=b", "[(\"A\", \"b\")]"),
            ("A=\"b,c\",D='e f'", "[(\"A\", \"b,c\"), (\"D\", \"e f\")]"),
            ("A=1,\nB=2,", "[(\"A\", \"1\"), (\"B\", \"2\")]"),
            ("A=1,B=2,A=3", "[(\"A\", \"3\"), (\"B\", \"2\")]"),
            ("A=/x/y.z:+-(1)", "[(\"A\", \"/x/y.z:+-(1)\")]"),
            ("A=b\"c\"", "[(\"A\", \"b\\\"c\")]"),
            ("A=1 # c\n,B=2", "[(\"A\", \"1\"), (\"B\", \"2\")]"),
            ("A", &format!("{end}'A'")),
            ("A=", &format!("{end}'A='")),
            ("A=a&b", &format!("{end}'A=a&b'")),
            ("A='b", "No closing quotation"),
        ],
    );
}

proptest! {
    #[test]
    fn no_value_panics(text in "([A-Z=,'\"# \n0-9:_kmgb+-]|.){0,40}") {
        let _ = (integer(&text), octal(&text), byte_size(&text), exit_codes(&text));
        let _ = (signal(&text), environment(&text), inet_address(&text), name(&text));
    }
}
