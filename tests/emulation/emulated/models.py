"""botocore's service models, loaded once. Invariant: read only."""

from __future__ import annotations

import functools

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel

SERVICES = ("autoscaling", "ec2")
"""The services whose requests are judged and whose answers may be written here."""


@functools.cache
def service_model(service: str) -> ServiceModel:
    """The model of a service in the installed botocore."""
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


@functools.cache
def operation_model(service: str, action: str) -> OperationModel | None:
    """The model of an action, or None when the service has no such action."""
    model = service_model(service)
    return model.operation_model(action) if action in model.operation_names else None
