#!/usr/bin/env python3
"""Kills or replaces a daemon again and again under programs that count, and then counts.

    storm.py --daemon target/debug/mainstay --flavour toml --mode kill --rounds 100 --programs 50
    storm.py --daemon "target/debug/mainstay supervisord" --flavour supervisord --mode upgrade

Every program writes numbered lines and keeps books of its own (storm_program.py). In each round, at a
random moment within 400 ms of the last start, the daemon is killed with SIGKILL and started again
(`kill`), or told to replace itself with SIGUSR1 (`upgrade`). At the end everything is stopped in order.

What must hold: at no moment two live processes of one program; nobody alive whom the daemon does not
list; one start per death and one more; who did not die by himself keeps his process id; uptimes true;
every line in the log exactly once and in order. One line of totals, and 1 as exit code on any fault.

The output of a program that dies while no daemon lives, before anybody read it, is gone with its pipe
unless somebody keeps that open (`mainstay keep` does). Programs of the kind "abrupt" die like that on
purpose, and what they lose is counted apart; all others wait until their pipe is empty before they die.

Linux, Python 3.8 or newer, nothing else. Needs no root, but the same user for everything.
"""

import argparse
import ctypes
import http.client
import json
import os
import pwd
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import xmlrpc.client

import storm_program
from storm_program import KINDS, line

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 60
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LIBC = ctypes.CDLL(None, use_errno=True)
TICK = os.sysconf("SC_CLK_TCK")


class Faults(list):
    def add(self, text):
        self.append(text)
        if len(self) <= 20:
            print(f"FAULT {text}", file=sys.stderr, flush=True)


class Reaper:
    """Reaps whose parent was killed; leaves alone whom somebody here waits for."""

    def __init__(self):
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.lock, self.own = threading.Lock(), set()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                time.sleep(0.02)
                continue
            with self.lock:
                mine = seen.si_pid in self.own
                if not mine:
                    try:
                        os.waitpid(seen.si_pid, os.WNOHANG)
                    except ChildProcessError:
                        pass
            if mine:
                time.sleep(0.002)

    def start(self, words, **more):
        with self.lock:
            child = subprocess.Popen(words, **more)
            self.own.add(child.pid)
        return child

    def run_to_end(self, words, **more):
        child = self.start(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
        try:
            out, err = child.communicate(timeout=PATIENCE)
        finally:
            self.forget(child)
        return child.returncode, out, err

    def forget(self, child):
        if child.poll() is None:
            child.kill()
            child.wait()
        with self.lock:
            self.own.discard(child.pid)


class UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def make_connection(self, host):
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(10)
        connection.sock.connect(self.path)
        return connection


def rpc(path):
    return xmlrpc.client.ServerProxy("http://localhost", transport=UnixTransport(path))


class Toml:
    """`mainstay run` with a mainstay.toml."""

    def __init__(self, storm):
        self.storm = storm
        self.config = f"{storm.root}/mainstay.toml"
        # No rotation is a size of 0.
        size, files = ("1MB", 9999) if storm.rotation else ("0", 1)
        parts = [
            "schema = 1\n",
            f'[host]\nname = "storm"\nstate = "{storm.root}/state"\n',
            f'[log]\ndir = "{storm.root}/daemon"\n',
        ]
        for program in storm.programs:
            name, to = program.name, KINDS[program.kind]["to"]
            log = [f'retain = {{ size = "{size}", files = {files} }}']
            log.append(f'stdout = "{program.log("out")}"')
            log.append("merge = true" if to == "merged" else f'stderr = "{program.log("err")}"')
            parts.append(
                f"[program.{name}]\n"
                f"command = {json.dumps(storm.command(program))}\n"
                f'env = {{ STORM_ID = "{storm.id}", STORM_NAME = "{name}" }}\n'
                "start_secs = 0\n"
                'restart = { policy = "always", backoff = "10ms..20ms" }\n'
                'stop = { wait = "30s" }\n'
                f"log = {{ {', '.join(log)} }}\n"
            )
        with open(self.config, "w") as file:
            file.write("\n".join(parts))

    has_input = False
    # A file is rolled before it gets larger.
    above = 0

    def words(self, daemon):
        return [*daemon, "run", "-q", "-c", self.config]

    def listed(self):
        """By name: state, pid, uptime in seconds, restarts that the daemon counts."""
        words = [*self.storm.daemon_words, "status", "--json", "-c", self.config]
        code, out, err = self.storm.reaper.run_to_end(words)
        said = json.loads(out) if out.strip() else {}
        if "programs" not in said:
            raise OSError(f"status: exit code {code}: {said or err.decode(errors='replace').strip()}")
        return {
            one["name"]: (one["state"], one["pid"] or 0, one["uptime_seconds"], one.get("restarts"))
            for one in said["programs"]
        }


class Supervisord:
    """A supervisord with a supervisord.conf."""

    def __init__(self, storm):
        self.storm = storm
        self.config = f"{storm.root}/supervisord.conf"
        self.socket = f"{storm.root}/s.sock"
        size, files = ("1MB", 9999) if storm.rotation else ("0", 0)
        parts = [
            f"[unix_http_server]\nfile={self.socket}\n",
            f"[supervisord]\nnodaemon=true\nsilent=true\nlogfile={storm.root}/daemon/supervisord.log\n"
            f"user={pwd.getpwuid(os.getuid()).pw_name}\npidfile={storm.root}/supervisord.pid\nchildlogdir={storm.root}/log\n",
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n",
            f"[supervisorctl]\nserverurl=unix://{self.socket}\n",
        ]
        for program in storm.programs:
            name, to = program.name, KINDS[program.kind]["to"]
            words = " ".join(shlex.quote(word) for word in storm.command(program))
            text = (
                f"[program:{name}]\ncommand={words}\n"
                f'environment=STORM_ID="{storm.id}",STORM_NAME="{name}"\n'
                f"autorestart=true\nstartsecs=0\nstopwaitsecs=30\n"
                f"stdout_logfile={program.log('out')}\n"
                f"stdout_logfile_maxbytes={size}\nstdout_logfile_backups={files}\n"
            )
            if to == "merged":
                text += "redirect_stderr=true\n"
            else:
                text += (
                    f"stderr_logfile={program.log('err')}\n"
                    f"stderr_logfile_maxbytes={size}\nstderr_logfile_backups={files}\n"
                )
            parts.append(text)
        with open(self.config, "w") as file:
            file.write("\n".join(parts))

    has_input = True
    # A file is rolled once it is large enough; lines are not cut.
    above = 200

    def words(self, daemon):
        return [*daemon, "-n", "-c", self.config]

    def listed(self):
        return {
            one["name"]: (
                one["statename"],
                one["pid"],
                one["now"] - one["start"] if one["pid"] else None,
                None,
            )
            for one in rpc(self.socket).supervisor.getAllProcessInfo()
        }


class Program:
    def __init__(self, root, number, kind):
        self.root, self.kind, self.name = root, kind, f"{kind}{number}"

    def log(self, stream):
        return f"{self.root}/log/{self.name}.{stream}"

    def ledger(self):
        """Its lives: (pid, start time in ticks, boot time in ns, next out, next err)."""
        try:
            with open(f"{self.root}/{self.name}.ledger") as file:
                return [tuple(int(word) for word in text.split()) for text in file]
        except FileNotFoundError:
            return []

    def state(self):
        """(next out, next err, deaths, phase)."""
        try:
            with open(f"{self.root}/{self.name}.state") as file:
                out, err, deaths, phase = file.read().split()
            return int(out), int(err), int(deaths), phase
        except FileNotFoundError:
            return 1, 1, 0, "new"


def proc_start(pid):
    """Start time in clock ticks since boot; None: gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return None if fields[0] in "ZX" else int(fields[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


def log_chunks(path):
    """The rolled files, oldest first, then the current one."""
    directory, base = os.path.split(path)
    rolled = re.compile(re.escape(base) + r"\.([0-9]+)")
    numbers = [int(m.group(1)) for m in map(rolled.fullmatch, os.listdir(directory)) if m]
    for number in sorted(numbers, reverse=True):
        yield f"{path}.{number}"
    if os.path.exists(path):
        yield path


class Storm:
    def __init__(self, args):
        self.args, self.faults, self.id = args, Faults(), uuid.uuid4().hex
        self.daemon_words, self.rotation = shlex.split(args.daemon), args.rotation
        self.daemon_words[0] = os.path.abspath(shutil.which(self.daemon_words[0]) or self.daemon_words[0])
        self.root = tempfile.mkdtemp(prefix="storm-", dir=args.dir)
        for name in ("log", "daemon"):
            os.mkdir(f"{self.root}/{name}")
        kinds = [kind for kind in KINDS if kind != "echo" or args.flavour == "supervisord"]
        self.programs = [Program(self.root, i, kinds[i % len(kinds)]) for i in range(args.programs)]
        self.flavour = {"toml": Toml, "supervisord": Supervisord}[args.flavour](self)
        self.chance = random.Random(args.seed)
        self.reaper, self.daemon, self.totals = Reaper(), None, {}
        self.sent, self.sending = {}, False

    def command(self, program):
        return [sys.executable, "-I", "-S", f"{HERE}/storm_program.py", self.root, program.name,
                program.kind, str(os.getpid())]

    # The daemon.

    def start(self):
        log = open(f"{self.root}/daemon/stderr", "ab")
        # A storm that is killed takes its daemon with it; the programs look by themselves.
        tie = lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        self.daemon = self.reaper.start(
            self.flavour.words(self.daemon_words), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=tie)
        log.close()

    def died(self):
        return self.daemon.poll() is not None

    def image(self):
        """Differs with each exec of the daemon: where the kernel put its stack and vdso."""
        try:
            with open(f"/proc/{self.daemon.pid}/auxv", "rb") as file:
                return file.read()
        except OSError:
            return b""

    def kill_round(self, number):
        time.sleep(self.chance.uniform(0, self.args.within))
        if self.died():
            self.faults.add(f"round {number}: the daemon ended by itself, {self.daemon.returncode}")
        self.daemon.kill()
        self.daemon.wait()
        self.reaper.forget(self.daemon)
        self.look_at_processes(number)
        self.start()

    def upgrade_round(self, number):
        time.sleep(self.chance.uniform(0, self.args.within))
        before = self.image()
        asked = time.monotonic()
        if not self.died():
            self.daemon.send_signal(signal.SIGUSR1)
        while not self.died() and self.image() in (before, b""):
            if time.monotonic() > asked + PATIENCE:
                self.faults.add(f"round {number}: SIGUSR1 was not followed by an exec")
                return
            time.sleep(0.001)
        if self.died():
            self.faults.add(f"round {number}: SIGUSR1 ended the daemon, {self.daemon.returncode}")
            self.reaper.forget(self.daemon)
            self.start()
            self.wait_until_up()
        self.longest = max(getattr(self, "longest", 0), time.monotonic() - asked)
        self.look_at_processes(number)

    # What there is.

    def live(self):
        """Live processes of ours by program: {name: {pid: start}}."""
        found = {}
        mark = f"STORM_ID={self.id}".encode()
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:
                    environ = file.read().split(b"\0")
            except OSError:
                continue
            start = proc_start(entry) if mark in environ else None
            if start is not None:
                name = next(v[11:].decode() for v in environ if v.startswith(b"STORM_NAME="))
                found.setdefault(name, {})[int(entry)] = start
        return found

    def look_at_processes(self, number):
        for name, pids in self.live().items():
            # One that ended while we looked is no second one.
            pids = [pid for pid, start in pids.items() if proc_start(pid) == start]
            if len(pids) > 1:
                self.faults.add(f"round {number}: duplicates of {name}: {pids}")

    def all_running(self):
        """What the daemon lists, once every program is up; None: not yet."""
        try:
            listed = self.flavour.listed()
        except (OSError, ValueError, http.client.HTTPException, xmlrpc.client.Error) as error:
            self.last_error = error
            return None
        down = {name: one for name, one in listed.items() if one[0] != "RUNNING"}
        self.last_error = f"not running: {down}"
        booked = all(p.ledger() and p.ledger()[-1][0] == listed.get(p.name, ("", -1))[1]
                     for p in self.programs)
        return listed if not down and booked else None

    def wait_until_up(self):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            listed = self.all_running()
            if listed:
                return listed
            if self.died():
                self.faults.add(f"the daemon ended by itself, {self.daemon.returncode}")
                return {}
            time.sleep(0.05)
        self.faults.add(f"not everything is up: {self.last_error}")
        try:
            return self.flavour.listed()
        except Exception:
            return {}

    # Input.

    def send(self):
        """Sends numbered lines to the programs that echo, whatever becomes of the daemon."""
        echoes = [program for program in self.programs if program.kind == "echo"]
        numbers = {program.name: 0 for program in echoes}
        self.sent = {program.name: set() for program in echoes}
        while self.sending:
            for program in echoes:
                numbers[program.name] += 1
                number = numbers[program.name]
                text = line(program.name.encode(), b"i", number).decode()
                try:
                    if rpc(self.flavour.socket).supervisor.sendProcessStdin(program.name, text):
                        self.sent[program.name].add(number)
                except (OSError, http.client.HTTPException, xmlrpc.client.Error):
                    # Whether it came through is not known; what was answered must have.
                    time.sleep(0.01)
            time.sleep(0.01)

    # The whole of it.

    def run(self):
        self.start()
        sender = None
        if self.flavour.has_input:
            self.sending = True
            sender = threading.Thread(target=self.send, daemon=True)
            sender.start()
        if self.args.mode == "upgrade":
            self.wait_until_up()
        act = self.kill_round if self.args.mode == "kill" else self.upgrade_round
        for number in range(1, self.args.rounds + 1):
            act(number)
            if self.args.verbose and number % 10 == 0:
                print(f"round {number}", file=sys.stderr, flush=True)
        if sender:
            self.sending = False
            sender.join(PATIENCE)
        open(f"{self.root}/calm", "w").close()
        # Whoever decided to die before the calm began has to be through.
        time.sleep(0.5)
        listed = self.wait_until_up()
        self.check_living(listed)
        self.check_end()
        for program in self.programs:
            self.check_logs(program)
        self.check_fault_book()

    def check_living(self, listed):
        live = self.live()
        flat = {pid: name for name, pids in live.items() for pid in pids}
        orphans = set(flat) - {one[1] for one in listed.values()}
        for pid in orphans:
            self.faults.add(f"orphan: {flat[pid]} pid {pid} is alive and not listed")
        off = 0.0
        told = deaths = kept = steady = starts = 0
        for program in self.programs:
            lives, (_, _, died, _) = program.ledger(), program.state()
            state, pid, uptime, restarts = listed.get(program.name, ("", 0, None, None))
            starts += len(lives)
            deaths += died
            told += restarts or 0
            if restarts not in (None, died):
                self.faults.add(f"{program.name}: {restarts} restarts told, {died} deaths")
            if len(lives) != died + 1:
                self.faults.add(f"{program.name}: {len(lives)} starts for {died} deaths: {lives[:5]}")
            if not KINDS[program.kind].get("dies"):
                steady += 1
                kept += len(lives) == 1 and lives[0][0] == pid
                if not lives or lives[0][0] != pid:
                    self.faults.add(f"{program.name}: pid {pid} now, at first {lives[:1]}")
            start = proc_start(pid) if pid else None
            if start is not None and uptime is not None:
                true = time.clock_gettime(time.CLOCK_BOOTTIME) - start / TICK
                off = max(off, abs(true - uptime))
                if abs(true - uptime) > 2.5:
                    self.faults.add(f"{program.name}: uptime {uptime} s told, {true:.1f} s true")
        self.totals.update(orphans=len(orphans), starts=starts, deaths=deaths, told=told,
                           kept=f"{kept}/{steady}", off=off)

    def check_end(self):
        begun = time.monotonic()
        if not self.died():
            self.daemon.send_signal(signal.SIGTERM)
        try:
            code = self.daemon.wait(PATIENCE)
            if code != 0:
                self.faults.add(f"the daemon ended with {code}")
        except subprocess.TimeoutExpired:
            self.faults.add("the daemon did not end on SIGTERM")
        self.reaper.forget(self.daemon)
        self.totals["stop"] = time.monotonic() - begun
        for name, pids in self.live().items():
            self.faults.add(f"{name} lives on after the end: {sorted(pids)}")
        for program in self.programs:
            if program.state()[3] != "stopped":
                self.faults.add(f"{program.name} was not stopped in order: {program.state()}")

    def check_logs(self, program):
        out, err, _, _ = program.state()
        to = KINDS[program.kind]["to"]
        lives = program.ledger()
        if to == "echo":
            return self.check_echo(program)
        streams = {"out": [("out", b"o", out, 3)], "err": [("err", b"e", err, 4)],
                   "both": [("out", b"o", out, 3), ("err", b"e", err, 4)],
                   "merged": [("out", b"m", out, 3)]}[to]
        for file, label, end, column in streams:
            # With a pipe that died unread, the tail of a life may be missing, and only that.
            may_lose = self.args.mode == "kill" and program.kind == "abrupt"
            begins = {life[column] for life in lives[1:]} | {end} if may_lose else set()
            self.check_sequence(program, program.log(file), label, end, begins)
        for file in ("out", "err"):
            used = any(file == one[0] for one in streams)
            if not used and any(os.path.getsize(path) for path in log_chunks(program.log(file))):
                self.faults.add(f"{program.log(file)} is not empty")

    def check_sequence(self, program, path, label, end, begins):
        name = program.name.encode()
        expected = 1
        lost = doubled = strange = gaps = 0
        first = None
        for chunk in log_chunks(path):
            self.totals["files"] = self.totals.get("files", 0) + 1
            if self.rotation and os.path.getsize(chunk) > (1 << 20) + self.flavour.above:
                self.faults.add(f"{chunk} is larger than 1 MB: {os.path.getsize(chunk)}")
            with open(chunk, "rb") as file:
                for text in file:
                    self.totals["bytes"] = self.totals.get("bytes", 0) + len(text)
                    if text == line(name, label, expected):
                        expected += 1
                        continue
                    first = first or f"{os.path.basename(chunk)}: {text[:60]!r} instead of {expected}"
                    match = re.fullmatch(rb"(\S+) (\S) (\d{10}) x*\n", text)
                    number = int(match.group(3)) if match else 0
                    if not match or text != line(name, label, number):
                        strange += 1
                    elif number < expected:
                        doubled += 1
                    elif number in begins:
                        gaps += number - expected
                        expected = number + 1
                        first = None
                    else:
                        lost += number - expected
                        expected = number + 1
        if expected < end:
            missing = end - expected
            if end in begins:
                gaps += missing
            else:
                lost += missing
                first = first or f"ends at {expected - 1} of {end - 1}"
        elif expected > end:
            first = f"has {expected - 1} lines of {end - 1}"
            strange += 1
        for key, value in (("lines", expected - 1), ("lost", lost), ("doubled", doubled),
                           ("strange", strange), ("gone", gaps)):
            self.totals[key] = self.totals.get(key, 0) + value
        if lost or doubled or strange or gaps:
            self.faults.add(f"{path}: {lost + gaps} lines lost, {doubled} doubled or out of order, "
                            f"{strange} strange: {first}")

    def check_echo(self, program):
        name, last, seen = program.name.encode(), 0, set()
        for chunk in log_chunks(program.log("out")):
            with open(chunk, "rb") as file:
                for text in file:
                    match = re.fullmatch(rb"\S+ i (\d{10}) x*\n", text)
                    number = int(match.group(1)) if match else 0
                    if number <= last or text != line(name, b"i", number):
                        self.faults.add(f"{chunk}: {text[:60]!r} after {last}")
                    last = max(last, number)
                    seen.add(number)
        lost = self.sent.get(program.name, set()) - seen
        if lost:
            self.faults.add(f"{program.name}: {len(lost)} lines of input lost though answered: "
                            f"{sorted(lost)[:5]}")
        self.totals["echoed"] = self.totals.get("echoed", 0) + len(seen)

    def check_fault_book(self):
        try:
            with open(f"{self.root}/faults") as file:
                for text in file:
                    self.faults.add(text.strip())
        except FileNotFoundError:
            pass
        # What the daemon itself held for an error.
        told = []
        for name in os.listdir(f"{self.root}/daemon"):
            with open(f"{self.root}/daemon/{name}", errors="replace") as file:
                told += [text for text in file if re.search(r" (ERROR|ERRO|CRIT|CRITICAL) ", text)
                         and "running without any HTTP authentication" not in text
                         or "panicked" in text]
        self.totals["errors"] = len(told)
        for text in told[:5]:
            print(f"the daemon says: {text.rstrip()}", file=sys.stderr)

    def clean_up(self):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            live = self.live()
            if not live:
                break
            for pids in live.values():
                for pid, start in pids.items():
                    if proc_start(pid) == start:
                        try:
                            os.kill(pid, signal.SIGKILL)
                        except ProcessLookupError:
                            pass
            time.sleep(0.02)
        if self.args.keep or self.faults:
            print(f"everything is kept in {self.root}", file=sys.stderr)
        else:
            shutil.rmtree(self.root, ignore_errors=True)

    def sentence(self, seconds):
        args, t = self.args, self.totals
        get = lambda key: t.get(key, 0)
        echoed = f"{get('echoed')} lines of input echoed, " if self.flavour.has_input else ""
        longest = f"longest upgrade {self.longest * 1000:.0f} ms, " if hasattr(self, "longest") else ""
        return (
            f"storm {args.flavour} {args.mode}{' rotation' if args.rotation else ''} seed {args.seed}: "
            f"{args.rounds} rounds, {args.programs} programs, {get('starts')} starts for "
            f"{get('deaths')} own deaths (the daemon tells {get('told')} restarts), "
            f"{get('lines')} lines ({get('bytes') / 1e6:.1f} MB, {get('files')} files): "
            f"{get('lost')} lost, {get('doubled')} doubled or out of order, {get('strange')} strange, "
            f"{get('gone')} gone with the pipe of an abrupt death; {echoed}{get('orphans')} orphans, "
            f"pids kept {get('kept')}, uptimes off by {get('off'):.1f} s at most, {longest}"
            f"stop {get('stop'):.1f} s, {get('errors')} errors told by the daemon; "
            f"{len(self.faults)} faults, {seconds:.0f} s"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--daemon", required=True, metavar="CMD")
    parser.add_argument("--flavour", choices=["toml", "supervisord"], default="toml")
    parser.add_argument("--mode", choices=["kill", "upgrade"], default="kill")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--programs", type=int, default=50)
    parser.add_argument("--within", type=float, default=0.4, metavar="SECONDS",
                        help="the longest time between a start and the next blow")
    parser.add_argument("--rotation", action="store_true", help="roll every log at 1 MB, keep all")
    parser.add_argument("--seed", type=int, default=None, help="repeats the moments of an earlier run")
    parser.add_argument("--dir", default=None, help="where its directory is made [default: the system's]")
    parser.add_argument("--keep", action="store_true", help="keep the directory")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    if args.seed is None:
        args.seed = random.randrange(1 << 32)

    def leave(*_):
        # A second one must not cut the cleaning up.
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise SystemExit(130)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, leave)
    begun = time.monotonic()
    storm = Storm(args)
    try:
        storm.run()
    finally:
        storm.clean_up()
    print(storm.sentence(time.monotonic() - begun))
    return 1 if storm.faults else 0


if __name__ == "__main__":
    sys.exit(main())
