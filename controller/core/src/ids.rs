//! Identifiers. Each is a type of its own, so that a job id cannot be passed where a run id belongs.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

number_id! {
    /// GitHub's id of a job (`workflow_job.id`).
    JobId(i64)
}
number_id! {
    /// GitHub's id of a workflow run (`workflow_job.run_id`).
    RunId(i64)
}
number_id! {
    /// GitHub's id of a runner registration.
    RunnerId(i64)
}
number_id! {
    /// The scaler's generation: raised by every write of the one writer.
    Generation(u64)
}

text_id! {
    /// An EC2 instance id, such as `i-0123456789abcdef0`.
    InstanceId
}
text_id! {
    /// A runner's name as registered with GitHub; at most 64 characters.
    RunnerName
}
text_id! {
    /// A launch: one committed intent. It is also the client token of the call to the cloud.
    LaunchId
}
text_id! {
    /// A runner class, written `pool/size-or-type/market`.
    ClassId
}
text_id! {
    /// A shape: hardware, market, image, network and account, as one readable key.
    ShapeId
}
text_id! {
    /// A pool's name, as in the configuration.
    PoolName
}
text_id! {
    /// An availability zone.
    Zone
}

/// What the ledger is keyed by: a job and the attempt of its run. A re-run has a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobKey {
    /// The job.
    pub job: JobId,
    /// The run's attempt, from 1.
    pub attempt: u32,
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.job, self.attempt)
    }
}

impl InstanceId {
    /// Reads an id as EC2 gives it: `i-` and 8 (until 2016) or 17 hexadecimal digits. `None` if it is none.
    pub fn parse(text: &str) -> Option<InstanceId> {
        let digits = text.strip_prefix("i-").filter(|digits| matches!(digits.len(), 8 | 17))?;
        digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).then(|| InstanceId::new(text))
    }
}
