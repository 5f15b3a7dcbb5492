//! What an AWS account has for machines, judged: role, subnets and their way out, images, quotas.
//!
//! What lives here: judgement by facts alone. What may not: asking AWS.
//!
//! Invariant: what could not be read is told as not checked where reading it takes rights that the controller lacks on
//! purpose, and as wrong where launching takes the same rights.

use muster_aws::{AccountCheckup, There, VcpuQuota, WayOut};

use super::{Check, Finding};

/// When fewer Auto Scaling groups than one part in so many may still be made, it is told. A shape has one group or two.
const GROUPS_PARTS: i32 = 10;

const NO_LAUNCH: &str = "no machine can be launched there";

/// What an account has for machines.
pub(super) fn judge(account: &AccountCheckup) -> Vec<Finding> {
    let about = account.name.as_ref().map_or_else(|| "home account".to_owned(), |name| format!("account {name}"));
    let mut found = Vec::new();
    if account.name.is_some() {
        // The home account's are the stack's.
        for lacking in &account.lacking {
            let (what, remedy) = lacking.split_once(": ").unwrap_or((lacking, "see muster.example.toml"));
            found.push(Finding::not_ok(Check::AwsStack, &*about, what, NO_LAUNCH, remedy));
        }
    }
    let there = match (&account.there, &account.role) {
        (Ok(there), role) => {
            if let Some(role) = role {
                found.push(Finding::ok(Check::AwsRole, &*about, format!("{role} can be taken on")));
            }
            there
        }
        (Err(why), _) => {
            found.push(Finding::not_ok(
                Check::AwsRole,
                &*about,
                why,
                NO_LAUNCH,
                "let the role's trust policy name the controller's role and the external_id of [[aws.account]], as \
                 infra/account.yaml does; and let the controller's role take it on (AccountRoleArns of the stack)",
            ));
            return found;
        }
    };
    // Rights that no launch takes, which the templates do not give.
    let asks = match account.role {
        None => "the controller's role lacks it on purpose: ask with credentials that have",
        Some(_) => "infra/account.yaml does not give it to the account's role, for no launch takes it: add",
    };
    found.extend(subnets(there, &about));
    found.extend(egress(there, &about, asks));
    for (name, image) in &there.images {
        let about = format!("{about}, {name}");
        found.push(match image {
            Ok(id) => Finding::ok(Check::AwsImage, about, format!("{id} is there")),
            Err(why) => Finding::not_ok(
                Check::AwsImage,
                about,
                why,
                "no machine of that system can be launched",
                "name an image that this account can see, or a parameter that holds one, for the account's region",
            ),
        });
    }
    found.push(groups(there, &about));
    found.extend(there.vcpus.iter().map(|quota| vcpus(quota, &about, asks)));
    found
}

fn subnets(there: &There, about: &str) -> Option<Finding> {
    let not_ok = |what: String, why: &str| {
        Finding::not_ok(
            Check::AwsSubnets,
            about,
            what,
            why,
            "name subnets that are there, in the region, one for each zone",
        )
    };
    match &there.subnets {
        // That none is named is told already.
        Ok((gone, 0)) if gone.is_empty() => None,
        Ok((gone, zones)) if gone.is_empty() => {
            Some(Finding::ok(Check::AwsSubnets, about, format!("all are there, in {zones} zones")))
        }
        Ok((gone, 0)) => Some(not_ok(format!("{} is not there", gone.join(", ")), NO_LAUNCH)),
        Ok((gone, zones)) => {
            let why = "its zone gets no machine: capacity of the others has to do";
            Some(not_ok(format!("{} is not there; the others are in {zones} zones", gone.join(", ")), why))
        }
        Err(why) => Some(not_ok(why.clone(), NO_LAUNCH)),
    }
}

/// `None`: there is no subnet to tell of.
fn egress(there: &There, about: &str, asks: &str) -> Option<Finding> {
    let ways = match &there.ways_out {
        Ok(ways) if ways.is_empty() => return None,
        Ok(ways) => ways,
        Err(why) => {
            let remedy = format!("{asks} ec2:DescribeRouteTables");
            return Some(Finding::not_checked(Check::AwsEgress, about, why, remedy));
        }
    };
    let wrong = ways.iter().filter_map(|(subnet, way)| {
        Some(match way {
            WayOut::Through(_) | WayOut::InPart(_) | WayOut::Gateway { public: true, .. } => return None,
            WayOut::Gateway { id, public: false } => {
                format!("{subnet} leads to {id}, and machines there get no public address")
            }
            WayOut::Gone(id) => format!("{subnet} leads to {id}, which is gone"),
            WayOut::Nowhere => format!("{subnet} has no route to 0.0.0.0/0"),
        })
    });
    let wrong: Vec<String> = wrong.collect();
    if wrong.is_empty() {
        let ways = ways.iter().map(|(subnet, way)| match way {
            WayOut::Gateway { id, .. } => format!("{subnet} by {id} with public addresses"),
            WayOut::InPart(id) => format!("{subnet} by {id} for some addresses, which are not looked at"),
            WayOut::Through(id) | WayOut::Gone(id) => format!("{subnet} by {id}"),
            WayOut::Nowhere => subnet.clone(),
        });
        return Some(Finding::ok(Check::AwsEgress, about, ways.collect::<Vec<_>>().join(", ")));
    }
    Some(Finding::not_ok(
        Check::AwsEgress,
        about,
        wrong.join("; "),
        "a machine that reaches neither the door nor GitHub never claims, costs ten minutes, and is ended; so is the next",
        "give the subnet a route to 0.0.0.0/0: by a NAT gateway, or by an internet gateway and with public addresses given \
         at launch; where a proxy inside the VPC is the way out this is as it should be",
    ))
}

fn vcpus(quota: &VcpuQuota, about: &str, asks: &str) -> Finding {
    let VcpuQuota { name, code, needed, idle, vcpus } = quota;
    let about = format!("{about}, {name}");
    let not_ok = |what: String, why: &str| {
        let remedy = format!("ask for more in Service Quotas, Amazon EC2, {code}: it takes minutes to days");
        Finding::not_ok(Check::AwsQuota, &*about, what, why, remedy)
    };
    match vcpus {
        Err(why) => {
            let remedy = format!("{asks} servicequotas:GetServiceQuota");
            Finding::not_checked(Check::AwsQuota, about, why, remedy)
        }
        Ok(vcpus) if vcpus < needed => not_ok(
            format!("{vcpus} vCPUs, and the largest machine has {needed}"),
            "it can never be launched, and its jobs wait",
        ),
        Ok(vcpus) if vcpus < idle => not_ok(
            format!("{vcpus} vCPUs, and the machines that are kept idle now take {idle}"),
            "launches beyond the quota are refused, and held off for half an hour each time",
        ),
        Ok(vcpus) => {
            let machines = vcpus / (*needed).max(1);
            Finding::ok(
                Check::AwsQuota,
                about,
                format!("{vcpus} vCPUs: {machines} machines with {needed}, the largest"),
            )
        }
    }
}

fn groups(there: &There, about: &str) -> Finding {
    match there.groups {
        Ok((has, most)) if most.saturating_sub(has) > most / GROUPS_PARTS => {
            Finding::ok(Check::AwsQuota, about, format!("{has} of {most} Auto Scaling groups"))
        }
        Ok((has, most)) => Finding::not_ok(
            Check::AwsQuota,
            about,
            format!("{has} of {most} Auto Scaling groups are used"),
            "a shape that has not been launched yet needs a group of its own: its launches will be refused",
            "delete groups that nobody needs, or ask for more (Service Quotas, Auto Scaling groups per region)",
        ),
        Err(ref why) => Finding::not_ok(
            Check::AwsQuota,
            about,
            why,
            "the same role launches machines",
            "give the role the permissions of the stack's scaler, and see infra/IAM.md",
        ),
    }
}
