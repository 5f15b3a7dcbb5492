"""Auto Scaling: warm pools. Invariant: a group with spot instances has none (user guide, limitations of warm pools)."""

from __future__ import annotations

from . import lifecycle, offers, views
from .actions import Context, Params, action, page, with_token
from .errors import AwsError, validation
from .groups import Pool


@action("autoscaling", "PutWarmPool")
def put(context: Context, params: Params) -> Params:
    """An update keeps what it does not name (inferred); MaxGroupPreparedCapacity -1 returns to MaxSize."""
    group = context.group(params["AutoScalingGroupName"])
    if offers.single_market(context.region, group) != offers.ON_DEMAND:
        raise validation("You can't add a warm pool to an Auto Scaling group that has Spot Instances.")
    old = group.pool or Pool()
    if old.deleting:
        raise AwsError("LimitExceeded", "The warm pool is being deleted.")
    prepared = params.get("MaxGroupPreparedCapacity", old.prepared_max)
    reuse = params.get("InstanceReusePolicy", {}).get("ReuseOnScaleIn", old.reuse)
    state, least = params.get("PoolState", old.state), params.get("MinSize", old.min_size)
    if state == "Hibernated" and not _hibernates(context, group.given):
        raise validation("The launch template must turn hibernation on for a warm pool in the state Hibernated.")
    if prepared not in (None, -1) and prepared < least:
        raise validation("MaxGroupPreparedCapacity must not be lower than the warm pool's MinSize.")
    group.pool = Pool(state, least, None if prepared == -1 else prepared, reuse)
    context.world.wake(group)
    return {}


def _hibernates(context: Context, given: Params) -> bool:
    policy = given.get("MixedInstancesPolicy")
    spec = policy["LaunchTemplate"]["LaunchTemplateSpecification"] if policy else given["LaunchTemplate"]
    return bool(context.region.templates.choose(spec).data.get("HibernationOptions", {}).get("Configured"))


@action("autoscaling", "DescribeWarmPool")
def describe(context: Context, params: Params) -> Params:
    group = context.group(params["AutoScalingGroupName"])
    members = [m for m in group.members.values() if m.warm and context.world.visible(m.machine)]
    chosen, token = page(members, params, 50, 50)
    answer: Params = {"Instances": [views.member_of(member) for member in chosen]}
    if group.pool:
        answer["WarmPoolConfiguration"] = views.pool(group.pool)
    return with_token(answer, token)


@action("autoscaling", "DeleteWarmPool")
def delete(context: Context, params: Params) -> Params:
    """Without ForceDelete the instances' terminate hooks still run; the pool is listed until they are gone."""
    group = context.group(params["AutoScalingGroupName"])
    if group.pool is None:
        raise validation(f"No warm pool found for AutoScalingGroup {group.name}")
    group.pool.deleting = True
    for member in [member for member in group.members.values() if member.warm]:
        if not member.ending:
            cause = f"At {lifecycle.moment(context.world)} a user request deleted the warm pool."
            lifecycle.end(context.world, group, member, cause)
        if params.get("ForceDelete"):
            for name in list(member.actions):
                lifecycle.complete(context.world, group, member, name, "ABANDON")
    context.world.wake(group)
    return {}
