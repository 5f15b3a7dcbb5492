//! The contract of the cloud's port: all of it on the emulation, and on moto what it can do. It knows no launches,
//! no ends of several members at once (the tests of `moto` end one), and no stock that fills.

use super::super::emulator::block_on;
use super::stage::{Ground, Wish, stage};

mod emulation {
    use super::*;

    muster_core::cloud_contract! { stage: stage(Ground::Emulation, &Wish::default()), drive: block_on }
}

mod moto {
    use super::*;

    muster_core::cloud_contract! {
        // Unlike EC2, moto wants to be told the size of a root volume.
        stage: stage(Ground::Moto, &Wish { aws: "[aws]\nroot_gib = 20".to_owned(), ..Wish::default() }),
        drive: block_on,
        only: [
            a_launch_that_cannot_be_is_rejected,
            what_was_launched_is_seen_and_what_was_not_is_absent,
            what_nobody_launched_is_neither_ended_nor_a_failure,
            a_metadata_service_can_be_turned_off_twice,
            a_stock_that_cannot_be_is_rejected_and_none_is_no_stock,
            spot_prices_are_told_once_for_each_shape_and_zone,
        ]
    }
}
