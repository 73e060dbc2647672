"""What counts as a change of the config, and what a reread leaves alone."""

import os
import signal

from harness.bench import program, sh, until
from harness.register import check, contains, expect, same

FOREVER = sh("exec sleep 600")


def changes(t, before, after):
    """What reloadConfig tells when the sections change."""
    d = t.start(before)
    t.conf(after)
    return d.rpc.supervisor.reloadConfig()[0]


BASE = "[program:x]\ncommand=/bin/cat\nautostart=false\n"

for suffix, description, after, wanted in [
    ("comment", "a comment is no change", "; new\n" + BASE, [[], [], []]),
    (
        "order",
        "another order of the options is no change",
        "[program:x]\nautostart=false\ncommand=/bin/cat\n",
        [[], [], []],
    ),
    (
        "default",
        "a default that is written out is no change",
        BASE + "startsecs=1\npriority=999\nexitcodes=0\n",
        [[], [], []],
    ),
    ("command", "another command is a change", BASE + "command=/bin/cat -u\n", [[], ["x"], []]),
    ("environment", "another environment is a change", BASE + "environment=A=1\n", [[], ["x"], []]),
    ("priority", "another priority is a change", BASE + "priority=3\n", [[], ["x"], []]),
    ("autostart", "another autostart is a change", "[program:x]\ncommand=/bin/cat\n", [[], ["x"], []]),
    ("stopsignal", "another stopsignal is a change", BASE + "stopsignal=INT\n", [[], ["x"], []]),
    (
        "logfile",
        "a log that is switched off is a change; AUTO that stays AUTO is none",
        BASE + "stdout_logfile=NONE\n",
        [[], ["x"], []],
    ),
    (
        "numprocs",
        "another numprocs is a change of the group",
        BASE + "numprocs=2\nprocess_name=%(program_name)s_%(process_num)d\n",
        [[], ["x"], []],
    ),
    ("umask", "another umask is a change", BASE + "umask=027\n", [[], ["x"], []]),
    ("user", "another user is a change", BASE + "user=0\n", [[], ["x"], []]),
    (
        "into_group",
        "a program that moves into a group is gone, and the group is new",
        BASE + "[group:g]\nprograms=x\n",
        [["g"], [], ["x"]],
    ),
    (
        "to_listener",
        "a program that becomes a listener is a change",
        "[eventlistener:x]\ncommand=/bin/cat\nautostart=false\nevents=TICK_60\n",
        [[], ["x"], []],
    ),
]:

    @check(f"reload.change.{suffix}", description)
    def change(t, after=after, wanted=wanted):
        same(changes(t, BASE, after), wanted)


@check("reload.section_environment", "another [supervisord] environment changes every group", 2)
def section_environment(t):
    d = t.start(program("x", "/bin/cat"), program("y", "/bin/cat"), supervisord="environment=A=1")
    t.conf(program("x", "/bin/cat"), program("y", "/bin/cat"), supervisord="environment=A=2")
    same(d.rpc.supervisor.reloadConfig(), [[[], ["x", "y"], []]])


@check("reload.include", "a new file in an included directory is a new group", 2)
def include(t):
    t.write("conf.d/a.conf", program("a", "/bin/cat"))
    d = t.start("[include]\nfiles=conf.d/*.conf\n")
    t.write("conf.d/b.conf", program("b", "/bin/cat"))
    os.unlink(t.path("conf.d/a.conf"))
    same(d.rpc.supervisor.reloadConfig(), [[["b"], [], ["a"]]])


@check("reload.old_config_until_update", "after a reread the old config counts until update", 3)
def old_config(t):
    def config(word):
        return program("x", sh(f"echo {word} >> {t.path('said')}; exec sleep 600"), startsecs=0)

    d = t.start(config("old"))
    t.conf(config("new"))
    d.rpc.supervisor.reloadConfig()
    d.rpc.supervisor.startProcess("x")
    until(lambda: t.read("said") == "old\n", "the old command")
    same(d.ctl("update").lines, ["x: stopped", "x: updated process group"])
    d.rpc.supervisor.startProcess("x")
    until(lambda: t.read("said") == "old\nnew\n", "the new command")


@check("reload.group_is_the_unit", "update restarts the whole group when one member changes", 4)
def group_unit(t):
    group = "[group:g]\nprograms=a,b\n"
    running = dict(autostart="true", startsecs=0)
    d = t.start(
        program("a", FOREVER, **running), program("b", FOREVER, **running), program("c", FOREVER, **running), group
    )
    pids = {name: d.wait_up(name)["pid"] for name in ["g:a", "g:b", "c"]}
    t.conf(
        program("a", FOREVER, **running),
        program("b", FOREVER, priority=4, **running),
        program("c", FOREVER, **running),
        group,
    )
    same(d.ctl("update").lines, ["g: stopped", "g: updated process group"])
    for name in ["g:a", "g:b"]:
        expect(d.wait_state(name, "RUNNING")["pid"] != pids[name], f"{name} was not restarted")
    same(d.wait_state("c", "RUNNING")["pid"], pids["c"], "pid of c")


@check("reload.numprocs", "update to more processes starts them all", 4)
def numprocs(t):
    def config(count):
        return program(
            "w",
            FOREVER,
            autostart="true",
            startsecs=0,
            numprocs=count,
            process_name="%(program_name)s_%(process_num)02d",
        )

    d = t.start(config(2))
    d.wait_up("w:w_00")
    d.wait_up("w:w_01")
    t.conf(config(4))
    same(d.ctl("update").lines, ["w: stopped", "w: updated process group"])
    for number in range(4):
        d.wait_state(f"w:w_{number:02d}", "RUNNING")


@check("reload.settings_stay", "a reread does not change what the daemon itself is", 2)
def settings_stay(t):
    d = t.start(program("x", "/bin/cat"), supervisord="loglevel=info")
    t.conf(program("x", "/bin/cat"), supervisord="loglevel=debug\nidentifier=other")
    same(d.rpc.supervisor.reloadConfig(), [[[], [], []]])
    d.rpc.supervisor.startProcess("x")
    expect("DEBG" not in d.log, "the log level has changed")


@check("reload.error_then_good", "after a reread that failed a good one works", 2)
def error_then_good(t):
    d = t.start(program("x", "/bin/cat"))
    t.write("s.conf", "no section\n")
    # The client reads the same file: it may fail on it as well, and says 2 then.
    expect(d.ctl("reread").code in (1, 2), "exit code")
    t.conf(program("x", "/bin/cat"), program("y", "/bin/cat"))
    same(d.ctl("reread").lines, ["y: available"])


@check("reload.hup_config_gone", "HUP without a config file is an error, exit 2", 3)
def hup_config_gone(t):
    d = t.start(program("x", FOREVER, autostart="true", startsecs=0))
    d.wait_up("x")
    os.unlink(d.conf)
    d.signal(signal.SIGHUP)
    same(d.wait_exit(), 2, "exit code")
    contains(d.stdout, f"Error: could not find config file {d.conf}\n", "stderr")


@check("reload.hup_new_socket", "HUP opens the servers that the new config names", 4)
def hup_new_socket(t):
    d = t.start()
    text = open(d.conf).read().replace(t.path("s.sock"), t.path("new.sock"))
    t.write("s.conf", text)
    d.signal(signal.SIGHUP)
    until(lambda: d.proxy("unix://" + t.path("new.sock")).supervisor.getPID() == d.pid, "an answer on the new socket")
    expect(not os.path.exists(t.path("s.sock")), "the old socket is still there")
