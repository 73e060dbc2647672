"""What the measurements stand on: one daemon in a directory of its own, its clocks and its socket."""

import ctypes
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid

PATIENCE = 120
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Failed(Exception):
    """What could not be measured, and why."""


def median(values):
    return percentile(values, 50)


def percentile(values, percent):
    values = sorted(values)
    return values[min(len(values) - 1, len(values) * percent // 100)]


def wait_for(what, seen, patience=PATIENCE, pause=0.002):
    deadline = time.monotonic() + patience
    while True:
        value = seen()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"waited {patience} s in vain for {what}")
        time.sleep(pause)


def cpu_seconds(pid):
    """CPU time of a process and all its threads since it began, also of threads that have ended.
    This is clock_getcpuclockid(3): nanoseconds, where /proc has only hundredths."""
    return time.clock_gettime((~pid << 3) | 2)


def switches(pid):
    """Context switches by thread: each wake-up is at least one."""
    found = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/status") as file:
                found[task] = sum(int(text.split()[1]) for text in file if "ctxt_switches" in text)
        except FileNotFoundError:
            pass
    return found


def memory(pid):
    """(RSS, PSS) in bytes."""
    found = {}
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for text in file:
            words = text.split()
            if len(words) == 3 and words[2] == "kB":
                found[words[0]] = int(words[1]) * 1024
    return found["Rss:"], found["Pss:"]


def marked(mark):
    """Live processes that have this in their environment."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:
                    if mark.encode() in file.read().split(b"\0"):
                        found.append(int(entry))
            except OSError:
                pass
    return found


class Side:
    """One of the two that are compared."""

    def __init__(self, name, daemon, ctl):
        self.name = name
        self.daemon, self.ctl = shlex.split(daemon), shlex.split(ctl or "")
        for words in (self.daemon, self.ctl):
            if words:
                words[0] = os.path.abspath(shutil.which(words[0]) or words[0])


class Daemon:
    """A running daemon with these programs; stops it and everything it started on the way out.

    `programs` are the lines below `[program:x]` by name. Every one gets files of its own for both
    outputs, in the directory `log`, unless it says otherwise.
    """

    def __init__(self, side, programs, patience=PATIENCE, place=None):
        self.side, self.programs, self.patience = side, programs, patience
        self.place = place or Daemon.place
        self.mark = f"BENCH_ID={uuid.uuid4().hex}"
        self.child = None

    def __enter__(self):
        self.root = tempfile.mkdtemp(prefix=f"bench-{self.side.name}-", dir=self.place)
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    place = None

    def start(self):
        os.mkdir(f"{self.root}/log")
        self.config, self.socket = f"{self.root}/supervisord.conf", f"{self.root}/s.sock"
        self.log = f"{self.root}/supervisord.log"
        # supervisord holds five descriptors for a program, mainstay six; never less than the default.
        minfds = max(1024, 6 * len(self.programs) + 200)
        key, value = self.mark.split("=")
        parts = [
            f"[unix_http_server]\nfile={self.socket}\n",
            f"[supervisord]\nnodaemon=true\nsilent=true\nlogfile={self.log}\nlogfile_maxbytes=0\n"
            f"pidfile={self.root}/pid\nchildlogdir={self.root}/log\nminfds={minfds}\n",
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n",
            f"[supervisorctl]\nserverurl=unix://{self.socket}\n",
        ]
        for name, lines in self.programs.items():
            parts.append(
                f'[program:{name}]\nenvironment={key}="{value}"\n'
                f"stdout_logfile={self.root}/log/{name}.out\n"
                f"stderr_logfile={self.root}/log/{name}.err\n{lines}\n"
            )
        with open(self.config, "w") as file:
            file.write("\n".join(parts))
        # Whoever kills us ends it in order.
        tie = lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        with open(f"{self.root}/said", "wb") as said:
            self.began = time.monotonic()
            self.child = subprocess.Popen(
                [*self.side.daemon, "-n", "-c", self.config],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=self.root,
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}, preexec_fn=tie)
        self.pid = self.child.pid
        # By the log, because asking would cost the daemon what is measured.
        wait_for(f"{len(self.programs)} programs of {self.side.name} to run", self.all_run, self.patience)
        self.start_wall = time.monotonic() - self.began
        self.start_cpu = self.cpu()

    def processes(self):
        """The daemon, and whatever it has started beside the programs for its own needs."""
        found = [self.pid]
        for task in os.listdir(f"/proc/{self.pid}/task"):
            try:
                with open(f"/proc/{self.pid}/task/{task}/children") as file:
                    children = file.read().split()
            except FileNotFoundError:
                continue
            for child in children:
                try:
                    with open(f"/proc/{child}/environ", "rb") as file:
                        if self.mark.encode() not in file.read().split(b"\0"):
                            found.append(int(child))
                except OSError:
                    pass
        return found

    def cpu(self):
        return sum(cpu_seconds(pid) for pid in self.processes())

    def memory(self):
        """(RSS, PSS) in bytes."""
        return tuple(map(sum, zip(*(memory(pid) for pid in self.processes()))))

    def switches(self):
        """Context switches by thread."""
        return {task: count for pid in self.processes() for task, count in switches(pid).items()}

    def all_run(self):
        if self.child.poll() is not None:
            with open(f"{self.root}/said", errors="replace") as file:
                raise Failed(f"{self.side.name} ended with {self.child.returncode}: {file.read()[-500:]}")
        try:
            with open(self.log, "rb") as file:
                return file.read().count(b"entered RUNNING state") >= len(self.programs)
        except FileNotFoundError:
            return False

    def __exit__(self, *_):
        if self.child is not None and self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        deadline = time.monotonic() + 30
        while (left := marked(self.mark)) and time.monotonic() < deadline:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.01)
        shutil.rmtree(self.root, ignore_errors=True)

    def ctl(self, *words):
        return subprocess.run(
            [*self.side.ctl, "-c", self.config, *words], cwd=self.root, timeout=PATIENCE,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"})


class Wire:
    """XML-RPC as bytes over a connection that is kept; the same code for both sides."""

    def __init__(self, path):
        self.path, self.connection, self.rest = path, None, b""

    def call(self, method):
        """The body of the answer."""
        body = f"<?xml version='1.0'?><methodCall><methodName>{method}</methodName></methodCall>".encode()
        head = (f"POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n"
                f"Content-Length: {len(body)}\r\n\r\n").encode()
        if self.connection is None:
            self.connection = socket.socket(socket.AF_UNIX)
            self.connection.settimeout(PATIENCE)
            self.connection.connect(self.path)
            self.rest = b""
        self.connection.sendall(head + body)
        while b"\r\n\r\n" not in self.rest:
            self.receive()
        said, _, self.rest = self.rest.partition(b"\r\n\r\n")
        status, *lines = said.split(b"\r\n")
        headers = {name.strip().lower(): value.strip().lower()
                   for name, _, value in (text.partition(b":") for text in lines)}
        if b" 200 " not in status + b" ":
            raise Failed(f"{method}: {status.decode()}")
        length = int(headers[b"content-length"])
        while len(self.rest) < length:
            self.receive()
        answer, self.rest = self.rest[:length], self.rest[length:]
        if headers.get(b"connection") == b"close":
            self.close()
        return answer

    def receive(self):
        more = self.connection.recv(1 << 18)
        if not more:
            raise Failed("the connection was closed within an answer")
        self.rest += more

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None
