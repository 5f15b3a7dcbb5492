"""Five real minutes of the schedule, in which nothing else happens.

What lives here: what needs so long that it is run beside the other tests; so its name is not one that unittest finds by
itself: `python3 -m unittest -v five_minutes`. What may not: what can be had by ringing (`test_whole_ticks.py`).
"""

import time
import unittest

from whole import Surroundings, with_binaries

TICKS = 5
# The rule says one minute. The emulator looks for what is due once a second, and the first tick begins with a cold start.
MINUTE_SECONDS = (45, 75)
# So long after the fifth the sixth is not due yet, and one too many would have come.
AFTERWARDS_SECONDS = 30


@with_binaries
class FiveMinutes(Surroundings):
    """With an empty fleet: nobody rings but the schedule, which is enabled as the template has it."""

    def test_five_schedules_in_five_minutes_are_five_ticks(self):
        [rule] = self.emulator.client("events").list_rules(NamePrefix="muster-acme-schedule")["Rules"]
        self.assertEqual((rule["State"], rule["ScheduleExpression"]), ("ENABLED", "rate(1 minute)"))
        deadline = (TICKS + 1) * MINUTE_SECONDS[1]
        self.until("five ticks", lambda: len(self.began("scaler")) >= TICKS, deadline)
        time.sleep(AFTERWARDS_SECONDS)

        began = self.began("scaler")
        apart = [later - earlier for earlier, later in zip(began, began[1:])]
        print(f"\n{len(began)} ticks, {', '.join(f'{seconds:.1f}' for seconds in apart)} s apart")
        self.assertEqual(len(began), TICKS)
        shortest, longest = MINUTE_SECONDS
        self.assertTrue(all(shortest <= seconds <= longest for seconds in apart), apart)
        # Each call was one tick, and a whole one: it has measured itself.
        self.assertEqual(len(list(self.stack.values("scaler", "TickDuration"))), TICKS)
        # One schedule, one bell, one tick: each went by the door, and nothing is left over or was given up.
        self.assertEqual([self.stack.invocations(name) for name in ("door", "healer")], [TICKS, TICKS])
        for queue in ("BellQueue", "BellDeadLetters", "Undelivered"):
            self.assertEqual(self.stack.waiting(queue), 0, queue)
        self.assertEqual(self.calls("LaunchInstances"), [])

    def began(self, function):
        """When its invocations began, in seconds of the epoch."""
        events = self.stack.log_events(function)
        return [event["timestamp"] / 1000 for event in events if event["message"].startswith("START RequestId")]


if __name__ == "__main__":
    unittest.main()
