#!/usr/bin/env python3
"""Measures two supervisords side by side on this machine, in turn, and prints a table.

    run.py --ours "target/release/mainstay supervisord" --ours-ctl "target/release/mainstay supervisorctl" \\
           --theirs /usr/bin/supervisord --theirs-ctl /usr/bin/supervisorctl

README.md beside this file says what each row means. Linux, root, Python 3.8 or newer, nothing else; a C
compiler, if there is one, makes the restart gap more exact, strace adds a cross-check of the idle row.
"""

import argparse
import json
import os
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib

import stand
from stand import Daemon, Failed, Side, Wire, cpu_seconds, median, percentile, wait_for

SLEEPERS = 300
BLOCK = 64 * 1024

WRITER = r"""
import os, sys, time
directory, name, blocks = sys.argv[1], sys.argv[2], int(sys.argv[3])
filler = (b"%-62s" % name.encode() + b"x\n") * 1023
while not os.path.exists(directory + "/go"):
    time.sleep(0.005)
for number in range(blocks):
    data = b"%-62d" % number + b"x\n" + filler
    while data:
        data = data[os.write(1, data):]
open(directory + "/done-" + name, "w").close()
time.sleep(1e6)
"""

CRASHER_C = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static int file;
static void note(char what) {
    struct timespec now;
    char text[64];
    clock_gettime(CLOCK_MONOTONIC, &now);
    int size = snprintf(text, sizeof text, "%c %lld\n", what, now.tv_sec * 1000000000LL + now.tv_nsec);
    if (write(file, text, size) != size) abort();
}
int main(int count, char **words) {
    if (count < 2) return 2;
    file = open(words[1], O_WRONLY | O_APPEND | O_CREAT, 0644);
    note('S');
    unsigned seed = getpid();
    usleep(20000 + rand_r(&seed) % 480000);
    note('E');
    _exit(1);
}
"""

CRASHER_PYTHON = r"""
import time
begun = time.monotonic_ns()
import os, random, sys
file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
os.write(file, b"S %d\n" % begun)
time.sleep(random.uniform(0.02, 0.5))
os.write(file, b"E %d\n" % time.monotonic_ns())
os._exit(1)
"""


def sleepers(count):
    return {f"sleep{i:04}": "command=/bin/sleep 1000000\nstartsecs=0" for i in range(count)}


def python(*words):
    return " ".join([sys.executable, "-I", "-S", *words])


class Measurements:
    """Each method measures one side once, and gives values by row."""

    def __init__(self, args, work):
        self.args, self.work = args, work
        self.writer = self.script("writer.py", WRITER)
        self.crasher, self.crasher_is = self.build_crasher()

    def script(self, name, text):
        path = f"{self.work}/{name}"
        with open(path, "w") as file:
            file.write(text)
        return path

    def build_crasher(self):
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler:
            source, binary = self.script("crasher.c", CRASHER_C), f"{self.work}/crasher"
            if subprocess.run([compiler, "-O2", "-o", binary, source]).returncode == 0:
                return [binary], "C"
        return python(self.script("crasher.py", CRASHER_PYTHON)).split(), "Python"

    # One daemon with 300 programs gives several rows at once.

    def start_cpu(self, side):
        with Daemon(side, sleepers(SLEEPERS)) as daemon:
            return {"start_cpu": daemon.start_cpu, "start_wall": daemon.start_wall}

    def rss(self, side):
        with Daemon(side, sleepers(SLEEPERS)) as daemon:
            time.sleep(0.5)
            rss, pss = daemon.memory()
            return {"rss": rss, "pss": pss}

    def info(self, side):
        with Daemon(side, sleepers(SLEEPERS)) as daemon:
            return dict(zip(("info_p50", "info_p99", "info_cpu"), self.ask(daemon, self.args.requests)))

    def ask(self, daemon, requests):
        wire = Wire(daemon.socket)
        wait_for("the socket", lambda: os.path.exists(daemon.socket))
        for _ in range(5):
            answer = wire.call("supervisor.getAllProcessInfo")
        seen = answer.count(b"<name>statename</name>")
        if seen != len(daemon.programs):
            raise Failed(f"getAllProcessInfo of {daemon.side.name} tells of {seen} programs")
        times, before = [], daemon.cpu()
        for _ in range(requests):
            begun = time.perf_counter()
            wire.call("supervisor.getAllProcessInfo")
            times.append(time.perf_counter() - begun)
        cpu = (daemon.cpu() - before) / requests
        wire.close()
        return median(times), percentile(times, 99), cpu

    def status_wall(self, side):
        with Daemon(side, sleepers(SLEEPERS)) as daemon:
            times = []
            for _ in range(21):
                begun = time.perf_counter()
                done = daemon.ctl("status")
                times.append(time.perf_counter() - begun)
                if done.returncode != 0 or done.stdout.count(b"RUNNING") != SLEEPERS:
                    raise Failed(f"status of {side.name}: exit code {done.returncode}: {done.stdout[:300]}")
            # The first one fills caches.
            return {"status_wall": median(times[1:])}

    def idle(self, side):
        with Daemon(side, sleepers(SLEEPERS)) as daemon:
            values = {"idle": self.wake_ups(daemon)}
            calls = self.system_calls(daemon)
            if calls is not None:
                values["idle_calls"] = calls
            return values

    def wake_ups(self, daemon):
        time.sleep(2)
        before = daemon.switches()
        time.sleep(self.args.idle)
        after = daemon.switches()
        # A thread that has ended meanwhile woke up for that.
        total = len(before.keys() - after.keys())
        total += sum(count - before.get(task, 0) for task, count in after.items())
        return total * 10 / self.args.idle

    def system_calls(self, daemon):
        """System calls that were begun within as long a time, by strace; None without it."""
        strace = shutil.which("strace")
        if not strace:
            return None
        summary = f"{daemon.root}/strace"
        tracer = subprocess.Popen([strace, "-c", "-f", "-o", summary,
                                   *(f"-p{pid}" for pid in daemon.processes())],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(self.args.idle)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(30)
        with open(summary) as file:
            text = file.read()
        # One call a thread only was interrupted by the attaching and goes on: not counted.
        total = 0
        for match in re.finditer(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", text, re.M):
            if match.group(2) not in ("total", "restart_syscall"):
                total += int(match.group(1))
        return max(0, total) * 10 / self.args.idle

    def restart_gap(self, side):
        gaps = f"{self.work}/gaps-{side.name}"
        if os.path.exists(gaps):
            os.unlink(gaps)
        command = " ".join([*self.crasher, gaps])
        lines = f"command={command}\nautorestart=true\nstartsecs=0\nstartretries=1000000"
        with Daemon(side, {"crasher": lines}):
            wait_for("restarts", lambda: len(self.gaps(gaps)) >= self.args.gaps, 600, 0.1)
        found = self.gaps(gaps)[: self.args.gaps]
        return {"gap_p50": median(found), "gap_p99": percentile(found, 99)}

    @staticmethod
    def gaps(path):
        try:
            with open(path) as file:
                notes = [text.split() for text in file]
        except FileNotFoundError:
            return []
        return [
            (int(next_one[1]) - int(one[1])) / 1e9
            for one, next_one in zip(notes, notes[1:])
            if one[0] == "E" and next_one[0] == "S"
        ]

    def log_one(self, side):
        return self.capture(side, "log_one", 1, 0)

    def log_rotated(self, side):
        return self.capture(side, "log_rotated", 1, 50)

    def log_fifty(self, side):
        return self.capture(side, "log_fifty", 50, 0)

    def capture(self, side, row, writers, rotate_mb):
        """One GB in all from so many writers; every byte of it must be in the logs, in order."""
        blocks = int(self.args.gb * 1e9 / BLOCK / writers)
        size = blocks * BLOCK
        backups = size // (rotate_mb << 20) + 5 if rotate_mb else 0
        place = tempfile.mkdtemp(dir=self.work)
        names = [f"writer{i:02}" for i in range(writers)]
        lines = {
            name: f"command={python(self.writer, place, name, str(blocks))}\nstartsecs=0\n"
                  f"stdout_logfile_maxbytes={rotate_mb}MB\nstdout_logfile_backups={backups}"
            for name in names
        }
        with Daemon(side, lines, place=self.work) as daemon:
            time.sleep(0.5)
            cpu, begun = daemon.cpu(), time.monotonic()
            open(f"{place}/go", "w").close()
            self.until_captured(daemon, names, size)
            wall, cpu = time.monotonic() - begun, daemon.cpu() - cpu
            for name in names:
                self.compare(daemon, name, blocks)
        shutil.rmtree(place)
        total = size * writers / 1e9
        return {f"{row}_cpu": cpu / total, f"{row}_speed": total / wall}

    @staticmethod
    def chunks(daemon, name):
        """The rolled files of a log, oldest first, then the current one."""
        rolled = re.compile(rf"{name}\.out\.(\d+)")
        numbers = [int(m.group(1)) for m in map(rolled.fullmatch, os.listdir(f"{daemon.root}/log")) if m]
        base = f"{daemon.root}/log/{name}.out"
        return [f"{base}.{number}" for number in sorted(numbers, reverse=True)] + [base]

    def until_captured(self, daemon, names, size):
        seen, since = -1, time.monotonic()
        while True:
            try:
                now = sum(os.path.getsize(path) for name in names for path in self.chunks(daemon, name))
            except FileNotFoundError:
                # Rolled between the looks.
                continue
            if now >= size * len(names):
                return
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() > since + 30:
                raise Failed(f"{daemon.side.name} captured {now} of {size * len(names)} bytes")
            time.sleep(0.005)

    def compare(self, daemon, name, blocks):
        filler = (b"%-62s" % name.encode() + b"x\n") * 1023
        wanted = 0
        for number in range(blocks):
            wanted = zlib.crc32(filler, zlib.crc32(b"%-62d" % number + b"x\n", wanted))
        found = size = 0
        for path in self.chunks(daemon, name):
            with open(path, "rb") as file:
                while data := file.read(1 << 20):
                    found, size = zlib.crc32(data, found), size + len(data)
        if (found, size) != (wanted, blocks * BLOCK):
            raise Failed(f"{daemon.side.name} lost or changed output of {name}: {size} bytes of "
                         f"{blocks * BLOCK}, checksum {found:08x} instead of {wanted:08x}")

    def growth(self, side, count):
        with Daemon(side, sleepers(count), patience=600) as daemon:
            p50, _, _ = self.ask(daemon, 50)
            return {
                "start_cpu": daemon.start_cpu,
                "start_wall": daemon.start_wall,
                "rss": daemon.memory()[0],
                "info_p50": p50,
                "idle": self.wake_ups(daemon),
            }

    # What nobody can be faster than.

    def floor(self, measurement):
        if measurement == "start_cpu":
            return self.floor_start()
        if measurement == "restart_gap":
            return self.floor_gap()
        if measurement == "log_one":
            return self.floor_capture()
        return {}

    @staticmethod
    def floor_start():
        null = os.open("/dev/null", os.O_RDWR)
        actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in range(3)]
        cpu, begun = time.process_time(), time.monotonic()
        pids = []
        try:
            for _ in range(SLEEPERS):
                pids.append(os.posix_spawn("/bin/sleep", ["sleep", "1000000"], {}, file_actions=actions))
            values = {"start_cpu": time.process_time() - cpu, "start_wall": time.monotonic() - begun}
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            for pid in pids:
                os.waitpid(pid, 0)
            os.close(null)
        return values

    def floor_gap(self):
        gaps = f"{self.work}/gaps-floor"
        for _ in range(self.args.gaps + 1):
            pid = os.posix_spawn(self.crasher[0], [*self.crasher, gaps], os.environ)
            os.waitpid(pid, 0)
        found = self.gaps(gaps)
        return {"gap_p50": median(found), "gap_p99": percentile(found, 99)}

    def floor_capture(self):
        blocks = int(self.args.gb * 1e9 / BLOCK)
        place = tempfile.mkdtemp(dir=self.work)
        with open(f"{place}/out", "wb") as out:
            writer = subprocess.Popen([*python(self.writer, place, "cat", str(blocks)).split()],
                                      stdout=subprocess.PIPE)
            cat = subprocess.Popen(["/bin/cat"], stdin=writer.stdout, stdout=out)
            writer.stdout.close()
            try:
                time.sleep(0.5)
                cpu, begun = cpu_seconds(cat.pid), time.monotonic()
                open(f"{place}/go", "w").close()
                wait_for("cat", lambda: os.path.getsize(f"{place}/out") >= blocks * BLOCK, 600, 0.005)
                wall, cpu = time.monotonic() - begun, cpu_seconds(cat.pid) - cpu
            finally:
                for child in (writer, cat):
                    child.kill()
                    child.wait()
        shutil.rmtree(place)
        total = blocks * BLOCK / 1e9
        return {"log_one_cpu": cpu / total, "log_one_speed": total / wall}


# Measurement -> how often, and its rows: name, what it is, unit, whether more is better.
ROWS = {
    "start_cpu": [("start_cpu", f"start of {SLEEPERS} programs, CPU", "ms", False),
                  ("start_wall", f"start of {SLEEPERS} programs, wall", "ms", False)],
    "rss": [("rss", f"RSS with {SLEEPERS} programs", "MB", False),
            ("pss", f"PSS with {SLEEPERS} programs", "MB", False)],
    "restart_gap": [("gap_p50", "crash to restart, median", "ms", False),
                    ("gap_p99", "crash to restart, p99", "ms", False)],
    "log_one": [("log_one_cpu", "capture, 1 writer, CPU per GB", "s", False),
                ("log_one_speed", "capture, 1 writer, speed", "GB/s", True)],
    "log_rotated": [("log_rotated_cpu", "capture, 1 writer, rolled at 50 MB, CPU per GB", "s", False),
                    ("log_rotated_speed", "capture, 1 writer, rolled at 50 MB, speed", "GB/s", True)],
    "log_fifty": [("log_fifty_cpu", "capture, 50 writers, CPU per GB", "s", False),
                  ("log_fifty_speed", "capture, 50 writers, speed", "GB/s", True)],
    "info": [("info_p50", "getAllProcessInfo, median", "ms", False),
             ("info_p99", "getAllProcessInfo, p99", "ms", False),
             ("info_cpu", "getAllProcessInfo, CPU of the daemon", "ms", False)],
    "status_wall": [("status_wall", "supervisorctl status, wall", "ms", False)],
    "idle": [("idle", "wake-ups in 10 s, idle", "", False),
             ("idle_calls", "system calls in 10 s, idle (strace)", "", False)],
}
SCALE = {"ms": 1e3, "MB": 1e-6, "kB": 1e-3}


def show(value, unit):
    if value is None:
        return "–"
    value *= SCALE.get(unit, 1)
    digits = 0 if not unit else 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:.{digits}f} {unit}".strip()


def ratio(ours, theirs, more_is_better):
    if ours is None or theirs is None:
        return "–"
    better, worse = (ours, theirs) if more_is_better else (theirs, ours)
    return f"{better / worse:.1f}×" if worse else "∞" if better else "1.0×"


class Report:
    def __init__(self, args, sides):
        self.args, self.sides = args, sides
        self.rows, self.growth, self.failures = {}, [], []

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def measure(self, what, side, call):
        self.say(f"{what}: {side}")
        try:
            return call()
        except (Failed, OSError, subprocess.SubprocessError) as error:
            self.failures.append(f"{what}, {side}: {error}")
            self.say(f"  FAILED {error}")
            return {}

    def run_rows(self, measurements):
        for what in self.args.only or ROWS:
            if what == "growth":
                continue
            found = {side.name: [] for side in self.sides}
            for _ in range(self.args.repeat):
                for side in self.sides:
                    found[side.name].append(self.measure(
                        what, side.name, lambda side=side: getattr(measurements, what)(side)))
            floor = self.measure(what, "floor", lambda: measurements.floor(what))
            for key, *_ in ROWS[what]:
                row = self.rows[key] = {}
                for name, runs in found.items():
                    values = [run[key] for run in runs if key in run]
                    row[name] = median(values) if values else None
                    row[f"{name}_all"] = values
                row["floor"] = floor.get(key)

    def run_growth(self, measurements):
        for count in self.args.programs:
            for side in self.sides:
                if side.name == "theirs" and count > 1000 and not self.args.theirs_all:
                    continue
                values = self.measure(f"growth {count}", side.name,
                                      lambda side=side: measurements.growth(side, count))
                if values:
                    self.growth.append({"side": side.name, "programs": count, **values})

    def markdown(self):
        out = ["| | ours | theirs | ours is better by | floor |", "|---|---:|---:|---:|---:|"]
        for rows in ROWS.values():
            for key, title, unit, more in rows:
                if key in self.rows:
                    row = self.rows[key]
                    ours, theirs = row.get("ours"), row.get("theirs")
                    out.append(f"| {title} | {show(ours, unit)} | {show(theirs, unit)} | "
                               f"{ratio(ours, theirs, more)} | {show(row['floor'], unit)} |")
        if self.growth:
            out += ["", "| programs | side | start, CPU | start, wall | RSS | RSS a program more | "
                    "getAllProcessInfo | wake-ups in 10 s |", "|---:|---|---:|---:|---:|---:|---:|---:|"]
            for one in self.growth:
                before = [other for other in self.growth
                          if other["side"] == one["side"] and other["programs"] < one["programs"]]
                slope = None
                if before:
                    slope = (one["rss"] - before[-1]["rss"]) / (one["programs"] - before[-1]["programs"])
                    one["rss_per_program"] = slope
                out.append(
                    f"| {one['programs']} | {one['side']} | {show(one['start_cpu'], 'ms')} | "
                    f"{show(one['start_wall'], 'ms')} | {show(one['rss'], 'MB')} | {show(slope, 'kB')} | "
                    f"{show(one['info_p50'], 'ms')} | {show(one['idle'], '')} |")
        out += [f"\nFAILED: {text}" for text in self.failures]
        return "\n".join(out)

    def end(self, load):
        """Prints what there is, also when it was cut short."""
        after = os.getloadavg()
        print(self.markdown())
        print(f"\nLinux {platform.release()}, {os.cpu_count()} processors, load {load[0]:.1f} before, "
              f"{after[0]:.1f} after; median of {self.args.repeat}.")
        if self.args.json:
            machine = {"kernel": platform.release(), "processors": os.cpu_count(), "load": [load, after]}
            with open(self.args.json, "w") as file:
                json.dump({"machine": machine, "commands": {s.name: s.daemon for s in self.sides},
                           "rows": self.rows, "growth": self.growth, "failures": self.failures},
                          file, indent=1)


def memory_directory():
    """A disk that files were deleted from a moment ago looks over each of their inodes when it makes
    new ones, so that what is measured depends on what was measured before. Memory does not."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--ours", metavar="CMD")
    parser.add_argument("--ours-ctl", metavar="CMD")
    parser.add_argument("--theirs", metavar="CMD")
    parser.add_argument("--theirs-ctl", metavar="CMD")
    parser.add_argument("--only", action="append", choices=[*ROWS, "growth"], metavar="NAME",
                        help=f"one of {', '.join(ROWS)}, growth; may be repeated")
    parser.add_argument("--programs", default="100,300,1000,3000", metavar="N,N",
                        help="the growth table; theirs up to 1000")
    parser.add_argument("--theirs-all", action="store_true", help="theirs beyond 1000 programs too")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is measured; the median counts")
    parser.add_argument("--gb", type=float, default=1.0, help="how much output is captured")
    parser.add_argument("--gaps", type=int, default=50, help="how many restarts")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--idle", type=float, default=10, metavar="SECONDS")
    parser.add_argument("--dir", help="where logs are written to [default: captured output to the system's temporary "
                        "directory, all else to memory, /dev/shm]")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    args.programs = [int(number) for number in args.programs.split(",") if number]
    sides = [Side(name, daemon, ctl) for name, daemon, ctl in
             (("ours", args.ours, args.ours_ctl), ("theirs", args.theirs, args.theirs_ctl)) if daemon]
    if not sides:
        parser.error("--ours or --theirs is needed")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = max(6 * max(args.programs, default=0) + 1000, 8192)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, max(hard, wanted)), max(hard, wanted)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def leave(*_):
        # A second one must not cut the cleaning up.
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise SystemExit(130)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, leave)
    Daemon.place = args.dir or memory_directory()
    report = Report(args, sides)
    load = os.getloadavg()
    work = tempfile.mkdtemp(prefix="bench-", dir=args.dir)
    try:
        measurements = Measurements(args, work)
        report.run_rows(measurements)
        if not args.only or "growth" in args.only:
            report.run_growth(measurements)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        report.end(load)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
