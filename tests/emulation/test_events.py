"""EventBridge's events: kept, posted, and caused by spot interruptions."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fixture import ACCOUNT, EmulationTest


class Events(EmulationTest):
    def test_launches_and_terminations_are_told(self) -> None:
        self.group()
        (instance_id,) = self.ids(self.launch())
        self.advance(1)
        (event,) = self.events("EC2 Instance Launch Successful")
        self.assertEqual((event["detail"]["EC2InstanceId"], event["account"]), (instance_id, ACCOUNT))
        self.assertEqual(event["detail"]["Details"]["Availability Zone"], "us-east-1a")
        self.asg.terminate_instance_in_auto_scaling_group(InstanceId=instance_id, ShouldDecrementDesiredCapacity=True)
        self.advance(1)
        self.assertEqual(len(self.events("EC2 Instance Terminate Successful")), 1)
        changes = self.control("GET", "events", **{"detail-type": "EC2 Instance State-change Notification"})
        self.assertEqual(
            [one["detail"]["state"] for one in changes], ["pending", "running", "shutting-down", "terminated"]
        )

    def spot(self) -> str:
        self.group(MixedInstancesPolicy=self.mixed(["c6i.large"], spot=True))
        (instance_id,) = self.ids(self.launch())
        self.advance(1)
        return instance_id

    def test_a_spot_interruption_warns_and_then_ends(self) -> None:
        instance_id = self.spot()
        self.asg.suspend_processes(AutoScalingGroupName="cold", ScalingProcesses=["ReplaceUnhealthy"])
        self.control("POST", "instances", instance_id=instance_id, do="interrupt")
        (warning,) = self.events("EC2 Spot Instance Interruption Warning")
        self.assertEqual(warning["detail"], {"instance-id": instance_id, "instance-action": "terminate"})
        self.assertEqual(warning["resources"], [f"arn:aws:ec2:us-east-1a:instance/{instance_id}"])
        self.advance(119)
        self.assertEqual(self.instance(instance_id)["State"]["Name"], "running")
        self.advance(2)
        instance = self.instance(instance_id)
        self.assertEqual(instance["State"]["Name"], "terminated")
        self.assertEqual(instance["StateReason"]["Code"], "Server.SpotInstanceTermination")
        self.assertEqual(self.described()["Instances"][0]["HealthStatus"], "Unhealthy")

    def test_the_notice_can_be_short(self) -> None:
        instance_id = self.spot()
        self.control("POST", "instances", instance_id=instance_id, do="interrupt", notice_ms=500)
        self.advance(0.6)
        self.assertEqual(self.instance(instance_id)["State"]["Name"], "terminated")

    def test_a_rebalance_recommendation(self) -> None:
        instance_id = self.spot()
        self.control("POST", "instances", instance_id=instance_id, do="recommend-rebalance")
        (event,) = self.events("EC2 Instance Rebalance Recommendation")
        self.assertEqual((event["source"], event["detail"]), ("aws.ec2", {"instance-id": instance_id}))

    def test_on_demand_instances_are_not_interrupted(self) -> None:
        self.group()
        (instance_id,) = self.ids(self.launch())
        with self.assertRaises(AssertionError):
            self.control("POST", "instances", instance_id=instance_id, do="interrupt")

    def test_events_are_posted_to_whoever_asked_also_twice(self) -> None:
        got: list[Any] = []

        class Target(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                got[-1]["key"] = self.headers["X-Key"]
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Target)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        dead = "http://127.0.0.1:9/"
        url = f"http://127.0.0.1:{server.server_port}/aws/events"
        self.control("POST", "events/targets", urls=[dead, url], duplicates=2, headers={"X-Key": "k"})
        self.group()
        (instance_id,) = self.ids(self.launch())
        self.eventually(lambda: len(got) >= 2, "two posts")
        self.assertEqual((got[0], got[0]["key"]), (got[1], "k"))
        self.assertEqual(got[0]["detail"], {"instance-id": instance_id, "state": "pending"})
        self.eventually(lambda: len(self.control("GET", "events/failures")) >= 2, "two failures")
