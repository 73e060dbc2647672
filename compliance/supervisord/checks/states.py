"""1.3: process states and their transitions, order, and what a child is born with."""

import os
import pwd
import re
import signal
import xmlrpc.client

from harness.bench import alive, command_of, program, require_root, sh, until
from harness.register import check, contains, expect, same

FOREVER = sh("exec sleep 600")


def lines(t, name):
    return t.read(name).splitlines()


def counting(t, name, rest):
    """A shell command that appends its pid to a file each time it is started."""
    return sh(f"echo $$ >> {t.path(name)}; {rest}")


# -- one daemon for what only needs a program of its own -----------------------------------------

SHARED = {
    "auto": dict(command=FOREVER, autostart="true"),
    "manual": dict(command=FOREVER),
    "slow_start": dict(command=FOREVER, startsecs=600),
    "stop_while_starting": dict(command=FOREVER, startsecs=600),
    "startsecs_0": dict(command=FOREVER, startsecs=0),
    "startsecs_0_exit": dict(command=sh("sleep 0.3; exit 0"), startsecs=0, autorestart="false"),
    "exit_0": dict(command=sh("sleep 1.5; exit 0"), startsecs=1),
    "exit_2": dict(command=sh("sleep 1.5; exit 2"), startsecs=1, exitcodes="0,2"),
    "exit_3": dict(command=sh("sleep 1.5; exit 3"), startsecs=1, autorestart="false"),
    "killed": dict(command=FOREVER, autorestart="false"),
    "too_quick": dict(command=sh("exit 0"), startsecs=5, startretries=0),
    "not_found": dict(command="/no/such/program", startretries=0, autostart="true"),
    "not_found_in_path": dict(command="no_such_program_anywhere", startretries=0, autostart="true"),
    "a_directory": dict(command="/tmp", startretries=0, autostart="true"),
    "not_executable": dict(command="/etc/passwd", startretries=0, autostart="true"),
    "bad_quoting": dict(command='/bin/echo "open', startretries=0, autostart="true"),
    "backoff": dict(command=sh("exit 1"), startsecs=5, startretries=1000),
    "fatal_again": dict(command="{dir}/appears", startretries=0, autostart="true"),
    "stubborn": dict(command=sh("trap '' TERM; while :; do sleep 0.2; done"), stopwaitsecs=1, startsecs=0),
    "stop_usr1": dict(
        command=sh("trap 'echo usr1 > {dir}/stop_usr1.seen; exit 0' USR1; while :; do sleep 0.1; done"),
        stopsignal="USR1",
        startsecs=0,
    ),
    "stop_int": dict(
        command=sh("trap 'echo int > {dir}/stop_int.seen; exit 7' INT; while :; do sleep 0.1; done"),
        stopsignal="INT",
        startsecs=0,
    ),
    "parent_only": dict(command=sh("sleep 601 & echo $! > {dir}/parent_only.pid; wait"), startsecs=0),
    "whole_group": dict(
        command=sh("sleep 602 & echo $! > {dir}/whole_group.pid; wait"), stopasgroup="true", startsecs=0
    ),
    "kill_group": dict(
        command=sh("trap '' TERM; sleep 603 & echo $! > {dir}/kill_group.pid; while :; do wait; done"),
        stopwaitsecs=1,
        killasgroup="true",
        startsecs=0,
    ),
    "term_one": dict(command=sh("sleep 605 & echo $! > {dir}/term_one.pid; wait"), killasgroup="true", startsecs=0),
    "kill_one": dict(
        command=sh("trap '' TERM; sleep 604 & echo $! > {dir}/kill_one.pid; while :; do wait; done"),
        stopwaitsecs=1,
        startsecs=0,
    ),
    "restarted": dict(command=sh("echo $$ >> {dir}/restarted.pids; sleep 1.3; exit 5"), startsecs=1),
    "restart_always": dict(
        command=sh("echo $$ >> {dir}/restart_always.pids; sleep 1.3; exit 0"), startsecs=1, autorestart="true"
    ),
    "restart_never": dict(
        command=sh("echo $$ >> {dir}/restart_never.pids; sleep 1.3; exit 5"), startsecs=1, autorestart="false"
    ),
    "restart_expected": dict(
        command=sh("echo $$ >> {dir}/restart_expected.pids; sleep 1.3; exit 4"), startsecs=1, exitcodes="4"
    ),
    "no_chdir": dict(
        command="/bin/cat",
        directory="/no/such/dir",
        startsecs=0,
        startretries=0,
        autorestart="false",
        stderr_logfile="{dir}/no_chdir.err",
    ),
    "bad_interpreter": dict(
        command="{dir}/bad_interpreter", startsecs=0, autorestart="false", stderr_logfile="{dir}/bad_interpreter.err"
    ),
    "no_format": dict(
        command="{dir}/no_format", startsecs=0, autorestart="false", stderr_logfile="{dir}/no_format.err"
    ),
    "redirected_error": dict(
        command="/bin/cat",
        directory="/no/such/dir",
        startsecs=0,
        autorestart="false",
        redirect_stderr="true",
        stdout_logfile="{dir}/redirected.out",
    ),
}


def daemon(t):
    def make(bench):
        bench.write("bad_interpreter", "#!/no/such/interpreter\n", 0o755)
        bench.write("no_format", "\x7fnot a program\n", 0o755)
        sections = []
        for name, options in SHARED.items():
            options = {key: str(value).replace("{dir}", str(bench.dir)) for key, value in options.items()}
            sections.append(program(name, options.pop("command"), **options))
        return bench.start(*sections, supervisord="loglevel=debug")

    return t.shared("states", make)


def start(d, name):
    return d.rpc.supervisor.startProcess(name, False)


def stop(d, name):
    return d.rpc.supervisor.stopProcess(name)


def start_quietly(d, name):
    """Starts what may be dead (fault 50) or started (fault 60) before the answer comes."""
    try:
        return start(d, name)
    except xmlrpc.client.Fault:
        return False


def stop_quietly(d, name):
    """Stops what may not be running just now."""
    try:
        return stop(d, name)
    except xmlrpc.client.Fault:
        return False


@check("states.autostart", "autostart: STARTING, spawned, RUNNING after startsecs", 3)
def autostart(t):
    d = daemon(t)
    info = d.wait_state("auto", "RUNNING")
    same(info["state"], 20)
    expect(alive(info["pid"]), "the child is not alive")
    d.wait_log(rf"INFO spawned: 'auto' with pid {info['pid']}$")
    d.wait_log(r"INFO success: auto entered RUNNING state, process has stayed up for > than 1 seconds \(startsecs\)$")


@check("states.not_autostarted", "autostart=false: STOPPED and never started")
def not_autostarted(t):
    info = daemon(t).info("manual")
    same(
        (info["state"], info["statename"], info["description"], info["pid"], info["start"]),
        (0, "STOPPED", "Not started", 0, 0),
    )


@check("states.starting", "it stays STARTING until startsecs are over", 3)
def starting(t):
    d = daemon(t)
    start(d, "slow_start")
    info = d.info("slow_start")
    same((info["state"], info["statename"], info["description"]), (10, "STARTING", ""))
    expect(info["pid"] > 0, "no pid while STARTING")


@check("states.startsecs_0", "startsecs=0: RUNNING at once")
def startsecs_0(t):
    d = daemon(t)
    same(start(d, "startsecs_0"), True)
    d.wait_state("startsecs_0", "RUNNING")
    d.wait_log(
        r"INFO success: startsecs_0 entered RUNNING state, process has stayed up for > than 0 seconds \(startsecs\)$"
    )


@check("states.startsecs_0_exit", "startsecs=0: an exit is never too early", 2)
def startsecs_0_exit(t):
    d = daemon(t)
    start(d, "startsecs_0_exit")
    info = d.wait_state("startsecs_0_exit", "EXITED")
    same((info["state"], info["exitstatus"], info["spawnerr"]), (100, 0, ""))


@check("states.exited_expected", "an exit with an expected code: EXITED, no restart", 4)
def exited_expected(t):
    d = daemon(t)
    start(d, "exit_0")
    info = d.wait_state("exit_0", "EXITED")
    same((info["exitstatus"], info["spawnerr"], info["pid"]), (0, "", 0))
    d.wait_log(r"INFO exited: exit_0 \(exit status 0; expected\)$")


@check("states.exitcodes", "exitcodes says which codes are expected", 4)
def exitcodes(t):
    d = daemon(t)
    start(d, "exit_2")
    same(d.wait_state("exit_2", "EXITED")["exitstatus"], 2)
    d.wait_log(r"INFO exited: exit_2 \(exit status 2; expected\)$")


@check("states.exited_unexpected", "an exit with another code: spawnerr tells it, WARN in the log", 4)
def exited_unexpected(t):
    d = daemon(t)
    start(d, "exit_3")
    info = d.wait_state("exit_3", "EXITED")
    same((info["exitstatus"], info["spawnerr"]), (3, "Bad exit code 3"))
    d.wait_log(r"WARN exited: exit_3 \(exit status 3; not expected\)$")


@check("states.killed", "a death by signal is exit status -1, and unexpected", 4)
def killed(t):
    d = daemon(t)
    start(d, "killed")
    pid = d.wait_state("killed", "RUNNING")["pid"]
    os.kill(pid, signal.SIGKILL)
    info = d.wait_state("killed", "EXITED")
    same((info["exitstatus"], info["spawnerr"]), (-1, "Bad exit code -1"))
    d.wait_log(r"WARN exited: killed \(terminated by SIGKILL; not expected\)$")


@check("states.exited_too_quickly", "an exit before startsecs: BACKOFF, then FATAL; also with code 0", 3)
def exited_too_quickly(t):
    d = daemon(t)
    start_quietly(d, "too_quick")
    info = d.wait_state("too_quick", "FATAL")
    same(
        (info["state"], info["spawnerr"], info["exitstatus"]),
        (200, "Exited too quickly (process log may have details)", 0),
    )
    same(info["description"], info["spawnerr"], "description")
    d.wait_log(r"WARN exited: too_quick \(exit status 0; not expected\)$")
    d.wait_log(r"INFO gave up: too_quick entered FATAL state, too many start retries too quickly$")


for name, message in [
    ("not_found", "can't find command '/no/such/program'"),
    ("not_found_in_path", "can't find command 'no_such_program_anywhere'"),
    ("a_directory", "command at '/tmp' is a directory"),
    ("not_executable", "command at '/etc/passwd' is not executable"),
    ("bad_quoting", "can't parse command '/bin/echo \"open': No closing quotation"),
]:

    @check(f"states.spawnerr.{name}", "what cannot be spawned goes to BACKOFF and FATAL, with the reason")
    def spawnerr(t, name=name, message=message):
        d = daemon(t)
        info = d.wait_state(name, "FATAL")
        same((info["spawnerr"], info["description"], info["pid"]), (message, message, 0))
        contains(d.log, f"INFO spawnerr: {message}", "main log")
        d.wait_log(rf"INFO gave up: {name} entered FATAL state, too many start retries too quickly$")


@check("states.backoff", "BACKOFF while waiting for the next attempt", 2)
def backoff(t):
    d = daemon(t)
    start_quietly(d, "backoff")
    info = d.wait_state("backoff", "BACKOFF")
    same((info["state"], info["description"]), (30, "Exited too quickly (process log may have details)"))
    # From BACKOFF a stop is immediate.
    until(lambda: d.state("backoff") == "BACKOFF" and stop_quietly(d, "backoff"), "a stop from BACKOFF")
    same(d.state("backoff"), "STOPPED")


@check("states.fatal_start", "from FATAL it can be started again", 3)
def fatal_start(t):
    d = daemon(t)
    d.wait_state("fatal_again", "FATAL")
    d.bench.write("appears", "#!/bin/sh\nexec sleep 600\n", 0o755)
    start(d, "fatal_again")
    info = d.wait_state("fatal_again", "RUNNING")
    same(info["spawnerr"], "")


@check("states.stop", "a stop: the signal, STOPPED, and the log line", 3)
def stop_it(t):
    d = daemon(t)
    start(d, "stop_while_starting")
    same(d.state("stop_while_starting"), "STARTING")
    pid = d.info("stop_while_starting")["pid"]
    until(lambda: command_of(pid) != command_of(d.pid), "the exec")
    same(stop(d, "stop_while_starting"), True)
    info = d.info("stop_while_starting")
    same((info["statename"], info["pid"], info["exitstatus"]), ("STOPPED", 0, -1))
    d.wait_log(r"WARN stopped: stop_while_starting \(terminated by SIGTERM\)$")


@check("states.stop_sigkill", "after stopwaitsecs it is killed with SIGKILL", 4)
def stop_sigkill(t):
    d = daemon(t)
    start(d, "stubborn")
    pid = d.wait_up("stubborn")["pid"]
    settle(d, "stubborn")
    d.rpc.supervisor.stopProcess("stubborn", False)
    info = d.info("stubborn")
    expect(info["statename"] in ("STOPPING", "STOPPED"), info["statename"])
    d.wait_state("stubborn", "STOPPED")
    d.wait_log(rf"WARN killing 'stubborn' \({pid}\) with SIGKILL$")
    d.wait_log(r"WARN stopped: stubborn \(terminated by SIGKILL\)$")


@check("states.stopsignal", "stopsignal is what is sent; an expected exit is INFO", 2)
def stopsignal(t):
    d = daemon(t)
    start(d, "stop_usr1")
    d.wait_up("stop_usr1")
    settle(d, "stop_usr1")
    stop(d, "stop_usr1")
    same(d.bench.read("stop_usr1.seen"), "usr1\n")
    d.wait_log(r"INFO stopped: stop_usr1 \(exit status 0\)$")


@check("states.stopsignal_exit", "an unexpected exit code at a stop is WARN, and is kept", 2)
def stopsignal_exit(t):
    d = daemon(t)
    start(d, "stop_int")
    d.wait_up("stop_int")
    settle(d, "stop_int")
    stop(d, "stop_int")
    same(d.bench.read("stop_int.seen"), "int\n")
    same(d.info("stop_int")["exitstatus"], 7)
    d.wait_log(r"WARN stopped: stop_int \(exit status 7\)$")


def settle(d, name):
    """Waits until the shell has come to its loop (and so has set its traps)."""
    pid = d.info(name)["pid"]

    def has_child():
        return open(f"/proc/{pid}/task/{pid}/children").read().split()

    until(has_child, f"{name} to be in its loop")


def grandchild(d, name):
    return int(until(lambda: d.bench.read(f"{name}.pid").strip(), f"the pid of {name}'s child"))


@check("states.stop_pid_only", "a stop signals the process only, not its children", 2)
def stop_pid_only(t):
    d = daemon(t)
    start(d, "parent_only")
    child = grandchild(d, "parent_only")
    stop(d, "parent_only")
    expect(alive(child), "the child's child was killed too")


@check("states.stopasgroup", "stopasgroup signals the whole process group", 2)
def stopasgroup(t):
    d = daemon(t)
    start(d, "whole_group")
    child = grandchild(d, "whole_group")
    stop(d, "whole_group")
    until(lambda: not alive(child), "the child's child to die")


@check("states.killasgroup", "killasgroup sends the SIGKILL to the whole group", 4)
def killasgroup(t):
    d = daemon(t)
    start(d, "kill_group")
    child = grandchild(d, "kill_group")
    settle(d, "kill_group")
    stop(d, "kill_group")
    until(lambda: not alive(child), "the child's child to die")
    d.wait_log(r"WARN stopped: kill_group \(terminated by SIGKILL\)$")


@check("states.killasgroup_stop", "killasgroup alone does not send the stop signal to the group", 2)
def killasgroup_stop(t):
    d = daemon(t)
    start(d, "term_one")
    child = grandchild(d, "term_one")
    stop(d, "term_one")
    d.wait_log(r"WARN stopped: term_one \(terminated by SIGTERM\)$")
    expect(alive(child), "the child's child was killed too")


@check("states.kill_pid_only", "without killasgroup the SIGKILL is for the process only", 4)
def kill_pid_only(t):
    d = daemon(t)
    start(d, "kill_one")
    child = grandchild(d, "kill_one")
    settle(d, "kill_one")
    stop(d, "kill_one")
    d.wait_log(r"WARN stopped: kill_one \(terminated by SIGKILL\)$")
    expect(alive(child), "the child's child was killed too")


@check("states.autorestart.unexpected", "autorestart=unexpected restarts after an unexpected exit", 5)
def restart_unexpected(t):
    d = daemon(t)
    start(d, "restarted")
    until(lambda: len(lines(d.bench, "restarted.pids")) >= 2, "a second start")
    stop_quietly(d, "restarted")


@check("states.autorestart.true", "autorestart=true restarts after every exit", 5)
def restart_true(t):
    d = daemon(t)
    start(d, "restart_always")
    until(lambda: len(lines(d.bench, "restart_always.pids")) >= 2, "a second start")
    d.wait_log(r"INFO exited: restart_always \(exit status 0; expected\)$")
    stop_quietly(d, "restart_always")


@check("states.autorestart.false", "autorestart=false never restarts", 6)
def restart_false(t):
    d = daemon(t)
    start(d, "restart_never")
    stays_exited(d, "restart_never")


@check("states.autorestart.expected", "autorestart=unexpected does not restart after an expected exit", 6)
def restart_expected(t):
    d = daemon(t)
    start(d, "restart_expected")
    stays_exited(d, "restart_expected")


def stays_exited(d, name):
    """After the exit, lets the daemon see another program through a start and a stop."""
    stop_at = d.wait_state(name, "EXITED")["stop"]
    # A restart would come in the next turn of the loop: let the daemon's clock go on 3 s.
    until(lambda: d.info(name)["now"] >= stop_at + 3, "three seconds")
    same(d.state(name), "EXITED")
    same(len(lines(d.bench, f"{name}.pids")), 1, "number of starts")


# -- what fails after the fork -----------------------------------------------------------------


@check("states.child_error.chdir", "a directory that is not there: told in the child's stderr log, exit 127", 2)
def no_chdir(t):
    d = daemon(t)
    start_quietly(d, "no_chdir")
    until(lambda: "not spawned" in d.bench.read("no_chdir.err"), "the child's stderr log")
    same(
        d.bench.read("no_chdir.err"),
        "supervisor: couldn't chdir to /no/such/dir: ENOENT\nsupervisor: child process was not spawned\n",
    )
    d.wait_log(r"exited: no_chdir \(exit status 127; not expected\)$")


@check("states.child_error.interpreter", "an interpreter that is not there: told in the stderr log", 2)
def bad_interpreter(t):
    d = daemon(t)
    start_quietly(d, "bad_interpreter")
    until(lambda: "not spawned" in d.bench.read("bad_interpreter.err"), "the child's stderr log")
    same(
        d.bench.read("bad_interpreter.err"),
        f"supervisor: couldn't exec {d.bench.path('bad_interpreter')}: ENOENT\nsupervisor: child process was not spawned\n",
    )


@check("states.child_error.format", "a file that is no program: told in the stderr log", 2)
def no_format(t):
    d = daemon(t)
    start_quietly(d, "no_format")
    until(lambda: "not spawned" in d.bench.read("no_format.err"), "the child's stderr log")
    same(
        d.bench.read("no_format.err"),
        f"supervisor: couldn't exec {d.bench.path('no_format')}: ENOEXEC\nsupervisor: child process was not spawned\n",
    )


@check("states.child_error.redirected", "with redirect_stderr it is told in the stdout log", 2)
def redirected_error(t):
    d = daemon(t)
    start_quietly(d, "redirected_error")
    until(lambda: "child process was not spawned\n" in d.bench.read("redirected.out"), "the child's stdout log")


# -- retries ---------------------------------------------------------------------------------


@check("states.startretries", "startretries=N makes N+1 attempts, the pause one second longer each time", 9)
def startretries(t):
    d = t.start(
        program("x", sh(f"date +%s.%N >> {t.path('starts')}; exit 1"), autostart="true", startretries=2, startsecs=5)
    )
    d.wait_state("x", "FATAL")
    times = [float(line) for line in lines(t, "starts")]
    same(len(times), 3, "attempts")
    expect(times[1] - times[0] >= 1, f"the first pause was {times[1] - times[0]:.2f} s")
    expect(times[2] - times[1] >= 2, f"the second pause was {times[2] - times[1]:.2f} s")
    same(len(re.findall(r"WARN exited: x \(exit status 1; not expected\)", d.log)), 3, "log lines")


@check("states.startretries_0", "startretries=0 makes one attempt", 3)
def startretries_0(t):
    d = t.start(program("x", counting(t, "starts", "exit 1"), autostart="true", startretries=0, startsecs=5))
    d.wait_state("x", "FATAL")
    same(len(lines(t, "starts")), 1, "attempts")


@check("states.backoff_recovers", "a successful start in BACKOFF ends in RUNNING", 7)
def backoff_recovers(t):
    t.write("flag", "")
    d = t.start(
        program(
            "x",
            sh(f"test -e {t.path('good')} || exit 1; exec sleep 600"),
            autostart="true",
            startretries=30,
            startsecs=1,
        )
    )
    d.wait_state("x", "BACKOFF")
    t.write("good", "")
    d.wait_state("x", "RUNNING")


# -- order -----------------------------------------------------------------------------------


def spawned(d):
    return re.findall(r"INFO spawned: '(\S+)' with pid", d.log)


def stopped(d):
    return re.findall(r"stopped: (\S+) \(", d.log)


def ordered(name, priority, **options):
    return program(name, FOREVER, autostart="true", startsecs=0, priority=priority, **options)


@check("states.order.start", "programs start in the order of priority, then of name", 3)
def order_start(t):
    d = t.start(ordered("zz", 1), ordered("bb", 20), ordered("cc", 3), ordered("ab", 20), ordered("aa", 999))
    for name in ["zz", "cc", "ab", "bb", "aa"]:
        d.wait_state(name, "RUNNING")
    same(spawned(d), ["zz", "cc", "ab", "bb", "aa"])


@check("states.order.shutdown", "at shutdown the groups stop in the opposite order", 5)
def order_shutdown(t):
    d = t.start(ordered("zz", 1), ordered("bb", 20), ordered("cc", 3), ordered("ab", 20), ordered("aa", 999))
    for name in ["zz", "cc", "ab", "bb", "aa"]:
        d.wait_up(name)
    same(d.terminate(), 0)
    same(stopped(d), ["aa", "bb", "ab", "cc", "zz"])


@check("states.order.shutdown_waits", "a group is down before the next one is told to stop", 6)
def order_shutdown_waits(t):
    slow = sh(
        f"trap 'sleep 1.5; date +%s.%N > {t.path('slow.end')}; exit 0' TERM; echo up > {t.path('slow.up')}; while :; do sleep 0.1; done"
    )
    quick = sh(
        f"trap 'date +%s.%N > {t.path('quick.told')}; exit 0' TERM; echo up > {t.path('quick.up')}; while :; do sleep 0.1; done"
    )
    d = t.start(
        program("slow", slow, autostart="true", startsecs=0, priority=900),
        program("quick", quick, autostart="true", startsecs=0, priority=100),
    )
    until(lambda: t.read("slow.up") and t.read("quick.up"), "both to be up")
    same(d.terminate(), 0)
    expect(
        float(t.read("quick.told")) >= float(t.read("slow.end")),
        "the second group was told while the first one was still up",
    )


@check("states.order.shutdown_in_group", "within a group the signals are sent in the opposite order too", 5)
def order_shutdown_in_group(t):
    members = [ordered("b", 20), ordered("c", 3), ordered("a", 999)]
    d = t.start(*members, "[group:g]\nprograms=a,b,c\n", supervisord="loglevel=debug")
    for name in ["a", "b", "c"]:
        d.wait_up(f"g:{name}")
    same(d.terminate(), 0)
    told = re.findall(r"DEBG killing (\S+) \(pid \d+\) with signal SIGTERM", d.log)
    same(told, ["a", "b", "c"])


@check("states.order.group_priority", "the priority of a [group:x] orders its members as one", 3)
def order_groups(t):
    d = t.start(
        ordered("a", 500),
        ordered("b", 1),
        ordered("c", 2),
        ordered("d", 3),
        "[group:late]\nprograms=b,c\npriority=900\n",
    )
    for name in ["a", "late:b", "late:c", "d"]:
        d.wait_state(name, "RUNNING")
    same(spawned(d), ["d", "a", "b", "c"])


# -- numprocs --------------------------------------------------------------------------------


@check("states.numprocs", "numprocs starts that many, numbered from numprocs_start", 2)
def numprocs(t):
    d = t.start(
        program(
            "w",
            sh(f"echo %(process_num)d >> {t.path('nums')}; exec sleep 600").replace("%%(", "%("),
            autostart="true",
            startsecs=0,
            numprocs=3,
            numprocs_start=4,
            process_name="%(program_name)s_%(process_num)02d",
        )
    )
    names = [info["name"] for info in d.rpc.supervisor.getAllProcessInfo()]
    same(names, ["w_04", "w_05", "w_06"])
    same({info["group"] for info in d.rpc.supervisor.getAllProcessInfo()}, {"w"})
    until(lambda: sorted(lines(t, "nums")) == ["4", "5", "6"], "the numbers")


# -- what a child is born with ---------------------------------------------------------------


def born(t):
    """A daemon with one child for each question, each writing its answer to a file."""

    def make(bench):
        def asks(name, script, **options):
            return program(
                name,
                sh(
                    f"{script} > {bench.path(name + '.tmp')} 2>&1; mv {bench.path(name + '.tmp')} {bench.path(name + '.answer')}; exec sleep 600"
                ),
                autostart="true",
                startsecs=0,
                **options,
            )

        os.makedirs(bench.path("bin1"))
        os.makedirs(bench.path("bin2"))
        os.makedirs(bench.path("work"))
        for number in "12":
            bench.write(
                f"bin{number}/whoami_test",
                f"#!/bin/sh\necho bin{number} > {bench.path('which')}$1\nexec sleep 600\n",
                0o755,
            )
        script = f"for w; do echo \"[$w]\"; done > {bench.path('words.answer')}"
        words = bench.write("words.sh", f"#!/bin/sh\n{script}\nexec sleep 600\n", 0o755)
        sections = [
            asks("env", "env"),
            asks("grouped", "env"),
            asks("url", "env", serverurl="http://127.0.0.1:1234"),
            asks("override", "env", environment="SUPERVISOR_GROUP_NAME=mine,SUPERVISOR_ENABLED=2"),
            asks("fds", 'r=; for i in $(seq 3 60); do test -e /proc/$$/fd/$i && r="$r $i"; done; echo open:$r'),
            asks("fd_types", "readlink /proc/$$/fd/0"),
            asks("group", "cut -d' ' -f1,5,6 /proc/$$/stat"),
            asks("cwd", "pwd", directory=bench.path("work")),
            asks("cwd_default", "pwd"),
            asks("umask", "umask", umask="027"),
            asks(
                "signals",
                "while read -r key value; do case $key in SigBlk:) echo $value;; esac; done < /proc/$$/status",
            ),
            program(
                "path_own",
                "whoami_test own",
                autostart="true",
                startsecs=0,
                environment=f'PATH="{bench.path("bin1")}:/usr/bin:/bin"',
            ),
            program("path_daemon", "whoami_test daemon", autostart="true", startsecs=0),
            program("words", f"{words} a 'b c' \"d  e\" f\\ g $HOME *.txt '|' x;y", autostart="true", startsecs=0),
            "[group:holder]\nprograms=grouped\n",
        ]
        return bench.start(*sections, env={"PATH": f"{bench.path('bin2')}:/usr/bin:/bin"})

    return t.shared("born", make)


def answer(t, name):
    d = born(t)
    return until(lambda: d.bench.read(f"{name}.answer"), f"the answer of {name}")


def answer_env(t, name):
    return dict(line.partition("=")[::2] for line in answer(t, name).splitlines())


@check("states.child.environment", "SUPERVISOR_ENABLED, SERVER_URL, PROCESS_NAME and GROUP_NAME are set")
def child_environment(t):
    env = answer_env(t, "env")
    same(env.get("SUPERVISOR_ENABLED"), "1")
    same(env.get("SUPERVISOR_SERVER_URL"), f"unix://{born(t).sock}")
    same(env.get("SUPERVISOR_PROCESS_NAME"), "env")
    same(env.get("SUPERVISOR_GROUP_NAME"), "env")


@check("states.child.environment_group", "SUPERVISOR_GROUP_NAME is the group of a [group:x]")
def child_environment_group(t):
    env = answer_env(t, "grouped")
    same((env.get("SUPERVISOR_GROUP_NAME"), env.get("SUPERVISOR_PROCESS_NAME")), ("holder", "grouped"))


@check("states.child.serverurl", "serverurl= of a program is what its child sees")
def child_serverurl(t):
    same(answer_env(t, "url").get("SUPERVISOR_SERVER_URL"), "http://127.0.0.1:1234")


@check("states.child.environment_wins", "environment= wins over the SUPERVISOR_ variables")
def child_environment_wins(t):
    env = answer_env(t, "override")
    same((env.get("SUPERVISOR_GROUP_NAME"), env.get("SUPERVISOR_ENABLED")), ("mine", "2"))


@check("states.child.fds", "a child has the descriptors 0, 1 and 2 only")
def child_fds(t):
    same(answer(t, "fds").strip(), "open:", "descriptors from 3 on")


@check("states.child.stdin", "a child's stdin is a pipe")
def child_stdin(t):
    expect(re.match(r"pipe:|/dev/fd|socket:", answer(t, "fd_types")), answer(t, "fd_types"))


@check("states.child.process_group", "a child leads a process group of its own")
def child_group(t):
    # Ours gives it a session of its own too, so that it has no terminal to lose.
    pid, group, _session = answer(t, "group").split()
    same(group, pid, "process group")


@check("states.child.directory", "directory= is where a child starts")
def child_directory(t):
    same(answer(t, "cwd").strip(), born(t).bench.path("work"))
    same(answer(t, "cwd_default").strip(), str(born(t).bench.dir), "without directory=")


@check("states.child.umask", "umask= is the child's umask")
def child_umask(t):
    same(answer(t, "umask").strip(), "0027")


@check("states.child.signals", "no signal is blocked in a child")
def child_signals(t):
    same(int(answer(t, "signals"), 16), 0, "blocked signals")


@check("states.child.path_own", "a command without / is looked up in the program's own PATH first")
def child_path_own(t):
    d = born(t)
    same(until(lambda: d.bench.read("whichown"), "its answer"), "bin1\n")


@check("states.child.path_daemon", "without a PATH of its own it is looked up in the daemon's")
def child_path_daemon(t):
    d = born(t)
    same(until(lambda: d.bench.read("whichdaemon"), "its answer"), "bin2\n")


@check("states.child.words", "a command is split like a shell would, but no shell reads it")
def child_words(t):
    same(answer(t, "words").splitlines(), ["[a]", "[b c]", "[d  e]", "[f g]", "[$HOME]", "[*.txt]", "[|]", "[x;y]"])


@check("states.child.user", "user= changes uid, gid and all groups; the environment stays", 2)
def child_user(t):
    require_root()
    nobody = pwd.getpwnam("nobody")
    os.chmod(t.dir, 0o777)
    t.start(
        program(
            "x",
            sh(
                f"id -u > {t.path('a')}; id -g >> {t.path('a')}; id -G >> {t.path('a')}; echo $HOME $USER >> {t.path('a')}; exec sleep 600"
            ),
            autostart="true",
            startsecs=0,
            user="nobody",
        ),
        env={"HOME": "/daemons/home", "USER": "daemons"},
    )
    until(lambda: len(lines(t, "a")) == 4, "the answers")
    uid, gid, groups, rest = lines(t, "a")
    same((int(uid), int(gid), groups.split()), (nobody.pw_uid, nobody.pw_gid, [str(nobody.pw_gid)]))
    same(rest, "/daemons/home daemons")


@check("states.child.user_not_permitted", "a daemon that is not root cannot start a program as another user", 2)
def child_user_not_permitted(t):
    require_root()
    os.chmod(t.dir, 0o777)
    t.start(
        program(
            "x",
            "/bin/cat",
            autostart="true",
            startsecs=0,
            autorestart="false",
            user="daemon",
            stderr_logfile=t.path("x.err"),
        ),
        args=["-u", "nobody"],
    )
    until(lambda: "not spawned" in t.read("x.err"), "the child's stderr log")
    expect(
        re.match(
            r"supervisor: couldn't setuid to \d+: Can't drop privilege as nonroot user\nsupervisor: child process was not spawned\n",
            t.read("x.err"),
        ),
        t.read("x.err"),
    )
