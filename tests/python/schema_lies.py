"""Requests made from the published description, and answers held against it, with every kind of key.

Called with the program: `python tests/python/schema_lies.py target/debug/stoppress [EXAMPLES]`. It starts a gateway on a
file of its own, with a platform, a lab, orders, a stop, a batch and an endpoint, so that what is asked for is sometimes
there, and lets schemathesis ask with the key of a platform, of a lab, of ops, and with none: right and wrong requests,
the same ones each time (the seed is fixed). An answer of 5xx, a status, a header, a type or a body that `/openapi.json`
does not have is a failure, and so is an answer to whoever shows no key. EXAMPLES is how many
requests are made up for each operation, beside those that go through each rule of the description.
"""

import concurrent.futures
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from gateway import Gateway

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
]
# Who may do little is refused alike everywhere: a few requests of each kind show it.
PHASES = {
    "platform": "examples,coverage,fuzzing",
    "ops": "examples,coverage,fuzzing",
    "lab": "examples,fuzzing",
    "nobody": "examples,fuzzing",
}
SEED = "20261121"
SETTINGS = """\
[outbound]
allow = ["127.0.0.0/8"]
[limits]
writes_per_second = 0
stops_per_second = 0
reads_per_second = 0
failed_sign_ins_per_minute = 0
link_pages_per_minute = 0
"""


def fill(gateway):
    """Something of everything. Gives the keys of the roles."""
    platform = gateway.platform("acme")
    gateway.lab(lab="nord")
    for number in range(5):
        gateway.order(platform, f"A-{number}", "nord")
    gateway.call("POST", "/v1/orders/@A-0/stop", {"reason": "test"}, platform)
    gateway.call("POST", "/v1/webhooks", {"url": "https://127.0.0.1:9/hook"}, platform)
    return {"platform": platform, "ops": gateway.ops, "lab": gateway.key("lab", "nord"), "nobody": None}


def ask(gateway, role, key, examples, folder):
    """One run of schemathesis; whether nothing was found."""
    command = [
        str(pathlib.Path(sys.executable).parent / "schemathesis"), "run", f"{gateway.url}/openapi.json",
        "--checks", ",".join(CHECKS), "--phases", PHASES[role], "--seed", SEED,
        "--generation-deterministic", "--max-examples", str(examples), "--continue-on-failure", "--no-shrink",
        "--suppress-health-check", "all", "--request-timeout", "20", "--warnings", "off", "--no-color",
        # A stream never ends by itself, and a test message waits for whoever is called.
        "--exclude-path", "/v1/events/stream", "--exclude-path", "/v1/webhooks/{webhook}/ping",
    ]
    if role == "ops":
        # A key that takes itself away would end the run.
        command += ["--exclude-path", "/v1/keys/{key}"]
    if key:
        command += ["--header", f"Authorization:Bearer {key}"]
    env = {**os.environ, "SCHEMATHESIS_HOOKS": "schema_hooks", "PYTHONPATH": str(pathlib.Path(__file__).parent)}
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env)
    tail = "\n".join(done.stdout.strip().splitlines()[-6:])
    if done.returncode != 0:
        print(done.stdout, done.stderr, sep="\n")
    print(f"{role}, {time.monotonic() - began:.0f} s: {tail}\n")
    return done.returncode == 0


def main():
    program = sys.argv[1]
    examples = int(sys.argv[2]) if len(sys.argv) > 2 else 6
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        gateway = Gateway(program, folder, SETTINGS, folder / "log")
        try:
            keys = fill(gateway)
            # Two at a time: what one role asks for is another's before and after, as it is on any day.
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                runs = {role: pool.submit(ask, gateway, role, key, examples, folder) for role, key in keys.items()}
                found = [role for role, run in runs.items() if not run.result()]
        finally:
            gateway.end()
        log = (folder / "log").read_text()
        if "ERROR" in log:
            print(log)
            found.append("the log has errors")
    if found:
        sys.exit(f"the description and the gateway differ: {', '.join(found)}")
    print("no request made the gateway fail, and every answer is as it is described")


if __name__ == "__main__":
    main()
