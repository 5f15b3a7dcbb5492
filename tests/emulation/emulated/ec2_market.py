"""EC2: spot prices, and the tags of instances and launch templates. Invariant: prices are those the launches go by."""

from __future__ import annotations

from typing import Any

from .actions import Context, Params, action, page, with_token
from .errors import AwsError
from .network import zones
from .prices import catalogue, licence

LINUX, WINDOWS = "Linux/UNIX", "Windows"
PRODUCTS = {product + place: product for product in (LINUX, WINDOWS) for place in ("", " (Amazon VPC)")}
"""What prices are made up for; the places are the same since EC2-Classic is gone."""


@action("ec2", "DescribeSpotPriceHistory")
def history(context: Context, params: Params) -> Params:
    """Newest first. Like EC2, with a start time the price that held then is included."""
    prices, known, now = context.region.prices, zones(context.region_name), context.world.clock.now()
    wanted = {"availability-zone": None, "instance-type": None, "product-description": None}
    for one in params.get("Filters", []):
        if one.get("Name") not in wanted:
            raise AwsError("InvalidParameterValue", f"The filter '{one.get('Name')}' is invalid, or not emulated.")
        wanted[one["Name"]] = one.get("Values", [])
    kinds = params.get("InstanceTypes") or wanted["instance-type"] or sorted(catalogue())
    chosen = [zone for zone in known if params.get("AvailabilityZone") in (None, zone)]
    chosen = [zone for zone in chosen if params.get("AvailabilityZoneId") in (None, known[zone])]
    if wanted["availability-zone"] is not None:
        chosen = [zone for zone in chosen if zone in wanted["availability-zone"]]
    products = params.get("ProductDescriptions") or wanted["product-description"] or [LINUX]
    start = params["StartTime"].timestamp() if "StartTime" in params else now - 90 * 86_400
    end = params["EndTime"].timestamp() if "EndTime" in params else now
    found = []
    for product in products:
        for kind in kinds if product in PRODUCTS else []:
            for zone in chosen:
                for at, price in prices.history(kind, zone, now):
                    if at <= end:
                        price += licence(kind) if PRODUCTS[product] == WINDOWS else 0
                        found.append(_entry(kind, zone, known[zone], product, price, at))
                    if at <= start:
                        break
    found.sort(key=lambda entry: -entry["Timestamp"])
    some, token = page(found, params, 1000, 1000, "MaxResults")
    return with_token({"SpotPriceHistory": some}, token)


def _entry(kind: str, zone: str, zone_id: str, product: str, price: float, at: float) -> dict[str, Any]:
    return {
        "AvailabilityZone": zone,
        "AvailabilityZoneId": zone_id,
        "InstanceType": kind,
        "ProductDescription": product,
        "SpotPrice": f"{price:.6f}",
        "Timestamp": at,
    }


def _tags_of(context: Context, resource: str) -> dict[str, str] | None:
    region = context.region
    if resource in region.machines:
        return region.machines[resource].tags
    if resource in region.templates.by_id:
        return region.templates.by_id[resource].tags
    return None


def owns_all(context: Context, resources: list[str]) -> bool:
    """Whether all of these are instances and templates of ours, and not moto's."""
    return all(_tags_of(context, resource) is not None for resource in resources)


@action("ec2", "CreateTags")
def create_tags(context: Context, params: Params) -> Params:
    for resource in params["Resources"]:
        tags = _tags_of(context, resource)
        if tags is None:
            raise AwsError("InvalidID", f"The ID '{resource}' is not valid")
        for tag in params["Tags"]:
            if tag["Key"].startswith("aws:"):
                raise AwsError("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
            tags[tag["Key"]] = tag.get("Value", "")
    return {}


@action("ec2", "DeleteTags")
def delete_tags(context: Context, params: Params) -> Params:
    """With a value, only if the tag has it."""
    for resource in params["Resources"]:
        tags = _tags_of(context, resource)
        if tags is None:
            raise AwsError("InvalidID", f"The ID '{resource}' is not valid")
        gone = params.get("Tags") or [{"Key": key} for key in tags if not key.startswith("aws:")]
        for tag in gone:
            if tag.get("Value") in (None, tags.get(tag["Key"])):
                tags.pop(tag["Key"], None)
    return {}
