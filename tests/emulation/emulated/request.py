"""Reads the parameters of a query request, strictly by botocore's model.

What lives here: names, types, enumerations, lengths, ranges and patterns. What may not: what a value means.
Invariant: every parameter of the request ends up in the result, or the request is refused. AWS itself ignores some
unknown parameters; here they are always an error, because a misspelt one is a bug of the caller.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from datetime import datetime, timezone
from typing import Any

from botocore.model import ListShape, OperationModel, Shape, StructureShape

from .errors import AwsError

ENVELOPE = ("Action", "Version")


class Node:
    """One point of the tree that the dotted names of the parameters form."""

    __slots__ = ("value", "children")

    def __init__(self) -> None:
        self.value: str | None = None
        self.children: dict[str, Node] = {}


def read(service: str, operation: OperationModel, flat: dict[str, str]) -> dict[str, Any]:
    """The parameters as nested values under the model's member names."""
    reader = _Reader(service)
    version = operation.service_model.api_version
    if flat.get("Version") != version:
        raise AwsError("NoSuchVersion", f"the request has Version={flat.get('Version')}; the model is {version}")
    root = Node()
    for name, value in flat.items():
        if name in ENVELOPE:
            continue
        node = root
        for part in name.split("."):
            node = node.children.setdefault(part, Node())
        node.value = value
    if operation.input_shape is None:
        for name in root.children:
            raise reader.unknown(name)
        return {}
    return reader.structure(root, operation.input_shape, "")


class _Reader:
    """The walk over shape and tree, with the service's own wording of each refusal."""

    def __init__(self, service: str) -> None:
        self.ec2 = service == "ec2"

    def value(self, node: Node, shape: Shape, path: str) -> Any:
        match shape.type_name:
            case "structure":
                return self.structure(node, shape, path)
            case "list":
                return self.listing(node, shape, path)
            case kind:
                if node.children:
                    raise self.unknown(f"{path}.{next(iter(node.children))}")
                return self.scalar(node.value or "", shape, kind, path)

    def structure(self, node: Node, shape: StructureShape, path: str) -> dict[str, Any]:
        names = {self.wire_name(member, name): name for name, member in shape.members.items()}
        read: dict[str, Any] = {}
        for wire, child in node.children.items():
            name = names.get(wire)
            if name is None:
                raise self.unknown(f"{path}.{wire}" if path else wire)
            read[name] = self.value(child, shape.members[name], f"{path}.{wire}" if path else wire)
        for name in shape.required_members:
            if name not in read:
                wire = self.wire_name(shape.members[name], name)
                raise self.missing(f"{path}.{wire}" if path else wire)
        return read

    def listing(self, node: Node, shape: ListShape, path: str) -> list[Any]:
        children = node.children
        if not self.ec2 and not shape.serialization.get("flattened"):
            element = shape.member.serialization.get("name", "member")
            for name in children:
                if name != element:
                    raise self.unknown(f"{path}.{name}")
            children = children[element].children if element in children else {}
            path = f"{path}.{element}"
        for index in children:
            if not index.isdigit():
                raise self.unknown(f"{path}.{index}")
        ordered = sorted(children.items(), key=lambda item: int(item[0]))
        read = [self.value(child, shape.member, f"{path}.{index}") for index, child in ordered]
        self.bounds(len(read), shape, read, path.removesuffix(".member"), "length")
        return read

    def scalar(self, text: str, shape: Shape, kind: str, path: str) -> Any:
        match kind:
            case "integer" | "long":
                try:
                    number = int(text)
                except ValueError:
                    raise self.invalid(text, path, "Member must be a whole number") from None
                self.bounds(number, shape, text, path, "value")
                return number
            case "float" | "double":
                try:
                    return float(text)
                except ValueError:
                    raise self.invalid(text, path, "Member must be a number") from None
            case "boolean":
                if text.lower() not in ("true", "false"):
                    raise self.invalid(text, path, "Member must be true or false")
                return text.lower() == "true"
            case "timestamp":
                return self.timestamp(text, path)
            case "blob":
                try:
                    return base64.b64decode(text, validate=True)
                except binascii.Error:
                    raise self.invalid(text, path, "Member must be base64") from None
            case _:
                return self.string(text, shape, path)

    def string(self, text: str, shape: Shape, path: str) -> str:
        allowed = shape.metadata.get("enum")
        if allowed and text not in allowed:
            raise self.invalid(text, path, f"Member must satisfy enum value set: [{', '.join(allowed)}]")
        self.bounds(len(text), shape, text, path, "length")
        pattern = shape.metadata.get("pattern")
        compiled = _compiled(pattern) if pattern else None
        if compiled and not compiled.fullmatch(text):
            raise self.invalid(text, path, f"Member must satisfy regular expression pattern: {pattern}")
        return text

    def timestamp(self, text: str, path: str) -> datetime:
        try:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError:
            raise self.invalid(text, path, "Member must be an ISO 8601 time") from None
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)

    def bounds(self, measure: int, shape: Shape, value: Any, path: str, what: str) -> None:
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        if low is not None and measure < low:
            raise self.invalid(value, path, f"Member must have {what} greater than or equal to {low}")
        if high is not None and measure > high:
            raise self.invalid(value, path, f"Member must have {what} less than or equal to {high}")

    def wire_name(self, shape: Shape, name: str) -> str:
        """EC2 capitalises; the query protocol takes the location name."""
        location = shape.serialization.get("name", name)
        if not self.ec2:
            return location
        return shape.serialization.get("queryName") or location[0].upper() + location[1:]

    def unknown(self, path: str) -> AwsError:
        if self.ec2:
            return AwsError("UnknownParameter", f"The parameter {path} is not recognized")
        return AwsError("ValidationError", f"1 validation error detected: unknown parameter '{path}'")

    def missing(self, path: str) -> AwsError:
        if self.ec2:
            return AwsError("MissingParameter", f"The request must contain the parameter {path}")
        return _constraint("null", path, "Member must not be null")

    def invalid(self, value: Any, path: str, constraint: str) -> AwsError:
        if self.ec2:
            return AwsError("InvalidParameterValue", f"Invalid value '{value}' for {path}. {constraint}")
        return _constraint(f"'{value}'", path, constraint)


def _constraint(value: str, path: str, constraint: str) -> AwsError:
    place = path[0].lower() + path[1:]
    return AwsError(
        "ValidationError",
        f"1 validation error detected: Value {value} at '{place}' failed to satisfy constraint: {constraint}",
    )


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """None for the patterns with surrogate pairs, which Java reads and Python does not."""
    try:
        return re.compile(pattern)
    except re.error:
        return None
