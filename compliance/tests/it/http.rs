//! What supervisord has, from a `mainstay.toml`: XML-RPC, web pages, listeners, input, sockets.

use std::os::unix::net::UnixStream;
use std::process::Command;

use compliance::{Sandbox, free_port, http, installed, wait_for};
use serde_json::Value;

/// A listener that writes down what it hears, and where it was told the daemon is.
const EARS: &str = r#"
echo "daemon at $SUPERVISOR_SERVER_URL" >> heard
while :; do
    printf 'READY\n'
    read -r header || exit 0
    echo "$header" >> heard
    dd bs=1 count="${header##*len:}" 2> /dev/null >> heard
    echo >> heard
    printf 'RESULT 2\nOK'
done
"#;

/// Calls a method with Python's own client and prints the answer as JSON.
const CALL: &str = r"
import json, sys, xmlrpc.client
url, method, params = sys.argv[1:]
server = xmlrpc.client.ServerProxy(url)
print(json.dumps(getattr(server, method)(*json.loads(params))))
";

struct Client {
    python: std::path::PathBuf,
    port: u16,
}

impl Client {
    fn try_call(&self, method: &str, params: &Value) -> Result<Value, String> {
        let output = Command::new(&self.python)
            .args(["-c", CALL])
            .arg(format!(
                "http://admin:open%20sesame@127.0.0.1:{}/RPC2",
                self.port
            ))
            .args([method, &params.to_string()])
            .output()
            .unwrap();
        if output.status.success() {
            return Ok(serde_json::from_slice(&output.stdout).unwrap());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn call(&self, method: &str, params: &Value) -> Value {
        self.try_call(method, params)
            .unwrap_or_else(|error| panic!("{method} {params}: {error}"))
    }

    /// Waits until the daemon answers there.
    fn answers(&self) -> Value {
        wait_for("the HTTP server to answer", || {
            self.try_call("supervisor.getPID", &Value::from(Vec::<Value>::new()))
                .ok()
        })
    }
}

fn config(port: u16, more: &str) -> String {
    format!(
        r#"schema = 1
[secret]
http = {{ file = "password" }}
[control.http]
listen = ["127.0.0.1:{port}", "unix:http.sock"]
user = "admin"
password = "${{secret.http}}"
[program.ears]
command = ["sh", "ears.sh"]
listen_to = ["PROCESS_STATE", "PROCESS_LOG", "PROCESS_COMMUNICATION"]
event_buffer = 100
[program.cat]
command = "cat"
stdin = "pipe"
start_secs = 0
log = {{ events = true, capture = "1KB" }}
[program.fcgi]
command = ["sh", "-c", "readlink /proc/$$/fd/0; exec sleep 100000"]
socket = {{ listen = "unix://@DIR@/fcgi.sock", mode = "0600" }}
{more}"#
    )
}

#[test]
fn what_supervisord_serves_is_served_from_a_toml() {
    let Some(python) = installed("python3") else {
        return;
    };
    let port = free_port();
    let client = Client { python, port };
    let sandbox = Sandbox::new("");
    sandbox.config(&config(port, ""));
    let at = |name: &str| sandbox.path().join(name);
    std::fs::write(at("ears.sh"), EARS).unwrap();
    std::fs::write(at("password"), "open sesame\n").unwrap();
    let status = Command::new("chmod")
        .arg("600")
        .arg(at("password"))
        .status();
    assert!(status.unwrap().success());
    let none = serde_json::json!([]);
    let read = |path: &str| std::fs::read_to_string(at(path)).unwrap_or_default();
    let heard = |words: &str| {
        wait_for(&format!("the listener to hear {words}"), || {
            read("heard").contains(words).then_some(())
        });
    };
    let mut daemon = sandbox.start();
    sandbox.in_state("ears", "RUNNING");
    sandbox.in_state("fcgi", "RUNNING");

    // Who may ask, and the page.
    let (code, _) = http(port, "GET /", "").unwrap();
    assert_eq!(code, 401);
    // admin:open sesame
    let authorized = "GET / HTTP/1.0\r\nAuthorization: Basic YWRtaW46b3BlbiBzZXNhbWU=\r\nX-Rest: ";
    let (code, page) = http(port, authorized, "").unwrap();
    assert_eq!(code, 200, "{page}");
    assert!(page.contains("fcgi"), "{page}");
    assert!(UnixStream::connect(at("http.sock")).is_ok());

    // What there is.
    let all = client.call("supervisor.getAllProcessInfo", &none);
    let names: Vec<&str> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["cat", "ears", "fcgi"]);
    let all = client.call("supervisor.getAllConfigInfo", &none);
    assert_eq!(all[0]["command"], "cat");
    assert_eq!(all[0]["stdout_events_enabled"], true);
    let state = client.call("supervisor.getState", &none);
    assert_eq!(state["statename"], "RUNNING");

    // Input, output as notifications, the socket.
    heard(&format!(
        "daemon at unix://{}/http.sock",
        sandbox.path().display()
    ));
    let say = |words: &str| {
        let params = serde_json::json!(["cat", format!("{words}\n")]);
        client.call("supervisor.sendProcessStdin", &params);
        let tail = serde_json::json!(["cat", 0, 100_000]);
        wait_for("cat to say it", || {
            let log = client.call("supervisor.readProcessStdoutLog", &tail);
            log.as_str().unwrap().contains(words).then_some(())
        });
        heard(words);
    };
    say("bread and butter");
    heard("eventname:PROCESS_LOG_STDOUT");
    client.call(
        "supervisor.sendProcessStdin",
        &serde_json::json!(["cat", "<!--XSUPERVISOR:BEGIN-->jam<!--XSUPERVISOR:END-->\n"]),
    );
    heard("eventname:PROCESS_COMMUNICATION_STDOUT");
    assert!(UnixStream::connect(at("fcgi.sock")).is_ok());
    let fcgi = client.call(
        "supervisor.readProcessStdoutLog",
        &serde_json::json!(["fcgi", 0, 100]),
    );
    assert!(fcgi.as_str().unwrap().starts_with("socket:"), "{fcgi}");

    // Stopped and started.
    let cat = serde_json::json!(["cat"]);
    client.call("supervisor.stopProcess", &cat);
    let info = client.call("supervisor.getProcessInfo", &cat);
    assert_eq!(info["statename"], "STOPPED");
    heard("eventname:PROCESS_STATE_STOPPED");
    client.call("supervisor.startProcess", &cat);

    // Another binary takes over: the same processes, the same sockets.
    let before = sandbox.process("cat")["pid"].clone();
    let ears = sandbox.process("ears")["pid"].clone();
    sandbox.done(&["upgrade"]);
    wait_for("the other binary", || {
        let log = read(".mainstay/log/mainstay.log");
        let at = log.find("another binary takes over")?;
        log[at..].contains(" is up: ").then_some(())
    });
    assert_eq!(client.answers(), daemon.pid());
    assert_eq!(sandbox.process("cat")["pid"], before);
    assert_eq!(sandbox.process("ears")["pid"], ears);
    say("honey");
    assert!(UnixStream::connect(at("fcgi.sock")).is_ok());
    assert!(UnixStream::connect(at("http.sock")).is_ok());

    // Programs that come, change and go.
    let new = "[program.new]\ncommand = \"sleep 100000\"\n";
    sandbox.config(&config(port, new));
    let found = client.call("supervisor.reloadConfig", &none);
    assert_eq!(found, serde_json::json!([[["new"], [], []]]));
    client.call("supervisor.addProcessGroup", &serde_json::json!(["new"]));
    sandbox.in_state("new", "RUNNING");
    sandbox.config(&config(port, "[program.new]\nkommand = 1\n"));
    let error = client
        .try_call("supervisor.reloadConfig", &none)
        .unwrap_err();
    assert!(error.contains("did you mean `command`?"), "{error}");
    let error = client.try_call("supervisor.restart", &none).unwrap_err();
    assert!(error.contains("did you mean `command`?"), "{error}");
    sandbox.config(&config(port, ""));
    let found = client.call("supervisor.reloadConfig", &none);
    assert_eq!(found, serde_json::json!([[[], [], ["new"]]]));
    client.call("supervisor.stopProcess", &serde_json::json!(["new"]));
    client.call("supervisor.removeProcessGroup", &serde_json::json!(["new"]));

    // The daemon's own log.
    let log = client.call("supervisor.readLog", &serde_json::json!([0, 0]));
    assert!(log.as_str().unwrap().contains(" is up: "), "{log}");
    client.call("supervisor.clearLog", &none);
    assert!(!read(".mainstay/log/mainstay.log").contains(" is up: "));

    // It begins anew under the same number, and ends.
    client.call("supervisor.restart", &none);
    wait_for("the daemon to begin anew", || {
        read(".mainstay/log/mainstay.log")
            .contains(" is up: ")
            .then_some(())
    });
    assert_eq!(client.answers(), daemon.pid());
    let cat = sandbox.in_state("cat", "RUNNING");
    assert_ne!(cat["pid"], before);
    client.call("supervisor.shutdown", &none);
    assert_eq!(daemon.wait(), Some(0), "{}", daemon.said());
    assert!(!at("http.sock").exists());
}

#[test]
fn an_address_that_is_taken_keeps_the_daemon_from_starting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let sandbox = Sandbox::new(&format!(
        "[control.http]\nlisten = \"127.0.0.1:{port}\"\n[program.web]\ncommand = \"sleep 100000\"\n"
    ));
    let outcome = sandbox.run(&["run"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let words = format!("cannot listen at 127.0.0.1:{port}");
    assert!(outcome.err.contains(&words), "{outcome:?}");
    let check = sandbox.done(&["check"]);
    assert!(check.err.contains("without a password"), "{check:?}");
}

/// A signal has the programs of the config, and a config that is wrong changes nothing.
#[test]
fn a_hangup_applies_the_config() {
    let sandbox = Sandbox::new("");
    let program = |name: &str, command: &str| {
        format!("[program.{name}]\ncommand = [\"sleep\", \"{command}\"]\nstart_secs = 0\n")
    };
    let config = |programs: &[(&str, &str)]| {
        let programs = programs
            .iter()
            .map(|(name, command)| program(name, command));
        let text = "schema = 1\n".to_owned() + &programs.collect::<String>();
        sandbox.config(&text);
    };
    config(&[("gone", "1001"), ("other", "1002"), ("same", "1003")]);
    let daemon = sandbox.start();
    let pid = |name: &str| sandbox.in_state(name, "RUNNING")["pid"].clone();
    let (same, other, gone) = (pid("same"), pid("other"), pid("gone"));
    config(&[("new", "1004"), ("other", "2002"), ("same", "1003")]);
    daemon.signal("HUP");
    wait_for("the config to be applied", || {
        daemon
            .said()
            .contains("added new; changed other; removed gone")
            .then_some(())
    });
    pid("new");
    assert_ne!(pid("other"), other);
    assert_eq!(pid("same"), same);
    let names: Vec<String> = sandbox.json(&["status"])["programs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["new", "other", "same"]);
    assert!(!compliance::alive(gone.as_u64().unwrap()));

    sandbox.config("schema = 1\n[program.same]\ncomand = [\"sleep\", \"1\"]\n");
    daemon.signal("HUP");
    wait_for("the config to be refused", || {
        let said = daemon.said();
        (said.contains("the config is not applied") && said.contains("did you mean `command`"))
            .then_some(())
    });
    assert_eq!(pid("same"), same);
    pid("new");
}
