//! Users of the machine.

use std::io;
use std::path::PathBuf;

use nix::unistd::User;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its group's.
    pub gid: u32,
    /// Its home.
    pub home: PathBuf,
}

/// The user of this name, who must not be root.
///
/// # Errors
/// There is none, or it is root by another name.
pub fn account(name: &str) -> io::Result<Account> {
    let found = User::from_name(name)?;
    let user =
        found.ok_or_else(|| io::Error::other(format!("there is no user {name}: make one, or set `runner_user`")))?;
    if user.uid.is_root() || user.gid.as_raw() == 0 {
        return Err(io::Error::other(format!("{name} has root's numbers: `runner_user` must be an unprivileged user")));
    }
    Ok(Account { name: name.to_owned(), uid: user.uid.as_raw(), gid: user.gid.as_raw(), home: user.dir })
}
