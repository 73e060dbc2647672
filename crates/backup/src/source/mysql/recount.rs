//! The rows of a snapshot counted anew, and compared with what its manifest says.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use super::MANIFEST;
use super::lines::Tally;
use super::manifest::Manifest;

/// What was found so far.
#[derive(Default)]
pub(crate) struct Recount {
    /// By directory, relative to the root.
    tables: BTreeMap<String, Tally>,
    manifest: Vec<u8>,
}

impl Recount {
    /// Takes a file of the snapshot; its path is relative to the root, and `read` writes its content.
    pub(crate) fn file<E>(
        &mut self,
        path: &Path,
        read: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        if path == Path::new(MANIFEST) {
            return read(&mut self.manifest);
        }
        let table = path.parent().unwrap_or(path).to_string_lossy().into_owned();
        let mut lines = Lines {
            tally: self.tables.entry(table).or_default(),
            rest: Vec::new(),
        };
        read(&mut lines)?;
        // A file ends with the end of a line; what is behind it is one that is cut.
        if !lines.rest.is_empty() {
            lines.tally.add_line(&lines.rest);
        }
        Ok(())
    }

    /// What is not as the manifest says.
    pub(crate) fn compare(mut self) -> Result<(), String> {
        let manifest: Manifest = serde_json::from_slice(&self.manifest)
            .map_err(|error| format!("its {MANIFEST} cannot be read: {error}"))?;
        for database in &manifest.databases {
            for table in &database.tables {
                let found = self.tables.remove(&table.data).unwrap_or_default();
                let whole = format!("table `{}`.`{}`", database.name, table.name);
                if found.rows != table.rows {
                    return Err(format!(
                        "{whole} has {}, and {} when it was stored",
                        mainstay_base::counted(found.rows, "row"),
                        table.rows
                    ));
                }
                if found.digest() != table.digest {
                    return Err(format!(
                        "the rows of {whole} are not those that were stored"
                    ));
                }
            }
        }
        match self.tables.keys().next() {
            None => Ok(()),
            Some(directory) => Err(format!("{directory} is of no table")),
        }
    }
}

/// Takes content apart into lines.
struct Lines<'a> {
    tally: &'a mut Tally,
    /// The beginning of a line.
    rest: Vec<u8>,
}

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !part.ends_with(b"\n") {
                self.rest.extend_from_slice(part);
            } else if self.rest.is_empty() {
                self.tally.add_line(part);
            } else {
                self.rest.extend_from_slice(part);
                self.tally.add_line(&self.rest);
                self.rest.clear();
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
    use super::super::manifest::{Consistency, Database, FORMAT, Table};
    use super::*;

    const ROWS: &str = "1\tone\n2\ttwo\n3\tthree\n";

    fn manifest() -> Vec<u8> {
        let mut tally = Tally::default();
        for line in ROWS.split_inclusive('\n') {
            tally.add_line(line.as_bytes());
        }
        let table = Table {
            name: "t".to_owned(),
            create: String::new(),
            engine: "InnoDB".to_owned(),
            history: false,
            data: "data/d/t".to_owned(),
            columns: Vec::new(),
            rows: tally.rows,
            bytes: tally.bytes,
            digest: tally.digest(),
        };
        let manifest = Manifest {
            format: FORMAT,
            server: String::new(),
            mariadb: true,
            folds: false,
            taken: String::new(),
            consistency: Consistency {
                way: String::new(),
                connections: 1,
                tries: 1,
                stall_us: 0,
            },
            position: None,
            databases: vec![Database {
                name: "d".to_owned(),
                create: String::new(),
                tables: vec![table],
                sequences: Vec::new(),
                views: Vec::new(),
                routines: Vec::new(),
                triggers: Vec::new(),
                events: Vec::new(),
            }],
            users: Vec::new(),
        };
        serde_json::to_vec(&manifest).unwrap()
    }

    /// Writes files in pieces of this length and compares.
    fn counted(files: &[(&str, &[u8])], length: usize) -> Result<(), String> {
        let mut recount = Recount::default();
        for (path, content) in files {
            recount
                .file(Path::new(path), |target| {
                    content
                        .chunks(length)
                        .try_for_each(|piece| target.write_all(piece))
                })
                .unwrap();
        }
        recount.compare()
    }

    #[test]
    fn rows_are_found_again_however_they_are_cut() {
        let manifest = manifest();
        let (a, b) = ROWS.as_bytes().split_at(6);
        for length in 1..ROWS.len() {
            let one = [
                ("data/d/t/000000.tsv", ROWS.as_bytes()),
                (MANIFEST, &manifest),
            ];
            assert_eq!(counted(&one, length), Ok(()));
            let two = [
                ("data/d/t/000000.tsv", a),
                ("data/d/t/000001.tsv", b),
                (MANIFEST, &manifest),
            ];
            assert_eq!(counted(&two, length), Ok(()));
        }
    }

    #[test]
    fn what_is_not_as_it_was_is_told() {
        let manifest = manifest();
        for (rows, why) in [
            ("1\tone\n2\ttwo\n", "has 2 rows, and 3 when it was stored"),
            ("1\tone\n2\ttwo\n3\tthre", "are not those that were stored"),
            (
                "1\tone\n2\ttwo\n3\tThree\n",
                "are not those that were stored",
            ),
            ("", "has 0 rows"),
        ] {
            let files = [
                ("data/d/t/000000.tsv", rows.as_bytes()),
                (MANIFEST, &manifest),
            ];
            let said = counted(&files, 100).unwrap_err();
            assert!(said.contains(why), "{rows}: {said}");
        }
        let said = counted(&[("data/d/t/000000.tsv", ROWS.as_bytes())], 100).unwrap_err();
        assert!(said.contains("manifest.json cannot be read"), "{said}");
        let more = [
            ("data/d/t/000000.tsv", ROWS.as_bytes()),
            ("data/d/u/000000.tsv", b"1\n"),
            (MANIFEST, &manifest),
        ];
        assert_eq!(
            counted(&more, 100),
            Err("data/d/u is of no table".to_owned())
        );
    }
}
