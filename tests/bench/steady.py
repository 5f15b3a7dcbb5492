"""A trace at steady state: so many jobs a day, so many of them running at any time, in many repositories.

    python3 tests/bench/steady.py --jobs-a-day 50000 --busy 10000 --days 2 >trace.jsonl

Runs come at random, evenly over the day. A third of the jobs is in runs of one job, the rest in matrices of two to eight, and
half of the runs have a last job that waits for the others. A few repositories have most of the runs. It begins with nothing: so
many run after the time that a job takes, and all of those that wait for another one come a little later.
"""

import argparse
import json
import random
import sys

DAY_S = 86_400
# The weight of the nth repository is 1/n.
REPOSITORIES = 300
LABELS = [["self-hosted", "linux", "x64", "cpu-2"], ["self-hosted", "linux", "x64", "cpu-8"]]


def main():
    parser = argparse.ArgumentParser(description="A trace at steady state, as JSON lines on standard output.")
    parser.add_argument("--jobs-a-day", type=int, default=50_000)
    parser.add_argument("--busy", type=int, default=10_000, help="jobs that run at any time")
    parser.add_argument("--days", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    draw = random.Random(args.seed)
    mean_s = args.busy * DAY_S / args.jobs_a_day
    repositories = [f"acme/r{n}" for n in range(1, REPOSITORIES + 1)]
    weights = [1 / n for n in range(1, REPOSITORIES + 1)]

    def run(number, at, jobs):
        repository = draw.choices(repositories, weights)[0]
        print(json.dumps({"run_id": 1_000_000 + number, "t": round(at, 1), "repo": repository, "workflow": "ci", "event": "push",
                          "jobs": jobs}))

    def job(name, key, needs, duration_s):
        labels = draw.choices(LABELS, [3, 1])[0]
        return {"name": name, "job": key, "needs": needs, "labels": labels, "duration_s": round(duration_s, 1)}

    number = 0
    at, made = 0.0, 0
    wanted = int(args.jobs_a_day * args.days)
    while made < wanted:
        width = draw.choices([1, 2, 4, 8], [8, 4, 3, 1])[0]
        last = draw.random() < 0.5
        jobs = [job(f"work ({n})", "work", [], draw.uniform(0.8, 1.2) * mean_s) for n in range(width)]
        if last:
            jobs.append(job("last", "last", ["work"], draw.uniform(0.8, 1.2) * mean_s))
        made += len(jobs)
        at += draw.expovariate(1.0) * len(jobs) * DAY_S / args.jobs_a_day
        run(number, at, jobs)
        number += 1
    sys.stdout.flush()


if __name__ == "__main__":
    main()
