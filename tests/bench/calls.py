"""Calls of AWS over a simulated day, counted at the wire.

    calls.py PROGRAM DAY HOURS

What lives here: the surroundings of `controller/benches/day.rs`, and the counting. What may not: a figure that was not
counted; what the functions call around a tick is told by `functions`.

Invariant: the command fails if a rule was violated, if the two clouds differ, or if jobs were lost.
"""

import collections
import json
import re
import subprocess
import sys

from serving import World
from stack import REGION, ROOT
from wiretap import Tap, counted

TRACE = ROOT / "tests" / "traces" / "acme-four-weeks.jsonl.gz"
EXAMPLE = ROOT / "muster.example.toml"
# Machines that stand by are left out: the simulated cloud does not say which of its stock is which instance.
STANDBY = re.compile(r"^standby = .*$", re.MULTILINE)
TYPE = re.compile(r'"([a-z0-9-]+\.[a-z0-9-]+)"')


def subnets_for(ec2, types):
    """Subnets of three zones that have all of these types: in the simulated world each zone has."""
    there = collections.defaultdict(set)
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": sorted(types)}]
    )
    for page in pages:
        for offering in page["InstanceTypeOfferings"]:
            there[offering["Location"]].add(offering["InstanceType"])
    found = [s["SubnetId"] for s in ec2.describe_subnets()["Subnets"] if there[s["AvailabilityZone"]] >= types]
    if not found:
        raise SystemExit(f"calls: no zone of the emulation has all of {sorted(types)}")
    return found[:3]


def surroundings(tap, config, day, hours):
    ec2 = World.at_emulation("ec2")
    subnets = subnets_for(ec2, set(TYPE.findall(config.read_text())))
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    systems = ("LINUX_X64", "LINUX_ARM64", "WINDOWS_X64", "MACOS_ARM64")
    return {
        "PATH": "/usr/bin:/bin",
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": tap.url,
        "MUSTER_SUBNETS": ",".join(subnets),
        "MUSTER_SECURITY_GROUPS": ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"],
        "MUSTER_INSTANCE_PROFILE": "arn:aws:iam::123456789012:instance-profile/muster-runner",
        "MUSTER_DOOR_URL": "https://door.example",
        **{f"MUSTER_IMAGE_{system}": image for system in systems},
        "MUSTER_BENCH_CONFIG": str(config),
        "MUSTER_BENCH_EMULATION": World.emulation.url,
        "MUSTER_BENCH_TRACE": str(TRACE),
        "MUSTER_BENCH_TABLE": World.table("day"),
        "MUSTER_BENCH_IDLE_TABLE": World.table("idle"),
        "MUSTER_BENCH_DAY": day,
        "MUSTER_BENCH_HOURS": hours,
    }


def phases(program, environment, tap):
    """What the program says at the end of each phase, with the calls of that phase."""
    process = subprocess.Popen([program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            yield json.loads(line), counted(tap.take())
            process.stdin.write("go on\n")
            process.stdin.flush()
        if process.wait(60) != 0:
            raise SystemExit(f"calls: the day ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def by_service(calls):
    services = collections.Counter()
    for name, count in calls.items():
        services[name.partition(":")[0]] += count
    return services


def main():
    program, day, hours = sys.argv[1:]
    try:
        World.setUpClass()
        World.quiet()
        World.emulate(World, "clock", {"mode": "stopped"})
        tap = Tap(World.upstream)
        config = World.home / "day.toml"
        config.write_text(STANDBY.sub("", EXAMPLE.read_text()))
        told = {said["phase"]: (said, calls) for said, calls in phases(program, surroundings(tap, config, day, hours), tap)}
        (said, calls), (idle, idle_calls) = told["day"], told["idle"]
        jobs = said["jobs"]["completed"]
        print(f"day {day} of the trace, its runs of {hours} h, muster.example.toml without machines on standby: "
              f"{said['hours']:.1f} h until the last job's end")
        print(f"jobs {said['jobs']}")
        print(f"{said['launches']['cold']} instances, {said['ticks']} ticks, {said['facts']} facts put, {said['claims']} claims, "
              f"{said['minted']} configurations, {said['github_requests']} requests of GitHub")
        print("| call | of the day | per completed job | of an idle hour |")
        print("|---|---|---|---|")
        for name in sorted(calls.keys() | idle_calls.keys()):
            print(f"| {name} | {calls[name]} | {calls[name] / jobs:.3f} | {idle_calls[name]} |")
        services, idle_services = by_service(calls), by_service(idle_calls)
        for name in sorted(services.keys() | idle_services.keys()):
            print(f"| all of {name} | {services[name]} | {services[name] / jobs:.2f} | {idle_services[name]} |")
        print(f"| all | {calls.total()} | {calls.total() / jobs:.1f} | {idle_calls.total()} |")
        for one in said["differ"][:10]:
            print(f"the two clouds differ: {one[:400]}")
        if said["differ"] or said["violations"] or said["jobs"]["lost"]:
            raise SystemExit(f"calls: {len(said['differ'])} differences, violations {said['violations']}")
        tap.stop()
    finally:
        World.doClassCleanups()


if __name__ == "__main__":
    main()
