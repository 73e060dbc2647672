//! The files of the project as values: what the checks look at, from disk or from a test.

use std::collections::BTreeMap;
use std::path::Path;

/// Directories that hold nothing anyone wrote.
const SKIPPED: &[&str] = &[".git", "target"];

/// Every file of the project by its path from the root, with `/` between the parts.
#[derive(Default, Clone)]
pub(crate) struct Tree {
    /// The text, or nothing where a file is not UTF-8: it exists all the same.
    files: BTreeMap<String, Option<String>>,
}

impl Tree {
    /// Reads the tree below `root`.
    pub(crate) fn read(root: &Path) -> Result<Tree, String> {
        let mut tree = Tree::default();
        tree.read_directory(root, "")?;
        Ok(tree)
    }

    fn read_directory(&mut self, directory: &Path, prefix: &str) -> Result<(), String> {
        let failed = |why| format!("cannot read {}: {why}", directory.display());
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}/{name}")
            };
            // A link is looked at neither as a file nor as a directory: its target is elsewhere.
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                self.read_directory(&entry.path(), &path)?;
            } else if kind.is_file() {
                let bytes = std::fs::read(entry.path())
                    .map_err(|why| format!("cannot read {}: {why}", entry.path().display()))?;
                self.files.insert(path, String::from_utf8(bytes).ok());
            }
        }
        Ok(())
    }

    /// The text of one file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Whether a file or a directory of this name exists.
    pub(crate) fn exists(&self, path: &str) -> bool {
        let directory = format!("{path}/");
        path.is_empty()
            || self.files.contains_key(path)
            || self.files.keys().any(|file| file.starts_with(&directory))
    }

    /// Every text file: path and text.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// Every text file whose name ends in `.extension`.
    pub(crate) fn with_extension(&self, extension: &str) -> impl Iterator<Item = (&str, &str)> {
        self.texts()
            .filter(move |(path, _)| has_extension(path, extension))
    }

    /// The directories directly below `crates/`, by name.
    pub(crate) fn crates(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .files
            .keys()
            .filter_map(|path| path.strip_prefix("crates/")?.split_once('/'))
            .map(|(name, _)| name)
            .collect();
        names.dedup();
        names
    }

    /// A tree for a test.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (path, text) in files {
            tree.set(path, text);
        }
        tree
    }

    /// Adds or replaces a file.
    #[cfg(test)]
    pub(crate) fn set(&mut self, path: &str, text: &str) {
        self.files.insert(path.to_owned(), Some(text.to_owned()));
    }

    /// Takes a file away.
    #[cfg(test)]
    pub(crate) fn remove(&mut self, path: &str) {
        self.files.remove(path);
    }
}

/// Whether a path ends in `.extension`.
pub(crate) fn has_extension(path: &str, extension: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(_, found)| found == extension)
}
