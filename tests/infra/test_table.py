"""The table that Terraform makes is the one the code was written for."""

from __future__ import annotations

from typing import Any

from cloudmig.cloud.dynamo_table import table_arguments
from tests.infra.cloudformation import template_of
from tests.infra.layers import Workshop


def by_name(entries: list[dict[str, Any]], key: str) -> dict[str, Any]:
    return {entry[key]: entry for entry in entries}


def test_the_table_is_as_the_code_expects(workshop: Workshop) -> None:
    template = template_of(workshop.mocked_apply("verification"))
    [made] = [
        each["Properties"] for each in template["Resources"].values()
        if each["Type"] == "AWS::DynamoDB::Table"
    ]  # fmt: skip
    wanted = table_arguments(made["TableName"])

    for same in ("TableName", "BillingMode", "KeySchema"):
        assert made[same] == wanted[same]
    for listed, key in (
        ("AttributeDefinitions", "AttributeName"), ("GlobalSecondaryIndexes", "IndexName"),
    ):  # fmt: skip
        assert by_name(made[listed], key) == by_name(wanted[listed], key)
