//! Where the subnets' default routes lead, as a doctor reads it.

use std::collections::BTreeMap;

use muster_aws::WayOut;
use serde_json::json;

use super::stage::{Ground, Wish, stage};
use crate::emulator::block_on;

/// A VPC with a subnet for each way out, by what its CIDR block is called.
struct Network {
    subnets: BTreeMap<&'static str, String>,
    gateway: String,
    nat: String,
}

async fn network(ec2: &aws_sdk_ec2::Client) -> Network {
    let vpc = ec2.create_vpc().cidr_block("10.9.0.0/16").send().await.unwrap().vpc.unwrap().vpc_id.unwrap();
    let gateway = ec2.create_internet_gateway().send().await.unwrap().internet_gateway.unwrap();
    let gateway = gateway.internet_gateway_id.unwrap();
    ec2.attach_internet_gateway().vpc_id(&vpc).internet_gateway_id(&gateway).send().await.unwrap();
    let mut subnets = BTreeMap::new();
    for (name, block) in [
        ("public", "10.9.0.0/24"),
        ("unaddressed", "10.9.1.0/24"),
        ("private", "10.9.2.0/24"),
        ("main", "10.9.3.0/24"),
        ("half", "10.9.4.0/24"),
    ] {
        let subnet = ec2.create_subnet().vpc_id(&vpc).cidr_block(block).send().await.unwrap().subnet.unwrap();
        subnets.insert(name, subnet.subnet_id.unwrap());
    }
    let addresses = aws_sdk_ec2::types::AttributeBooleanValue::builder().value(true).build();
    let public = ec2.modify_subnet_attribute().subnet_id(&subnets["public"]).map_public_ip_on_launch(addresses);
    public.send().await.unwrap();
    let nat = ec2.create_nat_gateway().subnet_id(&subnets["public"]).send().await.unwrap();
    let nat = nat.nat_gateway.unwrap().nat_gateway_id.unwrap();
    let everywhere = "0.0.0.0/0";
    for (block, through_nat, names) in [
        (everywhere, false, vec!["public", "unaddressed"]),
        (everywhere, true, vec!["private"]),
        ("128.0.0.0/1", true, vec!["half"]),
    ] {
        let table = ec2.create_route_table().vpc_id(&vpc).send().await.unwrap().route_table.unwrap();
        let table = table.route_table_id.unwrap();
        let route = ec2.create_route().route_table_id(&table).destination_cidr_block(block);
        let route = if through_nat { route.nat_gateway_id(&nat) } else { route.gateway_id(&gateway) };
        route.send().await.unwrap();
        for name in names {
            ec2.associate_route_table().route_table_id(&table).subnet_id(&subnets[name]).send().await.unwrap();
        }
    }
    Network { subnets, gateway, nat }
}

#[test]
fn each_subnet_has_the_way_out_of_its_own_table_or_of_its_vpc() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        let Network { subnets, gateway, nat } = network(&stage.ec2).await;
        let named: Vec<String> = subnets.values().map(|subnet| format!("{subnet:?}")).collect();
        let aws = format!("[aws]\nsubnets = [{}]", named.join(", "));
        stage.reconfigure(&Wish { aws, ..Wish::default() });
        let found = stage.cloud.checkup().await;
        // Whoever makes rights as small as the controller's may not read routes, and all the rest is told.
        let denied = json!({"kind": "error", "action": "DescribeRouteTables", "code": "UnauthorizedOperation"});
        stage.fault(denied).await;
        let refused = stage.cloud.checkup().await;
        stage.heal().await;
        // The next stage takes the first subnets that it finds.
        for subnet in subnets.values() {
            stage.ec2.delete_subnet().subnet_id(subnet).send().await.unwrap();
        }
        let there = found[0].there.as_ref().unwrap();
        let ways: BTreeMap<_, _> = there.ways_out.clone().unwrap().into_iter().collect();
        let by_gateway = |public| WayOut::Gateway { id: gateway.clone(), public };
        let expected = [
            ("public", by_gateway(true)),
            ("unaddressed", by_gateway(false)),
            ("private", WayOut::Through(nat.clone())),
            ("main", WayOut::Nowhere),
            ("half", WayOut::InPart(nat.clone())),
        ];
        for (name, way) in expected {
            assert_eq!(ways[&subnets[name]], way, "{name}");
        }
        let there = refused[0].there.as_ref().unwrap();
        let why = there.ways_out.as_ref().unwrap_err();
        assert!(why.contains("UnauthorizedOperation") && there.groups.is_ok(), "{there:?}");
    });
}
