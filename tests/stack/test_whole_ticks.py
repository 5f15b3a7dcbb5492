"""Facts, bells and ticks in the deployed shape, where something is not as it should be.

What lives here: what must hold when rows do not read, bells come too often, facts come twice and backwards, and ticks die.
What may not: failures of EC2 (`test_whole_ec2.py`).
"""

import json
import os
import pathlib
import secrets
import signal
import time
import unittest
import urllib.parse
import zlib

from given import now, queued, workflow_job
from jobs import Place, Run, carry, ended
from stack import Gate
from whole import Surroundings, with_binaries

# How the ledger spreads facts over partitions: `controller/aws/src/ledger/keys.rs`.
SHARDS = 8
# A tick that dies costs less than this.
LOST_SECONDS_MAX = 60


@with_binaries
class Schedule(Surroundings):
    """With an empty fleet, so that nobody but the schedule rings."""

    def test_five_schedules_shortly_after_one_another_are_five_ticks(self):
        # The rule's constant event rings each time, also shortly after the last one (a slot is 250 ms, and each tick takes
        # longer), and each bell is a tick of its own. The queue keeps a deduplication id for five minutes: the ids of five
        # bells differ. Real minutes are in `five_minutes.py`.
        flushed = lambda: sum("FactsSetAside" in line for line in self.stack.metrics("scaler"))
        before = {name: self.stack.invocations(name) for name in ("door", "scaler")}
        flushed_before = flushed()
        for number in range(1, 6):
            ticks = self.stack.invocations("scaler")
            self.ring()
            self.until(f"tick {number}", lambda ticks=ticks: self.stack.invocations("scaler") > ticks)
            self.until("an answered bell", lambda: self.stack.waiting("BellQueue") == 0)
        # The emulator's own schedule may have come between.
        for name, invoked in before.items():
            self.assertIn(self.stack.invocations(name) - invoked, (5, 6), name)
        self.until("a metric line of each", lambda: flushed() - flushed_before >= 5)
        self.assertEqual(self.calls("LaunchInstances"), [])


@with_binaries
class Ticks(Surroundings):
    pools = ("aside", "astray", "elsewhere", "dies", "hangs", "slow", "unsent", "twice")

    @classmethod
    def way_to_emulation(cls):
        if not hasattr(cls, "gate"):
            cls.gate = Gate(cls.emulation.url)
            cls.addClassCleanup(cls.gate.shut)
        return cls.gate.url

    def put_raw_fact(self, partition, key, body, without=()):
        """A row like that of a fact, past the door. `without`: attributes that it lacks."""
        moment = time.time_ns()
        texts = {"pk": partition, "sk": key, "key": key, "body": body}
        numbers = {"seq": moment // 1_000, "live": moment // 1_000, "received_at": moment // 1_000_000}
        table = {"TableName": self.stack.outputs["Table"]}
        client = self.emulator.client("dynamodb")
        item = {name: {"S": text} for name, text in texts.items()} | {name: {"N": str(n)} for name, n in numbers.items()}
        client.put_item(**table, Item={name: value for name, value in item.items() if name not in without})
        self.addCleanup(client.delete_item, **table, Key={"pk": {"S": partition}, "sk": {"S": key}})

    def test_a_configuration_that_does_not_read_is_told_and_the_last_good_one_holds(self):
        self.deliver(queued(870, labels=["aside"]), "queued-870")
        self.settle("aside", 870)
        self.addCleanup(self.stack.put_config, self.stack.config())
        self.stack.put_config("[fleet\n")

        def refused():
            self.ring()
            return list(self.stack.values("scaler", "ConfigRefused"))

        self.until("a refusal", refused, 90)
        # New processes have read no good one: they find it in the ledger.
        for function in ("door", "scaler"):
            self.stack.renew(function)
        before = len(self.machines("aside"))
        self.deliver(queued(871, labels=["aside"]), "queued-871")
        self.until("a machine", lambda: len(self.machines("aside")) > before)
        self.assertTrue(any("muster.toml is not valid" in line for line in self.stack.log("scaler")), self.told())

    def settle(self, pool, job):
        """Waits until a job of the pool has its machine, so that its launch meets no other test's fault."""
        self.ring()
        self.until("the job", lambda: self.job(job))
        self.until("a machine for each", lambda: len(self.machines(pool)) == len(self.launches(pool)) > 0)
        self.until("an answered bell", lambda: self.stack.waiting("BellQueue") == 0)

    def set_aside(self):
        """How many facts were set aside so far, as the metric says."""
        return sum(self.stack.values("scaler", "FactsSetAside"))

    def test_facts_that_do_not_read_are_set_aside_and_others_are_merged(self):
        key, body = "job:404:1:queued", '{"kind":"dance"'
        before = self.set_aside()
        self.put_raw_fact(f"fact#{zlib.crc32(b'job:404') % SHARDS}", key, body)
        self.deliver(queued(101, labels=["aside"]), "queued-101")
        reason = self.until("a fact set aside", lambda: self.rows("fact")[key].get("reason"))
        self.assertIn("EOF", reason)
        kept = self.rows("fact")[key]
        self.assertEqual(kept["body"], body, "what does not read is kept as it was")
        self.assertNotIn("live", kept, "it is not read again")
        self.until("a metric above 0", lambda: self.set_aside() == before + 1)
        self.until("the other fact merged", lambda: self.job(101))
        self.until("its launch", lambda: self.launches("aside"))
        self.ring()
        self.until("an answered bell", lambda: self.stack.waiting("BellQueue") == 0)
        self.assertEqual(self.set_aside(), before + 1, "it is counted once")

    # It is judged where it stands, whatever it says of itself.
    def test_a_fact_in_a_place_that_is_not_its_own_stops_nobody(self):
        self.addCleanup(self.settle, "astray", 102)
        shard = (zlib.crc32(b"job:405") + 1) % SHARDS
        self.put_raw_fact(f"fact#{shard}", "job:405:1:queued", '{"kind":"dance"}')
        self.deliver(queued(102, labels=["astray"]), "queued-102")
        self.until("the other fact merged", lambda: self.job(102), 12)

    def test_a_fact_that_lacks_an_attribute_stops_nobody(self):
        self.addCleanup(self.settle, "astray", 103)
        self.put_raw_fact(f"fact#{zlib.crc32(b'job:406') % SHARDS}", "job:406:1:queued", "{}", without={"received_at"})
        self.deliver(queued(103, labels=["astray"]), "queued-103")
        self.until("the other fact merged", lambda: self.job(103), 12)

    def test_what_is_told_twice_and_backwards_is_known_once(self):
        labels = ["elsewhere"]
        runner = {"runner_id": 9, "runner_name": "elsewhere", "runner_group_id": 1, "runner_group_name": "Default"}
        waiting = queued(202, labels=labels)
        started = workflow_job(202, status="in_progress", labels=labels, **runner)
        ended = workflow_job(
            202, status="completed", conclusion="success", completed_at=now(), labels=labels, **runner
        )
        told = {
            "completed": waiting | {"action": "completed", "workflow_job": ended},
            "in_progress": waiting | {"action": "in_progress", "workflow_job": started},
            "queued": waiting,
        }
        for _ in range(2):
            for action, payload in told.items():
                self.deliver(payload, f"{action}-202")
        for queue, function in (("BellQueue", "scaler"), ("ClaimsQueue", "registrar"), ("WakeQueue", "door")):
            before = self.stack.invocations(function)
            for number in range(2):
                self.stack.ring(queue, word=f"extra-{number}")
            self.until(f"{function} invoked", lambda: self.stack.invocations(function) > before)
            self.until(f"{queue} emptied", lambda queue=queue: self.stack.waiting(queue) == 0)

        def facts():
            return [row for key, row in self.rows("fact").items() if key.startswith("job:202:")]

        self.until("all facts merged", lambda: all("merged" in row for row in facts()))
        self.assertEqual(sorted(row["key"].split(":")[3] for row in facts()), sorted(told), "each once")
        job = self.job(202)
        self.assertEqual(job["completed"]["conclusion"], "success", job)
        self.assertEqual(job["completed"]["runner"]["name"], "elsewhere", job)
        self.assertTrue(job["queued"] and job["started"], job)
        self.assertEqual(self.launches("elsewhere"), [])

    def test_a_job_of_which_all_is_told_twice_and_its_end_backwards_runs_once(self):
        def twice(tell):
            for _ in range(2):
                tell()
                # Each bell once more than needed, and one of the schedule.
                for queue in ("BellQueue", "ClaimsQueue", "WakeQueue"):
                    self.stack.ring(queue, word=secrets.token_hex(8))
                self.ring()

        # A repeat says the same, to the letter.
        waiting = queued(203, labels=["twice"])
        twice(lambda: self.deliver(waiting, "queued-203"))
        self.until("a machine", lambda: self.machines("twice"))
        run = Run(self, 203, next(iter(self.instances("twice"))), ["twice"])
        run.claim()
        config = run.agent.config
        for state in ("listening", "busy"):
            twice(lambda state=state: run.report(state))
        over = run.payload("completed", conclusion="success", completed_at=now())
        for payload in (over, run.payload("in_progress"), waiting):
            twice(lambda payload=payload: self.deliver(payload, f"backwards-{payload['action']}-203"))
        twice(lambda: run.agent.report("done", ran_job=True))
        # Said before, and heard after.
        twice(lambda: run.agent.report("busy"))
        ended(self, Place(self, "twice"), [run])
        facts = lambda: [row for key, row in self.rows("fact").items() if key.startswith("job:203:")]
        self.until("all facts merged", lambda: all("merged" in row for row in facts()))
        self.assertEqual(sorted(row["key"].split(":")[3] for row in facts()), ["completed", "in_progress", "queued"])
        self.assertEqual(run.agent.config, config, "one registration")
        self.until("bells answered", lambda: self.stack.waiting("BellQueue") == 0)
        self.assertEqual(len(self.launches("twice")), 1, "and one launch")
        calls = [call["params"] for call in self.calls("TerminateInstanceInAutoScalingGroup")]
        ends = [call for call in calls if run.instance in (call.get("InstanceIds") or [call["InstanceId"]])]
        self.assertEqual(len(ends), 1, ends)

    def scalers(self):
        """Processes of our emulator's that run the scaler, known by what ministack gave them."""
        ours = {b"AWS_LAMBDA_FUNCTION_NAME=muster-acme-scaler", f"AWS_ENDPOINT_URL={self.emulator.url}".encode()}
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if ours <= set((process / "environ").read_bytes().split(b"\0")):
                    yield int(process.name)
            except OSError:
                continue  # it has ended, or is somebody else's

    # EC2 has launched and its reply is under way when something happens to the scaler's process. The batch of bells fails,
    # and they come again when the queue's visibility time-out (35 s from their receipt) is over: until then a FIFO queue
    # holds back the schedule's bells as well.

    def test_a_tick_that_dies_in_a_launch_launches_once(self):
        # ministack sees at once that the runtime has exited, as Lambda does.
        self.lose_a_tick("dies", 303, signal.SIGKILL, "Runtime.ExitError")

    def test_a_tick_that_hangs_in_a_launch_launches_once(self):
        # ministack ends the process at the function's time-out (30 s), as Lambda does. The scaler does not hang by itself:
        # a tick waits for no call longer than its time allows.
        self.lose_a_tick("hangs", 305, signal.SIGSTOP, "Task timed out after 30.00 seconds")

    def end_the_scaler(self, how=signal.SIGKILL):
        found = list(self.scalers())
        self.assertEqual(len(found), 1, "one scaler at a time")
        os.kill(found[0], how)

    def lose_a_tick(self, pool, job, what_happens, said):
        self.until("no bell on its way", lambda: self.stack.waiting("BellQueue") == 0)
        self.fault(kind="delay", action="LaunchInstances", count=1, ms=10_000)
        self.deliver(queued(job, labels=[pool]), f"queued-{job}")
        self.until("an instance", lambda: self.instances(pool))
        began = time.monotonic()
        self.end_the_scaler(what_happens)
        self.assertEqual(self.machines(pool), set(), "it did not get as far as the reply")
        self.until("a machine", lambda: self.machines(pool), LOST_SECONDS_MAX)
        self.assertLess(time.monotonic() - began, LOST_SECONDS_MAX)
        self.once(pool)
        self.assertIn(said, self.emulator.told(2_000))
        self.until("no intent left", lambda: not self.rows("launches"))
        carry(self, pool, [job])
        self.once(pool, instances=0)

    def test_a_tick_that_dies_between_its_commit_and_its_launch_launches_once(self):
        self.until("no bell on its way", lambda: self.stack.waiting("BellQueue") == 0)
        # Of the call, which stands for what is done after a commit, nobody hears.
        self.addCleanup(self.gate.keep, None)
        self.gate.keep("Action=LaunchInstances")
        self.deliver(queued(306, labels=["unsent"]), "queued-306")
        self.until("a call on its way", lambda: self.gate.kept)
        intents = [json.loads(row["record"])["purpose"]["pool"] for row in self.rows("launches").values()]
        self.assertEqual(intents, ["unsent"])
        self.end_the_scaler()
        self.gate.keep(None)
        self.assertEqual((self.launches("unsent"), self.machines("unsent")), ([], set()), "nothing has happened yet")
        [kept] = [dict(urllib.parse.parse_qsl(body)) for body in self.gate.kept]

        self.until("a machine", lambda: self.machines("unsent"), LOST_SECONDS_MAX)
        # The next tick finds the intent, and does what it says.
        [call] = self.launches("unsent")
        self.assertEqual(call["params"]["ClientToken"], kept["ClientToken"])
        self.assertEqual(self.machines("unsent"), set(self.instances("unsent")))
        self.assertEqual(len(self.instances("unsent")), 1)
        self.until("no intent left", lambda: not self.rows("launches"))
        carry(self, "unsent", [306])
        self.assertEqual(len(self.launches("unsent")), 1)

    def test_a_launch_whose_reply_does_not_come_launches_once(self):
        # Longer than the function's time-out. It ends in time all the same: a tick waits 8 s for a launch, and a later one
        # asks again. While the first is in progress it is told so.
        self.fault(kind="delay", action="LaunchInstances", count=1, ms=40_000)
        self.deliver(queued(304, labels=["slow"]), "queued-304")
        self.until("an instance", lambda: self.instances("slow"))
        self.until("a machine", lambda: self.machines("slow"), LOST_SECONDS_MAX)
        self.once("slow")
        carry(self, "slow", [304])
        self.once("slow", instances=0)

    def once(self, pool, instances=1):
        """Asked more than once, always as the same launch; there is one instance, and the ledger has it."""
        calls = self.launches(pool)
        self.assertGreater(len(calls), 1, calls)
        self.assertEqual(len({call["params"]["ClientToken"] for call in calls}), 1, calls)
        self.assertEqual(len(self.instances(pool)), instances)
        if instances:
            self.assertEqual(self.machines(pool), set(self.instances(pool)))


if __name__ == "__main__":
    unittest.main()
