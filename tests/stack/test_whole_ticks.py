"""Facts, bells and ticks in the deployed shape, where something is not as it should be.

What lives here: what must hold when rows do not read, bells come too often, facts come twice and backwards, and ticks die.
What may not: failures of EC2 (`test_whole_ec2.py`).
"""

import json
import os
import pathlib
import signal
import time
import unittest
import zlib

from whole import Surroundings, now, queued, with_binaries, workflow_job

# One slot of bells, and clocks that are apart: `controller/aws/src/bell.rs`.
SLOT_SECONDS = 0.25
MINUTE_SECONDS = 130


@with_binaries
class Ticks(Surroundings):
    pools = ("aside", "twice", "dies", "slow")

    def test_facts_that_do_not_read_are_set_aside_and_others_are_merged(self):
        place = str(time.time_ns() // 1000)
        row = {"key": "job:404:1:queued", "body": '{"kind":"dance"'}
        item = {"pk": f"fact#{zlib.crc32(b'job:404') % 8}", "sk": "job:404:1:queued", **row}
        numbers = {"seq": place, "live": place, "received_at": str(time.time_ns() // 1_000_000)}
        self.emulator.client("dynamodb").put_item(
            TableName=self.stack.outputs["Table"],
            Item={name: {"S": value} for name, value in item.items()} | {name: {"N": value} for name, value in numbers.items()},
        )
        self.deliver(queued(101, labels=["aside"]), "queued-101")
        aside = self.until("a fact set aside", lambda: self.rows("fact")["job:404:1:queued"].get("reason"))
        print(aside)
        kept = self.rows("fact")["job:404:1:queued"]
        self.assertEqual(kept["body"], row["body"], "what does not read is kept as it was")
        print(kept)
        self.assertNotIn("live", kept, "it is not read again")
        self.until("a metric above 0", lambda: [1 for line in self.stack.metrics("scaler") if print(line.get("FactsSetAside")) or above_0(line.get("FactsSetAside"))])
        self.until("the other fact merged", lambda: self.job(101))
        print(json.dumps(self.job(101)), self.rows("fact"))
        self.until("its launch", lambda: self.launches("aside"))
        print(self.launches("aside"))

    def test_what_is_told_twice_and_backwards_is_known_once(self):
        labels = ["twice"]
        told = queued(202, labels=labels)
        named = {"runner_id": 9, "runner_name": "elsewhere", "runner_group_id": 1, "runner_group_name": "Default", "labels": labels}
        started = told | {"action": "in_progress", "workflow_job": workflow_job(202, status="in_progress", **named)}
        done = workflow_job(202, status="completed", conclusion="success", completed_at=now(), **named)
        told_in_order = [("queued", told), ("started", started), ("completed", told | {"action": "completed", "workflow_job": done})]
        for _ in range(2):
            for word, payload in reversed(told_in_order):
                self.deliver(payload, f"{word}-202")
        for queue, function in (("BellQueue", "scaler"), ("ClaimsQueue", "registrar"), ("WakeQueue", "door")):
            before = self.stack.invocations(function)
            for number in range(2):
                self.stack.ring(queue, word=f"extra-{number}")
            self.until(f"{function} invoked by an extra ring", lambda: self.stack.invocations(function) > before)
            self.until(f"{queue} emptied", lambda: self.stack.waiting(queue) == 0)
        self.until("the job in the ledger", lambda: self.job(202))
        print(json.dumps(self.job(202)), [r for k, r in self.rows("fact").items() if "202" in k], self.rows("once"), self.launches("twice"))


def above_0(v):
    return v

if __name__ == "__main__":
    unittest.main()
