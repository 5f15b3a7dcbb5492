#!/usr/bin/env python3
"""A stand-in for metadata service and door, on loopback: gives a machine's identity, and judges one claim.

Prints its address, then what it has seen. Ends with 0 after a claim as docs/protocol.md describes it, else with 1.
"""

import datetime
import http.server
import json
import re
import secrets
import sys
import threading

SECONDS_MAX = 45
INSTANCE, REGION = "i-0123456789abcdef0", "eu-central-1"
KEY_ID, SESSION_TOKEN, IMDS_TOKEN = "ASIAIOSFODNN7EXAMPLE", secrets.token_hex(40), secrets.token_hex(16)
SHAPES = {
    "kind": "sts",
    "key_id": KEY_ID,
    "date": r"\d{8}T\d{6}Z",
    "session_token": SESSION_TOKEN,
    "signature": r"[0-9a-f]{64}",
}


def wrong_with(claim):
    """What a claim lacks, as texts."""
    proof = claim.get("proof") or {}
    found = [f"proof.{name}" for name, shape in SHAPES.items() if not re.fullmatch(shape, str(proof.get(name)))]
    found += [f"proof has {sorted(set(proof) - set(SHAPES))} too"] if set(proof) - set(SHAPES) else []
    if not re.fullmatch(r"[0-9a-f]{32,64}", str(claim.get("nonce"))):
        found.append("nonce")
    if not re.fullmatch(r"[0-9a-f]{64}", str(claim.get("public_key"))):
        found.append("public_key")
    return found


def metadata(address):
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=6)
    credentials = {
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccessKeyId": KEY_ID,
        "SecretAccessKey": secrets.token_hex(20),
        "Token": SESSION_TOKEN,
        "LastUpdated": "2026-01-01T00:00:00Z",
        "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return {
        "user-data": json.dumps({"door": address, "audience": address, "fleet": "image-test", "shape": "image-test"}),
        "meta-data/instance-id": INSTANCE,
        "meta-data/placement/region": REGION,
        "meta-data/autoscaling/target-lifecycle-state": "InService",
        "meta-data/iam/security-credentials/": "runner",
        "meta-data/iam/security-credentials/runner": json.dumps(credentials),
    }


class StandIn(http.server.BaseHTTPRequestHandler):
    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_PUT(self):
        told = self.path == "/latest/api/token" and self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        self.answer(200 if told else 400, IMDS_TOKEN if told else "")

    def do_GET(self):
        if self.headers.get("X-aws-ec2-metadata-token") != IMDS_TOKEN:
            return self.answer(401, "")
        found = metadata(self.server.address).get(self.path.removeprefix("/latest/"))
        self.answer(404 if found is None else 200, found or "")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/runners/claim":
            return self.answer(404, "{}")
        try:
            wrong = wrong_with(json.loads(body))
        except (ValueError, AttributeError):
            wrong = ["it is no JSON object"]
        # Not needed: the agent ends, and would end a machine.
        self.answer(410, json.dumps({"error": "not needed", "remedy": "end", "over": "not_needed"}))
        self.server.seen = wrong
        threading.Thread(target=self.server.shutdown).start()

    def log_message(self, *_):
        pass


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    server.daemon_threads = True
    server.address, server.seen = f"http://127.0.0.1:{server.server_port}", None
    print(server.address, flush=True)
    limit = threading.Timer(SECONDS_MAX, server.shutdown)
    limit.daemon = True
    limit.start()
    server.serve_forever()
    if server.seen is None:
        print(f"stand-in: no claim in {SECONDS_MAX} s")
    elif server.seen:
        print(f"stand-in: wrong in the claim: {', '.join(server.seen)}")
    else:
        print("stand-in: one claim, as docs/protocol.md describes it")
    sys.exit(server.seen != [])


if __name__ == "__main__":
    main()
