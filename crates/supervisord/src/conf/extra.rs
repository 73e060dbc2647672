//! Options of a program section that only mainstay reads: supervisord ignores them.

use mainstay_supervise::{Backoff, GiveUp, Policy, parse_backoff, parse_give_up};
use mainstay_sys::limits::{Resource, UNLIMITED};

use super::expand::{Expansions, expand};
use super::ini::{Ini, Section};
use super::values;

/// What they say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extra {
    /// `backoff = 1s..60s`: doubled delays between failed starts and after quick deaths.
    pub backoff: Option<Backoff>,
    /// `restart_limit = 5/60s`: so many deaths in so long are too many.
    pub restart_limit: Option<GiveUp>,
    /// `limit_nofile = 4096` and its like: (which, soft, hard).
    pub limits: Vec<(Resource, u64, u64)>,
    /// `no_new_privs = true`: set-user-id files have no effect.
    pub no_new_privs: bool,
}

impl Extra {
    /// Puts what is said of a program's life into its policy.
    pub fn apply(&self, policy: &mut Policy) {
        if let Some(backoff) = self.backoff {
            policy.backoff = backoff;
            policy.delay_restarts = true;
        }
        if self.restart_limit.is_some() {
            policy.give_up = self.restart_limit;
        }
    }
}

/// The names of these options.
pub fn keys() -> impl Iterator<Item = &'static str> {
    ["backoff", "restart_limit", "no_new_privs"]
        .into_iter()
        .chain(LIMITS.iter().map(|(key, _)| *key))
}

const LIMITS: &[(&str, &str)] = &[
    ("limit_as", "as"),
    ("limit_core", "core"),
    ("limit_cpu", "cpu"),
    ("limit_data", "data"),
    ("limit_fsize", "fsize"),
    ("limit_memlock", "memlock"),
    ("limit_nofile", "nofile"),
    ("limit_nproc", "processes"),
    ("limit_sigpending", "sigpending"),
    ("limit_stack", "stack"),
];

/// Reads them.
///
/// # Errors
/// Which value is wrong, and how it is written.
pub fn read(ini: &Ini, section: &Section, names: &Expansions) -> Result<Extra, String> {
    let text = |key: &str| -> Result<Option<String>, String> {
        ini.get(&section.name, key)
            .map(|entry| expand(&entry.value, names, &format!("{}.{key}", section.name)))
            .transpose()
    };
    let mut extra = Extra::default();
    if let Some(text) = text("backoff")? {
        extra.backoff = Some(parse_backoff(&text).ok_or_else(|| {
            format!("{text} is no backoff: write the first delay and the longest, as in 1s..60s")
        })?);
    }
    if let Some(text) = text("restart_limit")? {
        extra.restart_limit = Some(parse_give_up(&text, "/").ok_or_else(|| {
            format!(
                "{text} is no restart_limit: write so many deaths in so long, as in 5/60s; at most \
                 32"
            )
        })?);
    }
    if let Some(text) = text("no_new_privs")? {
        extra.no_new_privs = values::boolean(&text)?;
    }
    for (key, name) in LIMITS {
        if let Some(text) = text(key)?
            && let Some(resource) = Resource::from_name(name)
        {
            let (soft, hard) = limit(&text).ok_or_else(|| {
                format!("{text} is no {key}: write a number, soft:hard or unlimited")
            })?;
            extra.limits.push((resource, soft, hard));
        }
    }
    Ok(extra)
}

fn limit(text: &str) -> Option<(u64, u64)> {
    let one = |text: &str| match text.trim() {
        "unlimited" => Some(UNLIMITED),
        text => values::byte_size(text)
            .ok()
            .filter(|_| !text.starts_with('-')),
    };
    match text.split_once(':') {
        None => one(text).map(|both| (both, both)),
        Some((soft, hard)) => {
            let (soft, hard) = (one(soft)?, one(hard)?);
            (soft <= hard).then_some((soft, hard))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn extra(text: &str) -> Result<Extra, String> {
        let mut ini = Ini::new();
        ini.read("f", &format!("[program:x]\n{text}\n")).unwrap();
        read(&ini, ini.section("program:x").unwrap(), &Expansions::new())
    }

    #[test]
    fn values_and_faults() {
        let all = extra(
            "backoff=1s..1m\nrestart_limit=5/60s\nlimit_nofile=1000:2000\nlimit_core=0\n\
             limit_as=1GB\nlimit_nproc=unlimited\nno_new_privs=yes",
        )
        .unwrap();
        assert_eq!(
            all.backoff,
            Some(Backoff::Exponential {
                min: Duration::from_secs(1),
                max: Duration::from_mins(1)
            })
        );
        assert_eq!(all.restart_limit.unwrap().count, 5);
        assert!(all.no_new_privs);
        let mut limits: Vec<_> = all.limits.iter().map(|(_, s, h)| (*s, *h)).collect();
        limits.sort_unstable();
        assert_eq!(
            limits,
            [
                (0, 0),
                (1000, 2000),
                (1 << 30, 1 << 30),
                (UNLIMITED, UNLIMITED)
            ]
        );
        assert_eq!(extra("command=x"), Ok(Extra::default()));
        for (text, words) in [
            ("backoff=soon", "no backoff"),
            ("backoff=5s..1s", "no backoff"),
            ("restart_limit=5", "no restart_limit"),
            ("restart_limit=99/1s", "no restart_limit"),
            ("limit_nofile=many", "no limit_nofile"),
            ("limit_nofile=2:1", "no limit_nofile"),
            ("no_new_privs=perhaps", "not a valid boolean value"),
        ] {
            let said = extra(text).unwrap_err();
            assert!(said.contains(words), "{text}: {said}");
        }
    }
}
