#!/usr/bin/env python3
"""Hurts backups and restores at random moments, again and again, and then looks at what there is.

    storm.py --mainstay target/release/mainstay --rounds 50
    storm.py --mainstay target/release/mainstay --rounds 50 --only backup.mysql --only restore.files.kill

Real servers of MariaDB and Redis, a database of SQLite and a tree of files are written anew in each
round, all of them with the number of the round. Then a backup or a restore begins, and at a random
moment within the time that it takes one of these happens:

  kill             mainstay gets SIGKILL
  server           the database's server gets SIGKILL
  cut              the connections to the server are cut
  full-state       the disk of the state directory is full (a tmpfs; needs root)
  full-repository  the disk of the repository is full (a tmpfs; needs root)
  full-target      the disk that is restored to is full (a tmpfs; needs root)

What must hold after each round: the command has ended, and said so; every good snapshot that was there
is there; one that is new holds one number, that of its round, in every row, key and file; what was live
before a restore is whole, there or set aside; and a restore that is asked for again comes to its end.
Every fifth round, and at the end, a run that nobody hurts is good. At the end every snapshot is whole for
stock restic too (`restic check --read-data`), where that is installed.

A line for each kind, with how many rounds were hurt in their midst, and 1 as exit code on any fault.
Linux, Python 3.9 or newer; what is not installed is left out, and said.
"""

import argparse
import glob
import hashlib
import json
import os
import pwd
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

PATIENCE = 180
# Servers that were started; none of them outlives this.
STARTED = []
ROWS = 20_000
KEYS = 20_000
FILES = 200


class Fault(Exception):
    pass


def wait_for(what, look):
    begun = time.monotonic()
    while time.monotonic() - begun < PATIENCE:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise Fault(f"in vain: {what}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run(*words, **more):
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, **more)
    if done.returncode != 0:
        raise Fault(f"{words}: exit status {done.returncode}: {done.stdout[-500:]}{done.stderr[-1500:]}")
    return done.stdout


def only(what, numbers, expected):
    """All of them are one of the expected, which is returned."""
    seen = set(numbers)
    if len(seen) != 1 or not seen <= set(expected):
        raise Fault(f"{what} holds {sorted(map(str, seen))[:5]} and not one of {sorted(expected)}")
    return seen.pop()


class Proxy:
    """Forwards connections to a port, and cuts them."""

    def __init__(self, target):
        self.target, self.lock, self.ends = target, threading.Lock(), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            with self.lock:
                self.ends += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self.copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def copy(source, sink):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        with self.lock:
            ends, self.ends = self.ends, []
        for end in ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()


class Small:
    """A small file system in memory, which can be filled."""

    def __init__(self, path, size):
        os.makedirs(path, exist_ok=True)
        self.path, self.filler = path, os.path.join(path, "filler")
        run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path)

    def fill(self):
        try:
            with open(self.filler, "wb", buffering=0) as filler:
                room = os.statvfs(self.path)
                os.posix_fallocate(filler.fileno(), 0, max(1, room.f_bavail * room.f_frsize - 65536))
                while True:
                    filler.seek(0, os.SEEK_END)
                    filler.write(b"x" * 4096)
        except OSError:
            pass

    def empty(self):
        if os.path.exists(self.filler):
            os.remove(self.filler)

    def end(self):
        subprocess.run(["umount", "-l", self.path], capture_output=True)


def nobody():
    """Servers of MySQL do not run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")

    def drop():
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)

    return {"preexec_fn": drop}


class MariaDb:
    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory)
        if os.geteuid() == 0:
            shutil.chown(directory, "nobody")
        self.port, self.socket = free_port(), f"{directory}/s"
        self.proxy = Proxy(self.port)
        run(
            "mariadb-install-db", "--no-defaults", f"--datadir={directory}/data", "--skip-test-db",
            "--auth-root-authentication-method=normal", "--skip-name-resolve", **nobody(),
        )
        self.start()
        self.sql("CREATE USER w@'127.0.0.1'; GRANT ALL ON *.* TO w@'127.0.0.1' WITH GRANT OPTION")

    def start(self):
        log = open(f"{self.directory}/log", "ab")
        self.process = subprocess.Popen(
            ["/usr/sbin/mariadbd" if os.path.exists("/usr/sbin/mariadbd") else "mariadbd", "--no-defaults",
             f"--datadir={self.directory}/data", f"--socket={self.socket}", f"--port={self.port}",
             f"--pid-file={self.directory}/pid", "--bind-address=127.0.0.1", "--skip-name-resolve",
             "--innodb-buffer-pool-size=64M", "--log-bin", "--server-id=1", f"--tmpdir={self.directory}"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, **nobody(),
        )
        STARTED.append(self.process)
        wait_for("MariaDB", lambda: subprocess.run(self.client("SELECT 1"), capture_output=True).returncode == 0)

    def client(self, statement):
        return ["mariadb", "--no-defaults", "-uroot", f"-S{self.socket}", "-BN", "-e", statement]

    def sql(self, statement):
        return run(*self.client(statement))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.kill()


class RedisServer:
    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory)
        self.port = free_port()
        self.proxy = Proxy(self.port)
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--dir", self.directory, "--save", "",
             "--repl-diskless-sync-delay", "0", "--daemonize", "no"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        STARTED.append(self.process)
        wait_for("Redis", lambda: self.answers())

    def answers(self):
        done = subprocess.run(["redis-cli", "-p", str(self.port), "DBSIZE"], capture_output=True, text=True)
        return done.returncode == 0 and done.stdout.strip().isdigit()

    def cli(self, *words):
        return run("redis-cli", "-p", str(self.port), *words).strip()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.kill()


# A source knows how to hold a number, and how to see which one a restored directory holds.


class Files:
    name, faults = "files", ["kill", "full-state", "full-repository"]

    def __init__(self, scratch):
        self.live = os.path.join(scratch, "tree")
        os.makedirs(self.live, exist_ok=True)
        self.config = f'files = {{ path = "{self.live}" }}'
        self.bodies = [random.Random(number).randbytes(number * number * 3) for number in range(FILES)]

    def write(self, number):
        for index, body in enumerate(self.bodies):
            with open(f"{self.live}/{index}", "wb") as file:
                file.write(b"%d\n" % number + body)

    def look(self, directory, expected):
        numbers, digest = [], hashlib.sha256()
        for index, body in enumerate(self.bodies):
            with open(f"{directory}/{index}", "rb") as file:
                number = file.readline()
                if file.read() != body:
                    raise Fault(f"{directory}/{index} has another content")
            numbers.append(int(number))
        return only(directory, numbers, expected)


class Sqlite:
    name, faults = "sqlite", ["kill", "full-state", "full-repository"]

    def __init__(self, scratch):
        self.live = os.path.join(scratch, "app.db")
        self.config = f'sqlite = {{ path = "{self.live}" }}'
        database = sqlite3.connect(self.live)
        database.executescript("PRAGMA journal_mode = wal; CREATE TABLE t (id INTEGER PRIMARY KEY, v INT, pad TEXT)")
        database.executemany("INSERT INTO t VALUES (?, 0, ?)", ((i, "x" * 300) for i in range(ROWS)))
        database.commit()
        database.close()

    def write(self, number):
        database = sqlite3.connect(self.live)
        database.execute("UPDATE t SET v = ?", (number,))
        database.commit()
        database.close()

    def look(self, directory, expected):
        path = directory if os.path.isfile(directory) else glob.glob(f"{directory}/*.db")[0]
        database = sqlite3.connect(path)
        rows = database.execute("SELECT v FROM t").fetchall()
        sound = database.execute("PRAGMA integrity_check").fetchone()[0]
        database.close()
        if len(rows) != ROWS or sound != "ok":
            raise Fault(f"{path} has {len(rows)} rows and is {sound}")
        return only(path, (row[0] for row in rows), expected)


class Redis:
    name, faults = "redis", ["kill", "server", "cut", "full-state", "full-repository"]

    def __init__(self, scratch):
        self.server = RedisServer(os.path.join(scratch, "redis"))
        self.config = f'redis = {{ address = "127.0.0.1:{self.server.proxy.port}" }}'
        self.write(0)

    def write(self, number):
        script = "for i = 1, %d do redis.call('SET', 'k' .. i, ARGV[1] .. ':' .. string.rep('x', i %% 300)) end" % KEYS
        self.server.cli("EVAL", script, "0", str(number))

    def numbers(self, server):
        script = (
            "local seen = {} for i = 1, %d do local v = redis.call('GET', 'k' .. i) or 'none:' "
            "seen[string.match(v, '^(%%w+):')] = true end local all = {} for n in pairs(seen) do "
            "all[#all + 1] = n end return all" % KEYS
        )
        return [int(number) for number in server.cli("EVAL", script, "0").split()]

    def look(self, directory, expected):
        place = tempfile.mkdtemp()
        os.rmdir(place)
        shutil.copytree(directory, place)
        server = RedisServer.__new__(RedisServer)
        server.directory, server.port = place, free_port()
        try:
            server.start()
            if server.cli("DBSIZE") != str(KEYS):
                raise Fault(f"{directory} has {server.cli('DBSIZE')} keys")
            return only(directory, self.numbers(server), expected)
        finally:
            server.end()
            shutil.rmtree(place, ignore_errors=True)

    def heal(self):
        if self.server.process.poll() is not None:
            self.server.start()


class MySql:
    name, faults = "mysql", ["kill", "server", "cut", "full-repository"]

    def __init__(self, scratch):
        self.server = MariaDb(os.path.join(scratch, "mariadb"))
        self.config = f'mysql = {{ host = "127.0.0.1", port = {self.server.proxy.port}, user = "w", users = false }}'
        self.server.sql(
            "CREATE DATABASE bank; CREATE DATABASE shop; USE bank;"
            "CREATE TABLE bank.t (id INT PRIMARY KEY, v INT, pad VARCHAR(300), KEY (pad(20)));"
            f"INSERT INTO bank.t SELECT seq, 0, REPEAT(MD5(seq), 8) FROM seq_1_to_{ROWS};"
            "CREATE TABLE shop.t LIKE bank.t; INSERT INTO shop.t SELECT * FROM bank.t"
        )

    def write(self, number):
        self.server.sql(f"BEGIN; UPDATE bank.t SET v = {number}; UPDATE shop.t SET v = {number}; COMMIT")

    def look(self, directory, expected):
        with open(f"{directory}/manifest.json", encoding="utf-8") as file:
            manifest = json.load(file)
        numbers, rows = [], 0
        for path in glob.glob(f"{directory}/**/*", recursive=True):
            if not os.path.isfile(path) or not path.endswith((".tsv", ".rows")):
                continue
            with open(path, encoding="utf-8") as file:
                for line in file:
                    rows += 1
                    numbers.append(int(line.split("\t")[1]))
        if rows != 2 * ROWS:
            raise Fault(f"{directory} has {rows} rows; the manifest's keys are {list(manifest)}")
        return only(directory, numbers, expected)

    def heal(self):
        if self.server.process.poll() is not None:
            self.server.start()


class Storm:
    def __init__(self, options, scratch):
        self.mainstay, self.rounds = os.path.abspath(options.mainstay), options.rounds
        self.scratch, self.faults, self.mounts = scratch, 0, []
        self.number = 0
        self.random = random.Random(options.seed)
        self.places = {"full-state": f"{scratch}/state", "full-repository": f"{scratch}/repository"}
        self.small = {}
        for path in self.places.values():
            os.makedirs(path)
        self.can_mount = os.geteuid() == 0
        try:
            for fault, path in self.places.items():
                if self.can_mount:
                    self.small[fault] = Small(path, options.size)
        except Fault:
            # Root in a container that may not mount.
            self.can_mount = False
        with open(f"{scratch}/password", "w", encoding="utf-8") as file:
            file.write("correct horse")
        os.chmod(f"{scratch}/password", 0o600)

    def configure(self, source, more=""):
        text = (
            f'schema = 1\n[host]\nstate = "{self.scratch}/state/mainstay"\n'
            f'[secret]\npassword = {{ file = "{self.scratch}/password" }}\n'
            f'[repository.local]\npath = "{self.scratch}/repository/{source.name}"\npassword = "${{secret.password}}"\n'
            f"[backup.{source.name}]\n{source.config}\nto = [\"local\"]\nkeep = {{ last = 100000 }}\n{more}"
        )
        with open(f"{self.scratch}/mainstay.toml", "w", encoding="utf-8") as file:
            file.write(text)

    def words(self, *words):
        return [self.mainstay, "backup", "-c", f"{self.scratch}/mainstay.toml", *words]

    def good(self):
        """The complete snapshots, by id."""
        listed = json.loads(run(*self.words("list", "--json")))
        return {shot["id"] for shot in listed["snapshots"] if shot["complete"]}

    def begin(self, *words):
        return subprocess.Popen(
            self.words(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def end(self, process, what):
        try:
            said = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Fault(f"{what} did not end; it said {process.communicate()}")
        return process.returncode, "".join(said)

    def holds(self, source, snapshot, expected):
        place = f"{self.scratch}/looked-at"
        shutil.rmtree(place, ignore_errors=True)
        run(*self.words("restore", source.name, snapshot, "--to", place, "--yes", "-q"))
        number = source.look(place, expected)
        shutil.rmtree(place, ignore_errors=True)
        return number

    def hurt(self, kind, process, source, small=None):
        if kind == "kill":
            process.kill()
        elif kind == "server":
            source.server.kill()
        elif kind == "cut":
            source.server.proxy.cut()
        else:
            (small or self.small[kind]).fill()

    def heal(self, kind, source, small=None):
        if kind.startswith("full"):
            (small or self.small[kind]).empty()
        if hasattr(source, "heal"):
            source.heal()

    def sound_run(self, source):
        self.number += 1
        source.write(self.number)
        before, begun = self.good(), time.monotonic()
        run(*self.words("run", source.name, "-q"))
        took = time.monotonic() - begun
        new = self.good() - before
        if len(new) != 1:
            raise Fault(f"a run that nobody hurt made {len(new)} snapshots")
        self.holds(source, new.copy().pop(), {self.number})
        return took, new.pop()

    def backups(self, source, kind):
        """Rounds of backups that are hurt."""
        took, _ = self.sound_run(source)
        counts = {"hurt": 0, "good all the same": 0}
        for index in range(self.rounds):
            self.number += 1
            source.write(self.number)
            before = self.good()
            process = self.begin("run", source.name, "-q")
            time.sleep(self.random.uniform(0, took))
            in_time = process.poll() is None
            self.hurt(kind, process, source)
            status, said = self.end(process, f"backup.{source.name}.{kind}")
            self.heal(kind, source)
            counts["hurt"] += in_time
            after = self.good()
            if not before <= after:
                raise Fault(f"good snapshots are gone: {before - after}")
            new = after - before
            if status == 0 and len(new) != 1:
                raise Fault(f"exit status 0, and {len(new)} new snapshots")
            if status != 0 and kind != "kill" and not said.strip():
                raise Fault(f"it failed with {status} and said nothing")
            for snapshot in new:
                counts["good all the same"] += 1
                self.holds(source, snapshot, {self.number})
            if index % 5 == 4:
                took, _ = self.sound_run(source)
        self.sound_run(source)
        counts["snapshots"] = len(self.good())
        self.checked(source)
        return counts

    def checked(self, source):
        run(*self.words("verify", source.name, "--read-data", "-q"))
        if shutil.which("restic"):
            environment = dict(os.environ, RESTIC_PASSWORD="correct horse")
            place = f"{self.scratch}/repository/{source.name}"
            run("restic", "-r", place, "--no-cache", "check", "--read-data", env=environment)

    def restores(self, source, kind):
        """Rounds of restores in place that are hurt, over something that is live."""
        small = None
        if kind == "full-target":
            small = self.target
        _, kept = self.sound_run(source)
        kept_number = self.number
        took = None
        counts = {"hurt": 0, "done all the same": 0}
        for index in range(-1, self.rounds):
            self.number += 1
            source.write(self.number)
            begun = time.monotonic()
            process = self.begin("restore", source.name, kept, "--yes", "-q")
            if index >= 0:
                time.sleep(self.random.uniform(0, took))
                counts["hurt"] += process.poll() is None
                self.hurt(kind, process, source, small)
            status, said = self.end(process, f"restore.{source.name}.{kind}")
            if index < 0:
                took = time.monotonic() - begun
            self.heal(kind, source, small)
            if status == 0:
                counts["done all the same"] += index >= 0
            elif kind != "kill" and not said.strip():
                raise Fault(f"it failed with {status} and said nothing")
            # What was live is whole: there, or set aside; and what is there is whole.
            aside = sorted(glob.glob(f"{source.live}.before-restore-*"))
            aside = [path for path in aside if not path.endswith(("-wal", "-shm"))]
            held = [source.look(path, {self.number, kept_number}) for path in aside]
            if os.path.exists(source.live):
                held.append(source.look(source.live, {self.number, kept_number}))
            elif status == 0:
                raise Fault("it ended well, and nothing is there")
            if self.number not in held:
                raise Fault(f"what was live, {self.number}, is nowhere: {held} in {aside}, exit status {status}, {said}")
            run(*self.words("restore", source.name, kept, "--yes", "-q"))
            source.look(source.live, {kept_number})
            for path in glob.glob(f"{source.live}.*"):
                if os.path.isdir(path):
                    shutil.rmtree(path)
                else:
                    os.remove(path)
            left = [name for name in os.listdir(os.path.dirname(source.live)) if name.startswith(".")]
            if left:
                raise Fault(f"left behind: {left}")
        return counts

    def server_restores(self, source, kind):
        """Rounds of restores into another server of MariaDB."""
        _, kept = self.sound_run(source)
        kept_number = self.number
        target = MariaDb(f"{self.scratch}/target-{kind}")
        counts, took = {"hurt": 0, "done all the same": 0}, None
        holder = type("Holder", (), {"server": target})
        # Something that is live, which no restore is asked to touch.
        target.sql("CREATE DATABASE live; CREATE TABLE live.t (v INT); INSERT INTO live.t VALUES (7)")
        try:
            for index in range(-1, self.rounds):
                words = ["restore", source.name, kept, "--yes", "-q", "--server", f"127.0.0.1:{target.proxy.port}",
                         "--user", "w"]
                begun = time.monotonic()
                process = self.begin(*words)
                if index >= 0:
                    time.sleep(self.random.uniform(0, took))
                    counts["hurt"] += process.poll() is None
                    self.hurt(kind, process, holder)
                status, said = self.end(process, f"restore.mysql.{kind}")
                if index < 0:
                    took = time.monotonic() - begun
                if target.process.poll() is not None:
                    target.start()
                if status == 0:
                    counts["done all the same"] += index >= 0
                elif kind != "kill" and not said.strip():
                    raise Fault(f"it failed with {status} and said nothing")
                # Both databases in their places, or what is there is whole.
                self.look_into(target, kept_number, both=status == 0)
                if status != 0:
                    done = subprocess.run(self.words(*words), capture_output=True, text=True, timeout=PATIENCE)
                    there = self.databases(target)
                    if done.returncode != 0 and not {"bank", "shop"} <= there:
                        raise Fault(f"asked again, it fails with {done.returncode}: {done.stderr}")
                self.look_into(target, kept_number, both=True)
                left = self.databases(target) - {"bank", "shop", "live"}
                if left:
                    raise Fault(f"left behind on the server: {left}")
                if target.sql("SELECT v FROM live.t").strip() != "7":
                    raise Fault("what was live was touched")
                target.sql("DROP DATABASE bank; DROP DATABASE shop")
        finally:
            target.end()
        return counts

    @staticmethod
    def databases(server):
        own = {"information_schema", "mysql", "performance_schema", "sys"}
        return set(server.sql("SHOW DATABASES").split()) - own

    def look_into(self, server, number, both):
        there = self.databases(server) & {"bank", "shop"}
        if both and len(there) != 2:
            raise Fault(f"only {there} is there")
        for database in there:
            tables = server.sql(f"SHOW TABLES IN {database}").split()
            if not tables and not both:
                continue
            counted = server.sql(f"SELECT COUNT(*), MIN(v), MAX(v) FROM {database}.t").split()
            if counted != [str(ROWS), str(number), str(number)]:
                raise Fault(f"{database}.t holds {counted}, not {ROWS} rows of {number}")

    def kinds(self, chosen):
        for source in (Files, Sqlite, Redis, MySql):
            for fault in source.faults:
                yield f"backup.{source.name}.{fault}"
        for name in ("files", "sqlite"):
            for fault in ("kill", "full-target"):
                yield f"restore.{name}.{fault}"
        for fault in ("kill", "server", "cut"):
            yield f"restore.mysql.{fault}"

    def all(self, chosen):
        needs = {"redis": "redis-server", "mysql": "mariadb-install-db"}
        classes = {source.name: source for source in (Files, Sqlite, Redis, MySql)}
        sources, target = {}, f"{self.scratch}/live"
        os.makedirs(target)
        self.target = None
        if self.can_mount:
            self.target = Small(target, "128m")
        for kind in self.kinds(chosen):
            if chosen and not any(kind.startswith(part) for part in chosen):
                continue
            what, name, fault = kind.split(".")
            if name in needs and not shutil.which(needs[name]):
                print(f"{kind}: left out, {needs[name]} is not installed", flush=True)
                continue
            if fault.startswith("full") and not self.can_mount:
                print(f"{kind}: left out, a small file system takes root and mount(8)", flush=True)
                continue
            if name not in sources:
                sources[name] = classes[name](target if name not in needs else self.scratch)
            source = sources[name]
            begun = time.monotonic()
            try:
                # Each kind has a repository of its own: a small one is not to be full of the others'.
                shutil.rmtree(f"{self.scratch}/repository/{name}", ignore_errors=True)
                shutil.rmtree(f"{self.scratch}/state/mainstay", ignore_errors=True)
                self.configure(source)
                run(*self.words("init", "local", "-q"))
                if what == "backup":
                    counts = self.backups(source, fault)
                elif name == "mysql":
                    counts = self.server_restores(source, fault)
                else:
                    counts = self.restores(source, fault)
                said = ", ".join(f"{count} {word}" for word, count in counts.items())
                print(f"{kind}: {self.rounds} rounds, {said}, 0 faults ({time.monotonic() - begun:.0f} s)", flush=True)
            except (Fault, OSError, subprocess.SubprocessError, sqlite3.Error) as fault:
                self.faults += 1
                print(f"FAULT {kind}, seed {self.seed}: {fault}", flush=True)
                self.heal("full-state" if "state" in kind else kind.split(".")[2], source, self.small_of(kind))
        for source in sources.values():
            if hasattr(source, "server"):
                source.server.end()
        print(f"{self.faults} faults")
        return self.faults

    def small_of(self, kind):
        fault = kind.split(".")[2]
        return self.target if fault == "full-target" else self.small.get(fault)

    def clean(self):
        for small in [*self.small.values(), self.target]:
            if small:
                small.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mainstay", required=True, help="the binary")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--only", action="append", default=[], help="the beginning of a kind, as backup.mysql")
    parser.add_argument("--seed", type=int, default=None, help="of the random moments")
    parser.add_argument("--size", default="1g", help="of the small file systems")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    scratch = tempfile.mkdtemp(prefix="mainstay-storm-")
    os.chmod(scratch, 0o755)
    storm = Storm(options, scratch)
    storm.seed = options.seed
    storm.target = None
    try:
        return 1 if storm.all(options.only) else 0
    finally:
        for process in STARTED:
            if process.poll() is None:
                process.kill()
                process.wait()
        storm.clean()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
