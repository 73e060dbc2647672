//! The shop under mainstay: the tour of the README, as a check. Both the Rust shop and its Python twin.

use std::process::Command;

use compliance::{MailServer, Sandbox, binary, free_port, http, installed, signal_pid, wait_for};
use mail_parser::MessageParser;
use serde_json::Value;

const BACKUPS: &str = "[secret]\nrepository = { file = \"repository.password\" }\n\
    [repository.local]\npath = \"@DIR@/backups\"\npassword = \"${secret.repository}\"\n\
    [backup.shop-db]\nsqlite = { path = \"@DIR@/data/shop.db\" }\nto = [\"local\"]\nrestore = { stop = [\"shop\"] }\n\
    [backup.uploads]\nfiles = { path = \"@DIR@/data/uploads\" }\nto = [\"local\"]\n";

/// A sandbox with a password file and the shop on a port of its own.
pub(crate) fn shop(command: &str, port: u16) -> Sandbox {
    let sandbox = Sandbox::new(&format!(
        "[program.shop]\ncommand = {command}\nstart_secs = 0\nrestart = {{ backoff = \"50ms..1s\" }}\n\
         env = {{ SHOP_LISTEN = \"127.0.0.1:{port}\", SHOP_DATA = \"@DIR@/data\" }}\n{BACKUPS}"
    ));
    let password = sandbox.path().join("repository.password");
    std::fs::write(&password, "correct horse battery staple\n").unwrap();
    Command::new("chmod")
        .arg("600")
        .arg(&password)
        .status()
        .unwrap();
    sandbox
}

fn feedback(port: u16, words: &str) {
    let body = format!("product=1&name=Ada&rating=5&message={words}");
    let (status, page) = http(port, "POST /feedback", &body).unwrap();
    assert!((200..400).contains(&status), "{status} {page}");
}

fn up(port: u16) {
    wait_for("the shop to answer", || {
        http(port, "GET /up", "").filter(|(status, _)| *status == 200)
    });
}

fn tour(command: &str) {
    let port = free_port();
    let sandbox = shop(command, port);
    let _daemon = sandbox.start();
    up(port);
    feedback(port, "first-words");
    let upload = sandbox.path().join("data/uploads/picture.txt");
    std::fs::create_dir_all(upload.parent().unwrap()).unwrap();
    std::fs::write(&upload, "a picture worth keeping").unwrap();

    // Crash it: it is back, and says so.
    let pid = sandbox.process("shop")["pid"].as_u64().unwrap();
    signal_pid(pid, "KILL");
    wait_for("the shop to be back", || {
        let process = sandbox.process("shop");
        (process["state"] == "RUNNING" && process["pid"] != pid && process["restarts"] == 1)
            .then_some(())
    });
    up(port);

    // Back it up, then lose everything that matters.
    sandbox.done(&["backup", "init", "local"]);
    sandbox.done(&["backup", "run"]);
    feedback(port, "after-the-backup");
    for name in ["shop.db", "shop.db-wal", "shop.db-shm"] {
        let _ = std::fs::remove_file(sandbox.path().join("data").join(name));
    }
    std::fs::remove_dir_all(sandbox.path().join("data/uploads")).unwrap();

    sandbox.done(&["backup", "restore", "shop-db", "--yes"]);
    sandbox.done(&["backup", "restore", "uploads", "--yes"]);
    sandbox.in_state("shop", "RUNNING");
    up(port);
    let (_, page) = http(port, "GET /feedback", "").unwrap();
    assert!(page.contains("first-words"), "the old content is back");
    assert!(
        !page.contains("after-the-backup"),
        "what came after the backup is not"
    );
    assert_eq!(
        std::fs::read_to_string(&upload).unwrap(),
        "a picture worth keeping"
    );
    let (status, text) = http(port, "GET /uploads/picture.txt", "").unwrap();
    assert_eq!((status, text.as_str()), (200, "a picture worth keeping"));
    let screen = sandbox.done(&["status"]).out;
    assert!(
        screen.contains("shop-db") && screen.contains("RUNNING"),
        "{screen}"
    );
}

#[test]
fn the_tour_with_the_rust_shop() {
    tour(&format!("['{}']", binary("shop").display()));
}

#[test]
fn the_tour_with_the_python_twin() {
    let Some(python) = installed("python3") else {
        return;
    };
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../examples/shop/python/shop.py"
    );
    tour(&format!("['{}', '{script}']", python.display()));
}

#[test]
fn a_shop_that_aborts_is_brought_back_and_the_reason_is_shown() {
    let port = free_port();
    let sandbox = shop(&format!("['{}']", binary("shop").display()), port);
    let _daemon = sandbox.start();
    up(port);
    let pid = sandbox.process("shop")["pid"].as_u64().unwrap();
    let _ = http(port, "POST /admin/fault?do=crash", "");
    let process = wait_for("the shop to be back", || {
        let process = sandbox.process("shop");
        (process["state"] == "RUNNING" && process["pid"] != pid).then_some(process)
    });
    assert!(process["exit"].to_string().contains("SIGABRT"), "{process}");
}

/// The shop and a partner that misbehaves, with somebody who gets mail.
struct Misbehaving {
    sandbox: Sandbox,
    server: MailServer,
    shop: u16,
    partner: u16,
}

impl Misbehaving {
    fn new(how: &str) -> Self {
        let (mail, shop, partner) = (free_port(), free_port(), free_port());
        let command = binary("shop");
        let command = command.display();
        let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/shop/tmpl");
        let sandbox = Sandbox::new(&format!(
            "[alert]\nwait = \"200ms\"\ninterval = \"1h\"\nlimit = \"none\"\n\
             [alert.to.admin]\nwhen = {{ severity = \"info\" }}\n\
             mail = {{ to = [\"ops@example.com\"], from = \"mainstay@example.com\", server = \"127.0.0.1:{mail}\", tls = \"none\" }}\n\
             [program.partner]\ncommand = ['{command}', 'partner', '--listen', '127.0.0.1:{partner}']\n\
             env = {{ SHOP_FAULT = \"partner-fail:{how}\" }}\nstart_secs = 0\n\
             [program.shop]\ncommand = ['{command}']\nstart_secs = 0\n[program.shop.env]\n\
             SHOP_LISTEN = \"127.0.0.1:{shop}\"\nSHOP_DATA = \"@DIR@/data\"\nSHOP_PAGES = \"{pages}\"\n\
             SHOP_PARTNER_URL = \"http://127.0.0.1:{partner}/partner/feedback\"\nSHOP_PARTNER_TIMEOUT_MS = \"1000\"\n"
        ));
        Self {
            server: MailServer::at(mail),
            sandbox,
            shop,
            partner,
        }
    }

    /// Sends a form that fails; the code that the visitor is shown.
    fn fails(&self) -> String {
        up(self.shop);
        up(self.partner);
        let body = "name=Ada&rating=5&message=lost-words";
        let (status, page) = http(self.shop, "POST /feedback", body).unwrap();
        assert_eq!(status, 504, "{page}");
        assert!(page.contains("kept nothing of it"), "{page}");
        let (_, all) = http(self.shop, "GET /feedback", "").unwrap();
        assert!(!all.contains("lost-words"), "the row is gone");
        let is_code = |word: &&str| {
            let word = word.as_bytes();
            word.len() == 11 && word[5] == b'-' && word.iter().all(|c| !c.is_ascii_lowercase())
        };
        let mut words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let code = words.find(is_code);
        code.unwrap_or_else(|| panic!("no code in {page}"))
            .to_owned()
    }

    /// What `mainstay faults` knows of it, once its work is in that state.
    fn fault(&self, code: &str, state: &str) -> Value {
        wait_for(&format!("the work of {code} to be {state}"), || {
            let fault = self.sandbox.json(&["faults", code]);
            (fault["occurrence"]["work"]["state"] == state).then_some(fault)
        })
    }

    /// The mails in which this is.
    fn mails_with(&self, text: &str) -> usize {
        let mails = self.server.taken();
        let found = mails.iter().filter(|mail| {
            let parsed = MessageParser::default().parse(mail.as_slice()).unwrap();
            parsed.body_text(0).unwrap().contains(text)
        });
        found.count()
    }

    fn taken(&self) -> String {
        http(self.partner, "GET /partner/feedback", "").unwrap().1
    }
}

#[test]
fn a_form_that_fails_is_one_fault_and_one_mail_with_the_visitors_code() {
    let world = Misbehaving::new("silent");
    let _daemon = world.sandbox.start();
    let code = world.fails();
    let fault = world.fault(&code, "undone");
    let occurrence = &fault["occurrence"];
    assert_eq!(occurrence["code"], *code, "{fault}");
    assert_eq!(occurrence["request"]["method"], "POST");
    assert_eq!(occurrence["request"]["path"], "/feedback");
    assert_eq!(occurrence["work"]["steps"][0]["name"], "partner.create");
    assert_eq!(occurrence["work"]["steps"][0]["state"], "undone");
    assert_eq!(fault["fault"]["class"], "upstream.timeout", "{fault}");
    assert_eq!(fault["fault"]["app"], "shop");
    wait_for("what it printed then", || {
        let fault = world.sandbox.json(&["faults", &code]);
        let records = fault["occurrence"]["records"].to_string();
        records.contains(&code).then_some(())
    });
    assert_eq!(world.taken(), "[]", "the partner has given it back");
    wait_for("the mail", || (world.mails_with(&code) > 0).then_some(()));
    let log = world.sandbox.done(&["logs", "shop"]).out;
    assert!(log.contains(&code), "{log}");
    assert_eq!(world.mails_with(&code), 1);
    assert_eq!(world.server.taken().len(), 1);
}

#[test]
fn an_undo_that_is_stuck_is_retried_by_a_person() {
    let world = Misbehaving::new("keep");
    let _daemon = world.sandbox.start();
    let code = world.fails();
    let fault = world.fault(&code, "stuck");
    assert_eq!(fault["occurrence"]["work"]["steps"][0]["state"], "stuck");
    assert!(world.taken().contains("P-1"));
    let (status, _) = http(
        world.partner,
        "POST /admin/fault?do=partner-fail&how=off",
        "",
    )
    .unwrap();
    assert_eq!(status, 200);
    let retried = world.sandbox.run(&["faults", "retry", &code, "--wait=1m"]);
    assert_eq!(retried.code, 0, "{retried:?}");
    world.fault(&code, "undone");
    assert_eq!(world.taken(), "[]");
}
