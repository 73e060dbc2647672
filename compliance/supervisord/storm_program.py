"""One program of the storm: writes numbered lines, dies when it likes, and keeps books about it.

    python3 -I -S storm_program.py ROOT NAME KIND STORM_PID

Its books, in ROOT:
  NAME.lock    held while it lives: a second one alive at the same time cannot have it
  NAME.ledger  one line a life: pid, start time in clock ticks, boot time in ns, next numbers
  NAME.state   what the next life goes on from: next numbers, deaths of its own, how the last one ended
  faults       what must not happen, one line each
  calm         while it exists, nobody dies of his own
"""

import errno
import fcntl
import os
import random
import select
import signal
import sys
import termios
import time

# What a kind does: lines a second, lines a write, where to, whether it dies of its own.
# "out", "err": its own file each; "both": each with its own numbers; "merged": one file, one sequence,
# lines in turn by descriptor 1 and 2.
KINDS = {
    "flood": dict(rate=5000, batch=250, to="out"),
    "slow": dict(rate=3, batch=1, to="out"),
    "medium": dict(rate=200, batch=4, to="both"),
    "merged": dict(rate=300, batch=2, to="merged"),
    "crasher": dict(rate=500, batch=10, to="out", dies=True, drains=True),
    "ragged": dict(rate=1000, batch=20, to="out", ragged=True),
    "errors": dict(rate=1000, batch=50, to="err"),
    "leaver": dict(rate=100, batch=2, to="merged", dies=True, drains=True),
    "abrupt": dict(rate=500, batch=10, to="out", dies=True),
    "echo": dict(rate=0, batch=0, to="echo"),
}


def line(name, stream, number):
    """Line NUMBER as it must stand in the log; lengths differ, the content is known."""
    return b"%s %s %010d %s\n" % (name, stream, number, b"x" * (number * 7919 % 61))


def write(fd, data):
    while data:
        data = data[os.write(fd, data):]


class Books:
    def __init__(self, root, name):
        self.root, self.name = root, name
        self.state_fd = os.open(f"{root}/{name}.state", os.O_RDWR | os.O_CREAT, 0o644)
        said = os.pread(self.state_fd, 200, 0).split()
        self.out, self.err, self.deaths = (int(word) for word in said[:3]) if said else (1, 1, 0)
        self.phase = said[3].decode() if said else "new"

    def note(self, phase):
        text = f"{self.out} {self.err} {self.deaths} {phase}".ljust(99) + "\n"
        os.pwrite(self.state_fd, text.encode(), 0)
        os.fsync(self.state_fd)

    def append(self, file, text):
        fd = os.open(f"{self.root}/{file}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(fd, text.encode())
        os.close(fd)


def lock(books):
    fd = os.open(f"{books.root}/{books.name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno != errno.EWOULDBLOCK:
            raise
        books.append("faults", f"duplicate: {books.name} pid {os.getpid()} beside a live one\n")
        time.sleep(1)
        os._exit(99)
    return fd


def waiting(fd):
    """Bytes in the pipe that nobody has read."""
    buffer = bytearray(4)
    fcntl.ioctl(fd, termios.FIONREAD, buffer)
    return int.from_bytes(buffer, sys.byteorder)


def main():
    root, name, kind, storm = sys.argv[1:5]
    does, storm = KINDS[kind], int(storm)
    stop_reader, stop_writer = os.pipe()
    os.set_blocking(stop_writer, False)
    # The handler does nothing; the byte ends every wait.
    signal.set_wakeup_fd(stop_writer)
    signal.signal(signal.SIGTERM, lambda *_: None)

    def pause(seconds):
        """True: told to stop."""
        return bool(select.select([stop_reader], [], [], max(seconds, 0))[0])

    books = Books(root, name)
    held = lock(books)
    if books.phase == "running":
        books.append("faults", f"killed: a life of {name} ended that neither it nor a stop ended\n")
    with open("/proc/self/stat") as stat:
        ticks = stat.read().rsplit(")", 1)[1].split()[19]
    boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    books.note("running")
    books.append(f"{name}.ledger", f"{os.getpid()} {ticks} {boot} {books.out} {books.err}\n")

    chance = random.Random()
    dies_at = time.monotonic() + chance.uniform(0.3, 4) if does.get("dies") else float("inf")
    label, to, batch = name.encode(), does["to"], does["batch"]
    if to == "echo":
        echo(books, pause, stop_reader, storm)
    period = batch / does["rate"]
    due = time.monotonic()
    looked = due
    while True:
        if to == "merged":
            for _ in range(batch):
                write(1 if books.out % 2 else 2, line(label, b"m", books.out))
                books.out += 1
        if to in ("out", "both"):
            data = b"".join(line(label, b"o", books.out + k) for k in range(batch))
            if does.get("ragged"):
                cut = chance.randrange(1, len(data))
                write(1, data[:cut])
                pause(period / 2)
                data = data[cut:]
            write(1, data)
            books.out += batch
        if to in ("err", "both"):
            write(2, b"".join(line(label, b"e", books.err + k) for k in range(batch)))
            books.err += batch
        due += period
        now = time.monotonic()
        if now > due + 1:
            due = now
        if now >= dies_at and not os.path.exists(f"{root}/calm"):
            told = False
            # A pipe is gone with its last holder. If no daemon is there to hold it, that is us.
            while does.get("drains") and not told and (waiting(1) or waiting(2)):
                told = pause(0.002)
            if not told:
                books.deaths += 1
                books.note("died")
                how = chance.randrange(4)
                if how < 2:
                    os._exit(how)
                os.kill(os.getpid(), signal.SIGKILL if how == 2 else signal.SIGABRT)
                time.sleep(60)
        if now > looked + 1:
            looked = now
            leave_with(storm)
        if pause(due - now):
            books.note("stopped")
            os._exit(0)


def leave_with(storm):
    """A storm that was killed leaves nobody behind who writes for ever."""
    try:
        os.kill(storm, 0)
    except ProcessLookupError:
        os._exit(0)


def echo(books, pause, stop_reader, storm):
    """Copies whole lines from its input to its output."""
    rest = b""
    while True:
        ready = select.select([0, stop_reader], [], [], 1)[0]
        leave_with(storm)
        if stop_reader in ready:
            books.note("stopped")
            os._exit(0)
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                books.append("faults", f"input: the input of {books.name} was closed\n")
                while not pause(1):
                    leave_with(storm)
                books.note("stopped")
                os._exit(0)
            whole, newline, rest = (rest + data).rpartition(b"\n")
            write(1, whole + newline)


if __name__ == "__main__":
    main()
