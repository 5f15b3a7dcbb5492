"""An agent that does by hand what `docs/protocol.md` says: proves who it is, claims, opens what is sealed, reports.

What lives here: the protocol, written from its page and not from Muster's code. What may not: a runner.
"""

import base64
import datetime
import hashlib
import hmac
import json
import secrets
import urllib.parse

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

# RFC 9180, sections 4.1, 5.1 and 7: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode.
KEM = b"KEM" + (0x0020).to_bytes(2, "big")
SUITE = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (0x0020, 0x0001, 0x0003))
ENC_BYTES = 32


UNSEALED = []
"""All that was unsealed so far: sessions and runner configurations, which nobody may tell."""


def extract(suite, salt, label, secret):
    return hmac.new(salt or bytes(32), b"HPKE-v1" + suite + label + secret, hashlib.sha256).digest()


def expand(suite, key, label, info, length):
    info = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    made, block, number = b"", b"", 1
    while len(made) < length:
        block = hmac.new(key, block + info + bytes([number]), hashlib.sha256).digest()
        made, number = made + block, number + 1
    return made[:length]


def raw(public):
    return public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def unseal(key, sealed, info):
    """The text of `enc || ciphertext`, in base64."""
    sealed = base64.b64decode(sealed, validate=True)
    enc, ciphertext = sealed[:ENC_BYTES], sealed[ENC_BYTES:]
    shared = key.exchange(X25519PublicKey.from_public_bytes(enc))
    context = enc + raw(key.public_key())
    secret = expand(KEM, extract(KEM, b"", b"eae_prk", shared), b"shared_secret", context, 32)
    schedule = b"\x00" + extract(SUITE, b"", b"psk_id_hash", b"") + extract(SUITE, b"", b"info_hash", info.encode())
    secret = extract(SUITE, secret, b"secret", b"")
    cipher_key = expand(SUITE, secret, b"key", schedule, 32)
    nonce = expand(SUITE, secret, b"base_nonce", schedule, 12)
    text = ChaCha20Poly1305(cipher_key).decrypt(nonce, ciphertext, b"")
    UNSEALED.append(text.decode())
    return text


def quote(text):
    return urllib.parse.quote(text, safe="-_.~")


def prove(credentials, audience, region, at=None):
    """The proof that is signed with an instance's credentials."""
    at = at or datetime.datetime.now(datetime.timezone.utc)
    date = at.strftime("%Y%m%dT%H%M%SZ")
    day = date[:8]
    scope = f"{day}/{region}/sts/aws4_request"
    parameters = {
        "Action": "GetCallerIdentity",
        "Version": "2011-06-15",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{credentials['AccessKeyId']}/{scope}",
        "X-Amz-Date": date,
        "X-Amz-Expires": "60",
        "X-Amz-Security-Token": credentials["SessionToken"],
        "X-Amz-SignedHeaders": "host;x-muster-audience",
    }
    query = "&".join(f"{quote(name)}={quote(value)}" for name, value in sorted(parameters.items()))
    headers = f"host:sts.{region}.amazonaws.com\nx-muster-audience:{audience}\n"
    empty = hashlib.sha256(b"").hexdigest()
    request = f"GET\n/\n{query}\n{headers}\nhost;x-muster-audience\n{empty}"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = ("AWS4" + credentials["SecretAccessKey"]).encode()
    for part in (day, region, "sts", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return {
        "kind": "sts",
        "key_id": credentials["AccessKeyId"],
        "date": date,
        "session_token": credentials["SessionToken"],
        "signature": hmac.new(key, text.encode(), hashlib.sha256).hexdigest(),
    }


class Agent:
    """One instance's agent. `post(path, body)` reaches the door and gives status, headers and body."""

    def __init__(self, post, instance, credentials, audience, region):
        self.post, self.instance, self.credentials = post, instance, credentials
        self.audience, self.region = audience, region
        self.key = X25519PrivateKey.generate()
        self.nonce = secrets.token_hex(16)
        self.session = self.token = self.config = None
        self.seen_order = 0
        self.orders = []

    def say(self, path, body):
        status, _, answer = self.post(path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        return status, json.loads(answer or b"{}")

    def claim(self, wait_s=0, **fields):
        """Claims once; gives status and answer, and keeps what was sealed for us."""
        claim = {
            "proof": prove(self.credentials, self.audience, self.region),
            "nonce": self.nonce,
            "public_key": raw(self.key.public_key()).hex(),
            "wait_s": wait_s,
            "agent": "scripted",
            **fields,
        }
        status, answer = self.say("/runners/claim", claim)
        if status == 200:
            self.session = answer["session"]
            self.token = self.open(answer["sealed_session"], "session").decode()
            self.take(answer)
        return status, answer

    def prewarmed(self, shape):
        """Says that the machine, on its way into a standby stock, is warm."""
        return self.say(
            "/runners/prewarmed", {"proof": prove(self.credentials, self.audience, self.region), "shape": shape}
        )

    def open(self, sealed, purpose):
        return unseal(self.key, sealed, f"muster/1 {purpose} {self.instance} {self.session}")

    def take(self, answer):
        if answer.get("sealed_config"):
            self.config = self.open(answer["sealed_config"], "runner-config")
        if order := answer.get("order"):
            self.seen_order = max(self.seen_order, order["seq"])
            self.orders.append(order)

    def report(self, state, wait_s=0, **fields):
        said = {"instance": self.instance, "session": self.session, "token": self.token, "state": state}
        said |= {"wait_s": wait_s, "seen_order": self.seen_order, **fields}
        status, answer = self.say("/runners/report", said)
        if status == 200:
            self.take(answer)
        return status, answer
