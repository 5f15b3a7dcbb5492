"""The program: how it starts and ends, that it serves moto's rest, and that it is fast enough."""

import signal
import time
import unittest
import urllib.request
from typing import Any

from fixture import EmulationTest, end, start

SECONDS_MAX = 0.5
"""The aim is 0.1 s for a page; a busy machine gets some room, and what is slow by its nature takes many seconds."""


class Program(unittest.TestCase):
    def test_it_listens_on_loopback_and_ends_with_its_input(self) -> None:
        process, url = start()
        self.assertTrue(url.startswith("http://127.0.0.1:"))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}/_emulation/", timeout=10) as answer:
            self.assertEqual(answer.status, 200)
        self.assertEqual(end(process), 0)

    def test_it_ends_on_sigterm(self) -> None:
        process, _ = start()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(end(process), 0)


class Speed(EmulationTest):
    def test_pages_are_quick_with_a_thousand_instances(self) -> None:
        self.group(MaxSize=1000)
        for number in range(10):
            self.launch(count=100, token=f"batch-{number}")
        self.advance(1)

        def seconds(call: Any, **params: Any) -> float:
            took = []
            for _ in range(5):
                began = time.monotonic()
                call(**params)
                took.append(time.monotonic() - began)
            return min(took)

        self.assertLess(seconds(self.asg.describe_auto_scaling_groups), SECONDS_MAX)
        self.assertLess(seconds(self.asg.describe_auto_scaling_instances), SECONDS_MAX)
        self.assertLess(seconds(self.ec2.describe_instances, MaxResults=100), SECONDS_MAX)
        self.assertLess(seconds(self.ec2.describe_instances, MaxResults=1000), 2 * SECONDS_MAX)
        self.assertEqual(len(self.described()["Instances"]), 1000)


class Rest(EmulationTest):
    def test_motos_services_answer(self) -> None:
        self.assertEqual(self.client("sts").get_caller_identity()["Account"], "123456789012")
        dynamodb = self.client("dynamodb")
        dynamodb.create_table(
            TableName="t",
            KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        dynamodb.put_item(TableName="t", Item={"k": {"S": "a"}})
        self.assertEqual(dynamodb.get_item(TableName="t", Key={"k": {"S": "a"}})["Item"], {"k": {"S": "a"}})
        call = self.control("GET", "calls", service="dynamodb", action="PutItem")[-1]
        self.assertEqual(call["status"], 200)
        dynamodb.delete_table(TableName="t")

    def test_large_bodies_reach_moto_whole(self) -> None:
        s3 = self.client("s3")
        s3.create_bucket(Bucket="bucket-of-the-emulation")
        body = b"0123456789" * 100_000
        s3.put_object(Bucket="bucket-of-the-emulation", Key="k", Body=body)
        self.assertEqual(s3.get_object(Bucket="bucket-of-the-emulation", Key="k")["Body"].read(), body)

    def test_time_runs_with_the_wall_clock_unless_stopped(self) -> None:
        self.control("POST", "clock", mode="running")
        self.group()
        self.launch()
        self.eventually(lambda: self.states() == ["InService"], "in service")

    def test_stopped_time_moves_by_what_is_asked_for(self) -> None:
        began = self.control("GET", "clock")["now"]
        self.eventually(lambda: time.time() - began > 0.2, "the wall clock moves on")
        self.assertEqual(self.control("GET", "clock")["now"], began)
        self.advance(60)
        self.assertEqual(self.control("GET", "clock")["now"], began + 60)
        self.control("POST", "clock", mode="running")
        self.eventually(lambda: self.control("GET", "clock")["now"] > began + 60, "time runs on from there")

    def test_a_reset_empties_the_world(self) -> None:
        self.group()
        self.launch()
        self.control("POST", "reset")
        self.assertEqual(self.asg.describe_auto_scaling_groups()["AutoScalingGroups"], [])
        self.assertEqual(self.ec2.describe_instances()["Reservations"], [])
        self.assertEqual(self.control("GET", "events"), [])
