"""The register of emulated actions, and what a handler gets.

Invariant: an action has one handler; a handler is called with parameters that the model has accepted, under the world's
lock, and returns what the model's output shape describes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from .errors import AwsError, bad_token, no_group, validation
from .groups import Group
from .world import Region, World

Params = dict[str, Any]
Handler = Callable[["Context", Params], Params]
Item = TypeVar("Item")

HANDLERS: dict[tuple[str, str], Handler] = {}


@dataclass(frozen=True)
class Context:
    """Who asks, and the world."""

    world: World
    account: str
    region_name: str
    caller: str
    """The ARN of the caller, for texts."""

    @property
    def region(self) -> Region:
        return self.world.region(self.account, self.region_name)

    def group(self, name: str) -> Group:
        """Raises Auto Scaling's error for an unknown one, or one that is being deleted."""
        group = self.region.groups.get(name)
        if group is None:
            raise no_group(name)
        if group.deleting:
            raise validation(f"AutoScalingGroup '{name}' is pending delete, and cannot be updated.")
        return group


def action(service: str, name: str) -> Callable[[Handler], Handler]:
    """Registers a handler."""

    def register(handler: Handler) -> Handler:
        if (service, name) in HANDLERS:
            raise ValueError(f"{service} {name} has two handlers")
        HANDLERS[service, name] = handler
        return handler

    return register


def page(
    items: list[Item], params: Params, default: int, most: int, size_name: str = "MaxRecords"
) -> tuple[list[Item], str | None]:
    """One page by NextToken, and the token of the next."""
    size = params.get(size_name, default)
    if not 1 <= size <= most:
        raise validation(f"{size_name} must be between 1 and {most}.")
    first = _offset(params["NextToken"]) if params.get("NextToken") else 0
    last = first + size
    token = base64.b64encode(f"page:{last}".encode()).decode() if last < len(items) else None
    return items[first:last], token


def _offset(token: str) -> int:
    try:
        word, number = base64.b64decode(token, validate=True).decode().split(":")
    except (binascii.Error, ValueError):
        raise bad_token() from None
    if word != "page" or not number.isdigit():
        raise bad_token()
    return int(number)


def with_token(answer: Params, token: str | None) -> Params:
    """Adds the token if there is one."""
    return answer | {"NextToken": token} if token else answer


def not_emulated(service: str, name: str) -> AwsError:
    """An action of AWS that is missing here, said plainly rather than answered wrongly."""
    return AwsError("NotEmulated", f"{service} {name} is not emulated; tests/emulation/README.md lists what is.")
