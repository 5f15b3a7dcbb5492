"""A Lambda runtime API for one function: the part that a bootstrap speaks to, on loopback.

What lives here: the three requests of the runtime API, and when they came. What may not: freezing, limits, or anything
else of Lambda's that would make a figure look like one of AWS.
"""

import http.server
import json
import pathlib
import queue
import subprocess
import threading
import time

from wiretap import Server

PATIENCE_SECONDS = 40
DEADLINE_SECONDS = 30


class Failed(Exception):
    """The function said that it failed, or ended."""


class Runtime:
    """Starts a bootstrap and hands it events. What it logs goes to `log`, its metric lines to `lines`."""

    def __init__(self, bootstrap, name, variables, log, lines=subprocess.DEVNULL):
        self.polls, self.events, self.answers = queue.Queue(), queue.Queue(), queue.Queue()
        runtime = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                runtime.polls.put(time.monotonic())
                event = runtime.events.get()
                if event is None:
                    self.close_connection = True
                    return
                body = json.dumps(event).encode()
                self.send_response_only(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
                self.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + DEADLINE_SECONDS) * 1000)))
                arn = f"arn:aws:lambda:us-east-1:123456789012:function:{name}"
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", arn)
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                at = time.monotonic()
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or chunks(self)
                runtime.answers.put((at, self.path, body))
                self.send_response_only(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        environment = {
            "PATH": "/usr/bin:/bin",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.server.server_address[1]}",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": "bench",
            **variables,
        }
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [bootstrap], env=environment, stdin=subprocess.DEVNULL, stdout=lines, stderr=log
        )

    def polled(self):
        """Waits until it asks for an event; gives when it did."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            try:
                return self.polls.get(timeout=0.2)
            except queue.Empty:
                if self.process.poll() is not None:
                    raise Failed(f"it ended with {self.process.returncode}") from None
        raise Failed("it did not ask for an event")

    def call(self, event):
        """Hands it an event, after it has asked for one; gives when the answer came, and the answer."""
        self.events.put(event)
        try:
            at, path, body = self.answers.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            raise Failed("it did not answer") from None
        if not path.endswith("/response"):
            raise Failed(f"{path}: {body[:500]!r}")
        return at, body

    def memory(self):
        """The most memory that it had resident, in bytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.events.put(None)
        self.server.shutdown()
        self.server.server_close()


def chunks(request):
    """A body in chunks, as the runtime client may send one."""
    if (request.headers.get("Transfer-Encoding") or "").lower() != "chunked":
        return b""
    body = b""
    while size := int(request.rfile.readline().split(b";")[0], 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return body
