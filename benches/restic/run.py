#!/usr/bin/env python3
"""Snapshots of files, ours and those of restic, of the same tree, side by side."""

import argparse
import math
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from measure import measure, size

WORDS = [b"%s " % word.encode() for word in (
    "the order was paid by card and will leave the house today customer address street number "
    "invoice total tax country currency product colour size stock warehouse shelf return reason "
    "select from where insert values update set null true false function class import return").split()]


def text(random_, length):
    """Text that compresses about as source code and logs do, to a third."""
    out = bytearray()
    while len(out) < length:
        out += random_.choice(WORDS)
        if random_.random() < 0.2:
            out += b"%x\n" % random_.getrandbits(48)
    return bytes(out[:length])


def small(root, count, median):
    """Many small files, a hundred in each directory: half text, half what does not compress."""
    random_ = random.Random(1)
    pool = text(random_, 4 << 20)
    for number in range(count):
        directory = root / f"{number // 10000:03}" / f"{number // 100 % 100:02}"
        if number % 100 == 0:
            directory.mkdir(parents=True)
        size = int(random_.lognormvariate(math.log(median), 1.2))
        if number % 2:
            data = random_.randbytes(size)
        else:
            start = random_.randrange(len(pool) - 200_000)
            data = b"%d " % number + pool[start:start + min(size, 200_000)]
        (directory / f"file-{number}.dat").write_bytes(data)


def large(root, count):
    """Few big files, 128 MiB each: half text, half what does not compress."""
    random_ = random.Random(2)
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        with open(root / f"big-{number}.bin", "wb") as file:
            for _ in range(128):
                file.write(random_.randbytes(1 << 20) if number % 2 else text(random_, 1 << 20))


def change(root, share, seed):
    """Changes that share of the files: small ones wholly, in big ones a few bytes in one place."""
    random_ = random.Random(seed)
    files = sorted(root.rglob("*.bin"))
    for path in files:
        size = path.stat().st_size
        with open(path, "r+b") as file:
            file.seek(random_.randrange(size - size // 100))
            file.write(random_.randbytes(size // 100))
    if files:
        return
    # One by one: the greatest memory of a program is at least that of the one that starts it.
    for directory, _, names in os.walk(root):
        for name in names:
            if random_.random() < share:
                path = pathlib.Path(directory, name)
                path.write_bytes(random_.randbytes(path.stat().st_size))


CONFIG = """
schema = 1
[secret]
repository = {{ file = "{directory}/password" }}
[repository.local]
path = "{directory}/ours"
password = "${{secret.repository}}"
[backup.files]
files = {{ path = "{tree}" }}
to = ["local"]
"""


def bench(name, make, directory, options):
    tree = directory / "tree"
    make(tree)
    total = size(tree)
    config = directory / "mainstay.toml"
    config.write_text(CONFIG.format(directory=directory, tree=tree))
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory),
                   "RESTIC_PASSWORD_FILE": str(directory / "password")}
    ours_to, theirs_to = directory / "ours", directory / "theirs"
    ours = [options.ours, "-c", str(config), "--quiet", "backup"]
    theirs = ["restic", "--quiet", "-r", str(theirs_to)]
    # Both with the cache that restic makes for itself: it is what people have.
    commands = {
        "ours": (ours + ["run", "files"], ours + ["restore", "files", "--to"]),
        "restic": (theirs + ["backup", str(tree)], theirs + ["restore", "latest", "--target"]),
    }
    rows = {}
    sizes = {}
    for turn in range(options.repeat):
        shutil.rmtree(ours_to, ignore_errors=True)
        shutil.rmtree(theirs_to, ignore_errors=True)
        shutil.rmtree(directory / ".cache", ignore_errors=True)
        subprocess.run(ours + ["init", "local"], check=True, env=environment, capture_output=True)
        subprocess.run(theirs + ["init"], check=True, env=environment, capture_output=True)
        for step in ["first", "no change", "1 % changed", "restore"]:
            if step == "1 % changed":
                change(tree, 0.01, turn)
            # In turns, so that neither always finds what the other has warmed.
            order = list(commands) if turn % 2 else list(reversed(commands))
            for who in order:
                run, restore = commands[who]
                if step == "restore":
                    # A new one each time, and none is removed before the end: for minutes ext4 is slow to
                    # make files where some were removed.
                    run = restore + [str(directory / f"back-{who}-{turn}")]
                os.sync()
                rows.setdefault((step, who), []).append(measure(run, env=environment))
        sizes = {who: size(path) for who, path in [("ours", ours_to), ("restic", theirs_to)]}
    for back in directory.glob("back-*"):
        shutil.rmtree(back)
    files = sum(len(names) for _, _, names in os.walk(tree))
    shutil.rmtree(tree)
    print(f"\n### {name}: {files} files, {total / 1e6:.0f} MB; "
          f"repositories {sizes['ours'] / 1e6:.0f} MB (ours), {sizes['restic'] / 1e6:.0f} MB (restic)\n")
    print("| | ours, wall s | restic | ratio | ours, CPU s | restic | ratio | ours, MB | restic |")
    print("|---|---|---|---|---|---|---|---|---|")
    for step in ["first", "no change", "1 % changed", "restore"]:
        ours, restic = ([statistics.median(column) for column in zip(*rows[step, who])] for who in ["ours", "restic"])
        print(f"| {step} | {ours[0]:.2f} | {restic[0]:.2f} | {ours[0] / restic[0]:.2f} "
              f"| {ours[1]:.2f} | {restic[1]:.2f} | {ours[1] / restic[1]:.2f} | {ours[2]:.0f} | {restic[2]:.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", required=True, help="the binary mainstay")
    parser.add_argument("--small", type=int, nargs="*", default=[10_000, 100_000], help="trees of so many small files")
    parser.add_argument("--bytes", type=int, default=4000,
                        help="half of the small files are smaller; a tree needs six times its size on the disk")
    parser.add_argument("--large", type=int, default=8, help="a tree of so many files of 128 MiB; 0 for none")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    options.ours = str(pathlib.Path(options.ours).resolve())
    directory = pathlib.Path(tempfile.mkdtemp(prefix="mainstay-bench-"))
    try:
        password = directory / "password"
        password.touch(mode=0o600)
        password.write_text("correct horse\n")
        print(subprocess.run(["restic", "version"], capture_output=True, text=True).stdout.strip())
        print(f"{os.cpu_count()} processors, median of {options.repeat} runs each")
        for count in options.small:
            bench("small files", lambda tree: small(tree, count, options.bytes), directory, options)
        if options.large:
            bench("big files", lambda tree: large(tree, options.large), directory, options)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
