//! Tests of the ledgers from outside.

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod scratch;
#[cfg(test)]
mod sqlite;
