//! Programs nobody here wrote: started, logged, restarted, stopped.

use std::io::{Read, Write};
use std::net::TcpStream;

use compliance::{Sandbox, alive, free_port, http, installed, wait_for};

#[test]
fn redis_server() {
    let Some(redis) = installed("redis-server") else {
        return;
    };
    let port = free_port();
    let sandbox = Sandbox::new(&format!(
        "[program.redis]\ncommand = [\"{}\", \"--port\", \"{port}\", \"--bind\", \"127.0.0.1\", \"--dir\", \"@DIR@\"]\n",
        redis.display()
    ));
    let ask = |question: &str| -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream
            .set_read_timeout(Some(std::time::Duration::from_secs(5)))
            .ok()?;
        stream.write_all(question.as_bytes()).ok()?;
        let mut answer = [0; 512];
        let length = stream.read(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    };
    let mut daemon = sandbox.start();
    let first = sandbox.in_state("redis", "RUNNING")["pid"]
        .as_u64()
        .unwrap();
    wait_for("redis to answer", || {
        ask("SET shop open\r\n").filter(|answer| answer.starts_with("+OK"))
    });
    assert!(
        sandbox
            .done(&["logs", "redis"])
            .out
            .contains("Ready to accept connections")
    );
    sandbox.done(&["restart", "redis"]);
    assert_ne!(sandbox.process("redis")["pid"], first);
    // It was asked to stop, not killed: redis saved its data and found it again.
    wait_for("the value to be there", || {
        ask("GET shop\r\n").filter(|answer| answer.contains("open"))
    });
    sandbox.done(&["stop", "redis"]);
    assert_eq!(ask("PING\r\n"), None);
    sandbox.done(&["start", "redis"]);
    let last = sandbox.process("redis")["pid"].as_u64().unwrap();
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), Some(0));
    assert!(!alive(last));
}

#[test]
fn gunicorn_with_a_wsgi_site() {
    let Some(gunicorn) = installed("gunicorn") else {
        return;
    };
    let port = free_port();
    let sandbox = Sandbox::new(&format!(
        "[program.site]\ncommand = \"{} --workers 2 --bind 127.0.0.1:{port} site_app:app\"\n\
         dir = \"@DIR@\"\nstop = {{ signal = \"TERM\", wait = \"30s\" }}\nenv = {{ PYTHONUNBUFFERED = \"1\" }}\n",
        gunicorn.display()
    ));
    std::fs::write(
        sandbox.path().join("site_app.py"),
        "def app(environ, start_response):\n    print('asked for', environ['PATH_INFO'])\n    start_response('200 OK', [])\n    return [b'hello from gunicorn']\n",
    )
    .unwrap();
    let _daemon = sandbox.start();
    let master = sandbox.in_state("site", "RUNNING")["pid"].as_u64().unwrap();
    let page = || http(port, "GET /page", "").filter(|(status, _)| *status == 200);
    assert!(
        wait_for("the site to answer", page)
            .1
            .contains("hello from gunicorn")
    );
    wait_for("what the application printed", || {
        sandbox
            .done(&["logs", "site"])
            .out
            .contains("asked for /page")
            .then_some(())
    });
    assert!(
        sandbox
            .done(&["logs", "site", "--stream", "stderr"])
            .out
            .contains("Listening at")
    );
    // HUP makes gunicorn replace its workers; the master stays.
    sandbox.done(&["signal", "HUP", "site"]);
    wait_for("gunicorn to have reloaded", || {
        sandbox
            .done(&["logs", "site", "--stream", "stderr"])
            .out
            .contains("Hang up: Master")
            .then_some(())
    });
    assert_eq!(sandbox.process("site")["pid"], master);
    let children =
        std::fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap();
    sandbox.done(&["restart", "site"]);
    for child in children.split_whitespace() {
        assert!(
            !alive(child.parse().unwrap()),
            "a worker of the old master is left"
        );
    }
    wait_for("the site to answer again", page);
    sandbox.done(&["stop", "site"]);
    assert!(page().is_none());
}

#[test]
fn nginx() {
    let Some(nginx) = installed("nginx") else {
        return;
    };
    let port = free_port();
    let sandbox = Sandbox::new(&format!(
        "[program.nginx]\ncommand = [\"{}\", \"-p\", \"@DIR@\", \"-c\", \"@DIR@/nginx.conf\", \"-e\", \"stderr\", \"-g\", \"daemon off;\"]\n\
         stop = {{ signal = \"QUIT\" }}\n",
        nginx.display()
    ));
    let directory = sandbox.path().display();
    std::fs::write(
        sandbox.path().join("nginx.conf"),
        format!(
            "pid {directory}/nginx.pid;\nerror_log stderr;\nworker_processes 1;\nevents {{}}\nhttp {{\n access_log /dev/stdout;\n\
             client_body_temp_path {directory}/t1; proxy_temp_path {directory}/t2; fastcgi_temp_path {directory}/t3; uwsgi_temp_path {directory}/t4; scgi_temp_path {directory}/t5;\n\
             server {{ listen 127.0.0.1:{port}; location / {{ return 200 'hello from nginx'; }} }}\n}}\n"
        ),
    )
    .unwrap();
    let _daemon = sandbox.start();
    let first = sandbox.in_state("nginx", "RUNNING")["pid"]
        .as_u64()
        .unwrap();
    let page = || http(port, "GET /from-a-check", "").filter(|(status, _)| *status == 200);
    assert!(
        wait_for("nginx to answer", page)
            .1
            .contains("hello from nginx")
    );
    // /dev/stdout is a pipe here, opened anew by nginx: that must work as with any pipe.
    wait_for("the access log", || {
        sandbox
            .done(&["logs", "nginx"])
            .out
            .contains("/from-a-check")
            .then_some(())
    });
    sandbox.done(&["restart", "nginx"]);
    assert_ne!(sandbox.process("nginx")["pid"], first);
    wait_for("nginx to answer again", page);
    sandbox.done(&["stop", "nginx"]);
    assert!(page().is_none());
}
