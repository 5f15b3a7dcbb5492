//! Secrets in the emulators' Parameter Store and Secrets Manager.

use std::time::Instant;

use muster_aws::{AwsSecrets, SECRET_AGE_MAX, SECRET_RETRY_AFTER, SecretValues};
use muster_core::config::SecretRef;

use crate::emulator::{BOTH, Emulator, block_on, random, shared_config};

struct Vault {
    ssm: aws_sdk_ssm::Client,
    manager: aws_sdk_secretsmanager::Client,
    secrets: AwsSecrets,
}

fn vault(emulator: Emulator) -> Vault {
    let config = shared_config(emulator);
    let (ssm, manager) = (aws_sdk_ssm::Client::new(&config), aws_sdk_secretsmanager::Client::new(&config));
    Vault { secrets: AwsSecrets::new(ssm.clone(), manager.clone()), ssm, manager }
}

impl Vault {
    fn put_parameter(&self, name: &str, value: &str) {
        let put = self.ssm.put_parameter().name(name).value(value).overwrite(true);
        block_on(put.r#type(aws_sdk_ssm::types::ParameterType::SecureString).send()).unwrap();
    }
}

fn values(current: &str, previous: Option<&str>) -> SecretValues {
    SecretValues { current: current.into(), previous: previous.map(Into::into) }
}

#[test]
fn a_parameter_is_decrypted_and_remembered_for_a_while() {
    for emulator in BOTH {
        let (vault, name, began) = (vault(emulator), format!("/acme/{}", random()), Instant::now());
        let reference = SecretRef::Ssm(name.clone());
        let read = |at| block_on(vault.secrets.read(&reference, at)).unwrap();
        vault.put_parameter(&name, "one\n");
        assert!(read(began) == values("one", None), "{emulator:?}");
        vault.put_parameter(&name, "two");
        assert!(read(began + SECRET_AGE_MAX / 2) == values("one", None), "{emulator:?}");
        assert!(read(began + SECRET_AGE_MAX) == values("two", None), "{emulator:?}");
    }
}

#[test]
fn both_values_of_a_rotated_secret_are_live() {
    for emulator in BOTH {
        let (vault, name, began) = (vault(emulator), format!("acme/{}", random()), Instant::now());
        let made = vault.manager.create_secret().name(&name).secret_string("one");
        let arn = block_on(made.send()).unwrap().arn.unwrap();
        let references = [SecretRef::SecretsManager(name.clone()), SecretRef::SecretsManager(arn)];
        let read = |reference, at| block_on(vault.secrets.read(reference, at)).unwrap();
        for reference in &references {
            assert!(read(reference, began) == values("one", None), "{emulator:?}");
        }
        let rotate = |to: &str| {
            block_on(vault.manager.put_secret_value().secret_id(&name).secret_string(to).send()).unwrap();
        };
        rotate("two");
        for reference in &references {
            assert!(read(reference, began + SECRET_AGE_MAX) == values("two", Some("one")), "{emulator:?}");
        }
        rotate("three");
        assert!(read(&references[0], began + SECRET_AGE_MAX * 2) == values("three", Some("two")), "{emulator:?}");
    }
}

#[test]
fn a_binary_secret_reads_too() {
    for emulator in BOTH {
        let (vault, name) = (vault(emulator), format!("acme/{}", random()));
        let blob = aws_sdk_secretsmanager::primitives::Blob::new(vec![0xff, 0x00, 0x7f]);
        block_on(vault.manager.create_secret().name(&name).secret_binary(blob).send()).unwrap();
        let read = block_on(vault.secrets.read(&SecretRef::SecretsManager(name), Instant::now())).unwrap();
        assert!(read.current == [0xff, 0x00, 0x7f]);
    }
}

#[test]
fn what_cannot_be_read_is_named_and_never_shown() {
    for emulator in BOTH {
        let (vault, began) = (vault(emulator), Instant::now());
        let name = format!("/acme/{}", random());
        for reference in [SecretRef::Ssm(name.clone()), SecretRef::SecretsManager(name.clone())] {
            let error = block_on(vault.secrets.read(&reference, began)).unwrap_err().to_string();
            assert!(error.contains(&reference.to_string()) && error.contains("there is none of this name"), "{error}");
        }
        // The failure stands for a while, and then it is there.
        vault.put_parameter(&name, "hush");
        let reference = SecretRef::Ssm(name.clone());
        assert!(block_on(vault.secrets.read(&reference, began)).is_err());
        let read = block_on(vault.secrets.read(&reference, began + SECRET_RETRY_AFTER)).unwrap();
        assert!(!format!("{read:?} {:?}", vault.secrets).contains("hush"));
        vault.put_parameter(&name, "  \n");
        let error = block_on(vault.secrets.read(&reference, began + SECRET_AGE_MAX * 2)).unwrap_err();
        assert_eq!(error.to_string(), format!("ssm:{name} is empty: put the secret there"));
    }
}
