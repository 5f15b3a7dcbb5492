"""The EventBridge events that AWS would have sent, kept to be read and posted to whoever asked for them.

What lives here: the envelope, the log, the posting. What may not: when an event is due. Invariant: an event is kept
even if its posting fails. Source of the shapes: the event reference of the Auto Scaling and EC2 user guides.
"""

from __future__ import annotations

import json
import queue
import threading
import urllib.error
import urllib.request
import uuid
from collections import deque
from typing import Any

from .reply import timestamp

EVENTS_MAX = 100_000
POST_SECONDS_MAX = 5.0


class Events:
    """The log of events of all accounts."""

    def __init__(self) -> None:
        self.sent: deque[dict[str, Any]] = deque(maxlen=EVENTS_MAX)
        self.targets: list[str] = []
        self.duplicates = 1
        self.headers: dict[str, str] = {}
        self._queue: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.failures: deque[str] = deque(maxlen=100)
        threading.Thread(target=self._post_all, name="events", daemon=True).start()

    def emit(
        self,
        now: float,
        account: str,
        region: str,
        source: str,
        kind: str,
        resources: list[str],
        detail: dict[str, Any],
    ) -> None:
        """Keeps the event and hands it to every target, as often as `duplicates` says."""
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": kind,
            "source": source,
            "account": account,
            "time": timestamp(now)[:19] + "Z",
            "region": region,
            "resources": resources,
            "detail": detail,
        }
        self.sent.append(event)
        body = json.dumps(event).encode()
        for target in self.targets:
            for _ in range(self.duplicates):
                self._queue.put((target, body))

    def forget(self) -> None:
        self.sent.clear()
        self.targets.clear()
        self.failures.clear()
        self.headers = {}
        self.duplicates = 1

    def _post_all(self) -> None:
        while True:
            target, body = self._queue.get()
            request = urllib.request.Request(target, body, {"Content-Type": "application/json"} | self.headers)
            try:
                self._opener.open(request, timeout=POST_SECONDS_MAX).close()
            except (OSError, urllib.error.URLError, ValueError) as problem:
                self.failures.append(f"{target}: {problem}")
