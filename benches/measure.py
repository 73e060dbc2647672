"""How long a command takes, and what it costs: the same for all benches of backups."""

import os
import subprocess
import sys
import time
from typing import NamedTuple


class Cost(NamedTuple):
    """Seconds on the wall, seconds of the processor (user and system), and the greatest resident memory in MB."""

    wall: float
    cpu: float
    memory: float


def measure(arguments, **options):
    """Runs a command to its end; one that fails ends the bench with what it said."""
    begun = time.monotonic()
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - begun
    if status:
        sys.exit(f"{arguments}: {said.decode(errors='replace')}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def size(path):
    """Bytes of a file, or of all files below a directory; one by one, since a command that is measured has at
    least the memory of the one that starts it."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(os.lstat(os.path.join(directory, name)).st_size for directory, _, names in os.walk(path) for name in names)
