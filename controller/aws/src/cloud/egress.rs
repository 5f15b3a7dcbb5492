//! How the machines of an account reach the internet: for `muster doctor`.
//!
//! What lives here: each subnet's default route. What may not: whether what it leads to lets traffic through, which only a
//! machine there can tell.
//!
//! Invariant: it only reads.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{Filter, Route, RouteState, RouteTable, Subnet};

use super::account::Account;
use super::budget::Api;
use super::errors::Failure;

/// Where everything goes that no other route names.
const EVERYWHERE: &str = "0.0.0.0/0";

/// Where a subnet's default route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WayOut {
    /// To an internet gateway. Only a machine with a public address gets through.
    Gateway {
        /// Its id.
        id: String,
        /// Whether machines there get a public address.
        public: bool,
    },
    /// To something that gives it an address or passes it on: a NAT gateway, a transit gateway, an appliance.
    Through(String),
    /// There is none for all of IPv4, but one to this for some addresses: halves of them, a list, IPv6.
    InPart(String),
    /// To something that is gone.
    Gone(String),
    /// There is none.
    Nowhere,
}

impl Account {
    /// The way out of each subnet that is there.
    pub(super) async fn ways_out(&self) -> Result<Vec<(String, WayOut)>, Failure> {
        let wanted = self.place.subnets.clone();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let answer = self
            .call(Api::DescribeSubnets, |clients| {
                clients.ec2.describe_subnets().filters(filter("subnet-id", wanted.clone())).send()
            })
            .await?;
        let subnets = answer.subnets();
        let vpcs: BTreeSet<String> = subnets.iter().filter_map(Subnet::vpc_id).map(str::to_owned).collect();
        if vpcs.is_empty() {
            return Ok(Vec::new());
        }
        let own = self.route_tables(vec![filter("association.subnet-id", wanted)]).await?;
        let main =
            vec![filter("vpc-id", vpcs.into_iter().collect()), filter("association.main", vec!["true".to_owned()])];
        let main = self.route_tables(main).await?;
        Ok(subnets
            .iter()
            .filter_map(|subnet| Some((subnet.subnet_id()?.to_owned(), way_out(subnet, &own, &main))))
            .collect())
    }

    async fn route_tables(&self, filters: Vec<Filter>) -> Result<Vec<RouteTable>, Failure> {
        let answer = self
            .call(Api::DescribeRouteTables, |clients| {
                clients.ec2.describe_route_tables().set_filters(Some(filters)).send()
            })
            .await?;
        Ok(answer.route_tables.unwrap_or_default())
    }
}

fn filter(name: &str, values: Vec<String>) -> Filter {
    Filter::builder().name(name).set_values(Some(values)).build()
}

/// A subnet without a table of its own has its VPC's main table.
fn way_out(subnet: &Subnet, own: &[RouteTable], main: &[RouteTable]) -> WayOut {
    let is_of = |table: &&RouteTable| table.associations().iter().any(|one| one.subnet_id() == subnet.subnet_id());
    let table = own.iter().find(is_of).or_else(|| main.iter().find(|table| table.vpc_id() == subnet.vpc_id()));
    let routes = table.map(RouteTable::routes).unwrap_or_default();
    let Some(route) = routes.iter().find(|route| route.destination_cidr_block() == Some(EVERYWHERE)) else {
        let others = routes.iter().filter(|route| route.state() != Some(&RouteState::Blackhole)).filter_map(target);
        // Endpoints of services, and the VPC itself, lead to no internet.
        let mut out = others.filter(|id| *id != "local" && !id.starts_with("vpce-"));
        return out.next().map_or(WayOut::Nowhere, |id| WayOut::InPart(id.to_owned()));
    };
    let id = target(route).unwrap_or("a target without an id").to_owned();
    if route.state() == Some(&RouteState::Blackhole) {
        WayOut::Gone(id)
    } else if id.starts_with("igw-") {
        WayOut::Gateway { id, public: subnet.map_public_ip_on_launch() == Some(true) }
    } else {
        WayOut::Through(id)
    }
}

fn target(route: &Route) -> Option<&str> {
    let targets = [
        route.nat_gateway_id(),
        route.gateway_id(),
        route.transit_gateway_id(),
        route.network_interface_id(),
        route.vpc_peering_connection_id(),
        route.local_gateway_id(),
        route.carrier_gateway_id(),
        route.core_network_arn(),
        route.instance_id(),
    ];
    targets.into_iter().flatten().next()
}
