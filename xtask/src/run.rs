//! Running other programs, and where the project and its build lie.

use std::path::PathBuf;

/// The root of the project.
pub(crate) fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.parent().map(PathBuf::from).unwrap_or(own)
}
