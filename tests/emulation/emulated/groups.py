"""Groups, members, hooks, pools: the state of Auto Scaling.

What lives here: data, and questions about it that need no clock. What may not: transitions (see `lifecycle`, `engine`).
Invariant: a member is in `Group.members` from its launch until it is gone, whether in service or in the warm pool.
"""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from .machines import Machine
from .network import Place

ACTIVITIES_MAX = 5_000
PROCESSES = (
    "Launch",
    "Terminate",
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "InstanceRefresh",
    "ReplaceUnhealthy",
    "ScheduledActions",
)
"""The processes that SuspendProcesses knows (botocore's documentation of the action)."""

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"


@dataclass
class Hook:
    """A lifecycle hook of a group."""

    name: str
    transition: str
    heartbeat_s: int = 3600
    default_result: str = "ABANDON"
    target: str | None = None
    role: str | None = None
    metadata: str | None = None

    @property
    def global_s(self) -> int:
        """The longest wait: 48 hours or a hundred heartbeats (DescribeLifecycleHooks)."""
        return min(172_800, 100 * self.heartbeat_s)


@dataclass
class Action:
    """A hook that holds a member."""

    hook: Hook
    token: str
    until: float
    longest: float


@dataclass
class Activity:
    """A scaling activity."""

    group: str
    group_arn: str
    description: str
    cause: str
    start: float
    details: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "InProgress"
    message: str | None = None
    progress: int = 50
    end: float | None = None


@dataclass
class Member:
    """An instance of a group, or of its warm pool."""

    machine: Machine
    state: str
    protected: bool
    origin: str
    destination: str
    activity: Activity
    health: str = "Healthy"
    in_service_at: float | None = None
    actions: dict[str, Action] = field(default_factory=dict)
    abandoned: bool = False
    step: int = 0
    """Counts transitions, so that what was due for a former state is recognised as stale."""

    @property
    def warm(self) -> bool:
        return self.state.startswith("Warmed:")

    @property
    def ending(self) -> bool:
        return "Terminating" in self.state or "Terminated" in self.state

    @property
    def waiting(self) -> bool:
        """Ready in the pool, to be taken."""
        return self.state in ("Warmed:Stopped", "Warmed:Hibernated", "Warmed:Running")


@dataclass
class Pool:
    """A warm pool's configuration."""

    state: str = "Stopped"
    min_size: int = 0
    prepared_max: int | None = None
    reuse: bool | None = None
    deleting: bool = False


@dataclass
class Group:
    """An Auto Scaling group. `given` holds what was asked for, under the model's names, to be echoed."""

    name: str
    account: str
    region: str
    created: float
    given: dict[str, Any]
    min_size: int
    max_size: int
    desired: int
    places: list[Place]
    tags: dict[str, tuple[str, bool]] = field(default_factory=dict)
    suspended: dict[str, str] = field(default_factory=dict)
    hooks: dict[str, Hook] = field(default_factory=dict)
    pool: Pool | None = None
    members: dict[str, Member] = field(default_factory=dict)
    activities: deque[Activity] = field(default_factory=lambda: deque(maxlen=ACTIVITIES_MAX))
    deleting: bool = False
    failures: int = 0
    blocked_until: float = 0.0
    awake: bool = False
    stuck_at: int | None = None
    """The desired capacity that protection keeps the group from."""
    change: str = ""
    """Why desired capacity changed last, for the cause of activities."""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def arn(self) -> str:
        prefix = f"arn:aws:autoscaling:{self.region}:{self.account}:autoScalingGroup"
        return f"{prefix}:{self.id}:autoScalingGroupName/{self.name}"

    def serving(self) -> list[Member]:
        """What counts towards desired capacity: neither in the pool nor ending."""
        return [member for member in self.members.values() if not member.warm and not member.ending]

    def pooled(self) -> list[Member]:
        """What counts towards the size of the warm pool."""
        return [member for member in self.members.values() if member.warm and not member.ending]

    def listed(self) -> list[Member]:
        """What DescribeAutoScalingGroups lists."""
        return [member for member in self.members.values() if not member.warm]

    def may(self, process: str) -> bool:
        return process not in self.suspended

    def hooks_for(self, transition: str) -> list[Hook]:
        return [hook for hook in self.hooks.values() if hook.transition == transition]

    @property
    def zones(self) -> list[str]:
        return sorted({place.zone for place in self.places})
