//! AWS, as `muster serve --cloud aws` would use it, judged: whose credentials these are, the ledger's table, the stack's
//! queues, and what each account has for machines.
//!
//! What lives here: judgement by facts alone, and the way to the facts. What may not: quotas that only a launch meets. EC2's
//! vCPU quotas are in a service of their own (Service Quotas), whose SDK is not worth its minutes of compilation: a refusal
//! names them.
//!
//! Invariant: credentials that are refused are told once; nothing is asked with them.

use std::sync::Arc;

use muster_aws::{AccountCheckup, AwsCloud, Caller, Stack, There, caller, queue_is_fifo, table_faults};
use muster_core::config::FleetConfig;

use super::{Check, Finding};
use crate::aws::{Around, now};
use crate::drivers::lambda::surroundings;

/// When fewer Auto Scaling groups than one part in so many may still be made, it is told. A shape has one group or two.
const GROUPS_PARTS: i32 = 10;

const NO_LAUNCH: &str = "no machine can be launched there";

/// The queues that the stack's functions use, and whether each is a FIFO queue.
const QUEUES: [(&str, bool); 3] = [
    (surroundings::BELL_QUEUE_URL, true),
    (surroundings::CLAIMS_QUEUE_URL, true),
    (surroundings::WAKE_QUEUE_URL, false),
];

/// What AWS tells.
struct Facts {
    /// Whose credentials these are, and the region.
    caller: Result<(Caller, String), String>,
    /// What neither configuration nor stack says.
    missing: Vec<String>,
    /// The ledger's table, and what is wrong with it. `None`: no table is named.
    table: Option<(String, Result<Vec<String>, String>)>,
    /// The queues that are named: by which variable, whether it should be FIFO, and whether it is.
    queues: Vec<(&'static str, bool, Result<bool, String>)>,
    accounts: Vec<AccountCheckup>,
}

/// Nobody asked for AWS.
pub fn unasked() -> Vec<Finding> {
    let how = "give --aws, in the environment of the controller";
    vec![Finding::not_checked(Check::AwsIdentity, "", "AWS was not looked at", how)]
}

/// Reads and judges what AWS tells. `table`: the ledger's, if it is not the stack's.
pub async fn examine(config: &FleetConfig, table: Option<&str>) -> Vec<Finding> {
    judge(&read(&Around::find().await, config, table).await)
}

async fn read(around: &Around, config: &FleetConfig, table: Option<&str>) -> Facts {
    let stack = Stack::read(|name| around.vars.maybe(name).map(str::to_owned));
    let caller = match around.sdk.region() {
        None => Err("there is no region: set AWS_REGION".to_owned()),
        Some(region) => caller(&around.sdk).await.map(|caller| (caller, region.to_string())),
    };
    let mut facts =
        Facts { missing: stack.missing(&config.aws), table: None, queues: Vec::new(), accounts: Vec::new(), caller };
    if facts.caller.is_err() {
        return facts;
    }
    if let Some(table) = table.or_else(|| around.vars.maybe(surroundings::TABLE)) {
        let faults = table_faults(&muster_aws::dynamo(&around.sdk), table).await.map_err(|error| error.to_string());
        facts.table = Some((table.to_owned(), faults));
    }
    for (variable, fifo) in QUEUES {
        if let Some(url) = around.vars.maybe(variable) {
            facts.queues.push((variable, fifo, queue_is_fifo(&around.sdk, url).await));
        }
    }
    let config = Arc::new(config.clone());
    let cloud = AwsCloud::new(around.sdk.clone(), stack, Arc::new(move || config.clone()), now());
    facts.accounts = cloud.checkup().await;
    facts
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let (caller, region) = match &facts.caller {
        Ok(told) => told,
        Err(why) => {
            return vec![Finding::not_ok(
                Check::AwsIdentity,
                "",
                format!("AWS does not know us: {why}"),
                "without credentials no machine is launched and no ledger in DynamoDB is read",
                "give AWS_REGION and credentials as for AWS's own command line, those of the controller's role if you can",
            )];
        }
    };
    let who = format!("{} of account {}, in {region}", caller.arn, caller.account);
    let mut found = vec![Finding::ok(Check::AwsIdentity, "", format!("we are {who}"))];
    found.extend(facts.missing.iter().map(|missing| {
        // Each is one sentence with its remedy behind a colon.
        let (what, remedy) = missing.split_once(": ").unwrap_or((missing, "see the stack's README"));
        Finding::not_ok(Check::AwsStack, "", what, "no machine can be launched, or find the door, without it", remedy)
    }));
    if facts.missing.is_empty() {
        found.push(Finding::ok(Check::AwsStack, "", "subnets, instance profile and the door's address are named"));
    }
    found.push(table(facts.table.as_ref()));
    found.extend(facts.queues.iter().map(|(variable, fifo, is_fifo)| queue(variable, *fifo, is_fifo)));
    if facts.queues.is_empty() {
        let (what, remedy) =
            ("no queue is named", "one process needs none; give the functions' variables to have them checked");
        found.push(Finding::not_checked(Check::AwsQueue, "", what, remedy));
    }
    found.extend(facts.accounts.iter().flat_map(account));
    found
}

fn table(table: Option<&(String, Result<Vec<String>, String>)>) -> Finding {
    let not_ok = |name: &str, what: String| {
        Finding::not_ok(
            Check::AwsTable,
            name,
            what,
            "without its ledger the controller does not begin, and webhooks are answered with 503",
            "name the stack's table (its output Table), in its account and region; a table of your own is made as \
             infra/stack.yaml says",
        )
    };
    match table {
        None => {
            let (what, remedy) = ("no table is named: the ledger may be a file", "give --table, or MUSTER_TABLE");
            Finding::not_checked(Check::AwsTable, "", what, remedy)
        }
        Some((name, Ok(faults))) if faults.is_empty() => {
            Finding::ok(Check::AwsTable, name, "it is there, with the keys, the index and the expiry of a ledger")
        }
        Some((name, Ok(faults))) => not_ok(name, faults.join("; ")),
        Some((name, Err(why))) => not_ok(name, why.clone()),
    }
}

fn queue(variable: &str, fifo: bool, is_fifo: &Result<bool, String>) -> Finding {
    let kind = |fifo: bool| if fifo { "a FIFO queue" } else { "a standard queue" };
    let what = match is_fifo {
        Ok(is_fifo) if *is_fifo == fifo => {
            return Finding::ok(Check::AwsQueue, variable, format!("it is {}", kind(fifo)));
        }
        Ok(is_fifo) => format!("it is {}, and not {}", kind(*is_fifo), kind(fifo)),
        Err(why) => why.clone(),
    };
    let why = "bells are lost: work waits for the next timer, a minute or more";
    Finding::not_ok(Check::AwsQueue, variable, what, why, "set it to the URL of the stack's queue")
}

/// What an account has for machines.
fn account(account: &AccountCheckup) -> Vec<Finding> {
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
    found.extend(subnets(there, &about));
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

fn groups(there: &There, about: &str) -> Finding {
    match there.groups {
        Ok((has, most)) if most.saturating_sub(has) > most / GROUPS_PARTS => {
            let what = format!("{has} of {most} Auto Scaling groups; EC2's vCPU quotas are not looked at");
            Finding::ok(Check::AwsQuota, about, what)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::State;
    use super::*;

    fn healthy() -> Facts {
        let there = There {
            subnets: Ok((Vec::new(), 2)),
            images: BTreeMap::from([("linux x64 (ami-1)".to_owned(), Ok("ami-1".to_owned()))]),
            groups: Ok((12, 500)),
        };
        let account = |name: Option<&str>, role: Option<&str>| AccountCheckup {
            name: name.map(Arc::from),
            role: role.map(str::to_owned),
            lacking: Vec::new(),
            there: Ok(there.clone()),
        };
        let caller =
            Caller { account: "111111111111".to_owned(), arn: "arn:aws:iam::111111111111:role/muster".to_owned() };
        Facts {
            caller: Ok((caller, "eu-central-1".to_owned())),
            missing: Vec::new(),
            table: Some(("muster-acme".to_owned(), Ok(Vec::new()))),
            queues: QUEUES.iter().map(|(variable, fifo)| (*variable, *fifo, Ok(*fifo))).collect(),
            accounts: vec![account(None, None), account(Some("build"), Some("arn:aws:iam::222222222222:role/muster"))],
        }
    }

    #[test]
    fn a_healthy_set_up_is_ok_in_every_line() {
        let found = judge(&healthy());
        assert!(found.iter().all(|finding| finding.state == State::Ok), "{found:#?}");
        assert_eq!(found.len(), 13);
    }

    #[test]
    fn each_trouble_is_named_alone_and_with_its_remedy() {
        fn away(facts: &mut Facts) -> &mut There {
            facts.accounts[1].there.as_mut().unwrap()
        }
        type Plant = fn(&mut Facts);
        let plants: &[(Plant, Check, &str, &str)] = &[
            (|facts| facts.caller = Err("ExpiredToken".to_owned()), Check::AwsIdentity, "ExpiredToken", "AWS_REGION"),
            (
                |facts| facts.missing = Stack::default().missing(&Default::default())[..1].to_vec(),
                Check::AwsStack,
                "no subnets",
                "MUSTER_SUBNETS",
            ),
            (
                |facts| facts.table = Some(("t".to_owned(), Err("there is no such table".to_owned()))),
                Check::AwsTable,
                "no such table",
                "output Table",
            ),
            (
                |facts| facts.table = Some(("t".to_owned(), Ok(vec!["its key is id (HASH)".to_owned()]))),
                Check::AwsTable,
                "its key is id",
                "infra/stack.yaml",
            ),
            (
                |facts| facts.queues[0].2 = Ok(false),
                Check::AwsQueue,
                "a standard queue, and not a FIFO",
                "stack's queue",
            ),
            (|facts| facts.queues[2].2 = Err("none".to_owned()), Check::AwsQueue, "none", "stack's queue"),
            (
                |facts| facts.accounts[1].there = Err("AccessDenied".to_owned()),
                Check::AwsRole,
                "AccessDenied",
                "trust policy",
            ),
            (
                |facts| away(facts).subnets = Ok((vec!["subnet-9".to_owned()], 1)),
                Check::AwsSubnets,
                "subnet-9 is not there",
                "name subnets",
            ),
            (
                |facts| away(facts).subnets = Ok((vec!["subnet-9".to_owned()], 0)),
                Check::AwsSubnets,
                "subnet-9 is not there",
                "name subnets",
            ),
            (
                |facts| {
                    away(facts).images.insert("linux arm64".to_owned(), Err("there is no image".to_owned()));
                },
                Check::AwsImage,
                "no image",
                "name an image",
            ),
            (|facts| away(facts).groups = Ok((490, 500)), Check::AwsQuota, "490 of 500", "Service Quotas"),
        ];
        for (plant, check, what, remedy) in plants {
            let mut facts = healthy();
            plant(&mut facts);
            let bad: Vec<Finding> = judge(&facts).into_iter().filter(|finding| finding.state == State::NotOk).collect();
            assert_eq!(bad.len(), 1, "{what}: {bad:#?}");
            assert_eq!(bad[0].check, *check, "{what}");
            let told = bad[0].remedy.as_deref().unwrap();
            assert!(bad[0].what.contains(what) && told.contains(remedy), "{:#?}", bad[0]);
        }
    }
}
