"""Time, and what is due. Invariant: within a due action, `now` is the moment at which it was due."""

from __future__ import annotations

import heapq
import itertools
import time
import traceback
from collections.abc import Callable


class Clock:
    """Runs with the wall clock, or stands still until it is advanced."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._stopped_at: float | None = None
        self._within: float | None = None
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.bugs: list[str] = []
        """What went wrong within due actions: bugs of the emulation, read at `/_emulation/bugs`."""

    def now(self) -> float:
        """Seconds since the epoch."""
        if self._within is not None:
            return self._within
        return self._present()

    def _present(self) -> float:
        return self._stopped_at if self._stopped_at is not None else time.time() + self._offset

    def after_ms(self, delay_ms: float, action: Callable[[], None]) -> None:
        """Runs the action that much later; with 0, at the next look."""
        heapq.heappush(self._queue, (self.now() + delay_ms / 1000, next(self._order), action))

    def run_due(self) -> None:
        """Runs what is due, in order. What becomes due meanwhile is run too."""
        if self._within is not None:
            return
        while self._queue and self._queue[0][0] <= self._present():
            due, _, action = heapq.heappop(self._queue)
            self._within = due
            try:
                action()
            except Exception:  # noqa: BLE001  nobody waits for a due action, so its failure is kept
                self.bugs.append(traceback.format_exc())
                traceback.print_exc()
            finally:
                self._within = None

    def advance(self, seconds: float) -> None:
        """Moves on by that much, running everything on the way."""
        if self._stopped_at is not None:
            self._stopped_at += seconds
        else:
            self._offset += seconds
        self.run_due()

    def stop(self) -> None:
        """From now on time moves by `advance` only."""
        self._stopped_at = self._present()

    def go(self) -> None:
        """Time runs again from where it stands."""
        if self._stopped_at is not None:
            self._offset = self._stopped_at - time.time()
            self._stopped_at = None

    def forget(self) -> None:
        """Drops what is due and returns to the wall clock."""
        self._queue.clear()
        self.bugs.clear()
        self._offset, self._stopped_at = 0.0, None
