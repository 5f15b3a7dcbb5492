//! Who a machine is: the evidence, and the port of the check that makes it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use thiserror::Error;

use crate::ids::InstanceId;
use crate::time::Timestamp;

/// Evidence that a caller is a certain instance. Only an [`Identity`] check may make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedInstance {
    instance: InstanceId,
    mark: Option<String>,
    accounts: Option<Vec<AccountName>>,
}

/// An account of the fleet by its name in the configuration. `None`: the controller's own.
pub type AccountName = Option<Arc<str>>;

impl VerifiedInstance {
    /// For implementations of [`Identity`], once the proof was found good.
    pub fn attested(instance: InstanceId) -> VerifiedInstance {
        VerifiedInstance { instance, mark: None, accounts: None }
    }

    /// With what tells this proof from every other good one, such as its signature, written in one way only: by it the door
    /// knows a proof that was used. Without it the whole proof stands for itself, and one with a field more is another.
    #[must_use]
    pub fn marked(self, mark: String) -> VerifiedInstance {
        VerifiedInstance { mark: Some(mark), ..self }
    }

    /// With the account that the instance is in: all names that the configuration has for it.
    #[must_use]
    pub fn seen_in(self, accounts: Vec<AccountName>) -> VerifiedInstance {
        VerifiedInstance { accounts: Some(accounts), ..self }
    }

    /// What tells this proof from others.
    pub fn mark(&self) -> Option<&str> {
        self.mark.as_deref()
    }

    /// Whether a machine that was launched in this account can be the instance. An identity check that knows of no accounts
    /// does not object.
    pub fn may_be_in(&self, account: &AccountName) -> bool {
        self.accounts.as_ref().is_none_or(|seen| seen.contains(account))
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
