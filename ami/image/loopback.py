"""A server on loopback for the tests: answers what a table says, and remembers what it was asked."""

import contextlib
import http.server
import threading


@contextlib.contextmanager
def serving(answers):
    """`answers`: "METHOD /path" to (status, headers, body), or to a function of the request's body that returns these.

    Yields the address, and the list of requests as (method and path, headers, body). What is not in the table is 404.
    """
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            line = f"{self.command} {self.path}"
            asked.append((line, dict(self.headers.items()), body))
            found = answers.get(line, (404, {}, b""))
            status, headers, content = found(body) if callable(found) else found
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = answer

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
