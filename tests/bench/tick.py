"""A whole tick with many instances, behind the wire.

    tick.py INSTANCES

What lives here: the world that is ticked over, and the figures. INSTANCES machines are launched by `muster serve` for as many
jobs; then the scaler's own function takes over, over the same table and the same emulations. What a tick took is its metric
`TickDuration`; what of it passed in calls is seen at the tap.

Invariant: every machine is in the ledger and in the emulation before the first figure.
"""

import json
import pathlib
import statistics
import sys
import time

from events import bell, variables_of, webhook
from runtime import Runtime
from serving import POOL, Serve, World, post, signed
from stack import wait_for
from whole import BINARIES
from wiretap import Tap, counted, waited

COLD_RUNS = 5
WARM_RUNS = 11
# `OBSERVE_EVERY` of controller/src/reconcile/observe.rs, and a little.
LOOKS_AFTER_SECONDS = 61
FIRST_JOB = 3_000_000
SECONDS = 300
SCALER, DOOR = (pathlib.Path(BINARIES) / f"muster-{name}" for name in ("scaler", "door"))


class Scaler:
    """A process of the scaler, and what its ticks took."""

    def __init__(self, tap, log):
        self.tap, self.path = tap, World.home / "lines"
        self.lines = open(self.path, "ab")
        self.read = self.path.stat().st_size
        self.runtime = Runtime(SCALER, "muster-acme-scaler", variables_of("scaler", tap), log, self.lines)
        self.runtime.polled()
        tap.take()

    def tick(self, number):
        """One call; gives how long it took, the seconds of its ticks, the seconds in calls, and the calls."""
        began = time.monotonic()
        ended, _ = self.runtime.call(bell(number))
        calls = self.tap.take()
        self.runtime.polled()
        return ended - began, self.ticks(), waited(calls, began, ended), counted(calls)

    def ticks(self):
        """TickDuration of the ticks since the last question."""
        with open(self.path, "rb") as file:
            file.seek(self.read)
            text = file.read()
            self.read = file.tell()
        took = []
        for line in text.splitlines():
            value = json.loads(line).get("TickDuration", [])
            if isinstance(value, dict):
                value = [one for one, count in zip(value["Values"], value["Counts"]) for _ in range(int(count))]
            took += value if isinstance(value, list) else [value]
        return took

    def stop(self):
        self.runtime.stop()
        self.lines.close()


def told(what, found):
    """A row of the table: the median of some calls."""
    middle = lambda each: f"{statistics.median(each) * 1000:.0f}"
    ticks = [second for _, ticks, _, _ in found for second in ticks]
    calls = sum((counts for *_, counts in found), start=type(found[0][3])())
    each = ", ".join(f"{count / len(found):.4g} {name}" for name, count in sorted(calls.items()))
    print(f"| {what} | {len(found)} | {middle([call[0] for call in found])} | {middle(ticks)} ({max(ticks) * 1000:.0f}) "
          f"| {middle([call[2] for call in found])} | {len(ticks) / len(found):.2g} | {each} |", flush=True)


def populate(tap, instances):
    """As many machines as asked for, each for a job that waits."""
    serve = Serve(tap, World.stack.outputs["Table"])
    post(serve.url, [signed(FIRST_JOB + number, [POOL]) for number in range(instances)])
    wait_for("all instances", lambda: World.there() == instances, SECONDS)
    wait_for("all machines in the ledger", lambda: len(World.rows(World, "machines")) == instances, SECONDS)
    print(f"{instances} machines launched by muster serve, whose memory was {serve.memory_mb():.0f} MB at most")
    serve.stop()


def measure(tap, instances, log):
    print("| call | runs | call, ms | its ticks, ms (most) | in calls, ms | ticks | calls of AWS |")
    print("|---|---|---|---|---|---|---|")
    found = []
    for number in range(COLD_RUNS):
        scaler = Scaler(tap, log)
        found.append(scaler.tick(number))
        if number < COLD_RUNS - 1:
            scaler.stop()
    looked = time.monotonic()
    told("first of a process: load, look", found)
    told("nothing new", [scaler.tick(number) for number in range(WARM_RUNS)])
    door = Runtime(DOOR, "muster-acme-door", variables_of("door", tap), log)
    found = []
    for number in range(WARM_RUNS + 1):
        door.polled()
        door.call(webhook(FIRST_JOB + instances + number))
        tap.take()
        found.append(scaler.tick(number))
    door.stop()
    # The first launch of a process looks at template and group, and here they change hands.
    told("the first launch of a process", found[:1])
    told("one new job, one launch", found[1:])
    time.sleep(max(0.0, looked + LOOKS_AFTER_SECONDS - time.monotonic()))
    told("another look at the cloud", [scaler.tick(1)])
    print(f"memory of the scaler: {scaler.runtime.memory() / 1e6:.0f} MB at most")
    scaler.stop()
    if World.there() != instances + WARM_RUNS + 1:
        raise SystemExit(f"tick: {World.there()} instances are there, not {instances + WARM_RUNS + 1}")


def main():
    instances = int(sys.argv[1])
    try:
        World.setUpClass()
        World.quiet()
        tap = Tap(World.upstream)
        populate(tap, instances)
        with open(World.home / "scaler.log", "wb") as log:
            measure(tap, instances, log)
        tap.stop()
    finally:
        World.doClassCleanups()


if __name__ == "__main__":
    main()
