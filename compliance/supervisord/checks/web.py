"""1.8: the web pages and the log tails. What a page means is checked, not how it is written."""

import os
from html.parser import HTMLParser
from urllib.parse import parse_qs, quote, unquote, urljoin, urlparse

from harness import wire
from harness.bench import free_port, program, sh, until
from harness.register import Failed, check, contains, expect, lacks, same

FOREVER = sh("exec sleep 600")


class Page(HTMLParser):
    """Text, table rows, links and forms of a page."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.text, self.links, self.assets, self.rows, self.actions, self.title = "", [], [], [], [], ""
        self._row, self._form, self._in_title, self._hidden = None, None, False, 0
        self.feed(text)

    def note(self, action):
        """An action that can be asked for here: (the query's values, the row it is in)."""
        self.actions.append(action)
        if self._row is not None:
            self._row["actions"].append(action)

    def handle_starttag(self, tag, pairs):
        a = {key: value or "" for key, value in pairs}
        if tag in ("script", "style"):
            self._hidden += 1
        if tag == "title":
            self._in_title = True
        if tag == "tr":
            self._row = {"text": "", "links": [], "actions": []}
            self.rows.append(self._row)
        if tag == "a" and "href" in a:
            self.links.append(a["href"])
            if self._row is not None:
                self._row["links"].append(a["href"])
            self.note_url(a["href"])
        if tag == "link" and "href" in a:
            self.assets.append(a["href"])
        if tag in ("img", "script") and "src" in a:
            self.assets.append(a["src"])
        if tag == "form":
            self._form = {"url": a.get("action", ""), "fields": {}}
            self.note_url(self._form["url"])
        if tag in ("input", "button") and self._form is not None:
            if "formaction" in a:
                self.note_url(a["formaction"])
            if "name" in a:
                self._form["fields"][a["name"]] = a.get("value", "")
                if a["name"] == "action":
                    self.note(
                        {
                            "action": a.get("value", ""),
                            **{k: v for k, v in self._form["fields"].items() if k == "processname"},
                        }
                    )

    def note_url(self, url):
        query = {key: values[0] for key, values in parse_qs(urlparse(url).query).items()}
        if "action" in query:
            self.note(query)

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._hidden -= 1
        if tag == "title":
            self._in_title = False
        if tag == "tr":
            self._row = None
        if tag == "form":
            self._form = None

    def handle_data(self, data):
        if self._in_title:
            self.title += data
        if self._hidden:
            return
        self.text += data
        if self._row is not None:
            self._row["text"] += data + " "

    def row(self, name):
        """The row of a program."""
        for row in self.rows:
            if any(
                "tail.html" in link and parse_qs(urlparse(link).query).get("processname") == [name]
                for link in row["links"]
            ):
                return row
        raise Failed(f"no row of {name} among {[' '.join(row['text'].split()) for row in self.rows]!r}")

    def row_actions(self, name):
        return {action["action"] for action in self.row(name)["actions"]}


PROGRAMS = {
    "run": dict(
        command="/bin/cat",
        autostart="true",
        startsecs=0,
        stdout_logfile="{dir}/run.out",
        stderr_logfile="{dir}/run.err",
    ),
    "halt": dict(command="/bin/cat", startsecs=0),
    "wait": dict(command="/bin/cat", startsecs=600, autostart="true"),
    "bad": dict(command=sh("exit 1"), startsecs=5, startretries=0, autostart="true"),
    "start_me": dict(command="/bin/cat", startsecs=0),
    "start_too": dict(command="/bin/cat", startsecs=0),
    "stop_me": dict(command="/bin/cat", startsecs=0, autostart="true"),
    "restart_me": dict(command="/bin/cat", startsecs=0, autostart="true"),
    "clear_me": dict(
        command=sh("echo something; exec sleep 600"), startsecs=0, autostart="true", stdout_logfile="{dir}/clear_me.out"
    ),
    "missing": dict(command="/no/such/program"),
    "markup": dict(
        command=sh("echo '<script>alert(1)</script> & <b>bold</b>'; exec sleep 600"),
        startsecs=0,
        autostart="true",
        stdout_logfile="{dir}/markup.out",
    ),
    "long": dict(
        command=sh("i=0; while [ $i -lt 500 ]; do echo line $i.; i=$((i+1)); done; exec sleep 600"),
        startsecs=0,
        autostart="true",
        stdout_logfile="{dir}/long.out",
    ),
    "follow": dict(command="/bin/cat", startsecs=0, autostart="true", stdout_logfile="{dir}/follow.out"),
    "follow_err": dict(
        command=sh("exec cat >&2"), startsecs=0, autostart="true", stderr_logfile="{dir}/follow_err.err"
    ),
    "rotate": dict(command="/bin/cat", startsecs=0, autostart="true", stdout_logfile="{dir}/rotate.out"),
    "no_file_yet": dict(command="/bin/cat", stdout_logfile="{dir}/no_file_yet.out"),
    "member": dict(command="/bin/cat", startsecs=0, autostart="true", stdout_logfile="{dir}/member.out"),
}


def daemon(t):
    def make(bench):
        sections = []
        for name, options in PROGRAMS.items():
            options = {key: str(value).replace("{dir}", str(bench.dir)) for key, value in options.items()}
            sections.append(program(name, options.pop("command"), **options))
        port = free_port()
        d = bench.start(*sections, "[group:crew]\nprograms=member\n", inet=port)
        d.host = f"127.0.0.1:{port}"
        d.url = f"http://{d.host}"
        d.wait_state("bad", "FATAL")
        return d

    return t.shared("web", make)


def get(d, target, headers=()):
    return wire.request(d.url, "GET", target, headers=headers)


def page(d, target):
    answer = get(d, target)
    same(answer.status, 200, f"status of {target}")
    expect(answer.headers["Content-Type"].startswith("text/html"), f"{answer}")
    return Page(answer.text)


def message_of(d, answer):
    """The message that a redirect carries."""
    expect(answer.status in (301, 303), f"status ({answer})")
    where = answer.headers["Location"]
    parts = urlparse(where)
    same((parts.scheme, parts.netloc, parts.path), ("http", d.host, "/"), f"Location {where!r}")
    return parse_qs(parts.query)["message"][0]


def act(d, action, name=None):
    target = "/index.html?" + (f"processname={quote(name)}&" if name else "") + f"action={action}"
    return message_of(d, get(d, target))


# -- the status page -------------------------------------------------------------------------


@check("web.index", "/ and /index.html are the same page: a row for each program")
def index(t):
    d = daemon(t)
    for target in ["/", "/index.html"]:
        p = page(d, target)
        for name in PROGRAMS:
            p.row("crew:member" if name == "member" else name)


@check("web.index.state", "a row shows the state and the description")
def index_state(t):
    d = daemon(t)
    pid = d.wait_state("run", "RUNNING")["pid"]
    p = page(d, "/")
    text = " ".join(p.row("run")["text"].split()).lower()
    contains(text, "running")
    contains(text, f"pid {pid}, uptime ")
    contains(p.row("halt")["text"].lower(), "stopped")
    contains(p.row("halt")["text"], "Not started")
    contains(p.row("wait")["text"].lower(), "starting")
    contains(p.row("bad")["text"].lower(), "fatal")
    contains(p.row("bad")["text"], "Exited too quickly (process log may have details)")


@check("web.index.actions", "a row offers what makes sense in its state")
def index_actions(t):
    d = daemon(t)
    d.wait_state("run", "RUNNING")
    p = page(d, "/")
    same(p.row_actions("run"), {"restart", "stop", "clearlog"}, "of a running program")
    same(p.row_actions("halt"), {"start", "clearlog"}, "of a stopped program")
    same(p.row_actions("bad"), {"start", "clearlog"}, "of a fatal program")
    same(p.row_actions("wait"), {"clearlog"}, "of a starting program")
    same({a.get("processname") for a in p.row("run")["actions"]}, {"run"}, "the processname of the actions")


@check("web.index.tails", "a row links to the tails of both logs")
def index_tails(t):
    p = page(daemon(t), "/")
    links = {unquote(urlparse(urljoin("/", link)).path) for link in p.row("crew:member")["links"]}
    expect("/logtail/crew:member" in links or "/logtail/crew:member/stdout" in links, f"{links}")
    expect("/logtail/crew:member/stderr" in links, f"{links}")


@check("web.index.global_actions", "the page offers refresh, restart all and stop all")
def index_global(t):
    found = {action["action"] for action in page(daemon(t), "/").actions if not action.get("processname")}
    expect({"refresh", "restartall", "stopall"} <= found, f"{found}")


@check("web.index.version", "the page tells the version")
def index_version(t):
    d = daemon(t)
    contains(page(d, "/").text, d.rpc.supervisor.getSupervisorVersion())


@check("web.index.assets", "what the page links to is there")
def index_assets(t):
    d = daemon(t)
    for url in page(d, "/").assets:
        if url and not url.startswith(("data:", "http://", "https://", "//")):
            same(get(d, urljoin("/", url)).status, 200, url)


@check("web.index.not_cached", "the page is not to be cached")
def index_not_cached(t):
    contains(get(daemon(t), "/").headers.get("Cache-Control", ""), "no-", "Cache-Control")


@check("web.index.empty", "without programs there is still a page", 2)
def index_empty(t):
    port = free_port()
    d = t.start(inet=port)
    d.url = f"http://127.0.0.1:{port}"
    page(d, "/")


@check("web.index.message", "a message is shown, and is not markup")
def index_message(t):
    d = daemon(t)
    contains(page(d, "/?message=hello%20there").text, "hello there")
    answer = get(d, "/?message=" + quote("<script>alert(1)</script>"))
    lacks(answer.text, "<script>alert(1)", "page")
    contains(Page(answer.text).text, "<script>alert(1)</script>", "text")


# -- actions ---------------------------------------------------------------------------------


@check("web.action.start", "start: redirected with a message, and started")
def action_start(t):
    d = daemon(t)
    same(act(d, "start", "start_me"), "Process start_me started")
    same(d.state("start_me"), "RUNNING")
    same(act(d, "start", "start_me"), "ERROR: Process start_me: already started")


@check("web.action.start_error", "start of what cannot be started tells why")
def action_start_error(t):
    same(act(daemon(t), "start", "missing"), "ERROR: Process missing: no such file")


@check("web.action.start_post", "an action may come as a form by POST")
def action_post(t):
    d = daemon(t)
    answer = wire.request(
        d.url,
        "POST",
        "/index.html",
        b"processname=start_too&action=start",
        [("Content-Type", "application/x-www-form-urlencoded"), ("Origin", d.url), ("Sec-Fetch-Site", "same-origin")],
    )
    same(message_of(d, answer), "Process start_too started")
    same(d.state("start_too"), "RUNNING")


@check("web.action.stop", "stop", 2)
def action_stop(t):
    d = daemon(t)
    d.wait_up("stop_me")
    same(act(d, "stop", "stop_me"), "Process stop_me stopped")
    same(d.state("stop_me"), "STOPPED")
    same(act(d, "stop", "stop_me"), "unexpected rpc fault [70] NOT_RUNNING: stop_me")


@check("web.action.restart", "restart", 2)
def action_restart(t):
    d = daemon(t)
    pid = d.wait_up("restart_me")["pid"]
    same(act(d, "restart", "restart_me"), "Process restart_me restarted")
    expect(d.wait_state("restart_me", "RUNNING")["pid"] != pid, "the pid is the same")


@check("web.action.clearlog", "clearlog")
def action_clearlog(t):
    d = daemon(t)
    until(lambda: d.bench.read("clear_me.out"), "output")
    same(act(d, "clearlog", "clear_me"), "Log for clear_me cleared")
    same(d.bench.read("clear_me.out"), "")


@check("web.action.refresh", "refresh only says so")
def action_refresh(t):
    expect(act(daemon(t), "refresh").startswith("Page refreshed at "), "the message")


@check("web.action.unknown_process", "an action on an unknown program tells that")
def action_unknown(t):
    d = daemon(t)
    for name in ["nope", "crew:nope"]:
        same(act(d, "start", name), f"No such process named {name}")


@check("web.action.same_origin", "an action that a browser marks as same-origin is done")
def action_same_origin(t):
    d = daemon(t)
    answer = get(d, "/index.html?action=refresh", [("Sec-Fetch-Site", "same-origin"), ("Referer", d.url + "/")])
    expect(message_of(d, answer).startswith("Page refreshed at "), "the message")


@check("web.action.unknown", "an unknown action does no harm")
def action_none(t):
    d = daemon(t)
    expect(get(d, "/index.html?processname=run&action=explode").status >= 300, "the answer")
    same(d.state("run"), "RUNNING")


@check("web.action.all", "stopall and restartall", 5)
def action_all(t):
    port = free_port()
    d = t.start(
        program("a", "/bin/cat", autostart="true", startsecs=0), program("b", "/bin/cat", startsecs=0), inet=port
    )
    d.host = f"127.0.0.1:{port}"
    d.url = f"http://{d.host}"
    pid = d.wait_up("a")["pid"]
    expect(act(d, "restartall").startswith("All restarted at "), "the message")
    expect(d.wait_up("a")["pid"] != pid, "a was not restarted")
    d.wait_up("b")
    expect(act(d, "stopall").startswith("All stopped at "), "the message")
    same((d.state("a"), d.state("b")), ("STOPPED", "STOPPED"))


# -- tail.html -------------------------------------------------------------------------------


@check("web.tail", "/tail.html shows the end of the log, with a link to refresh")
def tail(t):
    d = daemon(t)
    until(lambda: d.bench.read("long.out").endswith("line 499.\n"), "output")
    p = page(d, "/tail.html?processname=long")
    contains(p.text, "line 499.")
    lacks(p.text, "line 1.", "text")
    expect(any("tail.html" in link and "processname=long" in link for link in p.links), f"{p.links}")


@check("web.tail.limit", "limit= asks for more, never for less than 1024 bytes")
def tail_limit(t):
    d = daemon(t)
    until(lambda: d.bench.read("long.out").endswith("line 499.\n"), "output")
    contains(page(d, "/tail.html?processname=long&limit=100000").text, "line 1.")
    few = page(d, "/tail.html?processname=long&limit=5").text
    contains(few, "line 499.")
    contains(few, "line 450.")
    contains(page(d, "/tail.html?processname=long&limit=x").text, "line 499.")


@check("web.tail.errors", "/tail.html without a name, of an unknown one, of one without a log")
def tail_errors(t):
    d = daemon(t)
    contains(page(d, "/tail.html").text, "No process name found")
    contains(page(d, "/tail.html?processname=nope").text, "BAD_NAME: nope")
    contains(page(d, "/tail.html?processname=halt").text, "No file for halt")


@check("web.tail.markup", "what a program writes is shown as text")
def tail_markup(t):
    d = daemon(t)
    until(lambda: d.bench.read("markup.out").endswith("\n"), "output")
    answer = get(d, "/tail.html?processname=markup")
    lacks(answer.text, "<script>alert", "page")
    contains(Page(answer.text).text, "<script>alert(1)</script> & <b>bold</b>")
    lacks(get(d, "/tail.html?processname=" + quote("<script>x</script>")).text, "<script>x", "page")


# -- /logtail --------------------------------------------------------------------------------


def stream(t, d, target, headers=()):
    s = wire.Stream(d.url, target, headers)
    t.streams = getattr(t, "streams", []) + [s]
    return s


@check("web.logtail.follow", "/logtail/NAME: what is there, then what comes, chunked plain text", 2)
def logtail(t):
    d = daemon(t)
    d.wait_up("follow")
    d.rpc.supervisor.sendProcessStdin("follow", "first\n")
    until(lambda: "first" in d.bench.read("follow.out"), "the first line")
    s = stream(t, d, "/logtail/follow")
    until(lambda: b"first\n" in s.read(), "the first line")
    head = s.data.split(b"\r\n\r\n")[0].decode().lower()
    expect(head.startswith("http/1.1 200"), head)
    contains(head, "content-type: text/plain")
    contains(head, "transfer-encoding: chunked")
    contains(head, "x-accel-buffering: no")
    d.rpc.supervisor.sendProcessStdin("follow", "second\n")
    until(lambda: b"second\n" in s.read(), "the second line")
    d.rpc.supervisor.sendProcessStdin("follow", "Øresund\n")
    until(lambda: "Øresund\n".encode() in s.read(), "the third line")
    s.close()


@check("web.logtail.begins", "it begins 1024 bytes before the end", 2)
def logtail_begins(t):
    d = daemon(t)
    until(lambda: d.bench.read("long.out").endswith("line 499.\n"), "output")
    s = stream(t, d, "/logtail/long/stdout")
    until(lambda: b"line 499.\n" in s.read(), "the last line")
    body = s.data.split(b"\r\n\r\n", 1)[1]
    same(int(body.split(b"\r\n")[0], 16), 1024, "the first chunk")
    s.close()


@check("web.logtail.stderr", "/logtail/NAME/stderr is the other log", 2)
def logtail_stderr(t):
    d = daemon(t)
    d.wait_up("follow_err")
    s = stream(t, d, "/logtail/follow_err/stderr")
    d.rpc.supervisor.sendProcessStdin("follow_err", "an error\n")
    until(lambda: b"an error\n" in s.read(), "the line")
    s.close()


@check("web.logtail.group", "/logtail/GROUP:NAME, quoted or not", 2)
def logtail_group(t):
    d = daemon(t)
    d.wait_up("crew:member")
    for target in ["/logtail/crew:member", "/logtail/crew%3Amember"]:
        s = stream(t, d, target)
        until(lambda: b"200 OK" in s.read(), "the answer")
        s.close()


@check("web.logtail.rotation", "it follows the log through a rotation", 3)
def logtail_rotation(t):
    d = daemon(t)
    d.wait_up("rotate")
    d.rpc.supervisor.sendProcessStdin("rotate", "before the rotation\n")
    s = stream(t, d, "/logtail/rotate")
    until(lambda: b"before the rotation\n" in s.read(), "the old line")
    d.rpc.supervisor.clearProcessLogs("rotate")
    d.rpc.supervisor.sendProcessStdin("rotate", "after it\n")
    until(lambda: b"after it\n" in s.read(), "the new line")
    s.close()


@check("web.logtail.not_found", "unknown programs and logs that are not there are 404")
def logtail_404(t):
    d = daemon(t)
    for target in [
        "/logtail/nope",
        "/logtail/crew:nope",
        "/logtail/halt",
        "/logtail/no_file_yet",
        "/logtail/run/stdfoo",
        "/logtail/halt/stderr",
    ]:
        same(get(d, target).status, 404, target)


@check("web.logtail.method", "only GET follows a log")
def logtail_method(t):
    d = daemon(t)
    same(wire.request(d.url, "POST", "/logtail/run", b"x").status, 400)
    same(wire.request(d.url, "POST", "/mainlogtail", b"x").status, 400)


@check("web.mainlogtail", "/mainlogtail follows the main log", 3)
def mainlogtail(t):
    port = free_port()
    d = t.start(program("x", "/bin/cat", startsecs=0), inet=port)
    s = wire.Stream(f"http://127.0.0.1:{port}", "/mainlogtail")
    until(lambda: b"supervisord started with pid" in s.read(), "the old lines")
    d.rpc.supervisor.startProcess("x")
    until(lambda: b"INFO spawned: 'x' with pid" in s.read(), "the new line")
    s.close()


@check("web.mainlogtail.not_found", "without a main log it is 404", 2)
def mainlogtail_404(t):
    port = free_port()
    t.start(inet=port)
    os.unlink(t.path("d.log"))
    same(wire.request(f"http://127.0.0.1:{port}", "GET", "/mainlogtail").status, 404)


# -- the rest --------------------------------------------------------------------------------


@check("web.ok", "/ok.html says OK")
def ok(t):
    answer = get(daemon(t), "/ok.html")
    same((answer.status, answer.text), (200, "OK"))


@check("web.unix", "the pages are there over the unix socket too")
def over_unix(t):
    d = daemon(t)
    same(wire.request("unix://" + d.sock, "GET", "/ok.html").text, "OK")
    same(wire.request("unix://" + d.sock, "GET", "/").status, 200)


@check("web.http_1_0", "an HTTP/1.0 request is answered, and the connection closed")
def http_1_0(t):
    d = daemon(t)
    with wire.connect(d.url) as sock:
        sock.sendall(b"GET /ok.html HTTP/1.0\r\n\r\n")
        data = b""
        sock.settimeout(60)
        while True:
            piece = sock.recv(4096)
            if not piece:
                break
            data += piece
    contains(data, b"200 OK")
    expect(data.endswith(b"OK"), repr(data))


@check("web.not_found", "unknown paths are 404")
def not_found(t):
    d = daemon(t)
    for target in ["/nope", "/nope.html", "/tail", "/logtails"]:
        expect(
            get(d, target).status in (404, 400, 500) if target == "/logtails" else get(d, target).status == 404, target
        )


@check("web.traversal", "no path leads out of the pages")
def traversal(t):
    d = daemon(t)
    for target in [
        "/../../../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "//etc/passwd",
        "/stylesheets/../../../../../../../etc/passwd",
    ]:
        answer = wire.raw(d.url, f"GET {target} HTTP/1.0\r\n\r\n".encode())
        lacks(answer, b"root:", f"answer to {target}")


@check("web.auth", "with a password every page wants it, and gets it", 3)
def auth(t):
    port = free_port()
    d = t.start(
        program("x", "/bin/cat", autostart="true", startsecs=0, stdout_logfile=t.path("x.out")),
        inet=f"port=127.0.0.1:{port}\nusername=user\npassword=pass",
    )
    url = f"http://127.0.0.1:{port}"
    good, bad = [("Authorization", wire.basic("user", "pass"))], [("Authorization", wire.basic("user", "no"))]
    d.wait_up("x")
    targets = [
        "/",
        "/index.html",
        "/tail.html?processname=x",
        "/ok.html",
        "/logtail/x",
        "/mainlogtail",
        "/index.html?processname=x&action=stop",
        "/nope",
        "/stylesheets/supervisor.css",
    ]
    for target in targets:
        for headers in [[], bad]:
            answer = wire.request(url, "GET", target, headers=headers)
            same(answer.status, 401, target)
            expect(answer.headers["WWW-Authenticate"].lower().startswith("basic"), f"{answer}")
    same(d.state("x"), "RUNNING", "state after refused actions")
    for target in ["/", "/index.html", "/tail.html?processname=x", "/ok.html"]:
        same(wire.request(url, "GET", target, headers=good).status, 200, target)
    s = wire.Stream(url, "/mainlogtail", good)
    until(lambda: b"supervisord started" in s.read(), "the main log")
    s.close()


@check("web.auth.sha", "a {SHA} password works for pages too", 2)
def auth_sha(t):
    port = free_port()
    t.start(inet=f"port=127.0.0.1:{port}\nusername=user\npassword={{SHA}}9d4e1e23bd5b727046a9e3b4b7db57bd8d6ee684")
    same(
        wire.request(
            f"http://127.0.0.1:{port}", "GET", "/ok.html", headers=[("Authorization", wire.basic("user", "pass"))]
        ).status,
        200,
    )
