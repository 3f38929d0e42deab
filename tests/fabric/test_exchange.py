"""Requests, what topics keep, and groups, in a node: threads, tasks, ends, and what is refused."""

from __future__ import annotations

import asyncio
import threading
import weakref

import pyarrow as pa
import pytest

import chronofabric as cf
import chronofabric.testing
from tests.bus.scripts import run_script
from tests.fabric.waiting import eventually, in_threads, joined


@pytest.fixture
def fabric():
    fabric = cf.Fabric("plant")
    yield fabric
    fabric.close()


def answering(subscription, answer):
    """Answer what a subscription gets, in a thread that ends when it closes."""

    def run():
        for event in subscription:
            answer(event)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


class TestRequests:
    def test_many_threads_ask_many_answerers_and_each_gets_its_own_reply(self, fabric):
        workers = [fabric.subscribe("double", group="workers", capacity=4096) for _ in range(3)]
        threads = [answering(worker, lambda event: event.reply(2 * event.payload)) for worker in workers]

        def ask(number):
            for each in range(200):
                assert fabric.request("double", 1000 * number + each, timeout="30 s") == 2 * (1000 * number + each)

        in_threads(6, ask)
        for worker in workers:
            worker.close()
        joined(*threads)
        counts = fabric.report().requests
        assert (counts["asked"], counts["answered"]) == (1200, 1200)

    def test_a_thousand_tasks_wait_at_once(self, fabric):
        double = fabric.subscribe("double")
        thread = answering(double, lambda event: event.reply(2 * event.payload))

        async def main():
            asked = (fabric.request_async("double", number, timeout="30 s") for number in range(1000))
            return await asyncio.gather(*asked)

        assert asyncio.run(main()) == [2 * number for number in range(1000)]
        double.close()
        joined(thread)

    def test_a_publisher_asks_and_a_task_of_the_same_loop_answers(self, fabric):
        async def main():
            questions = fabric.subscribe("question")

            async def answer():
                async for event in questions:
                    event.reply(event.payload + 1)

            answers = asyncio.create_task(answer())
            questions.pause()
            with pytest.raises(cf.RequestTimeout):
                await fabric.request_async("question", 0, timeout="1 ms")
            questions.resume()
            replies = [await fabric.publisher("question").request_async(number) for number in range(100)]
            questions.close()
            await answers
            return replies

        assert asyncio.run(main()) == list(range(1, 101))
        assert fabric.report().requests["late"] == 1

    def test_a_request_waits_for_room_like_every_event(self, fabric):
        full = fabric.subscribe("full", capacity=1, overflow="block", block_timeout="20 ms")
        fabric.publish("full", 0)
        with pytest.raises(cf.PublishTimeout):
            fabric.request("full", 1)
        with pytest.raises(cf.PublishTimeout):
            asyncio.run(fabric.request_async("full", 1))
        assert fabric.report().requests["unanswered"] == 2
        assert full.books().dropped == {"timeout": 2}

    def test_one_of_two_receivers_may_let_go_and_the_other_answer(self, fabric):
        fabric.on("question")(lambda event: None)
        fabric.answers("question")(lambda event: "answer")
        with fabric:
            assert fabric.request("question", 1, timeout="30 s") == "answer"

    def test_a_dead_letter_can_still_be_answered(self, fabric):
        questions = fabric.subscribe("question", capacity=1, overflow="dead-letter")
        fabric.publish("question", 0)
        request = fabric.core.request_start("question", 1)
        assert questions.poll().payload == 0
        assert questions.replay_dead_letters() == 1
        assert questions.poll().reply("answer")
        assert request.outcome() == ("answer",)

    @pytest.mark.parametrize("order", ["publisher", "causal"])
    @pytest.mark.parametrize("others", [0, 2])
    def test_the_way_back_is_in_every_copy(self, fabric, order, others):
        everything = [fabric.subscribe("**", order=order) for _ in range(others + 1)]
        request = fabric.core.request_start("question", 1, headers={"a": 1})
        events = [each.poll() for each in everything]
        assert all(event.is_request and event.headers["a"] == 1 for event in events)
        assert [event.reply(number) for number, event in enumerate(events)] == [True] + [False] * others
        assert request.outcome() == (0,)

    def test_what_cannot_be_sent_back_is_an_error_of_the_answer(self, fabric):
        @fabric.answers("stream")
        def stream(event):
            return pa.RecordBatchReader.from_batches(pa.schema([("x", pa.int64())]), [])

        with fabric, pytest.raises(cf.AnswerError) as raised:
            fabric.request("stream", 1, timeout="30 s")
        assert isinstance(raised.value.__cause__, cf.PayloadError)

    def test_a_coroutine_that_is_cancelled_inside_has_failed(self, fabric):
        @fabric.answers("question")
        async def answer(event):
            raise asyncio.CancelledError

        with fabric, pytest.raises(cf.AnswerError) as raised:
            fabric.request("question", 1, timeout="30 s")
        assert isinstance(raised.value.__cause__, asyncio.CancelledError)

    def test_an_answer_that_stops_the_node_still_tells_its_asker(self, fabric):
        @fabric.answers("question", on_error="stop")
        def answer(event):
            raise ValueError

        def ask():
            with pytest.raises(cf.AnswerError):
                fabric.request("question", 1, timeout="30 s")

        with fabric:
            thread = threading.Thread(target=ask)
            thread.start()
            fabric.run()
            joined(thread)

    def test_what_is_refused_changes_nothing(self, fabric):
        questions = fabric.subscribe("question")
        for options in ({"timeout": "soon"}, {"timeout": -1}, {"priority": 9}, {"headers": 1}, {"deadline": "x"}):
            with pytest.raises(cf.ArgumentError):
                fabric.request("question", 1, **options)
            with pytest.raises(cf.ArgumentError):
                asyncio.run(fabric.request_async("question", 1, **options))
        with pytest.raises(cf.TopicError):
            fabric.request("a//b", 1)
        with pytest.raises(cf.ArgumentError):
            fabric.request(7, 1)
        with pytest.raises(cf.ArgumentError):
            fabric.answers("question", on_error="ignore")
        request = fabric.core.request_start("question", 1)
        event = questions.poll()
        with pytest.raises(cf.ArgumentError, match="error is 3"):
            event.reply_error(3)
        assert event.reply(1)
        assert request.outcome() == (1,)
        assert fabric.topics() == {"question": 1}

    def test_nothing_is_kept_of_a_request_that_is_over(self, fabric):
        class Payload:
            pass

        fabric.answers("echo")(lambda event: event.payload)
        with fabric:
            payload = Payload()
            seen = weakref.ref(payload)
            assert fabric.request("echo", payload, timeout="30 s") is payload
            del payload
            eventually(lambda: seen() is None)

    def test_ctrl_c_ends_a_request(self):
        run_script("""
fabric = cf.Fabric("plant")
questions = fabric.subscribe("question")
interrupt_when_waiting()
try:
    fabric.request("question", 1, timeout=None)
except KeyboardInterrupt:
    assert fabric.report().requests["cancelled"] == 1
    print("interrupted")
""")

    def test_a_request_does_not_hold_up_the_end_of_the_interpreter(self):
        run_script("""
fabric = cf.Fabric("plant")
questions = fabric.subscribe("question")
def ask():
    try:
        fabric.request("question", 1, timeout=None)
    except cf.ClosedError:
        pass
threading.Thread(target=ask, daemon=True).start()
wait_for(lambda: questions.pending)
event = questions.poll()
""")

    def test_a_forked_child_answers_nothing(self):
        run_script("""
fabric = cf.Fabric("plant")
questions = fabric.subscribe("question")
request = fabric.core.request_start("question", 1)
event = questions.poll()
child = os.fork()
if child == 0:
    try:
        event.reply(1)
    except cf.ForkedError:
        del event
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert event.reply(2) and request.outcome() == (2,)
""")


class TestWhatTopicsKeep:
    def test_arrow_is_kept_without_a_copy(self, fabric):
        batch = pa.record_batch({"x": [1, 2, 3]})
        fabric.publish("table", batch, retain=True)
        table = fabric.subscribe("table").poll().payload
        assert pa.record_batch(table)["x"].buffers()[1].address == batch["x"].buffers()[1].address

    def test_what_is_kept_is_the_object_with_its_envelope(self, fabric):
        payload = object()
        fabric.publish("a", payload, retain=True, priority="high", headers={"unit": "C"}, deadline="1 h", time=5)
        event = fabric.subscribe("a").poll()
        assert event.payload is payload
        assert (event.priority, event.headers["unit"], event.time, event.retained) == (2, "C", 5, True)
        assert event.deadline is not None

    def test_receivers_by_payload_by_batch_and_by_task_get_it_too(self, fabric):
        fabric.retain("a", last=3)
        fabric.publish_many("a", [1, 2, 3])
        assert next(fabric.subscribe("a").payloads()) == 3
        assert next(fabric.subscribe("a", history=2).batches(9)).payloads == (2, 3)

        async def main():
            return (await anext(aiter(fabric.subscribe("a")))).payload

        assert asyncio.run(main()) == 3

    def test_handlers_get_the_last_value_when_they_start(self, fabric):
        seen = []
        fabric.publish("a", 1, retain=True)
        fabric.on("a")(lambda event: seen.append((event.payload, event.retained)))
        with fabric:
            fabric.publish("a", 2)
        assert seen == [(1, True), (2, False)]

    def test_a_guarded_topic_keeps_events_and_the_guard_sees_each_once(self, fabric):
        fabric.retain("a", last=2)
        guard = fabric.guard("hot", on="a", when="value > 1")
        fabric.publish_many("a", [0, 1, 2])
        assert fabric.subscribe("a", history=9).poll_batch(9).payloads == (1, 2)
        assert (guard.report()["evaluated"], guard.report()["fired"]) == (3, 1)

    def test_causal_order_goes_on_after_what_was_kept(self, fabric):
        fabric.retain("**", last=2)
        fabric.publish_many("a", [1, 2, 3])
        late = fabric.subscribe("**", order="causal", history=2)
        fabric.publish("b", 4, priority="urgent")
        fabric.publish("a", 5)
        events = late.poll_batch(9)
        assert [event.payload for event in events] == [2, 3, 4, 5]
        assert [event.retained for event in events] == [True, True, False, False]
        assert all(event.vector_clock is not None for event in events)

    def test_asynchronous_publishers_retain(self, fabric):
        async def main():
            await fabric.publish_async("a", 1, retain=True)
            await fabric.publisher("b").publish_async(2, retain=True)
            await fabric.publisher("c", retain=True).publish_async(3)

        asyncio.run(main())
        assert fabric.subscribe("**").poll_batch(9).payloads == (1, 2, 3)

    def test_a_closed_fabric_keeps_nothing(self, fabric):
        class Payload:
            pass

        payload = Payload()
        seen = weakref.ref(payload)
        fabric.publish("a", payload, retain=True)
        del payload
        assert seen() is not None
        fabric.close()
        assert seen() is None
        with pytest.raises(cf.ClosedError):
            fabric.retain("a")

    def test_what_goes_may_publish(self, fabric):
        class Payload:
            def __del__(self):
                if not fabric.closed:
                    fabric.publish("gone", 1, retain=True)

        gone = fabric.subscribe("gone")
        for _ in range(3):
            fabric.publish("a", Payload(), retain=True)
        assert fabric.forget("a") == 1
        assert gone.poll_batch(9).payloads == (1, 1, 1)

    def test_what_is_refused_changes_nothing(self, fabric):
        for rule in ({"last": -1}, {"last": 1 << 21}, {"last": 1.5}, {"last": True}, {"capacity_bytes": 0}):
            with pytest.raises(cf.ArgumentError):
                fabric.retain("a", **rule)
        with pytest.raises(cf.PatternError):
            fabric.retain("a/**b")
        with pytest.raises(cf.ArgumentError):
            fabric.forget(7)
        for call in (fabric.publisher, lambda topic, retain: fabric.publish(topic, 1, retain=retain)):
            with pytest.raises(cf.ArgumentError, match="retain is 'yes'"):
                call("a", retain="yes")
        with pytest.raises(cf.ArgumentError):
            fabric.publish_many("a", [1], retain=1)
        with pytest.raises(cf.ArgumentError):
            fabric.subscribe("a", history=-1)
        with pytest.raises(cf.ArgumentError):
            cf.Fabric("plant", retained_bytes_max=-1)
        assert fabric.topics() == {}


class TestGroups:
    def test_threads_of_a_group_share_the_work(self, fabric):
        taken: list[list[int]] = [[] for _ in range(4)]
        members = [fabric.subscribe("jobs", group="workers", capacity=1 << 14) for _ in taken]
        fabric.publish_many("jobs", range(10_000))

        def work(number):
            while (event := members[number].poll()) is not None:
                taken[number].append(event.payload)

        in_threads(4, work)
        assert sorted(number for each in taken for number in each) == list(range(10_000))
        assert all(each == sorted(each) for each in taken)

    def test_a_member_that_waits_when_it_is_closed_is_woken_and_the_others_go_on(self, fabric):
        waits, works = (fabric.subscribe("jobs", group="workers") for _ in range(2))
        ended = []

        def wait():
            ended.extend(waits)
            with pytest.raises(cf.ClosedError):
                waits.receive()
            ended.append("closed")

        async def wait_async():
            return [event async for event in waits]

        thread = threading.Thread(target=wait)
        thread.start()
        other = threading.Thread(target=lambda: ended.append(asyncio.run(wait_async())))
        other.start()
        waits.close()
        joined(thread, other)
        assert sorted(map(str, ended)) == ["[]", "closed"]
        fabric.publish("jobs", 1)
        assert works.receive(timeout="30 s").payload == 1

    def test_a_group_is_closed_with_its_fabric(self, fabric):
        member = fabric.subscribe("jobs", group="workers")
        fabric.close()
        assert member.closed
        with pytest.raises(cf.ClosedError):
            fabric.subscribe("jobs", group="workers")

    @pytest.mark.parametrize("group", ["", 7])
    def test_a_group_has_a_name(self, fabric, group):
        with pytest.raises(cf.ArgumentError, match="group is"):
            fabric.subscribe("jobs", group=group)


class TestInASimulation:
    def test_coroutine_handlers_ask_and_time_out_on_its_time(self):
        with cf.testing.Simulation() as simulation:
            node = simulation.fabric()
            node.answers("double")(lambda event: 2 * event.payload)
            silent = node.subscribe("silent")
            seen = []

            @node.on("go")
            async def ask(event):
                seen.append(await node.request_async("double", event.payload))
                try:
                    await node.request_async("silent", 1, timeout="5 s")
                except cf.RequestTimeout:
                    seen.append(simulation.clock.now())

            node.publish("go", 2)
            simulation.advance("10 s")
            assert seen == [4, 5_000_000_000]
            assert silent.pending == 1

    def test_who_moves_the_time_is_told_that_it_would_wait_for_itself(self):
        with cf.testing.Simulation() as simulation:
            node = simulation.fabric()
            node.answers("double")(lambda event: 2 * event.payload)
            with pytest.raises(cf.WouldDeadlock, match="moves the simulation's time"):
                node.request("double", 1)
            assert node.topics() == {}
