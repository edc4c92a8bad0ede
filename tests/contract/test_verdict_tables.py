"""What every verdict table promises: in memory, and in DynamoDB as moto plays it."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from cloudmig.cloud.dynamo_table import DynamoTable
from cloudmig.cloud.verdict_table import (
    DAY_SHARDS,
    MemoryTable,
    ObjectItem,
    StudyItem,
    VerdictTable,
    unsettled_keys,
    unsettled_since,
)
from tests.integration.cloud_world import dynamo_table

pytest_plugins = ["tests.contract.store_fixtures"]

PK = "images/some/prefix/v1/main/8c/1.2/"
EARLY, MIDDLE, LATE = (f"2026-11-22T09:00:0{second}.000000Z" for second in (1, 2, 3))
NIGHT = "2026-11-23T00:00:00.000000Z"


def an_item(sk: str = "1.2.1/1.2.1.1.dcm", at: str = MIDDLE, **changes: str) -> ObjectItem:
    item = ObjectItem(
        pk=PK, sk=sk, at=at, own_finding="", finding="", how="STREAMED", version_id="v1",
        etag='"abc"', size_bytes=5_000_000_000, file_sha256="ab" * 32, dataset_sha256="cd" * 32,
        storage_class="STANDARD", modality="CT", study_year="2019",
        unsettled=unsettled_since(at, PK, sk),
    )  # fmt: skip
    return replace(item, **changes)  # type: ignore[arg-type]


def a_study(at: str = MIDDLE, **changes: str | bool) -> StudyItem:
    item = StudyItem(
        pk=PK, at=at, manifest_key="v1/main/8c/1.2/manifest/1.json.gz", manifest_sha256="ef" * 32,
        manifest_revision=1, agreed=True, instances=2, differing=0, size_bytes=7,
        storage_class="STANDARD", modality="CT", study_year="2019",
        stratum="STANDARD|2019|CT|S", sample="0123456789abcdef",
    )  # fmt: skip
    return replace(item, **changes)  # type: ignore[arg-type]


class TableContract:
    @pytest.fixture
    def table(self) -> VerdictTable:
        raise NotImplementedError

    def test_what_is_recorded_is_found_as_it_was(self, table: VerdictTable) -> None:
        bare = ObjectItem(pk=PK, sk="ü +\n", at=EARLY, own_finding="missing", finding="x", how="")

        assert table.record(an_item())
        assert table.record(bare)

        assert table.find(PK, an_item().sk) == an_item()
        assert table.find(PK, bare.sk) == bare
        assert table.find(PK, "other") is None
        assert table.find("other", an_item().sk) is None

    def test_a_later_look_wins_whatever_the_order(self, table: VerdictTable) -> None:
        late, early = an_item(at=LATE, finding="altered"), an_item(at=EARLY)

        assert table.record(late)
        assert not table.record(early)
        assert table.find(PK, late.sk) == late

        assert table.record(an_item(at=NIGHT))
        assert table.find(PK, late.sk) == an_item(at=NIGHT)

    def test_a_look_that_is_delivered_again_is_kept(self, table: VerdictTable) -> None:
        assert table.record(an_item())
        assert table.record(an_item())

    def test_settling_takes_the_item_out_of_the_index(self, table: VerdictTable) -> None:
        item = an_item()
        table.record(item)

        assert table.settle(replace(item, finding="truncated"))

        assert table.find(PK, item.sk) == replace(item, finding="truncated", unsettled="")
        assert not list(table.unsettled(item.unsettled, NIGHT))

    def test_what_was_looked_at_since_is_not_settled(self, table: VerdictTable) -> None:
        later = an_item(at=LATE)
        table.record(an_item())
        table.record(later)

        assert not table.settle(an_item())
        assert not table.settle(an_item(sk="never seen"))

        assert table.find(PK, later.sk) == later
        assert table.find(PK, "never seen") is None

    def test_a_studys_objects_come_without_its_own_item(self, table: VerdictTable) -> None:
        items = [an_item(sk=f"1.2.1/1.2.1.{number:02}.dcm") for number in range(25)]
        for item in items:
            table.record(item)
        table.record_study(a_study())
        table.record(replace(an_item(), pk=f"{PK}not/"))

        assert list(table.of_study(PK)) == items

    def test_a_later_judgement_wins_whatever_the_order(self, table: VerdictTable) -> None:
        assert table.find_study(PK) is None
        assert table.record_study(a_study(at=LATE, agreed=False))
        assert not table.record_study(a_study(at=EARLY))

        assert table.find_study(PK) == a_study(at=LATE, agreed=False)
        assert table.record_study(a_study(at=LATE, settled=True))
        assert table.find_study(PK) == a_study(at=LATE, settled=True)

    def test_a_study_may_be_in_no_stratum(self, table: VerdictTable) -> None:
        assert table.record_study(a_study(stratum="", sample="", agreed=False))
        assert table.find_study(PK) == a_study(stratum="", sample="", agreed=False)

    def test_what_is_unsettled_is_found_by_day_and_time(self, table: VerdictTable) -> None:
        items = [an_item(sk=f"{number}.dcm", at=EARLY) for number in range(60)]
        for item in [*items, an_item(sk="late", at=LATE), an_item(sk="other day", at=NIGHT)]:
            table.record(item)

        found = [
            item for key in unsettled_keys("2026-11-22") for item in table.unsettled(key, LATE)
        ]

        assert sorted(found, key=lambda item: item.sk) == sorted(items, key=lambda item: item.sk)
        assert len({item.unsettled for item in items}) == DAY_SHARDS

    def test_of_many_writers_the_latest_look_stays(self, table: VerdictTable) -> None:
        """Functions run side by side; whatever the order of their writes, one look is last."""
        looks = [an_item(at=f"2026-11-22T09:00:00.{number:06}Z") for number in range(24)]
        ready = threading.Barrier(8)

        def write(first: int) -> None:
            ready.wait()
            for look in looks[first::8]:
                table.record(look)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(write, range(8)))

        assert table.find(PK, looks[0].sk) == looks[-1]


class TestMemory(TableContract):
    @pytest.fixture
    def table(self) -> VerdictTable:
        return MemoryTable()

    def test_it_lists_the_studies(self) -> None:
        table = MemoryTable()
        table.record_study(a_study())

        assert table.studies() == [a_study()]


class TestDynamo(TableContract):
    @pytest.fixture
    def table(self, endpoint: str) -> VerdictTable:
        return dynamo_table(endpoint, f"verdicts-{uuid.uuid4().hex}")

    def test_every_stratum_is_in_the_register(self, table: DynamoTable) -> None:
        table.record_study(a_study())
        table.record_study(a_study(at=LATE, stratum="GLACIER|2019|CT|S"))
        table.record_study(a_study(at=NIGHT, stratum=""))

        answer = table._client.query(
            TableName=table._name,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": "strata"}},
        )
        assert [item["sk"]["S"] for item in answer["Items"]] == [
            "GLACIER|2019|CT|S",
            "STANDARD|2019|CT|S",
        ]

    def test_a_fault_that_is_no_condition_is_an_error(self, table: DynamoTable) -> None:
        broken = DynamoTable(table._client, "no-such-table")

        with pytest.raises(table._client.exceptions.ResourceNotFoundException):
            broken.record(an_item())


class TestDynamoInSmallPages(TableContract):
    """A megabyte is a page; three items are enough to see that all pages are asked for."""

    @pytest.fixture
    def table(self, endpoint: str) -> VerdictTable:
        return dynamo_table(endpoint, f"verdicts-{uuid.uuid4().hex}", page_items=3)
