"""superlance: event listeners that people really run, unchanged, from pip. Skipped without it."""

import shlex
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from harness import cache
from harness.bench import program, sh, until
from harness.register import check, contains, lacks, same


def command(name, *args):
    path = cache.venv("superlance", "superlance==2.0.0") / name
    return " ".join(shlex.quote(str(word)) for word in [path, *args]).replace("%", "%%")


def lance(name, words, events, t):
    return program(
        name,
        words,
        section="eventlistener",
        events=events,
        autostart="true",
        startsecs=0,
        stderr_logfile=t.path(f"{name}.err"),
    )


def mailer(t):
    """A sendmail that keeps the mail."""
    return t.write(
        "mailer", f"#!/bin/sh\ncat >> {t.path('mail.part')}\nmv {t.path('mail.part')} {t.path('mail')}\n", 0o755
    )


@check("superlance.crashmail", "crashmail mails when a program exits unexpectedly, and only then", 6)
def crashmail(t):
    words = command("crashmail", "-a", "-m", "ops@example.com", "-s", mailer(t))
    d = t.start(
        lance("crashmail", words, "PROCESS_STATE_EXITED", t),
        program("fine", sh("sleep 1.3; exit 0")),
        program("crash", sh("sleep 1.3; exit 9"), autorestart="false"),
    )
    d.rpc.supervisor.startProcess("fine", False)
    d.wait_state("fine", "EXITED")
    d.rpc.supervisor.startProcess("crash", False)
    mail = until(lambda: t.read("mail"), "the mail")
    contains(mail, "To: ops@example.com")
    contains(mail, "Process crash in group crash exited unexpectedly")
    lacks(mail, "Process fine", "mail")


@check("superlance.memmon", "memmon restarts a program that uses too much memory", 9)
def memmon(t):
    words = command("memmon", "-p", "big=1KB", "-p", "small=10GB", "-m", "ops@example.com", "-s", mailer(t))
    d = t.start(
        lance("memmon", words, "TICK_5", t),
        program("big", "/bin/cat", autostart="true", startsecs=0),
        program("small", "/bin/cat", autostart="true", startsecs=0),
    )
    pids = {name: d.wait_up(name)["pid"] for name in ["big", "small"]}
    until(lambda: d.info("big")["pid"] not in (0, pids["big"]), "big to be restarted")
    same(d.info("small")["pid"], pids["small"], "pid of small")
    contains(until(lambda: t.read("mail"), "the mail"), "process big:big restarted")


@check("superlance.httpok", "httpok restarts a program whose URL does not answer as it should", 9)
def httpok(t):
    status = [500]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status[0])
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        words = command(
            "httpok", "-p", "site", "-m", "ops@example.com", "-s", mailer(t), f"http://127.0.0.1:{server.server_port}/"
        )
        d = t.start(lance("httpok", words, "TICK_5", t), program("site", "/bin/cat", autostart="true", startsecs=0))
        pid = d.wait_up("site")["pid"]
        until(lambda: d.info("site")["pid"] not in (0, pid), "site to be restarted")
        contains(until(lambda: t.read("mail"), "the mail"), "500")
    finally:
        server.shutdown()
        server.server_close()
