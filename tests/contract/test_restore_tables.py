"""What every table of restores promises: in memory, and in DynamoDB as moto plays it."""

from __future__ import annotations

import uuid

import boto3
import pytest

from cloudmig.cloud.dynamo_table import DynamoTable, table_arguments
from cloudmig.cloud.restore_table import (
    ASKED,
    COMPLETED,
    EXPIRED,
    DynamoRestores,
    MemoryRestores,
    Restores,
)

pytest_plugins = ["tests.contract.store_fixtures"]

PK, SK = "restores/images/v1/main/8c/1.2/", "1.2.1/1.2.1.1.dcm#v1"
EARLY, LATE = "2026-03-01T08:00:00.000000Z", "2026-03-01T12:30:00.000000Z"


class RestoresContract:
    @pytest.fixture
    def restores(self) -> Restores:
        raise NotImplementedError

    def test_times_are_added_once_whatever_their_order(self, restores: Restores) -> None:
        for kind, at in ((COMPLETED, LATE), (ASKED, EARLY), (COMPLETED, LATE), (ASKED, LATE)):
            item = restores.add(PK, SK, kind, at, "")

        assert dict(item.times) == {COMPLETED: {LATE}, ASKED: {EARLY, LATE}}

    def test_a_class_that_was_named_once_stays(self, restores: Restores) -> None:
        restores.add(PK, SK, ASKED, EARLY, "GLACIER")

        assert restores.add(PK, SK, EXPIRED, LATE, "").storage_class == "GLACIER"

    def test_versions_are_kept_apart(self, restores: Restores) -> None:
        restores.add(PK, SK, ASKED, EARLY, "GLACIER")

        item = restores.add(PK, f"{SK}2", COMPLETED, LATE, "")

        assert item.cycle_of(COMPLETED, LATE) is None


class TestMemory(RestoresContract):
    @pytest.fixture
    def restores(self) -> Restores:
        return MemoryRestores()


class TestDynamo(RestoresContract):
    @pytest.fixture
    def table(self, endpoint: str) -> tuple[object, str]:
        client = boto3.client(
            "dynamodb", endpoint_url=endpoint, region_name="us-east-1",
            aws_access_key_id="testing", aws_secret_access_key="testing",
        )  # fmt: skip
        name = f"verdicts-{uuid.uuid4().hex[:8]}"
        client.create_table(**table_arguments(name))
        return client, name

    @pytest.fixture
    def restores(self, table: tuple[object, str]) -> Restores:
        return DynamoRestores(*table)

    def test_the_verdicts_of_a_study_are_not_disturbed(
        self, restores: Restores, table: tuple[object, str]
    ) -> None:
        restores.add(PK, SK, ASKED, EARLY, "GLACIER")

        assert list(DynamoTable(*table).of_study(PK.removeprefix("restores/"))) == []
