//! nftables: nobody but root reaches the metadata service.
//!
//! By user, because a job runs as one: what it sends has its socket's uid. What a container sends through a bridge has none
//! and is forwarded: that is dropped as well. A job that is root passes; see `docs/security.md`.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::process::{Command, Stdio};

/// The service's addresses (EC2 User Guide, "Access instance metadata").
const ADDRESSES: [&str; 2] = ["169.254.169.254", "fd00:ec2::254"];
const TABLE: &str = "inet muster_agent";

/// Closes the metadata service for everybody but root. The same again changes nothing.
///
/// # Errors
/// There is no `nft`, or it refuses.
pub fn secure(metadata: &str) -> io::Result<()> {
    let rules = rules(metadata)?;
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    // As a service the agent may have a short path.
    command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    let mut nft = command.spawn().map_err(|e| io::Error::other(format!("nft cannot be run: {e}; install nftables")))?;
    if let Some(mut stdin) = nft.stdin.take() {
        stdin.write_all(rules.as_bytes())?;
    }
    let out = nft.wait_with_output()?;
    match out.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("nft refuses: {}", String::from_utf8_lossy(&out.stderr).trim()))),
    }
}

fn rules(metadata: &str) -> io::Result<String> {
    let mut matches = ADDRESSES.map(|address| of(address.parse().ok(), None)).to_vec();
    let authority = metadata.trim_start_matches("http://").trim_end_matches('/');
    if !ADDRESSES.iter().any(|address| authority.trim_matches(['[', ']']) == *address) {
        // An emulation's, on a port that it shares its address with others by.
        let named = authority.to_socket_addrs().or_else(|_| (authority, 80).to_socket_addrs())?;
        matches.extend(named.map(|at: SocketAddr| of(Some(at.ip()), Some(at.port()))));
    }
    let output: String = matches.iter().map(|to| format!("    {to} meta skuid != 0 counter reject\n")).collect();
    let forward: String = matches.iter().map(|to| format!("    {to} counter drop\n")).collect();
    Ok(format!(
        "table {TABLE} {{}}\ndelete table {TABLE}\ntable {TABLE} {{\n  chain output {{\n    \
         type filter hook output priority -150; policy accept;\n{output}  }}\n  chain forward {{\n    \
         type filter hook forward priority -150; policy accept;\n{forward}  }}\n}}\n"
    ))
}

fn of(address: Option<IpAddr>, port: Option<u16>) -> String {
    let to = match address {
        Some(IpAddr::V6(address)) => format!("ip6 daddr {address}"),
        Some(IpAddr::V4(address)) => format!("ip daddr {address}"),
        None => String::new(),
    };
    match port {
        Some(port) => format!("{to} tcp dport {port}"),
        None => to,
    }
}
