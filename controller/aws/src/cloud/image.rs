//! Images: which one a shape is launched from, and the name of its root device.
//!
//! A parameter (`ssm:/path`) is resolved here and not by EC2 (`resolve:ssm:` in a launch template): the root device's
//! name depends on the image, the template's version then says which image it is, and a new image behind an old name is
//! a new version that a breaker can tell from the former one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use muster_core::config::Shape;
use muster_core::launch::LaunchErrorKind;
use muster_core::time::Timestamp;

use super::account::{Account, lock};
use super::budget::Api;
use super::errors::Failure;
use super::stack::no_image;

/// How long a parameter's value is used before it is read again.
const FRESH: Duration = Duration::from_secs(300);
/// What marks a parameter.
const PARAMETER: &str = "ssm:";

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Images {
    /// By parameter.
    parameters: Mutex<BTreeMap<Arc<str>, (Timestamp, String)>>,
    /// Root devices by image: an image never changes.
    roots: Mutex<BTreeMap<String, String>>,
}

/// An image that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) id: String,
    pub(super) root_device: String,
}

impl Account {
    /// The image of a shape.
    ///
    /// # Errors
    /// Nobody named one, or the one that is named is not there.
    pub(super) async fn image(&self, shape: &Shape) -> Result<Image, Failure> {
        let name = shape.image.as_ref().or_else(|| self.place.images.get(&(shape.os, shape.arch)));
        let name = name.ok_or_else(|| {
            let why = no_image(shape.os, shape.arch, self.name.as_deref());
            Failure::ours(LaunchErrorKind::Configuration, why)
        })?;
        let id = match name.strip_prefix(PARAMETER) {
            None => name.to_string(),
            Some(parameter) => self.parameter(name, parameter).await?,
        };
        let root_device = self.root_device(&id).await?;
        Ok(Image { id, root_device })
    }

    async fn parameter(&self, name: &Arc<str>, parameter: &str) -> Result<String, Failure> {
        let now = (self.now)();
        if let Some((at, image)) = lock(&self.images.parameters).get(name)
            && now.since(*at) < FRESH
        {
            return Ok(image.clone());
        }
        let answer = self.call(Api::GetParameter, |clients| clients.ssm.get_parameter().name(parameter).send()).await?;
        let value = answer.parameter().and_then(|parameter| parameter.value()).unwrap_or_default().trim().to_owned();
        if !value.starts_with("ami-") {
            let why = format!("the parameter {parameter} in {} holds {value:?}, which is no image's id", self.title());
            return Err(Failure::ours(LaunchErrorKind::Configuration, why));
        }
        lock(&self.images.parameters).insert(name.clone(), (now, value.clone()));
        Ok(value)
    }

    async fn root_device(&self, image: &str) -> Result<String, Failure> {
        if let Some(root) = lock(&self.images.roots).get(image) {
            return Ok(root.clone());
        }
        let answer =
            self.call(Api::DescribeImages, |clients| clients.ec2.describe_images().image_ids(image).send()).await?;
        let found = answer.images().iter().find(|found| found.image_id() == Some(image));
        let root = found.and_then(|found| found.root_device_name()).map(str::to_owned).ok_or_else(|| {
            let why = format!("{image} is not an image that {} can see, or it has no root device", self.title());
            Failure::ours(LaunchErrorKind::Configuration, why)
        })?;
        lock(&self.images.roots).insert(image.to_owned(), root.clone());
        Ok(root)
    }
}
