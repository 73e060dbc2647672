//! What programs print as records: levels, tracebacks, filters.

use std::fs;

use compliance::{Sandbox, installed, wait_for};

/// Prints one record of each kind, in two streams, and stays.
const PROGRAM: &str = r#"
import json, logging, sys, time
logging.basicConfig(stream=sys.stderr, level=logging.DEBUG,
                    format="%(asctime)s - %(name)s - %(levelname)s - %(message)s")
log = logging.getLogger("shop")
for n in range(3):
    print(json.dumps({"level": "info", "msg": "an error is spoken of", "n": n}), flush=True)
print(json.dumps({"level": "error", "msg": "json failed"}), flush=True)
log.info("going")
try:
    {}["pay"]
except KeyError:
    log.exception("lost the order")
try:
    1 / 0
except ZeroDivisionError:
    import traceback
    traceback.print_exc()
    sys.stderr.flush()
log.debug("the end")
time.sleep(1000)
"#;

fn sandbox(more: &str) -> Option<Sandbox> {
    let Some(python) = installed("python3") else {
        println!("SKIPPED: there is no python3");
        return None;
    };
    let sandbox = Sandbox::new(&format!(
        "[log.route.errors]\nwhen = {{ program = \"*\", level = \"error\" }}\nto = [\"rolling:errors.log\"]\n\
         format = \"json\"\n\
         [program.shop]\ncommand = ['{}', 'shop.py']\ndir = \"@DIR@\"\nstart_secs = 0\n{more}",
        python.display()
    ));
    fs::write(sandbox.path().join("shop.py"), PROGRAM).unwrap();
    Some(sandbox)
}

fn shown(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let mut all = vec!["logs", "shop"];
    all.extend(arguments);
    sandbox.done(&all).out
}

#[test]
fn routes_and_filters_know_levels_and_tracebacks() {
    let Some(sandbox) = sandbox("") else { return };
    let _daemon = sandbox.start();
    wait_for("all that it prints", || {
        shown(&sandbox, &["--level", "debug"])
            .contains("the end")
            .then_some(())
    });
    let errors = shown(&sandbox, &["--level", "error"]);
    let lines: Vec<&str> = errors.lines().collect();
    assert!(
        errors.contains("json failed") && errors.contains("lost the order"),
        "{errors}"
    );
    assert!(lines.contains(&"KeyError: 'pay'"), "{errors}");
    assert!(
        lines.contains(&"ZeroDivisionError: division by zero"),
        "{errors}"
    );
    for other in ["spoken of", "going", "the end"] {
        assert!(!errors.contains(other), "{errors}");
    }
    // A traceback counts as one, and is found as a whole by any of its lines.
    let one = shown(
        &sandbox,
        &["--level", "error", "--stream", "stderr", "-n", "1"],
    );
    assert!(
        one.starts_with("Traceback") && one.ends_with("division by zero\n"),
        "{one}"
    );
    let found = shown(&sandbox, &["--grep", "keyERROR", "-i"]);
    assert!(
        found.contains("lost the order") && found.ends_with("KeyError: 'pay'\n"),
        "{found}"
    );
    assert!(!found.contains("going"), "{found}");
    assert_eq!(shown(&sandbox, &["--regex", "^KeyError: .p"]), found);
    assert_eq!(shown(&sandbox, &["--grep", "K.*Error"]), "");
    // Times are those of the lines: all of this is of today, and nothing of before that.
    assert!(shown(&sandbox, &["--since", "1h"]).contains("going"));
    assert!(!shown(&sandbox, &["--until", "2h"]).contains("going"));
    let json = shown(&sandbox, &["--json", "--grep", "division"]);
    let document: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(document["level"], "error");
    assert_eq!(document["stream"], "stderr");
    assert_eq!(
        document["line"].as_str().unwrap().lines().next().unwrap(),
        "Traceback (most recent call last):"
    );
    // The route has the same three, each whole.
    let log = sandbox.process("shop")["logs"]["stderr"]
        .as_str()
        .unwrap()
        .to_owned();
    let route = std::path::Path::new(&log).with_file_name("errors.log");
    let records = wait_for("three records in the route", || {
        let text = fs::read_to_string(&route).ok()?;
        let records: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        (records.len() >= 3).then_some(records)
    });
    assert_eq!(records.len(), 3, "{records:?}");
    assert!(
        records.iter().all(|record| record["level"] == "error"),
        "{records:?}"
    );
    let whole = |record: &serde_json::Value| {
        let text = record["message"].as_str().unwrap();
        text.contains("Traceback") && text.trim_end().lines().last().unwrap().contains("Error: ")
    };
    assert_eq!(
        records.iter().filter(|record| whole(record)).count(),
        2,
        "{records:?}"
    );
}

#[test]
fn levels_can_be_those_of_the_streams() {
    let Some(sandbox) = sandbox(
        "log = { levels = \"stream\" }\n[program.done]\ncommand = ['sh', '-c', 'echo ERROR: no; sleep 1000']\n",
    ) else {
        return;
    };
    let _daemon = sandbox.start();
    let log = sandbox.process("done")["logs"]["stdout"]
        .as_str()
        .unwrap()
        .to_owned();
    let route = std::path::Path::new(&log).with_file_name("errors.log");
    wait_for("the error of the other program", || {
        fs::read_to_string(&route)
            .ok()?
            .contains("ERROR: no")
            .then_some(())
    });
    wait_for("all that it prints", || {
        shown(&sandbox, &[]).contains("the end").then_some(())
    });
    let text = fs::read_to_string(&route).unwrap();
    assert!(
        !text.contains("failed") && !text.contains("Traceback"),
        "{text}"
    );
}

#[test]
fn several_are_merged_and_followed_over_rolls() {
    let sandbox = Sandbox::new(
        "[program.one]\ncommand = ['sh', '-c', 'echo 2026-01-02 15:00:01 INFO first; echo 2026-01-02 15:00:03 ERROR third; sleep 1000']\n\
         [program.two]\ncommand = ['sh', '-c', 'echo 2026-01-02 15:00:02 INFO second; sleep 1000']\n\
         [program.ticks]\ncommand = ['sh', '-c', 'n=0; while :; do n=$((n+1)); echo ERROR: tick $n; echo quiet; sleep 0.01; done']\n\
         log = { retain = { size = \"1kB\", files = 9 } }\n",
    );
    let _daemon = sandbox.start();
    let merged = wait_for("three lines", || {
        let out = sandbox.done(&["logs", "one", "two"]).out;
        (out.lines().count() == 3).then_some(out)
    });
    assert_eq!(
        merged,
        "one | 2026-01-02 15:00:01 INFO first\n\
         two | 2026-01-02 15:00:02 INFO second\n\
         one | 2026-01-02 15:00:03 ERROR third\n"
    );
    let last = sandbox.done(&["logs", "one", "two", "-n", "2"]).out;
    assert!(
        last.starts_with("two |") && last.lines().count() == 2,
        "{last}"
    );
    let errors = sandbox
        .done(&["logs", "one", "two", "--level", "error"])
        .out;
    assert_eq!(errors, "one | 2026-01-02 15:00:03 ERROR third\n");
    let none = sandbox
        .done(&[
            "logs",
            "--all",
            "--since",
            "2026-01-02T15:00",
            "--until",
            "2026-01-02T14:59",
        ])
        .out;
    assert_eq!(none, "");
    let file = sandbox.path().join("followed");
    let mut follower = sandbox
        .command(&["logs", "ticks", "-f", "-n", "0", "--level", "error"])
        .stdout(fs::File::create(&file).unwrap())
        .spawn()
        .unwrap();
    let text = wait_for("two hundred ticks, over rolls", || {
        let text = fs::read_to_string(&file).unwrap();
        (text.lines().count() >= 200).then_some(text)
    });
    follower.kill().unwrap();
    follower.wait().unwrap();
    let whole = &text[..=text.rfind('\n').unwrap()];
    let numbers: Vec<u64> = whole
        .lines()
        .map(|line| line.strip_prefix("ERROR: tick ").unwrap().parse().unwrap())
        .collect();
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{numbers:?}"
    );
}

#[test]
fn what_cannot_be_asked_is_told_with_the_way_out() {
    let sandbox = Sandbox::new("[program.one]\ncommand = \"sleep 1000\"\n");
    let _daemon = sandbox.start();
    for (arguments, code, words) in [
        (&["one", "--since", "soon"][..], 2, "yesterday"),
        (&["one", "--regex", "("], 2, "--grep"),
        (&["one", "--level", "loud"], 2, "critical"),
        (&["one", "--grep", "a", "--regex", "b"], 2, "--regex"),
        (&["one", "-f", "--until", "now"], 2, "--until"),
        (&["one", "--all"], 2, "--all"),
        (&[], 2, "PROGRAM"),
        (&["on"], 4, "one"),
    ] {
        let mut all = vec!["logs"];
        all.extend(arguments);
        let outcome = sandbox.run(&all);
        assert_eq!(outcome.code, code, "{arguments:?}: {outcome:?}");
        assert!(outcome.err.contains(words), "{arguments:?}: {outcome:?}");
    }
}
