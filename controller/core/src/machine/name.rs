//! Runner names: each carries its machine, so that a job which names its runner names a machine.

use crate::ids::{InstanceId, PoolName, RunnerName};

/// The longest name that GitHub takes for a runner (`config.sh` refuses more).
pub const RUNNER_NAME_MAX: usize = 64;
/// How much of a pool's name goes into a runner's name.
const POOL_IN_NAME_MAX: usize = 24;

/// A fresh runner name: pool, instance and a suffix that differs for every attempt to mint.
pub fn runner_name(pool: &PoolName, instance: &InstanceId, suffix: &str) -> RunnerName {
    let pool: String = pool.as_str().chars().filter(char::is_ascii).take(POOL_IN_NAME_MAX).collect();
    let mut name = format!("{pool}-{instance}-{suffix}");
    name.truncate(RUNNER_NAME_MAX);
    RunnerName::new(name)
}

/// The instance that a runner name of ours carries; `None` for a foreign name.
pub fn instance_of(name: &RunnerName) -> Option<InstanceId> {
    let mut parts = name.as_str().rsplitn(4, '-');
    let (_suffix, hex, i) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next()?;
    (i == "i" && hex.len() >= 8 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| InstanceId::new(format!("i-{hex}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_name_carries_its_instance() {
        let instance = InstanceId::new("i-0123456789abcdef0");
        let name = runner_name(&PoolName::new("a-pool-with-quite-a-long-name"), &instance, "k3x9q2");
        assert!(name.as_str().len() <= RUNNER_NAME_MAX, "{name}");
        assert_eq!(instance_of(&name), Some(instance));
        assert_eq!(instance_of(&RunnerName::new("GitHub Actions 5")), None);
        assert_eq!(instance_of(&RunnerName::new("my-runner-box")), None);
    }
}
