//! `mainstay backup restore` into a server of `MySQL` or `MariaDB`.

use mainstay_backup::{Pick, Selector, ServerReport, ServerRequest, Weight};
use mainstay_base::{Size, counted};
use serde_json::json;

use super::Session;
use super::restore::{Stops, Wanted, ask, ended};
use crate::exit::{Exit, Failure};
use crate::render::plain;

impl Session<'_> {
    /// Whether a restore goes into a server; options that only such a one has are refused otherwise.
    pub(super) fn is_into_server(&self, wanted: &Wanted<'_>) -> Result<bool, Failure> {
        let of_server = self
            .config
            .backup
            .backup(wanted.name)
            .is_some_and(|backup| backup.source.kind() == "mysql");
        let server = wanted.server;
        let asked = [
            ("--database", !server.databases.is_empty()),
            ("--table", !server.tables.is_empty()),
            ("--as", server.new_name.is_some()),
            ("--set-aside", server.set_aside),
            ("--no-users", server.no_users),
            ("--check", server.check),
            ("--binlog", server.binlog),
            ("--server", server.login.server.is_some()),
            ("--user", server.login.user.is_some()),
            ("--password-file", server.login.password_file.is_some()),
            ("--connections", server.connections.is_some()),
        ]
        .into_iter()
        .find_map(|(option, given)| given.then_some(option));
        match (wanted.to, asked) {
            (Some(_), Some(option)) => Err(Failure::new(
                Exit::Usage,
                format!(
                    "{option} is for a restore into a server, and --to for one into a directory"
                ),
            )
            .help("leave one of them out")),
            (None, Some(option)) if !of_server && server.login.server.is_none() => {
                Err(Failure::new(
                    Exit::Usage,
                    format!(
                        "{option} is for backups of MySQL and MariaDB, and `{}` is none",
                        wanted.name
                    ),
                )
                .help("name a server with --server if the config does not know it any more"))
            }
            (None, None) if of_server => {
                // Files of a server go back as files; that is known of the snapshot alone.
                let located = self.backups.find(
                    wanted.name,
                    &Selector::from(wanted.snapshot),
                    wanted.repository,
                    &self.progress,
                )?;
                Ok(located.snapshot.facts.physical.is_none())
            }
            (None, _) => Ok(of_server || server.login.server.is_some()),
            (Some(_), None) => Ok(false),
        }
    }

    pub(super) fn restore_server(&self, wanted: &Wanted<'_>) -> Result<Exit, Failure> {
        let asked = wanted.server;
        let mut request = ServerRequest::new(wanted.name);
        request.snapshot = Selector::from(wanted.snapshot);
        request.repository = wanted.repository.map(str::to_owned);
        request.pick = pick(wanted)?;
        request.set_aside = asked.set_aside;
        request.binlog = asked.binlog;
        request.check = asked.check;
        request.connections = asked.connections.map(usize::from);
        request.server = self.backups.server_at(
            wanted.name,
            asked.login.server.as_deref(),
            asked.login.user.as_deref(),
            asked.login.password_file.as_deref(),
        )?;
        let plan = self.backups.plan_server(&request, &self.progress)?;
        let programs = if plan.stop.is_empty() {
            Stops::default()
        } else {
            self.programs_to_stop(wanted.name)?
        };
        let mut text = plan.to_string().trim_end().to_owned();
        for line in programs.lines() {
            text.push('\n');
            text.push_str(&line);
        }
        let document = json!({
            "schema": 1,
            "backup": wanted.name,
            "snapshot": plan.from.snapshot.id,
            "repository": plan.from.repository,
            "server": plan.server,
            "version": plan.version.to_string(),
            "resumes": plan.resumes,
            "databases": plan.databases,
            "rows": plan.rows(),
            "bytes": plan.bytes(),
            "warnings": plan.warnings,
            "stop": programs.running,
        });
        if wanted.dry_run {
            if self.output.json {
                let mut document = document;
                document["plan"] = json!(text);
                self.output.document(&document);
            } else {
                self.output.print(&format!("{text}\n"));
            }
            return Ok(Exit::Done);
        }
        if wanted.yes {
            self.output.say(&text);
        } else {
            self.output.print_error(&format!("{text}\n"));
            ask(wanted.name)?;
        }
        let stopped = programs.stop()?;
        let restored = self.backups.restore_server(&plan, &self.progress);
        // The programs come back whether it worked or not: what was there before still is.
        let started = stopped.start();
        let report = restored?;
        if self.output.json {
            let mut document = document;
            document["checked"] = json!(report.checked);
            document["seconds"] = json!(report.took.as_secs_f64());
            document["set_aside"] = report
                .set_aside
                .iter()
                .map(|(from, to)| json!({ "from": from, "to": to }))
                .collect();
            document["issues"] = report
                .issues
                .iter()
                .map(|issue| json!(issue.what))
                .collect();
            self.output.document(&document);
        } else {
            self.tell_server(&report);
        }
        started?;
        Ok(ended(&report.issues))
    }

    fn tell_server(&self, report: &ServerReport) {
        self.output.say(&format!(
            "restored into {}: {}, {}, {} in {:.1} s; {}",
            report.server,
            counted(report.tables, "table"),
            counted(report.rows, "row"),
            Size(report.bytes).human(),
            report.took.as_secs_f64(),
            report.checked
        ));
        for issue in &report.issues {
            let what = plain(&issue.what);
            match issue.weight {
                Weight::Missing => self.output.warn(&format!("not restored: {what}")),
                Weight::Warning => self.output.warn(&what),
            }
        }
        for (from, aside) in &report.set_aside {
            self.output
                .say(&format!("what was in {from} is in {aside} now"));
        }
        if let Some(removal) = report.removal() {
            self.output
                .say(&format!("when it is not needed any more: {removal}"));
        }
    }
}

/// What of a server is meant.
fn pick(wanted: &Wanted<'_>) -> Result<Pick, Failure> {
    let asked = wanted.server;
    let tables: Vec<(String, String)> = asked
        .tables
        .iter()
        .map(|table| table_name(table))
        .collect::<Result<_, _>>()?;
    match (
        &asked.new_name,
        asked.databases.as_slice(),
        tables.as_slice(),
    ) {
        (None, [], []) => Ok(Pick::All {
            users: !asked.no_users,
        }),
        (None, databases, []) => Ok(Pick::Databases(databases.to_vec())),
        (None, _, _) => Ok(Pick::Tables(tables)),
        (Some(to), [name], []) => Ok(Pick::DatabaseAs {
            name: name.clone(),
            to: to.clone(),
        }),
        (Some(to), [], [name]) => Ok(Pick::TableAs {
            name: name.clone(),
            // Without a database it is the table's own.
            to: match table_name(to) {
                Ok(to) => to,
                Err(_) => (name.0.clone(), to.clone()),
            },
        }),
        (Some(_), ..) => Err(Failure::new(
            Exit::Usage,
            "--as gives a new name to one database or one table",
        )
        .help("give one --database or one --table with it")),
    }
}

/// `DATABASE.TABLE`, in backticks where there is a dot in a name.
fn table_name(text: &str) -> Result<(String, String), Failure> {
    let plain = || {
        text.split_once('.')
            .map(|(database, table)| (database.to_owned(), table.to_owned()))
    };
    let ticked = || {
        let inner = text.strip_prefix('`')?.strip_suffix('`')?;
        inner
            .split_once("`.`")
            .map(|(database, table)| (database.replace("``", "`"), table.replace("``", "`")))
    };
    ticked()
        .or_else(plain)
        .filter(|(database, table)| !database.is_empty() && !table.is_empty())
        .ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("`{text}` is not the name of a table with that of its database"),
            )
            .help("write DATABASE.TABLE, or `DATABASE`.`TABLE` if there is a dot in a name")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_with_their_database() {
        for (text, expected) in [
            ("shop.orders", Some(("shop", "orders"))),
            ("shop.a.b", Some(("shop", "a.b"))),
            ("`a.b`.`c``d`", Some(("a.b", "c`d"))),
            ("orders", None),
            (".orders", None),
            ("shop.", None),
        ] {
            let found = table_name(text).ok();
            let expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
