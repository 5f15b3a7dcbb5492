"""Two scalers at once in the deployed shape: a second function from the same zip, over the same table.

The stack allows one scaler at a time (a reserved concurrency of 1). That is a courtesy to the budgets, not what keeps
jobs from being launched for twice: here both tick as fast as they are called.

What lives here: that the ledger's generation lets one of them act, until the jobs are over. What may not: one scaler alone.
"""

import contextlib
import threading
import unittest

from given import queued
from jobs import Place, Run, carry, ended
from whole import Surroundings, with_binaries

# What the loser of a commit says: `StoreError::Conflict`.
REFUSED = "another scaler has written"
ROUNDS_MAX = 12
JOBS_A_ROUND = 4
CAP = 3
# Jobs that wait at the cap.
MORE = 2
TICKS = 4
BELL = {"Records": [{"messageId": "1", "eventSource": "aws:sqs", "body": "look"}]}


@with_binaries
class Scalers(Surroundings):
    pools = ("both", "capped")

    @classmethod
    def configured(cls, text):
        text = text.replace("max_runners = 32", f"max_runners = {ROUNDS_MAX * JOBS_A_ROUND + CAP}")
        return text.replace('name = "capped"\n', f'name = "capped"\nmax_runners = {CAP}\n')

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        client = cls.emulator.client("lambda")
        known = client.get_function_configuration(FunctionName="muster-acme-scaler")
        same = ("Runtime", "Role", "Handler", "Timeout", "MemorySize", "Environment")
        client.create_function(
            FunctionName="muster-acme-scaler-2",
            Code={"S3Bucket": "code", "S3Key": "test/scaler.zip"},
            **{name: known[name] for name in same},
        )
        cls.stack.invoke("scaler-2", BELL)  # its log group is there from now on

    @contextlib.contextmanager
    def both_tick(self):
        """Meanwhile each is called again as soon as it has answered; the first one by its own bells as well."""
        over, failed = threading.Event(), []

        def call(function):
            while not over.is_set():
                try:
                    self.stack.invoke(function, BELL)
                except self.emulator.client("lambda").exceptions.TooManyRequestsException:
                    over.wait(0.05)  # a bell of its queue is being answered
                except Exception as error:  # noqa: BLE001 - it is told by the test
                    failed.append(error)
                    return

        threads = [threading.Thread(target=call, args=(function,)) for function in ("scaler", "scaler-2")]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()
        self.assertEqual(failed, [])

    def refused(self):
        """How often either had its commit refused."""
        return sum(REFUSED in line for name in ("scaler", "scaler-2") for line in self.stack.log(name))

    def let_tick(self):
        """Both look at what is there for some ticks more."""
        before = {name: self.stack.invocations(name) for name in ("scaler", "scaler-2")}
        for name, ticks in before.items():
            self.until(f"ticks of {name}", lambda name=name, ticks=ticks: self.stack.invocations(name) >= ticks + TICKS)

    def asked(self, pool):
        """Instances that were asked for, by token. The same token twice is the same launch."""
        asked = {}
        for call in self.launches(pool):
            params = call["params"]
            self.assertEqual(call["code"], "", call)
            self.assertEqual(asked.setdefault(params["ClientToken"], params["RequestedCapacity"]), params["RequestedCapacity"])
        return asked

    def test_each_job_gets_one_machine(self):
        jobs = 0
        with self.both_tick():
            for _ in range(ROUNDS_MAX):
                for _ in range(JOBS_A_ROUND):
                    jobs += 1
                    self.deliver(queued(800 + jobs, labels=["both"]), f"queued-{800 + jobs}")
                self.until("a machine for each", lambda: len(self.machines("both")) >= jobs)
                if self.refused() and jobs > JOBS_A_ROUND:
                    break
            self.assertTrue(self.refused(), "the two never met: this proves nothing")
            self.let_tick()
        self.assertEqual(len(self.instances("both")), jobs)
        self.assertEqual(self.machines("both"), set(self.instances("both")))
        self.assertEqual(self.rows("launches"), {}, "nothing is left open")
        self.assertEqual({self.job(800 + job + 1) is not None for job in range(jobs)}, {True})
        refused = self.refused()
        with self.both_tick():
            carry(self, "both", range(801, 801 + jobs))
            self.let_tick()
        self.assertEqual(self.instances("both"), {})
        self.assertEqual(sum(self.asked("both").values()), jobs, "nobody was launched besides")
        print(f"\n{jobs} jobs: {refused} commits refused until all had machines, {self.refused() - refused} until their ends")

    def test_a_cap_holds_for_both_together(self):
        with self.both_tick():
            for job in range(CAP + MORE):
                self.deliver(queued(900 + job, labels=["capped"]), f"queued-{900 + job}")
            self.until("a machine for each that may be", lambda: len(self.machines("capped")) >= CAP)
            self.let_tick()
        self.assertEqual(len(self.instances("capped")), CAP)
        self.assertEqual(sum(self.asked("capped").values()), CAP)
        with self.both_tick():
            # What waits follows the machines that have ended, never more than the cap at a time.
            runs = []
            while len(runs) < CAP + MORE:
                machine = lambda: sorted(set(self.instances("capped")) - {run.instance for run in runs})
                run = Run(self, 900 + len(runs), self.until("a machine for the next one", machine)[0], ["capped"])
                runs.append(run)
                run.claim()
                run.start()
                self.assertLessEqual(len(self.instances("capped")), CAP)
                run.finish()
            ended(self, Place(self, "capped"), runs)
            self.let_tick()
        self.assertEqual(self.instances("capped"), {})
        self.assertEqual(sum(self.asked("capped").values()), CAP + MORE)


if __name__ == "__main__":
    unittest.main()
