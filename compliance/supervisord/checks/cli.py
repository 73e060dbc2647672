"""1.2: the daemon's command line."""

import os
import pwd
import re
import signal

from harness import wire
from harness.bench import alive, program, require_root, sh, until
from harness.register import check, contains, expect, same

LONG = [
    "configuration",
    "nodaemon",
    "silent",
    "help",
    "version",
    "user",
    "umask",
    "directory",
    "logfile",
    "logfile_maxbytes",
    "logfile_backups",
    "loglevel",
    "pidfile",
    "identifier",
    "childlogdir",
    "nocleanup",
    "minfds",
    "strip_ansi",
    "minprocs",
    "profile_options",
]


def usage_error(t, message, *args):
    seen = t.run_daemon(*args)
    same(seen.code, 2, f"exit code ({seen})")
    found = re.fullmatch(r"Error: (.*)\nFor help, use \S.* -h\n", seen.err, re.S)
    expect(found, f"stderr is {seen.err!r}")
    same(found.group(1), message, "message")


for flag in ["-h", "--help", "-?"]:

    @check(
        f"cli.help.{ {'-h': 'short', '--help': 'long', '-?': 'question'}[flag] }", f"{flag} prints the help and exits 0"
    )
    def help_flag(t, flag=flag):
        seen = t.run_daemon(flag)
        same(seen.code, 0, "exit code")
        contains(seen.out, "[options]", "stdout")
        for name in LONG:
            contains(seen.out, f"--{name}", "help")


for flag in ["-v", "--version", "--vers"]:

    @check(
        f"cli.version.{ {'-v': 'short', '--version': 'long', '--vers': 'abbreviated'}[flag] }",
        f"{flag} prints the version and exits 0",
    )
    def version_flag(t, flag=flag):
        seen = t.run_daemon(flag)
        same(seen.code, 0, "exit code")
        expect(re.fullmatch(r"\d+\.\d+\S*\n", seen.out), f"stdout is {seen.out!r}")


for name, description, message, args in [
    ("unknown_short", "an unknown short flag", "option -Z not recognized", ["-Z"]),
    ("unknown_long", "an unknown long flag", "option --nope not recognized", ["--nope"]),
    ("ambiguous", "an abbreviation of two flags", "option --no not a unique prefix", ["--no"]),
    ("missing_short", "a short flag without its value", "option -c requires argument", ["-c"]),
    ("missing_long", "a long flag without its value", "option --configuration requires argument", ["--configuration"]),
    (
        "unwanted_value",
        "a long flag with a value it does not take",
        "option --nodaemon must not have an argument",
        ["--nodaemon=1"],
    ),
    (
        "positional",
        "positional arguments",
        "positional arguments are not supported: ['foo', 'bar']",
        ["-n", "foo", "bar"],
    ),
    ("conflict", "a flag given twice", "conflicting command line option '-n'", ["-n", "-n"]),
    (
        "conflict_value",
        "a flag with a value given twice",
        "conflicting command line option '-i'",
        ["-i", "a", "-i", "b"],
    ),
    (
        "loglevel",
        "-e with an unknown level",
        "invalid value for -e 'loud': bad logging level name 'loud'",
        ["-e", "loud"],
    ),
    ("umask", "-m that is not octal", "invalid value for -m '9': 9 can not be converted to an octal type", ["-m", "9"]),
    (
        "directory",
        "-d that does not exist",
        "invalid value for -d '/nope': /nope is not an existing directory",
        ["-d", "/nope"],
    ),
    (
        "logfile",
        "-l in no directory",
        "invalid value for -l '/nope/x': The directory named as part of the path /nope/x does not exist",
        ["-l", "/nope/x"],
    ),
    (
        "pidfile",
        "-j in no directory",
        "invalid value for -j '/nope/x': The directory named as part of the path /nope/x does not exist",
        ["-j", "/nope/x"],
    ),
    (
        "childlogdir",
        "-q that does not exist",
        "invalid value for -q '/nope': /nope is not an existing directory",
        ["-q", "/nope"],
    ),
    (
        "maxbytes",
        "-y that is no size",
        "invalid value for -y '1X': invalid literal for int() with base 10: '1x'",
        ["-y", "1X"],
    ),
    (
        "backups",
        "-z that is no number",
        "invalid value for -z 'x': invalid literal for int() with base 10: 'x'",
        ["-z", "x"],
    ),
    (
        "minfds",
        "-a that is no number",
        "invalid value for -a 'x': invalid literal for int() with base 10: 'x'",
        ["-a", "x"],
    ),
    (
        "minprocs",
        "--minprocs that is no number",
        "invalid value for --minprocs 'x': invalid literal for int() with base 10: 'x'",
        ["--minprocs", "x"],
    ),
]:

    @check(f"cli.error.{name}", f"{description} is a usage error")
    def error(t, message=message, args=args):
        usage_error(t, message, *args)


@check("cli.error.user", "-u with an unknown user is a usage error")
def error_user(t):
    usage_error(t, "Invalid user name nosuchuser", "-c", t.conf(), "-n", "-u", "nosuchuser")


@check("cli.short_beats_file", "each short flag beats the same option in the file")
def short_beats_file(t):
    for name in ["file", "flag"]:
        os.makedirs(t.path(name))
    sections = program(
        "x",
        sh("printf '\\033[31mred\\033[0m\\n'; exec sleep 600"),
        autostart="true",
        stdout_logfile="AUTO",
        startsecs=0,
    )
    conf = t.write(
        "s.conf",
        f"[unix_http_server]\nfile={t.path('s.sock')}\n"
        f"[supervisord]\nlogfile={t.path('file/d.log')}\npidfile={t.path('file/d.pid')}\n"
        f"childlogdir={t.path('file')}\nidentifier=file\nloglevel=critical\nlogfile_maxbytes=1MB\n"
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
        + sections,
    )
    t.write("flag/old-stdout---flag-abcdefgh.log", "kept by -k")
    d = t.start(
        conf=conf,
        args=[
            "-l",
            t.path("flag/d.log"),
            "-j",
            t.path("flag/d.pid"),
            "-q",
            t.path("flag"),
            "-i",
            "flag",
            "-e",
            "debug",
            "-k",
            "-t",
            "-y",
            "2MB",
            "-z",
            "3",
        ],
    )
    same(d.rpc.supervisor.getIdentification(), "flag")
    until(lambda: "DEBG" in t.read("flag/d.log"), "debug lines in the log of -l")
    same(t.read("flag/d.pid"), f"{d.pid}\n", "pidfile")
    same(os.listdir(t.path("file")), [], "files where the config said")
    expect(os.path.exists(t.path("flag/old-stdout---flag-abcdefgh.log")), "-k did not keep the old log")
    d.wait_state("x", "RUNNING")
    log = d.info("x")["stdout_logfile"]
    expect(log.startswith(t.path("flag/x-stdout---flag-")), log)
    until(lambda: open(log).read() == "red\n", "output without colours in the log (-t)")


@check("cli.long_forms", "each long flag works, with = or with a word of its own")
def long_forms(t):
    os.makedirs(t.path("q"))
    conf = t.conf(program("x", "/bin/cat"))
    argv = [
        *t.subject.supervisord,
        "--nodaemon",
        "--configuration",
        conf,
        f"--logfile={t.path('long.log')}",
        "--logfile_maxbytes=1MB",
        "--logfile_backups",
        "2",
        "--loglevel=info",
        f"--pidfile={t.path('long.pid')}",
        "--identifier",
        "long",
        f"--childlogdir={t.path('q')}",
        "--nocleanup",
        "--minfds=64",
        "--minprocs",
        "10",
        "--strip_ansi",
        "--umask=027",
        "--directory",
        t.path("q"),
        "--silent",
    ]
    child = t.popen(argv, stdout=open(t.path("o"), "wb"), stderr=open(t.path("e"), "wb"))
    name = until(lambda: wire.proxy("unix://" + t.path("s.sock")).supervisor.getIdentification(), "an answer")
    same(name, "long")
    same(t.read("long.pid"), f"{child.pid}\n", "pidfile")
    contains(t.read("long.log"), "INFO supervisord started with pid", "log")
    same(t.read("o"), "", "stdout (--silent)")


@check("cli.config_relative", "-c may be relative to the working directory")
def config_relative(t):
    t.conf(program("here", "/bin/echo %(here)s"))
    d = t.start(conf="s.conf")
    same(d.rpc.supervisor.getAllConfigInfo()[0]["command"], f"/bin/echo {t.dir}")


@check("cli.nodaemon_in_file", "nodaemon=true keeps it in the foreground without -n")
def nodaemon_in_file(t):
    conf = t.conf(supervisord="nodaemon=true")
    child = t.popen([*t.subject.supervisord, "-c", conf], stdout=open(t.path("o"), "wb"))
    until(lambda: "supervisord started with pid" in t.read("o"), "the log on stdout")
    same(t.read("d.pid"), f"{child.pid}\n", "pidfile")


@check("cli.silent", "-n echoes the log to stdout, -s does not")
def silent(t):
    loud = t.start()
    loud.wait_out(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO supervisord started with pid \d+$")
    same(loud.terminate(), 0)
    quiet = t.start(args=["-s"])
    same(quiet.terminate(), 0)
    same(quiet.stdout, "", "stdout with -s")


@check("cli.silent_in_file", "silent=true in the file does the same")
def silent_in_file(t):
    d = t.start(supervisord="silent=true")
    contains(d.log, "supervisord started with pid", "log file")
    same(d.stdout, "", "stdout")


@check("cli.user", "-u drops to a user")
def user(t):
    require_root()
    os.chmod(t.dir, 0o777)
    nobody = pwd.getpwnam("nobody")
    d = t.start(program("x", "/bin/cat", autostart="true"), args=["-u", "nobody"])
    same(os.stat(f"/proc/{d.pid}").st_uid, nobody.pw_uid, "the daemon's user")
    info = d.wait_state("x", "RUNNING")
    same(os.stat(f"/proc/{info['pid']}").st_uid, nobody.pw_uid, "the child's user")
    contains(d.log, f"INFO Set uid to user {nobody.pw_uid} succeeded", "main log")


# -- daemonizing (1.4) -------------------------------------------------------------------------


def daemonize(t, *args, **options):
    conf = t.conf(program("x", "/bin/cat", autostart="true", startsecs=0), **options)
    seen = t.run_daemon("-c", conf, *args)
    same(seen.code, 0, f"exit code ({seen})")
    text = until(lambda: t.read("d.pid"), "the pidfile")
    return int(text), seen


@check("cli.daemon.detached", "without -n it goes to the background: new session, no terminal, parent exits 0")
def detached(t):
    pid, seen = daemonize(t)
    same(seen.out, "", "stdout")
    until(lambda: "supervisord started with pid" in t.read("d.log"), "the start in the log")
    contains(t.read("d.log"), "INFO daemonizing the supervisord process", "main log")
    same(os.getsid(pid), pid, "session")
    for fd in range(3):
        same(os.readlink(f"/proc/{pid}/fd/{fd}"), "/dev/null", f"fd {fd}")
    os.kill(pid, signal.SIGTERM)
    until(lambda: not alive(pid), "the daemon to end")
    expect(not os.path.exists(t.path("d.pid")), "the pidfile is still there")
    expect(not os.path.exists(t.path("s.sock")), "the socket is still there")


@check("cli.daemon.directory", "directory= is gone to when daemonizing")
def daemon_directory(t):
    os.makedirs(t.path("work"))
    pid, _ = daemonize(t, supervisord=f"directory={t.path('work')}")
    until(lambda: "INFO set current directory: " in t.read("d.log"), "the line in the log")
    same(os.readlink(f"/proc/{pid}/cwd"), t.path("work"))


@check("cli.daemon.directory_flag", "-d is gone to when daemonizing")
def daemon_directory_flag(t):
    os.makedirs(t.path("work"))
    pid, _ = daemonize(t, "-d", t.path("work"))
    until(lambda: "INFO set current directory: " in t.read("d.log"), "the line in the log")
    same(os.readlink(f"/proc/{pid}/cwd"), t.path("work"))


def umask_of(t, pid):
    found = re.search(r"^Umask:\s*(\d+)$", open(f"/proc/{pid}/status").read(), re.M)
    return found.group(1)


@check("cli.daemon.umask", "the umask when daemonized is 022, or what -m or umask= says")
def daemon_umask(t):
    pid, _ = daemonize(t)
    until(lambda: "supervisord started" in t.read("d.log"), "the start")
    same(umask_of(t, pid), "0022")
    os.kill(pid, signal.SIGKILL)
    # Until it is gone it holds the socket, and the next one is refused for it.
    until(lambda: not alive(pid), "the first daemon to be gone")
    os.unlink(t.path("d.pid"))
    pid, _ = daemonize(t, "-m", "027", supervisord="umask=077")
    same(umask_of(t, pid), "0027")


@check("cli.daemon.default_files", "without logfile and pidfile both are made in the working directory")
def default_files(t):
    conf = t.write("s.conf", "[supervisord]\nnodaemon=true\n")
    child = t.popen([*t.subject.supervisord, "-c", conf], stdout=open(t.path("o"), "wb"))
    until(lambda: t.read("supervisord.pid") == f"{child.pid}\n", "supervisord.pid")
    contains(t.read("supervisord.log"), "supervisord started with pid", "supervisord.log")


@check("cli.daemon.childlogdir_default", "without childlogdir AUTO logs are made in the temp directory")
def childlogdir_default(t):
    os.makedirs(t.path("tmp"))
    conf = t.write(
        "s.conf",
        f"[unix_http_server]\nfile={t.path('s.sock')}\n[supervisord]\nlogfile={t.path('d.log')}\npidfile={t.path('d.pid')}\n"
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
        "[program:x]\ncommand=/bin/cat\nautostart=false\n",
    )
    d = t.start(conf=conf, env={"TMPDIR": t.path("tmp")})
    expect(
        d.info("x")["stdout_logfile"].startswith(t.path("tmp/x-stdout---supervisor-")), d.info("x")["stdout_logfile"]
    )
