"""What functions are called with, and what they find around them.

What lives here: events as AWS sends them, as far as Muster reads them. What may not: who answers.
"""

import time

from serving import POOL, World, signed
from stack import REGION


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
    """An event of the HTTP API: a signed delivery about a job of its own, of labels that the configuration serves."""
    body, headers = signed(job, [POOL])
    return {
        "version": "2.0",
        "routeKey": "POST /webhook",
        "rawPath": "/webhook",
        "rawQueryString": "",
        "headers": {name.lower(): value for name, value in headers.items()},
        "requestContext": {
            "accountId": "123456789012", "apiId": "bench", "domainName": "bench.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "bench", "requestId": str(job), "routeKey": "POST /webhook", "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": int(time.time() * 1000),
            "http": {"method": "POST", "path": "/webhook", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "bench"},
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
