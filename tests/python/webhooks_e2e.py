"""A platform in Python that is told what happens, with the official `standardwebhooks` library.

Called with the program: `python tests/python/webhooks_e2e.py target/debug/stoppress`. It starts a gateway, makes an
endpoint, submits orders and stops one, and verifies every message as the library's documentation says. It then rotates
the secret, and verifies with the old and with the new one.
"""

import http.server
import sys
import tempfile
import threading
import time

from gateway import Gateway

try:
    from standardwebhooks.webhooks import Webhook, WebhookVerificationError
except ImportError:
    sys.exit("standardwebhooks is missing: python -m pip install --requirement tests/python/requirements.txt")

CONFIG = '[outbound]\nallow = ["127.0.0.0/8"]\n'


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what it gets, and takes all of it."""

    got = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def waits_for(count):
    for _ in range(600):
        if len(Receiver.got) >= count:
            return
        time.sleep(0.05)
    sys.exit(f"{len(Receiver.got)} of {count} messages came")


def main(program):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(program, folder, CONFIG)
        try:
            shop = gateway.platform()
            gateway.lab()
            url = f"http://127.0.0.1:{server.server_port}/hooks"
            made = gateway.call("POST", "/v1/webhooks", {"url": url, "events": ["order.*", "stop.*"]}, shop)
            orders = [gateway.order(shop, f"A-{nth}")["id"] for nth in range(5)]
            stop = gateway.call("POST", f"/v1/orders/{orders[0]}/stop", {"asked_by": "merchant"}, shop)
            assert stop["stop"]["state"] == "stopped", stop
            waits_for(6)
            first = Webhook(made["secret"])
            told = [first.verify(body, headers) for headers, body in Receiver.got]
            kinds = sorted(one["type"] for one in told)
            assert kinds == ["order.admitted"] * 5 + ["stop.stopped"], kinds
            stopped = next(one for one in told if one["type"] == "stop.stopped")
            assert stopped["data"]["order"] == orders[0] and stopped["data"]["state"] == "stopped", stopped
            rotated = gateway.call("POST", f"/v1/webhooks/{made['id']}/rotate-secret", {}, shop)
            gateway.order(shop, "B-1")
            waits_for(7)
            headers, body = Receiver.got[6]
            for secret in (made["secret"], rotated["secret"]):
                assert Webhook(secret).verify(body, headers)["data"]["reference"] == "B-1"
            try:
                first.verify(body.replace(b"B-1", b"B-2"), headers)
                sys.exit("what was changed on the way was taken")
            except WebhookVerificationError:
                pass
        finally:
            gateway.end()
    print(f"{len(Receiver.got)} messages verified")


main(sys.argv[1])
