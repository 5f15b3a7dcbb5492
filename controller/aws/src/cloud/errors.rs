//! What EC2, Auto Scaling, STS and SSM answer when they do not do what was asked: the one table of their codes.
//!
//! What lives here: codes and what to do about each, and which failures may hide an effect. What may not: a retry.
//!
//! Invariant: a failure after which the request may have taken effect is told as such. Only an answer of the service, or
//! a request that was never sent, proves that nothing happened.

use std::fmt;

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use muster_core::launch::LaunchErrorKind;
use muster_core::ports::CloudError;

use super::budget::Api;
use crate::calls;

/// Codes by meaning. From the EC2 API's list of error codes, `CreateFleet`'s and `LaunchInstances`' `ErrorCode`, and the
/// faults of the Auto Scaling and STS models.
const CODES: &[(LaunchErrorKind, &[&str])] = &[
    (
        LaunchErrorKind::Capacity,
        &[
            "InsufficientInstanceCapacity",
            "InsufficientHostCapacity",
            "InsufficientReservedInstanceCapacity",
            "InsufficientCapacity",
            "InsufficientCapacityOnHost",
            "InsufficientFreeAddressesInSubnet",
            "InsufficientAddressCapacity",
            "InsufficientVolumeCapacity",
            "UnfulfillableCapacity",
            "SpotMaxPriceTooLow",
            "ReservationCapacityExceeded",
        ],
    ),
    (
        LaunchErrorKind::Quota,
        &[
            "VcpuLimitExceeded",
            "MaxSpotInstanceCountExceeded",
            "MaxSpotFleetRequestCountExceeded",
            "InstanceLimitExceeded",
            "VolumeLimitExceeded",
            "MaxIOPSLimitExceeded",
            "AddressLimitExceeded",
            "NetworkInterfaceLimitExceeded",
            "HostLimitExceeded",
            "PendingVerification",
            // Auto Scaling: the account's number of groups.
            "LimitExceeded",
            "LimitExceededFault",
        ],
    ),
    (
        LaunchErrorKind::Throttled,
        &[
            "RequestLimitExceeded",
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "TooManyRequestsException",
            "EC2ThrottledException",
            "ResourceLimitExceeded",
            "ConcurrentTagAccess",
            // Auto Scaling: another change of the same group is under way.
            "ResourceContention",
            "ResourceContentionFault",
            "ScalingActivityInProgress",
            "ScalingActivityInProgressFault",
        ],
    ),
    (
        LaunchErrorKind::Configuration,
        &[
            "AccessDenied",
            "AccessDeniedException",
            "AuthFailure",
            "Blocked",
            "ExpiredToken",
            "ExpiredTokenException",
            "IdempotentParameterMismatch",
            "IncompleteSignature",
            "InvalidAction",
            "InvalidClientTokenId",
            "InvalidQueryParameter",
            "InvalidSignatureException",
            "LaunchTemplateNameNotFoundException",
            "MalformedQueryString",
            "MissingParameter",
            "OperationNotPermitted",
            "OptInRequired",
            "ParameterNotFound",
            "SignatureDoesNotMatch",
            "UnauthorizedOperation",
            "UnknownParameter",
            "UnrecognizedClientException",
            "Unsupported",
            "UnsupportedHibernationConfiguration",
            "UnsupportedOperation",
            "ValidationError",
            "ValidationException",
        ],
    ),
];

/// Families of codes that all mean that the request, or what it names, is wrong.
const CONFIGURATION_FAMILIES: &[&str] = &[
    "InvalidAMIID",
    "InvalidAvailabilityZone",
    "InvalidBlockDeviceMapping",
    "InvalidGroup",
    "InvalidIamInstanceProfile",
    "InvalidInstanceID",
    "InvalidInstanceType",
    "InvalidKeyPair",
    "InvalidKmsKey",
    "InvalidLaunchTemplate",
    "InvalidParameter",
    "InvalidSecurityGroup",
    "InvalidSnapshot",
    "InvalidSubnet",
    "InvalidSubnetID",
    "InvalidTag",
    "InvalidUserData",
];

/// Answers that say that an earlier request under the same token is still being worked on.
const IN_PROGRESS: &[&str] = &["IdempotentCallInProgress", "IdempotentCallInProgressFault"];
/// Codes that say that the credentials are no longer good.
const STALE_CREDENTIALS: &[&str] = &[
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "AuthFailure",
    "InvalidSignatureException",
];
/// Codes that a session gets which was revoked, or which is older than what its role may do now.
const REFUSED_SESSION: &[&str] = &["AccessDenied", "AccessDeniedException", "UnauthorizedOperation"];
/// Codes of a region or partition in which an action does not exist.
const NO_SUCH_ACTION: &[&str] = &["InvalidAction", "UnsupportedOperation", "UnknownOperationException"];

/// What a code says about a launch.
pub(super) fn meaning(code: &str) -> LaunchErrorKind {
    let listed = CODES.iter().find(|(_, codes)| codes.contains(&code)).map(|(kind, _)| *kind);
    let family = || {
        let stem = code.split('.').next().unwrap_or(code);
        let known = CONFIGURATION_FAMILIES.iter().any(|family| stem.starts_with(family));
        if known { LaunchErrorKind::Configuration } else { LaunchErrorKind::Unknown }
    };
    listed.unwrap_or_else(family)
}

/// What to do about a code; `None` if the code says it all.
fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => {
            "the role may not do that: compare its policy with the stack's"
        }
        "VcpuLimitExceeded" | "MaxSpotInstanceCountExceeded" | "InstanceLimitExceeded" => {
            "ask for a higher quota in Service Quotas"
        }
        "InsufficientFreeAddressesInSubnet" => "give the fleet larger subnets, or more of them",
        "LimitExceeded" | "LimitExceededFault" => {
            "the account has as many groups as it may have: ask for a higher quota"
        }
        "ParameterNotFound" => "the image's parameter is not in this account and region",
        "PendingVerification" => "AWS is verifying the account: it says by mail when it is through",
        _ => return None,
    })
}

/// A call that failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// The service's code, if it answered with one.
    pub(super) code: Option<String>,
    /// What was tried, where, and the service's words.
    pub(super) text: String,
    kind: LaunchErrorKind,
    uncertain: bool,
}

impl Failure {
    /// What a failed call means. `account` is for people.
    pub(super) fn of<E>(api: Api, account: &str, error: &SdkError<E>) -> Failure
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let what = api.name();
        match error {
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                Failure::answered(what, account, answer.err().code(), answer.err().message(), status)
            }
            SdkError::ConstructionFailure(_) => Failure {
                code: None,
                text: format!("{what} in {account} was not sent: {}", calls::chain(error)),
                kind: LaunchErrorKind::Configuration,
                uncertain: false,
            },
            SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) | _ => Failure {
                code: None,
                text: format!("{what} in {account}: {}", calls::chain(error)),
                kind: LaunchErrorKind::Unknown,
                uncertain: true,
            },
        }
    }

    /// What an answer of the service means.
    fn answered(what: &str, account: &str, code: Option<&str>, message: Option<&str>, status: u16) -> Failure {
        let kind = code.map_or(LaunchErrorKind::Unknown, meaning);
        let remedy = code.and_then(remedy).map(|remedy| format!("; {remedy}")).unwrap_or_default();
        let words = format!("{}: {}", code.unwrap_or("no error code"), message.unwrap_or("no message"));
        // EC2 throttles with status 503: a code that we know is believed before the status.
        let in_progress = code.is_some_and(|code| IN_PROGRESS.contains(&code));
        let uncertain = in_progress || (status >= 500 && kind == LaunchErrorKind::Unknown);
        Failure {
            code: code.map(str::to_owned),
            text: format!("{what} in {account}: {words}{remedy}"),
            kind,
            uncertain,
        }
    }

    /// A refusal of our own, before anything was sent.
    pub(super) fn ours(kind: LaunchErrorKind, text: impl Into<String>) -> Failure {
        Failure { code: None, text: text.into(), kind, uncertain: false }
    }

    /// Whether it has this code.
    pub(super) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Whether it is about something that is not there.
    pub(super) fn is_not_found(&self) -> bool {
        self.code.as_deref().is_some_and(|code| code.ends_with(".NotFound") || code.ends_with("NotFoundException"))
            || (self.is("ValidationError") && self.text.to_ascii_lowercase().contains("not found"))
    }

    /// Whether the service does not know the action.
    pub(super) fn is_unknown_action(&self) -> bool {
        self.code.as_deref().is_some_and(|code| NO_SUCH_ACTION.contains(&code))
    }

    /// Whether newer credentials may help.
    pub(super) fn is_of_stale_credentials(&self) -> bool {
        self.code.as_deref().is_some_and(|code| STALE_CREDENTIALS.contains(&code))
    }

    /// Whether the credentials' session may do nothing, or not this.
    pub(super) fn is_of_a_refused_session(&self) -> bool {
        self.code.as_deref().is_some_and(|code| REFUSED_SESSION.contains(&code))
    }

    /// What it says about a launch; `None` if the launch may have happened.
    pub(super) fn refusal(&self) -> Option<LaunchErrorKind> {
        (!self.uncertain).then_some(self.kind)
    }

    /// The same, when it came up on the way to what was wanted: that has not happened, whatever became of the call.
    pub(super) fn on_the_way(self) -> CloudError {
        match self.kind {
            LaunchErrorKind::Configuration => CloudError::Rejected(self.text),
            LaunchErrorKind::Capacity
            | LaunchErrorKind::Quota
            | LaunchErrorKind::Throttled
            | LaunchErrorKind::Outdated
            | LaunchErrorKind::Unknown => {
                if self.uncertain || self.kind == LaunchErrorKind::Throttled {
                    CloudError::Throttled(self.text)
                } else {
                    CloudError::Rejected(self.text)
                }
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Failure> for CloudError {
    fn from(failure: Failure) -> CloudError {
        if failure.uncertain {
            CloudError::Unknown(failure.text)
        } else if failure.kind == LaunchErrorKind::Throttled {
            CloudError::Throttled(failure.text)
        } else {
            CloudError::Rejected(failure.text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_meanings() {
        use LaunchErrorKind::{Capacity, Configuration, Quota, Throttled, Unknown};
        for (code, kind) in [
            ("InsufficientInstanceCapacity", Capacity),
            ("UnfulfillableCapacity", Capacity),
            ("SpotMaxPriceTooLow", Capacity),
            ("InsufficientFreeAddressesInSubnet", Capacity),
            ("VcpuLimitExceeded", Quota),
            ("MaxSpotInstanceCountExceeded", Quota),
            ("RequestLimitExceeded", Throttled),
            ("ResourceContention", Throttled),
            ("InvalidAMIID.NotFound", Configuration),
            ("InvalidAMIID.Malformed", Configuration),
            ("InvalidParameterValue", Configuration),
            ("InvalidParameterCombination", Configuration),
            ("InvalidLaunchTemplateName.NotFoundException", Configuration),
            ("InvalidLaunchTemplateId.VersionNotFound", Configuration),
            ("InvalidSubnetID.NotFound", Configuration),
            ("UnauthorizedOperation", Configuration),
            ("Unsupported", Configuration),
            ("ValidationError", Configuration),
            ("InternalError", Unknown),
            ("Gremlins", Unknown),
            ("", Unknown),
        ] {
            assert_eq!(meaning(code), kind, "{code}");
        }
    }

    #[test]
    fn no_code_is_listed_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for code in CODES.iter().flat_map(|(_, codes)| codes.iter()) {
            assert!(seen.insert(code), "{code}");
        }
    }

    /// Code, status, and what it comes to: as the answer to an effect, and as one on the way to it.
    #[test]
    fn answers_prove_or_hide_an_effect() {
        let word = |error: CloudError| match error {
            CloudError::Throttled(_) => "throttled",
            CloudError::Rejected(_) => "rejected",
            CloudError::Unknown(_) => "unknown",
        };
        for (code, status, effect, on_the_way) in [
            (Some("RequestLimitExceeded"), 503, "throttled", "throttled"),
            (Some("Throttling"), 400, "throttled", "throttled"),
            (Some("ResourceContention"), 500, "throttled", "throttled"),
            (Some("InternalError"), 500, "unknown", "throttled"),
            (Some("ServiceUnavailable"), 503, "unknown", "throttled"),
            (None, 500, "unknown", "throttled"),
            (None, 400, "rejected", "rejected"),
            (Some("IdempotentCallInProgress"), 400, "unknown", "throttled"),
            (Some("IdempotentParameterMismatch"), 400, "rejected", "rejected"),
            (Some("ValidationError"), 400, "rejected", "rejected"),
            (Some("UnauthorizedOperation"), 403, "rejected", "rejected"),
            (Some("VcpuLimitExceeded"), 400, "rejected", "rejected"),
            (Some("Gremlins"), 400, "rejected", "rejected"),
        ] {
            let failure = Failure::answered("X", "home", code, Some("m"), status);
            assert_eq!(word(failure.clone().into()), effect, "{code:?} {status}");
            assert_eq!(word(failure.on_the_way()), on_the_way, "{code:?} {status}");
        }
    }

    #[test]
    fn a_failure_says_what_was_tried_and_what_helps() {
        let failure =
            Failure::answered("LaunchInstances", "account build", Some("UnauthorizedOperation"), Some("no"), 403);
        assert_eq!(
            failure.to_string(),
            "LaunchInstances in account build: UnauthorizedOperation: no; the role may not do that: compare its policy \
             with the stack's"
        );
    }
}
