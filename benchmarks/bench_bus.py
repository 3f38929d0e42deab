"""Our own figures of the bus, from Python, followed from commit to commit."""

from __future__ import annotations

from itertools import islice

import chronofabric as cf
from benchmarks._release import refuse_debug_build
from benchmarks.peers._sustained import run
from chronofabric.apps.measuring import ours
from chronofabric.apps.measuring.exchange import PAYLOAD, capsules, record_batch

EVENTS = 200_000
SUSTAINED_S = 6.0
BURST = 1_000


class Calls:
    """One thread: bursts of 1 000 events, published and received."""

    params = ([1, 10, 100],)
    param_names = ("subscriptions",)

    def setup(self, subscriptions: int) -> None:
        refuse_debug_build()
        self.fabric = cf.Fabric("benchmark")
        self.subscriptions = [
            self.fabric.subscribe("plant/*/temperature", capacity=BURST) for _ in range(subscriptions)
        ]
        self.publisher = self.fabric.publisher("plant/7/temperature")

    def teardown(self, subscriptions: int) -> None:
        self.fabric.close()

    def time_publish_and_receive_1000(self, subscriptions: int) -> None:
        publish = self.publisher.publish
        for _ in range(BURST):
            publish(PAYLOAD)
        for subscription in self.subscriptions:
            for _ in islice(subscription, BURST):
                pass

    def time_publish_1000_by_topic(self, subscriptions: int) -> None:
        publish = self.fabric.publish
        for _ in range(BURST):
            publish("plant/7/temperature", PAYLOAD)


class Threads:
    """Two threads, overflow "block", everything received; nanoseconds an event."""

    params = ([1_024, 4_096, 65_536],)
    param_names = ("capacity",)
    unit = "ns"
    timeout = 300

    def setup(self, capacity: int) -> None:
        refuse_debug_build()

    def track_events(self, capacity: int) -> float:
        return ours.events(EVENTS, capacity)

    def track_payloads(self, capacity: int) -> float:
        return ours.payloads(EVENTS, capacity)

    def track_batches(self, capacity: int) -> float:
        return ours.batches(EVENTS, capacity)

    def track_task_to_task(self, capacity: int) -> float:
        return ours.tasks(EVENTS, capacity)

    def track_thread_to_task(self, capacity: int) -> float:
        return ours.thread_to_task(EVENTS, capacity)


class Paced:
    """Two threads at 1 kHz; microseconds from before the publish until the receiver has the event."""

    params = ([0.5, 0.99],)
    param_names = ("percentile",)
    unit = "us"

    def setup(self, percentile: float) -> None:
        refuse_debug_build()

    def track_wait(self, percentile: float) -> float:
        return ours.paced_us(1_000, 1_000, percentile)


class Requests:
    """Two threads; microseconds from a request to its reply, p50."""

    unit = "us"
    timeout = 300

    def setup(self) -> None:
        refuse_debug_build()

    def track_to_a_thread(self) -> float:
        return ours.request_us(5_000)

    def track_to_a_function(self) -> float:
        return ours.request_to_function_us(5_000)


class Retained:
    """A new subscription and the last values of its topics; milliseconds until it has them all."""

    params = ([100, 10_000],)
    param_names = ("topics",)
    unit = "ms"

    def setup(self, topics: int) -> None:
        refuse_debug_build()

    def track_late_subscriber(self, topics: int) -> float:
        return ours.retained_ms(topics)


class Sustained:
    """A million events a second for a while."""

    unit = "events/s"

    def setup(self) -> None:
        refuse_debug_build()

    def track_rate(self) -> float:
        return run(SUSTAINED_S).events_per_second


class Tables:
    """Arrow batches of 10 000 rows and 8 columns, imported at publishing and exported at receiving."""

    unit = "rows/s"

    def setup(self) -> None:
        refuse_debug_build()

    def track_rows(self) -> float:
        return ours.table_rows(record_batch(), 2_000, capsules)


class NotMatching:
    """Publishing to one subscription beside others that do not match; nanoseconds an event."""

    params = ([0, 10_000],)
    param_names = ("others",)
    unit = "ns"

    def setup(self, others: int) -> None:
        refuse_debug_build()

    def track_publish(self, others: int) -> float:
        return ours.others_do_not_match(EVENTS, others)


class Routes:
    """Finding the subscriptions of a new topic."""

    params = ([1, 100, 10_000],)
    param_names = ("patterns",)
    number = 500  # every call leaves a topic behind

    def setup(self, patterns: int) -> None:
        refuse_debug_build()
        self.fabric = cf.Fabric("benchmark", topics_max=1_000_000)
        self.subscriptions = [self.fabric.subscribe(f"plant/{number}/*") for number in range(patterns)]
        self.topics = 0

    def teardown(self, patterns: int) -> None:
        self.fabric.close()

    def time_first_publish_on_a_topic(self, patterns: int) -> None:
        self.topics += 1
        self.fabric.publish(f"elsewhere/{self.topics}", None)
