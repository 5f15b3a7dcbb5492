"""The log of requests. Invariant: one entry for each request to AWS, in the order of their arrival."""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

CALLS_MAX = 200_000


@dataclass
class Call:
    """One request and how it was answered. `status` 0: the connection was closed without an answer."""

    at: float
    service: str
    action: str
    account: str
    region: str
    access_key: str
    role: str | None
    params: dict[str, Any] = field(default_factory=dict)
    status: int = 0
    code: str = ""


class Calls:
    """All requests since the start or the last reset."""

    def __init__(self) -> None:
        self.made: deque[Call] = deque(maxlen=CALLS_MAX)

    def list(self, service: str | None, action: str | None, account: str | None, since: float) -> list[dict[str, Any]]:
        return [
            dataclasses.asdict(call)
            for call in self.made
            if service in (None, call.service)
            and action in (None, call.action)
            and account in (None, call.account)
            and call.at >= since
        ]

    def counts(self) -> dict[str, int]:
        return dict(Counter(f"{call.service}:{call.action}" for call in self.made))
