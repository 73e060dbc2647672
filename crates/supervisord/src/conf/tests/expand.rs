//! Expansions against what Python makes of them.

use proptest::prelude::*;

use super::*;

fn names() -> Expansions {
    [
        ("here", Value::from("/etc")),
        ("n", Value::Number(7)),
        ("big", Value::Number(1_234_567)),
        ("neg", Value::Number(-3)),
        ("a(b)c", Value::from("nested")),
        ("u", Value::from("ü'")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Each expected text was made by Python's `%`.
const GOOD: &[(&str, &str)] = &[
    ("", ""),
    ("plain", "plain"),
    ("100%%", "100%"),
    ("%(here)s/x", "/etc/x"),
    ("%(here)10s|", "      /etc|"),
    ("%(here)-10s|", "/etc      |"),
    ("%(here).2s", "/e"),
    ("%(here)07s", "   /etc"),
    ("%(here)r", "'/etc'"),
    ("%(u)r", "\"ü'\""),
    ("%(u)a", "\"\\xfc'\""),
    ("%(n)s", "7"),
    ("%(n)d", "7"),
    ("%(n)02d", "07"),
    ("%(n)ld", "7"),
    ("%(n)-4d|", "7   |"),
    ("%(n)-04d|", "7   |"),
    ("%(n)+d", "+7"),
    ("%(n) d", " 7"),
    ("%(n).3d", "007"),
    ("%(n)6.3d", "   007"),
    ("%(n)06.3d", "000007"),
    ("%(neg)04d", "-003"),
    ("%(neg)x", "-3"),
    ("%(big)x", "12d687"),
    ("%(big)X", "12D687"),
    ("%(big)#x", "0x12d687"),
    ("%(n)#06x", "0x0007"),
    ("%(n)o", "7"),
    ("%(big)#o", "0o4553207"),
    ("%(n)f", "7.000000"),
    ("%(n).1f", "7.0"),
    ("%(n)06.1f", "0007.0"),
    ("%(big)e", "1.234567e+06"),
    ("%(big).2E", "1.23E+06"),
    ("%(big)g", "1.23457e+06"),
    ("%(n)g", "7"),
    ("%(n)c", "\u{7}"),
    ("%(a(b)c)s", "nested"),
];

const BAD: &[(&str, &str)] = &[
    ("%", "incomplete format"),
    ("%(here)", "incomplete format"),
    ("%(here", "incomplete format key"),
    (
        "ab%(here)y",
        "unsupported format character 'y' (0x79) at index 9",
    ),
    ("%(here)d", "%d format: a real number is required, not str"),
    ("%(here)x", "%x format: an integer is required, not str"),
    ("%(here)f", "must be real number, not str"),
    ("%(here)c", "%c requires int or char"),
    ("%(here)*s", "* wants int"),
    ("%(n)*d", "not enough arguments for format string"),
    ("%(n)99999d", "width too big"),
    ("%(n).99999d", "precision too big"),
    (
        "50% of",
        "a conversion without a name: write %% for a percent sign",
    ),
    (
        "%s",
        "a conversion without a name: write %% for a percent sign",
    ),
];

#[test]
fn texts_are_expanded_as_python_does() {
    for (template, expected) in GOOD {
        assert_eq!(
            expand(template, &names(), "w").as_deref(),
            Ok(*expected),
            "{template}"
        );
    }
}

#[test]
fn bad_formats_are_explained() {
    for (template, why) in BAD {
        let expected = format!(
            "Format string {} for 'w' is badly formatted: {why}",
            quote(template)
        );
        assert_eq!(expand(template, &names(), "w"), Err(expected));
    }
}

#[test]
fn unknown_names_are_told_with_the_known_ones() {
    assert_eq!(
        expand("%(nope)s", &names(), "program:x.command"),
        Err(
            "Format string '%(nope)s' for 'program:x.command' contains names ('nope') which \
             cannot be expanded. Available names: a(b)c, big, here, n, neg, u"
                .to_owned()
        )
    );
}

proptest! {
    #[test]
    fn no_template_panics(template in "([%()hersn0-9.*+# -]|%\\(n\\)|.){0,40}") {
        let _ = expand(&template, &names(), "w");
    }
}
