//! The shop under mainstay: the tour of the README, as a check. Both the Rust shop and its Python twin.

use std::process::Command;

use compliance::{Sandbox, binary, free_port, http, installed, signal_pid, wait_for};

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
