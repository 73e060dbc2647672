//! From the name of a program to its file.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::error::ProgramError;

/// Finds the file that a program name means.
///
/// A name with a slash is a path, counted from `cwd` when relative. Any other name is looked for in
/// the directories of `path_var` (separated by `:`; an empty part is `cwd`, relative parts count
/// from it), and the first file that may be executed wins, as for execvp(3). If only unsuitable
/// ones are found, the error is about the first of them: supervisord answers with a different fault
/// for each case.
pub fn resolve_program(
    name: &OsStr,
    path_var: &OsStr,
    cwd: &Path,
) -> Result<PathBuf, ProgramError> {
    let bytes = name.as_bytes();
    if bytes.is_empty() {
        return Err(ProgramError::NotFound { name: name.into() });
    }
    if bytes.contains(&b'/') {
        let path = cwd.join(name);
        return check(&path).map(|()| path);
    }
    let mut reason = None;
    for part in path_var.as_bytes().split(|byte| *byte == b':') {
        let path = cwd.join(OsStr::from_bytes(part)).join(name);
        match check(&path) {
            Ok(()) => return Ok(path),
            Err(ProgramError::NotFound { .. }) => {}
            Err(error) => reason = reason.or(Some(error)),
        }
    }
    Err(reason.unwrap_or_else(|| ProgramError::NotFound { name: name.into() }))
}

fn check(path: &Path) -> Result<(), ProgramError> {
    let path_buf = || path.to_path_buf();
    let about = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => ProgramError::NoPermission { path: path_buf() },
        _ => ProgramError::NotFound { name: path_buf() },
    })?;
    if about.is_dir() {
        return Err(ProgramError::IsDirectory { path: path_buf() });
    }
    if !about.is_file() || about.permissions().mode() & 0o111 == 0 {
        return Err(ProgramError::NotExecutable { path: path_buf() });
    }
    access(path, Access::EXEC_OK).map_err(|_| ProgramError::NoPermission { path: path_buf() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_has_its_own_answer() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for (name, mode) in [
            ("first/plain", 0o644),
            ("second/tool", 0o755),
            ("third/tool", 0o755),
            ("third/plain", 0o700),
        ] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir_all(root.join("first/tool")).unwrap();
        fs::create_dir_all(root.join("first/only")).unwrap();
        let at = |name: &str| root.join(name);
        let search = |name: &str, path: &str| resolve_program(name.as_ref(), path.as_ref(), root);
        let missing = |name: &str| Err(ProgramError::NotFound { name: name.into() });

        for (name, path, want) in [
            ("tool", "first:second:third", Ok(at("second/tool"))),
            ("plain", "first:second:third", Ok(at("third/plain"))),
            (
                "plain",
                "nowhere:first",
                Err(ProgramError::NotExecutable {
                    path: at("first/plain"),
                }),
            ),
            (
                "only",
                "first:third",
                Err(ProgramError::IsDirectory {
                    path: at("first/only"),
                }),
            ),
            ("absent", "first:second", missing("absent")),
            ("tool", "", missing("tool")),
            ("", "first", missing("")),
            ("second/tool", "", Ok(at("second/tool"))),
            ("./second/tool", "", Ok(at("./second/tool"))),
            (
                "first/only",
                "",
                Err(ProgramError::IsDirectory {
                    path: at("first/only"),
                }),
            ),
            (
                "first/plain",
                "",
                Err(ProgramError::NotExecutable {
                    path: at("first/plain"),
                }),
            ),
        ] {
            assert_eq!(search(name, path), want, "{name} in {path}");
        }
        let inside = at("second");
        assert_eq!(
            resolve_program("tool".as_ref(), ":".as_ref(), &inside),
            Ok(inside.join("").join("tool"))
        );
        assert_eq!(
            resolve_program(at("third/tool").as_os_str(), "".as_ref(), Path::new("/")),
            Ok(at("third/tool"))
        );
        assert_eq!(
            search("/dev/null", ""),
            Err(ProgramError::NotExecutable {
                path: "/dev/null".into()
            })
        );
    }
}
