//! EC2's quotas of vCPUs, for what a configuration launches: for `muster doctor`.
//!
//! What lives here: which quota a shape's machines count against, and what it is. What may not: how much of it is used; a
//! launch that does not fit is refused, and held as such.
//!
//! Invariant: one quota that cannot be read hides no other.

use std::collections::BTreeMap;

use muster_core::config::{FleetConfig, Market, Shape};
use muster_core::launch::LaunchErrorKind;

use super::account::Account;
use super::budget::Api;
use super::errors::Failure;

/// EC2's name in Service Quotas.
const EC2: &str = "ec2";
/// The first letters of the standard families.
const STANDARD: &str = "acdhimrtz";

/// A quota of vCPUs: by family, on-demand and spot apart (Service Quotas, Amazon EC2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Quota {
    code: &'static str,
    name: &'static str,
}

const fn quota(code: &'static str, name: &'static str) -> Quota {
    Quota { code, name }
}

/// Families, by the letters before the generation, with their quotas: on-demand, then spot.
const FAMILIES: [(&[&str], Quota, Quota); 7] = [
    (&["f"], quota("L-74FC7D96", "on-demand F"), quota("L-88CF9481", "spot F")),
    (&["g", "gr", "vt"], quota("L-DB2E81BA", "on-demand G and VT"), quota("L-3819A6DF", "spot G and VT")),
    (&["p"], quota("L-417A185B", "on-demand P"), quota("L-7212CCBC", "spot P")),
    (&["x"], quota("L-7295265B", "on-demand X"), quota("L-E3A00192", "spot X")),
    (&["inf"], quota("L-1945791B", "on-demand Inf"), quota("L-B5D1601B", "spot Inf")),
    (&["trn"], quota("L-2C3B7624", "on-demand Trn"), quota("L-5480EFD2", "spot Trn")),
    (&["dl"], quota("L-6E869C2A", "on-demand DL"), quota("L-85EED4F7", "spot DL")),
];
/// Those of the standard families together.
const OF_STANDARD: (Quota, Quota) = (
    quota("L-1216C47A", "on-demand standard (A, C, D, H, I, M, R, T, Z)"),
    quota("L-34B43A08", "spot standard (A, C, D, H, I, M, R, T, Z)"),
);
/// Families that look standard and have quotas of their own, which are not counted in vCPUs.
const NOT_IN_VCPUS: [&str; 2] = ["hpc", "mac"];

/// A quota of vCPUs, and what the configuration may ask of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VcpuQuota {
    /// What machines it is for.
    pub name: &'static str,
    /// Its code in Service Quotas.
    pub code: &'static str,
    /// The vCPUs of the largest machine that has to fit: of a shape with several types the smallest will do.
    pub needed: u32,
    /// The vCPUs of the machines that are kept idle now, of each shape's first type.
    pub idle: u32,
    /// How many vCPUs it allows; or why that is not known.
    pub vcpus: Result<u32, String>,
}

impl Account {
    /// The quotas that the machines of this account count against.
    pub(super) async fn vcpu_quotas(&self, config: &FleetConfig) -> Vec<VcpuQuota> {
        let mut quotas = Vec::new();
        for (quota, (needed, idle)) in self.asked_of_quotas(config) {
            let vcpus = self.vcpus(quota.code).await.map_err(|failure| failure.to_string());
            quotas.push(VcpuQuota { name: quota.name, code: quota.code, needed, idle, vcpus });
        }
        quotas
    }

    fn asked_of_quotas(&self, config: &FleetConfig) -> BTreeMap<Quota, (u32, u32)> {
        let mut asked: BTreeMap<Quota, (u32, u32)> = BTreeMap::new();
        for shape in config.shapes().filter(|shape| shape.account == self.name) {
            if let Some((quota, vcpus)) = draws_on(shape).min_by_key(|(_, vcpus)| *vcpus) {
                let (needed, _) = asked.entry(quota).or_default();
                *needed = vcpus.max(*needed);
            }
        }
        let now = (self.now)();
        for class in config.classes() {
            // Idle machines are of the shape that comes first, as long as there are any.
            let Some(shape) = class.shapes.first().filter(|shape| shape.account == self.name) else { continue };
            let idle = config.idle_bounds(&class.id, now).min;
            if let Some((quota, vcpus)) = draws_on(shape).next() {
                asked.entry(quota).or_default().1 += idle.saturating_mul(vcpus);
            }
        }
        asked
    }

    async fn vcpus(&self, code: &'static str) -> Result<u32, Failure> {
        let answer = self
            .call(Api::GetServiceQuota, |clients| {
                clients.quotas.get_service_quota().service_code(EC2).quota_code(code).send()
            })
            .await?;
        let told = answer.quota().and_then(|quota| quota.value());
        let text = || format!("Service Quotas tells no value of {code}");
        let value = told.ok_or_else(|| Failure::ours(LaunchErrorKind::Unknown, text()))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, and saturating")]
        Ok(value as u32)
    }
}

/// What a machine of a shape takes, and of which quota: for each of its types, best first.
fn draws_on(shape: &Shape) -> impl Iterator<Item = (Quota, u32)> {
    let by_attributes = shape.vcpus.filter(|_| shape.gpus.is_none()).map(|vcpus| (OF_STANDARD, vcpus));
    let by_type = shape.vcpus_by_type().filter_map(|(name, vcpus)| Some((family_of(name)?, vcpus)));
    let spot = shape.market == Market::Spot;
    by_attributes.into_iter().chain(by_type).map(move |(pair, vcpus)| (if spot { pair.1 } else { pair.0 }, vcpus))
}

fn family_of(instance_type: &str) -> Option<(Quota, Quota)> {
    let letters = instance_type.split(|c: char| c.is_ascii_digit()).next()?.to_ascii_lowercase();
    if let Some((_, on_demand, spot)) = FAMILIES.iter().find(|(families, ..)| families.contains(&letters.as_str())) {
        return Some((*on_demand, *spot));
    }
    let standard = letters.starts_with(|c| STANDARD.contains(c)) && !NOT_IN_VCPUS.contains(&letters.as_str());
    standard.then_some(OF_STANDARD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_counts_against_the_quota_of_its_family() {
        let code = |name| family_of(name).map(|(on_demand, spot)| (on_demand.code, spot.code));
        let standard = Some(("L-1216C47A", "L-34B43A08"));
        for name in ["c7i.large", "m7g.medium", "t3a.small", "im4gn.large", "is4gen.large", "r8i.xlarge", "d3.xlarge"] {
            assert_eq!(code(name), standard, "{name}");
        }
        assert_eq!(code("g5.xlarge"), Some(("L-DB2E81BA", "L-3819A6DF")));
        assert_eq!(code("vt1.3xlarge"), code("g6e.xlarge"));
        assert_eq!(code("p5.48xlarge"), Some(("L-417A185B", "L-7212CCBC")));
        assert_eq!(code("inf2.xlarge"), Some(("L-1945791B", "L-B5D1601B")));
        assert_eq!(code("dl1.24xlarge"), Some(("L-6E869C2A", "L-85EED4F7")));
        for name in ["mac2.metal", "hpc7a.96xlarge", "u-6tb1.metal"] {
            assert_eq!(code(name), None, "{name}");
        }
    }
}
