"""Roles whose policies judge what is asked in their name.

What lives here: who a key belongs to, and the verdict on one permission. What may not: which permissions a call needs
(`authorization.py`). Invariant: a call with a key of no role that was put here is judged by nothing.

The evaluator is ministack's. moto's own looks at actions only, neither at resources nor at conditions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ministack.core.iam_evaluator import (
    EvalContext,
    ParsedStatement,
    evaluate,
    parse_policy_document,
    validate_policy_document,
)


@dataclass(frozen=True)
class Need:
    """One permission that a call needs: on which resource, with which condition keys."""

    action: str
    resource: str = "*"
    keys: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Role:
    """A role with what it may do."""

    arn: str
    policies: list[list[ParsedStatement]]

    @property
    def account(self) -> str:
        return self.arn.split(":")[4]

    @property
    def name(self) -> str:
        return self.arn.rsplit("/", 1)[-1]

    def allowing(self, need: Need, region: str) -> str | None:
        """The Sid of the statement that allows it."""
        context = EvalContext(
            principal_arn=f"arn:aws:sts::{self.account}:assumed-role/{self.name}/session",
            principal_type="AssumedRole",
            principal_account=self.account,
            action=need.action,
            resource_arn=need.resource,
            region=region,
            service_context={name.lower(): value for name, value in need.keys.items()},
        )
        result = evaluate(context, self.policies)
        return result.matched_sid if result.decision == "Allow" else None


class Roles:
    """All of them, by the keys that were given out for them."""

    def __init__(self) -> None:
        self.by_key: dict[str, Role] = {}
        self.profiles: dict[str, str] = {}
        """The role of each instance profile, by the profile's ARN."""
        self.used: set[tuple[str, str, str]] = set()
        """What was allowed so far: role, Sid, action."""

    def put(self, arn: str, access_keys: list[str], policies: list[dict[str, Any]]) -> None:
        """What calls with these keys may do from now on. Raises ValueError for a policy that is none."""
        for policy in policies:
            if mistake := validate_policy_document(policy):
                raise ValueError(mistake)
        role = Role(arn, [parse_policy_document(policy) for policy in policies])
        self.by_key |= {key: role for key in access_keys}

    def missing(self, role: Role, needs: list[Need], region: str) -> Need | None:
        """The first of these permissions that the role lacks."""
        for need in needs:
            sid = role.allowing(need, region)
            if sid is None:
                return need
            self.used.add((role.name, sid, need.action))
        return None
