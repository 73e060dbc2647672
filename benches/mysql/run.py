#!/usr/bin/env python3
"""Dumps and restores of a MariaDB, ours and those of mysqldump and mydumper, side by side."""

import argparse
import contextlib
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import data

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from measure import measure, size

TICK = os.sysconf("SC_CLK_TCK")

CONFIG = """
schema = 1
[secret]
repository = {{ file = "{directory}/password" }}
[repository.local]
path = "{repository}"
password = "${{secret.repository}}"
compression = "{compression}"
[backup.db]
mysql = {{ socket = "{socket}", user = "root", {what}, connections = {connections} }}
to = ["local"]
"""


class Server:
    """A MariaDB of our own, in its own directory and on its own socket."""

    def __init__(self, directory, memory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir()
        self.socket = str(self.directory / "s")
        store = f"--datadir={self.directory / 'data'}"
        user = ["--user=root"] if os.geteuid() == 0 else []
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", store, "--auth-root-authentication-method=normal", "--skip-test-db", *user],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.process = subprocess.Popen(
            ["mariadbd", "--no-defaults", store, f"--socket={self.socket}", "--skip-networking", "--skip-name-resolve", *user,
             f"--pid-file={self.directory / 'pid'}", f"--innodb-buffer-pool-size={memory}", "--innodb-log-file-size=512M",
             "--innodb-flush-log-at-trx-commit=2", "--log-bin", "--max-allowed-packet=256M", "--local-infile=1",
             "--table-open-cache=4000", "--open-files-limit=60000"],
            stdout=subprocess.DEVNULL, stderr=open(self.directory / "log", "wb"),
        )
        until = time.monotonic() + 60
        while subprocess.run(self.client("-e", "SELECT 1"), capture_output=True).returncode:
            if time.monotonic() > until or self.process.poll() is not None:
                sys.exit(f"no server: {(self.directory / 'log').read_text()}")
            time.sleep(0.1)

    def client(self, *arguments):
        return ["mariadb", "--no-defaults", f"--socket={self.socket}", "-uroot", "--max-allowed-packet=1G", *arguments]

    def run(self, statements):
        pipe = subprocess.Popen(self.client("--default-character-set=utf8mb4"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for statement in statements:
            pipe.stdin.write(statement.encode())
        pipe.stdin.close()
        if pipe.wait():
            sys.exit("the server could not be filled")

    def value(self, statement):
        done = subprocess.run(self.client("-N", "-B", "-e", statement), check=True, capture_output=True)
        return done.stdout.decode().strip()

    def seconds(self):
        """CPU time of the server so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def stop(self):
        self.process.kill()
        self.process.wait()


class Writer(threading.Thread):
    """Commits a row every few milliseconds, and remembers how long the longest commit took."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.longest, self.done = 0.0, False
        self.pipe = subprocess.Popen(
            server.client("-N", "--unbuffered"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def run(self):
        while not self.done:
            begun = time.monotonic()
            self.pipe.stdin.write(b"REPLACE INTO stall.t VALUES (1, UNIX_TIMESTAMP(NOW(6))); SELECT 1;\n")
            self.pipe.stdin.flush()
            if not self.pipe.stdout.readline():
                break
            self.longest = max(self.longest, time.monotonic() - begun)
            time.sleep(0.005)

    def stop(self):
        self.done = True
        self.join()
        self.pipe.stdin.close()
        self.pipe.wait()
        return self.longest


def cost(server, arguments, stall=False, **options):
    """Wall, CPU of the client and of the server, and the longest commit meanwhile, in seconds; memory in MB."""
    writer = Writer(server) if stall else None
    if writer:
        writer.start()
    before = server.seconds()
    client = measure(arguments, **options)
    cpu = server.seconds() - before
    longest = writer.stop() if writer else 0.0
    return {"wall": client.wall, "client": client.cpu, "server": cpu, "stall": longest, "memory": client.memory}


def shell(text):
    return ["bash", "-c", f"set -o pipefail; {text}"]


class Ours:
    def __init__(self, binary, directory, server, database, connections, compression="auto"):
        """Of a database, or without one of the files of the whole server."""
        what = f'databases = ["{database}"]' if database else 'engine = "mariadb-backup"'
        self.binary, self.repository = binary, pathlib.Path(directory, f"repository-{database}")
        password = pathlib.Path(directory, "password")
        password.touch(mode=0o600)
        password.write_text("correct horse\n")
        self.config = pathlib.Path(directory, f"{database}-{connections}-{compression}.toml")
        self.config.write_text(CONFIG.format(
            directory=directory, repository=self.repository, socket=server.socket, what=what, connections=connections,
            compression=compression))
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}

    def arguments(self, *verb):
        return [self.binary, "-c", str(self.config), "backup", *verb]

    def init(self):
        shutil.rmtree(self.repository, ignore_errors=True)
        subprocess.run(self.arguments("init", "local"), check=True, env=self.environment, capture_output=True)

    def dump(self, server, stall=False):
        return cost(server, self.arguments("run", "db"), stall, env=self.environment)


def table(title, rows, base):
    print(f"\n{title}\n")
    print("| | wall s | x faster | client CPU s | server CPU s | output MB | longest commit ms | memory MB |")
    print("|---|---|---|---|---|---|---|---|")
    middle = {name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in rows.items() if runs}
    for name, row in middle.items():
        faster = middle[base]["wall"] / row["wall"]
        output = f"{row['output'] / 1e6:.0f}" if "output" in row else ""
        stall = f"{row['stall'] * 1000:.0f}" if row["stall"] else ""
        print(f"| {name} | {row['wall']:.2f} | {faster:.2f} | {row['client']:.2f} | {row['server']:.2f} | {output} | {stall}"
              f" | {row['memory']:.0f} |", flush=True)


def dumps(options, directory, server, ours, plain_ours):
    """Dumps of the whole data set; `plain_ours` does not compress."""
    out = pathlib.Path(directory, "out")
    plain = (f"mariadb-dump --no-defaults --socket={server.socket} -uroot --single-transaction --quick --routines --events"
             " --max-allowed-packet=256M --databases bench")
    mydumper = f"mydumper -S {server.socket} -u root -B bench -t 2 -G -E -R -o {out}/my"
    ways = {
        "mariadb-dump \\| gzip": shell(f"{plain} | gzip > {out}/dump.sql.gz"),
        "mariadb-dump \\| zstd -1": shell(f"{plain} | zstd -q -1 > {out}/dump.sql.zst"),
        "mariadb-dump \\| zstd -3": shell(f"{plain} | zstd -q -3 > {out}/dump.sql.zst"),
    }
    if shutil.which("mydumper"):
        ways["mydumper -t2"] = shell(mydumper)
        ways["mydumper -t2 -c"] = shell(f"{mydumper} -c")
    else:
        print("SKIPPED: mydumper is not installed")
    engines = {"mainstay": ours, "mainstay, not compressed": plain_ours}
    if shutil.which("mariadb-backup"):
        engines["mainstay, engine mariadb-backup"] = Ours(options.ours, directory, server, None, options.connections)
        ways["mariadb-backup \\| zstd -1"] = shell(
            f"mariadb-backup --no-defaults --backup --stream=xbstream --parallel={options.connections} --user=root"
            f" --socket={server.socket} --target-dir={out}/target 2>{out}/log | zstd -q -1 -T2 > {out}/server.zst")
    else:
        print("SKIPPED: mariadb-backup is not installed")
    rows = {name: [] for name in [*ways, *engines, *(f"{name}, next run" for name in engines)]}
    for _ in range(options.repeat):
        for name, arguments in ways.items():
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            rows[name].append(cost(server, arguments, stall=True) | {"output": size(out)})
        for name, engine in engines.items():
            engine.init()
            rows[name].append(engine.dump(server, stall=True) | {"output": size(engine.repository)})
            before = size(engine.repository)
            rows[f"{name}, next run"].append(
                engine.dump(server, stall=True) | {"output": size(engine.repository) - before})
            shutil.rmtree(engine.repository)
    shutil.rmtree(out, ignore_errors=True)
    table(f"Dump, {options.repeat} runs each, medians", rows, "mariadb-dump \\| gzip")


def restores(options, directory, server, ours):
    """Restores of the whole data set into a database of another name; nobody writes the binary log."""
    out = pathlib.Path(directory, "out")
    out.mkdir()
    plain = f"--no-defaults --socket={server.socket} -uroot --single-transaction --quick --routines --events --max-allowed-packet=256M"
    cost(server, shell(f"mariadb-dump {plain} bench > {out}/dump.sql"))
    client = " ".join(server.client())
    ways = {"mysql < dump.sql": shell(f"{client} --init-command='SET sql_log_bin = 0' loaded < {out}/dump.sql")}
    if shutil.which("myloader"):
        cost(server, shell(f"mydumper -S {server.socket} -u root -B bench -t 2 -G -E -R -o {out}/my"))
        ways["myloader -t2"] = shell(f"myloader -S {server.socket} -u root -B loaded -t 2 -d {out}/my")
    else:
        print("SKIPPED: mydumper is not installed")
    ours.init()
    ours.dump(server)
    rows = {name: [] for name in [*ways, "mainstay"]}
    ways["mainstay"] = ours.arguments("restore", "db", "--database", "bench", "--as", "loaded", "--no-users", "--yes")
    files = "mainstay, engine mariadb-backup"
    if shutil.which("mariadb-backup"):
        engine = Ours(options.ours, directory, server, None, options.connections)
        engine.init()
        engine.dump(server)
        rows[files] = []
        ways[files] = engine.arguments("restore", "db", "--to", f"{out}/data")
    digests = {}
    for _ in range(options.repeat):
        for name, arguments in ways.items():
            if name == files:
                shutil.rmtree(out / "data", ignore_errors=True)
                rows[name].append(cost(server, arguments, env=engine.environment))
                continue
            server.run(["SET SESSION sql_log_bin = 0; DROP DATABASE IF EXISTS loaded;"])
            if name.startswith("mysql"):
                server.run(["SET SESSION sql_log_bin = 0; CREATE DATABASE loaded;"])
            rows[name].append(cost(server, arguments, env=ours.environment))
            tables = ", ".join(f"loaded.{table}" for table in ("events", "orders", "docs", "blobs", "odd"))
            digests[name] = server.value(f"CHECKSUM TABLE {tables}")
    server.run(["SET SESSION sql_log_bin = 0; DROP DATABASE loaded;"])
    shutil.rmtree(out)
    table(f"Restore, {options.repeat} runs each, medians", rows, "mysql < dump.sql")
    exact = server.value("CHECKSUM TABLE " + ", ".join(f"bench.{t}" for t in ("events", "orders", "docs", "blobs", "odd")))
    for name, digest in digests.items():
        same = digest.replace("loaded.", "bench.") == exact
        print(f"{name}: {'the same rows' if same else 'OTHER ROWS'} by CHECKSUM TABLE")


def growth(options, directory, server):
    """How a dump grows with tables and with connections."""
    rows = {}
    for connections in (1, 2, 4, 8):
        ours = Ours(options.ours, directory, server, "bench", connections)
        ours.init()
        rows[f"{connections} connections"] = [ours.dump(server) | {"output": size(ours.repository)}]
    table("By connections", rows, "1 connections")
    rows = {}
    for tables in options.tables:
        server.run(data.many(tables))
        ours = Ours(options.ours, directory, server, "many", 2)
        ours.init()
        rows[f"{tables} tables"] = [ours.dump(server) | {"output": size(ours.repository)}]
        if tables > options.theirs_up_to:
            continue
        plain = (f"mariadb-dump --no-defaults --socket={server.socket} -uroot --single-transaction --quick --databases many"
                 f" | zstd -q -3 > {directory}/many.zst")
        rows[f"{tables} tables, mariadb-dump \\| zstd -3"] = [
            cost(server, shell(plain)) | {"output": size(f"{directory}/many.zst")}]
    table("By tables", rows, next(iter(rows)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", required=True, help="the binary mainstay, built for release")
    parser.add_argument("--scale", type=float, default=0.2, help="1 is 1.2 GB of rows")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--tables", type=int, nargs="*", default=[10, 100, 1000, 10_000])
    parser.add_argument("--theirs-up-to", type=int, default=10_000, metavar="TABLES",
                        help="mariadb-dump is not asked to dump more tables than so many: it takes minutes")
    parser.add_argument("--only", nargs="*", choices=["dump", "restore", "growth"], default=["dump", "restore", "growth"])
    parser.add_argument("--memory", default="2G", help="the server's buffer pool")
    options = parser.parse_args()
    options.ours = str(pathlib.Path(options.ours).resolve())
    with contextlib.ExitStack() as stack:
        directory = tempfile.mkdtemp(prefix="mainstay-bench-")
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        server = Server(pathlib.Path(directory, "server"), options.memory)
        stack.callback(server.stop)
        server.run(["CREATE DATABASE stall; CREATE TABLE stall.t (id INT PRIMARY KEY, at DOUBLE);"])
        begun = time.monotonic()
        server.run(data.statements(options.scale))
        bytes_ = server.value(
            "SELECT SUM(DATA_LENGTH), SUM(INDEX_LENGTH) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'bench'").split()
        print(f"{server.value('SELECT VERSION()')}, scale {options.scale}: {int(bytes_[0]) / 1e6:.0f} MB tables,"
              f" {int(bytes_[1]) / 1e6:.0f} MB indexes; filled in {time.monotonic() - begun:.0f} s", flush=True)
        if "dump" in options.only:
            of = (options.ours, directory, server, "bench", options.connections)
            dumps(options, directory, server, Ours(*of), Ours(*of, compression="off"))
        if "restore" in options.only:
            restores(options, directory, server, Ours(options.ours, directory, server, "bench", options.connections))
        if "growth" in options.only:
            growth(options, directory, server)


if __name__ == "__main__":
    main()
