//! Tests of the AWS adapters against emulators. `bash .ci/run emulators` starts them and runs these.

#[cfg(test)]
mod bell;
#[cfg(test)]
mod checkup;
#[cfg(test)]
mod cloud;
#[cfg(test)]
mod config_object;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod count;
#[cfg(test)]
mod emulator;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod log_shelf;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod trouble;
