//! Whether the files of a server could be backed up now, and what stands in the way.

use mainstay_base::Clock;
use mainstay_mysql::Connection;

use super::super::preflight::{Look, Need, binary_log, clock, lacking, need};
use super::super::{Failure, moment, texts};
use super::place::Place;
use super::{Physical, Tool};
use crate::preflight::Check;

impl Physical {
    pub(crate) fn preflight(&self, ours: &dyn Clock) -> Vec<Check> {
        let attempt = self.attempt();
        let server = &self.server;
        let mut checks = Vec::new();
        let tool = match Tool::find(self.program.as_deref(), &attempt) {
            Ok(tool) => Some(tool),
            Err(error) => {
                checks.push(Check::of_error(&error));
                None
            }
        };
        let mut connection = match moment::connect(&server.options) {
            Ok(connection) => connection,
            Err(failure) => {
                checks.push(Check::of_error(&server.error(failure)));
                return checks;
            }
        };
        let version = connection.version().clone();
        checks.push(Check::good(format!(
            "{version} answers at {} to `{}`",
            server.options.endpoint, server.options.user
        )));
        if let Some(tool) = tool {
            checks.push(match tool.fits(&version, &attempt) {
                Ok(()) => Check::good(format!("{}: {}", tool.path().display(), tool.said())),
                Err(error) => Check::of_error(&error),
            });
        }
        match Place::of(&mut connection, &server.options) {
            Ok(place) => checks.push(Check::good(format!(
                "its data directory {} can be read",
                place.data.display()
            ))),
            Err(failure) => checks.push(Check::of_error(&server.error(failure))),
        }
        let looks: [&Look<'_>; 4] = [
            &rights,
            &binary_log,
            &|connection, checks| clock(connection, ours, checks),
            &memory,
        ];
        for look in looks {
            if let Err(failure) = look(&mut connection, &mut checks) {
                let broken = !connection.is_ready();
                checks.push(Check::of_error(&server.error(failure)));
                if broken {
                    break;
                }
            }
        }
        checks
    }
}

/// What the program asks the server for
/// (<https://mariadb.com/kb/en/mariadb-backup-overview/#authentication-and-privileges>).
fn needs() -> Vec<Need> {
    vec![
        need("RELOAD", &[], true, "a server at one moment"),
        need("PROCESS", &[], true, "the log of InnoDB"),
        need("LOCK TABLES", &[], true, "tables that are not of InnoDB"),
        need(
            "BINLOG MONITOR",
            &["REPLICATION CLIENT", "SUPER"],
            true,
            "the place in the binary log",
        ),
    ]
}

fn rights(connection: &mut Connection, checks: &mut Vec<Check>) -> Result<(), Failure> {
    if lacking(connection, needs(), checks)? == 0 {
        checks.push(Check::good("it has all rights that a backup needs"));
    }
    Ok(())
}

/// Tables that are in no file, as far as the user may see them.
fn memory(connection: &mut Connection, checks: &mut Vec<Check>) -> Result<(), Failure> {
    let found = texts(
        connection,
        "SELECT COUNT(*) FROM information_schema.TABLES WHERE ENGINE = 'MEMORY' AND TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys')",
    )?;
    let count = found.into_iter().flatten().next().unwrap_or_default();
    if count != "0" {
        checks.push(Check::warning(
            format!(
                "{count} of its tables are in memory only: their rows would not be in a backup"
            ),
            "leave `engine` out if they matter, or ALTER TABLE … ENGINE = InnoDB",
        ));
    }
    Ok(())
}
