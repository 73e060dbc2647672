//! `mainstay log`, and the log of a daemon that is told other things while it runs.

use compliance::{Sandbox, wait_for};

const XML: &str = r#"<seelog minlevel="info">
  <exceptions><exception funcpattern="app.db.*" minlevel="error"/></exceptions>
  <outputs formatid="m">
    <file path="all.log"/>
    <filter levels="critical"><rollingfile type="size" filename="grave.log" maxsize="10MB"/></filter>
  </outputs>
  <formats><format id="m" format="%Date %Time [%LEV] %Msg%n"/></formats>
</seelog>
"#;

#[test]
fn configs_are_checked_explained_and_converted() {
    let sandbox = Sandbox::new("");
    let file = |name: &str, text: &str| {
        let path = sandbox.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let xml = file("seelog.xml", XML);
    let good = sandbox.run(&["log", "check", &xml]);
    assert_eq!(good.code, 0, "{good:?}");
    let strict = sandbox.run(&["log", "check", "--strict", &xml]);
    assert_eq!(strict.code, 2, "{strict:?}");
    assert!(
        strict.err.contains("seelog.xml:5:86: error: `10MB`"),
        "{strict:?}"
    );

    let bad = file(
        "bad.xml",
        &XML.replace("minlevel=\"info\"", "minlevel=\"inf\""),
    );
    let bad = sandbox.run(&["log", "check", &bad]);
    assert_eq!(bad.code, 2, "{bad:?}");
    assert!(bad.err.contains("bad.xml:1:19: error"), "{bad:?}");
    assert!(bad.err.contains("did you mean `info`?"), "{bad:?}");
    let none = sandbox.run(&["log", "check", "nowhere.xml"]);
    assert_eq!(none.code, 2, "{none:?}");

    let explain = |arguments: &[&str]| {
        let seen = sandbox.run(&[&["log", "explain", &xml], arguments].concat());
        assert_eq!(seen.code, 0, "{seen:?}");
        seen.out
    };
    let said = explain(&["--level", "warn", "--func", "app.db.get", "--file", "x.rs"]);
    assert!(
        said.contains("stopped: exception funcpattern=\"app.db.*\""),
        "{said}"
    );
    let said = explain(&["--level", "critical"]);
    assert!(
        said.contains("reaches file all.log") && said.contains("reaches rolling file grave.log"),
        "{said}"
    );

    let toml = sandbox.run(&["log", "convert", &xml]);
    assert_eq!(toml.code, 0, "{toml:?}");
    let toml = file("converted.toml", &toml.out);
    let checked = sandbox.run(&["log", "check", &toml]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let seen = sandbox.run(&["log", "explain", &toml, "--level", "warn"]);
    assert!(seen.out.contains("all.log by route default"), "{seen:?}");
    assert!(
        seen.out
            .contains("grave.log by route route2: it takes critical"),
        "{seen:?}"
    );
}

const PROGRAM: &str = "[program.talker]\ncommand = [\"sh\", \"-c\", \"while true; do echo 'DEBUG x'; echo 'INFO y'; sleep 0.05; done\"]\n";

fn with_log(log: &str) -> String {
    format!("schema = 1\n{log}\n{PROGRAM}")
}

#[test]
fn a_hangup_applies_the_log_and_levels_change_for_a_time() {
    let sandbox = Sandbox::new("");
    let route = |sink: &str| {
        with_log(&format!(
            "[log.route.talk]\nwhen = {{ program = \"talker\" }}\nto = [\"file:{sink}\"]\nformat = \"short\"\n"
        ))
    };
    let (first, second) = (
        sandbox.path().join("first.log"),
        sandbox.path().join("second.log"),
    );
    sandbox.config(&route(first.to_str().unwrap()));
    let daemon = sandbox.start();
    let pid = sandbox.in_state("talker", "RUNNING")["pid"].clone();
    let holds = |path: &std::path::Path, text: &str| {
        std::fs::read_to_string(path).is_ok_and(|all| all.contains(text))
    };
    wait_for("a line in the first file", || {
        holds(&first, " INFO ").then_some(())
    });

    // Other sinks: the programs go on.
    sandbox.config(&route(second.to_str().unwrap()));
    daemon.signal("HUP");
    wait_for("a line in the second file", || {
        holds(&second, " INFO ").then_some(())
    });
    assert!(
        daemon.said().contains("the log has changed: opened file:"),
        "{}",
        daemon.said()
    );
    assert_eq!(sandbox.in_state("talker", "RUNNING")["pid"], pid);

    // One that cannot be opened leaves all as it was.
    sandbox.config(&route("/proc/nowhere/x.log"));
    daemon.signal("HUP");
    wait_for("the refusal", || {
        daemon
            .said()
            .contains("the log stays as it was")
            .then_some(())
    });
    let size = || std::fs::metadata(&second).unwrap().len();
    let before = size();
    wait_for("the second file to go on", || {
        (size() > before).then_some(())
    });

    // Levels of a program, for a time.
    assert!(!holds(&second, " DEBUG "));
    let set = sandbox.run(&["log", "level", "talker=debug", "for", "1h"]);
    assert_eq!(set.code, 0, "{set:?}");
    wait_for("a debug line", || holds(&second, " DEBUG ").then_some(()));
    let back = sandbox.run(&["log", "level", "talker=default"]);
    assert_eq!(back.code, 0, "{back:?}");
    let wrong = sandbox.run(&["log", "level", "talker=loud"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.err.contains("trace, debug, info"), "{wrong:?}");
    assert!(
        daemon.said().contains("log_level talker=debug: done"),
        "{}",
        daemon.said()
    );
}

/// A config of seelog as it is: the daemon logs as it says, a hangup reads it again, and what is wrong
/// with it is told at its place.
#[test]
fn a_config_of_seelog_is_imported() {
    let sandbox = Sandbox::new("");
    let at = |name: &str| sandbox.path().join(name);
    let xml = |outputs: &str| {
        let text = format!(
            "<seelog minlevel=\"info\">\n  <outputs formatid=\"m\">{outputs}</outputs>\n  <formats><format id=\"m\" format=\"%Level|%Msg%n\"/></formats>\n</seelog>\n"
        );
        std::fs::write(at("seelog.xml"), text).unwrap();
    };
    let holds = |name: &str, text: &str| {
        std::fs::read_to_string(at(name)).is_ok_and(|all| all.contains(text))
    };
    xml("<file path=\"first.log\"/>");
    let dir = sandbox.path().display().to_string();
    sandbox.config(&with_log(&format!(
        "[log]\nimport = \"seelog.xml\"\ndir = \"{dir}\"\n[log.route.talk]\nwhen = {{ program = \"talker\" }}\nto = [\"file:talk.log\"]\n"
    )));
    sandbox.done(&["check"]);
    let daemon = sandbox.start();
    wait_for("a record", || {
        holds("first.log", "Info|mainstay ").then_some(())
    });
    wait_for("a line of the program", || {
        holds("talk.log", " INFO ").then_some(())
    });
    assert!(!holds("talk.log", " DEBUG "), "minlevel holds for it too");
    assert!(!at("mainstay.log").exists(), "the file says where all goes");
    let shown = sandbox.done(&["logs", "mainstay", "-n", "100"]).out;
    assert!(shown.contains("is up: pid"), "{shown}");

    xml(
        "<file path=\"first.log\"/>\n<rollingfile type=\"size\" filename=\"second.log\" maxsize=\"100000\"/>",
    );
    daemon.signal("HUP");
    wait_for("a record in the second file", || {
        holds("second.log", "the log has changed: opened rolling:").then_some(())
    });

    xml("<fil path=\"first.log\"/>");
    let checked = sandbox.run(&["check"]);
    assert_eq!(checked.code, 2, "{checked:?}");
    assert!(
        checked.err.contains("seelog.xml:2:25: error") && checked.err.contains("did you mean"),
        "{checked:?}"
    );
    let main = at("mainstay.toml").display().to_string();
    for command in [
        &["log", "check", &main][..],
        &["log", "explain", &main, "--level", "warn"],
    ] {
        let outcome = sandbox.run(command);
        assert_eq!(outcome.code, 2, "{outcome:?}");
        assert!(outcome.err.contains("seelog.xml:2:"), "{outcome:?}");
    }
    daemon.signal("HUP");
    wait_for("the refusal", || {
        holds("second.log", "the config is not applied").then_some(())
    });

    // Losses are told.
    let status = sandbox.json(&["status"]);
    let sinks = status["log"].as_array().unwrap();
    assert!(
        sinks.iter().any(|sink| {
            sink["name"].as_str().unwrap().ends_with("second.log")
                && sink["delivered"].as_u64().unwrap() > 0
                && sink["lost"].as_object().unwrap().is_empty()
        }),
        "{status}"
    );
}
