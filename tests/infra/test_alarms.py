"""An alarm that wakes somebody has a heading in the runbook that says what to do."""

from __future__ import annotations

import re

from tests.infra.deployment import INFRA, ROOT, Deployment

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
SOURCES = {path: path.read_text(encoding="utf-8") for path in (INFRA / "modules").rglob("*.tf")}
#: `<name>: <heading>`, and what it is about in brackets.
NAME = re.compile(r'alarm_name\s*= "\$\{var\.name\}: ([^"(]+?)(?: \([^"]+\))?"')


def headings() -> set[str]:
    alarms = RUNBOOK.partition("\n## Alarms\n")[2].partition("\n## ")[0]
    return set(re.findall(r"(?m)^### (.+)$", alarms))


def named_in(text: str) -> list[str]:
    return NAME.findall(text)


def test_every_alarm_has_a_heading_and_every_heading_an_alarm() -> None:
    named = {name for text in SOURCES.values() for name in named_in(text)}

    assert named == headings()


def test_every_alarm_is_named_so_that_its_heading_is_found() -> None:
    for path, text in SOURCES.items():
        assert len(named_in(text)) == len(re.findall(r"(?m)^ *alarm_name += ", text)), path
        alarms = re.findall(r'(?ms)^resource "aws_cloudwatch_metric_alarm".+?^}', text)
        for alarm in alarms:
            [name] = named_in(alarm)
            assert f'docs/runbook.md, \\"{name}\\"' in alarm, (path, name)


def test_every_heading_says_what_to_do() -> None:
    alarms = RUNBOOK.partition("\n## Alarms\n")[2].partition("\n## ")[0]

    for heading, text in re.findall(r"(?ms)^### (.+?)\n\n(.+?)(?=^### |\Z)", alarms):
        assert len(text.split()) > 15, heading


def test_what_was_applied_is_what_the_runbook_knows(applied_hybrid: Deployment) -> None:
    told = applied_hybrid.client("cloudwatch").describe_alarms(MaxRecords=100)["MetricAlarms"]
    name = applied_hybrid.outputs()["verification"]["function_names"]["verify_object"]
    deployment = name.removesuffix("-verify-object")
    ours = [each for each in told if each["AlarmName"].startswith(f"{deployment}: ")]

    assert len(ours) >= 15
    for alarm in ours:
        heading = alarm["AlarmName"].removeprefix(f"{deployment}: ").partition(" (")[0]
        assert heading in headings()
        assert alarm["AlarmActions"], alarm["AlarmName"]
        assert alarm["AlarmActions"] == alarm["OKActions"], alarm["AlarmName"]
