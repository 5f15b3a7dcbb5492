"""Writes answers as XML, strictly by botocore's model.

What lives here: the two XML dialects, for results and errors. What may not: defaults for what a handler left out.
Invariant: a member that the model does not know, or a required one that is missing, is a bug of the handler and raises.
"""

from __future__ import annotations

import base64
import uuid
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
        return (
            f'<{name}Response xmlns="{EC2_NAMESPACE}">'
            f"<requestId>{request_id}</requestId>{body}</{name}Response>"
        )
    if operation.output_shape is not None:
        wrapper = operation.output_shape.serialization.get("resultWrapper", f"{name}Result")
        body = f"<{wrapper}>{body}</{wrapper}>"
    namespace = operation.service_model.metadata.get("xmlNamespace", "")
    return (
        f'<{name}Response xmlns="{namespace}">{body}'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{name}Response>"
    )


def _members(out: list[str], shape: Shape, value: dict[str, Any]) -> None:
    members = shape.members
    for name, inner in value.items():
        if inner is None:
            continue
        member = members.get(name)
        if member is None:
            raise TypeError(f"{shape.name} has no member {name}")
        _element(out, member.serialization.get("name", name), member, inner)
    for name in shape.required_members:
        if value.get(name) is None:
            raise TypeError(f"{shape.name} needs {name}")


def _element(out: list[str], tag: str, shape: Shape, value: Any) -> None:
    kind = shape.type_name
    if kind == "list":
        element = shape.member.serialization.get("name", "member")
        out.append(f"<{tag}>")
        for inner in value:
            _element(out, element, shape.member, inner)
        out.append(f"</{tag}>")
    elif kind == "structure":
        out.append(f"<{tag}>")
        _members(out, shape, value)
        out.append(f"</{tag}>")
    else:
        out.append(f"<{tag}>{_scalar(kind, shape, value)}</{tag}>")


def _scalar(kind: str, shape: Shape, value: Any) -> str:
    if kind == "string":
        allowed = shape.metadata.get("enum")
        if allowed and value not in allowed:
            raise TypeError(f"{shape.name} cannot be {value}")
        return escape(value)
    if kind == "timestamp":
        return timestamp(value)
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "blob":
        return base64.b64encode(value).decode()
    return str(value)


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
    body = '{"__type":"%s","message":"%s"}' % (code, message.replace("\\", "\\\\").replace('"', '\\"'))
    return body, "application/x-amz-json-1.0"
