//! Whom the fleet trusts: the roles of its instance profiles, one for each account.
//!
//! Invariant: a role is known by account and name, never by name alone, and by its unique id too if the configuration has it.

use muster_core::config::Aws;
use muster_core::identity::AccountName;
use thiserror::Error;

use super::answer::Caller;

/// A role whose instances are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedRole {
    name: AccountName,
    account: String,
    role: String,
    role_id: Option<String>,
}

/// A role cannot be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RoleError {
    /// It is not said which role the instances of an account have.
    #[error(
        "{0}: nothing says which role its instances have: set instance_profile, or instance_role if the role has another \
         name than its profile"
    )]
    Unknown(String),
    /// What was said is not the ARN of a role or an instance profile.
    #[error("{0}: {1:?} is not the ARN of a role or an instance profile")]
    Arn(String, String),
}

impl TrustedRole {
    /// The role of this ARN (`arn:aws:iam::123456789012:role/PATH/NAME`, or an instance profile's whose role has its name) in
    /// an account of the fleet.
    ///
    /// # Errors
    /// [`RoleError::Arn`].
    pub fn new(name: AccountName, arn: &str, role_id: Option<&str>) -> Result<TrustedRole, RoleError> {
        let unusable = || RoleError::Arn(shown(&name), arn.to_owned());
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", partition, "iam", "", account, resource] = &*parts else { return Err(unusable()) };
        let path = resource.strip_prefix("role/").or_else(|| resource.strip_prefix("instance-profile/"));
        // STS leaves a role's path out of the ARN of its sessions.
        let role =
            path.and_then(|path| path.rsplit('/').next()).filter(|role| !role.is_empty()).ok_or_else(unusable)?;
        let good = partition.starts_with("aws") && account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        if !good || role.contains(':') {
            return Err(unusable());
        }
        let (account, role) = ((*account).to_owned(), role.to_owned());
        Ok(TrustedRole { name, account, role, role_id: role_id.map(str::to_owned) })
    }

    /// The roles of all accounts of a configuration: the controller's own, and each `[[aws.account]]`. `told` are the ARNs
    /// of the roles that the stacks have made, in whatever account: each is for the account that its ARN names.
    ///
    /// # Errors
    /// [`RoleError`], naming the account.
    pub fn of_config(aws: &Aws, told: &[String]) -> Result<Vec<TrustedRole>, RoleError> {
        let elsewhere: Vec<&str> = aws.accounts.values().filter_map(|account| account_in(&account.role)).collect();
        let own = told.iter().find(|arn| account_in(arn).is_none_or(|account| !elsewhere.contains(&account)));
        let home = &aws.home;
        let arn = home.instance_role.as_ref().or(home.instance_profile.as_ref()).or(own);
        let mut trusted = Vec::new();
        match arn {
            Some(arn) => trusted.push(TrustedRole::new(None, arn, home.instance_role_id.as_deref())?),
            // All machines may be in other accounts.
            None if !aws.accounts.is_empty() => {}
            None => return Err(RoleError::Unknown(shown(&None))),
        }
        for (name, account) in &aws.accounts {
            let (name, place, number) = (Some(name.clone()), &account.place, account_in(&account.role));
            let theirs = told.iter().find(|arn| number.is_some() && account_in(arn) == number);
            // A profile's role has its name only where somebody has given it that.
            let arn = place.instance_role.as_ref().or(theirs).or(place.instance_profile.as_ref());
            let arn = arn.ok_or_else(|| RoleError::Unknown(shown(&name)))?;
            trusted.push(TrustedRole::new(name, arn, place.instance_role_id.as_deref())?);
        }
        Ok(trusted)
    }

    fn is(&self, caller: &Caller) -> bool {
        self.account == caller.account
            && self.role == caller.role
            && self.role_id.as_ref().is_none_or(|id| *id == caller.role_id)
    }
}

/// The number of the account that an ARN is in.
fn account_in(arn: &str) -> Option<&str> {
    arn.split(':').nth(4).filter(|account| !account.is_empty())
}

/// The accounts that a caller may be an instance of, by their names in the configuration. Empty: it is nobody's.
pub(super) fn accounts_of(roles: &[TrustedRole], caller: &Caller) -> Vec<AccountName> {
    roles.iter().filter(|role| role.is(caller)).map(|role| role.name.clone()).collect()
}

fn shown(name: &AccountName) -> String {
    name.as_ref().map_or_else(|| "the controller's own account".to_owned(), |name| format!("aws.account {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:iam::111122223333:role/fleets/acme/muster-runner";

    fn caller(account: &str, role: &str, role_id: &str) -> Caller {
        let own = str::to_owned;
        Caller { account: own(account), role: own(role), role_id: own(role_id), session: own("i-0a1b2c3d") }
    }

    #[test]
    fn name_account_and_id_must_fit() {
        let exact = TrustedRole::new(None, ROLE, Some("AROAEXAMPLE0")).unwrap();
        let by_name = TrustedRole::new(Some("b".into()), ROLE, None).unwrap();
        let roles = [exact, by_name];
        assert_eq!(
            accounts_of(&roles, &caller("111122223333", "muster-runner", "AROAEXAMPLE0")),
            [None, Some("b".into())]
        );
        assert_eq!(accounts_of(&roles, &caller("111122223333", "muster-runner", "AROAEXAMPLE1")), [Some("b".into())]);
        for (account, role) in
            [("111122223334", "muster-runner"), ("111122223333", "runner"), ("111122223333", "Muster-runner")]
        {
            assert!(accounts_of(&roles, &caller(account, role, "AROAEXAMPLE0")).is_empty());
        }
    }

    #[test]
    fn only_arns_of_roles_and_profiles_name_a_role() {
        let role = |arn: &str| TrustedRole::new(None, arn, None);
        assert_eq!(role(ROLE).unwrap().role, "muster-runner");
        assert_eq!(role("arn:aws-cn:iam::111122223333:instance-profile/p").unwrap().role, "p");
        for bad in [
            "",
            "muster-runner",
            "arn:aws:iam::111122223333:user/x",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:iam::111122223333:role/x/",
            "arn:aws:sts::111122223333:assumed-role/x/y",
            "arn:aws:iam::1:role/x",
            "arn:aws:iam::111122223333:role/x:y",
            "arn:gcp:iam::111122223333:role/x",
        ] {
            assert!(role(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_account_has_the_role_that_its_own_stack_has_made() {
        let account = |place| muster_core::config::Account {
            role: "arn:aws:iam::999900001111:role/muster-acme".to_owned(),
            external_id: None,
            place,
        };
        let place = |role: Option<&str>| muster_core::config::Place {
            instance_profile: Some("arn:aws:iam::999900001111:instance-profile/stack-InstanceProfile-1A".to_owned()),
            instance_role: role.map(str::to_owned),
            ..muster_core::config::Place::default()
        };
        let aws = |role| Aws { accounts: [("build".into(), account(place(role)))].into(), ..Aws::default() };
        let told = ["arn:aws:iam::999900001111:role/theirs".to_owned(), ROLE.to_owned()];
        let names = |aws: &Aws, told: &[String]| -> Vec<(String, String)> {
            let roles = TrustedRole::of_config(aws, told).unwrap().into_iter();
            roles.map(|role| (role.account, role.role)).collect()
        };
        let own = ("111122223333".to_owned(), "muster-runner".to_owned());
        let theirs = |role: &str| ("999900001111".to_owned(), role.to_owned());
        assert_eq!(names(&aws(None), &told), [own.clone(), theirs("theirs")], "whatever their order");
        let said = aws(Some("arn:aws:iam::999900001111:role/said"));
        assert_eq!(names(&said, &told), [own, theirs("said")], "the configuration comes first");
        assert_eq!(names(&aws(None), &[]), [theirs("stack-InstanceProfile-1A")]);
        assert!(TrustedRole::of_config(&Aws::default(), &[]).is_err());
    }
}
