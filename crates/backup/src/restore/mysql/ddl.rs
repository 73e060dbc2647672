//! Statements of definitions taken apart: which keys of a table can be made after its rows are there,
//! and where a statement names a database.
//!
//! What is read here is what `SHOW CREATE` gives with `sql_quote_show_create`, and bodies of routines as
//! people wrote them. Only as much is understood as is needed: names, texts, brackets and commas.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::source::mysql::{is_one_name, name};

/// What stands somewhere in a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A name in backticks.
    Name,
    /// A text in quotes, of either kind.
    Text,
    /// A keyword, a number, or a name without quotes.
    Word,
    /// One character of anything else.
    Mark,
}

#[derive(Debug, Clone)]
struct Token {
    kind: Kind,
    at: Range<usize>,
}

/// The tokens of a statement, without blanks and comments; what is in `/*! … */` counts.
fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        let start = at;
        let kind = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            b'`' => {
                at = quoted(bytes, at, false);
                Kind::Name
            }
            b'\'' | b'"' => {
                at = quoted(bytes, at, true);
                Kind::Text
            }
            b'/' if rest.starts_with(b"/*!") || rest.starts_with(b"/*M!") => {
                at += if rest.starts_with(b"/*!") { 3 } else { 4 };
                while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                    at += 1;
                }
                continue;
            }
            b'/' if rest.starts_with(b"/*") => {
                at = find(bytes, at + 2, b"*/");
                continue;
            }
            b'*' if rest.starts_with(b"*/") => {
                at += 2;
                continue;
            }
            b'#' => {
                at = find(bytes, at, b"\n");
                continue;
            }
            b'-' if rest.starts_with(b"-- ")
                || rest.starts_with(b"--\n")
                || rest.starts_with(b"--\t") =>
            {
                at = find(bytes, at, b"\n");
                continue;
            }
            _ if is_word(byte) => {
                while bytes.get(at).copied().is_some_and(is_word) {
                    at += 1;
                }
                Kind::Word
            }
            _ => {
                at += 1;
                Kind::Mark
            }
        };
        tokens.push(Token {
            kind,
            at: start..at,
        });
    }
    tokens
}

/// Characters of names without quotes
/// (<https://mariadb.com/docs/server/reference/sql-structure/sql-language-structure/identifier-names>).
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// Where something that begins with a quote ends. A quote in it is doubled, or has a backslash in front.
fn quoted(bytes: &[u8], from: usize, backslash: bool) -> usize {
    let quote = bytes[from];
    let mut at = from + 1;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        if byte == b'\\' && backslash {
            at += 1;
        } else if byte == quote {
            if bytes.get(at) != Some(&quote) {
                return at;
            }
            at += 1;
        }
    }
    bytes.len()
}

/// The end of the next occurrence.
fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    bytes
        .get(from..)
        .and_then(|rest| rest.windows(what.len()).position(|found| found == what))
        .map_or(bytes.len(), |at| from + at + what.len())
}

/// A name without its quotes, if this is one.
fn unquoted(text: &str, token: &Token) -> Option<String> {
    let raw = &text[token.at.clone()];
    match token.kind {
        Kind::Name => raw
            .strip_prefix('`')
            .and_then(|raw| raw.strip_suffix('`'))
            .map(|raw| raw.replace("``", "`")),
        Kind::Word => Some(raw.to_owned()),
        Kind::Text | Kind::Mark => None,
    }
}

/// What a definition in the brackets of a `CREATE TABLE` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Column,
    Primary,
    Key,
    Fulltext,
    Foreign,
    Check,
    Other,
}

/// A `CREATE TABLE` in pieces.
#[derive(Debug)]
pub(super) struct Table {
    /// Up to the opening bracket, with it.
    head: String,
    parts: Vec<(Part, String)>,
    /// From the closing bracket on.
    tail: String,
}

impl Table {
    /// Takes a statement apart; nothing if it has another form than is known here.
    pub(super) fn parse(create: &str) -> Option<Self> {
        let tokens = tokens(create);
        let mark = |token: &Token, mark: &str| {
            token.kind == Kind::Mark && &create[token.at.clone()] == mark
        };
        let open = tokens.iter().position(|token| mark(token, "("))?;
        let head = create[..tokens[open].at.end].to_owned();
        let mut parts = Vec::new();
        let mut depth = 1usize;
        let mut first = open + 1;
        for at in open + 1..tokens.len() {
            let token = &tokens[at];
            if mark(token, "(") {
                depth += 1;
            } else if mark(token, ")") {
                depth -= 1;
            }
            let ends = depth == 0 || (depth == 1 && mark(token, ","));
            if !ends {
                continue;
            }
            let of_part = tokens.get(first..at).filter(|tokens| !tokens.is_empty())?;
            // With what is between the tokens: beginnings and ends of comments that count.
            let text = create[tokens[first - 1].at.end..token.at.start].trim();
            parts.push((classify(create, of_part), text.to_owned()));
            first = at + 1;
            if depth == 0 {
                return Some(Self {
                    head,
                    parts,
                    tail: create[token.at.start..].to_owned(),
                });
            }
        }
        None
    }

    /// Whether keys can be added after the rows so that everything is as if they had been there before.
    /// Not without a primary key, because rows are then in the order of another one; not where a column
    /// counts by itself and needs a key that is not the primary one.
    fn can_wait(&self) -> bool {
        let Some((_, primary)) = self.parts.iter().find(|(part, _)| *part == Part::Primary) else {
            return false;
        };
        let first = tokens(primary)
            .iter()
            .find(|token| token.kind == Kind::Name)
            .and_then(|token| unquoted(primary, token));
        let counting = self
            .parts
            .iter()
            .filter(|(part, _)| *part == Part::Column)
            .find_map(|(_, text)| {
                let tokens = tokens(text);
                let counts = tokens.iter().any(|token| {
                    token.kind == Kind::Word
                        && text[token.at.clone()].eq_ignore_ascii_case("AUTO_INCREMENT")
                });
                counts.then(|| unquoted(text, tokens.first()?)).flatten()
            });
        counting.is_none() || counting == first
    }

    /// The statement that makes the table: without foreign keys, and without the other keys too if they
    /// are to come later.
    pub(super) fn create(&self, keys_later: bool) -> String {
        let later = keys_later && self.can_wait();
        let kept: Vec<&str> = self
            .parts
            .iter()
            .filter(|(part, _)| match part {
                Part::Foreign => false,
                Part::Key | Part::Fulltext => !later,
                _ => true,
            })
            .map(|(_, text)| text.as_str())
            .collect();
        format!("{}\n  {}\n{}", self.head, kept.join(",\n  "), self.tail)
    }

    /// What is to be added after the rows, one list for each `ALTER TABLE`: `InnoDB` makes one FULLTEXT
    /// key at a time.
    pub(super) fn keys(&self) -> Vec<Vec<String>> {
        if !self.can_wait() {
            return Vec::new();
        }
        let of = |wanted: Part| {
            self.parts
                .iter()
                .filter(move |(part, _)| *part == wanted)
                .map(|(_, text)| format!("ADD {text}"))
        };
        let mut keys = Vec::new();
        let plain: Vec<String> = of(Part::Key).collect();
        if !plain.is_empty() {
            keys.push(plain);
        }
        keys.extend(of(Part::Fulltext).map(|key| vec![key]));
        keys
    }

    /// The foreign keys to be added.
    pub(super) fn foreign(&self) -> Vec<String> {
        self.parts
            .iter()
            .filter(|(part, _)| *part == Part::Foreign)
            .map(|(_, text)| format!("ADD {text}"))
            .collect()
    }

    /// Takes the names from checks: with `MySQL` they are those of one table in a database.
    pub(super) fn unname_checks(&mut self) {
        for (part, text) in &mut self.parts {
            if *part != Part::Check {
                continue;
            }
            let check = tokens(text)
                .into_iter()
                .find(|token| token.kind == Kind::Word && &text[token.at.clone()] == "CHECK");
            if let Some(check) = check {
                *text = text[check.at.start..].to_owned();
            }
        }
    }

    /// Has the table be made under this name, already quoted, if it is not there yet.
    pub(super) fn rename(&mut self, name: &str) {
        self.head = format!("CREATE TABLE IF NOT EXISTS {name} (");
    }
}

fn classify(text: &str, tokens: &[Token]) -> Part {
    let word = |at: usize| -> &str {
        match tokens.get(at) {
            Some(token) if token.kind == Kind::Word => &text[token.at.clone()],
            _ => "",
        }
    };
    if tokens.first().is_some_and(|token| token.kind == Kind::Name) {
        return Part::Column;
    }
    match word(0) {
        "PRIMARY" => Part::Primary,
        "UNIQUE" | "KEY" | "INDEX" | "SPATIAL" => Part::Key,
        "FULLTEXT" => Part::Fulltext,
        "FOREIGN" => Part::Foreign,
        "CHECK" => Part::Check,
        "CONSTRAINT" => match word(2) {
            "FOREIGN" => Part::Foreign,
            "CHECK" => Part::Check,
            "UNIQUE" => Part::Key,
            "PRIMARY" => Part::Primary,
            _ => Part::Other,
        },
        _ => Part::Other,
    }
}

/// Whether a `CREATE TRIGGER` is for this table. Where names fold, it may be written in another case.
pub(super) fn is_on(create: &str, table: &str, folds: bool) -> bool {
    let tokens = tokens(create);
    let Some(on) = tokens.iter().position(|token| {
        token.kind == Kind::Word && create[token.at.clone()].eq_ignore_ascii_case("ON")
    }) else {
        return false;
    };
    let text = |at: usize| tokens.get(at).and_then(|token| unquoted(create, token));
    let dot = tokens
        .get(on + 2)
        .is_some_and(|token| &create[token.at.clone()] == ".");
    text(if dot { on + 3 } else { on + 1 }).is_some_and(|named| is_one_name(&named, table, folds))
}

/// What is made by a `CREATE DATABASE`, by another verb and under another name.
pub(super) fn database(create: &str, verb: &str, to: &str) -> String {
    let rest = tokens(create)
        .into_iter()
        .find(|token| token.kind == Kind::Name)
        .map_or("", |token| &create[token.at.end..]);
    format!("{verb} {}{rest}", name(to))
}

/// A statement in which a database has another name, wherever one of its objects is named with it.
///
/// `d`.`x` may also be a column x of something that is called d; so only what is known to be in the
/// database is taken for something of it. Where names fold, those of the server are in lower case, and
/// the statement has them as somebody wrote them.
pub(super) fn moved(
    statement: &str,
    from: &str,
    to: &str,
    objects: &BTreeSet<String>,
    folds: bool,
) -> String {
    let tokens = tokens(statement);
    let dot = |at: Option<usize>| {
        at.and_then(|at| tokens.get(at))
            .is_some_and(|token| token.kind == Kind::Mark && &statement[token.at.clone()] == ".")
    };
    let mut out = String::with_capacity(statement.len());
    let mut copied = 0;
    for (at, token) in tokens.iter().enumerate() {
        let named = unquoted(statement, token).is_some_and(|name| is_one_name(&name, from, folds))
            && !dot(at.checked_sub(1))
            && dot(Some(at + 1));
        let of_it = || {
            tokens
                .get(at + 2)
                .and_then(|token| unquoted(statement, token))
                .is_some_and(|name| {
                    objects.contains(&name) || folds && objects.contains(&name.to_lowercase())
                })
        };
        if named && of_it() {
            out.push_str(&statement[copied..token.at.start]);
            out.push_str(&name(to));
            copied = token.at.end;
        }
    }
    out.push_str(&statement[copied..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ORDERS: &str = "CREATE TABLE `or``ders` (\n  `id` int(11) NOT NULL AUTO_INCREMENT COMMENT 'a, (b) it''s \\' KEY',\n  `customer` int(11) DEFAULT NULL,\n  `kind` enum('a','(b',')') DEFAULT NULL,\n  `twice` int(11) GENERATED ALWAYS AS (`customer` * 2) VIRTUAL,\n  PRIMARY KEY (`id`),\n  UNIQUE KEY `u` (`kind`,`customer`),\n  KEY `c` (`customer`) USING BTREE,\n  FULLTEXT KEY `f` (`kind`) /*!50100 WITH PARSER `ngram` */ ,\n  FULLTEXT KEY `g` (`kind`),\n  SPATIAL KEY `s` (`p`),\n  CONSTRAINT `fk` FOREIGN KEY (`customer`) REFERENCES `d`.`customers` (`id`) ON DELETE CASCADE,\n  CONSTRAINT `ch` CHECK (`customer` > 0)\n) ENGINE=InnoDB AUTO_INCREMENT=7 COMMENT='x, (y)'\n/*!50100 PARTITION BY KEY (id) */";

    #[test]
    fn keys_are_taken_out_and_added_later() {
        let table = Table::parse(ORDERS).unwrap();
        let create = table.create(true);
        for kept in [
            "CREATE TABLE `or``ders` (\n",
            "COMMENT 'a, (b) it''s \\' KEY',\n",
            "PRIMARY KEY (`id`),\n",
            "CHECK (`customer` > 0)\n) ENGINE=InnoDB AUTO_INCREMENT=7",
            "/*!50100 PARTITION BY KEY (id) */",
        ] {
            assert!(create.contains(kept), "{kept}: {create}");
        }
        for gone in ["UNIQUE", "  KEY", "FULLTEXT", "SPATIAL", "FOREIGN"] {
            assert!(!create.contains(gone), "{gone}: {create}");
        }
        assert_eq!(
            table.keys(),
            [
                vec![
                    "ADD UNIQUE KEY `u` (`kind`,`customer`)",
                    "ADD KEY `c` (`customer`) USING BTREE",
                    "ADD SPATIAL KEY `s` (`p`)",
                ],
                vec!["ADD FULLTEXT KEY `f` (`kind`) /*!50100 WITH PARSER `ngram` */"],
                vec!["ADD FULLTEXT KEY `g` (`kind`)"],
            ]
        );
        assert_eq!(
            table.foreign(),
            [
                "ADD CONSTRAINT `fk` FOREIGN KEY (`customer`) REFERENCES `d`.`customers` (`id`) ON DELETE CASCADE"
            ]
        );
        let create = table.create(false);
        assert!(create.contains("UNIQUE KEY `u`") && !create.contains("FOREIGN"));
    }

    #[test]
    fn keys_that_rows_need_stay() {
        for (create, waits) in [
            ("CREATE TABLE `t` (\n  `a` int,\n  KEY `k` (`a`)\n)", false),
            (
                "CREATE TABLE `t` (\n  `a` int,\n  PRIMARY KEY (`a`),\n  KEY `k` (`a`)\n)",
                true,
            ),
            (
                "CREATE TABLE `t` (\n  `a` int,\n  `n` int AUTO_INCREMENT,\n  PRIMARY KEY (`a`),\n  KEY `n` (`n`)\n)",
                false,
            ),
            (
                "CREATE TABLE `t` (\n  `a` int COMMENT 'AUTO_INCREMENT',\n  `n` int AUTO_INCREMENT,\n  PRIMARY KEY (`n`,`a`),\n  KEY `n` (`n`)\n)",
                true,
            ),
        ] {
            let table = Table::parse(create).unwrap();
            assert_eq!(table.can_wait(), waits, "{create}");
            assert_eq!(table.keys().is_empty(), !waits, "{create}");
            assert_eq!(table.create(true).contains("  KEY"), !waits, "{create}");
        }
        assert!(Table::parse("CREATE TABLE `t` LIKE `u`").is_none());
        assert!(Table::parse("CREATE TABLE `t` (`a` int").is_none());
    }

    #[test]
    fn a_table_gets_another_name_and_its_checks_none() {
        let mut table = Table::parse(ORDERS).unwrap();
        table.rename("`b`.`new``one`");
        table.unname_checks();
        let create = table.create(true);
        assert!(
            create.starts_with("CREATE TABLE IF NOT EXISTS `b`.`new``one` (\n"),
            "{create}"
        );
        assert!(
            create.contains(",\n  CHECK (`customer` > 0)\n)"),
            "{create}"
        );
    }

    #[test]
    fn a_trigger_is_on_its_table() {
        for (create, on) in [
            (
                "CREATE DEFINER=`on`@`%` TRIGGER `x` BEFORE INSERT ON `t` FOR EACH ROW SET @a=1",
                true,
            ),
            (
                "CREATE TRIGGER x after update on d.t for each row set @a=1",
                true,
            ),
            (
                "CREATE TRIGGER t after update on d.`u` for each row update t set a=1",
                false,
            ),
            ("CREATE TRIGGER t", false),
        ] {
            assert_eq!(is_on(create, "t", false), on, "{create}");
        }
        let create = "CREATE TRIGGER x BEFORE INSERT ON Orders FOR EACH ROW SET @a=1";
        assert!(is_on(create, "orders", true) && !is_on(create, "orders", false));
    }

    #[test]
    fn a_database_is_made_under_another_name() {
        let create = "CREATE DATABASE `a``b` /*!40100 DEFAULT CHARACTER SET latin1 */";
        assert_eq!(
            database(create, "ALTER DATABASE", "c`d"),
            "ALTER DATABASE `c``d` /*!40100 DEFAULT CHARACTER SET latin1 */"
        );
    }

    #[test]
    fn a_database_is_renamed_where_it_is_one() {
        let objects = ["t", "v`w", "f"].map(str::to_owned).into();
        for (statement, expected) in [
            (
                "select `d`.`t`.`a` from `d`.`t`",
                "select `n``n`.`t`.`a` from `n``n`.`t`",
            ),
            ("select `x`.`d`.`t`", "select `x`.`d`.`t`"),
            (
                "select `d`.`column` from `other`.`t` `d`",
                "select `d`.`column` from `other`.`t` `d`",
            ),
            (
                "select 'it''s `d`.`t`', \"`d`.`t`\"",
                "select 'it''s `d`.`t`', \"`d`.`t`\"",
            ),
            (
                "select d.f(1) -- d.f\nfrom d . t",
                "select `n``n`.f(1) -- d.f\nfrom `n``n` . t",
            ),
            (
                "from `d`.`v``w` /* d.t */ # d.t",
                "from `n``n`.`v``w` /* d.t */ # d.t",
            ),
            (
                "/*!50001 select d.t */ 'ü' d.t",
                "/*!50001 select `n``n`.t */ 'ü' `n``n`.t",
            ),
            ("update dd.t, D.t", "update dd.t, D.t"),
            ("'unfinished `d`.`t`", "'unfinished `d`.`t`"),
        ] {
            assert_eq!(moved(statement, "d", "n`n", &objects, false), expected);
        }
        let folded = moved("SELECT * FROM D.T, D.X", "d", "e", &objects, true);
        assert_eq!(folded, "SELECT * FROM `e`.T, D.X");
    }

    proptest! {
        #[test]
        fn nothing_panics_or_is_lost(text in "[a-c`'\"\\\\/*!#. (),;\n-]{0,60}") {
            let objects = ["a", "b"].map(str::to_owned).into();
            prop_assert_eq!(moved(&text, "a", "a", &objects, false).replace('`', ""), text.replace('`', ""));
            if let Some(table) = Table::parse(&text) {
                let whole = table.create(false).replace([' ', '\n'], "");
                prop_assert!(whole.len() <= text.len() + 2 * table.parts.len());
            }
        }
    }
}
