"""Serves the emulated AWS on loopback: `python3 serve.py --port N`.

It says one line when it is ready, and ends when its standard input closes or on SIGTERM.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import threading

# moto's own instances need no addresses of real AMIs, and nothing here may leave this machine.
os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from moto.backends import get_backend  # noqa: E402
from moto.core.models import DEFAULT_ACCOUNT_ID  # noqa: E402
from moto.moto_server.werkzeug_app import (  # noqa: E402
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import ThreadedWSGIServer, make_server  # noqa: E402

from emulated import engine, quotas  # noqa: E402
from emulated.app import Application  # noqa: E402
from emulated.models import SERVICES, service_model  # noqa: E402
from emulated.world import World  # noqa: E402

TICK_SECONDS = 0.02
"""How often what is due is looked for when no request comes."""


class Handler(MotoRequestHandler):
    """Without a line for each request, and without waiting for a full packet."""

    disable_nagle_algorithm = True
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """The log of requests is at `/_emulation/calls`."""


def wired() -> World:
    """A world whose parts know each other."""
    world = World()
    world.on_wake = lambda group: engine.evaluate(world, group)
    world.on_machine_left = lambda machine: engine.machine_left(world, machine)
    return world


def warm_up() -> None:
    """Loads what the first request would wait for."""
    for service in SERVICES:
        service_model(service)
    for backend, part in ((get_backend("ec2"), "us-east-1"), (get_backend("iam"), "aws"), (get_backend("sts"), "aws")):
        backend[DEFAULT_ACCOUNT_ID][part]
    # moto and the models are a large heap that stays: a page of a thousand instances took twice as long with the
    # collector walking through it.
    gc.collect()
    gc.freeze()


def wait_for_end_of_input(ended: threading.Event) -> None:
    """Reads the bare descriptor: a buffered reader would hold a lock when the interpreter ends."""
    while os.read(0, 4096):
        pass
    ended.set()


def main() -> None:
    parser = argparse.ArgumentParser(description="An emulation of EC2 Auto Scaling around moto, on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="the port to listen on; 0 takes a free one")
    parser.add_argument("--keep-running", action="store_true", help="do not end when standard input closes")
    args = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    world = wired()
    quotas.install()
    app = Application(world, DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", args.port, app, threaded=True, request_handler=Handler)
    assert isinstance(server, ThreadedWSGIServer)
    server.daemon_threads = True
    os.environ["MOTO_PORT"] = str(server.port)
    warm_up()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    threading.Thread(target=server.serve_forever, name="server", daemon=True).start()
    if not args.keep_running:
        threading.Thread(target=wait_for_end_of_input, args=(ended,), name="stdin", daemon=True).start()
    print(f"listening on http://127.0.0.1:{server.port}", flush=True)
    while not ended.wait(TICK_SECONDS):
        with world.lock:
            world.clock.run_due()
    server.shutdown()


if __name__ == "__main__":
    main()
