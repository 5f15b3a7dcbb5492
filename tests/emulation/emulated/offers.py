"""Which instance types a group may launch, in which order, and what of them EC2 gives.

What lives here: mixed instances policies, allocation strategies, selection by attributes. What may not: groups' sizes.
Invariant: the same policy, prices and faults give the same choice. Inferred: AWS does not say how it weighs capacity
against price; here a made-up depth of each spot pool decides, and the first type in order takes all it can get.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import AwsError, validation
from .network import Place
from .prices import catalogue, offered, on_demand, share
from .templates import Launch

if TYPE_CHECKING:
    from .groups import Group
    from .world import Region, World

SPOT, ON_DEMAND = "spot", "on-demand"


@dataclass(frozen=True)
class Offer:
    """A type with the launch template version to launch it from."""

    type: str
    market: str
    launch: Launch


@dataclass(frozen=True)
class Given:
    """What EC2 gave of one offer."""

    offer: Offer
    count: int
    error: AwsError | None


def distribution(group: Group) -> dict[str, Any]:
    """The distribution with the model's defaults."""
    policy = group.given.get("MixedInstancesPolicy") or {}
    overrides = (policy.get("LaunchTemplate") or {}).get("Overrides") or []
    by_attributes = any("InstanceRequirements" in override for override in overrides)
    defaults = {
        "OnDemandAllocationStrategy": "lowest-price" if by_attributes else "prioritized",
        "OnDemandBaseCapacity": 0,
        "OnDemandPercentageAboveBaseCapacity": 100,
        "SpotAllocationStrategy": "lowest-price",
    }
    return defaults | (policy.get("InstancesDistribution") or {})


def single_market(region: Region, group: Group) -> str | None:
    """The market of a group that has only one."""
    if "MixedInstancesPolicy" not in group.given:
        return _template_market(region.templates.choose(group.given["LaunchTemplate"]))
    split = distribution(group)
    if split["OnDemandPercentageAboveBaseCapacity"] == 100:
        return ON_DEMAND
    if split["OnDemandPercentageAboveBaseCapacity"] == 0 and split["OnDemandBaseCapacity"] == 0:
        return SPOT
    return None


def next_markets(region: Region, group: Group, wanted: int) -> list[tuple[str, int]]:
    """How many of the wanted instances to launch in which market, by base and percentage."""
    only = single_market(region, group)
    if only is not None:
        return [(only, wanted)]
    split = distribution(group)
    serving = group.serving()
    total = len(serving) + wanted
    base = min(split["OnDemandBaseCapacity"], total)
    above = -(-(total - base) * split["OnDemandPercentageAboveBaseCapacity"] // 100)
    have = sum(1 for member in serving if member.machine.market == ON_DEMAND)
    first = max(0, min(wanted, base + above - have))
    return [(market, count) for market, count in ((ON_DEMAND, first), (SPOT, wanted - first)) if count]


def offers(world: World, region: Region, group: Group, market: str, zone: str) -> list[Offer]:
    """All offers of the group in a market and zone, best first."""
    policy = group.given.get("MixedInstancesPolicy")
    if policy is None:
        launch = region.templates.choose(group.given["LaunchTemplate"])
        return [Offer(launch.data.get("InstanceType", "m1.small"), market, launch)]
    base = policy["LaunchTemplate"]["LaunchTemplateSpecification"]
    found: list[Offer] = []
    for override in policy["LaunchTemplate"].get("Overrides") or [{}]:
        spec = override.get("LaunchTemplateSpecification") or base
        launch = region.templates.choose(spec, override.get("ImageId"))
        if needs := override.get("InstanceRequirements"):
            found += [Offer(kind, market, launch) for kind in matching(needs) if zone in offered(region.name, kind)]
        else:
            kind = override.get("InstanceType") or launch.data.get("InstanceType", "m1.small")
            found.append(Offer(kind, market, launch))
    return _ordered(region, distribution(group), found, market, zone)


def _ordered(region: Region, split: dict[str, Any], found: list[Offer], market: str, zone: str) -> list[Offer]:
    if market == ON_DEMAND:
        return (
            found
            if split["OnDemandAllocationStrategy"] == "prioritized"
            else sorted(found, key=lambda offer: on_demand(offer.type))
        )

    def price(offer: Offer) -> float:
        return region.prices.spot(offer.type, zone)

    def depth(offer: Offer) -> float:
        return share("depth", offer.type, zone)

    match split["SpotAllocationStrategy"]:
        case "lowest-price":
            return sorted(found, key=price)
        case "capacity-optimized" | "capacity-optimized-prioritized":
            return sorted(found, key=lambda offer: -depth(offer))
        case _:
            return sorted(found, key=lambda offer: price(offer) * (1.5 - depth(offer)))


def take(world: World, region: Region, group: Group, choices: list[Offer], place: Place, wanted: int) -> list[Given]:
    """Asks EC2 for the wanted number in one place, offer after offer, until it is reached or nothing is left."""
    given: list[Given] = []
    for offer in choices:
        if wanted == 0:
            break
        granted, error = 0, _refusal(region, group, offer, place)
        if error is None:
            granted, error = world.faults.grant(
                wanted,
                account=region.account,
                group=group.name,
                instance_type=offer.type,
                zone=place.zone,
                market=offer.market,
            )
        given.append(Given(offer, granted, error))
        wanted -= granted
    return given


def _refusal(region: Region, group: Group, offer: Offer, place: Place) -> AwsError | None:
    """Why EC2 cannot give this at all: no such type, not in this zone, or a price limit below the price."""
    if offer.type not in catalogue():
        return AwsError("InvalidParameterValue", f"Invalid value '{offer.type}' for InstanceType.")
    where = offered(region.name, offer.type)
    if place.zone not in where:
        text = f"Your requested instance type ({offer.type}) is not supported in your requested Availability Zone "
        hint = f"({place.zone}). Please retry your request by choosing {', '.join(where)}." if where else "."
        return AwsError("Unsupported", text + hint)
    limit = distribution(group).get("SpotMaxPrice")
    if limit and offer.market == SPOT and float(limit) < region.prices.spot(offer.type, place.zone):
        return AwsError("SpotMaxPriceTooLow", "Your Spot request price is lower than the minimum required price.")
    return None


def _template_market(launch: Launch) -> str:
    options = launch.data.get("InstanceMarketOptions") or {}
    return SPOT if options.get("MarketType") == "spot" else ON_DEMAND


def check(region: Region, given: dict[str, Any]) -> None:
    """Refuses a policy that AWS refuses when a group is made: no template, unknown version, bad strategy."""
    policy = given.get("MixedInstancesPolicy")
    if policy is None:
        if "LaunchTemplate" not in given:
            raise validation(
                "Valid requests must contain either LaunchTemplate, MixedInstancesPolicy, or a launch configuration."
            )
        _check_template(region, given["LaunchTemplate"])
        return
    template = policy.get("LaunchTemplate") or {}
    if "LaunchTemplateSpecification" not in template:
        raise validation("Valid requests must contain a LaunchTemplateSpecification in the MixedInstancesPolicy.")
    _check_template(region, template["LaunchTemplateSpecification"])
    if _template_market(region.templates.choose(template["LaunchTemplateSpecification"])) == SPOT:
        text = "You can't use a launch template that requests Spot Instances (InstanceMarketOptions) "
        raise validation(f"{text}when you configure an Auto Scaling group with a mixed instances policy.")
    overrides = template.get("Overrides") or []
    if len(overrides) > 40:
        raise validation("The number of launch template overrides cannot exceed 40.")
    for override in overrides:
        if "LaunchTemplateSpecification" in override:
            _check_template(region, override["LaunchTemplateSpecification"])
        if ("InstanceRequirements" in override) == ("InstanceType" in override):
            raise validation("Each override must have either InstanceType or InstanceRequirements.")
    if len({"InstanceRequirements" in override for override in overrides}) > 1:
        raise validation("Overrides cannot mix InstanceType and InstanceRequirements.")
    _check_distribution(policy.get("InstancesDistribution") or {}, any("InstanceRequirements" in o for o in overrides))


def _check_distribution(split: dict[str, Any], by_attributes: bool) -> None:
    if split.get("OnDemandAllocationStrategy", "prioritized") not in ("prioritized", "lowest-price"):
        raise validation("Invalid OnDemandAllocationStrategy.")
    spot = split.get("SpotAllocationStrategy", "lowest-price")
    if spot not in ("lowest-price", "capacity-optimized", "capacity-optimized-prioritized", "price-capacity-optimized"):
        raise validation("Invalid SpotAllocationStrategy.")
    if by_attributes and (
        spot == "capacity-optimized-prioritized" or split.get("OnDemandAllocationStrategy") == "prioritized"
    ):
        raise validation("Prioritized strategies cannot be used with InstanceRequirements.")
    if not 0 <= split.get("OnDemandPercentageAboveBaseCapacity", 100) <= 100:
        raise validation("OnDemandPercentageAboveBaseCapacity must be between 0 and 100.")
    if split.get("OnDemandBaseCapacity", 0) < 0:
        raise validation("OnDemandBaseCapacity must not be negative.")
    if "SpotInstancePools" in split and spot != "lowest-price":
        raise validation("SpotInstancePools is valid only with the lowest-price strategy.")


def _check_template(region: Region, spec: dict[str, Any]) -> None:
    try:
        launch = region.templates.choose(spec)
    except AwsError as problem:
        raise validation(f"You must use a valid fully-formed launch template. {problem.message}") from None
    if not launch.image_id:
        raise validation(
            "You must use a valid fully-formed launch template. The request must contain the parameter ImageId"
        )


def matching(needs: dict[str, Any]) -> list[str]:
    """The current types that meet the requirements that are understood here (README lists them)."""
    allowed, excluded = _globs(needs.get("AllowedInstanceTypes")), _globs(needs.get("ExcludedInstanceTypes"))
    makers = {
        {"intel": "Intel", "amd": "AMD", "amazon-web-services": "AWS"}.get(m, m)
        for m in needs.get("CpuManufacturers", [])
    }
    found = []
    for kind, facts in catalogue().items():
        if not _within(needs["VCpuCount"], facts["VCpuInfo"]["DefaultVCpus"]):
            continue
        if not _within(needs["MemoryMiB"], facts["MemoryInfo"]["SizeInMiB"]):
            continue
        if (allowed and not allowed.fullmatch(kind)) or (excluded and excluded.fullmatch(kind)):
            continue
        if facts.get("BareMetal") and needs.get("BareMetal", "excluded") == "excluded":
            continue
        if facts.get("BurstablePerformanceSupported") and needs.get("BurstablePerformance", "excluded") == "excluded":
            continue
        if needs.get("InstanceGenerations") == ["current"] and not facts.get("CurrentGeneration"):
            continue
        if makers and facts.get("ProcessorInfo", {}).get("Manufacturer") not in makers:
            continue
        if "AcceleratorCount" not in needs and ("GpuInfo" in facts or "InferenceAcceleratorInfo" in facts):
            continue
        found.append(kind)
    return sorted(found)


def _within(bounds: dict[str, int], value: int) -> bool:
    return bounds.get("Min", 0) <= value <= bounds.get("Max", 1 << 40)


def _globs(patterns: list[str] | None) -> re.Pattern[str] | None:
    if not patterns:
        return None
    return re.compile("|".join(re.escape(pattern).replace(r"\*", ".*") for pattern in patterns))
