"""1.1: every class of config error: its text on stderr, and exit code 2."""

import os
import re

from harness.bench import program, require_root
from harness.register import Skip, check, contains, expect, same


def refused(t, conf, env=None):
    """Runs the daemon with a config it must refuse, returns the text after `Error: `."""
    seen = t.run_daemon("-n", "-c", conf, env=env)
    same(seen.code, 2, f"exit code ({seen})")
    # Behind the original's two lines there may be the place: `  --> FILE:LINE:COLUMN`.
    found = re.search(r"^Error: (.*)\nFor help, use \S.* -h\n(?:  --> \S+:\d+:\d+\n)?\Z", seen.err, re.M | re.S)
    expect(found, f"stderr is {seen.err!r}")
    same(seen.out, "", "stdout")
    return found.group(1)


X = "[program:x]\ncommand=/bin/cat\n"
L = "[eventlistener:x]\ncommand=/bin/cat\n"
F = "[fcgi-program:x]\ncommand=/bin/cat\n"
# Ends errors that come from within a program's section.
IN_X = " in section 'program:x' (file: '{conf}')"


def refusal(name, description, sections, message, **options):
    """Enters a check that a config is refused with exactly `message`."""

    @check("config.error." + name, description)
    def run(t):
        conf = t.conf(sections, **options)
        wanted = message.replace("{conf}", conf).replace("{dir}", str(t.dir))
        same(refused(t, conf), wanted, "message")


def refusal_part(name, description, sections, *parts, **options):
    """Enters a check that a config is refused with a message that contains all `parts`."""

    @check("config.error." + name, description)
    def run(t):
        conf = t.conf(sections, **options)
        text = refused(t, conf)
        for part in parts:
            contains(text, part.replace("{conf}", conf), "message")


for row in [
    ("boolean_y", "y is no boolean", X + "autostart=y\n", "not a valid boolean value: 'y'" + IN_X),
    ("boolean", "a value that is no boolean", X + "autostart=maybe\n", "not a valid boolean value: 'maybe'" + IN_X),
    (
        "integer",
        "a value that is no number",
        X + "startsecs=soon\n",
        "invalid literal for int() with base 10: 'soon'" + IN_X,
    ),
    (
        "byte_size",
        "a size without B is no size",
        X + "stdout_logfile_maxbytes=1K\n",
        "invalid literal for int() with base 10: '1k'" + IN_X,
    ),
    (
        "signal_name",
        "an unknown signal name",
        X + "stopsignal=NOPE\n",
        "value 'NOPE' is not a valid signal name" + IN_X,
    ),
    (
        "signal_number",
        "an unknown signal number",
        X + "stopsignal=999\n",
        "value '999' is not a valid signal number" + IN_X,
    ),
    ("exitcode_range", "an exit code above 255", X + "exitcodes=256\n", "not a valid list of exit codes: '256'" + IN_X),
    (
        "exitcode_word",
        "an exit code that is no number",
        X + "exitcodes=0,a\n",
        "not a valid list of exit codes: '0,a'" + IN_X,
    ),
    (
        "autorestart",
        "an unknown autorestart",
        X + "autorestart=sometimes\n",
        "invalid 'autorestart' value 'sometimes'" + IN_X,
    ),
    ("umask", "an umask that is not octal", X + "umask=9z\n", "9z can not be converted to an octal type" + IN_X),
    ("user_name", "an unknown user", X + "user=nosuchuser\n", "Invalid user name nosuchuser" + IN_X),
    ("user_number", "an unknown user id", X + "user=3999999\n", "Invalid user id 3999999" + IN_X),
    (
        "logfile_directory",
        "a log in a directory that does not exist",
        X + "stdout_logfile=/nope/x.log\n",
        "The directory named as part of the path /nope/x.log does not exist" + IN_X,
    ),
    (
        "no_command",
        "a program without a command",
        "[program:x]\nautostart=false\n",
        "program section program:x does not specify a command" + IN_X,
    ),
    (
        "numprocs",
        "numprocs > 1 needs process_num in process_name",
        X + "numprocs=2\n",
        "%(process_num) must be present within process_name when numprocs > 1" + IN_X,
    ),
    (
        "as_group",
        "stopasgroup=true with killasgroup=false",
        X + "stopasgroup=true\nkillasgroup=false\n",
        "Cannot set stopasgroup=true and killasgroup=false" + IN_X,
    ),
    (
        "environment",
        "environment without a value",
        X + "environment=A\n",
        "Unexpected end of key/value pairs in value 'A'" + IN_X,
    ),
    (
        "environment_char",
        "an unquoted value with other characters",
        X + "environment=A=b&c\n",
        "Unexpected end of key/value pairs in value 'A=b&c'" + IN_X,
    ),
    (
        "environment_equals",
        "an unquoted value with =",
        X + "environment=A=b=c\n",
        "Unexpected end of key/value pairs in value 'A=b=c'" + IN_X,
    ),
    ("environment_quote", "a quote that is not closed", X + 'environment=A="b\n', "No closing quotation" + IN_X),
    (
        "process_name_char",
        "a process_name with a slash",
        X + "process_name=a/b\n",
        "Invalid name: 'a/b' because of character: '/'" + IN_X,
    ),
    (
        "name_space",
        "a program name with a space",
        "[program:a b]\ncommand=/bin/cat\n",
        "Invalid name: 'a b' because of character: ' '",
    ),
    (
        "name_colon",
        "a program name with a colon",
        "[program:a:b]\ncommand=/bin/cat\n",
        "Invalid name: 'a:b' because of character: ':'",
    ),
    (
        "name_slash",
        "a program name with a slash",
        "[program:a/b]\ncommand=/bin/cat\n",
        "Invalid name: 'a/b' because of character: '/'",
    ),
    (
        "group_name",
        "a group name with a slash",
        X + "[group:a/b]\nprograms=x\n",
        "Invalid name: 'a/b' because of character: '/'",
    ),
    (
        "group_unknown",
        "a group that names an unknown program",
        X + "[group:g]\nprograms=nope,x\n",
        "[group:g] names unknown program or fcgi-program nope",
    ),
    (
        "group_ambiguous",
        "a group that names a program and an fcgi-program",
        X + F + "socket=tcp://127.0.0.1:1\n[group:g]\nprograms=x\n",
        "[group:g] name x is ambiguous (exists as program and fcgi-program)",
    ),
    (
        "group_priority",
        "a group's priority is a number",
        X + "[group:g]\nprograms=x\npriority=high\n",
        "invalid literal for int() with base 10: 'high'",
    ),
    ("listener_events", "an event listener without events", L, '[eventlistener:x] section requires an "events" line'),
    (
        "listener_unknown",
        "an unknown event",
        L + "events=TICK_5,nope\n",
        "Unknown event type NOPE in [eventlistener:x] events",
    ),
    (
        "listener_redirect",
        "redirect_stderr in an event listener",
        L + "events=EVENT\nredirect_stderr=true\n",
        "[eventlistener:x] section sets redirect_stderr=true but this is not allowed because it will interfere with the eventlistener protocol",
    ),
    (
        "listener_buffer",
        "a buffer_size below 1",
        L + "events=EVENT\nbuffer_size=0\n",
        "[eventlistener:x] section sets invalid buffer_size (0)",
    ),
    (
        "listener_handler",
        "a result_handler that is not there",
        L + "events=EVENT\nresult_handler=no.such:handler\n",
        "no.such:handler cannot be resolved within [eventlistener:x]",
    ),
    ("fcgi_socket", "an fcgi-program without a socket", F, '[fcgi-program:x] section requires a "socket" line'),
    (
        "fcgi_owner_tcp",
        "socket_owner for a TCP socket",
        F + "socket=tcp://127.0.0.1:1\nsocket_owner=root\n",
        "socket_owner and socket_mode params should only be used with a Unix domain socket in [fcgi-program:x] socket",
    ),
    (
        "fcgi_mode_tcp",
        "socket_mode for a TCP socket",
        F + "socket=tcp://127.0.0.1:1\nsocket_mode=0700\n",
        "socket_owner and socket_mode params should only be used with a Unix domain socket in [fcgi-program:x] socket",
    ),
    (
        "fcgi_backlog",
        "a socket_backlog below 1",
        F + "socket=tcp://127.0.0.1:1\nsocket_backlog=0\n",
        "Invalid socket_backlog value 0",
    ),
    (
        "fcgi_backlog_high",
        "a socket_backlog above 65535",
        F + "socket=tcp://127.0.0.1:1\nsocket_backlog=65536\n",
        "Invalid socket_backlog value 65536",
    ),
    (
        "fcgi_owner",
        "an unknown socket_owner",
        F + "socket=unix:///tmp/x\nsocket_owner=nosuchuser\n",
        "Invalid socket_owner value nosuchuser",
    ),
    (
        "fcgi_mode",
        "a socket_mode that is not octal",
        F + "socket=unix:///tmp/x\nsocket_mode=9\n",
        "Invalid socket_mode value 9",
    ),
    (
        "rpc_no_factory",
        "an rpcinterface without a factory",
        "[rpcinterface:x]\na=b\n",
        "section [rpcinterface:x] does not specify a supervisor.rpcinterface_factory",
    ),
    (
        "include_files",
        "an [include] without files",
        "[include]\n",
        ".ini file has [include] section, but no files setting",
    ),
]:
    refusal(*row)

SECTION = [
    ("minfds", "minfds=many", "invalid literal for int() with base 10: 'many'"),
    ("minprocs", "minprocs=many", "invalid literal for int() with base 10: 'many'"),
    ("loglevel", "loglevel=loud", "bad logging level name 'loud'"),
    ("directory", "directory=/nope", "/nope is not an existing directory"),
    ("section_umask", "umask=8", "8 can not be converted to an octal type"),
    ("logfile_maxbytes", "logfile_maxbytes=1X", "invalid literal for int() with base 10: '1x'"),
    ("logfile_backups", "logfile_backups=x", "invalid literal for int() with base 10: 'x'"),
    ("main_logfile", "logfile=/nope/d.log", "The directory named as part of the path /nope/d.log does not exist"),
    ("pidfile", "pidfile=/nope/d.pid", "The directory named as part of the path /nope/d.pid does not exist"),
    ("childlogdir", "childlogdir=/nope", "/nope is not an existing directory"),
    ("nodaemon", "nodaemon=2", "not a valid boolean value: '2'"),
    ("silent", "silent=2", "not a valid boolean value: '2'"),
    ("nocleanup", "nocleanup=2", "not a valid boolean value: '2'"),
    ("strip_ansi", "strip_ansi=2", "not a valid boolean value: '2'"),
    ("section_environment", "environment=A", "Unexpected end of key/value pairs in value 'A'"),
    ("section_user", "user=nosuchuser", "Invalid user name nosuchuser"),
]
for suffix, line, message in SECTION:
    refusal(suffix, f"[supervisord] {line}", "", message, supervisord=line)

BOTH = (
    "contains incomplete authentication: If a username or a password is specified, both the "
    "username and password must be specified"
)
for suffix, description, options, message in [
    (
        "unix_username_only",
        "[unix_http_server] username without password",
        {"unix": "username=u"},
        f"Section [unix_http_server] {BOTH}",
    ),
    (
        "unix_password_only",
        "[unix_http_server] password without username",
        {"unix": "password=p"},
        f"Section [unix_http_server] {BOTH}",
    ),
    (
        "inet_username_only",
        "[inet_http_server] username without password",
        {"inet": "port=127.0.0.1:1\nusername=u"},
        f"Section [inet_http_server] {BOTH}",
    ),
    ("unix_chmod", "[unix_http_server] chmod that is not octal", {"unix": "chmod=9z"}, "Invalid chmod value 9z"),
    (
        "unix_chown",
        "[unix_http_server] chown of an unknown user",
        {"unix": "chown=nosuchuser"},
        "Invalid sockchown value nosuchuser",
    ),
    (
        "unix_chown_group",
        "[unix_http_server] chown of an unknown group",
        {"unix": "chown=root:nosuchgroup"},
        "Invalid sockchown value root:nosuchgroup",
    ),
    ("inet_no_port", "[inet_http_server] without a port", {"inet": ""}, "section [inet_http_server] has no port value"),
    (
        "inet_port_word",
        "[inet_http_server] port that is no number",
        {"inet": "port=abc"},
        "not a valid port number: 'abc' ",
    ),
    ("inet_port_zero", "[inet_http_server] port 0", {"inet": "port=127.0.0.1:0"}, "0 is below lower bound (1)"),
    (
        "inet_port_high",
        "[inet_http_server] port 65536",
        {"inet": "port=127.0.0.1:65536"},
        "65536 is above upper bound (65535)",
    ),
]:
    refusal(suffix, description, "", message, **options)

for row in [
    (
        "fcgi_format",
        "a socket of an unknown format",
        F + "socket=foo\n",
        "Bad socket format",
        "foo",
        " in [fcgi-program:x] socket",
    ),
    (
        "fcgi_relative",
        "a relative unix socket",
        F + "socket=unix://x.sock\n",
        "is not an absolute path",
        "x.sock",
        " in [fcgi-program:x] socket",
    ),
    (
        "expand_incomplete",
        "a format that is not finished",
        "[program:x]\ncommand=/bin/echo %(here)\n",
        "Format string '/bin/echo %(here)' for 'program:x.command' is badly formatted: incomplete format" + IN_X,
    ),
    (
        "expand_lone_percent",
        "a lone percent sign",
        "[program:x]\ncommand=/bin/echo 50%\n",
        "Format string '/bin/echo 50%' for 'program:x.command' is badly formatted: incomplete format" + IN_X,
    ),
    (
        "expand_conversion",
        "an unknown conversion",
        "[program:x]\ncommand=/bin/date +%y\n",
        "Format string '/bin/date +%y' for 'program:x.command' is badly formatted: unsupported format character 'y' (0x79) at index 12"
        + IN_X,
    ),
    (
        "expand_number_of_text",
        "a number conversion of text",
        "[program:x]\ncommand=/bin/echo %(here)d\n",
        "Format string '/bin/echo %(here)d' for 'program:x.command' is badly formatted: ",
        IN_X,
    ),
    ("parse", "a line that is neither option nor section", X + "garbage\n", "{conf}", "parsing errors", "garbage"),
    (
        "expand_process_num",
        "process_num where it is not known",
        X + "startsecs=%(process_num)d\n",
        "Format string '%(process_num)d' for 'program:x.startsecs' contains names ('process_num') which cannot be expanded. Available names: ",
        IN_X,
    ),
]:
    refusal_part(*row)


@check("config.error.expand_unknown", "an unknown name tells all known names, sorted")
def expand_unknown(t):
    conf = t.conf("[program:x]\ncommand=/bin/echo %(nope)s\n")
    text = refused(t, conf, env={"ZZ_LAST": "1"})
    found = re.fullmatch(
        r"Format string '/bin/echo %\(nope\)s' for 'program:x.command' contains names \('nope'\) which "
        rf"cannot be expanded\. Available names: (.*) in section 'program:x' \(file: '{re.escape(conf)}'\)",
        text,
    )
    expect(found, f"message is {text!r}")
    names = found.group(1).split(", ")
    same(names, sorted(names), "the order of the names")
    for name in [
        "ENV_PATH",
        "ENV_ZZ_LAST",
        "group_name",
        "here",
        "host_node_name",
        "numprocs",
        "process_num",
        "program_name",
    ]:
        expect(name in names, f"{name} is not among the known names {names!r}")


@check("config.error.expand_section", "an unknown name in [supervisord] has no section behind it")
def expand_section(t):
    conf = t.conf(supervisord="identifier=%(nope)s")
    text = refused(t, conf)
    contains(
        text,
        "Format string '%(nope)s' for 'supervisord.identifier' contains names ('nope') which cannot be expanded. Available names: ",
    )
    expect("in section" not in text, text)


@check("config.error.expand_include", "an unknown name in [include] files")
def expand_include(t):
    text = refused(t, t.conf("[include]\nfiles=%(nope)s\n"))
    contains(text, "Format string '%(nope)s' for 'include.files' contains names ('nope') which cannot be expanded.")


@check("config.error.expand_environment", "an unknown name in environment")
def expand_environment(t):
    text = refused(t, t.conf(X + "environment=A=%(nope)s\n"))
    contains(text, "Format string 'A=%(nope)s' for 'environment' contains names ('nope') which cannot be expanded.")


@check("config.error.expand_process_name", "an unknown name in process_name")
def expand_process_name(t):
    text = refused(t, t.conf(X + "process_name=%(nope)s\n"))
    contains(text, "Format string '%(nope)s' for 'process_name' contains names ('nope') which cannot be expanded.")


@check("config.error.no_file", "a config file that is not there")
def no_file(t):
    same(refused(t, t.path("none.conf")), f"could not find config file {t.path('none.conf')}")


@check("config.error.not_readable", "a config file that cannot be read")
def not_readable(t):
    os.makedirs(t.path("dir.conf"))
    same(refused(t, t.path("dir.conf")), f"could not read config file {t.path('dir.conf')}")


@check("config.error.no_supervisord", "a config without [supervisord]")
def no_supervisord(t):
    same(refused(t, t.write("x.conf", X)), ".ini file does not include supervisord section")


@check("config.error.empty", "an empty config")
def empty(t):
    same(refused(t, t.write("x.conf", "")), ".ini file does not include supervisord section")


@check("config.error.no_header", "an option before the first section")
def no_header(t):
    conf = t.write("x.conf", "nodaemon=true\n[supervisord]\n")
    text = refused(t, conf)
    contains(text, "File contains no section headers.")
    contains(text, conf)


@check("config.error.byte_order_mark", "a byte order mark is not skipped")
def byte_order_mark(t):
    conf = t.write("x.conf", b"\xef\xbb\xbf[supervisord]\nnodaemon=true\n")
    contains(refused(t, conf), "File contains no section headers.")


@check("config.error.unix_no_file", "[unix_http_server] without file")
def unix_no_file(t):
    conf = t.write("x.conf", "[supervisord]\n[unix_http_server]\nchmod=0700\n")
    same(refused(t, conf), "section [unix_http_server] has no file value")


@check("config.error.included_file", "an error in an included file tells that file")
def included_file(t):
    where = t.write("conf.d/x.conf", X + "startsecs=soon\n")
    text = refused(t, t.conf("[include]\nfiles=conf.d/*.conf\n"))
    same(text, f"invalid literal for int() with base 10: 'soon' in section 'program:x' (file: '{where}')")


@check("config.error.included_parse", "a line that cannot be parsed in an included file")
def included_parse(t):
    where = t.write("conf.d/x.conf", X + "garbage\n")
    text = refused(t, t.conf("[include]\nfiles=conf.d/*.conf\n"))
    contains(text, "parsing errors")
    contains(text, where)


@check("config.error.rpc_unknown_factory", "an rpcinterface factory that is not there")
def rpc_unknown(t):
    conf = t.conf("[rpcinterface:x]\nsupervisor.rpcinterface_factory=no.such:factory\n")
    seen = t.run_daemon("-n", "-c", conf)
    same(seen.code, 2, "exit code")
    contains(seen.err, "no.such:factory", "stderr")
    contains(seen.err, "[rpcinterface:x]", "stderr")


@check("config.error.nothing_started", "a config with an error starts nothing and leaves no files")
def nothing_started(t):
    conf = t.conf(program("a", "/bin/cat", autostart="true"), X + "startsecs=soon\n")
    refused(t, conf)
    same(sorted(os.listdir(t.dir)), ["s.conf"])


@check("config.error.not_permitted_user", "a daemon that is not root cannot become another user")
def not_permitted_user(t):
    require_root()
    os.chmod(t.dir, 0o777)
    conf = t.conf(supervisord="user=daemon")
    try:
        seen = t.run_daemon("-n", "-c", conf, user="nobody")
    except PermissionError:
        raise Skip("the daemon's program cannot be run by nobody")
    same(seen.code, 2, "exit code")
    contains(seen.err, "Error: Can't drop privilege as nonroot user\n", "stderr")
