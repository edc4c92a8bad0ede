"""The verdict table in DynamoDB, on demand, one per set of buckets.

Nothing here retries: the client that is passed in does, in botocore's standard mode. Conditions
are on single items, so nothing is written in batches: a batch cannot say "unless there is a later
one", and costs the same write units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from botocore import exceptions as theirs

from cloudmig.cloud.places import STUDY_ITEM
from cloudmig.cloud.verdict_table import ObjectItem, StudyItem

__all__ = ["BY_STRATUM", "STRATA", "UNSETTLED", "DynamoTable", "table_arguments"]

UNSETTLED = "unsettled"  #: Index: the day's partition, then `at`.
BY_STRATUM = "by_stratum"  #: Index: stratum, then the study's place in the sample.
STRATA = "strata"  #: Partition key of the register of strata.

_NEWER = "attribute_not_exists(#at) OR #at <= :at"


def table_arguments(name: str) -> dict[str, Any]:
    """Return the arguments of `create_table`; the Terraform module must say the same."""
    keys = ("pk", "sk", "unsettled", "at", "stratum", "sample")

    def schema(partition: str, sort: str) -> list[dict[str, str]]:
        return [
            {"AttributeName": partition, "KeyType": "HASH"},
            {"AttributeName": sort, "KeyType": "RANGE"},
        ]

    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": schema("pk", "sk"),
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in keys],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": index,
                "KeySchema": schema(partition, sort),
                "Projection": {"ProjectionType": "ALL"},
            }
            for index, partition, sort in (
                (UNSETTLED, "unsettled", "at"),
                (BY_STRATUM, "stratum", "sample"),
            )
        ],
    }


class DynamoTable:
    """Keeps the promises of `VerdictTable` in one DynamoDB table."""

    def __init__(
        self,
        client: Any,  # noqa: ANN401 - a boto3 client, which functions pass in
        name: str,
        *,
        page_items: int | None = None,
    ) -> None:
        self._client = client
        self._name = name
        self._page = {"Limit": page_items} if page_items else {}
        self._strata: set[str] = set()

    def find(self, pk: str, sk: str) -> ObjectItem | None:
        held = self._get(pk, sk)
        return None if held is None else _object_item(held)

    def of_study(self, pk: str) -> Iterator[ObjectItem]:
        for held in self._query(
            ConsistentRead=True,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": pk}},
        ):
            if held["sk"]["S"] != STUDY_ITEM:
                yield _object_item(held)

    def record(self, item: ObjectItem) -> bool:
        return self._put(_attributes(item), item.at)

    def settle(self, item: ObjectItem) -> bool:
        return self._conditionally(
            "update_item",
            Key={"pk": {"S": item.pk}, "sk": {"S": item.sk}},
            UpdateExpression="SET finding = :finding REMOVE unsettled",
            ConditionExpression="#at = :at",
            ExpressionAttributeNames={"#at": "at"},
            ExpressionAttributeValues={":at": {"S": item.at}, ":finding": {"S": item.finding}},
        )

    def find_study(self, pk: str) -> StudyItem | None:
        held = self._get(pk, STUDY_ITEM)
        return None if held is None else _study_item(held)

    def record_study(self, item: StudyItem) -> bool:
        # The stratum is known before a study is in it: who samples must not overlook the study.
        if item.stratum and item.stratum not in self._strata:
            self._client.put_item(
                TableName=self._name, Item={"pk": {"S": STRATA}, "sk": {"S": item.stratum}}
            )
            self._strata.add(item.stratum)
        return self._put({**_attributes(item), "sk": {"S": STUDY_ITEM}}, item.at)

    def unsettled(self, key: str, before: str) -> Iterator[ObjectItem]:
        for held in self._query(
            IndexName=UNSETTLED,
            KeyConditionExpression="#key = :key AND #at < :before",
            ExpressionAttributeNames={"#key": "unsettled", "#at": "at"},
            ExpressionAttributeValues={":key": {"S": key}, ":before": {"S": before}},
        ):
            yield _object_item(held)

    def _get(self, pk: str, sk: str) -> dict[str, Any] | None:
        answer = self._client.get_item(
            TableName=self._name, Key={"pk": {"S": pk}, "sk": {"S": sk}}, ConsistentRead=True
        )
        held: dict[str, Any] | None = answer.get("Item")
        return held

    def _query(self, **arguments: object) -> Iterator[dict[str, Any]]:
        start: dict[str, Any] = {}
        while True:
            answer = self._client.query(TableName=self._name, **self._page, **arguments, **start)
            yield from answer["Items"]
            if not answer.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _put(self, attributes: dict[str, Any], at: str) -> bool:
        return self._conditionally(
            "put_item",
            Item=attributes,
            ConditionExpression=_NEWER,
            ExpressionAttributeNames={"#at": "at"},
            ExpressionAttributeValues={":at": {"S": at}},
        )

    def _conditionally(self, operation: str, **arguments: object) -> bool:
        try:
            getattr(self._client, operation)(TableName=self._name, **arguments)
        except theirs.ClientError as error:
            if error.response.get("Error", {}).get("Code") == "ConditionalCheckFailedException":
                return False
            raise
        return True


def _attributes(item: ObjectItem | StudyItem) -> dict[str, Any]:
    """Return the item as DynamoDB takes it. Empty text is left out: an index key may not be."""
    written: dict[str, Any] = {}
    for each in fields(item):
        value = getattr(item, each.name)
        if isinstance(value, bool):
            written[each.name] = {"BOOL": value}
        elif isinstance(value, int):
            written[each.name] = {"N": str(value)}
        elif value:
            written[each.name] = {"S": value}
    return written


def _object_item(held: Mapping[str, Any]) -> ObjectItem:
    read = _read(held)
    return ObjectItem(**{each.name: read.get(each.name, _EMPTY[each.type]) for each in _OBJECT})


def _study_item(held: Mapping[str, Any]) -> StudyItem:
    read = _read(held)
    return StudyItem(**{each.name: read.get(each.name, _EMPTY[each.type]) for each in _STUDY})


def _read(held: Mapping[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, typed in held.items():
        [(kind, value)] = typed.items()
        read[name] = int(value) if kind == "N" else value
    return read


_OBJECT = fields(ObjectItem)
_STUDY = fields(StudyItem)
#: An attribute that is not there, by the annotation of its field.
_EMPTY: Mapping[Any, Any] = {"str": "", "int": 0, "bool": False}
