//! Reads `[aws]`.
//!
//! What lives here: the rules of the section. What may not: whether a pool names an account that is there
//! (`fleet_rules.rs`).
//!
//! Invariant: an identifier that AWS could not have given is refused here, before it is sent anywhere.

use super::aws::{Account, Aws, Place};
use super::diagnostic::Findings;
use super::fleet::{NAME_REMEDY, is_name};
use super::market::{Arch, Os};
use super::section::Section;
use super::wording::quote;

/// Smallest and largest gp3 volume, in GiB (EC2 API, `EbsBlockDevice`).
const ROOT_GIB: (u32, u32) = (1, 65_536);
/// Slowest and fastest volume initialization, in MiB/s (EC2 API, `EbsBlockDevice`, `VolumeInitializationRate`).
const INITIALIZATION_MIBPS: (u32, u32) = (100, 300);
/// Longest external id, and what it is made of (STS API, `AssumeRole`).
const EXTERNAL_ID_CHARS: std::ops::RangeInclusive<usize> = 2..=1_224;
/// Names of images by system and architecture.
const IMAGE_KEYS: [(&str, Os, Arch); 6] = [
    ("linux-x64", Os::Linux, Arch::X64),
    ("linux-arm64", Os::Linux, Arch::Arm64),
    ("windows-x64", Os::Windows, Arch::X64),
    ("windows-arm64", Os::Windows, Arch::Arm64),
    ("macos-x64", Os::Macos, Arch::X64),
    ("macos-arm64", Os::Macos, Arch::Arm64),
];

/// Reads `[aws]`; all of it may be absent.
pub(super) fn read(section: Option<Section<'_>>, findings: &mut Findings) -> Aws {
    let Some(mut section) = section else {
        return Aws::default();
    };
    let region = section.text("region", findings);
    if let Some(region) = region.filter(|region| !is_region(region)) {
        let message = format!("{} is not a region of AWS", quote(region));
        findings.error(
            section.key("region"),
            message,
            "write it as eu-central-1, or leave it out for the controller's own",
        );
    }
    let mut aws = Aws { region: region.map(str::to_owned), home: read_place(&mut section, findings), ..Aws::default() };
    for mut table in section.tables("account", findings) {
        let name = table.required_text("name", "give the account a name that pools can use", findings);
        if let Some(name) = name.filter(|name| !is_name(name)) {
            findings.error(table.key("name"), format!("{} cannot be an account's name", quote(name)), NAME_REMEDY);
        }
        let role = table.required_text("role", "name the role that the controller takes on there", findings);
        if let Some(role) = role.filter(|role| !is_arn(role, "iam", "role/")) {
            let remedy = "write it as arn:aws:iam::123456789012:role/NAME";
            findings.error(table.key("role"), format!("{} is not the ARN of a role", quote(role)), remedy);
        }
        let external_id = table.text("external_id", findings);
        if external_id.is_some_and(|id| !is_external_id(id)) {
            let remedy = "use 2 to 1,224 letters, digits and =,.@:/-_+ as in the role's trust policy";
            findings.error(table.key("external_id"), "this cannot be an external id", remedy);
        }
        let place = read_place(&mut table, findings);
        for (key, missing) in
            [("subnets", place.subnets.is_empty()), ("instance_profile", place.instance_profile.is_none())]
        {
            if missing && !table.has(key) {
                let message = format!("{} is missing: only the stack's own account has one by itself", quote(key));
                findings.error(table.key(key), message, "take it from the outputs of the account's stack");
            }
        }
        if let (Some(name), Some(role)) = (name, role) {
            let account = Account { role: role.to_owned(), external_id: external_id.map(str::to_owned), place };
            if aws.accounts.insert(name.into(), account).is_some() {
                findings.error(
                    table.key("name"),
                    format!("the account {} is there twice", quote(name)),
                    "rename one of the two",
                );
            }
        }
        table.finish(findings);
    }
    section.finish(findings);
    aws
}

fn read_place(section: &mut Section<'_>, findings: &mut Findings) -> Place {
    let subnets = read_ids(section, "subnets", "subnet-", findings);
    let security_groups = read_ids(section, "security_groups", "sg-", findings);
    let profile = section.text("instance_profile", findings);
    if let Some(profile) = profile.filter(|profile| !is_arn(profile, "iam", "instance-profile/")) {
        let remedy = "write it as arn:aws:iam::123456789012:instance-profile/NAME";
        let message = format!("{} is not the ARN of an instance profile", quote(profile));
        findings.error(section.key("instance_profile"), message, remedy);
    }
    let role = section.text("instance_role", findings);
    if let Some(role) = role.filter(|role| !is_arn(role, "iam", "role/")) {
        let message = format!("{} is not the ARN of a role", quote(role));
        findings.error(section.key("instance_role"), message, "write it as arn:aws:iam::123456789012:role/NAME");
    }
    let role_id = section.text("instance_role_id", findings);
    if let Some(id) = role_id.filter(|id| !is_role_id(id)) {
        let remedy =
            "write it as AROA and 12 or more capital letters and digits: `aws iam get-role` tells it as RoleId";
        findings.error(section.key("instance_role_id"), format!("{} is not the id of a role", quote(id)), remedy);
    }
    let mut place = Place {
        subnets,
        security_groups,
        instance_profile: profile.map(str::to_owned),
        instance_role: role.map(str::to_owned),
        instance_role_id: role_id.map(str::to_owned),
        kms_key: section.text("kms_key", findings).map(str::to_owned),
        root_gib: section.count("root_gib", ROOT_GIB.0, ROOT_GIB.1, findings),
        root_initialization_mibps: section.count(
            "root_initialization_mibps",
            INITIALIZATION_MIBPS.0,
            INITIALIZATION_MIBPS.1,
            findings,
        ),
        ..Place::default()
    };
    if let Some(mut images) = section.table("images", findings) {
        for (name, os, arch) in IMAGE_KEYS {
            let Some(image) = images.text(name, findings) else { continue };
            if !is_image(image) {
                let message = format!("{} is neither an image's id nor a parameter", quote(image));
                findings.error(images.key(name), message, IMAGE_REMEDY);
            }
            place.images.insert((os, arch), image.into());
        }
        images.finish(findings);
    }
    place
}

/// What an image may be.
const IMAGE_REMEDY: &str = "write ami-0123456789abcdef0, or ssm:/NAME/OF/PARAMETER whose value is an image's id";

/// Whether this is an image's id, or a reference to a parameter that holds one.
fn is_image(text: &str) -> bool {
    let parameter =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-/".contains(c));
    is_id(text, "ami-") || text.strip_prefix("ssm:").is_some_and(parameter)
}

fn read_ids(section: &mut Section<'_>, name: &'static str, start: &str, findings: &mut Findings) -> Vec<String> {
    let texts = section.texts(name, findings).unwrap_or_default();
    for (i, (key, text)) in texts.iter().enumerate() {
        if !is_id(text, start) {
            findings.error(
                key,
                format!("{} is not an id", quote(text)),
                format!("write it as {start}0123456789abcdef0"),
            );
        } else if texts[..i].iter().any(|(_, other)| other == text) {
            findings.error(key, format!("{} is named twice", quote(text)), "remove one of the two");
        }
    }
    texts.into_iter().map(|(_, text)| text.to_owned()).collect()
}

fn is_id(text: &str, start: &str) -> bool {
    text.strip_prefix(start).is_some_and(|id| (8..=17).contains(&id.len()) && id.chars().all(|c| c.is_ascii_hexdigit()))
}

/// Whether IAM could have given this to a role (IAM User Guide, "Unique identifiers").
fn is_role_id(text: &str) -> bool {
    let more =
        |id: &str| (12..=124).contains(&id.len()) && id.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    text.strip_prefix("AROA").is_some_and(more)
}

fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let words =
        |parts: &[&str]| parts.iter().all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase()));
    matches!(&*parts, [words_of @ .., number] if words_of.len() >= 2 && words(words_of)
        && (1..=2).contains(&number.len()) && number.chars().all(|c| c.is_ascii_digit()))
}

/// Whether this is `arn:PARTITION:SERVICE::ACCOUNT:START...`.
fn is_arn(text: &str, service: &str, start: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    matches!(&*parts, ["arn", partition, of, "", account, resource]
        if partition.starts_with("aws") && *of == service
            && account.len() == 12 && account.chars().all(|c| c.is_ascii_digit())
            && resource.strip_prefix(start).is_some_and(|name| !name.is_empty() && !name.contains(char::is_whitespace)))
}

fn is_external_id(id: &str) -> bool {
    EXTERNAL_ID_CHARS.contains(&id.len()) && id.chars().all(|c| c.is_ascii_alphanumeric() || "+=,.@:/-_".contains(c))
}
