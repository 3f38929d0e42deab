"""The workflows: what they run is pinned, what they may do is little, and the commands they call exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.dev import COMMANDS

PROJECT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.y*ml"))
PINNED = re.compile(r"(?P<action>[\w-]+/[\w./-]+)@(?P<hash>[0-9a-f]{40}) # v\d+\.\d+\.\d+")


def uses(text: str) -> list[str]:
    return re.findall(r"^ *(?:- )?uses: *(.+?) *$", text, re.MULTILINE)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_every_action_is_pinned_by_its_hash_and_says_its_version(file):
    text = file.read_text(encoding="utf-8")
    assert len(uses(text)) == text.count("uses:")
    assert [each for each in uses(text) if not PINNED.fullmatch(each)] == []


def test_an_action_has_one_version_in_all_workflows():
    every = {each for file in WORKFLOWS for each in uses(file.read_text(encoding="utf-8"))}
    actions = [each.partition("@")[0] for each in every]
    assert len(actions) == len(set(actions))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_may_read_only_and_its_jobs_end(file):
    yaml = pytest.importorskip("yaml")
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert content["permissions"] == {"contents": "read"}
    for name, job in content["jobs"].items():
        assert job.get("timeout-minutes", 0) > 0, name
        # Only who publishes may ask for an identity.
        assert job.get("permissions", {}) in ({}, {"id-token": "write"}), name
        assert ("permissions" in job) == (name == "publish"), name
        assert set(job.get("needs", ())) <= set(content["jobs"]), name
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), name
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name


def test_what_the_workflows_and_commands_call_exists():
    text = "".join(file.read_text(encoding="utf-8") for file in WORKFLOWS)
    assert set(re.findall(r"tools\.dev (\w+)", text)) <= set(COMMANDS)
    paths = re.findall(r"(?<![\w/])((?:tests|rust|docs)/[\w/.]+)", text)
    built = {"rust/fuzz/artifacts"}
    assert [path for path in paths if path not in built and not (PROJECT / path).exists()] == []


def test_nothing_is_published_that_was_not_built_and_tried_first():
    yaml = pytest.importorskip("yaml")
    jobs = yaml.safe_load((PROJECT / ".github" / "workflows" / "wheels.yml").read_text(encoding="utf-8"))["jobs"]
    assert set(jobs["publish"]["needs"]) == set(jobs) - {"publish"}
    for name in jobs["publish"]["needs"]:
        steps = jobs[name]["steps"]
        tried = next(place for place, step in enumerate(steps) if "import chronofabric" in step.get("run", ""))
        handed = next(place for place, step in enumerate(steps) if "upload-artifact" in step.get("uses", ""))
        assert tried < handed


def test_the_target_of_make_is_the_command_of_the_same_name():
    targets = re.search(r"^\.PHONY: (.+)$", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert targets
    assert set(targets[1].split()) == set(COMMANDS)
