"""1.1: the config language, as it shows in getAllConfigInfo and in what children see."""

import os
import platform
import pwd
import re
import shutil
import subprocess

from harness import wire
from harness.bench import program, require_root, sh, until
from harness.register import Skip, check, contains, expect, same

SAMPLE = """
; a full-line comment
# another one
[program:full_comment]
; command=/bin/false
# command=/bin/false
command=/bin/echo full
autostart=false

[program:inline_semicolon]
command=/bin/echo one ; and a comment
autostart=false ; no

[program:inline_hash]
command=/bin/echo two # and a comment
autostart=false

[program:no_space_no_comment]
command=/bin/echo a;b c#d
autostart=false

[program:continued]
command=/bin/echo one
  two
\tthree
autostart=false

[program:continued_comment]
command=/bin/echo one
; a comment between two lines
  two
autostart=false

[program:twice]
command=/bin/echo first
command=/bin/echo last
startsecs=3
startsecs=4
autostart=false

[program:merged]
command=/bin/echo merged
autostart=false

[program:merged]
startsecs=6

[program:colon]
command: /bin/echo colon
startsecs: 7
autostart:false

[program:spaces]
command   =    /bin/echo spaces   
startsecs =8
autostart= false

[program:upper]
COMMAND=/bin/echo upper
StartSecs=9
AUTOSTART=false

[Program:other_case]
command=/bin/echo no
autostart=false

[program:equals]
command=/bin/echo a=b c:d
autostart=false

[program:unknown_option]
command=/bin/echo unknown
autostart=false
no_such_option=17

[no_such_section]
anything=goes

[program:here]
command=/bin/echo %(here)s/x
directory=%(here)s
autostart=false

[program:node]
command=/bin/echo %(host_node_name)s
autostart=false

[program:names]
command=/bin/echo %(program_name)s %(group_name)s %(process_num)d %(numprocs)d
autostart=false

[program:grouped]
command=/bin/echo %(program_name)s %(group_name)s
autostart=false

[group:holder]
programs=grouped
priority=5

[program:formats]
command=/bin/echo %(process_num)03d %(process_num)x %(numprocs)5d|
process_name=%(program_name)s-%(process_num)02d
numprocs=2
numprocs_start=9
autostart=false

[program:percent]
command=/bin/date +%%H%%M
autostart=false

[program:from_daemon_env]
command=/bin/echo %(ENV_COMPLIANCE_DAEMON)s
startsecs=%(ENV_COMPLIANCE_SECS)s
autostart=false

[program:from_section_env]
command=/bin/echo %(ENV_SECTION_KEY)s
autostart=false

[program:from_own_env]
command=/bin/echo %(ENV_OWN)s %(ENV_SECTION_KEY)s
environment=OWN=own,SECTION_KEY=overridden
autostart=false

[program:true_yes]
command=/bin/true
redirect_stderr=yes
autostart=false

[program:true_on]
command=/bin/true
redirect_stderr=ON
autostart=false

[program:true_true]
command=/bin/true
redirect_stderr=True
autostart=false

[program:true_1]
command=/bin/true
redirect_stderr=1
autostart=no

[program:false_no]
command=/bin/true
stdout_events_enabled=no
autostart=0

[program:false_off]
command=/bin/true
stdout_events_enabled=Off
autostart=OFF

[program:false_0]
command=/bin/true
stdout_events_enabled=0
autostart=FALSE

[program:sizes]
command=/bin/true
stdout_logfile_maxbytes=1KB
stderr_logfile_maxbytes=3mb
stdout_capture_maxbytes=1Gb
stderr_capture_maxbytes=517
autostart=false

[program:signal_short]
command=/bin/true
stopsignal=INT
autostart=false

[program:signal_long]
command=/bin/true
stopsignal=SIGQUIT
autostart=false

[program:signal_lower]
command=/bin/true
stopsignal=usr1
autostart=false

[program:signal_number]
command=/bin/true
stopsignal=12
autostart=false

[program:codes]
command=/bin/true
exitcodes=0,2, 255
autostart=false

[program:codes_empty]
command=/bin/true
exitcodes=
autostart=false

[program:log_auto]
command=/bin/true
autostart=false

[program:log_none]
command=/bin/true
stdout_logfile=NONE
stderr_logfile=off
autostart=false

[program:log_path]
command=/bin/true
stdout_logfile=%(here)s/log_path-%(process_num)d.log
stderr_logfile=auto
autostart=false

[program:log_syslog]
command=/bin/true
stdout_logfile=syslog
stderr_syslog=true
autostart=false

[program:log_redirected]
command=/bin/true
redirect_stderr=true
stderr_logfile=%(here)s/never.log
autostart=false

[program:log_unbounded]
command=/bin/true
stdout_logfile_maxbytes=0
autostart=false

[program:url_auto]
command=/bin/true
serverurl=AUTO
autostart=false

[program:url_set]
command=/bin/true
serverurl=http://127.0.0.1:1
autostart=false

[program:user_name]
command=/bin/true
user=nobody
autostart=false

[program:user_number]
command=/bin/true
user=0
autostart=false

[program:defaults]
command=/bin/true
autostart=false

[program:all_set]
command=/bin/true
autostart=false
priority=12
startsecs=13
startretries=14
stopwaitsecs=15
stopasgroup=true
directory=/tmp
stdout_logfile_backups=16
stderr_logfile_backups=17
stdout_events_enabled=true
stderr_events_enabled=true

[program:kill_only]
command=/bin/true
autostart=false
killasgroup=true

[program:bärlauch]
command=/bin/echo grün
autostart=false
"""


def daemon(t):
    def make(bench):
        return bench.start(
            SAMPLE,
            supervisord='environment=SECTION_KEY="section value"',
            env={"COMPLIANCE_DAEMON": "from the daemon", "COMPLIANCE_SECS": "11"},
        )

    return t.shared("config", make)


def infos(t):
    found = {}
    for info in daemon(t).rpc.supervisor.getAllConfigInfo():
        found[f"{info['group']}:{info['name']}"] = info
    return found


def info(t, name, group=None):
    return infos(t)[f"{group or name}:{name}"]


def one_value(name, description, program_name, key, wanted):
    """Enters a check that a program of the sample has a value."""

    @check(name, description)
    def run(t):
        same(info(t, program_name)[key], wanted, f"{key} of {program_name}")


for row in [
    (
        "config.comment.full_line",
        "lines that begin with ; or # are comments",
        "full_comment",
        "command",
        "/bin/echo full",
    ),
    (
        "config.comment.semicolon",
        "whitespace and ; begin an inline comment",
        "inline_semicolon",
        "command",
        "/bin/echo one",
    ),
    ("config.comment.hash", "whitespace and # begin an inline comment", "inline_hash", "command", "/bin/echo two"),
    (
        "config.comment.needs_space",
        "; and # without whitespace before them are data",
        "no_space_no_comment",
        "command",
        "/bin/echo a;b c#d",
    ),
    ("config.continuation", "indented lines continue a value", "continued", "command", "/bin/echo one\ntwo\nthree"),
    ("config.duplicate_key", "of a key given twice the last one counts", "twice", "command", "/bin/echo last"),
    ("config.duplicate_key_number", "of a number given twice the last one counts", "twice", "startsecs", 4),
    ("config.duplicate_section", "a section given twice is one section", "merged", "startsecs", 6),
    ("config.delimiter_colon", "a colon separates key and value too", "colon", "startsecs", 7),
    ("config.values_stripped", "keys and values are stripped", "spaces", "command", "/bin/echo spaces"),
    ("config.keys_any_case", "option names are not case-sensitive", "upper", "startsecs", 9),
    ("config.first_delimiter", "only the first delimiter separates", "equals", "command", "/bin/echo a=b c:d"),
    (
        "config.unknown_ignored",
        "unknown options and sections are ignored",
        "unknown_option",
        "command",
        "/bin/echo unknown",
    ),
    ("config.expand.percent", "%% is a percent sign", "percent", "command", "/bin/date +%H%M"),
    (
        "config.expand.names",
        "program_name, group_name, process_num and numprocs expand",
        "names",
        "command",
        "/bin/echo names names 0 1",
    ),
    (
        "config.expand.env",
        "%(ENV_X)s is the daemon's environment",
        "from_daemon_env",
        "command",
        "/bin/echo from the daemon",
    ),
    ("config.expand.env_in_number", "an expansion may make a number", "from_daemon_env", "startsecs", 11),
    (
        "config.expand.env_section",
        "%(ENV_X)s knows the keys of [supervisord] environment",
        "from_section_env",
        "command",
        "/bin/echo section value",
    ),
    (
        "config.expand.env_own",
        "%(ENV_X)s knows the program's own environment, which wins",
        "from_own_env",
        "command",
        "/bin/echo own overridden",
    ),
    ("config.type.exitcodes", "exitcodes is a list of numbers", "codes", "exitcodes", [0, 2, 255]),
    ("config.type.exitcodes_empty", "exitcodes may be empty", "codes_empty", "exitcodes", []),
    ("config.type.serverurl_auto", "serverurl=AUTO is as if it was not set", "url_auto", "serverurl", "none"),
    ("config.type.serverurl", "serverurl is kept", "url_set", "serverurl", "http://127.0.0.1:1"),
    ("config.type.user_number", "user may be a number", "user_number", "uid", 0),
    (
        "config.program.killasgroup_from_stopasgroup",
        "killasgroup is by default what stopasgroup is",
        "all_set",
        "killasgroup",
        True,
    ),
    ("config.program.killasgroup_alone", "killasgroup may be set alone", "kill_only", "killasgroup", True),
]:
    one_value(*row)


@check("config.section_names_case", "section names are case-sensitive")
def section_names_case(t):
    expect(not any("other_case" in name for name in infos(t)), "[Program:x] was taken for a program")


@check("config.comment.in_continuation", "a comment line inside a continued value is left out")
def comment_in_continuation(t):
    same(info(t, "continued_comment")["command"].split(), ["/bin/echo", "one", "two"])


@check("config.expand.here", "%(here)s is the directory of the config file")
def expand_here(t):
    d = daemon(t)
    same(info(t, "here")["command"], f"/bin/echo {d.bench.dir}/x")
    same(info(t, "here")["directory"], str(d.bench.dir))


@check("config.expand.host_node_name", "%(host_node_name)s is the host's name")
def expand_node(t):
    same(info(t, "node")["command"], f"/bin/echo {platform.node()}")


@check("config.expand.group_name", "group_name is the group a program was put into")
def expand_group(t):
    same(info(t, "grouped", "holder")["command"], "/bin/echo grouped holder")


@check("config.expand.formats", "any printf conversion works: %(process_num)03d, %(process_num)x")
def expand_formats(t):
    found = infos(t)
    same(found["formats:formats-09"]["command"], "/bin/echo 009 9     2|")
    same(found["formats:formats-10"]["command"], "/bin/echo 010 a     2|")


@check("config.type.boolean_true", "yes, on, true and 1 are true in any case")
def boolean_true(t):
    for name in ["true_yes", "true_on", "true_true", "true_1"]:
        same(info(t, name)["redirect_stderr"], True, name)


@check("config.type.boolean_false", "no, off, false and 0 are false in any case")
def boolean_false(t):
    for name in ["false_no", "false_off", "false_0"]:
        same(info(t, name)["stdout_events_enabled"], False, name)
        same(info(t, name)["autostart"], False, name)


@check("config.type.byte_size", "sizes are numbers with KB, MB or GB in any case, of 1024")
def byte_size(t):
    seen = info(t, "sizes")
    same(seen["stdout_logfile_maxbytes"], 1024)
    same(seen["stderr_logfile_maxbytes"], 3 * 1024 * 1024)
    same(seen["stdout_capture_maxbytes"], 1024 * 1024 * 1024)
    same(seen["stderr_capture_maxbytes"], 517)


@check("config.type.signal", "signals are names with or without SIG in any case, or numbers")
def signals(t):
    wanted = {"signal_short": 2, "signal_long": 3, "signal_lower": 10, "signal_number": 12}
    for name, number in wanted.items():
        same(info(t, name)["stopsignal"], number, name)


@check("config.type.logfile_none", "NONE and OFF mean no log")
def logfile_none(t):
    seen = info(t, "log_none")
    same((seen["stdout_logfile"], seen["stderr_logfile"]), ("none", "none"))


@check("config.type.logfile_path", "a log's path may contain process_num and here")
def logfile_path(t):
    same(info(t, "log_path")["stdout_logfile"], daemon(t).bench.path("log_path-0.log"))


@check("config.type.logfile_auto", "AUTO becomes a file of its own in childlogdir")
def logfile_auto(t):
    where = re.escape(str(daemon(t).bench.dir))
    seen = info(t, "log_auto")
    for channel in ["stdout", "stderr"]:
        path = seen[f"{channel}_logfile"]
        expect(
            re.fullmatch(rf"{where}/log_auto-{channel}---supervisor-[A-Za-z0-9_]{{8}}\.log", path),
            f"{channel}_logfile is {path!r}",
        )
        expect(os.path.exists(path), f"{path} was not made")


@check("config.type.logfile_syslog", "the magic name syslog means syslog=true, and warns")
def logfile_syslog(t):
    seen = info(t, "log_syslog")
    same((seen["stdout_logfile"], seen["stdout_syslog"], seen["stderr_syslog"]), ("none", True, True))
    contains(
        daemon(t).log,
        "WARN For [program:log_syslog], stdout_logfile=syslog but this is deprecated and will be "
        "removed.  Use stdout_syslog=true to enable syslog instead.",
        "main log",
    )


@check("config.redirect_stderr_ignores_logfile", "redirect_stderr drops stderr_logfile, and warns")
def redirect_ignores(t):
    same(info(t, "log_redirected")["stderr_logfile"], "none")
    contains(
        daemon(t).log,
        "WARN For [program:log_redirected], redirect_stderr=true but stderr_logfile has also been "
        "set to a filename, the filename has been ignored",
        "main log",
    )


@check("config.auto_without_rollover_warns", "an AUTO log with maxbytes=0 warns")
def auto_without_rollover(t):
    contains(
        daemon(t).log,
        "WARN For [program:log_unbounded], AUTO logging used for stdout_logfile without rollover, "
        "set maxbytes > 0 to avoid filling up filesystem unintentionally",
        "main log",
    )


@check("config.type.user_name", "user may be a name")
def user_name(t):
    same(info(t, "user_name")["uid"], pwd.getpwnam("nobody").pw_uid)


@check("config.unicode", "names and values may be any UTF-8")
def unicode_names(t):
    same(info(t, "bärlauch")["command"], "/bin/echo grün")


DEFAULTS = {
    "autostart": False,
    "command": "/bin/true",
    "directory": "none",
    "exitcodes": [0],
    "group": "defaults",
    "group_prio": 999,
    "inuse": True,
    "killasgroup": False,
    "name": "defaults",
    "process_prio": 999,
    "redirect_stderr": False,
    "serverurl": "none",
    "startretries": 3,
    "startsecs": 1,
    "stderr_capture_maxbytes": 0,
    "stderr_events_enabled": False,
    "stderr_logfile_backups": 10,
    "stderr_logfile_maxbytes": 50 * 1024 * 1024,
    "stderr_syslog": False,
    "stdout_capture_maxbytes": 0,
    "stdout_events_enabled": False,
    "stdout_logfile_backups": 10,
    "stdout_logfile_maxbytes": 50 * 1024 * 1024,
    "stdout_syslog": False,
    "stopsignal": 15,
    "stopwaitsecs": 10,
    "uid": "none",
}


@check("config.program.defaults", "every option of a program has its documented default")
def program_defaults(t):
    seen = info(t, "defaults")
    for key, wanted in DEFAULTS.items():
        same(seen.get(key), wanted, key)


@check("config.program.all_set", "every option of a program takes its value")
def program_all_set(t):
    seen = info(t, "all_set")
    wanted = {
        "process_prio": 12,
        "group_prio": 12,
        "startsecs": 13,
        "startretries": 14,
        "stopwaitsecs": 15,
        "stopasgroup": None,
        "directory": "/tmp",
        "stdout_logfile_backups": 16,
        "stderr_logfile_backups": 17,
        "stdout_events_enabled": True,
        "stderr_events_enabled": True,
    }
    for key, value in wanted.items():
        if value is not None:
            same(seen.get(key), value, key)


@check("config.group.members_lose_their_own", "a program in a [group:x] has no group of its own")
def members(t):
    found = infos(t)
    expect("holder:grouped" in found and "grouped:grouped" not in found, f"{sorted(found)}")
    same(found["holder:grouped"]["group_prio"], 5)


@check("config.crlf", "lines may end with CR LF")
def crlf(t):
    text = open(t.conf(program("x", "/bin/echo crlf", startsecs=21))).read().replace("\n", "\r\n")
    d = t.start(conf=t.write("crlf.conf", text))
    same(d.rpc.supervisor.getAllConfigInfo()[0]["startsecs"], 21)


# -- [supervisord] environment and [program] environment as children see them ----------------

ENVIRONMENTS = {
    "plain": "A=1,B=two",
    "quoted": 'A="x,y z=1",B=\'single "inner"\'',
    "wordchars": "A=/usr/bin:/x+y-z.(1),B=2",
    "lines": "A=1,\n  B=2,\n  C=3",
    "empty": 'A="",B=1',
    "spaces": "A = 1 , B = 2",
    "expanded": 'A="%(program_name)s",B="%(ENV_COMPLIANCE_DAEMON)s",C="100%%"',
    "overriding": "SHARED=program",
    "none": "",
}


def environments(t):
    def make(bench):
        env_of = sh("exec env")
        sections = [
            program(
                name,
                env_of,
                autostart="true",
                startsecs=0,
                autorestart="false",
                environment=value,
                stdout_logfile=bench.path(f"{name}.env"),
            )
            for name, value in ENVIRONMENTS.items()
        ]
        return bench.start(
            *sections,
            supervisord='environment=SHARED=section,QUOTED="a, b"',
            env={"COMPLIANCE_DAEMON": "50%_daemon"},
        )

    return t.shared("environments", make)


def child_env(t, name):
    d = environments(t)
    d.wait_state(name, "EXITED")
    text = until(lambda: d.bench.read(f"{name}.env"), f"the environment of {name}")
    return dict(line.partition("=")[::2] for line in text.splitlines())


def one_environment(suffix, description, name, wanted):
    @check(f"config.environment.{suffix}", description)
    def run(t):
        seen = child_env(t, name)
        for key, value in wanted.items():
            same(seen.get(key), value, f"{key} of {name}")


for row in [
    ("plain", "KEY=val,KEY2=val2", "plain", {"A": "1", "B": "two"}),
    ("quoted", "quotes keep commas, spaces and =, and are taken off", "quoted", {"A": "x,y z=1"}),
    ("wordchars", "unquoted values may contain /.+-():", "wordchars", {"A": "/usr/bin:/x+y-z.(1)", "B": "2"}),
    ("lines", "pairs may stand on lines of their own", "lines", {"A": "1", "B": "2", "C": "3"}),
    ("empty_value", "a quoted value may be empty", "empty", {"A": "", "B": "1"}),
    ("spaces", "spaces around = and , do not matter", "spaces", {"A": "1", "B": "2"}),
    (
        "expanded",
        "values are expanded; what was expanded is not expanded again",
        "expanded",
        {"A": "expanded", "B": "50%_daemon", "C": "100%"},
    ),
    ("section", "[supervisord] environment goes to every child", "none", {"SHARED": "section", "QUOTED": "a, b"}),
    ("program_wins", "the program's environment wins over [supervisord]'s", "overriding", {"SHARED": "program"}),
    ("inherited", "children inherit the daemon's environment", "none", {"COMPLIANCE_DAEMON": "50%_daemon"}),
]:
    one_environment(*row)


# -- [include] -------------------------------------------------------------------------------


def named(d):
    return [info["name"] for info in d.rpc.supervisor.getAllConfigInfo()]


@check("config.include.globs", "[include] files takes several globs, each relative to the main file")
def include_globs(t):
    t.write("conf.d/b.conf", program("b", "/bin/cat"))
    t.write("conf.d/a.conf", program("a", "/bin/cat"))
    t.write("conf.d/a.txt", program("not_this", "/bin/cat"))
    t.write("extra/one.ini", program("one", "/bin/cat"))
    d = t.start("[include]\nfiles = conf.d/*.conf\n  extra/one.ini\n")
    same(named(d), ["a", "b", "one"])


@check("config.include.log_lines", "included files are told in the log, sorted; no match warns")
def include_log(t):
    for name in ["c", "a", "b"]:
        t.write(f"inc/{name}.conf", program(name, "/bin/cat"))
    d = t.start("[include]\nfiles = inc/*.conf nothing/*.conf\n")
    found = re.findall(r'INFO Included extra file "(.*)" during parsing', d.log)
    same(found, [t.path(f"inc/{name}.conf") for name in "abc"])
    contains(d.log, f'WARN No file matches via include "{t.path("nothing/*.conf")}"', "main log")


@check("config.include.here", "%(here)s in an included file is that file's directory")
def include_here(t):
    t.write("deep/er/x.conf", program("x", "/bin/echo %(here)s"))
    d = t.start("[include]\nfiles = %(here)s/deep/*/x.conf\n", program("main", "/bin/echo %(here)s"))
    commands = {info["name"]: info["command"] for info in d.rpc.supervisor.getAllConfigInfo()}
    same(commands["x"], f"/bin/echo {t.path('deep/er')}")
    same(commands["main"], f"/bin/echo {t.dir}")


@check("config.include.env", "%(ENV_X)s and %(host_node_name)s work in [include] files")
def include_env(t):
    t.write("picked/x.conf", program("x", "/bin/cat"))
    t.write(f"{platform.node()}/y.conf", program("y", "/bin/cat"))
    d = t.start("[include]\nfiles = %(ENV_PICK)s/*.conf %(host_node_name)s/*.conf\n", env={"PICK": "picked"})
    same(named(d), ["x", "y"])


@check("config.include.not_recursive", "an [include] in an included file is not followed")
def include_not_recursive(t):
    t.write("one.conf", program("one", "/bin/cat") + "\n[include]\nfiles = two.conf\n")
    t.write("two.conf", program("two", "/bin/cat"))
    d = t.start("[include]\nfiles = one.conf\n")
    same(named(d), ["one"])


@check("config.include.merges", "an included file may add to a section of the main file")
def include_merges(t):
    t.write("more.conf", "[program:x]\nstartsecs=33\n")
    d = t.start("[include]\nfiles = more.conf\n", program("x", "/bin/cat", startsecs=1))
    same(d.rpc.supervisor.getAllConfigInfo()[0]["startsecs"], 33)


# -- where the config is found -----------------------------------------------------------------


def plain_conf(t, identifier):
    return open(t.conf(supervisord=f"identifier={identifier}", name="plain.conf")).read()


def identity_without_c(t, cwd, argv0=None):
    """Starts the daemon without -c in `cwd` and asks who it is."""
    argv = [argv0] if argv0 else t.subject.supervisord
    child = subprocess.Popen(
        [*argv, "-n"],
        cwd=cwd,
        env=t.env(),
        stdin=subprocess.DEVNULL,
        stdout=open(t.path("search.out"), "wb"),
        stderr=open(t.path("search.err"), "wb"),
    )
    t._children.append(child)
    url = "unix://" + t.path("s.sock")
    return until(lambda: wire.proxy(url).supervisor.getIdentification(), "the daemon to answer")


@check("config.search.cwd", "without -c ./supervisord.conf is found")
def search_cwd(t):
    t.write("cwd/supervisord.conf", plain_conf(t, "in-cwd"))
    same(identity_without_c(t, t.path("cwd")), "in-cwd")


@check("config.search.cwd_etc", "without -c ./etc/supervisord.conf is found")
def search_cwd_etc(t):
    t.write("cwd/etc/supervisord.conf", plain_conf(t, "in-etc"))
    same(identity_without_c(t, t.path("cwd")), "in-etc")


@check("config.search.order", "./supervisord.conf is found before ./etc/supervisord.conf")
def search_order(t):
    t.write("cwd/etc/supervisord.conf", plain_conf(t, "in-etc"))
    t.write("cwd/supervisord.conf", plain_conf(t, "in-cwd"))
    same(identity_without_c(t, t.path("cwd")), "in-cwd")


@check("config.search.beside_program", "../etc/supervisord.conf of the program's own path comes first")
def search_beside(t):
    if len(t.subject.supervisord) != 1:
        raise Skip("the daemon's command line has more than one word")
    program_path = shutil.which(t.subject.supervisord[0])
    t.write("root/etc/supervisord.conf", plain_conf(t, "beside"))
    t.write("cwd/supervisord.conf", plain_conf(t, "in-cwd"))
    os.makedirs(t.path("root/bin"))
    os.symlink(program_path, t.path("root/bin/supervisord"))
    same(identity_without_c(t, t.path("cwd"), t.path("root/bin/supervisord")), "beside")


@check("config.search.root_warning", "root that searches for its config is warned on stderr")
def search_root_warning(t):
    require_root()
    t.write("cwd/supervisord.conf", plain_conf(t, "in-cwd"))
    identity_without_c(t, t.path("cwd"))
    contains(
        " ".join(t.read("search.err").split()),
        "Supervisord is running as root and it is searching for its configuration file in default "
        "locations (including its current working directory); you probably want to specify a "
        '"-c" argument specifying an absolute path to a configuration file for improved security.',
        "stderr",
    )


@check("config.search.none", "without any config file: usage error with the list of places")
def search_none(t):
    os.makedirs(t.path("empty"))
    argv = [*t.subject.supervisord, "-n"]
    if os.path.exists("/etc/supervisord.conf"):
        raise Skip("/etc/supervisord.conf exists here")
    if os.path.exists("/etc/supervisor/supervisord.conf"):
        # Where root may, that directory is hidden from this one process.
        argv = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            'mount -t tmpfs none /etc/supervisor || exit 99; exec "$@"',
            "sh",
            *argv,
        ]
        if os.getuid() != 0 or not shutil.which("unshare"):
            raise Skip("/etc/supervisor/supervisord.conf exists here")
    seen = t.run(argv, cwd=t.path("empty"))
    if seen.code == 99:
        raise Skip("/etc/supervisor/supervisord.conf exists here, and cannot be hidden")
    same(seen.code, 2, f"exit code ({seen})")
    contains(seen.err, "Error: No config file found at default paths (", "stderr")
    contains(
        seen.err,
        ", supervisord.conf, etc/supervisord.conf, /etc/supervisord.conf, /etc/supervisor/supervisord.conf)",
        "stderr",
    )
    contains(seen.err, "; use the -c option to specify a config file at a different path", "stderr")
