"""The door in the deployed shape: whom it believes.

What lives here: machines that are not who they say, and secrets. What may not: what the door's role lets it do
(`test_whole_authorized.py`), and what is refused before STS is asked (the tests of `controller/aws`).
"""

import datetime
import json
import threading
import unittest

from agent import Agent, prove
from given import queued
from stack import REGION
from whole import SECRET, Surroundings, with_binaries

STRANGER = "i-0123456789abcdef0"
# The emulator's answer for a function without an execution left. API Gateway itself says 503.
THROTTLED = 429


@with_binaries
class Identity(Surroundings):
    """Claims over the wire. ministack looks at neither signatures nor dates: it knows credentials by their key id. So a
    proof for another audience, or with another secret key, passes here, and only AWS's own STS can refuse it."""

    pools = ("identity", "waits", "polls")

    def claim(self, agent, **fields):
        status, answer = agent.claim(**fields)
        self.assertTrue(status == 200 or not any("sealed" in name for name in answer), answer)
        return status

    def test_only_the_instance_itself_gets_a_session_and_one_at_a_time(self):
        self.deliver(queued(701, labels=["identity"]), "queued-701")
        self.until("a machine", lambda: self.machines("identity"))
        [instance] = self.instances("identity")
        own = self.stack.outputs["InstanceRoleArn"]
        agent = self.agent(instance)

        # Credentials of somebody else.
        account = own.split(":")[4]
        for what, role, session in (
            ("another role", own.rsplit("/", 1)[0] + "/other", instance),
            ("a role whose name begins alike", own + "x", instance),
            ("a role of that name in another account", own.replace(account, "222222222222"), instance),
            ("a session that is no instance's id", own, "somebody"),
            ("a session that is nearly one", own, f"{instance}0"),
        ):
            self.assertEqual(self.claim(self.agent(session, role=role)), 401, what)
        self.assertEqual(self.claim(self.agent(STRANGER)), 425, "an instance that the ledger does not know")

        # Proofs that the door does not send on.
        today = datetime.datetime.now(datetime.timezone.utc)
        for what, minutes in (("old", -30), ("future", 30)):
            at = today + datetime.timedelta(minutes=minutes)
            proof = prove(agent.credentials, agent.audience, REGION, at=at)
            self.assertEqual(self.claim(agent, proof=proof), 401, what)
        proof = prove(agent.credentials, agent.audience, REGION)
        for name, value in {"host": "example.com", "Action": "AssumeRole", "X-Amz-Expires": "604800"}.items():
            self.assertIn(self.claim(agent, proof=proof | {name: value}), (400, 401), name)
        for name, value in {"region": "x&Action=AssumeRole", "key_id": "x&Action=AssumeRole", "kind": "trust-me"}.items():
            self.assertIn(self.claim(agent, proof=proof | {name: value}), (400, 401), name)
        bad_token = proof | {"session_token": "a token that nobody gave"}
        self.assertIn(self.claim(agent, proof=bad_token | {"key_id": "ASIAAAAAAAAAAAAAAAAA"}), (400, 401))

        # Its own claim; the same proof from somebody who listened in; and a second one.
        used = prove(agent.credentials, agent.audience, REGION)
        self.until("an answer to the claim", lambda: self.claim(agent, proof=used) == 200)
        eavesdropper = Agent(agent.post, instance, agent.credentials, agent.audience, REGION)
        self.assertIn(self.claim(eavesdropper, proof=used), (401, 409))
        self.assertEqual(self.claim(eavesdropper), 409, "a second nonce")
        same_nonce = Agent(agent.post, instance, agent.credentials, agent.audience, REGION)
        same_nonce.nonce = agent.nonce
        self.assertEqual(self.claim(same_nonce), 409, "the same nonce with another key")
        self.assertEqual(self.claim(agent), 200, "its own claim, again")

        # It has finished.
        self.until("a configuration", lambda: agent.config or agent.report("ready", wait_s=20) and agent.config)
        for state, fields in (("listening", {}), ("busy", {}), ("done", {"ran_job": True})):
            self.assertEqual(agent.report(state, **fields)[0], 200, state)
        self.until("its end", lambda: self.calls("TerminateInstanceInAutoScalingGroup"))
        for what, late in (("itself", agent), ("another nonce", eavesdropper)):
            status, answer = self.until("410", lambda late=late: self.gone(late))
            self.assertEqual(status, 410, (what, answer))
            self.assertIn(answer["over"], ("ending", "ran_job", "forgotten"), what)

    # The bell that wakes the registrar is sent while the claim waits for what it brings about.
    def test_a_claim_that_waits_gets_its_configuration_meanwhile(self):
        self.deliver(queued(702, labels=["waits"]), "queued-702")
        self.until("a machine", lambda: self.machines("waits"))
        self.until("no bell on its way", lambda: self.stack.waiting("BellQueue") + self.stack.waiting("ClaimsQueue") == 0)
        [instance] = self.instances("waits")
        status, answer = self.agent(instance).claim(wait_s=20)
        self.assertEqual(status, 200, answer)
        self.assertIn("sealed_config", answer)

    # An idle machine's request is held; here the agents' door has one execution, and so it is used up.
    def test_long_polls_take_nothing_from_webhooks(self):
        self.deliver(queued(703, labels=["polls"]), "queued-703")
        self.until("a machine", lambda: self.machines("polls"))
        [instance] = self.instances("polls")
        idle, stranger = self.agent(instance), self.agent(STRANGER)
        self.until("a session", lambda: idle.claim()[0] == 200)
        self.until("a configuration", lambda: idle.config or idle.report("ready", wait_s=20) and idle.config)
        client, door = self.emulator.client("lambda"), "muster-acme-agents"
        client.put_function_concurrency(FunctionName=door, ReservedConcurrentExecutions=1)
        self.addCleanup(client.delete_function_concurrency, FunctionName=door)
        answers = []

        def poll():
            # The stranger may have been first.
            while not answers or answers[-1] == THROTTLED:
                answers.append(idle.report("listening", wait_s=20)[0])

        held = threading.Thread(target=poll)
        held.start()
        self.addCleanup(held.join)
        self.until("the poll held", lambda: stranger.say("/runners/report", {})[0] == THROTTLED)
        for job in range(710, 720):
            self.deliver(queued(job, labels=["nobody"]), f"queued-{job}")
        status, _, _ = self.stack.post("/healthz", None, method="GET")
        self.assertEqual(status, 200)
        self.assertEqual(stranger.say("/runners/report", {})[0], THROTTLED, "it is still held")
        held.join()
        self.assertEqual(answers[-1], 200, answers)

    @staticmethod
    def gone(agent):
        """The answer to a claim once the ledger has taken in the end."""
        status, answer = agent.claim()
        return (status, answer) if status == 410 else None


@with_binaries
class HalfOfTheSecrets(Surroundings):
    """The configuration names two webhook secrets, and one of them has no value (yet)."""

    pools = ("half",)
    further_secrets = ("ssm:/muster/acme/webhook/next",)

    def test_a_new_door_opens_with_one_of_two_secrets_and_finds_the_other(self):
        body = json.dumps(queued(801, labels=["half"])).encode()
        self.deliver(queued(801, labels=["half"]), "queued-801")
        status, _, _ = self.stack.webhook(body, "planted-next-secret", delivery="early-801")
        self.assertEqual(status, 401)
        status, _, told = self.stack.post("/healthz", None, method="GET")
        self.assertEqual(status, 503, told)
        self.assertIn(b"/muster/acme/webhook/next", told)
        self.assertIn("ERROR", [line.get("level") for line in self.stack.json_lines("door")])
        # Nobody else needs it.
        self.until("a launch", lambda: self.launches("half"))
        for function in ("agents", "scaler", "registrar"):
            wrong = [line for line in self.stack.json_lines(function) if "webhook/next" in json.dumps(line)]
            self.assertEqual(wrong, [], function)

        self.stack.put_secret("webhook", "next", "planted-next-secret")
        accepted = lambda: self.stack.webhook(body, "planted-next-secret", delivery="late-801")[0] == 202
        self.until("the other secret found", accepted)
        self.deliver(queued(802, labels=["half"]), "queued-802")
        self.assertEqual(self.stack.post("/healthz", None, method="GET")[0], 200)


if __name__ == "__main__":
    unittest.main()
