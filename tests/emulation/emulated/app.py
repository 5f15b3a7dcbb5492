"""The front door: every request comes here first, and goes on to a handler, to moto, or into a fault.

What lives here: who asks for what, the order of faults, the lock. What may not: what an action does. Invariant: each
request is in the log with the status that its caller saw.
"""

from __future__ import annotations

import io
import json
import re
import socket
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl

from . import authorization, moto_side, network, reply, request
from .actions import Context, not_emulated
from .calls import Call
from .control import Control
from .errors import AwsError
from .faults import Fault
from .handlers import HANDLERS
from .models import SERVICES, operation_model
from .world import World

CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
QUERY_SERVICES = (*SERVICES, "sts", "iam")

STATUS_OF = {
    "AccessDenied": 403,
    "UnauthorizedOperation": 403,
    "ExpiredToken": 403,
    "InternalError": 500,
    "InternalFailure": 500,
    "RequestLimitExceeded": 503,
    "ServiceUnavailable": 503,
    "Unavailable": 503,
}
"""The HTTP status that goes with a code when a fault does not say one."""

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class Dropped(ConnectionAbortedError):
    """The connection is gone; werkzeug lets it be."""


class Application:
    """The WSGI application around moto's."""

    def __init__(self, world: World, moto: Callable[..., Iterable[bytes]]) -> None:
        self.world = world
        self.moto = moto
        self.control = Control(world)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/_emulation" or path.startswith("/_emulation/"):
            return self.control(environ, start_response)
        found = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        if found is None:
            return self.moto(environ, start_response)
        access_key, region, service = found.groups()
        flat = _form(environ) if service in QUERY_SERVICES else {}
        call = self._call(environ, service, region, access_key, flat)
        fault = self._fault_before(call, flat)
        if fault is not None:
            return self._answer_error(environ, start_response, call, fault)
        slow = self._take(call, flat, "delay")
        if service in SERVICES:
            status, body = self._emulate(environ, call, flat, slow is not None)
        else:
            status, body = 0, None
        parts = self._through_moto(environ, start_response, call, slow) if body is None else None
        if parts is None and slow:
            self._wait(call, flat, slow)
        if self._take(call, flat, "lose_reply"):
            call.status = 0
            self._drop(environ)
        if parts is not None:
            return parts
        call.status = status
        return _send(start_response, status, body or "", "text/xml")

    def _wait(self, call: Call, flat: dict[str, str], slow: Fault) -> None:
        """Holds a reply back. Meanwhile the client token of a launch is in use."""
        time.sleep(slow.ms / 1000)
        with self.world.lock:
            self.world.answering.discard(_launch_of(call, flat))

    def _call(self, environ: Environ, service: str, region: str, access_key: str, flat: dict[str, str]) -> Call:
        action = (
            flat.get("Action") or environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2] or environ["REQUEST_METHOD"]
        )
        account = network.account_of(access_key)
        role = network.role_of(account, access_key)
        with self.world.lock:
            if judged := self.world.roles.by_key.get(access_key):
                role = judged.arn
            self.world.clock.run_due()
            call = Call(self.world.clock.now(), service, action, account, region, access_key, role)
            call.params = {name: value for name, value in flat.items() if name not in request.ENVELOPE}
            self.world.calls.made.append(call)
        return call

    def _take(self, call: Call, flat: dict[str, str], kind: str) -> Fault | None:
        """A fault of that kind for the call. AssumeRole is matched by the role that it asks for."""
        role = flat.get("RoleArn") if call.action == "AssumeRole" else call.role
        with self.world.lock:
            return self.world.faults.take(
                kind,
                service=call.service,
                action=call.action,
                account=call.account,
                role=role,
                group=flat.get("AutoScalingGroupName"),
            )

    def _fault_before(self, call: Call, flat: dict[str, str]) -> AwsError | Fault | None:
        if refused := self._take(call, flat, "refuse_connection"):
            return refused
        with self.world.lock:
            throttled = self.world.faults.throttled(call.action, call.account, self.world.clock.now())
        if throttled:
            if call.service == "ec2":
                return AwsError("RequestLimitExceeded", "Request limit exceeded.", 503)
            return AwsError("Throttling", "Rate exceeded")
        if fault := self._take(call, flat, "error"):
            message = fault.message or _message(fault.code, call, self._caller(call))
            status = STATUS_OF.get(fault.code, 400) if fault.status == 400 else fault.status
            return AwsError(fault.code, message, status)
        return None

    def _answer_error(
        self, environ: Environ, start_response: StartResponse, call: Call, fault: AwsError | Fault
    ) -> Iterable[bytes]:
        if isinstance(fault, Fault):
            self._drop(environ)
        assert isinstance(fault, AwsError)
        call.status, call.code = fault.status, fault.code
        body, kind = reply.error(call.service, fault.code, fault.message)
        return _send(start_response, fault.status, body, kind)

    def _emulate(self, environ: Environ, call: Call, flat: dict[str, str], slow: bool) -> tuple[int, str | None]:
        """Status and body, or no body if moto is to answer."""
        try:
            operation = operation_model(call.service, call.action)
            if operation is None:
                raise AwsError("InvalidAction", f"The action {call.action} is not valid for this web service.")
            params = request.read(call.service, operation, flat)
            call.params = json.loads(json.dumps(params, default=str))
            handler = HANDLERS.get((call.service, call.action))
            context = Context(self.world, call.account, call.region, self._caller(call))
            self._authorize(context, call, params)
            if handler is None or moto_side.owns(context, call.service, call.action, params):
                if call.service == "autoscaling" or call.action in moto_side.REFUSED:
                    raise not_emulated(call.service, call.action)
                return 0, None
            if params.get("DryRun"):
                raise AwsError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
            with self.world.lock:
                self.world.clock.run_due()
                answer = handler(context, params)
                body = reply.result(call.service, operation, answer)
                if slow and call.action == "LaunchInstances":
                    self.world.answering.add(_launch_of(call, flat))
            if call.action == "DescribeInstances" and "InstanceIds" not in params and "NextToken" not in params:
                body = moto_side.with_instances(context, body, lambda: self._ask_moto(environ))
            return 200, body
        except AwsError as problem:
            call.code = problem.code
            return problem.status, reply.error(call.service, problem.code, problem.message)[0]
        except Exception:  # noqa: BLE001  a bug here must be seen by the caller, and by name
            traceback.print_exc()
            self.world.clock.bugs.append(traceback.format_exc())
            call.code = "EmulationBug"
            return 500, reply.error(call.service, "EmulationBug", traceback.format_exc(limit=-3))[0]

    def _authorize(self, context: Context, call: Call, params: dict[str, Any]) -> None:
        """Raises what AWS answers if the caller's role lacks a permission. Without a role all is allowed."""
        with self.world.lock:
            role = self.world.roles.by_key.get(call.access_key)
            if role is None:
                return
            needs = authorization.needs(context, call.service, call.action, params, role)
            missing = self.world.roles.missing(role, needs, call.region)
        if missing:
            text = f"User: {context.caller} is not authorized to perform: {missing.action} on resource: {missing.resource}"
            if call.service == "ec2":
                raise AwsError("UnauthorizedOperation", f"You are not authorized to perform this operation. {text}", 403)
            raise AwsError("AccessDenied", text, 403)

    def _caller(self, call: Call) -> str:
        if call.role is None:
            return f"arn:aws:iam::{call.account}:user/emulation"
        account, name = call.role.split(":")[4], call.role.split("/")[-1]
        return f"arn:aws:sts::{account}:assumed-role/{name}/session"

    def _ask_moto(self, environ: Environ) -> bytes:
        """The same request, answered by moto."""
        again = dict(environ)
        environ["wsgi.input"].seek(0)
        again["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read())
        return b"".join(self.moto(again, lambda *_: None))

    def _through_moto(
        self, environ: Environ, start_response: StartResponse, call: Call, slow: Fault | None
    ) -> Iterable[bytes]:
        """Lets moto answer, and notes the status. The body is complete before the first byte leaves."""
        kept: list[Any] = []
        body = b"".join(self.moto(environ, lambda status, headers, *_: kept.extend((status, headers))))
        call.status = int(kept[0].split()[0])
        if slow:
            time.sleep(slow.ms / 1000)
        return _Late(start_response, kept[0], kept[1], body)

    def _drop(self, environ: Environ) -> None:
        """Closes the connection without an answer."""
        connection: socket.socket | None = environ.get("werkzeug.socket")
        if connection is not None:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        raise Dropped("closed by a fault of the emulation")


class _Late:
    """A body whose headers are sent only when somebody iterates over it."""

    def __init__(self, start_response: StartResponse, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.begin: Callable[[], object] = lambda: start_response(status, headers)
        self.body = body

    def __iter__(self) -> Iterator[bytes]:
        self.begin()
        yield self.body


def _launch_of(call: Call, flat: dict[str, str]) -> tuple[str, str, str]:
    return call.account, flat.get("AutoScalingGroupName", ""), flat.get("ClientToken", "")


def _form(environ: Environ) -> dict[str, str]:
    """The parameters of the body, which is put back for moto."""
    size = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(size) if size else b""
    environ["wsgi.input"] = io.BytesIO(body)
    pairs = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    return dict(pairs + parse_qsl(body.decode(), keep_blank_values=True))


def _message(code: str, call: Call, caller: str) -> str:
    """AWS's words for the usual codes."""
    match code:
        case "AccessDenied":
            return f"User: {caller} is not authorized to perform: {call.service}:{call.action}"
        case "UnauthorizedOperation":
            return "You are not authorized to perform this operation."
        case "Throttling":
            return "Rate exceeded"
        case "RequestLimitExceeded":
            return "Request limit exceeded."
        case _:
            return "A fault of the emulation."


REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    412: "Precondition Failed",
    500: "Internal Server Error",
}


def _send(start_response: StartResponse, status: int, body: str, kind: str) -> Iterable[bytes]:
    content = body.encode()
    headers = [("Content-Type", kind), ("Content-Length", str(len(content)))]
    start_response(f"{status} {REASONS.get(status, 'Status')}", headers)
    return [content]
