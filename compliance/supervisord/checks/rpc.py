"""1.5: the XML-RPC interface: every method, its shapes and its faults."""

import os
import re
import time
import xmlrpc.client

from harness import wire
from harness.bench import alive, free_port, program, sh, until
from harness.register import Failed, Skip, check, contains, expect, same

FOREVER = sh("exec sleep 600")

PROGRAMS = {
    "idle": dict(command="/bin/cat", autostart="true", startsecs=0),
    "never": dict(command="/bin/cat"),
    "start_me": dict(command="/bin/cat", startsecs=0),
    "start_wait": dict(command="/bin/cat", startsecs=1),
    "start_nowait": dict(command="/bin/cat", startsecs=600),
    "start_dies": dict(command=sh("sleep 0.4; exit 3"), startsecs=5, startretries=0),
    "start_missing": dict(command="/no/such/program"),
    "start_dir": dict(command="/tmp"),
    "start_plain": dict(command="/etc/passwd"),
    "start_quote": dict(command='/bin/echo "x'),
    "stop_me": dict(command="/bin/cat", autostart="true", startsecs=0),
    "signal_me": dict(
        command=sh(
            "trap 'echo hup >> {dir}/signal_me.got' HUP; trap 'echo usr1 >> {dir}/signal_me.got' USR1; echo up > {dir}/signal_me.up; while :; do sleep 0.1; done"
        ),
        autostart="true",
        startsecs=0,
    ),
    "reads": dict(command="/bin/cat", autostart="true", startsecs=0, stdout_logfile="{dir}/reads.out"),
    "closed_stdin": dict(
        command=sh("exec <&-; echo closed; exec sleep 600"),
        autostart="true",
        startsecs=0,
        stdout_logfile="{dir}/closed_stdin.out",
    ),
    "writes": dict(
        command=sh("printf '0123456789abcdefghij\\n'; printf 'error line\\n' >&2; exec sleep 600"),
        autostart="true",
        startsecs=0,
        stdout_logfile="{dir}/writes.out",
        stderr_logfile="{dir}/writes.err",
    ),
    "utf8": dict(
        command=sh("printf 'Øresund\\n'; exec sleep 600"),
        autostart="true",
        startsecs=0,
        stdout_logfile="{dir}/utf8.out",
    ),
    "clear_me": dict(
        command=sh("echo something; echo else >&2; exec sleep 600"),
        autostart="true",
        startsecs=0,
        stdout_logfile="{dir}/clear_me.out",
        stderr_logfile="{dir}/clear_me.err",
    ),
    "clear_stopped": dict(command="/bin/cat", stdout_logfile="{dir}/clear_stopped.out"),
    "no_log_yet": dict(command="/bin/cat", stdout_logfile="{dir}/no_log_yet.out"),
    "ga": dict(command="/bin/cat", startsecs=0, priority=2),
    "gb": dict(command="/bin/cat", startsecs=0, priority=1),
    "gc": dict(command="/no/such/program", priority=3),
    "pa": dict(command="/bin/cat", startsecs=0, autostart="true"),
    "pb": dict(command="/bin/cat", startsecs=0, autostart="true"),
    "sa": dict(command="/bin/cat", startsecs=0, autostart="true"),
    "sb": dict(command="/bin/cat"),
    "once": dict(command=sh("exit 0"), startsecs=0, autorestart="false", autostart="true"),
    "fatal": dict(command=sh("exit 1"), startsecs=5, startretries=0, autostart="true"),
}


def daemon(t):
    def make(bench):
        sections = []
        for name, options in PROGRAMS.items():
            options = {key: str(value).replace("{dir}", str(bench.dir)) for key, value in options.items()}
            sections.append(program(name, options.pop("command"), **options))
        groups = "[group:starts]\nprograms=ga,gb,gc\n[group:stops]\nprograms=pa,pb\n[group:signals]\nprograms=sa,sb\n"
        port = free_port()
        d = bench.start(*sections, groups, supervisord="identifier=the one", inet=port)
        d.url = f"http://127.0.0.1:{port}"
        return d

    return t.shared("rpc", make)


def sup(t):
    return daemon(t).rpc.supervisor


def fault(call, code, text=None):
    """Fails the check unless the call is answered with that fault."""
    try:
        value = call()
    except xmlrpc.client.Fault as seen:
        expect(seen.faultCode == code, f"expected fault {code}, saw {seen.faultCode} {seen.faultString!r}")
        if text is not None:
            same(seen.faultString, text, "faultString")
        return
    raise Failed(f"expected fault {code}, saw the answer {value!r}")


# -- about the daemon ------------------------------------------------------------------------


@check("rpc.getAPIVersion", "getAPIVersion is 3.0")
def api_version(t):
    same(sup(t).getAPIVersion(), "3.0")


@check("rpc.getVersion", "getVersion is its old name")
def version(t):
    same(sup(t).getVersion(), "3.0")


@check("rpc.getSupervisorVersion", "getSupervisorVersion is what -v prints")
def supervisor_version(t):
    same(sup(t).getSupervisorVersion() + "\n", t.run_daemon("-v").out)


@check("rpc.getIdentification", "getIdentification is the identifier")
def identification(t):
    same(sup(t).getIdentification(), "the one")


@check("rpc.getState", "getState is RUNNING, 1")
def get_state(t):
    same(sup(t).getState(), {"statecode": 1, "statename": "RUNNING"})


@check("rpc.getPID", "getPID is the daemon's pid")
def get_pid(t):
    same(sup(t).getPID(), daemon(t).pid)


# -- transports ------------------------------------------------------------------------------


@check("rpc.transport.tcp", "the standard library's client works over TCP")
def tcp(t):
    d = daemon(t)
    same(xmlrpc.client.ServerProxy(d.url + "/RPC2").supervisor.getPID(), d.pid)


@check("rpc.transport.tcp_keep_alive", "a connection is kept for several calls")
def keep_alive(t):
    d = daemon(t)
    with wire.connect(d.url) as sock:
        for _ in range(3):
            body = wire.call_body("supervisor.getPID")
            sock.sendall(
                b"POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n" % len(body)
                + body
            )
            answer = wire.read_answer(sock)
            contains(answer, b"200 OK", "answer")
            contains(answer, str(d.pid).encode(), "answer")


@check("rpc.transport.connection_close", "Connection: close and HTTP/1.0 end the connection after the answer")
def connection_close(t):
    d = daemon(t)
    body = wire.call_body("supervisor.getPID")
    for first, extra in [(b"POST /RPC2 HTTP/1.1", b"Connection: close\r\n"), (b"POST /RPC2 HTTP/1.0", b"")]:
        with wire.connect(d.url) as sock:
            sock.sendall(
                first
                + b"\r\nHost: localhost\r\n"
                + extra
                + b"Content-Type: text/xml\r\nContent-Length: %d\r\n\r\n" % len(body)
                + body
            )
            contains(wire.read_answer(sock), str(d.pid).encode(), "answer")
            sock.settimeout(30)
            same(sock.recv(1), b"", "what comes after the answer")


@check("rpc.transport.headers", "an answer is text/xml with a length")
def headers(t):
    answer = wire.post(daemon(t).url, wire.call_body("supervisor.getPID"))
    same(answer.status, 200)
    same(answer.headers["Content-Type"].split(";")[0], "text/xml")
    same(int(answer.headers["Content-Length"]), len(answer.body))


@check("rpc.transport.prefix", "any path that begins with /RPC2 is taken")
def prefix(t):
    for target in ["/RPC2", "/RPC2/", "/RPC2abc"]:
        same(wire.post(daemon(t).url, wire.call_body("supervisor.getPID"), target=target).status, 200, target)


@check("rpc.transport.deferred_keep_alive", "a connection is kept after an answer that had to wait", 2)
def deferred_keep_alive(t):
    d = t.start(program("x", "/bin/cat", startsecs=1))
    proxy = d.rpc
    same(proxy.supervisor.startProcess("x"), True)
    same(proxy.supervisor.stopProcess("x"), True)
    same(proxy.supervisor.getPID(), d.pid)


@check("rpc.transport.supervisor", "supervisor's own SupervisorTransport works over both sockets")
def supervisor_transport(t):
    script = (
        "import sys, xmlrpc.client\n"
        "try:\n    from supervisor.xmlrpc import SupervisorTransport\n"
        "except ImportError:\n    sys.exit(77)\n"
        "for url in sys.argv[1:]:\n"
        "    proxy = xmlrpc.client.ServerProxy('http://127.0.0.1', SupervisorTransport(None, None, url))\n"
        "    for _ in range(2):\n        print(proxy.supervisor.getPID())\n"
    )
    d = daemon(t)
    seen = t.run(["/usr/bin/python3", "-W", "ignore", "-c", script, "unix://" + d.sock, d.url])
    if seen.code == 77:
        raise Skip("python3-supervisor is not installed")
    same(seen.lines, [str(d.pid)] * 4, f"what the client printed ({seen})")


@check("rpc.transport.waiting_does_not_block", "a call that waits does not hold up other clients", 3)
def waiting(t):
    d = t.start(program("slow", "/bin/cat", startsecs=600), program("x", "/bin/cat"))
    body = wire.call_body("supervisor.startProcess", "slow")
    with wire.connect("unix://" + d.sock) as sock:
        sock.sendall(
            b"POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        d.wait_state("slow", "STARTING")
        for _ in range(5):
            same(d.rpc.supervisor.getPID(), d.pid)
        d.rpc.supervisor.stopProcess("slow")
        # Stopped while somebody waits for its start: that is an abnormal termination.
        contains(wire.read_answer(sock), b"ABNORMAL_TERMINATION: slow", "the waiting call's answer")


# -- starting --------------------------------------------------------------------------------


@check("rpc.startProcess.wait", "startProcess waits until RUNNING", 2)
def start_wait(t):
    same(sup(t).startProcess("start_wait"), True)
    same(daemon(t).state("start_wait"), "RUNNING")
    fault(lambda: sup(t).startProcess("start_wait"), 60, "ALREADY_STARTED: start_wait")


@check("rpc.startProcess.nowait", "startProcess with wait=False answers at once")
def start_nowait(t):
    same(sup(t).startProcess("start_nowait", False), True)
    same(daemon(t).state("start_nowait"), "STARTING")
    fault(lambda: sup(t).startProcess("start_nowait", False), 60, "ALREADY_STARTED: start_nowait")


@check("rpc.startProcess.dies", "a program that dies before startsecs: fault 40 or 50", 2)
def start_dies(t):
    try:
        value = sup(t).startProcess("start_dies")
    except xmlrpc.client.Fault as seen:
        # Which of the two depends on whether BACKOFF is seen before or after its reason is set.
        expect(seen.faultString in ("SPAWN_ERROR: start_dies", "ABNORMAL_TERMINATION: start_dies"), seen.faultString)
        expect(seen.faultCode in (50, 40), f"{seen.faultCode}")
        return
    raise Failed(f"the answer was {value!r}")


for name, code, text in [
    ("start_missing", 20, "NO_FILE: can't find command '/no/such/program'"),
    ("start_dir", 21, "NOT_EXECUTABLE: command at '/tmp' is a directory"),
    ("start_plain", 21, "NOT_EXECUTABLE: command at '/etc/passwd' is not executable"),
    ("start_quote", 21, "NOT_EXECUTABLE: can't parse command '/bin/echo \"x': No closing quotation"),
    ("nope", 10, "BAD_NAME: nope"),
    ("starts:nope", 10, "BAD_NAME: starts:nope"),
    ("ga", 10, "BAD_NAME: ga"),
]:

    @check(f"rpc.startProcess.fault.{name}", f"startProcess({name}) is fault {code}")
    def start_fault(t, name=name, code=code, text=text):
        fault(lambda: sup(t).startProcess(name), code, text)


@check(
    "rpc.startProcessGroup", "startProcessGroup starts what is not running, in priority order, and tells each result", 3
)
def start_group(t):
    d = daemon(t)
    results = sup(t).startProcessGroup("starts")
    by_name = {result["name"]: result for result in results}
    same(set(by_name), {"ga", "gb", "gc"})
    for name in ["ga", "gb"]:
        same(by_name[name], {"name": name, "group": "starts", "status": 80, "description": "OK"})
    same((by_name["gc"]["status"], by_name["gc"]["group"]), (20, "starts"))
    same(by_name["gc"]["description"], "NO_FILE: can't find command '/no/such/program'")
    order = re.findall(r"spawned: '(g[ab])'", d.log)
    same(order[:2], ["gb", "ga"], "the order of starting")
    # Again: only the one that is not running is tried.
    same([result["name"] for result in sup(t).startProcess("starts:*")], ["gc"])


@check("rpc.startProcessGroup.fault", "startProcessGroup of an unknown group is fault 10")
def start_group_fault(t):
    fault(lambda: sup(t).startProcessGroup("nope"), 10, "BAD_NAME: nope")
    fault(lambda: sup(t).startProcess("nope:*"), 10, "BAD_NAME: nope:*")


@check("rpc.startAllProcesses", "startAllProcesses starts what is not running; stopAllProcesses stops all", 5)
def start_all(t):
    d = t.start(
        program("a", "/bin/cat", startsecs=0),
        program("b", "/bin/cat", startsecs=0, autostart="true"),
        program("c", "/no/such"),
    )
    d.wait_state("b", "RUNNING")
    results = {r["name"]: r["status"] for r in d.rpc.supervisor.startAllProcesses()}
    same(results, {"a": 80, "c": 20})
    for name in ["a", "b"]:
        d.wait_up(name)
    results = d.rpc.supervisor.stopAllProcesses()
    same(
        sorted((r["name"], r["group"], r["status"], r["description"]) for r in results),
        [("a", "a", 80, "OK"), ("b", "b", 80, "OK")],
    )
    same(d.state("a"), "STOPPED")
    same(d.rpc.supervisor.stopAllProcesses(), [], "with nothing running")
    same(sorted(r["name"] for r in d.rpc.supervisor.startAllProcesses(False)), ["a", "b", "c"])


# -- stopping --------------------------------------------------------------------------------


@check("rpc.stopProcess", "stopProcess waits until STOPPED; again it is fault 70", 2)
def stop_process(t):
    daemon(t).wait_up("stop_me")
    same(sup(t).stopProcess("stop_me"), True)
    info = daemon(t).info("stop_me")
    same((info["statename"], info["pid"]), ("STOPPED", 0))
    fault(lambda: sup(t).stopProcess("stop_me"), 70, "NOT_RUNNING: stop_me")


@check("rpc.stopProcess.fault", "stopProcess of unknown names is fault 10")
def stop_fault(t):
    fault(lambda: sup(t).stopProcess("nope"), 10, "BAD_NAME: nope")
    fault(lambda: sup(t).stopProcess("stops:nope"), 10, "BAD_NAME: stops:nope")
    fault(lambda: sup(t).stopProcessGroup("nope"), 10, "BAD_NAME: nope")


@check("rpc.stopProcess.never_started", "stopProcess of what was never started is fault 70")
def stop_never(t):
    fault(lambda: sup(t).stopProcess("never"), 70, "NOT_RUNNING: never")


@check("rpc.stopProcessGroup", "stopProcessGroup stops the running members and tells each result", 3)
def stop_group(t):
    d = daemon(t)
    for name in ["stops:pa", "stops:pb"]:
        d.wait_up(name)
    results = sup(t).stopProcess("stops:*")
    same(
        sorted((r["name"], r["group"], r["status"], r["description"]) for r in results),
        [("pa", "stops", 80, "OK"), ("pb", "stops", 80, "OK")],
    )
    same(sup(t).stopProcessGroup("stops"), [], "with nothing running")


@check("rpc.stopProcess.nowait", "stopProcess with wait=False answers while it is STOPPING", 2)
def stop_nowait(t):
    d = t.start(
        program(
            "x",
            sh(f"trap '' TERM; touch {t.path('up')}; while :; do sleep 0.1; done"),
            autostart="true",
            startsecs=0,
            stopwaitsecs=600,
        )
    )
    until(lambda: os.path.exists(t.path("up")) and d.state("x") == "RUNNING", "x to run")
    same(d.rpc.supervisor.stopProcess("x", False), True)
    info = d.info("x")
    same((info["state"], info["statename"], info["description"]), (40, "STOPPING", ""))
    fault(lambda: d.rpc.supervisor.stopProcess("x"), 70)
    fault(lambda: d.rpc.supervisor.sendProcessStdin("x", "a"), 70)
    # It can still be signalled.
    same(d.rpc.supervisor.signalProcess("x", "KILL"), True)
    d.wait_state("x", "STOPPED")


# -- signalling ------------------------------------------------------------------------------


@check("rpc.signalProcess", "signalProcess takes names and numbers")
def signal_process(t):
    d = daemon(t)
    until(lambda: d.bench.read("signal_me.up"), "the traps")
    same(sup(t).signalProcess("signal_me", "HUP"), True)
    until(lambda: d.bench.read("signal_me.got") == "hup\n", "the HUP")
    same(sup(t).signalProcess("signal_me", "10"), True)
    until(lambda: d.bench.read("signal_me.got") == "hup\nusr1\n", "the USR1")
    same(sup(t).signalProcess("signal_me", 10), True)
    same(sup(t).signalProcess("signal_me", "sigusr1"), True)


@check("rpc.signalProcess.fault", "signalProcess: bad signal 11, not running 70, unknown 10")
def signal_fault(t):
    fault(lambda: sup(t).signalProcess("signal_me", "NOPE"), 11, "BAD_SIGNAL: NOPE")
    fault(lambda: sup(t).signalProcess("signal_me", 999), 11, "BAD_SIGNAL: 999")
    fault(lambda: sup(t).signalProcess("never", "HUP"), 70, "NOT_RUNNING: never")
    fault(lambda: sup(t).signalProcess("nope", "HUP"), 10, "BAD_NAME: nope")
    fault(lambda: sup(t).signalProcessGroup("nope", "HUP"), 10, "BAD_NAME: nope")


@check("rpc.signalProcessGroup", "signalProcessGroup signals the running members only", 2)
def signal_group(t):
    daemon(t).wait_up("signals:sa")
    wanted = [{"name": "sa", "group": "signals", "status": 80, "description": "OK"}]
    same(sup(t).signalProcessGroup("signals", "CONT"), wanted)
    same(sup(t).signalProcess("signals:*", "CONT"), wanted)
    bad = sup(t).signalProcessGroup("signals", "NOPE")
    same([(r["name"], r["status"], r["description"]) for r in bad], [("sa", 11, "BAD_SIGNAL: NOPE")])


@check("rpc.signalAllProcesses", "signalAllProcesses signals all that run", 2)
def signal_all(t):
    d = t.start(program("a", "/bin/cat", autostart="true", startsecs=0), program("b", "/bin/cat"))
    d.wait_up("a")
    same(d.rpc.supervisor.signalAllProcesses("CONT"), [{"name": "a", "group": "a", "status": 80, "description": "OK"}])


# -- information -----------------------------------------------------------------------------

INFO_TYPES = {
    "name": str,
    "group": str,
    "start": int,
    "stop": int,
    "now": int,
    "state": int,
    "statename": str,
    "spawnerr": str,
    "exitstatus": int,
    "logfile": str,
    "stdout_logfile": str,
    "stderr_logfile": str,
    "pid": int,
    "description": str,
}


@check("rpc.getProcessInfo", "getProcessInfo has exactly its 14 members with their types")
def process_info(t):
    daemon(t).wait_state("idle", "RUNNING")
    info = sup(t).getProcessInfo("idle")
    same({key: type(value) for key, value in info.items()}, INFO_TYPES)
    same((info["name"], info["group"], info["state"], info["statename"]), ("idle", "idle", 20, "RUNNING"))
    same((info["stop"], info["exitstatus"], info["spawnerr"], info["logfile"]), (0, 0, "", ""))
    expect(info["start"] <= info["now"] <= time.time() + 1, f"{info}")
    expect(alive(info["pid"]), "pid is not alive")


@check("rpc.getProcessInfo.running", "the description of a running process: pid and uptime", 2)
def info_running(t):
    info = daemon(t).wait_state("idle", "RUNNING")
    expect(re.fullmatch(rf"pid {info['pid']}, uptime \d+:\d\d:\d\d", info["description"]), info["description"])


@check("rpc.getProcessInfo.exited", "the description of an exited process: when", 2)
def info_exited(t):
    info = daemon(t).wait_state("once", "EXITED")
    same(info["description"], time.strftime("%b %d %I:%M %p", time.localtime(info["stop"])))
    expect(info["stop"] >= info["start"] > 0, f"{info}")


@check("rpc.getProcessInfo.fatal", "the description of a fatal process: why", 3)
def info_fatal(t):
    same(daemon(t).wait_state("fatal", "FATAL")["description"], "Exited too quickly (process log may have details)")


@check("rpc.getProcessInfo.member", "a group's member is named group:name")
def info_member(t):
    info = sup(t).getProcessInfo("signals:sb")
    same((info["group"], info["name"]), ("signals", "sb"))


@check("rpc.getProcessInfo.fault", "getProcessInfo of unknown names, and of groups, is fault 10")
def info_fault(t):
    for name in ["nope", "signals:nope", "signals:*", "signals:", "sb", ""]:
        fault(lambda: sup(t).getProcessInfo(name), 10, f"BAD_NAME: {name}")


@check("rpc.getAllProcessInfo", "getAllProcessInfo lists all, sorted by group and name")
def all_info(t):
    infos = sup(t).getAllProcessInfo()
    names = [(info["group"], info["name"]) for info in infos]
    same(names, sorted(names), "order")
    same(len(names), len(PROGRAMS))
    for info in infos:
        same(set(info), set(INFO_TYPES), "members")


CONFIG_KEYS = set(
    "autostart directory uid command exitcodes group group_prio inuse killasgroup name process_prio "
    "redirect_stderr startretries startsecs stdout_capture_maxbytes stdout_events_enabled stdout_logfile "
    "stdout_logfile_backups stdout_logfile_maxbytes stdout_syslog stopsignal stopwaitsecs "
    "stderr_capture_maxbytes stderr_events_enabled stderr_logfile stderr_logfile_backups "
    "stderr_logfile_maxbytes stderr_syslog serverurl".split()
)


@check("rpc.getAllConfigInfo", "getAllConfigInfo lists all, sorted by name, with its 29 keys")
def all_config(t):
    infos = sup(t).getAllConfigInfo()
    names = [info["name"] for info in infos]
    same(names, sorted(names), "order")
    for info in infos:
        # A later version adds `autorestart`; more keys do no harm, fewer do.
        expect(CONFIG_KEYS <= set(info), f"missing: {CONFIG_KEYS - set(info)}")
        same(info["inuse"], True, "inuse")


# -- logs ------------------------------------------------------------------------------------

WRITTEN = "0123456789abcdefghij\n"


def written(t):
    d = daemon(t)
    until(lambda: d.bench.read("writes.out") == WRITTEN and d.bench.read("writes.err"), "the output")
    return sup(t)


for method in ["readProcessStdoutLog", "readProcessLog"]:

    @check(f"rpc.{method}", f"{method}: offset and length, a negative offset is the tail")
    def read_log(t, method=method):
        read = getattr(written(t), method)
        same(read("writes", 0, 0), WRITTEN, "all")
        same(read("writes", 0, 4), "0123", "the first 4")
        same(read("writes", 3, 4), "3456", "4 from 3 on")
        same(read("writes", 15, 0), WRITTEN[15:], "from 15 to the end")
        same(read("writes", -5, 0), "ghij\n", "the last 5")
        same(read("writes", -5000, 0), WRITTEN, "more than there is")
        same(read("writes", 5000, 0), "", "behind the end")


@check("rpc.readProcessLog.fault", "reading logs: bad arguments 3, unknown 10, no file 20")
def read_log_fault(t):
    s = written(t)
    fault(lambda: s.readProcessStdoutLog("writes", -5, 3), 3, "BAD_ARGUMENTS")
    fault(lambda: s.readProcessStdoutLog("writes", 0, -3), 3, "BAD_ARGUMENTS")
    fault(lambda: s.readProcessStdoutLog("nope", 0, 0), 10, "BAD_NAME: nope")
    fault(lambda: s.readProcessStdoutLog("signals:*", 0, 0), 10, "BAD_NAME: signals:*")
    fault(lambda: s.readProcessStdoutLog("idle", 0, 0), 20)
    fault(lambda: s.readProcessStdoutLog("no_log_yet", 0, 0), 20, f"NO_FILE: {daemon(t).bench.path('no_log_yet.out')}")


@check("rpc.readProcessStderrLog", "readProcessStderrLog reads the other log")
def read_stderr(t):
    same(written(t).readProcessStderrLog("writes", 0, 0), "error line\n")
    same(written(t).readProcessStderrLog("writes", -5, 0), "line\n")
    fault(lambda: sup(t).readProcessStderrLog("idle", 0, 0), 20)


for method in ["tailProcessStdoutLog", "tailProcessLog"]:

    @check(f"rpc.{method}", f"{method}: data, the end's offset, overflow")
    def tail_log(t, method=method):
        tail = getattr(written(t), method)
        size = len(WRITTEN)
        same(tail("writes", 0, size), [WRITTEN, size, False], "all")
        same(tail("writes", 0, 5000), [WRITTEN, size, False], "more than there is")
        same(tail("writes", size, 0), ["", size, False], "nothing new")
        same(tail("writes", 16, 5), ["ghij\n", size, False], "the last 5")
        same(tail("writes", 0, 5), ["ghij\n", size, True], "too little room")
        same(tail("idle", 0, 100), ["", 0, False], "no log")
        same(tail("no_log_yet", 0, 100), ["", 0, False], "no file")
        fault(lambda: tail("nope", 0, 100), 10, "BAD_NAME: nope")


@check("rpc.tailProcessStderrLog", "tailProcessStderrLog tails the other log")
def tail_stderr(t):
    same(written(t).tailProcessStderrLog("writes", 0, 100), ["error line\n", 11, False])


@check("rpc.readProcessLog.utf8", "what is not ASCII arrives as it was written")
def read_utf8(t):
    d = daemon(t)
    until(lambda: d.bench.read("utf8.out") == "Øresund\n", "the output")
    same(sup(t).readProcessStdoutLog("utf8", 0, 0), "Øresund\n")


@check("rpc.clearProcessLogs", "clearProcessLogs empties both logs, and the child writes on")
def clear_logs(t):
    d = daemon(t)
    until(lambda: d.bench.read("clear_me.out") and d.bench.read("clear_me.err"), "the output")
    same(sup(t).clearProcessLogs("clear_me"), True)
    same((d.bench.read("clear_me.out"), d.bench.read("clear_me.err")), ("", ""))
    expect(os.path.exists(d.bench.path("clear_me.out")), "the log was not made anew")


@check("rpc.clearProcessLog", "clearProcessLog is its old name; a log that is not there does not matter")
def clear_log(t):
    same(sup(t).clearProcessLog("clear_stopped"), True)
    fault(lambda: sup(t).clearProcessLog("nope"), 10, "BAD_NAME: nope")
    fault(lambda: sup(t).clearProcessLogs("signals:*"), 10, "BAD_NAME: signals:*")


@check("rpc.clearAllProcessLogs", "clearAllProcessLogs clears all and tells each result", 2)
def clear_all(t):
    d = t.start(
        program("a", sh("echo a; exec sleep 600"), autostart="true", startsecs=0, stdout_logfile=t.path("a.out")),
        program("b", "/bin/cat"),
    )
    until(lambda: t.read("a.out") == "a\n", "output")
    results = d.rpc.supervisor.clearAllProcessLogs()
    same(
        sorted((r["name"], r["group"], r["status"], r["description"]) for r in results),
        [("a", "a", 80, "OK"), ("b", "b", 80, "OK")],
    )
    same(t.read("a.out"), "")


for method in ["readLog", "readMainLog"]:

    @check(f"rpc.{method}", f"{method} reads the main log like readProcessLog reads a child's")
    def read_main(t, method=method):
        d = daemon(t)
        read = getattr(sup(t), method)
        contains(read(0, 0), "RPC interface 'supervisor' initialized", "main log")
        same(read(0, 4), d.log[:4])
        same(len(read(-10, 0)), 10)
        fault(lambda: read(-10, 3), 3, "BAD_ARGUMENTS")
        fault(lambda: read(0, -3), 3, "BAD_ARGUMENTS")


@check("rpc.clearLog", "clearLog makes a new main log", 2)
def clear_main(t):
    d = t.start()
    contains(d.log, "supervisord started with pid")
    same(d.rpc.supervisor.clearLog(), True)
    expect("supervisord started with pid" not in d.log, "the old lines are still there")
    expect(os.path.exists(t.path("d.log")), "there is no new log")


@check("rpc.readLog.fault", "without a main log readLog and clearLog are fault 20", 2)
def main_fault(t):
    d = t.start()
    os.unlink(t.path("d.log"))
    fault(lambda: d.rpc.supervisor.readLog(0, 0), 20, f"NO_FILE: {t.path('d.log')}")
    fault(lambda: d.rpc.supervisor.clearLog(), 20, "NO_FILE")


# -- stdin -----------------------------------------------------------------------------------


@check("rpc.sendProcessStdin", "sendProcessStdin writes to the child, UTF-8 too")
def send_stdin(t):
    d = daemon(t)
    d.wait_up("reads")
    same(sup(t).sendProcessStdin("reads", "hello\n"), True)
    same(sup(t).sendProcessStdin("reads", "Malmö\n"), True)
    until(lambda: d.bench.read("reads.out") == "hello\nMalmö\n", "what cat gives back")


@check("rpc.sendProcessStdin.fault", "sendProcessStdin: unknown 10, not running 70, no text 2, closed 20")
def send_stdin_fault(t):
    d = daemon(t)
    fault(lambda: sup(t).sendProcessStdin("nope", "a"), 10, "BAD_NAME: nope")
    fault(lambda: sup(t).sendProcessStdin("signals:*", "a"), 10, "BAD_NAME: signals:*")
    fault(lambda: sup(t).sendProcessStdin("never", "a"), 70, "NOT_RUNNING: never")
    fault(lambda: sup(t).sendProcessStdin("reads", 17), 2, "INCORRECT_PARAMETERS: 17")
    until(lambda: d.bench.read("closed_stdin.out") == "closed\n", "it to close its stdin")
    fault(lambda: sup(t).sendProcessStdin("closed_stdin", "a"), 20, "NO_FILE: closed_stdin")


@check("rpc.sendProcessStdin.large", "what is larger than a pipe arrives whole", 2)
def send_large(t):
    d = t.start(
        program("x", sh(f"head -c 200000 | wc -c > {t.path('count')}; exec sleep 600"), autostart="true", startsecs=0)
    )
    d.wait_up("x")
    # One call only: while its pipe is full, the original answers the next one with HTTP 500.
    same(d.rpc.supervisor.sendProcessStdin("x", "y" * 200000), True)
    until(lambda: t.read("count").strip() == "200000", "all bytes")


@check("rpc.sendRemoteCommEvent", "sendRemoteCommEvent answers True, whether or not somebody listens")
def remote_comm(t):
    same(sup(t).sendRemoteCommEvent("kind", "data"), True)


# -- groups ----------------------------------------------------------------------------------


@check("rpc.groups", "reloadConfig, addProcessGroup and removeProcessGroup with their faults", 3)
def groups(t):
    d = t.start(
        program("a", "/bin/cat", autostart="true", startsecs=0), program("b", "/bin/cat"), program("c", "/bin/cat")
    )
    s = d.rpc.supervisor
    same(s.reloadConfig(), [[[], [], []]])
    t.conf(
        program("a", "/bin/cat", autostart="true", startsecs=0),
        program("b", "/bin/cat", startsecs=4),
        program("d", "/bin/cat", autostart="true", startsecs=0),
    )
    same(s.reloadConfig(), [[["d"], ["b"], ["c"]]])
    same(s.reloadConfig(), [[["d"], ["b"], ["c"]]], "a second time")
    same({i["name"]: i["inuse"] for i in s.getAllConfigInfo()}, {"a": True, "b": True, "d": False})
    fault(lambda: s.getProcessInfo("d"), 10)
    same(s.addProcessGroup("d"), True)
    d.wait_state("d", "RUNNING")
    fault(lambda: s.addProcessGroup("d"), 90, "ALREADY_ADDED: d")
    fault(lambda: s.addProcessGroup("nope"), 10, "BAD_NAME: nope")
    same(s.removeProcessGroup("c"), True)
    fault(lambda: s.removeProcessGroup("c"), 10, "BAD_NAME: c")
    d.wait_up("a")
    fault(lambda: s.removeProcessGroup("a"), 91, "STILL_RUNNING: a")
    s.stopProcess("a")
    same(s.removeProcessGroup("a"), True)
    same([i["name"] for i in s.getAllProcessInfo()], ["b", "d"])


@check("rpc.reloadConfig.fault", "reloadConfig of a config with an error is fault 92 and changes nothing", 2)
def reload_fault(t):
    d = t.start(program("a", "/bin/cat"))
    t.conf("[program:a]\ncommand=/bin/cat\nstartsecs=soon\n")
    fault(
        d.rpc.supervisor.reloadConfig,
        92,
        f"CANT_REREAD: invalid literal for int() with base 10: 'soon' in section 'program:a' (file: '{d.conf}')",
    )
    same(d.state("a"), "STOPPED")


@check("rpc.reloadConfig.gone", "reloadConfig of a config that is gone is fault 92; it comes back", 2)
def reload_gone(t):
    d = t.start(program("a", "/bin/cat"))
    os.rename(d.conf, d.conf + ".away")
    fault(d.rpc.supervisor.reloadConfig, 92, f"CANT_REREAD: could not find config file {d.conf}")
    same([i["name"] for i in d.rpc.supervisor.getAllProcessInfo()], ["a"])
    os.rename(d.conf + ".away", d.conf)
    same(d.rpc.supervisor.reloadConfig(), [[[], [], []]])


@check("rpc.shutdown", "shutdown answers True and ends the daemon with 0", 3)
def shutdown(t):
    d = t.start(program("x", "/bin/cat", autostart="true", startsecs=0))
    pid = d.wait_up("x")["pid"]
    same(d.rpc.supervisor.shutdown(), True)
    same(d.wait_exit(), 0, "exit code")
    expect(not alive(pid), "the child lives")


@check("rpc.restart", "restart answers True and starts everything anew in the same process", 4)
def restart(t):
    d = t.start(program("x", "/bin/cat", autostart="true", startsecs=0))
    pid = d.wait_up("x")["pid"]
    same(d.rpc.supervisor.restart(), True)
    until(lambda: d.log.count(f"supervisord started with pid {d.pid}") == 2, "the second start")
    info = until(lambda: d.rpc.supervisor.getProcessInfo("x"), "an answer")
    expect(info["pid"] != pid and not alive(pid), "the old child lives")
