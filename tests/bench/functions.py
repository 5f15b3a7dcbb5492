"""Cold start and memory of the five functions.

    functions.py RUNS ZIPS

What lives here: the events that they are given, and the figures. Each run is a new process: from exec until it asks for its
first event, until its first answer, one more event to the same process, and its peak of resident memory after EVENTS of them.

Invariant: the emulators' time is told beside ours, and never taken off in silence.
"""

import json
import pathlib
import statistics
import sys
import time

from events import bell, claim, heal, variables_of, webhook
from runtime import Runtime
from serving import World
from whole import BINARIES as FOLDER
from wiretap import Tap, counted, waited

EVENTS = 30
# What each is made of, is given, and answers if that is not nothing. The scaler before the door: it ticks over an empty
# fleet then, and nothing waits. To the agents' door comes a machine that the fleet does not know.
FUNCTIONS = {
    "scaler": ("scaler", bell, None),
    "registrar": ("registrar", bell, None),
    "healer": ("registrar", heal, None),
    "agents": ("door", claim, 425),
    "door": ("door", webhook, 202),
}
BINARIES = pathlib.Path(FOLDER)


def once(function, variables, tap, number, log):
    """One process; its figures, and what it called."""
    binary, event, wanted = FUNCTIONS[function]
    runtime = Runtime(BINARIES / f"muster-{binary}", f"muster-acme-{function}", variables, log)
    try:
        asked = runtime.polled()
        at_start = tap.take()
        answered, answer = runtime.call(event(number))
        if wanted and json.loads(answer)["statusCode"] != wanted:
            raise SystemExit(f"{function}: {answer!r}")
        first = tap.take()
        runtime.polled()
        again = time.monotonic()
        ended, _ = runtime.call(event(number + 1))
        second = tap.take()
        for more in range(2, EVENTS):
            runtime.polled()
            runtime.call(event(number + more))
        tap.take()
        return {
            "asks": asked - runtime.began,
            "answers": answered - runtime.began,
            "calls": waited(at_start + first, runtime.began, answered),
            "again": ended - again,
            "calls again": waited(second, again, ended),
            "memory": runtime.memory(),
        }, (at_start, first, second)
    finally:
        runtime.stop()


def told(what, calls):
    counts = ", ".join(f"{count} {name}" for name, count in sorted(counted(calls).items()))
    print(f"    {what}: {counts or 'nothing'}")


def main():
    runs, zips = int(sys.argv[1]), pathlib.Path(sys.argv[2])
    try:
        World.setUpClass()
        World.quiet()
        tap = Tap(World.upstream)
        print(f"{runs} processes of each function; medians (most). ms of which in calls: the emulators' time, not AWS's")
        print("| function | binary MB | zip MB | asks for an event, ms | first answer, ms | in calls | next answer, ms | in calls "
              f"| memory after {EVENTS} events, MB |")
        print("|---|---|---|---|---|---|---|---|---|")
        made, number = {}, 1_000_000
        with open(zips / "log", "wb") as log:
            for function, (binary, _, _) in FUNCTIONS.items():
                variables = variables_of(function, tap)
                found = []
                for _ in range(runs):
                    figures, made[function] = once(function, variables, tap, number, log)
                    found.append(figures)
                    number += EVENTS
                middle = lambda key, unit=1000: f"{statistics.median(one[key] for one in found) * unit:.1f}"
                both = lambda key: f"{middle(key)} ({max(one[key] for one in found) * 1000:.0f})"
                print(f"| {function} | {(BINARIES / f'muster-{binary}').stat().st_size / 1e6:.1f} "
                      f"| {(zips / f'{binary}.zip').stat().st_size / 1e6:.1f} | {both('asks')} | {both('answers')} "
                      f"| {middle('calls')} | {both('again')} | {middle('calls again')} | {middle('memory', 1e-6)} |", flush=True)
        for function, (at_start, first, second) in made.items():
            print(f"calls of the {function}:")
            told("to start", at_start)
            told("first event", first)
            told("next event", second)
        tap.stop()
    finally:
        World.doClassCleanups()


if __name__ == "__main__":
    main()
