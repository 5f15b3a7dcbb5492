"""Signed, distinct deliveries for door-load: one recorded payload, made the example fleet's own, with a job id each.

    deliveries.py PAYLOAD FOLDER COUNT

Writes FOLDER/head and FOLDER/tail, the body before and after the job's id, and FOLDER/signed: id and signature, a line each.
"""

import hashlib
import hmac
import json
import os
import sys

payload, folder, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
secret = os.environ["MUSTER_WEBHOOK_SECRET"].encode()

with open(payload, encoding="utf-8") as file:
    body = json.load(file)
body["repository"].update(full_name="acme/api", name="api", private=True)
body["repository"]["owner"]["login"] = "acme"
if "organization" in body:
    body["organization"]["login"] = "acme"
body["workflow_job"].update(id=9_000_000_000_000, labels=["self-hosted", "linux", "x64", "cpu-2", "spot"])
head, tail = json.dumps(body, separators=(",", ":")).encode().split(b"9000000000000")

for name, part in (("head", head), ("tail", tail)):
    with open(os.path.join(folder, name), "wb") as file:
        file.write(part)

signer = hmac.new(secret, head, hashlib.sha256)
with open(os.path.join(folder, "signed"), "w", encoding="ascii") as file:
    for number in range(9_000_000_000_000, 9_000_000_000_000 + count):
        one = signer.copy()
        one.update(str(number).encode() + tail)
        file.write(f"{number} {one.hexdigest()}\n")
print(f"{count} signed deliveries of {len(head) + 13 + len(tail)} bytes")
