//! A dump taken apart into statements, as the stock client does it.
//!
//! What a dump is made of is decided by quotes, comments and `DELIMITER`; the rest is the server's to
//! understand. A dump may come from anybody: whatever is in it, this ends, keeps no more than one
//! statement, and carries out none of the client's own commands.

use std::fmt::{self, Write as _};

/// A statement, and the line that it begins in, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement<'a> {
    /// Without its delimiter and without comments in front.
    pub text: &'a [u8],
    /// Where it begins.
    pub line: u64,
}

/// Why a dump cannot be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// It ends within a quote, or within a comment, that begins in the statement of this line.
    Unfinished(u64),
    /// The statement that begins in this line is longer than it may be.
    TooLong(u64),
    /// There is no delimiter behind the word `DELIMITER`.
    NoDelimiter(u64),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfinished(line) => write!(
                f,
                "it ends in the middle of the statement that begins in line {line}"
            ),
            Self::TooLong(line) => write!(f, "the statement of line {line} is too long"),
            Self::NoDelimiter(line) => write!(f, "line {line}: DELIMITER is followed by nothing"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    Quoted(u8),
    LineComment,
    Comment,
}

/// What the sandbox mode of the stock client is switched on with: for the server it is a comment.
const SANDBOX: &[u8] = b"999999\\-";
/// The longest line with a `DELIMITER`.
const DELIMITER_LINE: usize = 256;
/// A `SET` that is longer sets no mode.
const SETTING: usize = 4096;

/// Takes bytes as they come, and gives statements.
#[derive(Debug)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Where the statement begins, and how far it was looked at.
    start: usize,
    at: usize,
    state: State,
    /// Whether there is more in it than space and comments.
    content: bool,
    delimiter: Vec<u8>,
    /// Bytes that mean something outside of quotes.
    special: [bool; 256],
    /// Whether a backslash is a character like others.
    plain_backslash: bool,
    limit: usize,
    /// The line of this byte of the buffer.
    line: u64,
    counted: usize,
    ended: bool,
}

impl Splitter {
    /// One that takes statements of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        let mut splitter = Self {
            buffer: Vec::new(),
            start: 0,
            at: 0,
            state: State::Code,
            content: false,
            delimiter: Vec::new(),
            special: [false; 256],
            plain_backslash: false,
            limit,
            line: 1,
            counted: 0,
            ended: false,
        };
        splitter.delimit(b";");
        splitter
    }

    /// The same for a server whose `sql_mode` is this.
    #[must_use]
    pub fn with_mode(mut self, sql_mode: &str) -> Self {
        self.plain_backslash = sql_mode.to_ascii_uppercase().contains(PLAIN);
        self
    }

    fn delimit(&mut self, delimiter: &[u8]) {
        self.delimiter = delimiter.to_vec();
        self.special = [false; 256];
        for byte in b"'\"`#-/".iter().chain(delimiter.first()) {
            self.special[usize::from(*byte)] = true;
        }
    }

    /// Takes what comes next.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.count_to(self.start);
            self.buffer.drain(..self.start);
            self.at -= self.start;
            self.counted -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Says that nothing more comes.
    pub fn end(&mut self) {
        self.ended = true;
    }

    fn count_to(&mut self, at: usize) {
        if let Some(passed) = self.buffer.get(self.counted..at) {
            self.line += passed.split(|byte| *byte == b'\n').count() as u64 - 1;
            self.counted = at;
        }
    }

    /// The next statement; none if it takes more bytes, or if there is no further one after the end.
    pub fn statement(&mut self) -> Result<Option<Statement<'_>>, Broken> {
        let Some((start, end)) = self.find()? else {
            return Ok(None);
        };
        self.count_to(start);
        let line = self.line;
        if end - start > self.limit {
            return Err(Broken::TooLong(line));
        }
        let text = self.buffer[start..end].trim_ascii_end();
        if text.len() <= SETTING
            && let Some(plain) = backslash_mode(text)
        {
            self.plain_backslash = plain;
        }
        Ok(Some(Statement { text, line }))
    }

    /// Bounds of the next statement.
    fn find(&mut self) -> Result<Option<(usize, usize)>, Broken> {
        loop {
            if self.at - self.start > self.limit {
                return Err(Broken::TooLong(self.line_of_start()));
            }
            let rest = &self.buffer[self.at..];
            match self.state {
                State::Quoted(quote) => {
                    let escapes = quote != b'`' && !self.plain_backslash;
                    let found = rest
                        .iter()
                        .position(|byte| *byte == quote || (escapes && *byte == b'\\'));
                    let Some(found) = found else {
                        self.at = self.buffer.len();
                        return self.wait();
                    };
                    if rest[found] == quote {
                        self.at += found + 1;
                        self.state = State::Code;
                    } else if rest.len() > found + 1 {
                        self.at += found + 2;
                    } else {
                        self.at += found;
                        return self.wait();
                    }
                }
                State::LineComment => match rest.iter().position(|byte| *byte == b'\n') {
                    Some(found) => {
                        self.at += found + 1;
                        self.after_comment();
                    }
                    None if self.ended => {
                        self.at = self.buffer.len();
                        self.after_comment();
                    }
                    None => {
                        self.at = self.buffer.len();
                        self.forget_comment();
                        return Ok(None);
                    }
                },
                State::Comment => {
                    let Some(found) = rest.windows(2).position(|pair| pair == b"*/") else {
                        // The last byte may be the first of its end.
                        self.at = self.buffer.len().saturating_sub(1).max(self.at);
                        self.forget_comment();
                        return self.wait();
                    };
                    self.at += found + 2;
                    self.after_comment();
                }
                State::Code => match self.code()? {
                    Step::On => {}
                    Step::Found(found) => return Ok(Some(found)),
                    Step::More => return Ok(self.wait_in_code()),
                },
            }
        }
    }

    fn line_of_start(&mut self) -> u64 {
        self.count_to(self.start);
        self.line
    }

    fn wait(&mut self) -> Result<Option<(usize, usize)>, Broken> {
        if self.at - self.start > self.limit {
            return Err(Broken::TooLong(self.line_of_start()));
        }
        if self.ended {
            return Err(Broken::Unfinished(self.line_of_start()));
        }
        Ok(None)
    }

    /// At the end what is there is a statement, also without its delimiter.
    fn wait_in_code(&mut self) -> Option<(usize, usize)> {
        if !self.ended {
            return None;
        }
        let found = (self.start, self.buffer.len());
        let content = std::mem::replace(&mut self.content, false);
        self.start = self.buffer.len();
        self.at = self.start;
        content.then_some(found)
    }

    /// A comment before a statement is no part of it.
    fn after_comment(&mut self) {
        self.state = State::Code;
        self.forget_comment();
    }

    fn forget_comment(&mut self) {
        if !self.content {
            self.start = self.at;
        }
    }

    /// Goes on to what ends the statement or begins a quote or a comment.
    fn code(&mut self) -> Result<Step, Broken> {
        if !self.content {
            let space = self.buffer[self.at..]
                .iter()
                .position(|byte| !byte.is_ascii_whitespace());
            self.at += space.unwrap_or(self.buffer.len() - self.at);
            self.start = self.at;
            if let Some(step) = self.delimiter_line()? {
                return Ok(step);
            }
        }
        let rest = &self.buffer[self.at..];
        let Some(found) = rest
            .iter()
            .position(|byte| self.special[usize::from(*byte)])
        else {
            self.content |= !rest.is_empty();
            self.at = self.buffer.len();
            return Ok(Step::More);
        };
        self.content |= found > 0;
        self.at += found;
        let rest = &self.buffer[self.at..];
        // What decides is at most this far away.
        let far = self.delimiter.len().max(SANDBOX.len() + 4);
        if rest.len() < far && !self.ended {
            return Ok(Step::More);
        }
        if rest.starts_with(&self.delimiter) {
            let found = (self.start, self.at);
            self.at += self.delimiter.len();
            self.start = self.at;
            let content = std::mem::replace(&mut self.content, false);
            return Ok(if content {
                Step::Found(found)
            } else {
                Step::On
            });
        }
        match rest[0] {
            quote @ (b'\'' | b'"' | b'`') => {
                self.content = true;
                self.at += 1;
                self.state = State::Quoted(quote);
            }
            b'#' => self.state = State::LineComment,
            b'-' if is_dashes(rest) => self.state = State::LineComment,
            b'/' if rest.get(1) == Some(&b'*') => {
                let inside = rest[2..]
                    .strip_prefix(b"!")
                    .or_else(|| rest[2..].strip_prefix(b"M!"));
                match inside {
                    // The server executes what is in it.
                    Some(inside) if !inside.starts_with(SANDBOX) => self.content = true,
                    _ => self.state = State::Comment,
                }
                self.at += 2;
            }
            _ => {
                self.content = true;
                self.at += 1;
            }
        }
        Ok(Step::On)
    }

    /// Carries out a `DELIMITER` at the beginning of a statement.
    fn delimiter_line(&mut self) -> Result<Option<Step>, Broken> {
        const WORD: &[u8] = b"DELIMITER";
        let rest = &self.buffer[self.at..];
        let (word, behind) = rest.split_at(rest.len().min(WORD.len()));
        if !WORD[..word.len()].eq_ignore_ascii_case(word) || word.is_empty() {
            return Ok(None);
        }
        if word.len() < WORD.len() || behind.is_empty() {
            return Ok((!self.ended).then_some(Step::More));
        }
        if !behind[0].is_ascii_whitespace() {
            return Ok(None);
        }
        let line = &behind[..behind.len().min(DELIMITER_LINE)];
        let end = match line.iter().position(|byte| *byte == b'\n') {
            Some(end) => end,
            None if self.ended || line.len() == DELIMITER_LINE => line.len(),
            None => return Ok(Some(Step::More)),
        };
        let delimiter = behind[..end]
            .trim_ascii()
            .split(u8::is_ascii_whitespace)
            .next()
            .unwrap_or_default();
        if delimiter.is_empty() {
            return Err(Broken::NoDelimiter(self.line_of_start()));
        }
        let delimiter = delimiter.to_vec();
        self.at += WORD.len() + end;
        self.start = self.at;
        self.delimit(&delimiter);
        Ok(Some(Step::On))
    }
}

enum Step {
    On,
    Found((usize, usize)),
    /// It takes more bytes to go on.
    More,
}

/// `--` begins a comment if nothing or a space is behind it.
fn is_dashes(rest: &[u8]) -> bool {
    rest.get(1) == Some(&b'-')
        && rest
            .get(2)
            .is_none_or(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
}

const PLAIN: &str = "NO_BACKSLASH_ESCAPES";

/// Whether a backslash means nothing after a statement that sets `sql_mode`.
fn backslash_mode(text: &[u8]) -> Option<bool> {
    let set = Words::new(text).next()?.is("SET");
    let upper = text.to_ascii_uppercase();
    let has = |what: &str| {
        upper
            .windows(what.len())
            .any(|part| part == what.as_bytes())
    };
    (set && has("SQL_MODE")).then(|| has(PLAIN))
}

/// A word, a name or a sign of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// A word without quotes, or one character.
    Bare(String),
    /// A name in backticks.
    Name(String),
}

impl Word {
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Bare(text) if text.eq_ignore_ascii_case(word))
    }

    fn text(&self) -> &str {
        let (Self::Bare(text) | Self::Name(text)) = self;
        text
    }
}

/// The words of a statement, those in comments that a server executes among them.
pub(super) struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self(text)
    }

    fn skip(&mut self) {
        loop {
            self.0 = self.0.trim_ascii_start();
            let Some(inside) = self.0.strip_prefix(b"/*") else {
                match self.0.strip_prefix(b"*/") {
                    Some(rest) => self.0 = rest,
                    None => return,
                }
                continue;
            };
            let executed = inside
                .strip_prefix(b"!")
                .or_else(|| inside.strip_prefix(b"M!"));
            self.0 = match executed {
                Some(executed) => {
                    let digits = executed
                        .iter()
                        .take_while(|byte| byte.is_ascii_digit())
                        .count();
                    &executed[digits..]
                }
                None => match inside.windows(2).position(|pair| pair == b"*/") {
                    Some(end) => &inside[end + 2..],
                    None => &[],
                },
            };
        }
    }
}

impl Iterator for Words<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        self.skip();
        let first = *self.0.first()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if first == b'`' {
            let mut name = Vec::new();
            let mut at = 1;
            while let Some(byte) = self.0.get(at) {
                at += 1;
                if *byte == b'`' {
                    if self.0.get(at) != Some(&b'`') {
                        break;
                    }
                    at += 1;
                }
                name.push(*byte);
            }
            self.0 = &self.0[at..];
            return Some(Word::Name(text(&name)));
        }
        let of_word =
            |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80 || b"_$".contains(byte);
        let length = self
            .0
            .iter()
            .take_while(|byte| of_word(byte))
            .count()
            .max(1);
        let (word, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(Word::Bare(text(word)))
    }
}

/// How far into a statement is looked for what it writes to.
const LOOK: usize = 24;

/// What a statement does to databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// What follows is of this database.
    Use(String),
    /// It makes, changes or removes this database, or something that it names in it.
    Writes(String),
    /// It writes to the database in use.
    WritesHere,
    /// It says in which character set the statements are.
    Charset(String),
    /// None.
    Nothing,
}

pub(super) fn effect(text: &[u8]) -> Effect {
    let mut words = Words::new(text).take(LOOK);
    let Some(first) = words.next() else {
        return Effect::Nothing;
    };
    if first.is("USE") {
        return words
            .next()
            .map_or(Effect::Nothing, |name| Effect::Use(name.text().to_owned()));
    }
    if first.is("SET") {
        let told = words
            .next()
            .is_some_and(|what| what.is("NAMES") || what.is("character_set_client"));
        let charset = words.find(|word| !["=", "'", "\""].iter().any(|sign| word.is(sign)));
        return match charset {
            Some(charset) if told => Effect::Charset(charset.text().to_ascii_lowercase()),
            _ => Effect::Nothing,
        };
    }
    let verbs = [
        "CREATE", "DROP", "ALTER", "INSERT", "REPLACE", "UPDATE", "DELETE", "TRUNCATE", "RENAME",
        "LOAD",
    ];
    if !verbs.iter().any(|verb| first.is(verb)) {
        return Effect::Nothing;
    }
    let words: Vec<Word> = words.collect();
    let ends = ["(", "AS", "SELECT", "VALUES", "ON", "SET"];
    let end = words
        .iter()
        .position(|word| ends.iter().any(|end| word.is(end)));
    let words = &words[..end.unwrap_or(words.len())];
    let fill = ["OR", "REPLACE", "IF", "NOT", "EXISTS"];
    let mut others = words
        .iter()
        .filter(|word| !fill.iter().any(|fill| word.is(fill)));
    if let Some(kind) = others.next() {
        if kind.is("DATABASE") || kind.is("SCHEMA") {
            let name = others.next();
            return name.map_or(Effect::WritesHere, |name| {
                Effect::Writes(name.text().to_owned())
            });
        }
        if ["USER", "ROLE", "SERVER"].iter().any(|what| kind.is(what)) {
            return Effect::Nothing;
        }
    }
    for (at, word) in words.iter().enumerate() {
        if let (Some(point), Some(_)) = (words.get(at + 1), words.get(at + 2))
            && point.is(".")
        {
            return Effect::Writes(word.text().to_owned());
        }
    }
    Effect::WritesHere
}

/// The first words of a statement, as they may be shown: no rows, no passwords.
pub(super) fn first_words(text: &[u8]) -> String {
    let ends = [
        "(",
        "VALUES",
        "IDENTIFIED",
        "AS",
        "BEGIN",
        "=",
        "USING",
        "BY",
        "PASSWORD",
    ];
    let mut shown = String::new();
    for word in Words::new(text).take(12) {
        if ends.iter().any(|end| word.is(end)) || word.is("'") || word.is("\"") {
            break;
        }
        let glued = [".", "@", ","].iter().any(|sign| word.is(sign)) || shown.ends_with(['.', '@']);
        if !shown.is_empty() && !glued {
            shown.push(' ');
        }
        match word {
            Word::Bare(text) => shown.push_str(&text),
            Word::Name(text) => {
                let _ = write!(shown, "`{text}`");
            }
        }
        if shown.len() > 80 {
            break;
        }
    }
    shown
        .chars()
        .filter(|c| !c.is_control())
        .take(100)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Statements and their lines, of pieces of this length.
    fn split(text: &[u8], length: usize) -> Result<Vec<(String, u64)>, Broken> {
        split_up_to(1000, text, length)
    }

    fn split_up_to(limit: usize, text: &[u8], length: usize) -> Result<Vec<(String, u64)>, Broken> {
        let mut splitter = Splitter::new(limit);
        let mut found = Vec::new();
        let mut take = |splitter: &mut Splitter| -> Result<(), Broken> {
            while let Some(statement) = splitter.statement()? {
                let text = String::from_utf8_lossy(statement.text).into_owned();
                found.push((text, statement.line));
            }
            Ok(())
        };
        for piece in text.chunks(length) {
            splitter.feed(piece);
            take(&mut splitter)?;
        }
        splitter.end();
        take(&mut splitter)?;
        Ok(found)
    }

    #[test]
    fn dumps_are_taken_apart() {
        for (text, statements) in [
            ("", &[][..]),
            (" ;; ;\n", &[]),
            ("a;b", &[("a", 1), ("b", 1)]),
            ("-- c;\n# d;\n/* e; */\n\na\n;\nb;", &[("a", 5), ("b", 7)]),
            ("a -- it's;\n b;", &[("a -- it's;\n b", 1)]),
            ("a--b;c", &[("a--b", 1), ("c", 1)]),
            ("--\na;--", &[("a", 2)]),
            (
                "a ';' \"it's;\" `;'` 'x''y;' 'a\\';b';c",
                &[("a ';' \"it's;\" `;'` 'x''y;' 'a\\';b'", 1), ("c", 1)],
            ),
            ("a `\\`;b", &[("a `\\`", 1), ("b", 1)]),
            (
                "/*!40101 SET a=';' */;\n/*M!100100 b*/;",
                &[("/*!40101 SET a=';' */", 1), ("/*M!100100 b*/", 2)],
            ),
            (
                "/*M!999999\\- enable the sandbox mode; it's */ \na;",
                &[("a", 2)],
            ),
            (
                "DELIMITER ;;\nBEGIN a; b; END;;\ndelimiter ;\nc;",
                &[("BEGIN a; b; END", 2), ("c", 4)],
            ),
            (
                "DELIMITER $$ \r\na;$$DELIMITER //\nb//c",
                &[("a;", 2), ("b", 3), ("c", 3)],
            ),
            ("DELIMITERS;a", &[("DELIMITERS", 1), ("a", 1)]),
            ("x DELIMITER;a", &[("x DELIMITER", 1), ("a", 1)]),
            (
                "SET sql_mode='NO_BACKSLASH_ESCAPES';a '\\';SET SQL_MODE=@old;b '\\';'",
                &[
                    ("SET sql_mode='NO_BACKSLASH_ESCAPES'", 1),
                    ("a '\\'", 1),
                    ("SET SQL_MODE=@old", 1),
                    ("b '\\';'", 1),
                ],
            ),
        ] {
            for length in 1..=text.len().max(1) {
                let found = split(text.as_bytes(), length).unwrap();
                let found: Vec<(&str, u64)> = found
                    .iter()
                    .map(|(text, line)| (text.as_str(), *line))
                    .collect();
                assert_eq!(found, statements, "{text} in pieces of {length}");
            }
        }
    }

    #[test]
    fn what_is_no_dump_is_told() {
        for (text, broken) in [
            ("a;\nb 'c", Broken::Unfinished(2)),
            ("a;\nb 'c\\", Broken::Unfinished(2)),
            ("a /* b", Broken::Unfinished(1)),
            ("a;\nDELIMITER \nb", Broken::NoDelimiter(2)),
            (&format!("a;\n{}", "b".repeat(2000)), Broken::TooLong(2)),
        ] {
            for length in [1, 7, 3000] {
                assert_eq!(split(text.as_bytes(), length), Err(broken), "{text}");
            }
        }
    }

    #[test]
    fn what_a_statement_does_is_seen() {
        let writes = |name: &str| Effect::Writes(name.to_owned());
        for (text, expected) in [
            ("USE `a``b`", Effect::Use("a`b".to_owned())),
            ("use a", Effect::Use("a".to_owned())),
            (
                "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `x` /*!40100 DEFAULT */",
                writes("x"),
            ),
            ("/*!40000 DROP DATABASE IF EXISTS `x`*/", writes("x")),
            ("CREATE TABLE `t` (`a` int)", Effect::WritesHere),
            ("CREATE TABLE a.`t` (`a` int)", writes("a")),
            ("INSERT INTO `b` . t VALUES (1)", writes("b")),
            ("INSERT INTO `t` VALUES ('a.b')", Effect::WritesHere),
            (
                "/*!50001 CREATE VIEW `v` AS SELECT `x`.`y`.`z`*/",
                Effect::WritesHere,
            ),
            (
                "/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER t BEFORE INSERT ON a.b */",
                Effect::WritesHere,
            ),
            ("DROP TABLE IF EXISTS mysql.user", writes("mysql")),
            ("CREATE USER 'a'@'b.c'", Effect::Nothing),
            ("SET NAMES 'gbk'", Effect::Charset("gbk".to_owned())),
            (
                "/*!50003 SET character_set_client = utf8mb4 */ ",
                Effect::Charset("utf8mb4".to_owned()),
            ),
            ("SET @a = @@character_set_client", Effect::Nothing),
            ("LOCK TABLES `t` WRITE", Effect::Nothing),
            ("", Effect::Nothing),
        ] {
            assert_eq!(effect(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_statement_is_named_without_what_is_in_it() {
        for (text, words) in [
            ("INSERT INTO `t` VALUES ('secret')", "INSERT INTO `t`"),
            (
                "INSERT INTO `a`.`t` (`b`) VALUES ('secret')",
                "INSERT INTO `a`.`t`",
            ),
            ("CREATE USER 'x'@'%' IDENTIFIED BY 'secret'", "CREATE USER"),
            (
                "CREATE USER `x`@`%` IDENTIFIED BY 'secret'",
                "CREATE USER `x`@`%`",
            ),
            ("SET PASSWORD FOR a = 'secret'", "SET"),
            ("UPDATE t SET a = 'secret'", "UPDATE t SET a"),
            (
                "/*!50003 CREATE*/ PROCEDURE `p`() BEGIN",
                "CREATE PROCEDURE `p`",
            ),
        ] {
            assert_eq!(first_words(text.as_bytes()), words);
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            text in "(a|b|;|'|\"|`|\\\\|-|-- |#|/\\*|!|M|\\*/|\n| |DELIMITER |\\$)*",
            length in 1usize..20,
            limit in 5usize..200,
        ) {
            let all = text.len().max(1);
            let text = text.as_bytes();
            prop_assert_eq!(split_up_to(limit, text, length), split_up_to(limit, text, all));
        }

        #[test]
        fn nothing_that_comes_is_a_panic(bytes: Vec<u8>, length in 1usize..20) {
            if let Ok(found) = split(&bytes, length) {
                prop_assert!(found.iter().all(|(text, _)| !text.is_empty()));
            }
            let _ = effect(&bytes);
            let _ = first_words(&bytes);
        }
    }
}
