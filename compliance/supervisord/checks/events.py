"""1.7: events, their payloads, and the protocol of event listeners."""

import json
import os
import re
import time
import xmlrpc.client

from harness.bench import PROGRAMS, program, python, sh, until
from harness.register import Skip, check, contains, expect, same

FOREVER = sh("exec sleep 600")


def listener(t, name, events, *args, **options):
    """An [eventlistener:x] with our listener, that writes to NAME.events."""
    values = dict(section="eventlistener", events=events, autostart="true", startsecs=0)
    values.update(options)
    return program(name, python("listener.py", t.path(f"{name}.events"), *args), **values)


def events_of(t, name):
    """What a listener was sent so far."""
    found = []
    for line in t.read(f"{name}.events").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break  # a line that is being written
    return found


def named(t, name, kind, process=None):
    """The events of a kind, of a process if one is given."""
    return [
        event
        for event in events_of(t, name)
        if event["headers"]["eventname"] == kind and (process is None or f"processname:{process} " in event["payload"])
    ]


def daemon(t):
    def make(b):
        d = b.start(
            listener(b, "all", "EVENT", buffer_size=5000),
            listener(b, "states", "PROCESS_STATE", buffer_size=5000),
            listener(b, "exits", "process_state_exited,Process_State_Fatal", buffer_size=5000),
            listener(b, "logs", "PROCESS_LOG", buffer_size=5000),
            listener(b, "comms", "PROCESS_COMMUNICATION", buffer_size=5000),
            listener(b, "errors", "PROCESS_LOG_STDERR,PROCESS_COMMUNICATION_STDERR", buffer_size=5000),
            listener(b, "ticks", "TICK", buffer_size=5000),
            program("runs", FOREVER, startsecs=1),
            program("exits0", sh("sleep 1.4"), startsecs=1),
            program("exits3", sh("sleep 1.4; exit 3"), startsecs=1, autorestart="false"),
            program("fails", sh("exit 1"), startsecs=5, startretries=1),
            program("member", FOREVER, startsecs=0),
            program(
                "says",
                sh("sleep 0.3; echo out line; sleep 0.3; echo err line >&2; exec sleep 600"),
                startsecs=0,
                stdout_events_enabled="true",
                stderr_events_enabled="true",
            ),
            program("silent_says", sh("echo unheard; exec sleep 600"), startsecs=0),
            program(
                "talks",
                sh(
                    "printf 'before<!--XSUPERVISOR:BEGIN-->to you<!--XSUPERVISOR:END-->after and more, to be flushed\\n'; exec sleep 600"
                ),
                startsecs=0,
                stdout_capture_maxbytes="1KB",
                stdout_logfile=b.path("talks.out"),
            ),
            program(
                "talks_err",
                sh("printf '<!--XSUPERVISOR:BEGIN-->via stderr<!--XSUPERVISOR:END-->' >&2; exec sleep 600"),
                startsecs=0,
                stderr_capture_maxbytes="1KB",
            ),
            program(
                "talks_split",
                sh(
                    "printf 'x<!--XSUPER'; sleep 0.4; printf 'VISOR:BEGIN-->in pie'; sleep 0.4; printf 'ces<!--XSUPERVISOR:E'; sleep 0.4; printf 'ND-->done with this, and so much more text\\n'; exec sleep 600"
                ),
                startsecs=0,
                stdout_capture_maxbytes="1KB",
                stdout_logfile=b.path("talks_split.out"),
            ),
            program(
                "talks_twice",
                sh(
                    "printf '<!--XSUPERVISOR:BEGIN-->one<!--XSUPERVISOR:END--><!--XSUPERVISOR:BEGIN-->two<!--XSUPERVISOR:END-->'; exec sleep 600"
                ),
                startsecs=0,
                stdout_capture_maxbytes="1KB",
            ),
            "[group:crew]\nprograms=member\n",
            supervisord="identifier=watcher",
        )
        for name in ["all", "states", "exits", "logs", "comms", "errors", "ticks"]:
            d.wait_state(name, "RUNNING")
        return d

    return t.shared("events", make)


def go(t, name):
    """Starts a program of the shared daemon unless somebody already did; returns the daemon."""
    d = daemon(t)
    if d.info(name)["start"]:
        return d
    try:
        d.rpc.supervisor.startProcess(name, False)
    except xmlrpc.client.Fault as fault:
        # 60: somebody else was quicker; 50: it is dead before the answer comes.
        if fault.faultCode not in (50, 60):
            raise
    return d


def one(t, kind, process, pool="all"):
    """Waits for an event of a process and returns its payload."""
    b = daemon(t).bench
    found = until(lambda: named(b, pool, kind, process), f"{kind} of {process}")
    return found[0]["payload"]


# -- payloads --------------------------------------------------------------------------------


@check("events.state.starting_running", "STARTING tells the tries, RUNNING the pid", 3)
def starting_running(t):
    d = go(t, "runs")
    pid = d.wait_state("runs", "RUNNING")["pid"]
    same(one(t, "PROCESS_STATE_STARTING", "runs"), "processname:runs groupname:runs from_state:STOPPED tries:0")
    same(one(t, "PROCESS_STATE_RUNNING", "runs"), f"processname:runs groupname:runs from_state:STARTING pid:{pid}")


@check("events.state.stopping_stopped", "STOPPING and STOPPED tell the pid", 2)
def stopping_stopped(t):
    d = go(t, "crew:member")
    pid = d.wait_up("crew:member")["pid"]
    d.rpc.supervisor.stopProcess("crew:member")
    same(one(t, "PROCESS_STATE_STOPPING", "member"), f"processname:member groupname:crew from_state:RUNNING pid:{pid}")
    same(one(t, "PROCESS_STATE_STOPPED", "member"), f"processname:member groupname:crew from_state:STOPPING pid:{pid}")


@check("events.state.exited_expected", "EXITED tells whether it was expected, and the pid", 3)
def exited_expected(t):
    go(t, "exits0")
    pid = one(t, "PROCESS_STATE_RUNNING", "exits0").rpartition(":")[2]
    same(
        one(t, "PROCESS_STATE_EXITED", "exits0"),
        f"processname:exits0 groupname:exits0 from_state:RUNNING expected:1 pid:{pid}",
    )


@check("events.state.exited_unexpected", "EXITED that was not expected", 3)
def exited_unexpected(t):
    go(t, "exits3")
    pid = one(t, "PROCESS_STATE_RUNNING", "exits3").rpartition(":")[2]
    same(
        one(t, "PROCESS_STATE_EXITED", "exits3"),
        f"processname:exits3 groupname:exits3 from_state:RUNNING expected:0 pid:{pid}",
    )


@check("events.state.backoff_fatal", "BACKOFF and the next STARTING tell the tries; FATAL nothing", 4)
def backoff_fatal(t):
    go(t, "fails")
    same(one(t, "PROCESS_STATE_FATAL", "fails"), "processname:fails groupname:fails from_state:BACKOFF")
    b = daemon(t).bench
    same(
        [event["payload"].split(" ", 2)[2] for event in named(b, "all", "PROCESS_STATE_BACKOFF", "fails")],
        ["from_state:STARTING tries:1", "from_state:STARTING tries:2"],
    )
    same(
        [event["payload"].split(" ", 2)[2] for event in named(b, "all", "PROCESS_STATE_STARTING", "fails")],
        ["from_state:STOPPED tries:0", "from_state:BACKOFF tries:1"],
    )


@check("events.log", "PROCESS_LOG_STDOUT and _STDERR carry what was written", 2)
def process_log(t):
    d = go(t, "says")
    pid = d.wait_state("says", "RUNNING")["pid"]
    same(one(t, "PROCESS_LOG_STDOUT", "says"), f"processname:says groupname:says pid:{pid} channel:stdout\nout line\n")
    same(one(t, "PROCESS_LOG_STDERR", "says"), f"processname:says groupname:says pid:{pid} channel:stderr\nerr line\n")


@check("events.log_not_enabled", "without events_enabled nothing is sent", 2)
def process_log_off(t):
    d = go(t, "silent_says")
    go(t, "says")
    d.wait_up("silent_says")
    one(t, "PROCESS_LOG_STDERR", "says")
    same(named(d.bench, "all", "PROCESS_LOG_STDOUT", "silent_says"), [])


@check("events.communication.stdout", "PROCESS_COMMUNICATION_STDOUT carries what is between the marks", 2)
def communication(t):
    d = go(t, "talks")
    pid = d.wait_state("talks", "RUNNING")["pid"]
    same(one(t, "PROCESS_COMMUNICATION_STDOUT", "talks"), f"processname:talks groupname:talks pid:{pid}\nto you")


@check("events.communication.not_logged", "what is between the marks, and the marks, are not in the log", 2)
def communication_log(t):
    d = go(t, "talks")
    until(lambda: "after" in d.bench.read("talks.out"), "the rest in the log")
    expect(d.bench.read("talks.out").startswith("beforeafter"), d.bench.read("talks.out"))


@check("events.communication.stderr", "PROCESS_COMMUNICATION_STDERR", 2)
def communication_stderr(t):
    d = go(t, "talks_err")
    pid = d.wait_state("talks_err", "RUNNING")["pid"]
    same(
        one(t, "PROCESS_COMMUNICATION_STDERR", "talks_err"),
        f"processname:talks_err groupname:talks_err pid:{pid}\nvia stderr",
    )


@check("events.communication.split", "marks that arrive in pieces are found", 3)
def communication_split(t):
    d = go(t, "talks_split")
    payload = one(t, "PROCESS_COMMUNICATION_STDOUT", "talks_split")
    same(payload.split("\n", 1)[1], "in pieces")
    until(lambda: "done" in d.bench.read("talks_split.out"), "the rest in the log")
    expect(d.bench.read("talks_split.out").startswith("xdone"), d.bench.read("talks_split.out"))


@check("events.communication.twice", "two messages in one write are two events", 2)
def communication_twice(t):
    go(t, "talks_twice")
    b = daemon(t).bench
    found = until(
        lambda: (lambda f: f if len(f) >= 2 else None)(named(b, "all", "PROCESS_COMMUNICATION_STDOUT", "talks_twice")),
        "two events",
    )
    same([event["payload"].split("\n", 1)[1] for event in found], ["one", "two"])


@check("events.tick", "TICK_5 comes at each multiple of five seconds", 8)
def tick(t):
    d = daemon(t)
    found = until(lambda: named(d.bench, "ticks", "TICK_5"), "a TICK_5")
    when = re.fullmatch(r"when:(\d+)", found[0]["payload"])
    expect(when, found[0]["payload"])
    same(int(when.group(1)) % 5, 0, "the remainder")
    expect(abs(int(when.group(1)) - time.time()) < 300, found[0]["payload"])


@check("events.supervisor_state", "RUNNING at the start and STOPPING at the end have an empty payload", 4)
def supervisor_state(t):
    # The slow end of x leaves the listener, that stops after it, the time to hear.
    slow = sh(f"trap 'sleep 1; exit 0' TERM; touch {t.path('up')}; while :; do sleep 0.1; done")
    d = t.start(listener(t, "l", "SUPERVISOR_STATE_CHANGE"), program("x", slow, autostart="true", startsecs=0))
    until(lambda: named(t, "l", "SUPERVISOR_STATE_CHANGE_RUNNING"), "the first event")
    until(lambda: os.path.exists(t.path("up")), "x to be up")
    d.terminate()
    same(
        [(e["headers"]["eventname"], e["payload"]) for e in events_of(t, "l")],
        [("SUPERVISOR_STATE_CHANGE_RUNNING", ""), ("SUPERVISOR_STATE_CHANGE_STOPPING", "")],
    )


@check("events.group", "PROCESS_GROUP_ADDED and _REMOVED name the group", 3)
def process_group(t):
    d = t.start(listener(t, "l", "PROCESS_GROUP"), program("x", FOREVER))
    d.rpc.supervisor.removeProcessGroup("x")
    d.rpc.supervisor.addProcessGroup("x")
    until(lambda: named(t, "l", "PROCESS_GROUP_REMOVED"), "the removal")
    until(lambda: len(events_of(t, "l")) >= 4, "all events")
    seen = [(e["headers"]["eventname"][14:], e["payload"]) for e in events_of(t, "l")]
    same(
        seen,
        [
            ("ADDED", "groupname:l\n"),
            ("ADDED", "groupname:x\n"),
            ("REMOVED", "groupname:x\n"),
            ("ADDED", "groupname:x\n"),
        ],
    )


@check("events.remote", "REMOTE_COMMUNICATION carries type and data as they were sent", 2)
def remote(t):
    d = t.start(listener(t, "l", "REMOTE_COMMUNICATION"))
    d.wait_state("l", "RUNNING")
    d.rpc.supervisor.sendRemoteCommEvent("the_type", "the data\nof two lines")
    same(until(lambda: events_of(t, "l"), "the event")[0]["payload"], "type:the_type\nthe data\nof two lines")


@check("events.remote.large", "an event that is larger than a pipe arrives whole", 3)
def remote_large(t):
    d = t.start(listener(t, "l", "REMOTE_COMMUNICATION"))
    d.wait_state("l", "RUNNING")
    data = "x" * 300000
    d.rpc.supervisor.sendRemoteCommEvent("big", data)
    d.rpc.supervisor.sendRemoteCommEvent("small", "after it")
    found = until(lambda: (lambda e: e if len(e) >= 2 else None)(events_of(t, "l")), "both events")
    expect(data in found[0]["payload"], "not all data arrived")
    contains(found[1]["payload"], "after it")


# -- headers and subscriptions -----------------------------------------------------------------


@check("events.header", "the header: ver, server, serial, pool, poolserial, eventname, len", 2)
def header(t):
    d = go(t, "runs")
    one(t, "PROCESS_STATE_STARTING", "runs")
    for event in events_of(d.bench, "all"):
        h = event["headers"]
        expect(
            re.fullmatch(
                rf"ver:3\.0 server:watcher serial:\d+ pool:all poolserial:\d+ eventname:[A-Z_0-9]+ len:{len(event['payload'])}\n",
                event["line"],
            ),
            event["line"],
        )
        expect(h["eventname"] != "EVENT", "an abstract event was sent")


@check("events.serials", "serials go up; those of a pool go up by one", 2)
def serials(t):
    d = go(t, "runs")
    one(t, "PROCESS_STATE_STARTING", "runs", "states")
    for pool in ["all", "states"]:
        found = events_of(d.bench, pool)
        numbers = [int(e["headers"]["serial"]) for e in found]
        same(numbers, sorted(set(numbers)), f"serials of {pool}")
        same([int(e["headers"]["poolserial"]) for e in found], list(range(len(found))), f"pool serials of {pool}")


@check("events.serials.shared", "an event has the same serial in every pool", 2)
def serials_shared(t):
    d = go(t, "runs")
    one(t, "PROCESS_STATE_STARTING", "runs", "states")
    one(t, "PROCESS_STATE_STARTING", "runs", "all")
    in_all = {e["headers"]["serial"]: e["payload"] for e in events_of(d.bench, "all")}
    for event in events_of(d.bench, "states"):
        if event["headers"]["serial"] in in_all:
            same(in_all[event["headers"]["serial"]], event["payload"])


@check("events.subscribe.abstract", "an abstract name subscribes to all below it, and to nothing else", 4)
def subscribe(t):
    d = go(t, "says")
    for name in ["talks", "talks_err", "fails", "exits0"]:
        go(t, name)
    one(t, "PROCESS_LOG_STDERR", "says", "logs")
    one(t, "PROCESS_COMMUNICATION_STDOUT", "talks", "comms")
    one(t, "PROCESS_STATE_FATAL", "fails", "states")
    for pool, prefix in [
        ("logs", "PROCESS_LOG_"),
        ("comms", "PROCESS_COMMUNICATION_"),
        ("states", "PROCESS_STATE_"),
        ("ticks", "TICK_"),
    ]:
        for event in events_of(d.bench, pool):
            expect(event["headers"]["eventname"].startswith(prefix), f"{pool} got {event['headers']['eventname']}")


@check("events.subscribe.several", "several names, in any case, subscribe to each", 4)
def subscribe_several(t):
    d = go(t, "fails")
    go(t, "exits0")
    go(t, "says")
    go(t, "talks_err")
    one(t, "PROCESS_STATE_FATAL", "fails", "exits")
    one(t, "PROCESS_STATE_EXITED", "exits0", "exits")
    one(t, "PROCESS_LOG_STDERR", "says", "errors")
    one(t, "PROCESS_COMMUNICATION_STDERR", "talks_err", "errors")
    expect(
        {e["headers"]["eventname"] for e in events_of(d.bench, "exits")}
        <= {"PROCESS_STATE_EXITED", "PROCESS_STATE_FATAL"},
        "exits got others",
    )
    expect(
        {e["headers"]["eventname"] for e in events_of(d.bench, "errors")}
        == {"PROCESS_LOG_STDERR", "PROCESS_COMMUNICATION_STDERR"},
        "errors got others",
    )


NAMES = (
    "EVENT PROCESS_STATE PROCESS_STATE_STARTING PROCESS_STATE_RUNNING PROCESS_STATE_BACKOFF PROCESS_STATE_STOPPING "
    "PROCESS_STATE_EXITED PROCESS_STATE_STOPPED PROCESS_STATE_FATAL PROCESS_STATE_UNKNOWN PROCESS_COMMUNICATION "
    "PROCESS_COMMUNICATION_STDOUT PROCESS_COMMUNICATION_STDERR PROCESS_LOG PROCESS_LOG_STDOUT PROCESS_LOG_STDERR "
    "REMOTE_COMMUNICATION SUPERVISOR_STATE_CHANGE SUPERVISOR_STATE_CHANGE_RUNNING SUPERVISOR_STATE_CHANGE_STOPPING "
    "TICK TICK_5 TICK_60 TICK_3600 PROCESS_GROUP PROCESS_GROUP_ADDED PROCESS_GROUP_REMOVED"
).split()


@check("events.names", "every event name is known to the config")
def names(t):
    t.start(
        *[program(f"l{number}", "/bin/cat", section="eventlistener", events=name) for number, name in enumerate(NAMES)]
    )


# -- the protocol ----------------------------------------------------------------------------


def send(d, count, first=0):
    for number in range(first, first + count):
        d.rpc.supervisor.sendRemoteCommEvent("n", f"number {number}.")


def numbers(events):
    return [int(re.search(r"number (\d+)\.", event["payload"]).group(1)) for event in events]


def wait_events(t, name, count):
    return until(lambda: (lambda e: e if len(e) >= count else None)(events_of(t, name)), f"{count} events at {name}")


@check("events.pool.one_process", "an event goes to one process of the pool only", 3)
def pool_one(t):
    d = t.start(
        listener(
            t, "l", "REMOTE_COMMUNICATION", numprocs=3, process_name="%(program_name)s_%(process_num)d", buffer_size=100
        )
    )
    for number in range(3):
        d.wait_state(f"l:l_{number}", "RUNNING")
    send(d, 30)
    found = wait_events(t, "l", 30)
    same(sorted(numbers(found)), list(range(30)))


@check("events.pool.parallel", "while one process is busy the next one gets the event", 3)
def pool_parallel(t):
    d = t.start(
        listener(
            t,
            "l",
            "REMOTE_COMMUNICATION",
            "--hold",
            t.path("go"),
            numprocs=2,
            process_name="%(program_name)s_%(process_num)d",
        )
    )
    for number in range(2):
        d.wait_state(f"l:l_{number}", "RUNNING")
    send(d, 3)
    found = wait_events(t, "l", 2)
    same(sorted(numbers(found)), [0, 1])
    expect(found[0]["pid"] != found[1]["pid"], "both went to the same process")
    t.write("go", "")
    wait_events(t, "l", 3)


@check("events.order", "events are delivered in their order", 3)
def order(t):
    d = t.start(listener(t, "l", "REMOTE_COMMUNICATION", buffer_size=100))
    send(d, 40)
    same(numbers(wait_events(t, "l", 40)), list(range(40)))


@check("events.rejected", "an event answered with FAIL is delivered again, same serials, before later ones", 3)
def rejected(t):
    d = t.start(listener(t, "l", "REMOTE_COMMUNICATION", "--fail", 2, buffer_size=100), supervisord="loglevel=debug")
    send(d, 3)
    found = wait_events(t, "l", 5)
    same(numbers(found), [0, 0, 0, 1, 2])
    same(len({(e["headers"]["serial"], e["headers"]["poolserial"]) for e in found[:3]}), 1, "different serials")
    same(d.log.count("WARN l: event was rejected\n"), 2, "lines in the log")
    contains(d.log, "DEBG l: event was processed\n")


@check("events.died", "an event whose listener died is delivered to the next one", 4)
def died(t):
    d = t.start(listener(t, "l", "REMOTE_COMMUNICATION", "--die", 1, buffer_size=100, autorestart="true"))
    send(d, 2)
    found = wait_events(t, "l", 3)
    same(numbers(found), [0, 0, 1])
    expect(found[0]["pid"] != found[1]["pid"], "the same process")


@check("events.overflow", "a full buffer drops the oldest, and tells it", 3)
def overflow(t):
    d = t.start(listener(t, "l", "REMOTE_COMMUNICATION", "--wait", t.path("go"), buffer_size=3))
    d.wait_state("l", "RUNNING")
    send(d, 7)
    d.wait_log(r"ERRO pool l event buffer overflowed, discarding event \d+$")
    until(lambda: len(re.findall("event buffer overflowed, discarding event", d.log)) == 4, "four lines")
    t.write("go", "")
    same(numbers(wait_events(t, "l", 3)), [4, 5, 6])


@check("events.buffer_default", "buffer_size is 10 by default", 3)
def buffer_default(t):
    d = t.start(listener(t, "l", "REMOTE_COMMUNICATION", "--wait", t.path("go")))
    d.wait_state("l", "RUNNING")
    send(d, 12)
    t.write("go", "")
    same(numbers(wait_events(t, "l", 10)), list(range(2, 12)))


@check("events.buffered_until_ready", "what happens before a listener is ready is kept for it", 3)
def buffered(t):
    d = t.start(
        listener(t, "l", "PROCESS_STATE_RUNNING", "--wait", t.path("go")),
        program("x", FOREVER, autostart="true", startsecs=0),
    )
    d.wait_state("x", "RUNNING")
    t.write("go", "")
    until(lambda: named(t, "l", "PROCESS_STATE_RUNNING", "x"), "the event of x")


UNKNOWN = (
    "has entered the UNKNOWN state and will no longer receive events, this usually indicates the "
    "process violated the eventlistener protocol"
)


@check("events.violation.no_ready", "a listener that does not begin with READY gets no events", 3)
def no_ready(t):
    d = t.start(listener(t, "l", "REMOTE_COMMUNICATION", "--mode", "hello"))
    d.wait_log(f"WARN l: {UNKNOWN}$")
    send(d, 2)
    same(d.state("l"), "RUNNING")
    same(events_of(t, "l"), [])


@check("events.violation.chatter", "data while READY is a violation", 3)
def chatter(t):
    d = t.start(listener(t, "l", "REMOTE_COMMUNICATION", "--mode", "chatter"))
    d.wait_log(f"WARN l: {UNKNOWN}$")
    send(d, 2)
    same(events_of(t, "l"), [])


@check("events.violation.result", "a result line that is none is a violation; the event is kept for others", 3)
def bad_result(t):
    d = t.start(listener(t, "l", "REMOTE_COMMUNICATION", "--mode", "badresult"))
    send(d, 1)
    d.wait_log(r"WARN l: bad result line: 'RESULT two'$")
    d.wait_log(f"WARN l: {UNKNOWN}$")


@check("events.violation.restart_heals", "after a restart a listener in UNKNOWN begins anew", 4)
def heals(t):
    text = t.write(
        "l.sh",
        f'#!/bin/sh\nif test -e {t.path("good")}; then exec {python("listener.py", t.path("l.events")).replace("%%", "%")}; fi\necho nonsense\nexec sleep 600\n',
        0o755,
    )
    d = t.start(
        program("l", text, section="eventlistener", events="REMOTE_COMMUNICATION", autostart="true", startsecs=0)
    )
    d.wait_log(f"WARN l: {UNKNOWN}$")
    t.write("good", "")
    d.rpc.supervisor.stopProcess("l")
    d.rpc.supervisor.startProcess("l")
    send(d, 1)
    wait_events(t, "l", 1)


@check("events.pieces", "READY in pieces is understood", 3)
def pieces(t):
    d = t.start(listener(t, "l", "REMOTE_COMMUNICATION", "--mode", "pieces"))
    send(d, 3)
    same(numbers(wait_events(t, "l", 3)), [0, 1, 2])


@check("events.listener_logs", "a listener's stdout and stderr are logged", 3)
def listener_logs(t):
    d = t.start(
        listener(t, "l", "REMOTE_COMMUNICATION", stdout_logfile=t.path("l.out"), stderr_logfile=t.path("l.err"))
    )
    send(d, 1)
    until(lambda: t.read("l.out") == "READY\nRESULT 2\nOKREADY\n", "the protocol in the log")
    same(t.read("l.err"), "listening\n")


@check("events.listener_priority", "listeners start first and stop last", 5)
def listener_priority(t):
    d = t.start(
        program("aa", FOREVER, autostart="true", startsecs=0, priority=0),
        listener(t, "zz", "PROCESS_STATE_STOPPED"),
    )
    for name in ["zz", "aa"]:
        d.wait_up(name)
    same({i["name"]: i["group_prio"] for i in d.rpc.supervisor.getAllConfigInfo()}, {"aa": 0, "zz": -1})
    same(re.findall(r"spawned: '(\S+)'", d.log), ["zz", "aa"], "the order of starting")
    d.terminate()
    same(re.findall(r"stopped: (\S+) ", d.log), ["aa", "zz"], "the order of stopping")


@check("events.result_handler", "the default result_handler may be named", 2)
def result_handler(t):
    d = t.start(listener(t, "l", "REMOTE_COMMUNICATION", result_handler="supervisor.dispatchers:default_handler"))
    send(d, 1)
    wait_events(t, "l", 1)


@check("events.debug_lines", "at debug level the changes of the listener's state are told", 3)
def debug_lines(t):
    d = t.start(listener(t, "l", "REMOTE_COMMUNICATION"), supervisord="loglevel=debug")
    d.wait_log("DEBG l: ACKNOWLEDGED -> READY$")
    send(d, 1)
    d.wait_log("DEBG l: BUSY -> ACKNOWLEDGED$")


# -- the original's own client code -----------------------------------------------------------


def childutils(t, *sections, **options):
    probe = t.run(["/usr/bin/python3", "-W", "ignore", "-c", "import supervisor.childutils"])
    if probe.code != 0:
        raise Skip("python3-supervisor is not installed")
    command = f"/usr/bin/python3 -W ignore {PROGRAMS / 'childutils_listener.py'} {t.path('out')}"
    return t.start(program("l", command, section="eventlistener", autostart="true", startsecs=0, **options), *sections)


@check("events.childutils", "a listener with supervisor.childutils works, and can call back", 4)
def with_childutils(t):
    d = childutils(t, program("x", FOREVER, startsecs=0), events="PROCESS_STATE_RUNNING,TICK_5")
    until(lambda: f"pid {d.pid}\n" in t.read("out"), "its call")
    d.rpc.supervisor.startProcess("x")
    until(lambda: "PROCESS_STATE_RUNNING x" in t.read("out"), "the event")
    until(lambda: "TICK_5" in t.read("out"), "a tick")


@check("events.childutils.utf8", "it reads events with text that is not ASCII, and the next ones", 4)
def with_childutils_utf8(t):
    talk = sh("printf '<!--XSUPERVISOR:BEGIN-->Øresund, Malmö…<!--XSUPERVISOR:END-->'; exec sleep 600")
    d = childutils(
        t,
        program("x", talk, startsecs=0, stdout_capture_maxbytes="1KB"),
        program("y", talk, startsecs=0, stdout_capture_maxbytes="1KB"),
        events="PROCESS_COMMUNICATION",
    )
    until(lambda: f"pid {d.pid}\n" in t.read("out"), "its call")
    d.rpc.supervisor.startProcess("x")
    until(lambda: "PROCESS_COMMUNICATION_STDOUT x Øresund, Malmö…\n" in t.read("out"), "the first event")
    d.rpc.supervisor.startProcess("y")
    until(lambda: "PROCESS_COMMUNICATION_STDOUT y Øresund, Malmö…\n" in t.read("out"), "the second event")
