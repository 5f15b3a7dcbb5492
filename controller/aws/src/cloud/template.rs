//! Launch templates: made, and given a new version when what they are made from has changed.
//!
//! Invariant: a version's description is the hash of what it was made from, and a version is never changed.

use aws_sdk_ec2::types::{
    Filter, LaunchTemplateBlockDeviceMappingRequest, LaunchTemplateEbsBlockDeviceRequest,
    LaunchTemplateHibernationOptionsRequest, LaunchTemplateHttpTokensState,
    LaunchTemplateIamInstanceProfileSpecificationRequest, LaunchTemplateInstanceMetadataEndpointState,
    LaunchTemplateInstanceMetadataOptionsRequest, LaunchTemplateInstanceMetadataTagsState,
    LaunchTemplateTagSpecificationRequest, RequestLaunchTemplateData, ResourceType, ShutdownBehavior, Tag,
    TagSpecification, VolumeType,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use muster_core::launch::LaunchErrorKind;

use super::account::Account;
use super::blueprint::Template;
use super::budget::Api;
use super::errors::Failure;
use super::names::{FLEET_TAG, SHAPE_TAG, hash};

/// Versions in one page (EC2 API, `DescribeLaunchTemplateVersions`), and pages read: of more, a version is made again.
const PAGE: i32 = 200;
const PAGES_MAX: usize = 5;
/// Containers on a bridge are one hop further away than the host.
const METADATA_HOPS: i32 = 1;

/// A version of a launch template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) template: String,
    pub(super) number: String,
}

impl Account {
    /// The version that is made from `template`; made now if there is none.
    pub(super) async fn template_version(&self, name: &str, template: &Template) -> Result<Version, Failure> {
        let made_from = template.hash();
        let Some(id) = self.find_template(name).await? else {
            return self.make_template(name, template, &made_from).await;
        };
        let latest = self
            .call(Api::DescribeLaunchTemplateVersions, |clients| {
                let describe = clients.ec2.describe_launch_template_versions().launch_template_id(&id);
                describe.versions("$Latest").send()
            })
            .await?;
        let latest = latest.launch_template_versions().first();
        if let Some(latest) = latest.filter(|latest| latest.version_description() == Some(&made_from)) {
            return version(&id, latest.version_number());
        }
        // An image that was rolled back has a version already, and machines that stand by were made from it.
        if let Some(former) = self.former_version(&id, &made_from).await? {
            return Ok(former);
        }
        let after = latest.and_then(|latest| latest.version_number()).unwrap_or(0);
        let made = self
            .call(Api::CreateLaunchTemplateVersion, |clients| {
                let create = clients.ec2.create_launch_template_version().launch_template_id(&id);
                create
                    .version_description(&made_from)
                    .client_token(&hash(&format!("{id} {after} {made_from}"))[..32])
                    .launch_template_data(data(template))
                    .send()
            })
            .await?;
        version(&id, made.launch_template_version().and_then(|made| made.version_number()))
    }

    /// The latest of the versions that were made from the same.
    async fn former_version(&self, template: &str, made_from: &str) -> Result<Option<Version>, Failure> {
        let (mut found, mut next): (Option<i64>, _) = (None, None);
        for _ in 0..PAGES_MAX {
            let page = self
                .call(Api::DescribeLaunchTemplateVersions, |clients| {
                    let describe = clients.ec2.describe_launch_template_versions().launch_template_id(template);
                    describe.max_results(PAGE).set_next_token(next.take()).send()
                })
                .await?;
            let same = page.launch_template_versions().iter().filter(|v| v.version_description() == Some(made_from));
            found = found.max(same.filter_map(|version| version.version_number()).max());
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
        found.map(|number| version(template, Some(number))).transpose()
    }

    /// The id of the template with this name.
    ///
    /// # Errors
    /// It could not be read, or it is not this fleet's.
    pub(super) async fn find_template(&self, name: &str) -> Result<Option<String>, Failure> {
        let found = self
            .call(Api::DescribeLaunchTemplates, |clients| {
                // By filter and not by name: an unknown name is an error, and a filter finds nothing.
                let by_name = Filter::builder().name("launch-template-name").values(name).build();
                clients.ec2.describe_launch_templates().filters(by_name).send()
            })
            .await?;
        let Some(found) = found.launch_templates().iter().find(|found| found.launch_template_name() == Some(name))
        else {
            return Ok(None);
        };
        let ours = found.tags().iter().any(|tag| tag.key() == Some(FLEET_TAG) && tag.value() == Some(&self.fleet));
        let Some(id) = found.launch_template_id().filter(|_| ours) else {
            let why = format!(
                "the launch template {name} in {} exists and has no tag {FLEET_TAG}={}: delete it, or rename the fleet",
                self.title(),
                self.fleet
            );
            return Err(Failure::ours(LaunchErrorKind::Configuration, why));
        };
        Ok(Some(id.to_owned()))
    }

    async fn make_template(&self, name: &str, template: &Template, made_from: &str) -> Result<Version, Failure> {
        let made = self
            .call(Api::CreateLaunchTemplate, |clients| {
                let create = clients.ec2.create_launch_template().launch_template_name(name);
                create
                    .version_description(made_from)
                    .client_token(&hash(&format!("{name} {made_from} {}", (self.now)().unix_ms()))[..32])
                    .tag_specifications(
                        TagSpecification::builder()
                            .resource_type(ResourceType::LaunchTemplate)
                            .set_tags(Some(tags(template)))
                            .build(),
                    )
                    .launch_template_data(data(template))
                    .send()
            })
            .await?;
        let made = made.launch_template();
        let id = made.and_then(|made| made.launch_template_id()).unwrap_or_default();
        version(id, made.and_then(|made| made.latest_version_number()))
    }
}

fn version(id: &str, number: Option<i64>) -> Result<Version, Failure> {
    let number = number.filter(|_| !id.is_empty()).ok_or_else(|| {
        Failure::ours(LaunchErrorKind::Throttled, format!("EC2 told no version of launch template {id:?}"))
    })?;
    Ok(Version { template: id.to_owned(), number: number.to_string() })
}

fn tags(template: &Template) -> Vec<Tag> {
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    vec![tag(FLEET_TAG, &template.fleet), tag(SHAPE_TAG, &template.shape)]
}

fn data(template: &Template) -> RequestLaunchTemplateData {
    let root = LaunchTemplateEbsBlockDeviceRequest::builder()
        .encrypted(true)
        .set_kms_key_id(template.kms_key.clone())
        .volume_type(VolumeType::Gp3)
        .set_volume_size(template.root_gib.and_then(|gib| i32::try_from(gib).ok()))
        .set_volume_initialization_rate(template.root_initialization_mibps.and_then(|rate| i32::try_from(rate).ok()))
        .delete_on_termination(true)
        .build();
    let metadata = LaunchTemplateInstanceMetadataOptionsRequest::builder()
        .http_endpoint(LaunchTemplateInstanceMetadataEndpointState::Enabled)
        .http_tokens(LaunchTemplateHttpTokensState::Required)
        .http_put_response_hop_limit(METADATA_HOPS)
        .instance_metadata_tags(LaunchTemplateInstanceMetadataTagsState::Disabled)
        .build();
    let profile =
        LaunchTemplateIamInstanceProfileSpecificationRequest::builder().arn(&template.instance_profile).build();
    let tagged = |kind: ResourceType| {
        LaunchTemplateTagSpecificationRequest::builder().resource_type(kind).set_tags(Some(tags(template))).build()
    };
    let hibernation =
        template.hibernates.then(|| LaunchTemplateHibernationOptionsRequest::builder().configured(true).build());
    RequestLaunchTemplateData::builder()
        .image_id(&template.image)
        .set_instance_type(template.instance_type.as_deref().map(Into::into))
        .block_device_mappings(
            LaunchTemplateBlockDeviceMappingRequest::builder().device_name(&template.root_device).ebs(root).build(),
        )
        .iam_instance_profile(profile)
        .set_security_group_ids(Some(template.security_groups.clone()).filter(|groups| !groups.is_empty()))
        .metadata_options(metadata)
        .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
        .set_hibernation_options(hibernation)
        .user_data(STANDARD.encode(&template.user_data))
        .tag_specifications(tagged(ResourceType::Instance))
        .tag_specifications(tagged(ResourceType::Volume))
        .build()
}
