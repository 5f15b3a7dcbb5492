"""Jobs that have machines, carried to their ends: what agents and GitHub do from the claim on.

What lives here: the rest of a job's way, told in the usual order, and how its group must stand then. What may not: how the
job got its machine.

Invariant: which of a pool's machines runs which of its jobs is GitHub's to say, and so nothing here rests on it.
"""

from given import now, queued, workflow_job


class Run:
    """A job on an instance. `case` is a test in its surroundings; `role`: of the instance, if not the stack's own."""

    def __init__(self, case, job, instance, labels, role=None):
        self.case, self.job, self.instance, self.labels = case, job, instance, labels
        self.agent, self.runner = case.agent(instance, role), None

    def claim(self):
        """Until it has its configuration, as the registered runner that it is then."""
        agent, until = self.agent, self.case.until
        until("an answer to the claim", lambda: agent.claim(wait_s=20)[0] == 200)
        until("a configuration", lambda: agent.config or agent.report("ready", wait_s=20) and agent.config)
        runners = self.case.github.get("/_fake/state")["runners"]
        [self.runner] = [runner for runner in runners if self.instance in runner["name"]]
        self.report("listening")

    def report(self, state, **fields):
        status, answer = self.agent.report(state, **fields)
        self.case.assertEqual(status, 200, (state, answer))

    def payload(self, action, **fields):
        """GitHub's delivery about the job."""
        named = {"runner_id": self.runner["id"], "runner_name": self.runner["name"]}
        named |= {"runner_group_id": 1, "runner_group_name": "Default"}
        about = workflow_job(self.job, labels=self.labels, status=action, **named, **fields)
        return queued(self.job, labels=self.labels) | {"action": action, "workflow_job": about}

    def deliver(self, action, **fields):
        self.case.deliver(self.payload(action, **fields), f"{action}-{self.job}")

    def start(self):
        self.report("busy")
        self.deliver("in_progress")

    def finish(self):
        self.report("done", ran_job=True)
        self.deliver("completed", conclusion="success", completed_at=now())


def carry(case, pool, jobs, at=None):
    """Carries the jobs of a pool, of which each has a machine, to their ends."""
    at = at or Place(case, pool)
    instances = sorted(at.instances())
    case.assertEqual(len(instances), len(jobs), "a machine for each job")
    runs = [Run(case, job, instance, [pool], at.role) for job, instance in zip(jobs, instances)]
    for step in (Run.claim, Run.start, Run.finish):
        for run in runs:
            step(run)
    ended(case, at, runs)


def ended(case, at, runs):
    """All that these machines were for is over: they are ended by name, and their groups want nobody."""
    wanted = {run.instance for run in runs}
    case.until("the ends of its machines", lambda: wanted <= at.ended())
    case.until("groups at their target", lambda: [sizes for sizes in at.sizes() if sizes != (0, 0)] == [])
    case.assertTrue(at.sizes(), "the groups stand")
    for run in runs:
        case.until("the end of the job", lambda run=run: (case.job(run.job) or {}).get("completed"))
        case.assertEqual(case.job(run.job)["completed"]["runner"]["name"], run.runner["name"])


class Place:
    """Where the machines of a pool are."""

    role = None

    def __init__(self, case, pool):
        self.case, self.pool = case, pool

    def groups(self):
        return self.case.groups(self.pool)

    def instances(self):
        return {instance["InstanceId"] for group in self.groups().values() for instance in group["Instances"]}

    def sizes(self):
        """Of each group: what it wants, and what it has."""
        return [(group["DesiredCapacity"], len(group["Instances"])) for group in self.groups().values()]

    def ended(self):
        """Those that were ended by name, and their groups want one less."""
        calls = [call for call in self.case.calls("TerminateInstanceInAutoScalingGroup") if not call["code"]]
        lowering = [call["params"] for call in calls if call["params"]["ShouldDecrementDesiredCapacity"]]
        return {name for one in lowering for name in one.get("InstanceIds") or [one["InstanceId"]]}
