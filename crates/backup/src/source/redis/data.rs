//! A data directory that a server cannot start empty from.
//!
//! With `appendonly yes` a server loads its append-only files and looks at no RDB file: a directory
//! with `dump.rdb` alone is an empty database to it, and soon an empty append-only file. So the same
//! data is laid down in both places: as the RDB file, and as the base of a set of append-only files
//! with its manifest, which may be an RDB file (Redis 7). Whatever the config of the server says, or
//! will say, it loads the data. The two are one file with two names: a server never writes into
//! either, it replaces them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mainstay_base::hex;
use sha2::{Digest, Sha256};

use super::facts::{Layout, RedisFacts, RedisShard, in_words};
use super::rdb;

/// The name of the data in a snapshot.
pub(crate) const DUMP: &str = "dump.rdb";
/// Users and their rights.
pub(crate) const ACL: &str = "acl.txt";
/// Settings.
pub(crate) const CONFIG: &str = "config.txt";

struct Hashing {
    file: File,
    digest: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.digest.update(&buffer[..count]);
        Ok(count)
    }
}

/// Whether what was restored into `tree` is what was pulled; what was looked at, or what is wrong.
pub(crate) fn check(tree: &Path, facts: &RedisFacts) -> Result<String, String> {
    let mut said = Vec::new();
    for shard in &facts.shards {
        let of = if shard.directory.is_empty() {
            String::new()
        } else {
            format!("{}: ", shard.directory)
        };
        let counts = check_shard(&tree.join(inside(&shard.directory)).join(DUMP), shard)
            .map_err(|why| format!("{of}{DUMP}: {why}"))?;
        said.push(format!("{of}{counts}"));
    }
    Ok(format!(
        "SHA-256 and CRC64 as stored, {} as counted when pulled",
        said.join("; ")
    ))
}

/// A directory of the facts as a part of a path.
pub(crate) fn inside(directory: &str) -> &str {
    if directory.contains(['/', '\0']) || directory == ".." {
        ""
    } else {
        directory
    }
}

fn check_shard(file: &Path, shard: &RedisShard) -> Result<String, String> {
    let mut reading = Hashing {
        file: File::open(file).map_err(|error| error.to_string())?,
        digest: Sha256::new(),
    };
    let contents = rdb::read(&mut reading).map_err(|fault| fault.to_string())?;
    if hex(&reading.digest.finalize()) != shard.sha256 {
        return Err("it is not what was stored: its SHA-256 is another".to_owned());
    }
    let found = in_words(contents.databases.iter().map(|(db, keys)| (*db, keys.keys)));
    let stored = in_words(shard.databases.iter().map(|(db, keys)| (*db, keys.keys)));
    if found != stored {
        return Err(format!("it has {found}, and {stored} when it was pulled"));
    }
    Ok(if shard.counted {
        found
    } else {
        "a form of values that this version cannot count, with its checksum".to_owned()
    })
}

/// Makes data directories of what was restored into `tree`: one of it, or one of each shard.
pub(crate) fn arrange(tree: &Path, facts: &RedisFacts, layout: Option<&Layout>) -> io::Result<()> {
    for shard in &facts.shards {
        let directory = tree.join(inside(&shard.directory));
        let layout = layout.map_or_else(|| shard.layout.checked(), Layout::checked);
        lay_down(&directory, &layout)?;
    }
    Ok(())
}

fn lay_down(directory: &Path, layout: &Layout) -> io::Result<()> {
    let rdb = directory.join(&layout.dbfilename);
    if layout.dbfilename != DUMP {
        fs::rename(directory.join(DUMP), &rdb)?;
    }
    let set = directory.join(&layout.appenddirname);
    DirBuilder::new().mode(0o700).create(&set)?;
    let base = format!("{}.1.base.rdb", layout.appendfilename);
    fs::hard_link(&rdb, set.join(&base))?;
    let manifest = set.join(format!("{}.manifest", layout.appendfilename));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(manifest)?
        .write_all(format!("file {base} seq 1 type b\n").as_bytes())
}

/// What a server loads from its data directory, the new of which is put into place.
pub(crate) fn loaded(layout: &Layout) -> [PathBuf; 2] {
    [&layout.dbfilename, &layout.appenddirname].map(PathBuf::from)
}

/// What must not be there beside the new: the same, and the one append-only file of servers before 7.
pub(crate) fn displaced(layout: &Layout) -> [PathBuf; 3] {
    [
        &layout.dbfilename,
        &layout.appenddirname,
        &layout.appendfilename,
    ]
    .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::crc64;
    use super::super::rdb::Keys;
    use super::*;

    fn dump() -> Vec<u8> {
        let mut bytes = b"REDIS0010\xfe\x00\xfb\x01\x00\x00\x03key\x05value\xff".to_vec();
        let crc = crc64::update(0, &bytes);
        bytes.extend(crc.to_le_bytes());
        bytes
    }

    fn facts(bytes: &[u8], keys: u64, directory: &str) -> RedisFacts {
        let keys = Keys {
            keys,
            expiring: 0,
            promised: None,
        };
        RedisFacts {
            cluster: false,
            shards: vec![RedisShard {
                directory: directory.to_owned(),
                sha256: hex(&Sha256::digest(bytes)),
                databases: BTreeMap::from([(0, keys)]),
                counted: true,
                ..RedisShard::default()
            }],
        }
    }

    #[test]
    fn only_what_was_pulled_is_accepted() {
        let tree = tempfile::tempdir().unwrap();
        let file = tree.path().join(DUMP);
        let sound = dump();
        fs::write(&file, &sound).unwrap();
        let said = check(tree.path(), &facts(&sound, 1, "")).unwrap();
        assert!(said.contains("1 key in database 0"), "{said}");
        for (name, facts, expected) in [
            (
                "other keys",
                facts(&sound, 2, ""),
                "and 2 keys in database 0 when",
            ),
            (
                "another file",
                facts(b"other", 1, ""),
                "its SHA-256 is another",
            ),
            (
                "nothing there",
                facts(&sound, 1, "shard-1"),
                "shard-1: dump.rdb",
            ),
            ("outside", facts(&sound, 1, "../x"), ""),
        ] {
            match check(tree.path(), &facts) {
                Ok(said) => assert_eq!(name, "outside", "{said}"),
                Err(why) => assert!(why.contains(expected), "{name}: {why}"),
            }
        }
        let mut damaged = sound.clone();
        damaged[12] ^= 1;
        fs::write(&file, &damaged).unwrap();
        assert!(check(tree.path(), &facts(&damaged, 1, "")).is_err());
    }

    #[test]
    fn both_places_have_the_data() {
        let tree = tempfile::tempdir().unwrap();
        let sound = dump();
        fs::write(tree.path().join(DUMP), &sound).unwrap();
        let layout = Layout {
            dbfilename: "shop.rdb".to_owned(),
            ..Layout::default()
        };
        arrange(tree.path(), &facts(&sound, 1, ""), Some(&layout)).unwrap();
        let set = tree.path().join("appendonlydir");
        for path in [
            tree.path().join("shop.rdb"),
            set.join("appendonly.aof.1.base.rdb"),
        ] {
            assert_eq!(fs::read(path).unwrap(), sound);
        }
        assert_eq!(
            fs::read_to_string(set.join("appendonly.aof.manifest")).unwrap(),
            "file appendonly.aof.1.base.rdb seq 1 type b\n"
        );
        assert!(!tree.path().join(DUMP).exists());
    }
}
