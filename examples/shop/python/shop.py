#!/usr/bin/env python3
"""The shop again, in plain Python: same pages, same database, same files, same environment.

It exists to prove that what runs it does not care about the language. Less polish, same contract.
"""
import html, json, os, re, signal, sqlite3, sys, threading, time, urllib.parse, urllib.request, uuid
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
HOST, _, PORT = os.environ.get("SHOP_LISTEN", "127.0.0.1:8080").rpartition(":")
DATA = Path(os.environ.get("SHOP_DATA", "data"))
TIMEOUT = int(os.environ.get("SHOP_PARTNER_TIMEOUT_MS", "3000")) / 1000
STYLE = (ASSETS / "style.css").read_text("utf-8")
LIMIT = 10_000_000
SHOWN = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif",
         "webp": "image/webp", "txt": "text/plain; charset=utf-8", "md": "text/plain; charset=utf-8"}
state = {"hang": False, "slow": 0, "partner": "off", "leaked": [], "partner_url": None, "taken": 0}
esc = html.escape


def database():
    db = sqlite3.connect(DATA / "shop.db", timeout=5, isolation_level=None)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA foreign_keys = 1")
    return closing(db)


def prepare():
    for directory in ("uploads", "incoming"):
        (DATA / directory).mkdir(parents=True, exist_ok=True)
    with database() as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript((ASSETS / "schema.sql").read_text("utf-8"))
        if not db.execute("SELECT count(*) FROM product").fetchone()[0]:
            db.executescript("BEGIN IMMEDIATE;" + (ASSETS / "seed.sql").read_text("utf-8") + "COMMIT;")


def say(words, to=sys.stdout, level="INFO "):
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    to.write(f"{now} {level} {''.join(c if c.isprintable() else repr(c)[1:-1] for c in str(words))}\n")
    to.flush()


def fault(name, given):
    """Fails as asked; see the table in README.md."""
    say(f"fault asked for: {name} {given}", sys.stderr, "ERROR")
    value = lambda key, default: given.get(key) or given.get("") or default
    if name == "crash":
        os.abort()
    elif name == "panic":
        raise RuntimeError("asked to")
    elif name == "exit":
        os._exit(int(value("code", 1)))
    elif name == "hang":
        state["hang"] = True
    elif name == "leak":
        state["leaked"].append(b"\xa5" * (int(value("mb", 16)) * 1_000_000))
    elif name == "log":
        lines, size = int(value("lines", 1000)), int(given.get("bytes", 100))
        to = sys.stderr if given.get("to") == "stderr" else sys.stdout
        for n in range(1, lines + 1):
            to.write(f"noise {n} of {lines} ".ljust(size, ".") + "\n")
        to.flush()
    elif name == "partner-fail":
        state["partner"] = value("how", "refuse")
    elif name == "slow":
        state["slow"] = int(value("ms", 1000)) / 1000
    elif name == "ignore-term":
        signal.signal(signal.SIGTERM, lambda *_: say("SIGTERM ignored, as asked", sys.stderr, "ERROR"))
    elif name == "slow-start":
        time.sleep(int(value("seconds", 5)))
    else:
        raise ValueError(f"there is no fault {name}")


def page(title, body):
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,">'
            f"<title>{esc(title)} · Harbour &amp; Line</title><style>{STYLE}</style></head>"
            '<body><header><a class="brand" href="/">Harbour &amp; Line</a> <nav><a href="/">Shop</a> '
            f'<a href="/feedback">Feedback</a> <a href="/uploads">Uploads</a></nav></header>\n<main>{body}</main>'
            "<footer>Harbour &amp; Line, the Python twin.</footer></body></html>\n")


def price(cents):
    return f"€ {cents // 100}.{cents % 100:02}"


def says(where="", *values):
    with database() as db:
        rows = db.execute("SELECT f.*, p.name AS about FROM feedback f LEFT JOIN product p ON p.id = f.product "
                          f"{where} ORDER BY f.id DESC LIMIT 200", values).fetchall()
    return '<ul class="says">' + "".join(
        f'\n<li><strong>{esc(r["name"])}</strong> <span class="stars">{"★" * r["rating"]}{"☆" * (5 - r["rating"])}</span> '
        f'<span class="meta">{esc(r["about"] or "")} {esc(r["at"])}</span> <span class="badge sent" '
        f'title="{esc(r["reference"])}">sent</span><p>{esc(r["message"])}</p></li>' for r in rows) + "</ul>"


def form(product="", name="", rating="5", message="", problem=""):
    return ((f'<p class="error">{esc(problem)}</p>' if problem else "") +
            '<form method="post" action="/feedback">'
            f'<input type="hidden" name="product" value="{esc(str(product))}">'
            f'<label>Your name<input name="name" value="{esc(name)}"></label>'
            f'<label>Rating<input name="rating" type="number" min="1" max="5" value="{esc(rating)}"></label>'
            f'<label>Message<textarea name="message" rows="4" required>\n{esc(message)}</textarea></label>'
            "<button>Send</button></form>")


def accept(name):
    """The name on disk of an upload; None: refused."""
    if not name or len(name.encode()) > 200 or name[0] == "." or re.search(r"[/\\\x00-\x1f\x7f]", name):
        return None
    return re.sub(r"[^\w.,+ ()-]", "_", name)


class Shop(BaseHTTPRequestHandler):
    def log_message(self, form, *values):
        pass

    def answer(self, status, body, kind="text/html; charset=utf-8", **headers):
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(body)), "X-Content-Type-Options": "nosniff",
                           "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; "
                           "form-action 'self'", **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        say(f"{self.command} {self.path} {status} {len(body)} B {self.client_address[0]}")

    def trouble(self, status, words):
        self.answer(status, page("Trouble", f"<h1>Trouble</h1><p>{esc(words)}</p>"))

    def serve(self):
        while state["hang"]:
            time.sleep(3600)
        time.sleep(state["slow"])
        try:
            url = urllib.parse.urlsplit(self.path)
            first, _, rest = urllib.parse.unquote(url.path).lstrip("/").partition("/")
            room = getattr(self, f"{self.command.lower()}_{first or 'home'}", None)
            if room is None or (rest and first not in ("product", "uploads", "admin", "partner")):
                return self.trouble(404, "There is no such page.")
            room(rest, dict(urllib.parse.parse_qsl(url.query)))
        except Exception as error:  # costs this request, not the shop
            say(f"{self.path}: {error!r}", sys.stderr, "ERROR")
            self.trouble(500, "Something broke on our side.")

    do_GET = do_POST = serve

    def body(self, limit):
        length = int(self.headers.get("Content-Length") or 0)
        if length > limit:
            for _ in range(min(length, 10 * LIMIT) // 65536):  # so that the browser reads the answer
                self.rfile.read(65536)
            self.close_connection = True
            return None
        return self.rfile.read(length)

    def get_up(self, rest, query):
        with database() as db:
            db.execute("SELECT count(*) FROM product").fetchone()
        self.answer(200, "up\n", "text/plain; charset=utf-8")

    def get_home(self, rest, query):
        with database() as db:
            rows = db.execute("SELECT * FROM product ORDER BY id").fetchall()
        self.answer(200, page("Shop", '<h1>Things that hold</h1><ul class="grid">' + "".join(
            f'\n<li class="card"><a href="/product/{r["id"]}"><div><h3>{esc(r["name"])}</h3><p>{esc(r["summary"])}</p>'
            f'<span class="price">{price(r["price"])}</span></div></a></li>' for r in rows) + "</ul>"))

    def get_product(self, rest, query):
        with database() as db:
            row = rest.isdecimal() and db.execute("SELECT * FROM product WHERE id = ?", (int(rest[:18]),)).fetchone()
        if not row:
            return self.trouble(404, "We do not sell that.")
        self.answer(200, page(row["name"], f'<h1>{esc(row["name"])}</h1><p class="lead">{esc(row["summary"])}</p>'
                    f'<p>{esc(row["story"])}</p><p class="price">{price(row["price"])}</p><h2>What people say</h2>'
                    + says("WHERE f.product = ?", row["id"]) + "<h2>Say something</h2>" + form(row["id"])))

    def get_feedback(self, rest, query):
        self.answer(200, page("Feedback", "<h1>Feedback</h1>" + says() + "<h2>Tell us about the shop</h2>" + form()))

    def post_feedback(self, rest, query):
        typed = dict(urllib.parse.parse_qsl((self.body(1 << 20) or b"").decode(errors="replace"), keep_blank_values=True))
        typed = {key: typed.get(key, "") for key in ("product", "name", "rating", "message")}
        message, product = typed["message"].replace("\r\n", "\n").strip(), typed["product"]
        with database() as db:
            known = not product or (product.isdecimal() and db.execute(
                "SELECT 1 FROM product WHERE id = ?", (int(product[:18]),)).fetchone())
            if not known or not message or len(message) > 4000 or typed["rating"] not in tuple("12345"):
                return self.answer(422, page("Feedback", "<h1>Not quite</h1>" + form(
                    **typed, problem="A message, a rating from 1 to 5 and a product we sell, please.")))
            # The partner first, then the row; without a journal, dying in between leaves one without the other.
            try:
                request = urllib.request.Request(state["partner_url"], json.dumps(
                    {"rating": int(typed["rating"]), "message": message}).encode(),
                    {"Content-Type": "application/json", "Idempotency-Key": uuid.uuid4().hex})
                with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
                    reference = json.loads(reply.read(65536))["reference"]
            except Exception as error:  # whatever it is, nothing is kept
                say(f"feedback was not handed over: {error}", sys.stderr, "ERROR")
                return self.trouble(502, "We could not pass on what you wrote. Please try again later.")
            db.execute("INSERT INTO feedback (product, name, rating, message, reference) VALUES (?, ?, ?, ?, ?)",
                       (int(product) if product else None, typed["name"].strip()[:80] or "Somebody",
                        int(typed["rating"]), message, reference))
        self.answer(303, "", Location=f"/product/{product}#feedback" if product else "/feedback#feedback")

    def post_partner(self, rest, query):
        self.body(1 << 20)
        while state["partner"] == "silent":
            time.sleep(1)
        if state["partner"] == "refuse":
            return self.answer(403, "not from you\n", "text/plain")
        state["taken"] += 1
        self.answer(200, json.dumps({"reference": f"P-{state['taken']}"}), "application/json")

    def uploads_page(self, status=200, problem=""):
        files = [f for f in sorted((DATA / "uploads").iterdir()) if f.is_file() and not f.is_symlink()]
        self.answer(status, page("Uploads", "<h1>Uploads</h1>" + (f'<p class="error">{esc(problem)}</p>' if problem else "")
                    + "<table>" + "".join(
            f'\n<tr><td><a href="/uploads/{urllib.parse.quote(f.name, safe="")}">{esc(f.name)}</a></td>'
            f"<td>{f.stat().st_size} B</td></tr>" for f in files) + '</table><h2>Add one</h2><form method="post" '
            'action="/uploads" enctype="multipart/form-data"><input type="file" name="file" required>'
            "<button>Upload</button></form>"))

    def get_uploads(self, rest, query):
        if not rest:
            return self.uploads_page()
        path = DATA / "uploads" / rest
        if accept(rest) != rest or path.is_symlink() or not path.is_file():
            return self.trouble(404, "No such file.")
        kind = SHOWN.get(rest.rpartition(".")[2].lower(), "application/octet-stream")
        how = "attachment" if kind == "application/octet-stream" else "inline"
        self.answer(200, path.read_bytes(), kind, Content_Security_Policy="default-src 'none'; sandbox",
                    Content_Disposition=f"{how}; filename*=UTF-8''{urllib.parse.quote(rest, safe='')}")

    def post_uploads(self, rest, query):
        body = self.body(LIMIT + 65536)
        if body is None:
            return self.uploads_page(413, "Refused: the file is larger than 10 MB.")
        boundary = re.search(r'boundary="?([^";]+)', self.headers.get("Content-Type", ""))
        for part in (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode())[1:-1] if boundary else ():
            head, _, content = part.partition(b"\r\n\r\n")
            found = re.search(r'name="file";\s*filename="([^"]*)"', head.decode(errors="replace"))
            if not found:
                continue
            name = accept(found[1])
            if name is None or len(content) > LIMIT:
                return self.uploads_page(400 if name is None else 413, "Refused: the name or the size.")
            return self.keep(name, content)
        self.uploads_page(400, "Please choose a file.")

    def keep(self, name, content):
        incoming = DATA / "incoming" / f"{os.getpid()}-{threading.get_ident()}"
        with open(incoming, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        stem, dot, ending = name.rpartition(".") if "." in name else (name, "", "")
        for n in range(1, 1001):
            try:  # a hard link, unlike a rename, does not replace what is there
                os.link(incoming, DATA / "uploads" / (name if n == 1 else f"{stem}-{n}{dot}{ending}"))
                break
            except FileExistsError:
                continue
        incoming.unlink()
        self.answer(303, "", Location="/uploads")

    def post_admin(self, rest, query):
        if rest != "fault" or os.environ.get("SHOP_FAULTS") == "0":
            return self.trouble(404, "There is no such page.")
        if not self.client_address[0].startswith("127.") or self.headers.get("X-Forwarded-For"):
            return self.trouble(403, "Faults can be asked for only from this machine.")
        try:
            fault(query.pop("do", ""), query)
        except ValueError as error:
            return self.answer(400, f"{error}\n", "text/plain")
        self.answer(200, "done\n", "text/plain")


def main():
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    for item in filter(None, os.environ.get("SHOP_FAULT", "").replace(" ", "").split(",")):
        name, _, value = item.partition(":")
        fault(name, {"": value})
    prepare()
    try:
        server = ThreadingHTTPServer((HOST, int(PORT)), Shop)
    except OSError as error:
        sys.exit(f"shop: cannot listen on {HOST}:{PORT}: {error}; change SHOP_LISTEN")
    state["partner_url"] = (os.environ.get("SHOP_PARTNER_URL")
                            or f"http://127.0.0.1:{server.server_port}/partner/feedback")
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    say(f"listening on http://{HOST}:{server.server_port}")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    say("ended")
    os._exit(0)  # not waiting for requests that hang


if __name__ == "__main__":
    main()
