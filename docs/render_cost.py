"""Writes docs/cost.md from the requests that the tests counted and from prices that are inputs.

python -m docs.render_cost
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["COUNTED", "PAGE", "render"]

COUNTED = Path(__file__).with_name("cost.json")
PAGE = Path(__file__).with_name("cost.md")
_TEMPLATE = Path(__file__).with_name("cost.template.md")

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """One line of a price list."""

    usd: float
    per: float
    unit: str


#: Inputs, not findings: assumed for us-east-1, November 2026. Yours are in your contract.
PRICES: Mapping[str, Price] = {
    "S3 GET, HEAD (STANDARD)": Price(0.0004, 1000, "requests"),
    "S3 LIST": Price(0.005, 1000, "requests"),
    "S3 GET, HEAD (STANDARD_IA)": Price(0.001, 1000, "requests"),
    "S3 retrieval (STANDARD_IA)": Price(0.01, 1, "GB"),
    "S3 GET, HEAD (GLACIER_IR)": Price(0.01, 1000, "requests"),
    "S3 retrieval (GLACIER_IR)": Price(0.03, 1, "GB"),
    "S3 Inventory": Price(0.0025, MILLION, "objects listed"),
    "DynamoDB write request units, on demand": Price(0.625, MILLION, "units"),
    "DynamoDB read request units, on demand": Price(0.125, MILLION, "units"),
    "DynamoDB storage": Price(0.25, 1, "GB and month"),
    "SQS": Price(0.40, MILLION, "requests"),
    "Lambda requests": Price(0.20, MILLION, "requests"),
    "Lambda compute, arm64": Price(0.0000133334, 1, "GB-s"),
    "CloudWatch Logs": Price(0.50, 1, "GB taken in"),
}

#: Inputs, too: what a real archive and a real region would say, and moto cannot.
INSTANCES_PER_STUDY = 100
INSTANCE_BYTES = 525_000
BATCH = 10  #: Messages that one invocation takes.
OBJECT_S, STUDY_S = 0.08, 0.5  #: Of a function, waiting for S3 and DynamoDB in the same region.
STREAM_BYTES_PER_S = 80_000_000
OBJECT_GB, STUDY_GB = 0.5, 1.0  #: Memory of the functions, as infra/modules/verification sets it.


def render(counted: Mapping[str, Any]) -> str:
    """Return the page."""
    checksum, stream = bill(counted, "checksum"), bill(counted, "stream")
    listed = "\n".join(
        f"| {name} | {price.usd:.10g} USD per {price.per:,.0f} {price.unit} |"
        for name, price in PRICES.items()
    )
    return _TEMPLATE.read_text(encoding="utf-8").format(
        requests=_requests(counted),
        bill=_table(checksum),
        total=f"{sum(each.usd for each in checksum):.2f}",
        stream_more=f"{sum(e.usd for e in stream) - sum(e.usd for e in checksum):.2f}",
        ia=f"{_of_class(counted, 'STANDARD_IA'):.2f}",
        ir=f"{_of_class(counted, 'GLACIER_IR'):.2f}",
        ia_stream=f"{_retrieval('STANDARD_IA'):.2f}",
        ir_stream=f"{_retrieval('GLACIER_IR'):.2f}",
        queued=f"{_cost('SQS', MILLION * (1 + 2 / BATCH)):.2f}",
        late=f"{_late(counted):.2f}",
        inventory=f"{_cost('S3 Inventory', MILLION) * 52 / 12:.3f}",
        kept=f"{_cost('DynamoDB storage', MILLION * 2 * counted['item_bytes'] / 1e9):.2f}",
        item_bytes=counted["item_bytes"],
        log_bytes=counted["log_bytes_per_object"],
        prices=listed,
        instances=INSTANCES_PER_STUDY,
        instance_kb=INSTANCE_BYTES // 1000,
        batch=BATCH,
        object_ms=round(OBJECT_S * 1000),
        study_ms=round(STUDY_S * 1000),
        stream_mb=STREAM_BYTES_PER_S // MILLION,
        probe=f"{_cost('S3 GET, HEAD (STANDARD)', 60 * INSTANCES_PER_STUDY * 96 * 30):.0f}",
    )


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bill, for a million objects."""

    what: str
    quantity: float
    unit: str
    usd: float


def bill(counted: Mapping[str, Any], read: str) -> list[Line]:
    """Return what a million objects cost, from their events to the verdicts on their studies."""
    done = _per_million(counted[read])
    units = math.ceil(counted["item_bytes"] / 1024)
    gets = done["s3:HeadObject"] + done["s3:GetObject"]
    # Every item of an object is in the index `unsettled` until it is settled: both are written.
    writes = 2 * units * done["dynamodb:PutItem"] + 2 * units * done["dynamodb:UpdateItem"]
    # A consistent read of 4 KiB is one unit, and a query reads its items side by side.
    queried = MILLION * counted["item_bytes"] / 4096
    reads = done["dynamodb:GetItem"] + queried
    studies = MILLION / INSTANCES_PER_STUDY
    # An event and its sending, then a receive and a delete for each batch; the same for studies.
    messages = (MILLION + studies) * (1 + 2 / BATCH) + studies * 2 / BATCH
    messages += done["sqs:SendMessageBatch"]
    invocations = (MILLION + 2 * studies) / BATCH
    object_s = OBJECT_S + (INSTANCE_BYTES / STREAM_BYTES_PER_S if read == "stream" else 0)
    compute = MILLION * object_s * OBJECT_GB + studies * STUDY_S * STUDY_GB
    logs = MILLION * counted["log_bytes_per_object"] / 1e9
    return [
        _line("S3 GET, HEAD (STANDARD)", gets, "requests"),
        _line("S3 LIST", done["s3:ListObjectsV2"], "requests"),
        _line("DynamoDB write request units, on demand", writes, "units"),
        _line("DynamoDB read request units, on demand", reads, "units"),
        _line("SQS", messages, "requests"),
        _line("Lambda requests", invocations, "requests"),
        _line("Lambda compute, arm64", compute, "GB-s"),
        _line("CloudWatch Logs", logs, "GB"),
    ]


def _per_million(counts: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the requests of a million objects by operation, whoever makes them."""
    found: dict[str, float] = {}
    for name, (of_object, of_study) in counts.items():
        operation = name.split()[1]
        each = of_object + of_study / INSTANCES_PER_STUDY
        found[operation] = found.get(operation, 0) + MILLION * each
    return found


def _line(name: str, quantity: float, unit: str) -> Line:
    return Line(name, quantity, unit, _cost(name, quantity))


def _cost(name: str, quantity: float) -> float:
    return PRICES[name].usd * quantity / PRICES[name].per


def _of_class(counted: Mapping[str, Any], storage_class: str) -> float:
    """Return what looking costs more where objects lie in a dearer class."""
    done = _per_million(counted["checksum"])
    looks = done["s3:HeadObject"] + done["s3:GetObject"]
    dear = _cost(f"S3 GET, HEAD ({storage_class})", looks)
    headers = _cost(f"S3 retrieval ({storage_class})", MILLION * 65536 / 1e9)
    return dear + headers - _cost("S3 GET, HEAD (STANDARD)", looks)


def _retrieval(storage_class: str) -> float:
    return _cost(f"S3 retrieval ({storage_class})", MILLION * INSTANCE_BYTES / 1e9)


def _late(counted: Mapping[str, Any]) -> float:
    """Return what it costs when every object is looked at twice, by both functions."""
    counts = {
        name: each for name, each in counted["checksum"].items() if name.startswith("verify_object")
    }
    done = _per_million(counts)
    looks = done["s3:HeadObject"] + done["s3:GetObject"]
    writes = 2 * done["dynamodb:PutItem"]
    return _cost("S3 GET, HEAD (STANDARD)", looks) + _cost(
        "DynamoDB write request units, on demand", writes
    )


def _requests(counted: Mapping[str, Any]) -> str:
    names = sorted(counted["checksum"].keys() | counted["stream"].keys())
    rows = []
    for name in names:
        function, operation = name.split()
        cells = [counted[read].get(name, [0, 0]) for read in ("checksum", "stream")]
        told = " | ".join(f"{each:g}" for pair in cells for each in pair)
        rows.append(f"| `{function}` | {operation} | {told} |")
    return "\n".join(rows)


def _table(lines: Sequence[Line]) -> str:
    rows = []
    for each in lines:
        digits = 0 if each.quantity > 10 else 2
        rows.append(f"| {each.what} | {each.quantity:,.{digits}f} {each.unit} | {each.usd:.2f} |")
    return "\n".join(rows)


def main() -> None:
    """Write the page."""
    PAGE.write_text(render(json.loads(COUNTED.read_bytes())), encoding="utf-8")


if __name__ == "__main__":
    main()
