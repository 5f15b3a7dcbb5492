"""Launch templates and their versions.

What lives here: state and the choice of a version. What may not: the wire. Invariant: a version never changes.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from .errors import AwsError


@dataclass(frozen=True)
class Launch:
    """A version chosen for a launch, with an override's image."""

    template_id: str
    template_name: str
    version: int
    data: dict[str, Any]
    image_override: str | None = None

    @property
    def image_id(self) -> str:
        return self.image_override or self.data.get("ImageId", "")


@dataclass
class Version:
    """One version's data, under the names of RequestLaunchTemplateData."""

    number: int
    created: float
    data: dict[str, Any]
    description: str | None = None


@dataclass
class Template:
    """A launch template."""

    id: str
    name: str
    created: float
    creator: str
    versions: dict[int, Version] = field(default_factory=dict)
    default: int = 1
    latest: int = 0
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, now: float, data: dict[str, Any], description: str | None) -> Version:
        self.latest += 1
        version = Version(self.latest, now, data, description)
        self.versions[self.latest] = version
        return version

    def version(self, wanted: str | None) -> Version:
        """By number, `$Latest` or `$Default` (also without a word). Raises EC2's error for one that is not there."""
        if wanted in (None, "", "$Default"):
            number = self.default
        elif wanted == "$Latest":
            number = self.latest
        elif wanted.isdigit():
            number = int(wanted)
        else:
            raise AwsError("InvalidLaunchTemplateId.VersionNotFound", f"{wanted} is no version")
        if number not in self.versions:
            text = f"Could not find the specified version {wanted} for the launch template with ID {self.id}."
            raise AwsError("InvalidLaunchTemplateId.VersionNotFound", text)
        return self.versions[number]


class Templates:
    """The launch templates of an account and region."""

    def __init__(self) -> None:
        self.by_id: dict[str, Template] = {}
        self.tokens: dict[str, tuple[dict[str, Any], str, int]] = {}
        """Client tokens with the parameters they came with, and what they made."""

    def find(self, template_id: str | None, name: str | None) -> Template:
        """Raises EC2's error for one that is not there."""
        if template_id and name:
            raise AwsError("InvalidParameterCombination", "give LaunchTemplateId or LaunchTemplateName, not both")
        if template_id:
            if template := self.by_id.get(template_id):
                return template
            code, what = "InvalidLaunchTemplateId.NotFound", f"the ID {template_id}"
        elif name:
            for template in self.by_id.values():
                if template.name == name:
                    return template
            code, what = "InvalidLaunchTemplateName.NotFoundException", f"the name {name}"
        else:
            raise AwsError("MissingParameter", "The request must contain LaunchTemplateId or LaunchTemplateName")
        raise AwsError(code, f"At least one of the launch templates specified in the request does not exist: {what}.")

    def choose(self, spec: dict[str, Any], image: str | None = None) -> Launch:
        """The version that a LaunchTemplateSpecification names now."""
        template_id = spec.get("LaunchTemplateId")
        template = self.find(template_id, None if template_id else spec.get("LaunchTemplateName"))
        version = template.version(spec.get("Version"))
        return Launch(template.id, template.name, version.number, version.data, image)


def merged(source: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A version made from another: what is given replaces, whole member by whole member (EC2's documentation)."""
    return copy.deepcopy(source) | changes
