"""An example lab over HTTP, standard library only: LAB_SECRET=whsec_… python3 lab.py PORT DATABASE SECONDS"""
import base64, datetime, hashlib, hmac, http.server, json, os, sqlite3, sys, threading, time

port, path, prints_after = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
secret = base64.b64decode(os.environ["LAB_SECRET"].strip()[len("whsec_"):])
lock = threading.Lock()  # one writer; what it decides is on disk before it is answered
db = sqlite3.connect(path, check_same_thread=False)
db.executescript("""PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS uploads (key TEXT PRIMARY KEY, sha256 TEXT, reference TEXT);
    CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, document TEXT, due REAL, stage TEXT);""")
def signed(headers, body):
    sent, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    mac = hmac.new(secret, f"{sent}.{at}.".encode() + body, hashlib.sha256).digest()
    good = b"v1," + base64.b64encode(mac)
    fits = any([hmac.compare_digest(good, one.encode()) for one in headers.get("webhook-signature", "").split()])
    recent = at.isdigit() and abs(time.time() - int(at)) <= 300
    return fits and recent and headers.get("idempotency-key", sent) == sent
def submit(headers, body):
    key, sha256 = headers.get("idempotency-key"), hashlib.sha256(body).hexdigest()
    if not key or headers.get("stoppress-manifest-sha256", sha256) != sha256:
        return 422, {"detail": "a key is needed, and a body that has its hash"}
    try:
        orders = [(order["id"], json.dumps(order)) for order in json.loads(body)["orders"]]
        until = datetime.datetime.fromisoformat(headers["stoppress-not-after"][:19] + "+00:00").timestamp()
    except (ValueError, KeyError, TypeError) as error:
        return 422, {"detail": f"not an upload: {error!r}"}
    known = db.execute("SELECT sha256, reference FROM uploads WHERE key = ?", (key,)).fetchone()
    if known:  # what is here is here, however often and however late it comes
        return (200, {"lab_reference": known[1]}) if known[0] == sha256 else (422, {"detail": "other bytes, same key"})
    if time.time() > until:
        return 412, {"detail": "too late"}
    db.execute("INSERT INTO uploads VALUES (?, ?, ?)", (key, sha256, "PY-" + sha256[:8]))
    rows = [(*order, time.time() + prints_after, "received") for order in orders]
    db.executemany("INSERT OR IGNORE INTO orders VALUES (?, ?, ?, ?)", rows)  # one order, one row: printed once
    return 200, {"lab_reference": "PY-" + sha256[:8]}
def answer(method, parts, headers, body):
    db.execute("UPDATE orders SET stage = 'printed' WHERE stage = 'received' AND due <= ?", (time.time(),))
    row = db.execute("SELECT stage FROM orders WHERE id = ?", (parts[1],)).fetchone() if parts[1:] else None
    if not signed(headers, body):
        return 401, {"detail": "the signature does not fit"}
    if (method, parts) in (("GET", []), ("POST", ["orders"])):
        return submit(headers, body) if parts else (200, {"name": "Python lab", "contract": "stoppress/1"})
    if not row or parts[0] != "orders" or (method, parts[2:]) not in (("GET", []), ("POST", ["stop"])):
        return 404, {"detail": "no such order"}
    if method == "GET":
        return 200, {"stage": row[0], "prints": 0 if row[0] == "removed" else 1}
    db.execute("UPDATE orders SET stage = 'removed' WHERE id = ? AND stage = 'received'", (parts[1],))
    return 200, {"answer": "will_print", "stage": row[0]} if row[0] == "printed" else {"answer": "removed"}
class Lab(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        with lock, db:  # a transaction, durable when the block ends
            status, said = answer(self.command, [part for part in self.path.split("/") if part], self.headers, body)
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())
    do_POST = do_GET
http.server.ThreadingHTTPServer.request_queue_size = 128  # the gateway calls in parallel
http.server.ThreadingHTTPServer(("127.0.0.1", port), Lab).serve_forever()
