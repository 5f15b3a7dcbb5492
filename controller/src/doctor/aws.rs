//! AWS, as `muster serve --cloud aws` would use it, judged: whose credentials these are, the ledger's table, the stack's
//! queues, and what each account has for machines.
//!
//! What lives here: judgement by facts alone, and the way to the facts; an account's are judged in `account.rs`. What may
//! not: what only a launch meets.
//!
//! Invariant: credentials that are refused are told once; nothing is asked with them.

use std::sync::Arc;

use muster_aws::{AccountCheckup, AwsCloud, Caller, Stack, caller, queue_is_fifo, table_faults};
use muster_core::config::FleetConfig;

use super::{Check, Finding, account};
use crate::aws::{Around, now};
use crate::drivers::lambda::surroundings;

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
    found.extend(facts.accounts.iter().flat_map(account::judge));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use muster_aws::{There, VcpuQuota, WayOut};

    use super::super::State;
    use super::*;

    fn healthy() -> Facts {
        let there = There {
            subnets: Ok((Vec::new(), 2)),
            images: BTreeMap::from([("linux x64 (ami-1)".to_owned(), Ok("ami-1".to_owned()))]),
            ways_out: Ok(vec![
                ("subnet-1".to_owned(), WayOut::Gateway { id: "igw-1".to_owned(), public: true }),
                ("subnet-2".to_owned(), WayOut::Through("nat-1".to_owned())),
            ]),
            groups: Ok((12, 500)),
            vcpus: vec![VcpuQuota { name: "spot standard", code: "L-1", needed: 16, idle: 32, vcpus: Ok(640) }],
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
        assert_eq!(found.len(), 17);
    }

    #[test]
    fn what_only_other_credentials_may_read_is_told_as_not_checked() {
        let mut facts = healthy();
        let there = facts.accounts[0].there.as_mut().unwrap();
        there.ways_out = Err("DescribeRouteTables in the home account: UnauthorizedOperation".to_owned());
        there.vcpus[0].vcpus = Err("GetServiceQuota in the home account: AccessDeniedException".to_owned());
        let found = judge(&facts);
        let open: Vec<_> = found.iter().filter(|finding| finding.state != State::Ok).collect();
        let seen: Vec<_> = open.iter().map(|finding| (finding.check, finding.state)).collect();
        assert_eq!(seen, [(Check::AwsEgress, State::NotChecked), (Check::AwsQuota, State::NotChecked)]);
        assert!(open[1].remedy.as_deref().is_some_and(|remedy| remedy.contains("servicequotas:GetServiceQuota")));
    }

    #[test]
    fn each_trouble_is_named_alone_and_with_its_remedy() {
        fn away(facts: &mut Facts) -> &mut There {
            facts.accounts[1].there.as_mut().unwrap()
        }
        fn way(facts: &mut Facts, way: WayOut) {
            away(facts).ways_out.as_mut().unwrap()[1].1 = way;
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
            (|facts| away(facts).vcpus[0].vcpus = Ok(5), Check::AwsQuota, "the largest machine has 16", "L-1"),
            (|facts| away(facts).vcpus[0].vcpus = Ok(31), Check::AwsQuota, "kept idle now take 32", "Service Quotas"),
            (|facts| way(facts, WayOut::Nowhere), Check::AwsEgress, "subnet-2 has no route to 0.0.0.0/0", "NAT"),
            (|facts| way(facts, WayOut::Gone("nat-9".to_owned())), Check::AwsEgress, "nat-9, which is gone", "NAT"),
            (
                |facts| way(facts, WayOut::Gateway { id: "igw-1".to_owned(), public: false }),
                Check::AwsEgress,
                "machines there get no public address",
                "public addresses",
            ),
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
