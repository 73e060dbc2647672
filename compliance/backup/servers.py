"""What a storm needs: servers of its own, a way to hurt each, and places for repositories."""

import glob
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import threading
import time

PATIENCE = 180
# Servers that were started; none of them outlives this.
STARTED = []


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


def processes():
    """The parent and the name of every process."""
    found = {}
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(stat, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        # The name is in brackets, and may hold any.
        begin, end = text.index("("), text.rindex(")")
        found[int(text[:begin])] = (int(text[end + 2:].split()[1]), text[begin + 1:end])
    return found


def below(pid):
    """The processes that one has started, and those that they have: their names by their ids."""
    known = processes()
    found, more = {}, [pid]
    while more:
        parent = more.pop()
        children = {child: name for child, (of, name) in known.items() if of == parent}
        found.update(children)
        more += children
    return found


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


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


class S3Server:
    """A server of S3 that checks signatures: rclone, on a directory."""

    keys = ("AKIASTORM", "wJalr/XUtn+FEMI=")

    def __init__(self, directory, program):
        self.directory, self.program = directory, program
        os.makedirs(f"{directory}/bucket")
        self.port = free_port()
        self.proxy = Proxy(self.port)
        self.start()

    def start(self):
        # Its files are never its own for long, so that their digests are not worth having.
        self.process = subprocess.Popen(
            [self.program, "serve", "s3", "--config", "", "--addr", f"127.0.0.1:{self.port}", "--etag-hash", "",
             "--auth-key", ",".join(self.keys), self.directory],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        STARTED.append(self.process)
        wait_for("S3", lambda: listens(self.port))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.kill()


class SshServer:
    """A server of OpenSSH of our own. Its SFTP is within it: a program would be started by the user's shell,
    and what that reads and does first is not ours to kill."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, mode=0o700)
        self.port = free_port()
        self.proxy = Proxy(self.port)
        for name in ("host", "key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{directory}/{name}")
        os.makedirs("/run/sshd", exist_ok=True)
        with open(f"{directory}/config", "w", encoding="utf-8") as file:
            file.write(
                f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {directory}/host\nStrictModes no\nUsePAM no\n"
                f"AuthorizedKeysFile {directory}/key.pub\nPidFile none\nPasswordAuthentication no\n"
                "PermitRootLogin yes\nMaxStartups 100\nSubsystem sftp internal-sftp\n"
            )
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-e", "-f", f"{self.directory}/config"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        STARTED.append(self.process)
        wait_for("sshd", lambda: listens(self.port))

    def kill(self):
        """It and its sessions; those outlive it otherwise."""
        sessions = below(self.process.pid)
        self.process.kill()
        kill(sessions)
        self.process.wait()

    def end(self):
        self.kill()


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


# A place knows how a config names it, and how stock restic does.


class LocalPlace:
    def __init__(self, path):
        self.path = path

    def config(self, name):
        return f'path = "{self.path}/{name}"'

    def restic(self, name):
        return ["-r", f"{self.path}/{name}"], {}

    def clean(self, name):
        shutil.rmtree(f"{self.path}/{name}", ignore_errors=True)


class S3Place:
    def __init__(self, scratch, program):
        self.scratch = scratch
        self.server = S3Server(f"{scratch}/s3", program)
        for name, key in zip(("id", "secret"), self.server.keys):
            with open(f"{scratch}/s3-{name}", "w", encoding="utf-8") as file:
                file.write(key)
            os.chmod(f"{scratch}/s3-{name}", 0o600)

    def config(self, name):
        return (
            f's3 = {{ endpoint = "http://127.0.0.1:{self.server.proxy.port}", bucket = "bucket", prefix = "{name}", '
            f'access_key = {{ file = "{self.scratch}/s3-id" }}, secret_key = {{ file = "{self.scratch}/s3-secret" }} }}'
        )

    def restic(self, name):
        keys = dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), self.server.keys))
        return ["-r", f"s3:http://127.0.0.1:{self.server.port}/bucket/{name}"], keys

    def clean(self, name):
        # Not behind the back of the server, which remembers what is there.
        self.server.kill()
        shutil.rmtree(f"{self.server.directory}/bucket/{name}", ignore_errors=True)
        self.server.start()


class SftpPlace:
    def __init__(self, scratch):
        self.server = SshServer(f"{scratch}/ssh")

    def config(self, name):
        words = [
            "ssh", "-F/dev/null", "-oBatchMode=yes", "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null",
            "-oIdentitiesOnly=yes", f"-i{self.server.directory}/key", f"-p{self.server.proxy.port}", "-s", "--",
            "127.0.0.1", "sftp",
        ]
        return (
            f'sftp = {{ host = "127.0.0.1", path = "{self.server.directory}/files/{name}", '
            f"program = {json.dumps(words)} }}"
        )

    def restic(self, name):
        return ["-r", f"{self.server.directory}/files/{name}"], {}

    def clean(self, name):
        shutil.rmtree(f"{self.server.directory}/files/{name}", ignore_errors=True)
