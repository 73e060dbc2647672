//! Whether a server could be read now, and what stands in the way.

use std::collections::BTreeSet;
use std::time::Instant;

use mainstay_base::{Clock, Size, counted};
use mainstay_mysql::Connection;

use super::objects::{OWN, Selection};
use super::{Failure, Mysql, RIGHTS, moment, texts};
use crate::preflight::Check;

/// Clocks that differ by more seconds than this are told.
const APART: f64 = 2.0;
/// What clients and servers have as `max_allowed_packet` when they are not told otherwise.
const PACKET: u64 = 16 << 20;

/// Looks at one thing and adds what it found.
pub(super) type Look<'a> = dyn Fn(&mut Connection, &mut Vec<Check>) -> Result<(), Failure> + 'a;

impl Mysql {
    pub(crate) fn preflight(&self, ours: &dyn Clock) -> Vec<Check> {
        let mut connection = match moment::connect(&self.options) {
            Ok(connection) => connection,
            Err(failure) => return vec![Check::of_error(&self.error(failure))],
        };
        let version = connection.version().clone();
        let mut checks = vec![Check::good(format!(
            "{version} answers at {} to `{}`",
            self.options.endpoint, self.options.user
        ))];
        let looks: [&Look<'_>; 5] = [
            &|connection, checks| rights(connection, self.users, checks),
            &binary_log,
            &packets,
            &|connection, checks| clock(connection, ours, checks),
            &|connection, checks| tables(connection, &self.selection, checks),
        ];
        for look in looks {
            if let Err(failure) = look(&mut connection, &mut checks) {
                let broken = !connection.is_ready();
                checks.push(Check::of_error(&self.error(failure)));
                if broken {
                    break;
                }
            }
        }
        checks
    }
}

fn cell(connection: &mut Connection, statement: &str) -> Result<String, Failure> {
    let rows = texts(connection, statement)?;
    Ok(rows.into_iter().flatten().next().unwrap_or_default())
}

/// The rights that `SHOW GRANTS` shows on everything, and those on parts.
fn granted(grants: &[String]) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut all, mut some) = (BTreeSet::new(), BTreeSet::new());
    for grant in grants {
        let Some((rights, rest)) = grant
            .strip_prefix("GRANT ")
            .and_then(|rest| rest.split_once(" ON "))
        else {
            continue;
        };
        let into = if rest.starts_with("*.* ") {
            &mut all
        } else {
            &mut some
        };
        // Columns in parentheses do no harm: none of what is needed is granted on columns.
        into.extend(
            rights
                .split(", ")
                .map(|right| right.trim().to_ascii_uppercase()),
        );
    }
    (all, some)
}

fn has(rights: &BTreeSet<String>, any: &[&str]) -> bool {
    rights.contains("ALL PRIVILEGES") || any.iter().any(|right| rights.contains(*right))
}

/// A right that is looked for: its name in a `GRANT`, under which others it comes too, whether nothing
/// works without it, and what is lost.
pub(super) struct Need {
    right: &'static str,
    others: &'static [&'static str],
    must: bool,
    loses: &'static str,
}

/// A right that is looked for.
pub(super) fn need(
    right: &'static str,
    others: &'static [&'static str],
    must: bool,
    loses: &'static str,
) -> Need {
    Need {
        right,
        others,
        must,
        loses,
    }
}

fn needs(mariadb: bool, lock: bool, users: bool) -> Vec<Need> {
    let mut needs = vec![
        need("SELECT", &[], true, "tables, and the texts of routines"),
        need("SHOW VIEW", &[], true, "views"),
        need("TRIGGER", &[], true, "triggers"),
        need("EVENT", &[], true, "events"),
    ];
    if lock {
        needs.push(need(
            "RELOAD",
            &[],
            true,
            "the read lock that makes all connections see one moment",
        ));
    }
    if mariadb {
        needs.push(need(
            "BINLOG ADMIN",
            &["SUPER"],
            false,
            "that tables can be altered while others are still read",
        ));
        needs.push(need(
            "BINLOG MONITOR",
            &["REPLICATION CLIENT", "SUPER"],
            false,
            "the place in the binary log",
        ));
    } else {
        needs.push(need(
            "REPLICATION CLIENT",
            &["SUPER"],
            false,
            "the place in the binary log",
        ));
        needs.push(need(
            "BACKUP_ADMIN",
            &[],
            false,
            "that nobody alters tables while they are read",
        ));
    }
    if users && !mariadb {
        needs.push(need(
            "SHOW_ROUTINE",
            &["SELECT"],
            false,
            "the texts of routines of others",
        ));
    }
    needs
}

fn rights(
    connection: &mut Connection,
    users: bool,
    checks: &mut Vec<Check>,
) -> Result<(), Failure> {
    let mariadb = connection.version().is_mariadb(0, 0);
    let lock = !mariadb || cell(connection, "SELECT @@log_bin")? != "1";
    let account = account(connection)?;
    let mut lacking = lacking(connection, needs(mariadb, lock, users), checks)?;
    if users {
        match texts(connection, "SELECT COUNT(*) FROM mysql.user") {
            Ok(_) => {}
            Err(Failure::Server(error))
                if error.code().is_some_and(|code| RIGHTS.contains(&code)) =>
            {
                lacking += 1;
                checks.push(Check::failed(
                    "users and grants cannot be read",
                    format!("GRANT SELECT ON mysql.* TO {account}; or set `users = false`"),
                ));
            }
            Err(failure) => return Err(failure),
        }
    }
    if lacking == 0 {
        checks.push(Check::good("it has all rights that a backup needs"));
    }
    Ok(())
}

/// The user as the server knows it, as it is written in a `GRANT`.
fn account(connection: &mut Connection) -> Result<String, Failure> {
    let account = cell(connection, "SELECT CURRENT_USER()")?;
    Ok(match account.rsplit_once('@') {
        Some((user, host)) => format!("{}@{}", super::literal(user), super::literal(host)),
        None => super::literal(&account),
    })
}

/// How many rights are not there on everything; for each a check that says so.
pub(super) fn lacking(
    connection: &mut Connection,
    needs: Vec<Need>,
    checks: &mut Vec<Check>,
) -> Result<usize, Failure> {
    let grants: Vec<String> = texts(connection, "SHOW GRANTS")?
        .into_iter()
        .flatten()
        .collect();
    let account = account(connection)?;
    let (all, some) = granted(&grants);
    let mut lacking = 0;
    for need in needs {
        let names: Vec<&str> = std::iter::once(need.right)
            .chain(need.others.iter().copied())
            .collect();
        if has(&all, &names) {
            continue;
        }
        lacking += 1;
        let help = format!("GRANT {} ON *.* TO {account};", need.right);
        checks.push(if has(&some, &names) {
            let what = format!("the right {} is there on some databases only", need.right);
            Check::warning(what, format!("if others are backed up too: {help}"))
        } else if need.must {
            let what = format!(
                "the right {} is missing: without it there is no backup of {}",
                need.right, need.loses
            );
            Check::failed(what, help)
        } else {
            let what = format!(
                "the right {} is missing, and with it {}",
                need.right, need.loses
            );
            Check::warning(what, help)
        });
    }
    Ok(lacking)
}

pub(super) fn binary_log(
    connection: &mut Connection,
    checks: &mut Vec<Check>,
) -> Result<(), Failure> {
    let id = cell(connection, "SELECT @@server_id")?;
    if cell(connection, "SELECT @@log_bin")? != "1" {
        checks.push(Check::warning(
            "there is no binary log: connections see one moment by a short read lock, and what is written after a backup is in no backup",
            "`log_bin` and a `server_id` of its own in the server's config, and a restart",
        ));
        return Ok(());
    }
    if id == "0" {
        checks.push(Check::warning(
            "server_id is 0: the server can have no replicas",
            "`SET GLOBAL server_id = N`, and in the server's config",
        ));
        return Ok(());
    }
    let format = cell(connection, "SELECT @@binlog_format")?;
    checks.push(Check::good(format!(
        "the binary log is on ({format}), server_id is {id}"
    )));
    Ok(())
}

fn packets(connection: &mut Connection, checks: &mut Vec<Check>) -> Result<(), Failure> {
    let packet = cell(connection, "SELECT @@global.max_allowed_packet")?
        .parse()
        .unwrap_or(0);
    let text = Size(packet).human();
    checks.push(if packet < PACKET {
        Check::warning(
            format!("max_allowed_packet is {text}: longer rows are read, and cannot be loaded again by statements"),
            "`SET GLOBAL max_allowed_packet = 67108864`, and in the server's config",
        )
    } else {
        Check::good(format!("max_allowed_packet is {text}"))
    });
    Ok(())
}

pub(super) fn clock(
    connection: &mut Connection,
    ours: &dyn Clock,
    checks: &mut Vec<Check>,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let theirs: f64 = cell(connection, "SELECT UNIX_TIMESTAMP(NOW(6))")?
        .parse()
        .unwrap_or(0.0);
    #[allow(clippy::cast_precision_loss, reason = "a difference of seconds")]
    let ours = ours.now().as_microsecond() as f64 / 1e6;
    let apart = theirs - ours;
    // What the answer took is no difference.
    if apart.abs() > APART + begun.elapsed().as_secs_f64() {
        checks.push(Check::warning(
            format!("its clock differs from ours by {apart:+.1} s: times of snapshots and those in its log do not fit"),
            "set both by NTP",
        ));
    } else {
        checks.push(Check::good("its clock agrees with ours"));
    }
    Ok(())
}

/// Tables and views that the server itself cannot open, and tables without snapshots.
fn tables(
    connection: &mut Connection,
    selection: &Selection,
    checks: &mut Vec<Check>,
) -> Result<(), Failure> {
    let names: Vec<String> = texts(connection, "SHOW DATABASES")?
        .into_iter()
        .flatten()
        .filter(|database| selection.takes(database))
        .collect();
    let missing = selection
        .databases
        .iter()
        .filter(|pattern| !names.iter().any(|name| pattern.matches(name)));
    for pattern in missing {
        checks.push(Check::failed(
            format!("no database is called `{pattern}`, or the user may not see it"),
            "correct `databases`, or grant the user rights on it",
        ));
    }
    let own: Vec<String> = OWN.iter().map(|name| super::literal(name)).collect();
    let found = texts(
        connection,
        &format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, IFNULL(ENGINE, ''), IFNULL(TABLE_COMMENT, ''), TABLE_ROWS FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN ({}) AND (ENGINE IS NULL OR ENGINE NOT IN ('InnoDB', 'ROCKSDB', 'TokuDB'))",
            own.join(", ")
        ),
    )?;
    let mut without = 0;
    for row in found {
        // How many rows there are is of no interest, but is known only to who opens the table.
        let [database, table, kind, engine, comment, _] = row.as_slice() else {
            continue;
        };
        if !names.contains(database) || kind == "SEQUENCE" || kind == "TEMPORARY" {
            continue;
        }
        let whole = format!("`{database}`.`{table}`");
        if kind == "VIEW" {
            if comment != "VIEW" {
                checks.push(Check::warning(
                    format!("view {whole} cannot be used, and would be kept as text: {comment}"),
                    "correct or drop it",
                ));
            }
        } else if engine.is_empty() {
            checks.push(Check::failed(
                format!("table {whole} cannot be opened: {comment}"),
                format!(
                    "REPAIR TABLE {}.{}; or leave it out",
                    super::name(database),
                    super::name(table)
                ),
            ));
        } else {
            without += 1;
        }
    }
    if without > 0 {
        checks.push(Check::warning(
            match without {
                1 => "one of its tables has an engine without snapshots: it is not of the same moment as the others".to_owned(),
                _ => format!("{without} of its tables have engines without snapshots: they are not of the same moment as the others"),
            },
            "ALTER TABLE … ENGINE = InnoDB",
        ));
    }
    checks.push(Check::good(format!(
        "{} would be backed up",
        counted(names.len(), "database")
    )));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_from_grants() {
        let grants = [
            "GRANT SELECT, RELOAD, SHOW VIEW ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*1'",
            "GRANT BACKUP_ADMIN ON *.* TO `a`@`%`",
            "GRANT EVENT, TRIGGER ON `shop`.* TO `a`@`%`",
            "GRANT `role` TO `a`@`%`",
        ]
        .map(str::to_owned);
        let (all, some) = granted(&grants);
        assert!(has(&all, &["SHOW VIEW"]) && has(&all, &["X", "BACKUP_ADMIN"]));
        assert!(!has(&all, &["EVENT"]) && has(&some, &["EVENT"]));
        let (all, _) = granted(&["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost`".to_owned()]);
        assert!(has(&all, &["ANYTHING"]));
    }

    #[test]
    fn what_is_needed_depends_on_the_server() {
        let names = |mariadb, lock| -> Vec<&str> {
            needs(mariadb, lock, true)
                .iter()
                .map(|need| need.right)
                .collect()
        };
        assert!(!names(true, false).contains(&"RELOAD"));
        assert!(names(true, true).contains(&"RELOAD"));
        assert!(names(false, true).contains(&"BACKUP_ADMIN"));
    }
}
