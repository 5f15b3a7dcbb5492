"""The control endpoint `/_emulation/`: what a test sets, reads and makes happen. JSON in and out.

What lives here: paths and their bodies. What may not: behaviour of AWS. Invariant: a request that cannot be understood
changes nothing and is answered with 400 and what would have been right.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from moto.moto_api._internal.models import moto_api_backend

from . import machines, state
from .faults import Bucket
from .machines import Machine
from .world import World

Query = dict[str, str]
Body = dict[str, Any]


class Control:
    """The WSGI application of the control endpoint."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.routes: dict[tuple[str, str], Callable[[Query, Body], Any]] = {
            ("GET", ""): lambda query, body: {
                "paths": sorted(f"{method} /_emulation/{path}" for method, path in self.routes)
            },
            ("POST", "reset"): self.reset,
            ("GET", "settings"): lambda query, body: dataclasses.asdict(world.settings),
            ("POST", "settings"): self.settings,
            ("GET", "faults"): lambda query, body: [dataclasses.asdict(rule) for rule in world.faults.rules],
            ("POST", "faults"): lambda query, body: {"id": world.faults.add(**body)},
            ("DELETE", "faults"): self.clear_faults,
            ("POST", "buckets"): self.bucket,
            ("DELETE", "buckets"): self.clear_buckets,
            ("GET", "calls"): self.calls,
            ("GET", "calls/counts"): lambda query, body: world.calls.counts(),
            ("DELETE", "calls"): self.clear_calls,
            ("GET", "events"): self.events,
            ("DELETE", "events"): self.clear_events,
            ("POST", "events/targets"): self.targets,
            ("GET", "events/failures"): lambda query, body: list(world.events.failures),
            ("GET", "bugs"): lambda query, body: world.clock.bugs,
            ("GET", "clock"): lambda query, body: {"now": world.clock.now()},
            ("POST", "clock"): self.clock,
            ("POST", "advance"): self.advance,
            ("GET", "state"): lambda query, body: state.dump(world, query.get("account"), query.get("region")),
            ("POST", "instances"): self.instance,
            ("POST", "console"): self.console,
            ("POST", "spot-prices"): self.spot_price,
            ("POST", "limits"): self.limits,
            ("POST", "roles"): self.role,
            ("GET", "roles/used"): lambda query, body: sorted(world.roles.used),
        }

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"].removeprefix("/_emulation").strip("/")
        query = {name: values[-1] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        size = int(environ.get("CONTENT_LENGTH") or 0)
        raw = environ["wsgi.input"].read(size) if size else b"{}"
        status, answer = 200, None
        route = self.routes.get((environ["REQUEST_METHOD"], path))
        if route is None:
            status, answer = (
                404,
                {"error": f"no {environ['REQUEST_METHOD']} {path}; GET /_emulation/ lists what there is"},
            )
        else:
            try:
                body = json.loads(raw)
                if not isinstance(body, dict):
                    raise ValueError("the body must be a JSON object")
                with self.world.lock:
                    self.world.clock.run_due()
                    answer = route(query, body)
                    self.world.clock.run_due()
            except (ValueError, TypeError, KeyError) as problem:
                status, answer = 400, {"error": f"{type(problem).__name__}: {problem}"}
        content = json.dumps(answer if answer is not None else {}).encode()
        start_response(
            f"{status} {'OK' if status == 200 else 'Error'}",
            [("Content-Type", "application/json"), ("Content-Length", str(len(content)))],
        )
        return [content]

    def reset(self, query: Query, body: Body) -> Body:
        """An empty world. moto's own state goes with `{"moto": true}`."""
        self.world.forget()
        if body.get("moto", False):
            moto_api_backend.reset()
        return {}

    def settings(self, query: Query, body: Body) -> Body:
        self.world.settings.change(body)
        return dataclasses.asdict(self.world.settings)

    def clear_faults(self, query: Query, body: Body) -> Body:
        """All of them, or the one of `?id=`."""
        if "id" not in query:
            self.world.faults.rules.clear()
        elif not self.world.faults.remove(int(query["id"])):
            raise ValueError(f"there is no fault {query['id']}")
        return {}

    def clear_buckets(self, query: Query, body: Body) -> Body:
        self.world.faults.buckets.clear()
        return {}

    def clear_calls(self, query: Query, body: Body) -> Body:
        self.world.calls.made.clear()
        return {}

    def clear_events(self, query: Query, body: Body) -> Body:
        self.world.events.sent.clear()
        return {}

    def bucket(self, query: Query, body: Body) -> Body:
        """`action` (or *), `size`, `per_second`."""
        self.world.faults.buckets.append(Bucket(body["action"], float(body["size"]), float(body["per_second"])))
        return {}

    def calls(self, query: Query, body: Body) -> list[Body]:
        return self.world.calls.list(
            query.get("service"), query.get("action"), query.get("account"), float(query.get("since", 0))
        )

    def events(self, query: Query, body: Body) -> list[Body]:
        """By `detail-type`, `account`, and the instance they are about; `from` skips the first ones."""
        wanted = query.get("instance")
        return [
            event
            for event in list(self.world.events.sent)[int(query.get("from", 0)) :]
            if query.get("detail-type") in (None, event["detail-type"])
            and query.get("account") in (None, event["account"])
            and (wanted is None or wanted in (event["detail"].get("instance-id"), event["detail"].get("EC2InstanceId")))
        ]

    def targets(self, query: Query, body: Body) -> Body:
        """`urls` that get each event from now on, `duplicates` times, with `headers` as API destinations do."""
        urls = body["urls"]
        if not all(isinstance(url, str) and url.startswith("http://") for url in urls):
            raise ValueError("urls must be a list of http:// addresses")
        self.world.events.targets = list(urls)
        self.world.events.headers = {str(name): str(value) for name, value in body.get("headers", {}).items()}
        self.world.events.duplicates = int(body.get("duplicates", 1))
        return {}

    def clock(self, query: Query, body: Body) -> Body:
        """`mode`: `stopped` (time moves by `advance` only) or `running`."""
        if body["mode"] not in ("stopped", "running"):
            raise ValueError("mode must be stopped or running")
        self.world.clock.stop() if body["mode"] == "stopped" else self.world.clock.go()
        return {"now": self.world.clock.now()}

    def advance(self, query: Query, body: Body) -> Body:
        seconds = float(body["seconds"])
        if seconds < 0:
            raise ValueError("time does not go back")
        self.world.clock.advance(seconds)
        return {"now": self.world.clock.now()}

    def find(self, instance_id: str) -> Machine:
        for region in self.world.regions.values():
            if instance_id in region.machines:
                return region.machines[instance_id]
        raise ValueError(f"there is no instance {instance_id}")

    def instance(self, query: Query, body: Body) -> Body:
        """`do`: interrupt (with `notice_ms`), recommend-rebalance, shutdown (by itself), terminate, stop."""
        machine, wish = self.find(body["instance_id"]), body["do"]
        if wish == "interrupt":
            if machine.market != "spot":
                raise ValueError(f"{machine.id} is no spot instance")
            machines.interrupt(self.world, machine, body.get("notice_ms", self.world.settings.spot_notice_ms))
        elif wish == "recommend-rebalance":
            machines.recommend_rebalance(self.world, machine)
        elif wish == "shutdown":
            machines.shut_down_itself(self.world, machine)
        elif wish == "terminate":
            machines.terminate(
                self.world, machine, "Server.InternalError", "Server.InternalError: Internal error on launch"
            )
        elif wish == "stop":
            machines.stop(
                self.world,
                machine,
                "Server.ScheduledStop",
                "Server.ScheduledStop: Stopped due to a scheduled retirement",
            )
        else:
            raise ValueError("do must be interrupt, recommend-rebalance, shutdown, terminate or stop")
        return {"state": machine.state}

    def console(self, query: Query, body: Body) -> Body:
        self.find(body["instance_id"]).console = body["text"]
        return {}

    def spot_price(self, query: Query, body: Body) -> Body:
        """`account`, `region`, `instance_type`, `zone`, `price` in dollars per hour."""
        region = self.world.region(body["account"], body["region"])
        region.prices.set(body["instance_type"], body["zone"], float(body["price"]), self.world.clock.now())
        return {}

    def limits(self, query: Query, body: Body) -> Body:
        """`account`, `region`, and what DescribeAccountLimits says."""
        region = self.world.region(body.pop("account"), body.pop("region"))
        if wrong := set(body) - set(region.limits):
            raise ValueError(f"unknown limit {', '.join(wrong)}; there are {', '.join(region.limits)}")
        region.limits.update(body)
        return region.limits

    def role(self, query: Query, body: Body) -> Body:
        """`arn`, its `access_keys`, its `policies`, and `instance_profiles`: the roles of profiles by their ARNs."""
        self.world.roles.put(body["arn"], body["access_keys"], body["policies"])
        self.world.roles.profiles |= body.get("instance_profiles", {})
        return {}
