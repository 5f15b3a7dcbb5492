"""What functions are called with, and what they find around them.

What lives here: events as AWS sends them, as far as Muster reads them. What may not: who answers.
"""

import datetime
import functools
import time

from agent import prove
from serving import POOL, World, signed
from stack import REGION

STRANGER = "i-0123456789abcdef0"
# Proofs are good for 60 s and for once, and their dates have whole seconds.
PROOFS = 50


def variables_of(function, tap):
    """What the stack gives a function, with its calls through the tap."""
    client = World.emulator.client("lambda")
    configured = client.get_function_configuration(FunctionName=f"muster-acme-{function}")
    return configured["Environment"]["Variables"] | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": tap.url,
        "MUSTER_LOG": "warn",
    }


def webhook(job):
    """A signed delivery about a job of its own, of labels that the configuration serves."""
    return request("/webhook", *signed(job, [POOL]))


@functools.cache
def stranger():
    """The agent of a machine that nobody has launched, with credentials of the fleet's instance role."""
    return World().agent(STRANGER)


def claim(number):
    """A claim of such a machine: its proof is good, and so STS is asked; the fleet does not know it."""
    agent, said = stranger(), []
    agent.post = lambda path, body, headers: said.append((path, body, headers)) or (425, {}, b"")
    at = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=number % PROOFS)
    agent.claim(proof=prove(agent.credentials, agent.audience, agent.region, at=at))
    [one] = said
    return request(*one)


def heal(_):
    """The constant event of the healer's rule."""
    return {"muster": "heal"}


def request(path, body, headers):
    """An event of the HTTP API."""
    return {
        "version": "2.0",
        "routeKey": f"POST {path}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {name.lower(): value for name, value in headers.items()},
        "requestContext": {
            "accountId": "123456789012", "apiId": "bench", "domainName": "bench.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "bench", "requestId": "bench", "routeKey": f"POST {path}", "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": int(time.time() * 1000),
            "http": {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "bench"},
        },
        "body": body.decode(),
        "isBase64Encoded": False,
    }


def bell(number):
    """An event of a queue: one bell."""
    return {"Records": [{
        "messageId": str(number), "receiptHandle": "r", "body": "look", "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {}, "md5OfBody": "", "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:bell.fifo", "awsRegion": "us-east-1",
    }]}
