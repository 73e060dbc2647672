//! stub
use super::daemon::SupervisordSection;
use std::path::{Path, PathBuf};
#[derive(Clone, Default)]
#[allow(missing_docs)]
pub struct Arguments {
    pub config: Option<String>,
    pub nodaemon: bool,
    pub help: bool,
    pub version: bool,
}
#[allow(missing_docs)]
pub struct UsageError {
    pub message: String,
}
#[allow(missing_docs)]
pub fn parse(words: &[String]) -> Result<Arguments, UsageError> {
    let mut a = Arguments::default();
    let mut i = words.iter();
    while let Some(w) = i.next() {
        match w.as_str() {
            "-c" => a.config = i.next().cloned(),
            "-n" => a.nodaemon = true,
            "-h" => a.help = true,
            "-v" => a.version = true,
            other => {
                return Err(UsageError {
                    message: format!("option {other} not recognized"),
                });
            }
        }
    }
    Ok(a)
}
#[allow(missing_docs)]
pub fn apply(a: &Arguments, s: &mut SupervisordSection) {
    if a.nodaemon {
        s.nodaemon = true;
    }
}
#[allow(missing_docs)]
pub fn usage(p: &str, t: &str) -> String {
    format!("Error: {t}\nFor help, use {p} -h\n")
}
#[allow(missing_docs)]
pub fn help(_: &str) -> String {
    String::new()
}
#[allow(missing_docs)]
pub fn search(_: &Path, _: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    None
}
#[allow(missing_docs)]
pub fn not_found_text(_: &Path) -> String {
    String::new()
}
#[allow(missing_docs)]
pub const ROOT_WARNING: &str = "";
#[allow(missing_docs)]
pub fn is_auto_log(n: &str, i: &str) -> bool {
    n.contains(&format!("---{i}-"))
}
