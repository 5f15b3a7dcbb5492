//! What a shape's launch template and group are made from, as plain values with a hash.
//!
//! What lives here: which settings a machine and its group have. What may not: calls to AWS, and the SDK's types (their
//! form changes with the SDK, and the hash would with it).
//!
//! Invariant: equal hashes mean that nothing needs to be written; whatever changes a template or a group is in its hash.

use std::sync::Arc;

use muster_core::config::{Arch, Market, Place, Shape};
use muster_core::launch::{LAUNCH_MAX, LaunchErrorKind};
use serde::Serialize;

use super::errors::Failure;
use super::image::Image;
use super::names::{GroupKind, group_name, hash};
use super::stack::{Stack, lacking};

/// Raised when the same parts are to make another template or group than before.
const FORM: u32 = 1;
/// Most instance types of a group (Auto Scaling API, `LaunchTemplate`, `Overrides`).
pub(super) const TYPES_MAX: usize = 40;
/// The hard fuse of a group in a fleet without a cap.
const GROUP_SIZE_MAX: u32 = 2_000;
/// What a group may have beyond the fleet's cap, as many again but no more than this: desired capacity still counts members
/// that are ending, and a launch that the cloud has begun and not finished.
const HEADROOM_MAX: u32 = 2 * LAUNCH_MAX;
/// ... and no less.
const HEADROOM_MIN: u32 = 10;
/// Characters of a hash that is kept in a tag and in a version's description.
const HASH_CHARS: usize = 20;

/// What agents read as user data: JSON, no secret. `docs/protocol.md` says what it is for.
#[derive(Serialize)]
struct UserData<'a> {
    /// Where the door is.
    door: &'a str,
    /// What the proof of identity is signed for.
    audience: &'a str,
    /// The fleet's name.
    fleet: &'a str,
    /// The shape's id.
    shape: &'a str,
}

/// What a launch template is made from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Template {
    form: u32,
    pub(super) image: String,
    pub(super) root_device: String,
    pub(super) root_gib: Option<u32>,
    pub(super) root_initialization_mibps: Option<u32>,
    pub(super) kms_key: Option<String>,
    pub(super) instance_profile: String,
    pub(super) security_groups: Vec<String>,
    /// The first of the shape's types, for tools that look at the template alone.
    pub(super) instance_type: Option<Arc<str>>,
    pub(super) user_data: String,
    /// Machines of a standby group that are hibernated rather than stopped.
    pub(super) hibernates: bool,
    pub(super) fleet: String,
    pub(super) shape: String,
}

/// Hardware by its attributes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Attributes {
    pub(super) vcpus: Option<u32>,
    pub(super) memory_mib: Option<u32>,
    pub(super) gpus: u32,
    pub(super) arm: bool,
}

/// What hardware a group asks for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) enum Hardware {
    /// These types, best first.
    Types(Vec<Arc<str>>),
    /// Whatever has these attributes.
    Attributes(Attributes),
}

/// What a group is made from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Blueprint {
    form: u32,
    pub(super) name: String,
    pub(super) template: Template,
    pub(super) spot: bool,
    pub(super) hardware: Hardware,
    pub(super) subnets: Vec<String>,
    pub(super) size_max: u32,
    pub(super) standby: bool,
}

impl Blueprint {
    /// The group of a shape in a place.
    ///
    /// # Errors
    /// The place lacks something, or the shape is none that a group can have.
    pub(super) fn new(
        fleet: (&str, Option<u32>),
        stack: &Stack,
        (place, account): (&Place, Option<&str>),
        shape: &Shape,
        image: Image,
        kind: GroupKind,
    ) -> Result<Blueprint, Failure> {
        let wrong = |why: String| Failure::ours(LaunchErrorKind::Configuration, why);
        let mut missing = lacking(place, account);
        if stack.door_url.is_empty() {
            missing.push("the door's address is unknown: set MUSTER_DOOR_URL".to_owned());
        }
        let Some(instance_profile) = place.instance_profile.clone().filter(|_| missing.is_empty()) else {
            return Err(wrong(missing.join("; ")));
        };
        if shape.instance_types.len() > TYPES_MAX {
            let (has, id) = (shape.instance_types.len(), &shape.id);
            return Err(wrong(format!("{id} names {has} instance types, and a group takes {TYPES_MAX}: name fewer")));
        }
        let user_data =
            UserData { door: &stack.door_url, audience: stack.audience(), fleet: fleet.0, shape: shape.id.as_str() };
        let user_data = serde_json::to_string(&user_data).map_err(|error| wrong(error.to_string()))?;
        let hardware = if shape.instance_types.is_empty() {
            Hardware::Attributes(Attributes {
                vcpus: shape.vcpus,
                memory_mib: shape.memory_gib.map(mebibytes),
                gpus: shape.gpus.unwrap_or(0),
                arm: shape.arch == Arch::Arm64,
            })
        } else {
            Hardware::Types(shape.instance_types.to_vec())
        };
        Ok(Blueprint {
            form: FORM,
            name: group_name(fleet.0, &shape.id, kind),
            template: Template {
                form: FORM,
                image: image.id,
                root_device: image.root_device,
                root_gib: place.root_gib,
                root_initialization_mibps: place.root_initialization_mibps,
                kms_key: place.kms_key.clone(),
                instance_profile,
                security_groups: place.security_groups.clone(),
                instance_type: shape.instance_types.first().cloned(),
                user_data,
                hibernates: false,
                fleet: fleet.0.to_owned(),
                shape: shape.id.to_string(),
            },
            spot: shape.market == Market::Spot,
            hardware,
            subnets: place.subnets.clone(),
            size_max: fleet.1.map_or(GROUP_SIZE_MAX, fuse),
            standby: kind == GroupKind::Standby,
        })
    }

    /// The hash of everything.
    pub(super) fn hash(&self) -> String {
        short_hash(self)
    }
}

/// The most that a group may have in a fleet of so many.
fn fuse(cap: u32) -> u32 {
    cap.saturating_add(cap.clamp(HEADROOM_MIN, HEADROOM_MAX))
}

impl Template {
    /// The hash of everything.
    pub(super) fn hash(&self) -> String {
        short_hash(self)
    }
}

fn short_hash(of: &impl Serialize) -> String {
    // Structs and vectors of texts and numbers always have a JSON.
    let text = serde_json::to_string(of).unwrap_or_default();
    hash(&text)[..HASH_CHARS].to_owned()
}

/// GiB as whole MiB. The configuration's limits are far below what does not fit.
fn mebibytes(gib: f64) -> u32 {
    let mebibytes = (gib * 1_024.0).round().clamp(0.0, f64::from(u32::MAX));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole and in range")]
    {
        mebibytes as u32
    }
}
