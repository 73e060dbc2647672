#!/usr/bin/env python3
"""Runs the supervisord compliance checks against any two command lines.

The same checks run against the original and against another implementation:

    run.py --supervisord /usr/bin/supervisord --supervisorctl /usr/bin/supervisorctl
    run.py --supervisord "CMD ..." --supervisorctl "CMD ..." --name ours

One line for each check, `ok NAME`, `not ok NAME: why` or `skip NAME: why`, and a last line with
the counts. The exit code is 1 if any check failed.
"""

import argparse
import fnmatch
import importlib
import pkgutil
import queue
import sys
import threading
import time
import traceback
import xmlrpc.client
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import checks  # noqa: E402
from harness.bench import Bench, Daemon, Subject  # noqa: E402
from harness.register import CHECKS, Failed, Skip  # noqa: E402


def load():
    for module in pkgutil.iter_modules(checks.__path__):
        importlib.import_module(f"checks.{module.name}")


def chosen(patterns):
    """The checks whose name matches one of the patterns (a glob, or a part of the name)."""
    found = [
        check
        for check in CHECKS.values()
        if not patterns or any(fnmatch.fnmatch(check.name, pattern) or pattern in check.name for pattern in patterns)
    ]
    return sorted(found, key=lambda check: check.name)


def show(found):
    for check in found:
        mark = " [differs]" if check.differs else ""
        print(f"{check.name}{mark}: {check.description}")
        if check.differs:
            print(f"    original={check.original.text}")
            print(f"    ours={check.ours.text}")
    rows = sum(check.differs for check in found)
    print(f"{len(found)} checks, {rows} of them where the two sides are meant to differ")


def run_one(check, subject):
    """Runs a check; returns (verdict, why)."""
    bench = Bench(subject, check.client)
    Daemon.use(bench)
    try:
        seen = check.run(bench)
        if check.differs:
            side = check.original if subject.name == "original" else check.ours
            if not side.holds(seen):
                return "not ok", f"expected of {subject.name}: {side.text}; saw {seen!r}"
        return "ok", ""
    except Skip as skip:
        return "skip", str(skip)
    except Failed as failed:
        return "not ok", str(failed)
    except xmlrpc.client.Fault as fault:
        return "not ok", f"unexpected fault {fault.faultCode} {fault.faultString!r} at {where()}"
    except Exception as error:  # a check must not end the run
        return "not ok", f"{type(error).__name__}: {error} at {where()}"
    finally:
        Daemon.use(None)
        try:
            bench.close()
        except Exception as error:
            print(f"# {check.name}: cleaning up: {error!r}", flush=True)


def where():
    frames = [f for f in traceback.extract_tb(sys.exc_info()[2]) if "/checks/" in f.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "the harness"


def run_all(found, subject, jobs, times):
    waiting = queue.SimpleQueue()
    for check in sorted(found, key=lambda check: -check.weight):
        waiting.put(check)
    results, lock = {}, threading.Lock()

    def work():
        while True:
            try:
                check = waiting.get_nowait()
            except queue.Empty:
                return
            begun = time.monotonic()
            verdict, why = run_one(check, subject)
            took = time.monotonic() - begun
            with lock:
                results[check.name] = (verdict, took)
                line = f"{verdict} {check.name}"
                if why:
                    line += ": " + why.replace("\n", "\\n")[:1500]
                if times:
                    line += f"  # {took:.1f} s"
                print(line, flush=True)

    workers = [threading.Thread(target=work) for _ in range(jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--supervisord", default="/usr/bin/supervisord", help="the daemon's command line")
    parser.add_argument("--supervisorctl", default="/usr/bin/supervisorctl", help="the client's command line")
    parser.add_argument(
        "--name", choices=["original", "ours"], default="original", help="which side of the differs rows to expect"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="a glob or a part of the name; may be repeated"
    )
    parser.add_argument("--list", action="store_true", help="list the checks instead of running them")
    parser.add_argument("--jobs", type=int, default=8, help="how many checks run at once")
    parser.add_argument("--times", action="store_true", help="print how long each check took")
    options = parser.parse_args()

    load()
    found = chosen(options.only)
    if options.list:
        show(found)
        return 0
    subject = Subject(options.supervisord, options.supervisorctl, options.name)
    begun = time.monotonic()
    try:
        results = run_all(found, subject, options.jobs, options.times)
    finally:
        subject.close()
    count = {kind: sum(v == kind for v, _ in results.values()) for kind in ("ok", "not ok", "skip")}
    print(f"# {len(results)} checks in {time.monotonic() - begun:.0f} s, {count['skip']} skipped")
    print(f"{count['ok']} passed, {count['not ok']} failed")
    return 1 if count["not ok"] else 0


if __name__ == "__main__":
    sys.exit(main())
