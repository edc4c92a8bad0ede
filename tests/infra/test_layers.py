"""Each layer that looks at infra/ before it is applied is needed: each sees what others miss."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.infra.cloudformation import TRANSLATED, template_of
from tests.infra.conftest import Applied
from tests.infra.deployment import is_sample
from tests.infra.layers import LAYERS, Workshop, lint

FUNCTION_MODULES = (
    "function", "verification", "retrieval_sla", "cold_recall", "reconciliation",
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One thing wrong, and the cheapest layer that sees it."""

    name: str
    seen_by: str
    file: str  #: Below infra/modules.
    right: str
    wrong: str
    says: str  #: A part of the complaint.

    @property
    def module(self) -> str:
        return self.file.split("/")[0]


#: Not every example has these.
PART_OF_SOME = {"aws_iam_policy", "aws_sfn_state_machine"}

FAULTS = [
    Fault(
        "a reference to nothing", "validate", "verification/queues.tf",
        "aws_sqs_queue.dead[each.key].arn", "aws_sqs_queue.deadletters[each.key].arn",
        "Reference to undeclared resource",
    ),
    Fault(
        "a value that AWS does not know", "validate", "verification/table.tf",
        "PAY_PER_REQUEST", "PAY_PER_REQEST", "billing_mode",
    ),
    Fault(
        "a comparison misspelt", "validate", "cold_recall/alarms.tf",
        "GreaterThanThreshold", "GreaterThenThreshold", "comparison_operator",
    ),
    Fault(
        "an argument forgotten", "validate", "retrieval_sla/main.tf",
        "  timeout_s          = 900\n", "", "timeout_s",
    ),
    Fault(
        "a table that anybody may delete", "terraform test", "verification/table.tf",
        "deletion_protection_enabled = var.protect_table", "deletion_protection_enabled = false",
        "Nothing destroys data by default",
    ),
    Fault(
        "a right too many", "terraform test", "verification/functions.tf",
        'concat(["s3:GetObject"],', 'concat(["s3:GetObject", "s3:DeleteObject"],',
        "no independent witness",
    ),
    Fault(
        "events of somebody else's objects", "terraform test", "verification/events.tf",
        'prefix = "${var.prefix}v1/"', 'prefix = ""', "below the prefix",
    ),
    Fault(
        "an alarm that never ends", "terraform test", "retrieval_sla/alarms.tf",
        "ok_actions          = var.alarm_topic_arns", "ok_actions          = []",
        "the end is told",
    ),
    Fault(
        "a visibility below the function's time limit", "terraform test", "verification/queues.tf",
        "visibility_timeout_seconds = each.value.visibility_s", "visibility_timeout_seconds = 30",
        "six times",
    ),
    Fault(
        "messages in the clear", "checkov", "cold_recall/main.tf",
        "  kms_master_key_id                 = var.kms_key_arn\n", "", "CKV_AWS_27",
    ),
    Fault(
        "an action that does not exist", "lint", "verification/functions.tf",
        '"dynamodb:Query"', '"dynamodb:Qery"', "W3037",
    ),
    Fault(
        "a state of a kind that does not exist", "lint", "reconciliation/machine.tf",
        'Type           = "Map"', 'Type           = "Mapp"', "E3601",
    ),
    Fault(
        "a way that leads nowhere", "lint", "reconciliation/machine.tf",
        'next = "Summarise"', 'next = "Summarize"', "there is no state Summarize",
    ),
    Fault(
        "a visibility below the time limit of a function elsewhere", "lint", "cold_recall/main.tf",
        "timeout_s          = local.timeout_s", "timeout_s          = 7 * local.timeout_s",
        "E3505",
    ),
]  # fmt: skip


@pytest.mark.parametrize("module", FUNCTION_MODULES[-1:] if is_sample() else FUNCTION_MODULES)
def test_nothing_is_wrong_with_a_module_in_the_eyes_of_aws(
    workshop: Workshop, infra_tools: Path, module: str
) -> None:
    assert workshop.complaints("lint", module, infra_tools) == ""


def test_every_layer_has_a_fault_that_it_sees_first() -> None:
    assert {fault.seen_by for fault in SAMPLE} == set(LAYERS)
    assert len(FAULTS) >= 8


#: One for each layer, and what only the last one sees.
SAMPLE = [
    fault for number, fault in enumerate(FAULTS)
    if fault.seen_by == "lint" or fault.seen_by not in {each.seen_by for each in FAULTS[:number]}
]  # fmt: skip


@pytest.mark.parametrize(
    "fault", SAMPLE if is_sample() else FAULTS, ids=lambda fault: fault.name.replace(" ", "-")
)
def test_a_fault_is_seen_by_its_layer(workshop: Workshop, infra_tools: Path, fault: Fault) -> None:
    with workshop.with_fault(fault.file, fault.right, fault.wrong):
        complaint = workshop.complaints(fault.seen_by, fault.module, infra_tools)
        # The cheapest layer comes first; a fault it sees needs no other.
        missed = fault.seen_by == "validate" or not workshop.complaints(
            "validate", fault.module, infra_tools
        )

    assert fault.says in complaint
    assert missed, "validate sees it, too: say so in FAULTS"


def test_aws_would_take_what_was_applied(applied: Applied, example: str, infra_tools: Path) -> None:
    resources = applied(example).resources()

    assert {each["type"] for each in resources} >= TRANSLATED - PART_OF_SOME
    assert lint(template_of(resources), infra_tools) == ""
