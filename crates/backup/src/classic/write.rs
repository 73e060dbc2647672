//! What is written: statements that the stock client gives to a server, and no more.
//!
//! Rows go in under `SET NAMES binary`, with which a server takes the bytes of a text as they are. That
//! is how they were read too, so that nothing is converted on the way. The client looks at quotes and
//! delimiters only, and leaves out comments; what has some in it goes through a variable, where the
//! server can execute one (`MariaDB` since 10.6).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use mainstay_base::counted;

use super::pack::Packed;
use super::word;
use crate::source::mysql::{Database, Load, Manifest, Object, Table, Tally, literal, name};

/// The session, as everything but rows wants it.
const SESSION: &str =
    "SET NAMES utf8mb4;\nSET sql_mode = 'NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00';\n";
const BEGIN: &str = "\nSET @mainstay_sql_mode = @@sql_mode, @mainstay_time_zone = @@time_zone, @mainstay_foreign_key_checks = @@foreign_key_checks, @mainstay_unique_checks = @@unique_checks;\nSET foreign_key_checks = 0, unique_checks = 0;\n";
/// The end of each file, which says that it is whole.
pub(super) const END: &str = "\nSET sql_mode = @mainstay_sql_mode, time_zone = @mainstay_time_zone, foreign_key_checks = @mainstay_foreign_key_checks, unique_checks = @mainstay_unique_checks;\n-- Dump completed\n";

/// What every file begins with.
pub(super) fn begin() -> String {
    format!("{BEGIN}{SESSION}")
}

/// What is said before the rows of a table.
pub(super) fn before_table(table: &Table) -> String {
    let history = if table.history {
        "SET system_versioning_insert_history = 1;\n"
    } else {
        ""
    };
    let (rows, name) = (counted(table.rows, "row"), word(&table.name));
    format!("\n-- {rows} of {name}\nSET NAMES binary;\n{history}")
}

/// What is said after them.
pub(super) fn after_table(table: &Table) -> String {
    let history = if table.history {
        "SET system_versioning_insert_history = 0;\n"
    } else {
        ""
    };
    format!("{history}SET NAMES utf8mb4;\n")
}

/// Everything of a database that is a program.
pub(super) fn programs(database: &Database) -> impl Iterator<Item = &Object> {
    database
        .routines
        .iter()
        .chain(&database.triggers)
        .chain(&database.events)
}

/// Whether a client might take a part of this for a comment.
pub(super) fn has_comment(text: &str) -> bool {
    ["--", "#", "/*"].iter().any(|mark| text.contains(mark))
}

/// What differs between servers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    /// Whether any statement may be executed from a variable.
    pub(super) executes: bool,
}

impl Dialect {
    pub(super) fn of(manifest: &Manifest) -> Self {
        let mut numbers = manifest
            .server
            .split(|c: char| !c.is_ascii_digit())
            .map(|number| number.parse::<u32>().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        let version = (next(), next());
        Self {
            executes: manifest.mariadb && version >= (10, 6),
        }
    }

    /// A database, its tables, and what they may need.
    pub(super) fn before_rows(self, database: &Database) -> String {
        let mut text = begin();
        let _ = write!(
            text,
            "\n{};\nUSE {};\n",
            database.create,
            name(&database.name)
        );
        for sequence in &database.sequences {
            let _ = write!(text, "\n{};\n", sequence.create);
            if let Some(next) = &sequence.next {
                let _ = writeln!(
                    text,
                    "ALTER SEQUENCE {} RESTART {next};",
                    name(&sequence.name)
                );
            }
        }
        for routine in &database.routines {
            self.object(&mut text, routine, Some(database));
        }
        for table in &database.tables {
            let _ = write!(text, "\n{};\n", table.create);
        }
        text
    }

    /// What may be there only after the rows: views, triggers, events.
    pub(super) fn after_rows(
        self,
        database: &Database,
        mut here: impl FnMut(&Object) -> bool,
    ) -> String {
        let mut text = String::new();
        for view in &database.views {
            if let Some(why) = &view.broken {
                let _ = write!(
                    text,
                    "\n-- view {} could not be used on the server: {}\n",
                    word(&view.name),
                    word(why)
                );
                for line in view.create.lines() {
                    let _ = writeln!(text, "-- {}", word(line));
                }
            } else if here(view) {
                self.object(&mut text, view, None);
            } else {
                let _ = write!(
                    text,
                    "\n-- view {} looks into other databases: it is in the file `mysql-…`\n",
                    word(&view.name)
                );
            }
        }
        for object in database.triggers.iter().chain(&database.events) {
            self.object(&mut text, object, Some(database));
        }
        text
    }

    /// Users, views across databases, grants.
    pub(super) fn users(self, text: &mut String, manifest: &Manifest, across: &[(&str, &Object)]) {
        for user in &manifest.users {
            // Who is there already stays as they are.
            let create = ["CREATE USER ", "CREATE ROLE "]
                .iter()
                .find_map(|verb| {
                    let rest = user.create.strip_prefix(verb)?;
                    Some(format!("{verb}IF NOT EXISTS {rest}"))
                })
                .unwrap_or_else(|| user.create.clone());
            let _ = writeln!(text, "{create};");
        }
        for (database, view) in across {
            let _ = write!(text, "\nUSE {};\n", name(database));
            self.object(text, view, None);
        }
        text.push('\n');
        for grant in manifest.users.iter().flat_map(|user| &user.grants) {
            let _ = writeln!(text, "{};", without_password(grant));
        }
    }

    /// One object, with the session that it was made with.
    fn object(self, text: &mut String, object: &Object, database: Option<&Database>) {
        let value = |wanted: &str| {
            let found = object
                .session
                .iter()
                .find(|(variable, _)| variable == wanted);
            found.map(|(_, value)| value.as_str())
        };
        let client = value("character_set_client").unwrap_or("utf8mb4");
        let converted = !object.create.is_ascii() && !client.starts_with("utf8");
        let executed = self.executes && (converted || has_comment(&object.create));
        // A server that executes nothing is told the text in the character set of this file.
        let client = if converted && !executed {
            "utf8mb4"
        } else {
            client
        };
        text.push('\n');
        let mut back = String::new();
        if let (Some(database), Some(collation)) = (database, value("collation_database"))
            && let Some(own) = collation_of(&database.create)
            && own != collation
        {
            let alter = format!("ALTER DATABASE {} COLLATE", name(&database.name));
            let _ = writeln!(text, "{alter} {collation};");
            let _ = writeln!(back, "{alter} {own};");
        }
        if executed {
            let _ = writeln!(text, "SET @mainstay_text = {};", literal(&object.create));
        }
        for variable in ["sql_mode", "time_zone"] {
            if let Some(value) = value(variable) {
                let _ = writeln!(text, "SET {variable} = {};", literal(value));
            }
        }
        let _ = write!(text, "SET character_set_client = {client}");
        if let Some(collation) = value("collation_connection") {
            let _ = write!(text, ", collation_connection = {collation}");
        }
        text.push_str(";\n");
        if executed {
            text.push_str("EXECUTE IMMEDIATE @mainstay_text;\n");
        } else {
            let _ = write!(text, "DELIMITER ;;\n{};;\nDELIMITER ;\n", object.create);
        }
        text.push_str(&back);
        text.push_str(SESSION);
    }
}

/// The collation that a `CREATE DATABASE` names.
fn collation_of(create: &str) -> Option<&str> {
    let rest = create.rsplit_once(" COLLATE ")?.1;
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    (end > 0).then_some(&rest[..end])
}

/// A grant without the password that `MariaDB` shows in it: who is there already keeps their own.
fn without_password(grant: &str) -> String {
    let mut quote = None;
    let mut start = None;
    let mut end = grant.len();
    for (at, c) in grant.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if ['\'', '"', '`'].contains(&c) => quote = Some(c),
            None => {
                let rest = &grant[at..];
                if start.is_none() && rest.starts_with(" IDENTIFIED ") {
                    start = Some(at);
                } else if start.is_some()
                    && [" WITH ", " REQUIRE "]
                        .iter()
                        .any(|word| rest.starts_with(word))
                {
                    end = at;
                    break;
                }
            }
        }
    }
    match start {
        None => grant.to_owned(),
        Some(start) => format!("{}{}", &grant[..start], &grant[end..]),
    }
}

/// How a cell is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it is, if it is a number.
    Number,
    /// As bytes.
    Bytes,
    /// As text: types that take no bytes.
    Text,
}

/// The columns of a table that hold integers and decimals.
fn numbers(create: &str) -> BTreeMap<String, bool> {
    let mut found = BTreeMap::new();
    for line in create.lines() {
        let Some(rest) = line.trim_start().strip_prefix('`') else {
            continue;
        };
        let mut column = String::new();
        let mut rest = rest.chars();
        while let Some(c) = rest.next() {
            if c == '`' && rest.as_str().starts_with('`') {
                rest.next();
            } else if c == '`' {
                break;
            }
            column.push(c);
        }
        let kind: String = rest
            .as_str()
            .trim_start()
            .chars()
            .take_while(char::is_ascii_alphabetic)
            .collect();
        let number = [
            "tinyint",
            "smallint",
            "mediumint",
            "int",
            "bigint",
            "decimal",
        ];
        found
            .entry(column)
            .or_insert(number.contains(&kind.to_ascii_lowercase().as_str()));
    }
    found
}

/// The rows of a table as statements, made of the lines that are stored.
pub(super) struct Inserts {
    head: Vec<u8>,
    forms: Vec<Form>,
    limit: usize,
    statement: Vec<u8>,
    /// The beginning of a line.
    rest: Vec<u8>,
    tally: Tally,
}

impl Inserts {
    pub(super) fn new(table: &Table, limit: usize) -> Self {
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|column| name(&column.name))
            .collect();
        let numbers = numbers(&table.create);
        Self {
            head: format!(
                "INSERT INTO {} ({}) VALUES\n",
                name(&table.name),
                columns.join(", ")
            )
            .into_bytes(),
            forms: table
                .columns
                .iter()
                .map(|column| match column.load {
                    Load::Unsigned => Form::Number,
                    Load::Text => Form::Text,
                    Load::Plain if numbers.get(&column.name) == Some(&true) => Form::Number,
                    Load::Plain => Form::Bytes,
                })
                .collect(),
            limit,
            statement: Vec::new(),
            rest: Vec::new(),
            tally: Tally::default(),
        }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Takes lines, however they are cut, and writes statements.
    pub(super) fn in_file<'a>(&'a mut self, file: &'a mut Packed) -> InFile<'a> {
        InFile {
            inserts: self,
            file,
            failure: None,
        }
    }

    /// A line with its end.
    fn line(&mut self, line: &[u8], file: &mut Packed) -> io::Result<()> {
        self.tally.add_line(line);
        let before = self.statement.len();
        if before == 0 {
            self.statement.extend_from_slice(&self.head);
        } else {
            self.statement.extend_from_slice(b",\n");
        }
        self.statement.push(b'(');
        let cells = line
            .strip_suffix(b"\n")
            .unwrap_or(line)
            .split(|byte| *byte == b'\t');
        let forms = self.forms.iter().chain(std::iter::repeat(&Form::Bytes));
        for (at, (cell, form)) in cells.zip(forms).enumerate() {
            if at > 0 {
                self.statement.push(b',');
            }
            put(&mut self.statement, cell, *form);
        }
        self.statement.push(b')');
        if before > 0 && self.statement.len() + 2 > self.limit {
            // The row begins the next one.
            let row = self.statement.split_off(before);
            self.flush(file)?;
            self.statement.extend_from_slice(&self.head);
            self.statement.extend_from_slice(&row[2..]);
        }
        if self.statement.len() + 2 > self.limit {
            self.flush(file)?;
        }
        Ok(())
    }

    fn flush(&mut self, file: &mut Packed) -> io::Result<()> {
        if !self.statement.is_empty() {
            self.statement.extend_from_slice(b";\n");
            file.put_statement(&self.statement)?;
            self.statement.clear();
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, file: &mut Packed) -> io::Result<()> {
        // A file ends with the end of a line; what is behind it is one that is cut, as its digest says.
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.line(&rest, file)?;
        }
        self.flush(file)
    }
}

fn put(out: &mut Vec<u8>, cell: &[u8], form: Form) {
    if cell == b"\\N" {
        out.extend_from_slice(b"NULL");
        return;
    }
    if form == Form::Number && is_number(cell) {
        out.extend_from_slice(cell);
        return;
    }
    if form == Form::Text {
        out.extend_from_slice(b"_utf8mb4");
    }
    out.push(b'\'');
    // What has a backslash in front already means the same in a statement.
    let mut rest = cell;
    while let Some(at) = rest
        .iter()
        .position(|byte| matches!(byte, b'\'' | b'\r' | 0x1a))
    {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\\');
        out.push(match rest[at] {
            b'\r' => b'r',
            0x1a => b'Z',
            quote => quote,
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'\'');
}

fn is_number(cell: &[u8]) -> bool {
    let digits = cell.strip_prefix(b"-").unwrap_or(cell);
    let mut parts = digits.split(|byte| *byte == b'.');
    let some = |part: Option<&[u8]>| {
        part.is_some_and(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
    };
    some(parts.next()) && (!digits.contains(&b'.') || some(parts.next())) && parts.next().is_none()
}

/// Takes the content of a file with rows.
pub(super) struct InFile<'a> {
    inserts: &'a mut Inserts,
    file: &'a mut Packed,
    /// Why nothing more can be written.
    pub(super) failure: Option<io::Error>,
}

impl Write for InFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let done = if part.ends_with(b"\n") && self.inserts.rest.is_empty() {
                self.inserts.line(part, self.file)
            } else {
                self.inserts.rest.extend_from_slice(part);
                if !part.ends_with(b"\n") {
                    break;
                }
                let line = std::mem::take(&mut self.inserts.rest);
                self.inserts.line(&line, self.file)
            };
            if let Err(error) = done {
                self.failure = Some(error);
                return Err(io::Error::other("it cannot be written"));
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_written_as_literals() {
        for (cell, form, text) in [
            (&b"\\N"[..], Form::Bytes, "NULL"),
            (b"\\\\N", Form::Bytes, "'\\\\N'"),
            (b"", Form::Bytes, "''"),
            (b"it's\r\x1a\\t\"", Form::Bytes, "'it\\'s\\r\\Z\\t\"'"),
            (b"12", Form::Bytes, "'12'"),
            (b"12", Form::Number, "12"),
            (b"-0.50", Form::Number, "-0.50"),
            (b"1e5", Form::Number, "'1e5'"),
            (b"1.2.3", Form::Number, "'1.2.3'"),
            (b"1.", Form::Number, "'1.'"),
            (b"-", Form::Number, "'-'"),
            (b"", Form::Number, "''"),
            (b"{}", Form::Text, "_utf8mb4'{}'"),
        ] {
            let mut out = Vec::new();
            put(&mut out, cell, form);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn columns_of_numbers_are_known() {
        let create = "CREATE TABLE `t` (\n  `a``b` int(11) NOT NULL,\n  `c` varchar(10) DEFAULT '1',\n  `d` decimal(5,2),\n  `e` float,\n  PRIMARY KEY (`c`),\n  KEY `d` (`d`)\n)";
        let found = numbers(create);
        let of = |column: &str| found.get(column).copied();
        assert_eq!(of("a`b"), Some(true));
        assert_eq!(of("c"), Some(false));
        assert_eq!(of("d"), Some(true));
        assert_eq!(of("e"), Some(false));
        assert_eq!(of("f"), None);
    }

    #[test]
    fn grants_are_written_without_passwords() {
        for (grant, written) in [
            (
                "GRANT ALL ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*12' WITH GRANT OPTION",
                "GRANT ALL ON *.* TO `a`@`%` WITH GRANT OPTION",
            ),
            (
                "GRANT USAGE ON *.* TO `a`@`%` IDENTIFIED VIA ed25519 USING ' WITH ' REQUIRE SSL WITH GRANT OPTION",
                "GRANT USAGE ON *.* TO `a`@`%` REQUIRE SSL WITH GRANT OPTION",
            ),
            (
                "GRANT SELECT ON ` IDENTIFIED `.* TO a",
                "GRANT SELECT ON ` IDENTIFIED `.* TO a",
            ),
            ("GRANT r TO `a` IDENTIFIED BY 'x'", "GRANT r TO `a`"),
        ] {
            assert_eq!(without_password(grant), written);
        }
    }

    #[test]
    fn a_collation_is_found() {
        for (create, collation) in [
            (
                "CREATE DATABASE `a` /*!40100 DEFAULT CHARACTER SET latin1 COLLATE latin1_bin */",
                Some("latin1_bin"),
            ),
            (
                "CREATE DATABASE `a` /*!40100 DEFAULT CHARACTER SET latin1 */",
                None,
            ),
        ] {
            assert_eq!(collation_of(create), collation);
        }
    }
}
