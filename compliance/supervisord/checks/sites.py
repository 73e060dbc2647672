"""Three sites as people run them: their configs unchanged, with small programs in for the large ones."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import threading

from harness.bench import HERE, require_root, until
from harness.register import Skip, check, contains, expect, lacks, same


def site(t, name):
    """A copy of a site's directory, with the directories it expects."""
    where = t.path("site")
    shutil.copytree(HERE / "sites" / name, where)
    for directory in ["run", "log", "storage"]:
        os.makedirs(os.path.join(where, directory))
    env = {"PATH": f"{where}/bin:{os.environ['PATH']}"}
    return where, env


def start(t, name):
    where, env = site(t, name)
    daemon = t.start(conf=f"{where}/supervisord.conf", env=env, ready=False)
    daemon.sock = f"{where}/run/supervisor.sock"
    daemon.wait_ready()
    return where, daemon


def shop(t):
    where, d = start(t, "django")
    for name in ["shop-web", "shop-worker", "shop-beat"]:
        d.wait_state(f"shop:{name}", "RUNNING")
    until(lambda: all("ready" in t.read(f"site/log/{log}.log") for log in ["worker", "beat"]), "celery to be ready")
    until(lambda: t.read("site/log/web.log").count("Booting worker") == 3, "gunicorn to be ready")
    return where, d


@check("sites.django.up", "Django: gunicorn, worker and beat come up as a group", 7)
def django_up(t):
    where, d = shop(t)
    web = t.read("site/log/web.log")
    contains(
        web,
        f"Starting gunicorn with: shop.wsgi:application --name shop --workers 3 --bind unix:{where}/run/gunicorn.sock --access-logfile -\n",
    )
    contains(web, f"settings shop.settings.production, language en_US.UTF-8, in {where}\n")
    contains(t.read("site/log/worker.log"), "celery -A shop worker --loglevel=INFO --concurrency=2 -n worker1@%h\n")
    same(t.read("site/log/worker.err"), "pool is up\n")
    contains(t.read("site/log/beat.log"), f"beat --schedule {where}/run/celerybeat-schedule")
    log = t.read("site/log/supervisord.log")
    same(re.findall(r"spawned: '(\S+)'", log), ["shop-web", "shop-worker", "shop-beat"], "the order of starting")
    result = d.ctl("status")
    same(result.code, 0, "exit code of status")
    same(
        [line.split()[:2] for line in result.lines],
        [["shop:shop-beat", "RUNNING"], ["shop:shop-web", "RUNNING"], ["shop:shop-worker", "RUNNING"]],
    )


@check("sites.django.deploy", "Django: HUP reloads gunicorn, the worker is restarted after its task", 9)
def django_deploy(t):
    where, d = shop(t)
    pids = {name: d.info(f"shop:{name}")["pid"] for name in ["shop-web", "shop-worker"]}
    same(d.ctl("signal", "HUP", "shop:shop-web").lines, ["shop:shop-web: signalled"])
    until(lambda: t.read("site/log/web.log").count("Booting worker") == 6, "new workers")
    same(d.info("shop:shop-web")["pid"], pids["shop-web"], "pid of gunicorn")
    same(d.ctl("restart", "shop:shop-worker").lines, ["shop:shop-worker: stopped", "shop:shop-worker: started"])
    contains(t.read("site/log/worker.log"), "worker: Warm shutdown\ntask finished\n")
    expect(d.info("shop:shop-worker")["pid"] != pids["shop-worker"], "the worker's pid is the same")


@check("sites.django.shutdown", "Django: all stop in the opposite order, a task is finished first", 8)
def django_shutdown(t):
    where, d = shop(t)
    same(d.terminate(), 0, "exit code")
    log = t.read("site/log/supervisord.log")
    same(set(re.findall(r"stopped: (\S+) \(exit status 0\)", log)), {"shop-beat", "shop-worker", "shop-web"})
    contains(t.read("site/log/worker.log"), "task finished\n")
    contains(t.read("site/log/web.log"), "Handling signal: term\n")


def laravel(t):
    require_root()
    try:
        pwd.getpwnam("www-data")
    except KeyError:
        raise Skip("there is no user www-data")
    where, d = start(t, "laravel")
    for number in range(8):
        d.wait_state(f"laravel-worker:laravel-worker_{number:02d}", "RUNNING")
    d.wait_state("laravel-scheduler", "RUNNING")
    until(lambda: t.read("site/storage/worker.log").count("ready") == 8, "all workers to be ready")
    return where, d


@check("sites.laravel.up", "Laravel: eight workers as www-data share one log", 4)
def laravel_up(t):
    where, d = laravel(t)
    text = t.read("site/storage/worker.log")
    for number in range(8):
        name = f"laravel-worker_{number:02d}"
        contains(text, f"[{name}] queue:work as www-data\n")
        contains(text, f"[{name}] warnings go here too\n")
    same(
        [line.split()[0] for line in d.ctl("status").lines],
        ["laravel-scheduler"] + [f"laravel-worker:laravel-worker_{n:02d}" for n in range(8)],
    )


@check("sites.laravel.queue_restart", "Laravel: workers that end by themselves are started again", 7)
def laravel_queue_restart(t):
    where, d = laravel(t)
    before = {i["name"]: i["pid"] for i in d.rpc.supervisor.getAllProcessInfo()}
    # startsecs must be over, or an exit would be one that came too early; they are, all are RUNNING.
    t.write("site/restart", "")

    def anew():
        infos = [i for i in d.rpc.supervisor.getAllProcessInfo() if i["group"] == "laravel-worker"]
        return all(i["statename"] == "RUNNING" and i["pid"] != before[i["name"]] for i in infos)

    until(anew, "eight new workers")


@check("sites.laravel.update", "Laravel: reread and update after numprocs was changed", 7)
def laravel_update(t):
    where, d = laravel(t)
    path = f"{where}/conf.d/worker.conf"
    text = open(path).read().replace("numprocs=8", "numprocs=10")
    t.write("site/conf.d/worker.conf", text)
    same(d.ctl("reread").lines, ["laravel-worker: changed"])
    same(d.ctl("update").lines, ["laravel-worker: stopped", "laravel-worker: updated process group"])
    for number in range(10):
        d.wait_state(f"laravel-worker:laravel-worker_{number:02d}", "RUNNING")
    # stopwaitsecs=3600 is the longest it may take, not what it takes.
    same(t.read("site/storage/worker.log").count("job done, stopping"), 8)


@check("sites.laravel.start_stop", "Laravel: stop and start of all workers by their group's name", 7)
def laravel_start_stop(t):
    where, d = laravel(t)
    names = [f"laravel-worker:laravel-worker_{n:02d}" for n in range(8)]
    same(sorted(d.ctl("stop", "laravel-worker:*").lines), [f"{name}: stopped" for name in names])
    same(sorted(d.ctl("start", "laravel-worker:*").lines), [f"{name}: started" for name in names])
    same(d.state("laravel-scheduler"), "RUNNING")


def collect(fd, path):
    """Copies what comes through a pipe into a file, until it is closed."""
    with open(path, "ab", buffering=0) as file:
        while True:
            try:
                data = os.read(fd, 65536)
            except OSError:
                break
            if not data:
                break
            file.write(data)
    os.close(fd)


def said(t, name, text):
    """Waits for a text in what was collected (it may come a moment after the daemon's end)."""
    until(lambda: text in t.read(name), f"{text!r} in {name}")


def container(t):
    require_root()
    where, env = site(t, "container")
    # Pipes, as a container's runtime has them; what comes is appended to `out` and `err`.
    child = t.popen(
        [*t.subject.supervisord, "-c", f"{where}/supervisord.conf"],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for stream, name in [(child.stdout, "out"), (child.stderr, "err")]:
        threading.Thread(target=collect, args=(os.dup(stream.fileno()), t.path(name)), daemon=True).start()
    until(
        lambda: "nginx entered RUNNING state" in t.read("out") and "php-fpm entered RUNNING state" in t.read("out"),
        "both to run",
    )
    until(lambda: "nginx: an error line" in t.read("err") and "ready to handle" in t.read("err"), "both to be ready")
    return where, child


@check("sites.container.output", "container: all output is the container's output", 3)
def container_output(t):
    where, child = container(t)
    for line in ["nginx: argument [-g]\n", "nginx: argument [daemon off;]\n"]:
        said(t, "out", line)
    said(t, "err", "nginx: an error line\n")
    said(t, "out", f"INFO supervisord started with pid {child.pid}\n")
    lacks(t.read("out"), "running as root", "stdout")


@check("sites.container.stop", "container: TERM (docker stop) ends all, nginx by QUIT, exit code 0", 4)
def container_stop(t):
    where, child = container(t)
    child.send_signal(signal.SIGTERM)
    same(child.wait(timeout=60), 0, "exit code")
    said(t, "out", "nginx: graceful end\n")
    said(t, "err", "php-fpm: exiting, bye-bye!\n")
    said(t, "out", "WARN received SIGTERM indicating exit request\n")


@check("sites.container.exit_on_failure", "container: when php-fpm dies the listener ends the container", 5)
def container_failure(t):
    where, child = container(t)
    t.write("site/die", "")
    same(child.wait(timeout=60), 0, "exit code")
    said(t, "out", "exited: php-fpm (exit status 70; not expected)\n")
    said(t, "out", "WARN received SIGQUIT indicating exit request\n")
    said(t, "err", "eventname:PROCESS_STATE_EXITED")
    said(t, "out", "nginx: graceful end\n")
