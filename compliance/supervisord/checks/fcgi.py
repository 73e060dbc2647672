"""1.2: [fcgi-program:x]: a socket that the daemon opens and its processes share as fd 0."""

import grp
import os
import pwd
import re
import socket
import stat

from harness.bench import free_port, program, python, require_root, sh, until
from harness.register import check, contains, expect, same
from checks.rpc import fault


def fcgi(name, where, **options):
    values = dict(section="fcgi-program", socket=where, autostart="true", startsecs=0)
    values.update(options)
    return program(name, python("fcgi_app.py"), **values)


def ask(family, address):
    with socket.socket(family) as sock:
        sock.settimeout(60)
        sock.connect(address)
        data = b""
        while not data.endswith(b"\n"):
            piece = sock.recv(1000)
            if not piece:
                break
            data += piece
        return data.decode()


def ask_unix(path):
    return ask(socket.AF_UNIX, path)


@check("fcgi.tcp", "a program accepts on a TCP socket that is its fd 0", 2)
def tcp(t):
    port = free_port()
    d = t.start(fcgi("f", f"tcp://localhost:{port}"))
    pid = d.wait_state("f", "RUNNING")["pid"]
    same(until(lambda: ask(socket.AF_INET, ("127.0.0.1", port)), "an answer"), f"pid {pid} name f\n")
    contains(d.log, f"INFO Creating socket tcp://localhost:{port}\n")


@check("fcgi.unix", "a program accepts on a unix socket; it is 0700", 2)
def unix(t):
    d = t.start(fcgi("f", f"unix://{t.path('f.sock')}"))
    pid = d.wait_state("f", "RUNNING")["pid"]
    same(until(lambda: ask_unix(t.path("f.sock")), "an answer"), f"pid {pid} name f\n")
    same(oct(stat.S_IMODE(os.stat(t.path("f.sock")).st_mode)), "0o700")
    contains(d.log, f"INFO Creating socket unix://{t.path('f.sock')}\n")


@check("fcgi.names", "socket= may contain %(program_name)s and %(here)s", 2)
def names(t):
    d = t.start(fcgi("f", "unix://%(here)s/%(program_name)s.sock"))
    d.wait_state("f", "RUNNING")
    contains(until(lambda: ask_unix(t.path("f.sock")), "an answer"), "name f")


@check("fcgi.socket_mode", "socket_mode and socket_backlog are used", 2)
def mode(t):
    t.start(fcgi("f", f"unix://{t.path('f.sock')}", socket_mode="0666", socket_backlog=5))
    same(oct(stat.S_IMODE(os.stat(t.path("f.sock")).st_mode)), "0o666")


@check("fcgi.socket_owner", "socket_owner is who owns the socket; by default it is user=", 2)
def owner(t):
    require_root()
    nobody = pwd.getpwnam("nobody")
    t.start(
        fcgi("f", f"unix://{t.path('f.sock')}", socket_owner="nobody:daemon"),
        fcgi("g", f"unix://{t.path('g.sock')}", user="nobody"),
    )
    st = os.stat(t.path("f.sock"))
    same((st.st_uid, st.st_gid), (nobody.pw_uid, grp.getgrnam("daemon").gr_gid))
    st = os.stat(t.path("g.sock"))
    same((st.st_uid, st.st_gid), (nobody.pw_uid, nobody.pw_gid))


@check("fcgi.shared", "all processes of a program share the socket", 3)
def shared(t):
    d = t.start(fcgi("f", f"unix://{t.path('f.sock')}", numprocs=3, process_name="%(program_name)s_%(process_num)d"))
    for number in range(3):
        d.wait_state(f"f:f_{number}", "RUNNING")
    d.rpc.supervisor.stopProcess("f:f_0")
    d.rpc.supervisor.stopProcess("f:f_2")
    for _ in range(5):
        contains(ask_unix(t.path("f.sock")), "name f_1")
    same(
        len(re.findall("INFO Closing socket", d.log)),
        len(re.findall("INFO Creating socket", d.log)) - 1,
        "the socket is open",
    )


@check("fcgi.closed_with_last", "with the last process the socket is closed, its file stays; a start opens it again", 3)
def closed(t):
    path = t.path("f.sock")
    d = t.start(fcgi("f", f"unix://{path}"))
    d.wait_up("f")
    until(lambda: ask_unix(path), "an answer")
    d.rpc.supervisor.stopProcess("f")
    d.wait_log(rf"INFO Closing socket unix://{re.escape(path)}$")
    expect(os.path.exists(path), "the file is gone")
    try:
        ask_unix(path)
        raise Exception("it still listens")
    except ConnectionRefusedError:
        pass
    d.rpc.supervisor.startProcess("f")
    contains(until(lambda: ask_unix(path), "an answer"), "name f")


@check("fcgi.stays_open", "over a restart of one of several processes the socket stays open", 3)
def stays_open(t):
    path = t.path("f.sock")
    d = t.start(fcgi("f", f"unix://{path}", numprocs=2, process_name="%(program_name)s_%(process_num)d"))
    for number in range(2):
        d.wait_up(f"f:f_{number}")
    inode = os.stat(path).st_ino
    d.rpc.supervisor.stopProcess("f:f_0")
    contains(ask_unix(path), "name f_1")
    d.rpc.supervisor.startProcess("f:f_0")
    same(os.stat(path).st_ino, inode, "inode of the socket")


@check("fcgi.stale", "a socket that nobody listens on is replaced", 2)
def stale(t):
    # Left by a program that is gone.
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(t.path("f.sock"))
    d = t.start(fcgi("f", f"unix://{t.path('f.sock')}"))
    d.wait_state("f", "RUNNING")
    contains(until(lambda: ask_unix(t.path("f.sock")), "an answer"), "name f")


@check("fcgi.in_use", "a socket that cannot be had ends the start, with the reason", 2)
def in_use(t):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        seen = t.run_daemon("-n", "-c", t.conf(fcgi("f", f"tcp://127.0.0.1:{other.getsockname()[1]}")))
    expect(seen.code not in (0, None), f"{seen}")
    contains(seen.err, "Could not create FastCGI socket tcp://127.0.0.1:", "stderr")
    contains(seen.err, "Address already in use", "stderr")


@check("fcgi.not_started", "the socket is tried at the start even if no process is started", 2)
def not_started(t):
    path = t.path("f.sock")
    d = t.start(fcgi("f", f"unix://{path}", autostart="false"))
    contains(d.log, f"INFO Creating socket unix://{path}\n")
    same(d.state("f"), "STOPPED")


@check("fcgi.no_stdin", "its stdin cannot be written to: fault 20", 2)
def no_stdin(t):
    d = t.start(fcgi("f", f"unix://{t.path('f.sock')}"))
    d.wait_up("f")
    fault(lambda: d.rpc.supervisor.sendProcessStdin("f", "x"), 20, "NO_FILE: f")


@check("fcgi.logs", "its output is logged like any program's", 2)
def logs(t):
    t.start(
        program(
            "f",
            sh("echo hello; exec sleep 600"),
            section="fcgi-program",
            socket=f"unix://{t.path('f.sock')}",
            autostart="true",
            startsecs=0,
            stdout_logfile=t.path("f.out"),
        )
    )
    until(lambda: t.read("f.out") == "hello\n", "output")


@check("fcgi.in_group", "a [group:x] may name an fcgi-program", 2)
def in_group(t):
    d = t.start(
        program("f", "/bin/cat", section="fcgi-program", socket=f"unix://{t.path('f.sock')}"),
        program("p", "/bin/cat"),
        "[group:g]\nprograms=f,p\n",
    )
    same([(i["group"], i["name"]) for i in d.rpc.supervisor.getAllProcessInfo()], [("g", "f"), ("g", "p")])


@check("fcgi.changed_socket", "another socket= is a change of the group", 2)
def changed(t):
    d = t.start(fcgi("f", f"unix://{t.path('f.sock')}"))
    t.conf(fcgi("f", f"unix://{t.path('g.sock')}"))
    same(d.rpc.supervisor.reloadConfig(), [[[], ["f"], []]])
