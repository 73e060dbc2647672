#!/usr/bin/env python3
"""Pulls of a Redis server, ours and those of redis-cli, side by side."""

import argparse
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from measure import measure


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def command(*parts):
    out = b"*%d\r\n" % len(parts)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        out += b"$%d\r\n%s\r\n" % (len(data), data)
    return out


def fill(port, keys):
    """Six types, half of the values random digits, so that they compress as real ones do."""
    pipe = subprocess.Popen(
        ["redis-cli", "-p", str(port), "--pipe"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    for number in range(keys):
        text = (b"value-%d-" % number) + os.urandom(60).hex().encode()
        kind = number % 6
        if kind == 0:
            line = command("SET", f"text:{number}", text * 3)
        elif kind == 1:
            line = command("HSET", f"hash:{number}", "a", text, "b", text, "c", number)
        elif kind == 2:
            line = command("RPUSH", f"list:{number}", text, text, number)
        elif kind == 3:
            line = command("SADD", f"set:{number}", text, number)
        elif kind == 4:
            line = command("ZADD", f"scores:{number}", 1.5, text, number, "b")
        else:
            line = command("XADD", f"stream:{number}", "1-1", "a", text)
        pipe.stdin.write(line)
    pipe.stdin.close()
    if pipe.wait():
        sys.exit("the server could not be filled")


CONFIG = """
schema = 1
[secret]
repository = {{ file = "{directory}/password" }}
[repository.local]
path = "{directory}/repository"
password = "${{secret.repository}}"
[backup.redis]
redis = {{ address = "127.0.0.1:{port}" }}
to = ["local"]
"""


def pull_seconds(environment, config, ours):
    """How long the pull within the last run took, from the facts of its snapshot."""
    shown = subprocess.run(
        [ours, "-c", config, "backup", "show", "redis", "latest", "--json"],
        capture_output=True, check=True, env=environment,
    )
    return json.loads(shown.stdout)["snapshot"]["facts"]["redis"]["shards"][0]["took_ms"] / 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", required=True, help="the binary mainstay")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    ours = str(pathlib.Path(options.ours).resolve())
    directory = tempfile.mkdtemp(prefix="mainstay-bench-")
    port = free_port()
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory,
         "--repl-diskless-sync-delay", "0"],
        stdout=subprocess.DEVNULL,
    )
    try:
        while subprocess.run(["redis-cli", "-p", str(port), "PING"], capture_output=True).returncode:
            time.sleep(0.1)
        fill(port, options.keys)
        password = pathlib.Path(directory, "password")
        password.touch(mode=0o600)
        password.write_text("correct horse\n")
        config = pathlib.Path(directory, "mainstay.toml")
        config.write_text(CONFIG.format(directory=directory, port=port))
        environment = {"PATH": os.environ["PATH"], "HOME": directory}
        rows = {name: [] for name in
                ["redis-cli --rdb", "mainstay, pull", "mainstay, whole run", "mainstay, next run"]}
        file = pathlib.Path(directory, "pulled.rdb")
        run = [ours, "-c", str(config), "backup", "run", "redis"]
        for _ in range(options.repeat):
            rows["redis-cli --rdb"].append(measure(["redis-cli", "-p", str(port), "--rdb", str(file)]))
            shutil.rmtree(pathlib.Path(directory, "repository"), ignore_errors=True)
            subprocess.run([ours, "-c", str(config), "backup", "init", "local"],
                           check=True, env=environment, capture_output=True)
            whole = measure(run, env=environment)
            rows["mainstay, whole run"].append(whole)
            pull = pull_seconds(environment, str(config), ours)
            rows["mainstay, pull"].append((pull, None, None))
            rows["mainstay, next run"].append(measure(run, env=environment))
        print(f"{options.keys} keys, {file.stat().st_size / 1e6:.1f} MB, {options.repeat} runs each\n")
        base = [statistics.median(column) for column in zip(*rows["redis-cli --rdb"])]
        print("| | wall s | ratio | CPU s | ratio | memory MB |\n|---|---|---|---|---|---|")
        for name, values in rows.items():
            wall, cpu, memory = (
                None if None in column else statistics.median(column) for column in zip(*values)
            )
            cells = [f"{wall:.2f}", f"{wall / base[0]:.2f}"]
            cells += ["", "", ""] if cpu is None else [f"{cpu:.2f}", f"{cpu / base[1]:.2f}", f"{memory:.0f}"]
            print(f"| {name} | {' | '.join(cells)} |")
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
