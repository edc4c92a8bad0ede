"""What has been seen of restores: an item per object version, in the table of the verdicts.

    pk  restores/<bucket>/<prefix><study prefix>        sk  <rest of the key>#<version>

An item is three sets of times: asked, completed, expired. Adding to a set can be repeated and done
in any order, so events may come twice and late, and nothing has to be compared first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["ASKED", "COMPLETED", "EXPIRED", "DynamoRestores", "MemoryRestores", "Restores"]

ASKED, COMPLETED, EXPIRED = "asked", "completed", "expired"


@dataclass(frozen=True, slots=True)
class RestoreItem:
    """All that is known of one object version's restores. Times are `instants`."""

    times: Mapping[str, frozenset[str]] = field(default_factory=dict)
    storage_class: str = ""

    def cycle_of(self, kind: str, at: str) -> tuple[str, str] | None:
        """Return when the restore that an event belongs to was asked for, and was completed.

        It counts from the first asking since the last copy was there. Asking again while one is
        under way begins none, nor does asking while the copy is there: that only keeps it longer.
        None: begins none, or completed without having been seen asked for.
        """
        completed, expired = sorted(self.times.get(COMPLETED, ())), self.times.get(EXPIRED, ())
        end = next((each for each in completed if each >= at), "")
        before = max((each for each in completed if each < (end or at)), default="")
        gone = max((each for each in expired if before < each <= (end or at)), default="")
        asked = [
            each
            for each in sorted(self.times.get(ASKED, ()))
            if each > (gone or before) and (not end or each <= end)
        ]
        is_longer = before and not gone and not end
        if not asked or is_longer or (kind == ASKED and at not in asked):
            return None
        return asked[0], end


class Restores(Protocol):
    """Keeps what was seen of restores."""

    def add(self, pk: str, sk: str, kind: str, at: str, storage_class: str) -> RestoreItem:
        """Add a time to one of the three sets and return the item as it is then."""
        ...


class MemoryRestores:
    """Keeps everything in this process: for a machine on site, and for tests."""

    def __init__(self) -> None:
        self._items: dict[tuple[str, str], RestoreItem] = {}

    def add(self, pk: str, sk: str, kind: str, at: str, storage_class: str) -> RestoreItem:
        held = self._items.get((pk, sk), RestoreItem())
        times = {**held.times, kind: held.times.get(kind, frozenset()) | {at}}
        item = RestoreItem(times, storage_class or held.storage_class)
        self._items[pk, sk] = item
        return item


class DynamoRestores:
    """Keeps the promises of `Restores` in the verdict table."""

    def __init__(self, client: Any, name: str) -> None:  # noqa: ANN401 - a boto3 client
        self._client = client
        self._name = name

    def add(self, pk: str, sk: str, kind: str, at: str, storage_class: str) -> RestoreItem:
        names = {"#kind": kind}
        values: dict[str, Any] = {":at": {"SS": [at]}}
        update = "ADD #kind :at"
        if storage_class:
            update += " SET storage_class = :class"
            values[":class"] = {"S": storage_class}
        answer = self._client.update_item(
            TableName=self._name,
            Key={"pk": {"S": pk}, "sk": {"S": sk}},
            UpdateExpression=update,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
        )
        held = answer["Attributes"]
        return RestoreItem(
            {
                each: frozenset(held[each]["SS"])
                for each in (ASKED, COMPLETED, EXPIRED)
                if each in held
            },
            held.get("storage_class", {}).get("S", ""),
        )
