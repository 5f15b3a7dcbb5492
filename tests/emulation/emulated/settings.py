"""The delays of the emulated AWS. Invariant: every field is a number or a word that `/_emulation/settings` can set."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass
class Settings:
    """All times in milliseconds. The defaults are short: tests advance time or poll, and never sleep."""

    evaluate_ms: int = 50
    """From a change of a group (desired capacity, a lost member) until the group acts on it."""
    boot_ms: int = 50
    """From Pending to running, for a new instance and for one that starts out of a warm pool."""
    settle_ms: int = 10
    """From Pending:Proceed or Terminating:Proceed to the next state."""
    stop_ms: int = 50
    """From stopping to stopped."""
    terminate_ms: int = 50
    """From shutting-down to terminated."""
    health_check_ms: int = 100
    """From the end of an instance until its group has noticed."""
    retry_ms: int = 1000
    """First pause of a group after a failed launch; doubles with each further failure."""
    retry_max_ms: int = 60_000
    """Longest such pause."""
    visibility_ms: int = 0
    """How long new instances are missing from what Describe calls return."""
    terminated_visible_ms: int = 3_600_000
    """How long a terminated instance can still be described (EC2 says: about an hour)."""
    spot_notice_ms: int = 120_000
    """From the interruption warning to the interruption (EC2: two minutes)."""
    second_terminate: str = "refuse"
    """What TerminateInstanceInAutoScalingGroup does to a member that is already terminating: `refuse` answers
    ScalingActivityInProgress; `decrement` counts again. The documentation does not say, so a caller must bear both."""

    def change(self, changes: dict[str, object]) -> None:
        """Sets some fields. Raises ValueError for an unknown name or a value of another type."""
        known = {field.name: type(getattr(self, field.name)) for field in dataclasses.fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"unknown setting {name}; there are {', '.join(known)}")
            if type(value) is not known[name]:
                raise ValueError(f"{name} must be of type {known[name].__name__}")
            setattr(self, name, value)
