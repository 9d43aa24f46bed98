"""What schemathesis has to know of the gateway: read by it, named in `SCHEMATHESIS_HOOKS`; see schema_lies.py."""

import json

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    """A long poll is an answer that comes late, not another one."""
    if isinstance(case.query, dict):
        case.query.pop("wait", None)


@schemathesis.serializer("application/x-ndjson")
def ndjson(context, value):
    """Lines of JSON; what is no list is one line."""
    lines = value if isinstance(value, list) else [value]
    return "\n".join(json.dumps(line) for line in lines).encode()
