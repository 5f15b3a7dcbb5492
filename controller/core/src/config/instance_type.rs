//! What the name of an EC2 instance type tells.
//!
//! What lives here: the naming scheme, `family.size`. What may not: a table of types; EC2 adds some every month.
//!
//! Invariant: only the name is used, so a type that does not exist is judged like one that does.

use super::market::{Arch, Os};

/// Whether `text` looks like an EC2 instance type, such as `c7i.large` or `u-6tb1.metal`.
pub(super) fn is_like(text: &str) -> bool {
    let Some((family, size)) = text.split_once('.') else {
        return false;
    };
    let family_good = family.starts_with(|c: char| c.is_ascii_alphabetic())
        && family.len() <= 20
        && family.contains(|c: char| c.is_ascii_digit())
        && family.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    family_good && (steps(size).is_some() || is_metal(size))
}

/// vCPUs by the name. `None` for bare metal without a number, and for what is no type.
pub(super) fn vcpus(name: &str) -> Option<u32> {
    let (family, size) = name.split_once('.')?;
    let burstable = family.starts_with(['t', 'T']) && family[1..].starts_with(|c: char| c.is_ascii_digit());
    match size.to_ascii_lowercase().as_str() {
        "nano" | "micro" | "small" | "medium" if burstable => Some(2),
        "metal" => None,
        size => match size.strip_prefix("metal-") {
            Some(number) => number.strip_suffix("xl")?.parse::<u32>().ok()?.checked_mul(4),
            None => steps(size),
        },
    }
}

/// Whether the type can run a pool's system: architecture by the name, Macs for macOS and for nothing else.
pub(super) fn suits(name: &str, os: Os, arch: Arch) -> bool {
    let mac = name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("mac"));
    mac == (os == Os::Macos) && arch_of(name) == arch
}

/// Architecture by the name: a `g` behind the generation is Graviton, all but the first Macs are Apple silicon.
pub(super) fn arch_of(name: &str) -> Arch {
    let family = name.split('.').next().unwrap_or(name).to_ascii_lowercase();
    let graviton = family.find(|c: char| c.is_ascii_digit()).is_some_and(|generation| {
        let attributes = family[generation..].split('-').next().unwrap_or("");
        attributes.contains('g')
    });
    let apple = family.starts_with("mac") && family != "mac1";
    if graviton || apple || family == "a1" { Arch::Arm64 } else { Arch::X64 }
}

fn is_metal(size: &str) -> bool {
    let size = size.to_ascii_lowercase();
    size == "metal" || size.strip_prefix("metal-").is_some_and(|rest| rest.ends_with("xl"))
}

/// vCPUs of a size that is not bare metal.
fn steps(size: &str) -> Option<u32> {
    match size.to_ascii_lowercase().as_str() {
        "nano" | "micro" | "small" | "medium" => Some(1),
        "large" => Some(2),
        "xlarge" => Some(4),
        size => {
            let number = size.strip_suffix("xlarge")?;
            let digits = number.chars().all(|c| c.is_ascii_digit());
            if digits { number.parse::<u32>().ok()?.checked_mul(4) } else { None }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_types_from_other_labels() {
        for good in
            ["c7i.large", "m7i-flex.2xlarge", "u-6tb1.metal", "mac2-m2pro.metal", "C7I.48XLARGE", "c7g.metal-24xl"]
        {
            assert!(is_like(good), "{good}");
        }
        for bad in
            ["ubuntu-24.04", "node.js", "c7i", "large", "python3.12", ".large", "7a.large", "v1.2", "c7i.+2xlarge"]
        {
            assert!(!is_like(bad), "{bad}");
        }
    }

    #[test]
    fn reads_vcpus_and_architecture() {
        let vcpus_of = |name| vcpus(name);
        assert_eq!(vcpus_of("c7i.large"), Some(2));
        assert_eq!(vcpus_of("t4g.nano"), Some(2));
        assert_eq!(vcpus_of("c7g.medium"), Some(1));
        assert_eq!(vcpus_of("c7i.24xlarge"), Some(96));
        assert_eq!(vcpus_of("c7g.metal-24xl"), Some(96));
        assert_eq!(vcpus_of("mac2.metal"), None);
        assert_eq!(vcpus_of("c7i.9999999999xlarge"), None);
        for arm in [
            "c7g.large",
            "m7gd.large",
            "t4g.nano",
            "im4gn.large",
            "is4gen.large",
            "g5g.xlarge",
            "a1.large",
            "mac2.metal",
        ] {
            assert_eq!(arch_of(arm), Arch::Arm64, "{arm}");
        }
        for x64 in ["c7i.large", "g5.xlarge", "g4dn.xlarge", "m7i-flex.large", "mac1.metal", "gr6.4xlarge"] {
            assert_eq!(arch_of(x64), Arch::X64, "{x64}");
        }
    }
}
