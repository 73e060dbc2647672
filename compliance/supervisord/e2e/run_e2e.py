#!/usr/bin/env python3
"""Runs supervisor's own end-to-end tests against any two command lines.

    run_e2e.py --supervisord CMD --supervisorctl CMD [--sdist DIR] [--only PART]

The tests start `python -m supervisor.supervisord` and `python -m supervisor.supervisorctl`. They
are given a package directory in which these two modules do nothing but execute the given
commands; all the rest (the tests, their fixtures, childutils, pidproxy) is that of the source
distribution. That one, and pexpect, come from pip at the time of the run; nothing of it is kept
in the repository.

One line for each test, `ok NAME` or `not ok NAME: why`, and a last line with the counts.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import cache  # noqa: E402
from harness.bench import MARK, command_line, kill_marked  # noqa: E402
from harness.register import Skip  # noqa: E402

VERSION = "4.2.5"

# What stands in for a module: it becomes the given command, without our path of packages.
SHIM = """\
import os
import sys

os.environ.pop("PYTHONPATH", None)
command = {command!r}
os.execvp(command[0], command + sys.argv[1:])
"""

# Runs inside the virtual environment: loads the tests and tells each result as it comes.
RUNNER = """\
import sys, unittest, warnings
warnings.simplefilter("ignore")
from supervisor.tests import test_end_to_end

class Teller(unittest.TestResult):
    def tell(self, test, verdict, why=""):
        name = test.id().rsplit(".", 1)[1]
        print(verdict + " " + name + (": " + " ".join(why.split())[:700] if why else ""), flush=True)
    def addSuccess(self, test):
        self.passed = getattr(self, "passed", 0) + 1
        self.tell(test, "ok")
    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.tell(test, "not ok", repr(err[1]))
    addError = addFailure
    def addSkip(self, test, why):
        self.tell(test, "skip", why)

only = sys.argv[1]
suite = unittest.TestSuite(
    test
    for group in unittest.defaultTestLoader.loadTestsFromModule(test_end_to_end)
    for test in group
    if only in test.id()
)
result = Teller()
suite.run(result)
passed, failed = getattr(result, "passed", 0), len(result.failures)
print("%d passed, %d failed" % (passed, failed))
sys.exit(1 if failed or not passed else 0)
"""


def sdist(python):
    """The unpacked source distribution, downloaded if it is not in the cache."""
    where = cache.directory() / f"supervisor-{VERSION}"
    if not where.is_dir():
        with tempfile.TemporaryDirectory() as scratch:
            subprocess.run(
                [
                    python,
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--no-deps",
                    "--no-binary",
                    "supervisor",
                    "--no-build-isolation",
                    "-d",
                    scratch,
                    f"supervisor=={VERSION}",
                ],
                check=True,
            )
            (archive,) = Path(scratch).glob("*.tar.gz")
            with tarfile.open(archive) as tar:
                tar.extractall(cache.directory())
    return where


# A fixture that the source distribution forgets: a program that writes what test_issue_565 expects.
HELLO = """\
i=1
while [ $i -lt 500 ]; do
    echo "The Øresund bridge ends in Malmö - $i"
    i=$((i + 1))
    sleep 0.5
done
"""


def package(source, where, supervisord, supervisorctl):
    """Makes the package directory with the two modules replaced."""
    shutil.copytree(Path(source) / "supervisor", where / "supervisor", ignore=shutil.ignore_patterns("__pycache__"))
    hello = where / "supervisor" / "tests" / "fixtures" / "hello.sh"
    if not hello.exists():
        hello.write_text(HELLO, encoding="utf-8")
    for module, command in [("supervisord", supervisord), ("supervisorctl", supervisorctl)]:
        words = command_line(command)
        (where / "supervisor" / f"{module}.py").write_text(SHIM.format(command=words))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--supervisord", default="/usr/bin/supervisord")
    parser.add_argument("--supervisorctl", default="/usr/bin/supervisorctl")
    parser.add_argument("--sdist", help="an unpacked source distribution of supervisor; by default pip fetches it")
    parser.add_argument("--only", default="", help="only the tests with this in their name")
    options = parser.parse_args()

    try:
        python = str(cache.venv("e2e", "pexpect==4.9.0", "wheel") / "python")
    except Skip as skip:
        print(f"skip e2e: {skip}")
        return 0
    mark = f"e2e.{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="e2e") as scratch:
        package(options.sdist or sdist(python), Path(scratch), options.supervisord, options.supervisorctl)
        env = {**os.environ, "PYTHONPATH": scratch, "END_TO_END": "1", MARK: mark, "LC_ALL": "C.UTF-8"}
        # The programs of the fixtures are found beside the interpreter that has their packages.
        env["PATH"] = f"{Path(python).parent}:{os.environ['PATH']}"
        try:
            return subprocess.run([python, "-c", RUNNER, options.only], env=env, cwd=scratch).returncode
        finally:
            kill_marked(mark)


if __name__ == "__main__":
    sys.exit(main())
