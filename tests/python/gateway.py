"""A gateway that runs for a test: the program as a process, on a file of its own, with what a test needs in it."""

import datetime
import json
import os
import pathlib
import re
import signal
import subprocess
import urllib.request

# No cutoff at midnight may come while a test runs.
ZONE = ("America/New_York" if datetime.datetime.now(datetime.timezone.utc).hour in (20, 21, 22)
        else "Europe/Helsinki")


class Gateway:
    """A gateway in a folder. `ops` is its first key; `log` is where it writes its log, if it is to be read."""

    def __init__(self, program, folder, settings="", log=None):
        folder = pathlib.Path(folder)
        (folder / "stoppress.toml").write_text(settings)
        self.log = None if log is None else open(log, "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [str(pathlib.Path(program).resolve()), "serve", "--listen", "127.0.0.1:0",
             "--database", f"sqlite:{folder}/gateway.db"],
            stdout=subprocess.PIPE, stderr=self.log, text=True, cwd=folder,
            env={**os.environ, "STOPPRESS_LOG": "warn"})
        self.url = re.search(r"http://\S+", self.process.stdout.readline()).group(0)
        self.ops = next(line.strip() for line in self.process.stdout if line.strip().startswith("sp_"))

    def call(self, method, path, body=None, key=None):
        """One call of the API, with the first key unless told; its answer."""
        request = urllib.request.Request(
            self.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {key or self.ops}", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def key(self, scope, owner):
        """A new key."""
        return self.call("POST", "/v1/keys", {"scope": scope, "owner": owner, "name": "test"})["secret"]

    def platform(self, platform="shop"):
        """A platform, and a key of it."""
        self.call("PUT", f"/v1/platforms/{platform}", {"id": platform, "name": "Photo shop"})
        return self.key("platform", platform)

    def lab(self, times=("24:00",), lab="nordprint", zone=ZONE):
        """A lab whose people answer, with these cutoffs; or another calendar for it."""
        self.call("PUT", f"/v1/labs/{lab}", {
            "id": lab, "name": lab.title(), "driver": {"kind": "person"}, "profile": {"stops": "yes"},
            "regions": [{"id": "fi", "calendar": {"time_zone": zone, "cutoffs": list(times)}}]})

    def order(self, key, reference, lab="nordprint"):
        """Submits an order, with the key of its platform; what is told of it."""
        item = {"id": "1", "sku": "print", "quantity": 1}
        to = {"name": "n", "line1": "l", "city": "c", "country": "FI"}
        order = {"reference": reference, "lab": lab, "ship_to": to, "items": [item]}
        return self.call("POST", "/v1/orders", order, key)

    def end(self):
        """Ends it as an operator does."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0, "it ends by itself"
        if self.log:
            self.log.close()
