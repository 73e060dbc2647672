"""Clients: XML-RPC over TCP and unix sockets, and plain HTTP by hand."""

import base64
import http.client
import socket
import time
import xmlrpc.client
from urllib.parse import urlparse

TIMEOUT = 60.0


class Unfinished(Exception):
    """The peer closed the connection before its answer was complete."""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=TIMEOUT)
        self.unix_path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        try:
            self.sock.connect(self.unix_path)
        except OSError:
            self.sock.close()
            raise


class Transport(xmlrpc.client.Transport):
    """The standard library's transport, over either kind of socket and with basic auth."""

    def __init__(self, url, username=None, password=None):
        super().__init__()
        self.url, self.username, self.password = url, username, password

    def make_connection(self, host):
        if self._connection and self._connection[0] == host:
            return self._connection[1]
        if self.url.startswith("unix://"):
            connection = UnixConnection(self.url[7:])
        else:
            parts = urlparse(self.url)
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT)
        self._connection = host, connection
        return connection

    def send_headers(self, connection, headers):
        if self.username is not None:
            headers = [*headers, ("Authorization", basic(self.username, self.password))]
        super().send_headers(connection, headers)


def proxy(url, username=None, password=None):
    transport = Transport(url, username, password)
    return xmlrpc.client.ServerProxy("http://127.0.0.1/RPC2", transport=transport)


def basic(username, password):
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def connect(url):
    """A connected socket for `unix:///path` or `http://host:port`."""
    if url.startswith("unix://"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(TIMEOUT)
        sock.connect(url[7:])
        return sock
    parts = urlparse(url)
    sock = socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT)
    return sock


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8", errors="replace")

    def __repr__(self):
        return f"HTTP {self.status} {dict(self.headers)!r} {self.body[:300]!r}"


def request(url, method, target, body=None, headers=()):
    """One HTTP request through the standard library's client."""
    if url.startswith("unix://"):
        connection = UnixConnection(url[7:])
    else:
        parts = urlparse(url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT)
    try:
        connection.request(method, target, body=body, headers=dict(headers))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def raw(url, data, shut=False):
    """Sends bytes as they are and returns all that comes back until the peer closes or goes quiet."""
    with connect(url) as sock:
        try:
            sock.sendall(data)
            if shut:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return read_answer(sock)


def read_answer(sock, deadline=TIMEOUT):
    """Reads one HTTP answer's bytes: to its Content-Length, its last chunk, or the end."""
    data = b""
    end = time.monotonic() + deadline
    sock.settimeout(0.5)
    while time.monotonic() < end:
        try:
            piece = sock.recv(65536)
        except socket.timeout:
            if complete(data):
                break
            continue
        except OSError:
            break
        if not piece:
            break
        data += piece
        if complete(data):
            break
    return data


def complete(data):
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return len(body) >= int(value)
        if name.strip().lower() == b"transfer-encoding" and value.strip().lower() == b"chunked":
            return body.endswith(b"0\r\n\r\n")
    return False


class Stream:
    """A GET whose answer does not end: /logtail and /mainlogtail."""

    def __init__(self, url, target, headers=()):
        self.sock = connect(url)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self.sock.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode())
        self.sock.settimeout(0.2)
        self.data = b""
        self.ended = False

    def read(self):
        """What has come so far, raw."""
        try:
            piece = self.sock.recv(65536)
            if piece:
                self.data += piece
            else:
                self.ended = True
        except socket.timeout:
            pass
        return self.data

    def close(self):
        self.sock.close()


def call_body(method, *params):
    """The XML of a call."""
    return xmlrpc.client.dumps(params, method).encode()


def post(url, body, headers=(), target="/RPC2"):
    """POSTs `body` as text/xml."""
    return request(url, "POST", target, body, [("Content-Type", "text/xml"), *headers])
