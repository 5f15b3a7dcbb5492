//! The contract of every ledger, on each emulator.

use muster_store::contract::Keeps;

use super::emulator::{Emulator, block_on, fresh};

mod ministack {
    use super::*;
    muster_store::contract_suite! { fresh: fresh(Emulator::Ministack), keeps: Keeps::Everything, drive: block_on }
}

mod moto {
    use super::*;
    muster_store::contract_suite! { fresh: fresh(Emulator::Moto), keeps: Keeps::Everything, drive: block_on }
}
