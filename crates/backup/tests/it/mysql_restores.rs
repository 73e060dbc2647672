//! Restores of `MySQL` and `MariaDB` into servers: what comes back, and what is refused.

use mainstay_backup::{Backups, Error, ErrorKind, Pick, ServerReport, ServerRequest, Weight};
use mainstay_mysql::Connection;

use crate::bench::{Bench, quiet, run_ok};
use crate::drills;
use crate::mysql::{COMMON, OF_MARIADB, config, facts, same, texts};
use crate::servers::{Server, all, mariadb, mysql};

/// A request for the whole of a backup, into this server.
pub(crate) fn into(server: &Server) -> ServerRequest {
    let mut request = ServerRequest::new("server");
    request.server = Some(server.options());
    request
}

pub(crate) fn restore_server(
    backups: &Backups,
    request: &ServerRequest,
) -> Result<ServerReport, Error> {
    let plan = backups.plan_server(request, &quiet())?;
    backups.restore_server(&plan, &quiet())
}

/// The databases of a server that are not its own.
pub(crate) fn databases(connection: &mut Connection) -> Vec<String> {
    texts(connection, "SHOW DATABASES")
        .into_iter()
        .flatten()
        .filter(|name| {
            !["information_schema", "performance_schema", "mysql", "sys"].contains(&name.as_str())
        })
        .collect()
}

pub(crate) fn number(connection: &mut Connection, statement: &str) -> u64 {
    texts(connection, statement)[0][0].parse().unwrap()
}

pub(crate) fn pair(database: &str, table: &str) -> (String, String) {
    (database.to_owned(), table.to_owned())
}

/// A shop with two tables that belong together, a view, a routine, a trigger, an event.
const SHOP: &[&str] = &[
    "CREATE DATABASE shop CHARACTER SET utf8mb4",
    "USE shop",
    "CREATE TABLE customers (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50), KEY n (name))",
    "CREATE TABLE orders (id INT PRIMARY KEY, customer INT, note VARCHAR(1000), KEY c (customer), KEY n (note(20), customer), CONSTRAINT fk FOREIGN KEY (customer) REFERENCES customers (id))",
    "INSERT INTO customers VALUES (1, 'Ä'), (2, 'b')",
    "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'",
    "INSERT INTO customers VALUES (0, 'nobody')",
    "SET SESSION sql_mode = ''",
    "CREATE VIEW named AS SELECT shop.orders.id, customers.name FROM shop.orders JOIN customers ON customers.id = orders.customer",
    "CREATE PROCEDURE count_orders() SELECT COUNT(*) FROM shop.orders",
    "CREATE TRIGGER stamp BEFORE INSERT ON orders FOR EACH ROW SET NEW.note = CONCAT('new ', NEW.note)",
    "CREATE EVENT daily ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DO DELETE FROM orders",
    "CREATE DATABASE other",
    "CREATE TABLE other.kept (id INT PRIMARY KEY)",
    "INSERT INTO other.kept VALUES (7)",
];

/// Orders enough for some files: rows of about 1 kB.
fn fill(connection: &mut Connection, rows: u64) {
    all(
        connection,
        &[
            "SET SESSION cte_max_recursion_depth = 1000000, foreign_key_checks = 0",
            "DROP TRIGGER shop.stamp",
            &format!(
                "INSERT INTO shop.orders WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows}) SELECT n, 1 + n % 2, REPEAT(SHA2(n, 256), 15) FROM s"
            ),
            "CREATE TRIGGER shop.stamp BEFORE INSERT ON shop.orders FOR EACH ROW SET NEW.note = CONCAT('new ', NEW.note)",
        ],
    );
}

pub(crate) fn shop(server: &Server, rows: u64) -> Connection {
    let mut root = server.root();
    all(&mut root, SHOP);
    if rows > 0 {
        fill_on(&mut root, rows);
    }
    root
}

/// `MariaDB` has another word for the depth of a recursion.
fn fill_on(root: &mut Connection, rows: u64) {
    if root.version().is_mariadb(10, 0) {
        all(
            root,
            &[
                "SET SESSION foreign_key_checks = 0",
                "DROP TRIGGER shop.stamp",
                &format!(
                    "INSERT INTO shop.orders SELECT seq, 1 + seq % 2, REPEAT(MD5(seq), 30) FROM seq_1_to_{rows}"
                ),
                "USE shop",
                "CREATE TRIGGER stamp BEFORE INSERT ON orders FOR EACH ROW SET NEW.note = CONCAT('new ', NEW.note)",
            ],
        );
    } else {
        fill(root, rows);
    }
}

fn round_trip(from: &Server, to: &Server) -> ServerReport {
    let bench = Bench::new();
    let backups = bench.ready(&config(&from.options(), ""));
    run_ok(&backups, "server");
    let mut request = into(to);
    request.check = true;
    let plan = backups.plan_server(&request, &quiet()).unwrap();
    let before = databases(&mut to.root());
    assert!(before.is_empty(), "a plan changes nothing: {before:?}");
    assert!(plan.rows() > 10, "{plan}");
    let report = backups.restore_server(&plan, &quiet()).unwrap();
    same(from, to);
    assert!(
        report.checked.contains("read back from the server"),
        "{}",
        report.checked
    );
    let told: Vec<&str> = report
        .issues
        .iter()
        .map(|issue| issue.what.as_str())
        .collect();
    assert!(
        told.iter()
            .any(|what| what.contains("view `注文`.`broken` could not be used")),
        "{told:?}"
    );
    assert!(
        report
            .issues
            .iter()
            .all(|issue| issue.weight != Weight::Missing),
        "{told:?}"
    );
    assert!(
        !databases(&mut to.root())
            .iter()
            .any(|name| name.starts_with("mainstay_")),
        "nothing of ours is left"
    );
    // Once more: everything is there now.
    let error = backups.plan_server(&request, &quiet()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetNotEmpty, "{error}");
    assert!(error.help().unwrap().contains("--set-aside"), "{error:?}");
    bench.assert_clean();
    report
}

#[test]
fn a_mariadb_comes_back_in_another() {
    let (Some(from), Some(to)) = (mariadb(&["--log-bin"]), mariadb(&["--local-infile=0"])) else {
        return;
    };
    let mut root = from.root();
    all(&mut root, COMMON);
    all(&mut root, OF_MARIADB);
    all(
        &mut root,
        &[
            "USE `注文`",
            "CREATE TABLE counted (id INT PRIMARY KEY DEFAULT NEXTVAL(numbers), v INT)",
            "INSERT INTO counted (v) VALUES (1), (2)",
        ],
    );
    all(&mut root, SHOP);
    fill_on(&mut root, 5000);
    // Texts in the character set of another client, and sequences of what needs what across databases.
    all(
        &mut root,
        &[
            "SET NAMES latin1",
            "USE shop",
            "CREATE PROCEDURE umlaut() COMMENT 'Größe' SELECT 'Größe', `name` FROM customers",
            "CREATE TRIGGER `trügger` BEFORE UPDATE ON customers FOR EACH ROW SET NEW.name = CONCAT('ü', NEW.name)",
            "CREATE VIEW `anführung` AS SELECT 'ä\"' AS `ö`",
            "SET NAMES utf8mb4",
            "SET SESSION sql_mode = 'ANSI_QUOTES'",
            "CREATE PROCEDURE quoted() SELECT \"name\" FROM \"customers\"",
            "SET SESSION sql_mode = ''",
            "CREATE VIEW shop.above AS SELECT * FROM `注文`.zz",
            "CREATE VIEW `../x`.over AS SELECT * FROM shop.above",
        ],
    );
    round_trip(&from, &to);
    let closed = number(&mut to.root(), "SELECT @@global.local_infile");
    assert_eq!(closed, 0, "as it was before");
}

#[test]
fn names_in_any_case_are_those_of_the_server() {
    let options = ["--lower-case-table-names=1"];
    let (Some(folding), Some(exact)) = (mariadb(&options), mariadb(&[])) else {
        return;
    };
    for server in [&folding, &exact] {
        all(
            &mut server.root(),
            &[
                "CREATE DATABASE Shop",
                "USE Shop",
                "CREATE TABLE Orders (Id INT PRIMARY KEY, Note TEXT)",
                "INSERT INTO Orders VALUES (1, 'a')",
                "CREATE VIEW Named AS SELECT Id FROM Shop.Orders",
                "CREATE TRIGGER Stamp BEFORE INSERT ON Shop.Orders FOR EACH ROW SET NEW.Note = 'x'",
                "CREATE PROCEDURE Counted() SELECT COUNT(*) FROM Shop.Orders",
            ],
        );
    }
    let bench = Bench::new();
    let backups = bench.ready(&config(&folding.options(), ""));
    run_ok(&backups, "server");
    let before = facts(&folding);
    // Over itself, and as something else, in the case that a person writes.
    let mut request = into(&folding);
    request.set_aside = true;
    let report = restore_server(&backups, &request).unwrap();
    assert_eq!(report.issues, [], "{report:?}");
    let aside = report.set_aside[0].1.clone();
    all(&mut folding.root(), &[&format!("DROP DATABASE `{aside}`")]);
    assert_eq!(facts(&folding), before);
    request = into(&folding);
    request.pick = Pick::DatabaseAs {
        name: "Shop".to_owned(),
        to: "Shop2".to_owned(),
    };
    let report = restore_server(&backups, &request).unwrap();
    assert_eq!(report.tables, 1, "{report:?}");
    let mut root = folding.root();
    assert_eq!(number(&mut root, "SELECT COUNT(*) FROM Shop2.Orders"), 1);
    assert_eq!(databases(&mut root), ["shop", "shop2"]);
    let drilled = backups.drill(&drills::request("server"), &quiet()).unwrap();
    assert_eq!(
        drilled.verdict,
        mainstay_backup::drill::Verdict::Proven,
        "{drilled:#?}"
    );
    // Names of a server that tells cases apart do not all fit: nothing is begun.
    let bench = Bench::new();
    let backups = bench.ready(&config(&exact.options(), ""));
    run_ok(&backups, "server");
    let error = restore_server(&backups, &into(&folding)).unwrap_err();
    assert!(
        error.to_string().contains("lower_case_table_names"),
        "{error}"
    );
    assert!(error.help().unwrap().contains("backup export"), "{error:?}");
    assert_eq!(databases(&mut root), ["shop", "shop2"]);
}

#[test]
fn a_mysql_comes_back_in_another() {
    let (Some(from), Some(to)) = (mysql(&[]), mysql(&[])) else {
        return;
    };
    let mut root = from.root();
    all(&mut root, COMMON);
    all(&mut root, SHOP);
    fill(&mut root, 5000);
    round_trip(&from, &to);
}

#[test]
fn parts_come_back_under_their_own_or_another_name() {
    for server in [mariadb(&["--log-bin"]), mysql(&[])].into_iter().flatten() {
        parts(&server);
    }
}

/// Where the binary log is.
fn log_position(root: &mut Connection) -> (String, String) {
    let statement = if root.version().is_mysql(8, 2) {
        "SHOW BINARY LOG STATUS"
    } else {
        "SHOW MASTER STATUS"
    };
    let row = texts(root, statement).remove(0);
    (row[0].clone(), row[1].clone())
}

fn parts(server: &Server) {
    let mut root = shop(server, 3000);
    let bench = Bench::new();
    let backups = bench.ready(&config(&server.options(), ""));
    run_ok(&backups, "server");
    let (log, offset) = log_position(&mut root);
    // One table beside the live one.
    let mut request = into(server);
    request.pick = Pick::TableAs {
        name: pair("shop", "orders"),
        to: pair("shop", "orders_before"),
    };
    let report = restore_server(&backups, &request).unwrap();
    assert_eq!((report.tables, report.rows), (1, 3000));
    assert_eq!(
        number(&mut root, "SELECT COUNT(*) FROM shop.orders_before"),
        3000
    );
    let left = &report.issues[0].what;
    assert!(
        left.contains("the foreign keys of `shop`.`orders`"),
        "{left}"
    );
    let keys = texts(&mut root, "SHOW CREATE TABLE shop.orders_before")[0][1].clone();
    assert!(keys.contains("KEY `n` (`note`(20),`customer`)"), "{keys}");
    // A database beside the live one, which speaks of itself.
    request.pick = Pick::DatabaseAs {
        name: "shop".to_owned(),
        to: "shop2".to_owned(),
    };
    restore_server(&backups, &request).unwrap();
    all(&mut root, &["DELETE FROM shop.orders WHERE id > 10"]);
    assert_eq!(number(&mut root, "SELECT COUNT(*) FROM shop2.named"), 3000);
    assert_eq!(number(&mut root, "CALL shop2.count_orders()"), 3000);
    assert_eq!(number(&mut root, "SELECT COUNT(*) FROM shop.named"), 10);
    let child = texts(&mut root, "SHOW CREATE TABLE shop2.orders")[0][1].clone();
    assert!(
        child.contains("CONSTRAINT `fk` FOREIGN KEY (`customer`) REFERENCES `customers` (`id`)"),
        "{child}"
    );
    // One that is gone comes back, with its trigger and its foreign key.
    all(&mut root, &["DROP TABLE shop.orders"]);
    request.pick = Pick::Tables(vec![pair("shop", "orders")]);
    restore_server(&backups, &request).unwrap();
    all(
        &mut root,
        &["INSERT INTO shop.orders VALUES (9999, 1, 'x')"],
    );
    let stamped = texts(&mut root, "SELECT note FROM shop.orders WHERE id = 9999");
    assert_eq!(stamped[0][0], "new x");
    all(&mut root, &["SET SESSION foreign_key_checks = 1"]);
    let refused = root.run("INSERT INTO shop.orders VALUES (10000, 77, 'x')");
    assert_eq!(refused.unwrap_err().code(), Some(1452));
    // A database that is gone.
    all(&mut root, &["DROP DATABASE other"]);
    request.pick = Pick::Databases(vec!["other".to_owned()]);
    restore_server(&backups, &request).unwrap();
    assert_eq!(number(&mut root, "SELECT id FROM other.kept"), 7);
    // Nothing of that is in the binary log but what was done by hand.
    assert_eq!(log_position(&mut root).0, log);
    let events = texts(
        &mut root,
        &format!("SHOW BINLOG EVENTS IN '{log}' FROM {offset}"),
    );
    assert!(events.len() > 5, "{events:?}");
    assert!(
        !events
            .iter()
            .any(|event| event[5].contains("mainstay_restore")),
        "{events:?}"
    );
    // Unless it is asked for.
    all(&mut root, &["DROP DATABASE other"]);
    request.binlog = true;
    restore_server(&backups, &request).unwrap();
    request.binlog = false;
    let events = texts(
        &mut root,
        &format!("SHOW BINLOG EVENTS IN '{log}' FROM {offset}"),
    );
    assert!(
        events
            .iter()
            .any(|event| event[5].contains("RENAME TABLE `mainstay_restore")),
        "{events:?}"
    );
    for (pick, why) in [
        (
            Pick::Databases(vec!["nowhere".to_owned()]),
            "no database `nowhere`",
        ),
        (
            Pick::Tables(vec![pair("shop", "nothing")]),
            "no table `shop`.`nothing`",
        ),
    ] {
        request.pick = pick;
        let error = backups.plan_server(&request, &quiet()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownSnapshot);
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn what_is_live_is_refused_or_set_aside_whole() {
    for server in [mariadb(&[]), mysql(&[])].into_iter().flatten() {
        set_aside(&server);
    }
}

fn set_aside(server: &Server) {
    let mut root = shop(server, 2000);
    let bench = Bench::new();
    let backups = bench.ready(&config(&server.options(), ""));
    run_ok(&backups, "server");
    all(
        &mut root,
        &[
            "DELETE FROM shop.orders WHERE id > 100",
            "CREATE TABLE shop.later (id INT PRIMARY KEY)",
            "DROP VIEW shop.named",
            "CREATE VIEW shop.newer AS SELECT COUNT(*) AS n FROM shop.orders",
        ],
    );
    let live = facts(server);
    let mut request = into(server);
    let shop_only = Pick::Databases(vec!["shop".to_owned()]);
    for pick in [
        Pick::All { users: true },
        shop_only.clone(),
        Pick::Tables(vec![pair("shop", "customers")]),
    ] {
        request.pick = pick;
        let error = backups.plan_server(&request, &quiet()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TargetNotEmpty, "{error}");
    }
    // A table that stays must not go on having a key to what is set aside.
    request.pick = Pick::Tables(vec![pair("shop", "customers")]);
    request.set_aside = true;
    let error = backups.plan_server(&request, &quiet()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`shop`.`orders` has a foreign key to `shop`.`customers`"),
        "{error}"
    );
    assert_eq!(facts(server), live);
    request.pick = shop_only;
    let plan = backups.plan_server(&request, &quiet()).unwrap();
    let said = plan.to_string();
    let aside = "shop_before_202611220300";
    assert!(
        said.contains(&format!("keeps   3 tables of shop as {aside}")),
        "{said}"
    );
    let report = backups.restore_server(&plan, &quiet()).unwrap();
    assert_eq!(report.set_aside, [pair("shop", aside)]);
    assert_eq!(
        report.removal().unwrap(),
        format!("DROP DATABASE `{aside}`;")
    );
    assert!(report.issues.is_empty(), "{:?}", report.issues);
    assert_eq!(databases(&mut root), ["other", "shop", aside]);
    // The restored one is as it was when it was backed up, the old one as it was before.
    assert_eq!(number(&mut root, "SELECT COUNT(*) FROM shop.named"), 2000);
    assert_eq!(number(&mut root, "SELECT COUNT(*) FROM shop.orders"), 2000);
    let after = facts(server);
    assert!(!after.keys().any(|fact| fact.contains("`shop`.`later`")));
    for (fact, value) in &live {
        let Some(table) = fact.strip_prefix("rows `shop`.") else {
            continue;
        };
        let old = format!("rows `{aside}`.{table}");
        assert_eq!(after.get(&old), Some(value), "{fact}");
    }
    assert_eq!(
        number(&mut root, &format!("SELECT n FROM {aside}.newer")),
        100
    );
    let events = texts(
        &mut root,
        "SELECT EVENT_SCHEMA, STATUS FROM information_schema.EVENTS ORDER BY 1",
    );
    assert_eq!(events, [["shop", "ENABLED"], [aside, "DISABLED"]]);
    all(
        &mut root,
        &[&format!("INSERT INTO {aside}.orders VALUES (5000, 1, 'x')")],
    );
    let stamped = texts(
        &mut root,
        &format!("SELECT note FROM {aside}.orders WHERE id = 5000"),
    );
    assert_eq!(stamped[0][0], "new x");
    // Its foreign key went along.
    let child = texts(&mut root, &format!("SHOW CREATE TABLE {aside}.orders"))[0][1].clone();
    assert!(child.contains("REFERENCES `customers` (`id`)"), "{child}");
    // One table alone, with its trigger: its foreign key stays to what it was to.
    request.pick = Pick::Tables(vec![pair("shop", "orders")]);
    all(&mut root, &["DELETE FROM shop.orders WHERE id > 5"]);
    let report = restore_server(&backups, &request).unwrap();
    let aside_of_table = format!("{aside}_2");
    assert_eq!(report.set_aside, [pair("shop", &aside_of_table)]);
    assert_eq!(number(&mut root, "SELECT COUNT(*) FROM shop.orders"), 2000);
    let old = format!("SELECT COUNT(*) FROM {aside_of_table}.orders");
    assert_eq!(number(&mut root, &old), 5);
    let triggers = texts(
        &mut root,
        "SELECT TRIGGER_SCHEMA FROM information_schema.TRIGGERS WHERE TRIGGER_NAME = 'stamp' ORDER BY 1",
    );
    assert_eq!(triggers, [["shop"], [aside], [aside_of_table.as_str()]]);
    // What was set aside has a key to what is live, which does not go aside then.
    request.pick = Pick::Databases(vec!["shop".to_owned()]);
    let error = backups.plan_server(&request, &quiet()).unwrap_err();
    assert!(error.to_string().contains(&aside_of_table), "{error}");
    all(&mut root, &[&format!("DROP DATABASE {aside_of_table}")]);
    // Somebody has one of the tables: it is all as it was, with its triggers.
    let live = facts(server);
    let mut other = server.root();
    all(&mut other, &["LOCK TABLES shop.customers READ"]);
    let error = restore_server(&backups, &request).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    assert!(error.help().unwrap().contains("PROCESSLIST"), "{error:?}");
    drop(other);
    let after = facts(server);
    for (fact, value) in live
        .iter()
        .filter(|(fact, _)| !fact.starts_with("databases"))
    {
        assert_eq!(after.get(fact), Some(value), "{fact}");
    }
    // Once more within the minute, going on with that.
    let report = restore_server(&backups, &request).unwrap();
    assert_eq!(report.set_aside, [pair("shop", &format!("{aside}_2"))]);
}

#[test]
fn users_that_are_there_stay_as_they_are() {
    let (Some(from), Some(to)) = (mariadb(&[]), mariadb(&[])) else {
        return;
    };
    all(
        &mut from.root(),
        &[
            "CREATE USER a@'%' IDENTIFIED BY 'one'",
            "CREATE USER b@'%' IDENTIFIED BY 'one'",
            "CREATE DATABASE d",
            "CREATE TABLE d.t (a INT)",
            "GRANT SELECT ON d.t TO a@'%', b@'%'",
        ],
    );
    let mut root = to.root();
    all(
        &mut root,
        &[
            "CREATE USER b@'%' IDENTIFIED BY 'two'",
            "GRANT CREATE ON *.* TO b@'%'",
        ],
    );
    let before = texts(&mut root, "SHOW GRANTS FOR b@'%'");
    let bench = Bench::new();
    let backups = bench.ready(&config(&from.options(), ""));
    run_ok(&backups, "server");
    let report = restore_server(&backups, &into(&to)).unwrap();
    let told: Vec<&str> = report
        .issues
        .iter()
        .map(|issue| issue.what.as_str())
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("user 'b'@'%' is there already and differs"),
        "{told:?}"
    );
    assert_eq!(texts(&mut root, "SHOW GRANTS FOR b@'%'"), before);
    assert_eq!(
        texts(&mut root, "SHOW GRANTS FOR a@'%'"),
        texts(&mut from.root(), "SHOW GRANTS FOR a@'%'")
    );
}

#[test]
fn a_value_that_a_server_would_cut_is_told() {
    let (Some(from), Some(to)) = (mysql(&[]), mysql(&["--max-allowed-packet=2M"])) else {
        return;
    };
    all(
        &mut from.root(),
        &[
            "CREATE DATABASE d",
            "CREATE TABLE d.t (id INT PRIMARY KEY, j JSON)",
            "INSERT INTO d.t VALUES (1, CONCAT('[\"', REPEAT('x', 3000000), '\"]'))",
        ],
    );
    let bench = Bench::new();
    let backups = bench.ready(&config(&from.options(), ""));
    run_ok(&backups, "server");
    let error = restore_server(&backups, &into(&to)).unwrap_err();
    assert!(error.to_string().contains("load table `d`.`t`"), "{error}");
    let help = error.help().unwrap();
    assert!(help.contains("SET GLOBAL max_allowed_packet"), "{help}");
    all(
        &mut to.root(),
        &["SET GLOBAL max_allowed_packet = 67108864"],
    );
    restore_server(&backups, &into(&to)).unwrap();
    assert_eq!(
        number(&mut to.root(), "SELECT LENGTH(j) FROM d.t"),
        3_000_004
    );
}

#[test]
fn what_goes_wrong_with_a_restore_is_told() {
    let (Some(from), Some(to)) = (mariadb(&[]), mariadb(&["--max-allowed-packet=1M"])) else {
        return;
    };
    let mut root = shop(&from, 0);
    let bench = Bench::new();
    let text = config(&from.options(), "");
    let backups = bench.ready(&text);
    run_ok(&backups, "server");
    let failed = |request: &ServerRequest| restore_server(&backups, request).unwrap_err();
    let error = failed(&into(&to));
    assert!(
        error.to_string().contains("max_allowed_packet is 1.0 MB"),
        "{error}"
    );
    assert!(
        error
            .help()
            .unwrap()
            .contains("SET GLOBAL max_allowed_packet"),
        "{error:?}"
    );
    // Nobody is there.
    let mut nobody = into(&to);
    nobody.server = backups
        .server_at("server", Some("/nowhere/s"), None, None)
        .unwrap();
    let error = failed(&nobody);
    assert_eq!(error.kind(), ErrorKind::Server);
    assert!(
        error
            .to_string()
            .contains("/nowhere/s as `root`: there is no such socket"),
        "{error}"
    );
    // A server of the other kind.
    if let Some(other) = mysql(&[]) {
        let error = failed(&into(&other));
        assert_eq!(error.kind(), ErrorKind::Server);
        assert!(
            error
                .to_string()
                .contains("neither takes the other's definitions"),
            "{error}"
        );
        assert!(error.help().unwrap().contains("--to DIR"), "{error:?}");
    }
    // Who may not.
    all(
        &mut root,
        &["CREATE USER weak", "GRANT SELECT ON *.* TO weak"],
    );
    let mut weak = into(&from);
    weak.server.as_mut().unwrap().user = "weak".to_owned();
    weak.pick = Pick::DatabaseAs {
        name: "shop".to_owned(),
        to: "shop2".to_owned(),
    };
    let error = failed(&weak);
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.help().unwrap().contains("GRANT ALL"), "{error:?}");
    // The repository has another password.
    let error = bench
        .backups_with(&text, "wrong")
        .plan_server(&into(&from), &quiet())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongPassword, "{error}");
}
