//! The configuration object on the emulators' S3.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use muster_aws::{ConfigObject, ConfigObjectError, ObjectAddress};
use muster_core::config::limits::CONFIG_BYTES_MAX;

use crate::emulator::{BOTH, Emulator, block_on, random, shared_config};

struct Bucket {
    client: Client,
    name: String,
}

fn bucket(emulator: Emulator, versions: bool) -> Bucket {
    // An emulator has no host name for each bucket.
    let config = aws_sdk_s3::config::Builder::from(&shared_config(emulator)).force_path_style(true).build();
    let (client, name) = (Client::from_conf(config), format!("muster-{}", random()));
    block_on(client.create_bucket().bucket(&name).send()).unwrap();
    if versions {
        let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        block_on(client.put_bucket_versioning().bucket(&name).versioning_configuration(on).send()).unwrap();
    }
    Bucket { client, name }
}

impl Bucket {
    fn put(&self, body: impl Into<Vec<u8>>) -> Option<String> {
        let put = self.client.put_object().bucket(&self.name).key("fleet/muster.toml").body(body.into().into());
        block_on(put.send()).unwrap().version_id
    }

    fn object(&self) -> ConfigObject {
        let address = ObjectAddress::parse(&format!("s3://{}/fleet/muster.toml", self.name)).unwrap();
        ConfigObject::new(self.client.clone(), address)
    }
}

#[test]
fn each_version_is_told_once() {
    for emulator in BOTH {
        let bucket = bucket(emulator, true);
        let mut object = bucket.object();
        for text in ["one", "two"] {
            let version = bucket.put(text);
            let read = block_on(object.look()).unwrap().unwrap();
            assert_eq!((read.text.as_str(), Some(read.version)), (text, version), "{emulator:?}");
            assert_eq!(block_on(object.look()).unwrap(), None, "{emulator:?}");
        }
        object.forget();
        assert_eq!(block_on(object.look()).unwrap().unwrap().text, "two");
    }
}

#[test]
fn a_bucket_without_versions_will_do() {
    for emulator in BOTH {
        let bucket = bucket(emulator, false);
        let mut object = bucket.object();
        bucket.put("one");
        let read = block_on(object.look()).unwrap().unwrap();
        assert!(read.text == "one" && !read.version.is_empty(), "{emulator:?} {read:?}");
        assert_eq!(block_on(object.look()).unwrap(), None);
    }
}

#[test]
fn what_is_no_configuration_is_told_and_the_next_version_is_read() {
    for emulator in BOTH {
        let bucket = bucket(emulator, true);
        let mut object = bucket.object();
        bucket.put(vec![b'#'; CONFIG_BYTES_MAX + 1]);
        assert!(matches!(block_on(object.look()), Err(ConfigObjectError::TooLong(_))), "{emulator:?}");
        assert_eq!(block_on(object.look()).unwrap(), None, "once");
        bucket.put(vec![0xff, 0xfe]);
        assert!(matches!(block_on(object.look()), Err(ConfigObjectError::NoText(_))));
        bucket.put(vec![b'#'; CONFIG_BYTES_MAX]);
        assert_eq!(block_on(object.look()).unwrap().unwrap().text.len(), CONFIG_BYTES_MAX);
    }
}

#[test]
fn an_object_that_is_not_there_is_named_with_a_remedy() {
    for emulator in BOTH {
        let bucket = bucket(emulator, true);
        let told = block_on(bucket.object().look()).unwrap_err().to_string();
        assert!(told.contains(&bucket.name) && told.contains("upload the configuration"), "{emulator:?}: {told}");
        let address = ObjectAddress::parse(&format!("s3://nobody-{}/muster.toml", random())).unwrap();
        let told = block_on(ConfigObject::new(bucket.client.clone(), address.clone()).look()).unwrap_err().to_string();
        assert!(
            told.contains(&address.to_string()) && told.contains("there is no such object"),
            "{emulator:?}: {told}"
        );
    }
}
