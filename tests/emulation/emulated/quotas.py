"""EC2's quotas of vCPUs, which moto's Service Quotas lack.

What lives here: the defaults of a new account (Service Quotas, Amazon EC2). What may not: whether a launch keeps to them;
that is a capacity. Invariant: moto's answers for other services stay as they are.
"""

from __future__ import annotations

from typing import Any

from moto.servicequotas.exceptions import NoSuchResource
from moto.servicequotas.models import ServiceQuotasBackend

STANDARD = "Standard (A, C, D, H, I, M, R, T, Z)"
EC2 = {
    "L-1216C47A": (f"Running On-Demand {STANDARD} instances", 5.0),
    "L-34B43A08": (f"All {STANDARD} Spot Instance Requests", 5.0),
    "L-DB2E81BA": ("Running On-Demand G and VT instances", 0.0),
    "L-3819A6DF": ("All G and VT Spot Instance Requests", 0.0),
}

_moto = ServiceQuotasBackend.get_service_quota


def _get_service_quota(backend: ServiceQuotasBackend, service_code: str, quota_code: str) -> dict[str, Any]:
    if service_code != "ec2":
        return _moto(backend, service_code, quota_code)
    if quota_code not in EC2:
        raise NoSuchResource
    name, value = EC2[quota_code]
    return {"ServiceCode": "ec2", "QuotaCode": quota_code, "QuotaName": name, "Value": value, "Adjustable": True}


def install() -> None:
    """Gives moto the quotas."""
    ServiceQuotasBackend.get_service_quota = _get_service_quota  # type: ignore[method-assign]
