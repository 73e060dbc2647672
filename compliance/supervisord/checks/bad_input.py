"""What strangers may send: nothing of it may stop the daemon or hold up others."""

import http.client
import random
import socket
import time
import xmlrpc.client

from harness import wire
from harness.bench import free_port, program, sh, until
from harness.register import check, contains, expect, same

SEED = 20240611
BODIES = 10_000


def daemon(t):
    def make(bench):
        port = free_port()
        d = bench.start(
            program("x", "/bin/cat", autostart="true", startsecs=0), program("y", "/bin/cat", startsecs=600), inet=port
        )
        d.wait_up("x")
        d.url = f"http://127.0.0.1:{port}"
        return d

    return t.shared("bad_input", make)


def unharmed(d):
    """Fails the check unless the daemon answers, over both sockets, and its program runs."""
    expect(d.child.poll() is None, f"the daemon ended with {d.child.returncode}")
    same(d.rpc.supervisor.getPID(), d.pid)
    same(d.proxy(d.url).supervisor.getState()["statename"], "RUNNING")
    same(d.state("x"), "RUNNING")


def bodies():
    """Bodies that are wrong in many ways; the same ones at each run."""
    chance = random.Random(SEED)
    good = [
        wire.call_body("supervisor.getProcessInfo", "x"),
        wire.call_body("supervisor.readProcessStdoutLog", "x", 0, 100),
        wire.call_body("system.multicall", [{"methodName": "supervisor.getPID", "params": []}]),
        wire.call_body("supervisor.sendRemoteCommEvent", "a", "b"),
    ]
    for number in range(BODIES):
        kind = number % 8
        body = bytearray(chance.choice(good))
        if kind == 0:  # random bytes
            body = bytearray(chance.randbytes(chance.randrange(1, 400)))
        elif kind == 1:  # cut off
            body = body[: chance.randrange(1, len(body))]
        elif kind == 2:  # some bytes changed
            for _ in range(chance.randrange(1, 12)):
                body[chance.randrange(len(body))] = chance.randrange(256)
        elif kind == 3:  # a piece taken out
            at = chance.randrange(len(body) - 10)
            del body[at : at + chance.randrange(1, 10)]
        elif kind == 4:  # a piece twice
            at = chance.randrange(len(body) - 30)
            body[at:at] = body[at : at + chance.randrange(5, 30)]
        elif kind == 5:  # wrong types
            value = chance.choice(
                [
                    "<int>x</int>",
                    "<boolean>7</boolean>",
                    "<double>..</double>",
                    "<array></array>",
                    "<struct><member></member></struct>",
                    "<base64>!!</base64>",
                    "<dateTime.iso8601>no</dateTime.iso8601>",
                    "<nil/>",
                    "<i8>9999999999999999999999</i8>",
                    "<int>99999999999999999999</int>",
                    "<unknown/>",
                    "",
                ]
            )
            body = bytearray(
                f"<?xml version='1.0'?><methodCall><methodName>supervisor.getProcessInfo</methodName><params><param><value>{value}</value></param></params></methodCall>".encode()
            )
        elif kind == 6:  # strange method names
            name = chance.choice(
                [
                    "supervisor." + "a" * 5000,
                    "..",
                    ".",
                    "supervisor.",
                    ".getPID",
                    "supervisor.getPID()",
                    "system.listMethods;",
                    "\u00e9.\u00e9",
                    " supervisor.getPID ",
                    "supervisor/getPID",
                ]
            )
            body = bytearray(
                f"<?xml version='1.0' encoding='utf-8'?><methodCall><methodName>{name}</methodName></methodCall>".encode()
            )
        else:  # markup where none belongs
            extra = chance.choice(
                [
                    b"<!-- -- -->",
                    b"<![CDATA[",
                    b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
                    b"&nope;",
                    b"<?php ?>",
                    b"\x00",
                    b"</methodCall>",
                    b"<a " * 50,
                    b"]]>",
                ]
            )
            at = chance.randrange(len(body))
            body[at:at] = extra
        if body:
            yield bytes(body)


@check("bad_input.bodies", f"{BODIES} garbage XML-RPC bodies: each is answered or closed, the daemon is unharmed", 10)
def garbage(t):
    d = daemon(t)
    answered = {}
    for number, body in enumerate(bodies()):
        try:
            answer = wire.post(d.url, body, [("Connection", "close")])
        except (http.client.HTTPException, ConnectionError):
            # What is not even UTF-8 may be answered by closing the connection.
            answered["closed"] = answered.get("closed", 0) + 1
            continue
        expect(answer.status in (200, 400, 500), f"body {number} {body!r}: {answer}")
        if answer.status == 200:
            try:
                xmlrpc.client.loads(answer.body)
            except xmlrpc.client.Fault:
                pass
        answered[answer.status] = answered.get(answer.status, 0) + 1
    expect(sum(answered.values()) >= BODIES - 2, f"{answered}")
    unharmed(d)


@check("bad_input.stalled", "clients that stop in the middle of a request hold up nobody", 3)
def stalled(t):
    d = daemon(t)
    parts = [
        b"",
        b"P",
        b"POST /RPC2 HTTP/1.1\r\n",
        b"POST /RPC2 HTTP/1.1\r\nContent-Length: 100\r\n\r\n<?xml",
        b"GET / HTTP/1.1\r\nHost: x",
        b"GET /logtail/x HTTP/1.1\r\n",
    ]
    sockets = []
    try:
        for number in range(30):
            sock = wire.connect(d.url if number % 2 else "unix://" + d.sock)
            sock.sendall(parts[number % len(parts)])
            sockets.append(sock)
        for _ in range(10):
            unharmed(d)
    finally:
        for sock in sockets:
            sock.close()
    unharmed(d)


@check("bad_input.slow_request", "a request that comes byte by byte is answered", 3)
def slow_request(t):
    d = daemon(t)
    body = wire.call_body("supervisor.getPID")
    request = b"POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with wire.connect(d.url) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            sock.sendall(bytes([byte]))
            time.sleep(0.001)
        contains(wire.read_answer(sock), str(d.pid).encode())


@check("bad_input.slow_reader", "a client that does not read its answer holds up nobody", 3)
def slow_reader(t):
    port = free_port()
    d = t.start(
        program(
            "big",
            sh("head -c 8000000 /dev/zero | tr '\\0' z; exec sleep 600"),
            autostart="true",
            startsecs=0,
            stdout_logfile=t.path("big.out"),
            stdout_logfile_maxbytes=0,
        ),
        program("x", "/bin/cat", autostart="true", startsecs=0),
        inet=port,
    )
    d.url = f"http://127.0.0.1:{port}"
    until(lambda: len(t.read("big.out")) == 8000000, "the big log")
    body = wire.call_body("supervisor.readProcessStdoutLog", "big", 0, 0)
    with wire.connect(d.url) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(b"POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        sock.recv(100)
        for _ in range(5):
            unharmed(d)
    unharmed(d)


@check("bad_input.request_lines", "malformed request lines are refused", 3)
def request_lines(t):
    d = daemon(t)
    for line in [
        b"garbage",
        b"GET",
        b"GET  HTTP/1.1",
        b"\x00\x01\x02",
        b"GET / HTTP/9.9",
        b"FROBNICATE / HTTP/1.1",
        b"GET / HTTP/1.1 extra",
        b"GET http://[::1 HTTP/1.1",
        b"GET /%zz HTTP/1.1",
        b"GET /?%zz=%zz HTTP/1.1",
        b"GET * HTTP/1.1",
        b"CONNECT a:1 HTTP/1.1",
    ]:
        with wire.connect(d.url) as sock:
            sock.sendall(line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(60)
            try:
                while sock.recv(65536):
                    pass
            except OSError:
                pass
    unharmed(d)


@check("bad_input.headers", "strange headers do no harm", 3)
def strange_headers(t):
    d = daemon(t)
    body = wire.call_body("supervisor.getPID")
    for header in [
        b"Content-Length: x",
        b"Content-Length: -5",
        b"Content-Length: 99999999999999999999",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"no colon",
        b": no name",
        b"Host:",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: nonsense",
        b"A: \xff\xfe",
        b"Connection: \x00",
        b" folded: yes",
    ]:
        with wire.connect(d.url) as sock:
            sock.sendall(b"POST /RPC2 HTTP/1.1\r\n" + header + b"\r\n\r\n" + body)
            sock.shutdown(socket.SHUT_WR)
        unharmed(d)


@check("bad_input.large_header", "a header of a megabyte does no harm", 3)
def large_header(t):
    d = daemon(t)
    with wire.connect(d.url) as sock:
        try:
            for _ in range(16):
                sock.sendall(b"A: " + b"b" * 65000 + b"\r\n")
        except OSError:
            pass  # it may well be cut off
    unharmed(d)


@check("bad_input.large_body", "a body that is announced but does not come does no harm", 3)
def large_body(t):
    d = daemon(t)
    with wire.connect(d.url) as sock:
        try:
            sock.sendall(b"POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n\r\n" + b"x" * 1000000)
        except OSError:
            pass
    unharmed(d)


@check("bad_input.nested", "XML that is nested ten thousand deep does no harm", 3)
def nested(t):
    d = daemon(t)
    depth = 10000
    body = (
        b"<methodCall><methodName>supervisor.getPID</methodName><params><param>"
        + b"<value><array><data>" * depth
        + b"</data></array></value>" * depth
        + b"</param></params></methodCall>"
    )
    expect(wire.post(d.url, body).status in (200, 400, 413, 500), "the answer")
    unharmed(d)


@check("bad_input.entities", "entities that would grow without end are refused", 3)
def entities(t):
    d = daemon(t)
    lines = ["<!ENTITY a0 'aaaaaaaaaa'>"] + [f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 12)]
    body = (
        f"<?xml version='1.0'?><!DOCTYPE m [{''.join(lines)}]><methodCall><methodName>&a11;</methodName></methodCall>"
    )
    expect(wire.post(d.url, body.encode()).status in (200, 400, 413, 500), "the answer")
    unharmed(d)


@check("bad_input.external_entity", "an entity that names a file is not read", 3)
def external_entity(t):
    d = daemon(t)
    body = b"<?xml version='1.0'?><!DOCTYPE m [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><methodCall><methodName>supervisor.getProcessInfo</methodName><params><param><value>&x;</value></param></params></methodCall>"
    expect(b"root:" not in wire.post(d.url, body).body, "the file was read")
    unharmed(d)


@check("bad_input.connections", "three hundred connections at once are no problem", 4)
def connections(t):
    d = daemon(t)
    sockets = []
    try:
        for _ in range(300):
            sockets.append(wire.connect(d.url))
        unharmed(d)
    finally:
        for sock in sockets:
            sock.close()
    unharmed(d)


@check("bad_input.gone", "a client that goes away while it waits does no harm", 3)
def gone(t):
    d = t.start(program("y", "/bin/cat", startsecs=600), program("x", "/bin/cat", autostart="true", startsecs=0))
    d.url = "unix://" + d.sock
    d.wait_up("x")
    body = wire.call_body("supervisor.startProcess", "y")
    for _ in range(3):
        with wire.connect(d.url) as sock:
            sock.sendall(b"POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            d.wait_state("y", "STARTING")
        unharmed(d)
        d.rpc.supervisor.stopProcess("y")


@check("bad_input.gone_tail", "a client that leaves a log tail does no harm", 3)
def gone_tail(t):
    port = free_port()
    d = t.start(
        program(
            "x",
            sh("while :; do echo a line; sleep 0.01; done"),
            autostart="true",
            startsecs=0,
            stdout_logfile=t.path("x.out"),
        ),
        inet=port,
    )
    d.url = f"http://127.0.0.1:{port}"
    until(lambda: t.read("x.out"), "output")
    for _ in range(10):
        s = wire.Stream(d.url, "/logtail/x")
        until(lambda: b"a line" in s.read(), "a line")
        s.close()
    unharmed(d)


@check("bad_input.multicall_large", "a multicall of a thousand calls is answered", 3)
def multicall_large(t):
    d = daemon(t)
    calls = [{"methodName": "supervisor.getPID", "params": []}] * 1000
    same(d.rpc.system.multicall(calls), [d.pid] * 1000)


@check("bad_input.multicall_odd", "a multicall of what are no calls does no harm", 3)
def multicall_odd(t):
    d = daemon(t)
    for calls in [
        "text",
        5,
        [1],
        ["a"],
        {"a": 1},
        [[]],
        [{"methodName": 5}],
        [{"methodName": "supervisor.getPID", "params": "text"}],
    ]:
        answer = wire.post(d.url, wire.call_body("system.multicall", calls))
        expect(answer.status in (200, 400, 500), f"{calls!r}: {answer}")
    unharmed(d)


@check("bad_input.arguments", "arguments of strange types and sizes do no harm", 3)
def arguments(t):
    d = daemon(t)
    for method in [
        "getProcessInfo",
        "startProcess",
        "stopProcess",
        "readProcessStdoutLog",
        "tailProcessStdoutLog",
        "signalProcess",
        "addProcessGroup",
        "removeProcessGroup",
        "sendProcessStdin",
        "startProcessGroup",
        "clearProcessLogs",
    ]:
        for values in [
            (5,),
            (None,),
            ([],),
            ({},),
            (True,),
            ("n" * 100000,),
            ("a:b:c",),
            (":",),
            ("*",),
            ("\n",),
            ("nope", "x", "y"),
            ("nope", 2**31 - 1, -(2**31)),
            ("nope", -1),
        ]:
            body = xmlrpc.client.dumps(values, f"supervisor.{method}", allow_none=True).encode()
            answer = wire.post(d.url, body)
            expect(answer.status in (200, 400, 500), f"{method}{values!r}: {answer}")
    unharmed(d)


@check("bad_input.pages", "strange queries to the pages do no harm", 3)
def pages(t):
    d = daemon(t)
    for target in [
        "/?action=",
        "/?processname=",
        "/index.html?action=start",
        "/index.html?processname=%00&action=start",
        "/tail.html?limit=-1&processname=x",
        "/tail.html?processname=x&limit=99999999999999999999",
        "/tail.html?processname=a:b:c",
        "/?" + "a=b&" * 2000,
        "/logtail",
        "/logtail/",
        "/logtail//",
        "/logtail/x/",
        "/logtail/x/../y",
        "/logtail/%00",
        "/?message=%ff%fe",
    ]:
        (
            wire.raw(d.url, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            if not target.startswith("/logtail")
            else wire.Stream(d.url, target).close()
        )
    unharmed(d)
