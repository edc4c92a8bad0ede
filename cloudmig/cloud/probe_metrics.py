"""A probe's result as metrics (CloudWatch's embedded metric format) and as a document.

Dimensions are `Tier` or none: an alarm names exactly these, so nothing may add another.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from cloudmig.cloud.error_budget import TierStanding
from cloudmig.cloud.retrieval_samples import RetrievalSample

__all__ = ["BREACH", "document_of", "emf_of"]

#: 0 or 1; what alarms watch.
BREACH = "RetrievalBreach"

#: What a metric of EMF may hold at most.
_VALUES_MAX = 100

_TIMES = {
    "FirstByte": "first_byte_s",
    "FirstInstance": "first_instance_s",
    "WholeStudy": "study_s",
    "Query": "query_s",
}


def document_of(
    at: dt.datetime, tiers: Mapping[str, TierStanding], samples: int, left_out: int
) -> dict[str, object]:
    """Return the JSON shape of a probe's result."""
    return {
        "at": at.isoformat(timespec="seconds"),
        "samples": samples,
        "left_out": left_out,
        "breached": any(each.breached for each in tiers.values()),
        "tiers": {tier: tier_document(each) for tier, each in tiers.items()},
    }


def tier_document(each: TierStanding) -> dict[str, object]:
    """Return the JSON shape of a tier's standing."""
    content = asdict(each)
    del content["tier"]
    return content | {"breached": each.breached}


def emf_of(
    namespace: str,
    at: dt.datetime,
    tiers: Mapping[str, TierStanding],
    samples: Sequence[RetrievalSample],
) -> list[str]:
    """Return one line for the probe, and for each tier as many as its values need."""
    breached = any(each.breached for each in tiers.values())
    lines = [_line(namespace, at, {}, {BREACH: int(breached), "StudiesSampled": len(samples)})]
    for tier, each in tiers.items():
        counts: dict[str, object] = {
            BREACH: int(each.breached),
            "ErrorBudgetBurnt": each.burnt,
            "RetrievalErrors": each.wrong + each.failed,
        }
        lines.append(_line(namespace, at, {"Tier": tier}, counts))
        read = [one for one in samples if one.tier == tier and one.outcome == "read"]
        for begin in range(0, len(read), _VALUES_MAX):
            times: dict[str, object] = {
                name: values
                for name, field in _TIMES.items()
                if (values := _values(read[begin : begin + _VALUES_MAX], field))
            }
            lines.append(_line(namespace, at, {"Tier": tier}, times))
    return lines


def _values(samples: Sequence[RetrievalSample], field: str) -> list[float]:
    found = (getattr(each, field) for each in samples)
    return [round(value, 6) for value in found if value is not None]


def _unit(name: str) -> str:
    if name in _TIMES:
        return "Seconds"
    return "None" if name == "ErrorBudgetBurnt" else "Count"


def _line(
    namespace: str, at: dt.datetime, dimensions: Mapping[str, str], metrics: Mapping[str, object]
) -> str:
    content = {
        "_aws": {
            "Timestamp": int(at.timestamp() * 1000),
            "CloudWatchMetrics": [
                {
                    "Namespace": namespace,
                    "Dimensions": [list(dimensions)],
                    "Metrics": [{"Name": name, "Unit": _unit(name)} for name in metrics],
                }
            ],
        },
        **dimensions,
        **metrics,
    }
    return json.dumps(content, separators=(",", ":"))
