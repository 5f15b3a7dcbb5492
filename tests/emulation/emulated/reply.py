"""Writes answers as XML, strictly by botocore's model.

What lives here: the two XML dialects, for results and errors. What may not: defaults for what a handler left out.
Invariant: a member that the model does not know, or a required one that is missing, is a bug of the handler and raises.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any
from xml.sax.saxutils import escape

from botocore.model import OperationModel, Shape

EC2_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"


def result(service: str, operation: OperationModel, value: dict[str, Any]) -> str:
    """The body of a successful answer."""
    name, request_id = operation.name, uuid.uuid4()
    out: list[str] = []
    if operation.output_shape is not None:
        _members(out, operation.output_shape, value)
    elif value:
        raise TypeError(f"{name} answers nothing, and the handler answers {value}")
    body = "".join(out)
    if service == "ec2":
        if operation.output_shape is None:
            body = "<return>true</return>"
        return f'<{name}Response xmlns="{EC2_NAMESPACE}"><requestId>{request_id}</requestId>{body}</{name}Response>'
    if operation.output_shape is not None:
        wrapper = operation.output_shape.serialization.get("resultWrapper", f"{name}Result")
        body = f"<{wrapper}>{body}</{wrapper}>"
    namespace = operation.service_model.metadata.get("xmlNamespace", "")
    return (
        f'<{name}Response xmlns="{namespace}">{body}'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{name}Response>"
    )


Writer = Callable[[list[str], Any], None]
"""Appends a value's XML, without the element around it."""

_writers: dict[int, tuple[Shape, Writer]] = {}
"""One for each shape object, which is kept with it so that its id stays its own."""


def _members(out: list[str], shape: Shape, value: dict[str, Any]) -> None:
    _writer(shape)(out, value)


def _writer(shape: Shape) -> Writer:
    """Compiled once for each shape: a page of a thousand instances has a hundred thousand elements."""
    known = _writers.get(id(shape))
    if known is None:
        make = {"structure": _structure, "list": _list, "string": _string}.get(shape.type_name, _scalar)
        known = _writers[id(shape)] = (shape, make(shape))
    return known[1]


def _structure(shape: Shape) -> Writer:
    fields: dict[str, tuple[str, str, Writer]] = {}
    required = shape.required_members

    def write(out: list[str], value: dict[str, Any]) -> None:
        for name, inner in value.items():
            if inner is None:
                continue
            field = fields.get(name)
            if field is None:
                member = shape.members.get(name)
                if member is None:
                    raise TypeError(f"{shape.name} has no member {name}")
                tag = member.serialization.get("name", name)
                field = fields[name] = (f"<{tag}>", f"</{tag}>", _writer(member))
            out.append(field[0])
            field[2](out, inner)
            out.append(field[1])
        for name in required:
            if value.get(name) is None:
                raise TypeError(f"{shape.name} needs {name}")

    return write


def _list(shape: Shape) -> Writer:
    tag = shape.member.serialization.get("name", "member")
    begin, end, inner = f"<{tag}>", f"</{tag}>", _writer(shape.member)

    def write(out: list[str], value: list[Any]) -> None:
        for one in value:
            out.append(begin)
            inner(out, one)
            out.append(end)

    return write


def _string(shape: Shape) -> Writer:
    allowed = frozenset(shape.metadata.get("enum", ()))

    def write(out: list[str], value: str) -> None:
        if allowed and value not in allowed:
            raise TypeError(f"{shape.name} cannot be {value}")
        out.append(escape(value) if "&" in value or "<" in value or ">" in value else value)

    return write


def _scalar(shape: Shape) -> Writer:
    def words(value: Any) -> str:
        match shape.type_name:
            case "timestamp":
                return timestamp(value)
            case "boolean":
                return "true" if value else "false"
            case "blob":
                return base64.b64encode(value).decode()
            case _:
                return str(value)

    return lambda out, value: out.append(words(value))


def timestamp(value: datetime | float) -> str:
    """ISO 8601 in UTC with milliseconds, as both services write it."""
    moment = value if isinstance(value, datetime) else datetime.fromtimestamp(value, timezone.utc)
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def error(service: str, code: str, message: str) -> tuple[str, str]:
    """Body and content type of an error answer, in the dialect that the service speaks."""
    request_id = uuid.uuid4()
    if service == "ec2":
        return (
            f"<Response><Errors><Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error></Errors>"
            f"<RequestID>{request_id}</RequestID></Response>"
        ), "text/xml"
    if service in ("autoscaling", "sts", "iam"):
        return (
            "<ErrorResponse><Error><Type>Sender</Type>"
            f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        ), "text/xml"
    body = json.dumps({"__type": code, "message": message})
    return body, "application/x-amz-json-1.0"
