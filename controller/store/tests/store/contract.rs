//! The contract, run against every ledger of this crate.

use muster_store::contract::Keeps;

use super::scratch;

mod memory {
    use super::*;
    muster_store::contract_suite! { fresh: scratch::memory(false), keeps: Keeps::Tombstones, drive: scratch::ready }
}

mod memory_with_history {
    use super::*;
    muster_store::contract_suite! { fresh: scratch::memory(true), keeps: Keeps::Everything, drive: scratch::ready }
}

mod sqlite_direct {
    use super::*;
    muster_store::contract_suite! { fresh: scratch::direct(), keeps: Keeps::Everything, drive: scratch::ready }
}

mod sqlite_threads {
    use super::*;
    muster_store::contract_suite! { fresh: scratch::threads(), keeps: Keeps::Everything, drive: scratch::block_on }
}
