//! Bells on the emulators' SQS.

use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use muster_aws::{SLOT, SqsBell, SqsWake, WAKE_DELAY_MAX, hold_back};
use muster_core::ports::Bell;
use muster_core::time::Timestamp;

use crate::emulator::{BOTH, Emulator, block_on, random, shared_config};

/// A slot's beginning.
const START: Timestamp = Timestamp::from_unix_ms(1_795_000_000_000);

fn at(ms: u64) -> Timestamp {
    START + Duration::from_millis(ms)
}

fn client(emulator: Emulator) -> Client {
    Client::new(&shared_config(emulator))
}

fn queue(client: &Client, fifo: bool) -> String {
    let create = client.create_queue();
    let create = match fifo {
        true => {
            create.queue_name(format!("muster-{}.fifo", random())).attributes(QueueAttributeName::FifoQueue, "true")
        }
        false => create.queue_name(format!("muster-{}", random())),
    };
    block_on(create.send()).unwrap().queue_url.unwrap()
}

/// What comes, and what is there with it; taken away, as a scaler does that has heard it. Polls for some seconds at most.
fn heard(client: &Client, queue: &str) -> Vec<String> {
    let end = Instant::now() + Duration::from_secs(10);
    let mut bodies = Vec::new();
    loop {
        let wait = if bodies.is_empty() { 1 } else { 0 };
        let receive = client.receive_message().queue_url(queue).max_number_of_messages(10).wait_time_seconds(wait);
        let messages = block_on(receive.send()).unwrap().messages.unwrap_or_default();
        if (messages.is_empty() && !bodies.is_empty()) || Instant::now() > end {
            return bodies;
        }
        for message in messages {
            bodies.push(message.body.unwrap());
            let handle = message.receipt_handle.unwrap();
            block_on(client.delete_message().queue_url(queue).receipt_handle(handle).send()).unwrap();
        }
    }
}

#[test]
fn many_rings_in_a_slot_are_one_message() {
    for emulator in BOTH {
        let client = client(emulator);
        let queue = queue(&client, true);
        // Two doors, which know nothing of each other.
        let doors = [0, 1].map(|_| SqsBell::new(client.clone(), queue.clone(), "acme".to_owned()));
        assert!(!block_on(doors[0].flush(at(0))), "nobody has rung");
        for ms in [0, 10, 249] {
            for door in &doors {
                door.ring();
                door.ring();
                assert!(block_on(door.flush(at(ms))));
                assert!(!block_on(door.flush(at(ms))), "one message for each flush");
            }
        }
        assert_eq!(heard(&client, &queue), ["{\"until_ms\":1795000000250}"]);
        // Another fleet's bell in the same slot is another one.
        let other = SqsBell::new(client.clone(), queue.clone(), "other".to_owned());
        other.ring();
        assert!(block_on(other.flush(at(100))));
        assert_eq!(heard(&client, &queue).len(), 1);
    }
}

/// The message of a slot was heard and is gone, and somebody rings: in the same slot, then whoever has heard it still waits
/// for the slot's end; or after it, then there is another message.
#[test]
fn a_ring_after_the_message_was_heard_is_not_lost() {
    for emulator in BOTH {
        let client = client(emulator);
        let queue = queue(&client, true);
        let bell = SqsBell::new(client.clone(), queue.clone(), "acme".to_owned());
        bell.ring();
        assert!(block_on(bell.flush(at(0))));
        let heard_at = at(20);
        let bodies = heard(&client, &queue);
        let looks_at = heard_at + hold_back(bodies.iter().map(String::as_str), heard_at);
        for rung in [at(30), at(249)] {
            bell.ring();
            assert!(block_on(bell.flush(rung)));
            assert!(looks_at > rung, "the look that the first ring has brought about sees what this one is about");
        }
        bell.ring();
        assert!(block_on(bell.flush(at(0) + SLOT)));
        let bodies = heard(&client, &queue);
        assert_eq!(bodies.last().map(String::as_str), Some("{\"until_ms\":1795000000500}"));
        // Moto forgets the id of a message that was deleted, which SQS does not: there the swallowed rings come too.
        if let Emulator::Ministack = emulator {
            assert_eq!(bodies.len(), 1);
        }
    }
}

#[test]
fn a_bell_that_cannot_be_rung_fails_nothing_and_is_tried_again() {
    for emulator in BOTH {
        let client = client(emulator);
        let queue = queue(&client, true);
        let bell = SqsBell::new(client.clone(), queue.replace("muster-", "nobody-"), "acme".to_owned());
        bell.ring();
        assert!(!block_on(bell.flush(at(0))));
        let name = queue.rsplit('/').next().unwrap().replace("muster-", "nobody-");
        let create = client.create_queue().queue_name(name).attributes(QueueAttributeName::FifoQueue, "true");
        block_on(create.send()).unwrap();
        assert!(block_on(bell.flush(at(10))), "without another ring");
    }
}

#[test]
fn a_wake_up_comes_when_it_was_asked_for() {
    for emulator in BOTH {
        let client = client(emulator);
        let queue = queue(&client, false);
        let wake = SqsWake::new(client.clone(), queue.clone());
        let began = Instant::now();
        assert!(block_on(wake.wake_at(at(1_200), at(0))));
        assert!(!block_on(wake.wake_at(at(5_000), at(10))), "an earlier one is on its way");
        let bodies = heard(&client, &queue);
        assert_eq!(bodies, ["{\"wake_at_ms\":1795000001200}"], "{emulator:?}");
        assert!(began.elapsed() >= Duration::from_millis(1_200), "not too early");
        // Once that one has come, the next is sent; what is due at once comes at once.
        assert!(block_on(wake.wake_at(at(2_000), at(2_000))));
        assert_eq!(heard(&client, &queue).len(), 1);
        // What is far away is clamped to what SQS takes.
        assert!(block_on(wake.wake_at(at(86_400_000), at(3_000))));
        assert!(!block_on(wake.wake_at(at(3_000) + WAKE_DELAY_MAX, at(3_000))));
        assert!(block_on(wake.wake_at(at(60_000), at(3_000))), "an earlier one than what is on its way");
    }
}
