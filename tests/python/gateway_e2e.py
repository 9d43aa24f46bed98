"""A platform in Python, against a gateway that runs, from the published protocol alone.

Called with the program: `python tests/python/gateway_e2e.py target/debug/stoppress`. It generates the client
from `proto/` into a folder of its own, starts a gateway, and goes through what a platform does: submit, many at
once, verdict, stop, watch, and be refused. It also runs the Python example of README.md as it is written there.
"""

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

from gateway import Gateway

ROOT = pathlib.Path(__file__).resolve().parents[2]


def generate(folder):
    """Generates the client, and makes it importable."""
    protos = ["stoppress/v1/gateway.proto", "stoppress/v1/lab.proto"]
    out = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", *out, *protos], check=True)
    sys.path.insert(0, str(folder))


def main(program):
    folder = tempfile.TemporaryDirectory()
    generate(folder.name)
    import grpc
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status
    from stoppress.v1 import gateway_pb2 as pb
    from stoppress.v1 import gateway_pb2_grpc, lab_pb2

    gateway = Gateway(program, folder.name)
    key = gateway.platform()
    gateway.lab()
    channel = grpc.insecure_channel(gateway.url.removeprefix("http://"))
    stub = gateway_pb2_grpc.GatewayServiceStub(channel)
    shop = [("authorization", f"Bearer {key}")]

    def submission(reference, **more):
        return pb.Submission(
            reference=reference, lab="nordprint",
            ship_to=lab_pb2.Address(name="Aino", line1="Katu 1", city="Helsinki", country="FI"),
            items=[lab_pb2.Item(id="1", sku="print-10x15", quantity=2, personalised=True)], **more)

    def refused(code, reason, call):
        """The details of a refusal, by kind."""
        try:
            call()
        except grpc.RpcError as error:
            assert error.code() == code, error
            details = {}
            for packed in rpc_status.from_call(error).details:
                for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
                    if packed.Is(kind.DESCRIPTOR):
                        details[kind.__name__] = kind.FromString(packed.value)
            info = details["ErrorInfo"]
            assert (info.reason, info.domain) == (reason, "stoppress"), info
            return details
        raise AssertionError(f"not refused: {reason}")

    # It serves, and says so to everybody.
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    assert check(b"", timeout=20) == b"\x08\x01"

    # Submit; the same reference is the same order.
    order = pb.GatewayServiceSubmitOrderRequest(order=submission("P-1", metadata={"b": "2", "a": "1"}))
    keyed = [*shop, ("idempotency-key", "p-1")]
    first, call = stub.SubmitOrder.with_call(order, metadata=keyed, timeout=20)
    assert first.created and first.order.state == pb.ORDER_STATE_IN_BATCH
    again, call = stub.SubmitOrder.with_call(order, metadata=keyed, timeout=20)
    assert again == first and ("idempotency-replayed", "true") in call.initial_metadata()
    once_more = stub.SubmitOrder(order, metadata=shop, timeout=20)
    assert not once_more.created and once_more.order.id == first.order.id
    other = pb.GatewayServiceSubmitOrderRequest(order=submission("P-2"))
    refused(grpc.StatusCode.INVALID_ARGUMENT, "idempotency_key_reused",
            lambda: stub.SubmitOrder(other, metadata=keyed, timeout=20))
    changed = pb.GatewayServiceSubmitOrderRequest(order=submission("P-1"))
    details = refused(grpc.StatusCode.ALREADY_EXISTS, "reference_taken",
                      lambda: stub.SubmitOrder(changed, metadata=shop, timeout=20))
    assert details["ErrorInfo"].metadata["order"] == first.order.id

    # Many at once: the bad one is named, the others are admitted, in order.
    def many():
        for nth in range(1, 1001):
            request = pb.GatewayServiceSubmitOrdersRequest(order=submission(f"M-{nth}"))
            if nth == 500:
                request.order.items[0].quantity = 0
            yield request
    results = list(stub.SubmitOrders(many(), metadata=shop, timeout=120))
    assert [result.line for result in results] == list(range(1, 1001))
    bad = [result for result in results if result.WhichOneof("outcome") == "problem"]
    assert [result.reference for result in bad] == ["M-500"]
    assert bad[0].problem.faults[0].field == "order.items[0].quantity"
    assert all(result.admitted.created for result in results if result.line != 500)

    # Verdict and stop.
    ask = pb.GatewayServiceGetVerdictRequest(order="@P-1")
    verdict = stub.GetVerdict(ask, metadata=shop, timeout=20).verdict
    assert verdict.can_stop == pb.CAN_STOP_YES and verdict.until == first.order.window.closes_at
    stop = pb.GatewayServiceRequestStopRequest(order="@P-1", reason="wrong size", asked_by=pb.ASKED_BY_MERCHANT)
    answer = stub.RequestStop(stop, metadata=shop, timeout=20)
    assert (answer.stop.state, answer.stop.evidence) == (pb.STOP_STATE_STOPPED, pb.EVIDENCE_NEVER_HANDED)
    read = stub.GetOrder(pb.GatewayServiceGetOrderRequest(order=first.order.id), metadata=shop, timeout=20).order
    assert read.state == pb.ORDER_STATE_STOPPED and read.stop == answer.stop and not read.reports
    stood = stub.GetStop(pb.GatewayServiceGetStopRequest(order="@P-1"), metadata=shop, timeout=20)
    assert stood.stop == answer.stop and not stood.contradictions
    assert dict(read.submission.metadata) == {"a": "1", "b": "2"}

    # Events: resumed without gap or doubling.
    def watched(after, count):
        request = pb.GatewayServiceWatchEventsRequest(after=after)
        seen = []
        for message in (watch := stub.WatchEvents(request, metadata=shop, timeout=60)):
            if message.HasField("event"):
                seen.append(message.event)
            if len(seen) == count:
                watch.cancel()
                return seen
        raise AssertionError("the watch ended")
    events = watched(0, 1001)
    assert [event.kind for event in events] == ["order.admitted"] * 1000 + ["stop.stopped"]
    assert events[-1].orders == [first.order.id] and isinstance(json.loads(events[-1].detail), dict)
    assert watched(events[600].seq, 400) == events[601:]

    # Cutoffs: told once, and not again to whoever knows them.
    request = pb.GatewayServiceWatchCutoffsRequest(count=2)
    watch = stub.WatchCutoffs(request, metadata=shop, timeout=60)
    told = next(watch)
    watch.cancel()
    assert (told.lab, told.region, len(told.next)) == ("nordprint", "fi", 2)
    assert told.next[0].closes_at == first.order.window.closes_at
    request.resume.append(told.resume)
    watch = stub.WatchCutoffs(request, metadata=shop, timeout=60)
    news = []
    reader = threading.Thread(target=lambda: news.append(next(watch)))
    reader.start()
    reader.join(1.5)
    assert reader.is_alive(), "nothing is new"
    gateway.lab(["03:00", "24:00"], zone="Europe/Helsinki")
    reader.join(20)
    watch.cancel()
    assert news and news[0].next != told.next and news[0].resume != told.resume

    # A window that ops postpone is told as one that was moved.
    window = first.order.window
    until = window.closes_at.ToDatetime() + datetime.timedelta(hours=1)
    watch = stub.WatchCutoffs(pb.GatewayServiceWatchCutoffsRequest(labs=["nordprint"]), metadata=shop, timeout=60)
    next(watch)
    gateway.call("POST", f"/v1/batches/{window.batch}/postpone",
                 {"until": until.isoformat() + "Z", "reason": "the press is down"})
    told = (moved for message in watch for moved in message.moved if moved.batch == window.batch)
    assert next(moved for moved in told if moved.closes_at != window.closes_at).closes_at.ToDatetime() == until
    watch.cancel()

    # Refusals, with details.
    get = pb.GatewayServiceGetOrderRequest(order=first.order.id)
    nobody = [("authorization", "Bearer sp_aaaaaaaaaaaa_00")]
    refused(grpc.StatusCode.UNAUTHENTICATED, "unauthenticated",
            lambda: stub.GetOrder(get, metadata=nobody, timeout=20))
    refused(grpc.StatusCode.UNAUTHENTICATED, "unauthenticated", lambda: stub.GetOrder(get, timeout=20))
    rival = [("authorization", f"Bearer {gateway.platform('rival')}")]
    refused(grpc.StatusCode.NOT_FOUND, "not_found", lambda: stub.GetOrder(get, metadata=rival, timeout=20))
    bad = pb.GatewayServiceSubmitOrderRequest(order=submission("P-3", region="nowhere"))
    bad.order.items[0].sku = ""
    bad.order.ship_to.country = "fi"
    details = refused(grpc.StatusCode.INVALID_ARGUMENT, "invalid",
                      lambda: stub.SubmitOrder(bad, metadata=shop, timeout=20))
    fields = [violation.field for violation in details["BadRequest"].field_violations]
    assert "order.region" in fields, fields

    def stops():
        for _ in range(400):
            stub.RequestStop(stop, metadata=shop, timeout=20)
    details = refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "rate_limited", stops)
    assert details["RetryInfo"].retry_delay.seconds >= 1

    # The example of the README, word for word.
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S).group(1)
    environment = {**os.environ, "PYTHONPATH": folder.name, "SHOP": key,
                   "STOPPRESS_SERVER": gateway.url}
    shown = subprocess.run([sys.executable, "-c", example], env=environment, check=True, text=True,
                           stdout=subprocess.PIPE, timeout=60)
    print(shown.stdout, end="")
    assert "order.admitted" in shown.stdout, shown.stdout

    # The end of the gateway ends a watch with a clear word.
    watch = stub.WatchEvents(pb.GatewayServiceWatchEventsRequest(from_now=True), metadata=shop, timeout=60)
    assert next(watch).cursor > 0
    ending = threading.Thread(target=gateway.end)
    ending.start()
    refused(grpc.StatusCode.UNAVAILABLE, "unavailable", lambda: next(watch))
    ending.join()
    print("the gateway keeps the published protocol")


if __name__ == "__main__":
    main(sys.argv[1])
