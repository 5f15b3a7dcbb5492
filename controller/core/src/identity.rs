//! Who a machine is: the evidence, and the port of the check that makes it.

use std::collections::BTreeMap;
use std::future::Future;

use thiserror::Error;

use crate::ids::InstanceId;
use crate::time::Timestamp;

/// Evidence that a caller is a certain instance. Only an [`Identity`] check may make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedInstance {
    instance: InstanceId,
}

impl VerifiedInstance {
    /// For implementations of [`Identity`], once the proof was found good.
    pub fn attested(instance: InstanceId) -> VerifiedInstance {
        VerifiedInstance { instance }
    }

    /// The instance.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }
}

/// Why a proof was refused. The texts are for our log; the caller learns only that it was refused.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The proof is malformed, wrong, stale, used before, or someone else's.
    #[error("the proof of identity is refused: {0}")]
    Refused(String),
    /// The check could not be made now.
    #[error("the identity check is unavailable: {0}")]
    Unavailable(String),
}

/// The check of a proof of identity.
pub trait Identity: Send + Sync {
    /// Checks the proof that came with a claim.
    fn verify(
        &self,
        proof: &BTreeMap<String, String>,
        now: Timestamp,
    ) -> impl Future<Output = Result<VerifiedInstance, IdentityError>> + Send;
}
