"""A tap on the wire to AWS: it passes each call on to an emulator, and remembers what it was and how long it took.

What lives here: the passing on and the counting. What may not: an answer of its own.

Invariant: a call that comes out was passed on once, as it came. What it costs to pass on counts as the emulators' time.
"""

import collections
import contextlib
import http.client
import http.server
import re
import threading
import time
import urllib.parse

SCOPE = re.compile(rb"Credential=[^/]+/\d{8}/[^/]+/([^/]+)/")
HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
PATIENCE_SECONDS = 60


class Server(http.server.ThreadingHTTPServer):
    """A server of loopback whose clients may go away at any time."""

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_):
        pass


class Tap:
    """Listens on a free port of loopback. `at(service)` gives the emulator of a service, as an address."""

    def __init__(self, at):
        self.at = at
        self.calls = []
        self.lock = threading.Lock()
        tap = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self):
                super().setup()
                self.upstreams = {}

            def finish(self):
                for upstream in self.upstreams.values():
                    upstream.close()
                super().finish()

            def pass_on(self):
                began = time.monotonic()
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                service, action = names(self, body)
                address = urllib.parse.urlsplit(tap.at(service)).netloc
                headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
                answer, told = self.ask(address, body, headers)
                # Before it goes out: whoever has the answer can count the call.
                with tap.lock:
                    tap.calls.append((began, time.monotonic(), service, action, answer.status))
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(told)

            def ask(self, address, body, headers):
                """One request over a connection that is kept; over a new one if the kept one was closed meanwhile."""
                for fresh in (False, True):
                    upstream = self.upstreams.get(address)
                    if upstream is None or fresh:
                        upstream = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
                        self.upstreams[address] = upstream
                        fresh = True
                    try:
                        upstream.request(self.command, self.path, body, headers)
                        answer = upstream.getresponse()
                        return answer, answer.read()
                    except (http.client.RemoteDisconnected, ConnectionError):
                        upstream.close()
                        self.upstreams.pop(address)
                        if fresh:
                            raise

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = pass_on

            def log_message(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def take(self):
        """The calls so far, which are forgotten."""
        with self.lock:
            calls, self.calls = self.calls, []
        return calls


def names(request, body):
    """Service and action of a call. S3 has no actions: there it is the method."""
    scope = SCOPE.search((request.headers.get("Authorization") or "").encode())
    service = scope.group(1).decode() if scope else "unsigned"
    if target := request.headers.get("X-Amz-Target"):
        return service, target.rpartition(".")[2]
    fields = urllib.parse.parse_qs((urllib.parse.urlsplit(request.path).query.encode() + b"&" + body[:4096]).decode("latin-1"))
    with contextlib.suppress(KeyError):
        return service, fields["Action"][0]
    return service, f"{request.command.title()}Object" if service == "s3" else request.command


def counted(calls):
    """How many of each, as `service:Action`."""
    return collections.Counter(f"{service}:{action}" for _, _, service, action, _ in calls)


def waited(calls, since=float("-inf"), until=float("inf")):
    """Seconds between two instants in which at least one call was under way."""
    total, end = 0.0, since
    for began, ended, *_ in sorted(calls):
        began, ended = max(began, end), min(ended, until)
        if ended > began:
            total += ended - began
            end = ended
    return total
