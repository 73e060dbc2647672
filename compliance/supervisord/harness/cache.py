"""Packages that some checks want, installed by pip into a directory outside the repository.

The directory is `$SUPERVISORD_COMPLIANCE_CACHE`, or `supervisord-compliance` in the user's cache
directory. What is there already is used without asking the network.
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from .register import Skip

# The version of the original that the inventory describes, with what it needs to run.
BASE = ["setuptools<80", "supervisor==4.2.5"]
WAIT = 240


def directory():
    """The cache directory; it is made if need be."""
    path = os.environ.get("SUPERVISORD_COMPLIANCE_CACHE")
    if not path:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        path = os.path.join(home, "supervisord-compliance")
    os.makedirs(path, exist_ok=True)
    return Path(path)


def venv(name, *packages):
    """The `bin` directory of a virtual environment with these packages; skips if there is none."""
    where = directory() / name
    done = where / "installed.txt"
    wanted = "\n".join([*BASE, *packages])
    with open(directory() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists() and done.read_text() == wanted:
            return where / "bin"
        try:
            run([sys.executable, "-m", "venv", "--clear", str(where)])
            run([str(where / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", *BASE, *packages])
        except (OSError, subprocess.SubprocessError) as error:
            raise Skip(f"{' '.join(packages)} could not be installed: {error}")
        done.write_text(wanted)
    return where / "bin"


def run(argv):
    subprocess.run(
        argv, check=True, timeout=WAIT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
