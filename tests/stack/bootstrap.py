"""A stand-in for a function's `bootstrap`, for tests of the stack without our binaries.

It speaks the Lambda runtime API, writes each event that it gets as one line, and answers. What it may not do: anything
that a test could mistake for Muster.

Invariant: it needs nothing but Python's standard library, and makes no call but to the runtime API.
"""

import json
import os
import urllib.request

API = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def answer(event):
    if not isinstance(event, dict):
        return None
    if event.get("stand-in") == "credentials":
        # So that a test can find out what this function's role may do.
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        return {name: os.environ.get(name, "") for name in names}
    if event.get("stand-in") == "environment":
        return dict(os.environ)
    if "requestContext" in event:
        return {"statusCode": 202, "headers": {"content-type": "application/json"}, "body": '{"stand-in":true}'}
    return None


while True:
    with direct.open(API + "next", timeout=None) as taken:
        request = taken.headers["Lambda-Runtime-Aws-Request-Id"]
        event = json.loads(taken.read())
    own = {name: value for name, value in os.environ.items() if name.startswith("MUSTER_")}
    print(json.dumps({"stand_in": os.environ.get("AWS_LAMBDA_FUNCTION_NAME"), "environment": own, "event": event}), flush=True)
    body = json.dumps(answer(event)).encode()
    direct.open(urllib.request.Request(API + request + "/response", data=body, method="POST"), timeout=10).close()
