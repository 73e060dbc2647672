#!/usr/bin/env python3
"""Hurts backups and restores at random moments, again and again, and then looks at what there is.

    storm.py --mainstay target/release/mainstay --rounds 50
    storm.py --mainstay target/release/mainstay --rounds 50 --only backup.mysql --only restore.files.kill

Real servers of MariaDB and Redis, a database of SQLite and a tree of files are written anew in each
round, all of them with the number of the round. Then a backup, a restore or a drill begins, and at a random
moment within the time that it takes one of these happens:

  kill             mainstay gets SIGKILL
  server           the server gets SIGKILL: that of the database; that of S3 or all of sshd's processes, which
                   come back meanwhile in every other round; the scratch server of a drill
  cut              the connections to the server are cut
  full-state       the disk of the state directory is full (a tmpfs; needs root)
  full-repository  the disk of the repository is full (a tmpfs; needs root)
  full-target      the disk that is restored to is full (a tmpfs; needs root)

What must hold after each round: the command has ended, and said so; every good snapshot that was there
is there; one that is new holds one number, that of its round, in every row, key and file; what was live
before a restore is whole, there or set aside; and a restore that is asked for again comes to its end. A drill
that was hurt is no proof, leaves no process behind, and the next one proves again and leaves no scratch place.
Every fifth round, and at the end, a run that nobody hurts is good. At the end every snapshot is whole for
stock restic too (`restic check --read-data`, through S3 where the repository is in a bucket), where that is
installed.

A line for each kind, with how many rounds were hurt in their midst, and 1 as exit code on any fault.
Linux, Python 3.9 or newer; what is not installed is left out, and said.
"""

import argparse
import glob
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

from servers import (
    PATIENCE, STARTED, Fault, LocalPlace, MariaDb, RedisServer, S3Place, SftpPlace, Small, below, free_port, kill,
    processes, run, wait_for,
)

ROWS = 20_000
KEYS = 20_000
FILES = 200


def only(what, numbers, expected):
    """All of them are one of the expected, which is returned."""
    seen = set(numbers)
    if len(seen) != 1 or not seen <= set(expected):
        raise Fault(f"{what} holds {sorted(map(str, seen))[:5]} and not one of {sorted(expected)}")
    return seen.pop()


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
        self.slow_rounds = options.slow_rounds or options.rounds
        self.rclone = options.rclone
        self.scratch, self.faults, self.mounts = scratch, 0, []
        self.number = 0
        self.place = self.local = LocalPlace(f"{scratch}/repository")
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
            f'[repository.local]\n{self.place.config(source.name)}\npassword = "${{secret.password}}"\n'
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
        """Does it; `source` is what has the server."""
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

    def backups(self, source, kind, rounds):
        """Rounds of backups that are hurt."""
        elsewhere = self.place is not self.local
        holder = self.place if elsewhere else source
        took, _ = self.sound_run(source)
        counts = {"hurt": 0, "good all the same": 0}
        for index in range(rounds):
            self.number += 1
            source.write(self.number)
            before = self.good()
            process = self.begin("run", source.name, "-q")
            time.sleep(self.random.uniform(0, took))
            in_time = process.poll() is None
            self.hurt(kind, process, holder)
            if elsewhere and kind == "server" and index % 2:
                # It comes back while it is waited for.
                time.sleep(self.random.uniform(0, 3))
                holder.server.start()
            status, said = self.end(process, f"backup.{source.name}.{kind}")
            self.heal(kind, source)
            if elsewhere and holder.server.process.poll() is not None:
                holder.server.start()
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
            words, keys = self.place.restic(source.name)
            run("restic", *words, "--no-cache", "check", "--read-data", env=environment | keys)

    def proven(self, source):
        """When the backup was last proven, if ever."""
        listed = json.loads(run(*self.words("list", "--json")))
        proof = [backup for backup in listed["backups"] if backup["name"] == source.name][0].get("proven")
        return proof and proof["at"]

    def drills(self, source, kind, rounds):
        """Rounds of drills that are hurt."""
        self.sound_run(source)
        scratch = f"{self.scratch}/state/mainstay/backup/drill/scratch"

        def sound_drill():
            before, begun = self.proven(source), time.monotonic()
            run(*self.words("drill", source.name, "-q"))
            took = time.monotonic() - begun
            if self.proven(source) in (None, before):
                raise Fault("a drill that nobody hurt is no proof")
            if os.path.isdir(scratch) and os.listdir(scratch):
                raise Fault(f"left behind: {os.listdir(scratch)}")
            return took

        took = sound_drill()
        counts = {"hurt": 0, "proven all the same": 0}
        for _ in range(rounds):
            before = self.proven(source)
            process = self.begin("drill", source.name, "-q")
            time.sleep(self.random.uniform(0, took))
            in_time, started = process.poll() is None, below(process.pid)
            servers = [pid for pid, name in started.items() if name.startswith(("mariadbd", "mysqld"))]
            if kind == "kill":
                process.kill()
            else:
                kill(servers)
                in_time = in_time and bool(servers)
            status, said = self.end(process, f"drill.{source.name}.{kind}")
            counts["hurt"] += in_time
            wait_for("the end of what a drill has started", lambda: not any(
                name == started[pid] for pid, (_, name) in processes().items() if pid in started))
            after = self.proven(source)
            if after != before:
                # Then it was at its end already: the report is there, whole and signed.
                counts["proven all the same"] += 1
                shown = json.loads(run(*self.words("drill", "--show", source.name, "--json")))
                if f"{after[:19]}" not in json.dumps(shown):
                    raise Fault(f"proven at {after}, and the report is {shown}")
            elif status == 0:
                raise Fault("exit status 0, and nothing is proven")
            elif kind != "kill" and not said.strip():
                raise Fault(f"it failed with {status} and said nothing")
            if kind == "server" and in_time and status == 0:
                raise Fault("its server was killed, and it says that all is well")
            sound_drill()
        return counts

    def restores(self, source, kind, rounds):
        """Rounds of restores in place that are hurt, over something that is live."""
        small = None
        if kind == "full-target":
            small = self.target
        _, kept = self.sound_run(source)
        kept_number = self.number
        took = None
        counts = {"hurt": 0, "done all the same": 0}
        for index in range(-1, rounds):
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

    def server_restores(self, source, kind, rounds):
        """Rounds of restores into another server of MariaDB."""
        _, kept = self.sound_run(source)
        kept_number = self.number
        target = MariaDb(f"{self.scratch}/target-{kind}")
        counts, took = {"hurt": 0, "done all the same": 0}, None
        holder = type("Holder", (), {"server": target})
        # Something that is live, which no restore is asked to touch.
        target.sql("CREATE DATABASE live; CREATE TABLE live.t (v INT); INSERT INTO live.t VALUES (7)")
        try:
            for index in range(-1, rounds):
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

    @staticmethod
    def kinds():
        for source in (Files, Sqlite, Redis, MySql):
            for fault in source.faults:
                yield f"backup.{source.name}.{fault}"
        for name in ("files", "sqlite"):
            for fault in ("kill", "full-target"):
                yield f"restore.{name}.{fault}"
        for fault in ("kill", "server", "cut"):
            yield f"restore.mysql.{fault}"
        for name in ("s3", "sftp"):
            for fault in ("kill", "server", "cut"):
                yield f"backup.{name}.{fault}"
        for fault in ("kill", "server"):
            yield f"drill.mysql.{fault}"

    def missing(self, name, fault):
        """What a kind would need, and is not there."""
        needs = {"redis": "redis-server", "mysql": "mariadb-install-db"}
        if name in needs and not shutil.which(needs[name]):
            return f"{needs[name]} is not installed"
        if fault.startswith("full") and not self.can_mount:
            return "a small file system takes root and mount(8)"
        if name == "s3" and not (self.rclone and os.path.exists(self.rclone)):
            return "there is no rclone (--rclone)"
        if name == "sftp" and (os.geteuid() != 0 or not os.path.exists("/usr/sbin/sshd")):
            return "it takes root and sshd (package openssh-server)"
        return None

    def all(self, chosen):
        classes = {source.name: source for source in (Files, Sqlite, Redis, MySql)}
        sources, places, target = {}, {}, f"{self.scratch}/live"
        os.makedirs(target)
        self.target = None
        if self.can_mount:
            self.target = Small(target, "128m")
        for kind in self.kinds():
            if chosen and not any(kind.startswith(part) for part in chosen):
                continue
            what, name, fault = kind.split(".")
            missing = self.missing(name, fault)
            if missing:
                print(f"{kind}: left out, {missing}", flush=True)
                continue
            self.place = self.local
            if name in ("s3", "sftp"):
                if name not in places:
                    places[name] = S3Place(self.scratch, self.rclone) if name == "s3" else SftpPlace(self.scratch)
                self.place, name = places[name], "files"
            if name not in sources:
                sources[name] = classes[name](target if name in ("files", "sqlite") else self.scratch)
            source = sources[name]
            rounds = self.rounds if self.place is self.local and what != "drill" else self.slow_rounds
            begun = time.monotonic()
            try:
                # Each kind has a repository of its own: a small one is not to be full of the others'.
                self.place.clean(name)
                shutil.rmtree(f"{self.scratch}/state/mainstay", ignore_errors=True)
                self.configure(source)
                run(*self.words("init", "local", "-q"))
                if what == "backup":
                    counts = self.backups(source, fault, rounds)
                elif what == "drill":
                    counts = self.drills(source, fault, rounds)
                elif name == "mysql":
                    counts = self.server_restores(source, fault, rounds)
                else:
                    counts = self.restores(source, fault, rounds)
                said = ", ".join(f"{count} {word}" for word, count in counts.items())
                print(f"{kind}: {rounds} rounds, {said}, 0 faults ({time.monotonic() - begun:.0f} s)", flush=True)
            except (Fault, OSError, subprocess.SubprocessError, sqlite3.Error) as fault:
                self.faults += 1
                print(f"FAULT {kind}, seed {self.seed}: {fault}", flush=True)
                self.heal("full-state" if "state" in kind else kind.split(".")[2], source, self.small_of(kind))
                for place in places.values():
                    if place.server.process.poll() is not None:
                        place.server.start()
        for holder in [*sources.values(), *places.values()]:
            if hasattr(holder, "server"):
                holder.server.end()
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
    parser.add_argument("--slow-rounds", type=int, help="of what is elsewhere, and of drills; as many as --rounds")
    parser.add_argument("--rclone", default=shutil.which("rclone"), help="the program, for kinds of S3")
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
