"""The one exception that a handler raises to answer with an error of AWS."""

from __future__ import annotations


class AwsError(Exception):
    """An error answer: AWS's code, its message and the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def validation(message: str) -> AwsError:
    """What Auto Scaling answers to nearly every bad value."""
    return AwsError("ValidationError", message)


def no_group(name: str) -> AwsError:
    """An unknown group. The wording is from memory of the service: inferred."""
    return validation(f"AutoScalingGroup name not found - AutoScalingGroup {name} not found")


def no_instance(instance_id: str) -> AwsError:
    """An instance that no group has. Inferred wording."""
    return validation(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")


def bad_token() -> AwsError:
    """A NextToken that was not ours (the code is the model's)."""
    return AwsError("InvalidNextToken", "The token '***' is invalid.")
