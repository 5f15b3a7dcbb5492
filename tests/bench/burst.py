"""A burst of signed webhooks, and how long until the last instance is asked for.

    burst.py serve|stack JOBS

What lives here: the burst and the figures. Each job is of a class that has nobody idle: JOBS webhooks ask for JOBS
instances. One job comes before, so that the group is there and every process has started: a fleet at work, not its first day.

Invariant: the command fails unless as many instances are there as there were jobs, each asked for once.
"""

import sys
import time

from serving import CONNECTIONS, POOL, Serve, World, post, signed
from stack import wait_for
from wiretap import Tap, counted, waited

SECONDS = 240
# In which a second launch for the same jobs would show.
SETTLES_SECONDS = 5
FIRST_JOB = 2_000_000


def burst(kind, jobs):
    World.setUpClass()
    tap = Tap(World.upstream)
    serve, host = None, {}
    if kind == "serve":
        World.quiet()
        serve = Serve(tap, World.table("burst"))
        url = serve.url
    else:
        url = World.emulator.url
        host = {"Host": f"{World.stack.outputs['ApiId']}.execute-api.localhost:{World.emulator.port}"}
    deliveries = [signed(FIRST_JOB + number, [POOL]) for number in range(jobs + 1)]
    post(url, deliveries[:1], host)
    wait_for("the first instance", lambda: World.asked() == 1 and World.there() == 1, SECONDS)
    tap.take()

    began, wall = time.monotonic(), time.time()
    took = post(url, deliveries[1:], host)
    taken = time.monotonic() - began
    wait_for("all instances asked for", lambda: World.asked() > jobs, SECONDS)
    calls = World.launches()[1:]
    first, last = calls[0]["at"] - wall, calls[-1]["at"] - wall
    middle, most = took[len(took) // 2] * 1000, took[len(took) * 99 // 100] * 1000
    print(f"{jobs} webhooks over {CONNECTIONS} connections, {kind}")
    print(f"taken in after            {taken:7.2f} s; each {middle:.0f} ms, p99 {most:.0f} ms")
    print(f"first launch asked for at {first:7.2f} s")
    print(f"last launch asked for at  {last:7.2f} s")
    sizes = [call["params"]["RequestedCapacity"] for call in calls]
    print(f"in {len(calls)} calls of LaunchInstances: {sizes}")
    if serve:
        made = [call for call in tap.take() if call[0] <= began + last]
        print(f"at least one call to AWS under way for {waited(made, began, began + last):.2f} s of it: the emulators' time")
        print("calls until then: " + ", ".join(f"{count} {name}" for name, count in counted(made).most_common()))
        print(f"memory of muster serve: {serve.memory_mb():.0f} MB at most")
    wait_for("all members", lambda: World.there() > jobs, SECONDS)
    time.sleep(SETTLES_SECONDS)
    if World.asked() != jobs + 1 or World.there() != jobs + 1:
        raise SystemExit(f"burst: {World.asked()} instances were asked for, {World.there()} are there, for {jobs + 1} jobs")
    tap.stop()


def main():
    kind, jobs = sys.argv[1], int(sys.argv[2])
    if kind not in ("serve", "stack") or jobs < 1:
        raise SystemExit("burst: serve or stack, and a number of jobs")
    try:
        burst(kind, jobs)
    finally:
        World.doClassCleanups()


if __name__ == "__main__":
    main()
