"""A node's id and the order of its stamps outlive its process, however that ends."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys

import pytest

import chronofabric as cf
from tests.subprocesses import run_python, running_python

SECOND = 1_000_000_000

PUBLISH = """
import sys, chronofabric as cf
start = int(sys.argv[2])
with cf.Fabric("plant", clock=cf.SimulatedClock(start=start), folder=sys.argv[1]) as fabric:
    events = fabric.subscribe("a")
    fabric.publish_many("a", range(3))
    for event in events.batches(3):
        for each in event:
            print(each.stamp.encode().hex())
        break
"""

STAMPS_UNTIL_KILLED = """
import sys, chronofabric as cf
clock = cf.HybridLogicalClock("counter", folder=sys.argv[1])
print(clock.now().encode().hex(), flush=True)
while True:
    print(clock.now().encode().hex(), flush=True)
"""

HOLD = """
import sys, chronofabric as cf
fabric = cf.Fabric("plant", folder=sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
fabric.close()
print("given back", flush=True)
sys.stdin.readline()
"""


def stamps_of(output):
    return [cf.Stamp.decode(bytes.fromhex(line)) for line in output.split()]


def test_a_restart_goes_on_with_the_same_node_and_later_stamps(tmp_path):
    first = stamps_of(run_python(PUBLISH, tmp_path, 5 * SECOND).stdout)
    # The clock of the machine was set back an hour meanwhile.
    second = stamps_of(run_python(PUBLISH, tmp_path, 5 * SECOND - 3600 * SECOND).stdout)
    assert len(first) == len(second) == 3
    assert {stamp.node for stamp in first + second} == {first[0].node}
    assert max(first) < min(second)


def test_without_a_folder_each_node_has_an_id_of_its_own(tmp_path):
    nodes = {cf.Fabric("plant").stamps.node for _ in range(3)}
    assert len(nodes) == 3
    assert cf.HybridLogicalClock(folder=tmp_path / "a").node != cf.HybridLogicalClock(folder=tmp_path / "b").node


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_after_a_kill_no_stamp_comes_again(tmp_path):
    newest: list[cf.Stamp] = []
    nodes = set()
    for _ in range(3):
        with running_python(STAMPS_UNTIL_KILLED, tmp_path) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(200)]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.readlines()
            process.wait(30)
        # The kill may have cut the last line.
        stamps = stamps_of("".join(line for line in lines if len(line) == 49))
        assert len(stamps) >= 199
        assert stamps == sorted(set(stamps))
        if newest:
            assert stamps[0] > newest[-1]
        newest = stamps
        nodes |= {stamp.node for stamp in stamps}
    assert len(nodes) == 1


def test_a_folder_in_use_by_another_process_is_refused_until_it_is_given_back(tmp_path):
    with running_python(HOLD, tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(cf.ClockError, match="use") as caught:
            cf.Fabric("plant", folder=tmp_path)
        assert str(tmp_path) in str(caught.value)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "given back\n"
        # The other process still runs, but has closed its node.
        cf.Fabric("plant", folder=tmp_path).close()


def test_a_folder_in_use_in_this_process_is_refused_until_its_node_closes(tmp_path):
    with cf.Fabric("plant", folder=tmp_path) as fabric:
        node = fabric.stamps.node
        with pytest.raises(cf.ClockError):
            cf.Fabric("other", folder=tmp_path)
        fabric.publish("a", 1)  # the refused one has not disturbed it
    with cf.Fabric("plant", folder=str(tmp_path)) as again:
        assert again.stamps.node == node


def test_a_node_that_cannot_be_made_gives_the_folder_back(tmp_path):
    with pytest.raises(cf.ArgumentError):
        cf.Fabric("plant", folder=tmp_path, topics_max=0)
    cf.Fabric("plant", folder=tmp_path).close()


def test_a_closed_clock_issues_no_stamp(tmp_path):
    clock = cf.HybridLogicalClock(folder=tmp_path)
    last = clock.now()
    clock.close()
    clock.close()
    with pytest.raises(cf.ClosedError):
        clock.now()
    assert cf.HybridLogicalClock(folder=tmp_path).now() > last


def test_a_clock_that_nobody_holds_any_more_gives_the_folder_back(tmp_path):
    clock = cf.HybridLogicalClock(folder=tmp_path)
    last = clock.now()
    del clock
    gc.collect()
    again = cf.HybridLogicalClock(folder=tmp_path)
    assert again.now() > last
    again.close()


def test_a_node_id_and_a_folder_do_not_go_together(tmp_path):
    with pytest.raises(cf.ArgumentError, match="node"):
        cf.HybridLogicalClock(folder=tmp_path, node="00" * 16)


def test_a_damaged_state_is_refused_and_left_as_it_is(tmp_path):
    cf.HybridLogicalClock(folder=tmp_path).close()
    state = tmp_path / "clock.state"
    damaged = bytearray(state.read_bytes())
    damaged[20] ^= 1
    state.write_bytes(damaged)
    with pytest.raises(cf.ClockError, match=r"clock\.state"):
        cf.Fabric("plant", folder=tmp_path)
    assert state.read_bytes() == damaged


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(cf.ClockError, match="file"):
        cf.Fabric("plant", folder=tmp_path / "file" / "folder")


def test_simulated_time_may_jump_far_ahead_of_the_persisted_bound(tmp_path):
    source = cf.SimulatedClock(start=SECOND)
    clock = cf.HybridLogicalClock(source, folder=tmp_path)
    stamps = [clock.now()]
    for _ in range(5):
        source.advance("1 h")
        stamps.append(clock.now())
    assert stamps == sorted(set(stamps))
    clock.close()
    assert cf.HybridLogicalClock(cf.SimulatedClock(start=SECOND), folder=tmp_path).now() > stamps[-1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_a_forked_child_may_not_go_on_with_the_folder(tmp_path):
    code = """
    import json, os, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    import chronofabric as cf
    clock = cf.HybridLogicalClock(folder=sys.argv[1])
    before = clock.now()
    child = os.fork()
    if child == 0:
        answers = []
        try:
            clock.now()
        except cf.ForkedError:
            answers.append("refused")
        try:
            cf.HybridLogicalClock(folder=sys.argv[1])
        except cf.ClockError:
            answers.append("in use")
        sys.stdout.write(json.dumps(answers))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
    assert clock.now() > before
    """
    assert json.loads(run_python(code, tmp_path).stdout) == ["refused", "in use"]
