"""1.6: what supervisorctl does at a terminal, and against servers that are not what it expects."""

import os
import pty
import select
import shutil
import threading
import time
import xmlrpc.client
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

from checks.ctl import gives
from harness.bench import DEADLINE, program, sh, until
from harness.register import Failed, Skip, contains, ctl_check, differs, expect, same


class Terminal:
    """A client with a terminal of its own."""

    def __init__(self, t, argv):
        if not shutil.which("setsid"):
            raise Skip("setsid is not installed")
        self.main, other = pty.openpty()
        # A new session with the terminal as its controlling one: passwords are asked for there.
        self.child = t.popen(
            ["setsid", "--ctty", *argv],
            stdin=other,
            stdout=other,
            stderr=other,
            env={"TERM": "vt100", "INPUTRC": "/dev/null"},
        )
        os.close(other)
        self.text = ""
        self.at = 0

    def wait(self, text):
        """Waits until the text comes, behind what was waited for before."""
        end = time.monotonic() + DEADLINE
        while text not in self.text[self.at :]:
            if time.monotonic() > end or "BrokenPipeError" in self.text:
                raise Failed(f"waited for {text!r} at the terminal, saw {self.text!r}")
            ready, _, _ = select.select([self.main], [], [], 0.1)
            if ready:
                try:
                    self.text += os.read(self.main, 65536).decode(errors="replace")
                except OSError:
                    raise Failed(f"the client ended; waited for {text!r}, saw {self.text!r}")
        self.at = self.text.index(text, self.at) + len(text)

    def breaks(self, text):
        """Waits until the text comes, or the client fails to send its request."""
        try:
            self.wait(text)
        except Failed:
            if "BrokenPipeError" not in self.text:
                raise
            return True
        return False

    def type(self, text):
        os.write(self.main, text.encode())

    def close(self):
        os.close(self.main)


@ctl_check("terminal.prompt", "at a terminal the shell prompts, and quit ends it with 0", weight=2, stock=True)
def prompt(t):
    d = t.start(program("x", "/bin/cat"))
    term = Terminal(t, [*t.ctl_argv(), "-c", d.conf])
    try:
        term.wait("Not started")
        term.wait("supervisor> ")
        term.type("pid\r")
        term.wait(f"{d.pid}\r\n")
        term.wait("supervisor> ")
        term.type("quit\r")
        same(term.child.wait(timeout=DEADLINE), 0, "exit code")
    finally:
        term.close()


@ctl_check("terminal.completion", "the tab key completes actions, programs and groups", weight=2, stock=True)
def completion(t):
    d = t.start(program("watermelon", "/bin/cat"), program("member", "/bin/cat"), "[group:crew]\nprograms=member\n")
    term = Terminal(t, [*t.ctl_argv(), "-c", d.conf])
    try:
        term.wait("supervisor> ")
        term.type("stat\t")
        term.wait("status ")
        term.type("waterm\t")
        term.wait("watermelon ")
        term.type("\r")
        term.wait("watermelon                       STOPPED   Not started")
        term.wait("supervisor> ")
        term.type("remove cr\t")
        term.wait("crew ")
        term.type("\r")
        term.wait("crew: removed process group")
        term.type("quit\r")
        term.child.wait(timeout=DEADLINE)
    finally:
        term.close()


@ctl_check(
    "terminal.password",
    "at a terminal it asks for name and password, and does not show the latter",
    weight=2,
    stock=True,
)
def password(t):
    d = t.start(unix="username=user\npassword=secretword")
    for _ in range(5):
        term = Terminal(t, [*t.ctl_argv(), "-c", d.conf])
        if not term.breaks("Server requires authentication"):
            break
        # The stock client loses now and then when the answer comes before it has sent all.
        term.close()
    try:
        term.wait("Username:")
        term.type("user\r")
        term.wait("Password:")
        term.type("secretword\r")
        term.wait("supervisor> ")
        term.type("pid\r")
        term.wait(f"{d.pid}\r\n")
        expect("secretword" not in term.text, "the password was shown")
        term.type("quit\r")
        term.child.wait(timeout=DEADLINE)
    finally:
        term.close()


# -- servers that are not what it expects --------------------------------------------------------


class Handler(SimpleXMLRPCRequestHandler):
    rpc_paths = ()

    def log_message(self, *_):
        pass


def fake(methods):
    """A server that knows these methods only; returns its URL and a function that ends it."""
    server = SimpleXMLRPCServer(("127.0.0.1", 0), requestHandler=Handler, logRequests=False)

    def dispatch(method, _params):
        if method in methods:
            return methods[method]
        raise xmlrpc.client.Fault(1, "UNKNOWN_METHOD")

    server._dispatch = dispatch
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def end():
        server.shutdown()
        server.server_close()

    return f"http://127.0.0.1:{server.server_address[1]}", end


@ctl_check("other_version", "a server of another API version: told, exit 5", stock=True)
def other_version(t):
    url, end = fake({"supervisor.getVersion": "2.0", "supervisor.getAPIVersion": "2.0"})
    try:
        result = t.run([*t.ctl_argv(), "-c", t.conf(), "-s", url, "version"])
        gives(
            result,
            5,
            "Sorry, this version of supervisorctl expects to talk to a server with API version 3.0, but the "
            "remote version is 2.0.",
        )
    finally:
        end()


@ctl_check("no_interface", "a server without the supervisor methods: told, exit 3", stock=True)
def no_interface(t):
    url, end = fake({})
    try:
        result = t.run([*t.ctl_argv(), "-c", t.conf(), "-s", url, "version"])
        gives(
            result,
            3,
            "Sorry, supervisord responded but did not recognize the supervisor namespace commands that "
            "supervisorctl uses to control it.  Please check that the [rpcinterface:supervisor] section is "
            "enabled in the configuration file (see sample.conf).",
        )
    finally:
        end()


@differs(
    "ctl.no_rpc_section",
    "a daemon without [rpcinterface:supervisor]",
    original=("knows no method, exit 3", lambda seen: seen[0] == 3 and "did not recognize" in seen[1]),
    ours=("serves the methods all the same", lambda seen: seen[0] == 0),
    weight=2,
)
def no_rpc_section(t):
    d = t.start(rpc=False, ready=False)
    d.wait_log("supervisord started with pid")
    result = d.ctl("version")
    return result.code, result.out


@ctl_check("shutting_down", "while the daemon shuts down: told, exit 1", weight=3, stock=True)
def shutting_down(t):
    loop = sh(f"trap '' TERM; touch {t.path('up')}; while :; do sleep 0.1; done")
    d = t.start(program("slow", loop, autostart="true", startsecs=0, stopwaitsecs=600))
    until(lambda: os.path.exists(t.path("up")), "slow to run")
    same(d.ctl("shutdown").lines, ["Shut down"])
    d.wait_log("waiting for slow to die")
    same(d.ctl("shutdown").lines, ["ERROR: already shutting down"])
    gives(d.ctl("reload"), 1, "ERROR: already shutting down")
    gives(d.ctl("avail"), 1, "ERROR: supervisor shutting down")
    gives(d.ctl("reread"), 1, "ERROR: supervisor shutting down")
    gives(d.ctl("update"), 1, "ERROR: already shutting down")
    gives(d.ctl("add", "x"), 1, "ERROR: shutting down")
