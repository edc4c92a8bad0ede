"""Render docs/benchmarks.md from bench/results.json and what lies beside it.

Other measurements join the page by writing bench/results-<name>.json:
`{"title": ..., "text": ..., "rows": [{column: value, ...}, ...]}`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"

Row = Mapping[str, Any]
#: Rows by scenario and contender.
Results = Mapping[tuple[str, str], Row]

METHOD = """\
## How it was measured

- One PACS, one sink, one set of studies for all contenders of a scenario; they take turns in one
  run, and the figures are medians over the repeats. Every contender gets the list of Study
  Instance UIDs for free: cloudmig has done its inventory and its plan before the clock starts
  (the two columns say how long they took, starting Python twice included), the others are handed
  the list.
- The clock runs from the first process started for the move to the last one ended: starting
  Python is part of it.
- `trade` is `movescu`, one study after the other, into `storescp`, then
  `aws s3 cp --recursive` with its defaults. `script` is
  [bench/script.py](../bench/script.py): pynetdicom and boto3 with threads. `limit` is
  `movescu` into `storescp --ignore`: nothing is kept, nothing is sent on.
- `stock` is dcmqrscp as it comes; in `fast` and `wan`, dcmqrscp, storescp and movescu run with
  `TCP_NODELAY=1`. Where the stall makes a contender take minutes it is timed on the first
  studies of the same archive only (see *instances*); ratios compare instances per second.
- The sink is nginx with WebDAV PUT into memory, because an emulator would be measured instead.
  It keeps no checksum and knows no condition. In `big` it is moto, which takes multipart uploads.
- In `wan-ct` the sink stands behind a proxy in a process of its own: 20 ms round trip, 200 Mb/s
  in each direction, shared by all connections. Before every contender the same line is measured
  with a raw upload over eight kept-alive sockets: that is what the percentages refer to. TCP's
  slow start and loss are not imitated.
- After every run the sink is read: as many objects as instances, and every data set byte for
  byte the PACS's own, by SHA-256; otherwise the run counts as failed and is not in the table.
- CPU is user and system time of the contender's own processes by `wait4` (movescu, storescp and
  the AWS command line count for `trade`), never the PACS's or the sink's; starting Python is
  in it. Memory is the largest sum of the high-water marks of its processes alive together,
  sampled 20 times a second.
"""


STOW_METHOD = """\
The same folders of files into the same Orthanc 1.10 with its DICOMweb plugin, configured as it
comes, with an empty folder in memory for every contender. The clock runs from the start of the
contender's process. What Orthanc holds afterwards is counted in its storage and compared by data
set; a contender whose images are not all there is said to hold fewer.

- `dicomweb-client` is `dcmread` and `store_instances`, one call a study
  ([bench/stow_client.py](../bench/stow_client.py)); reading is part of its time, and shown below.
- `cloudmig` is `cloudmig run` from a folder, with its catalog and its manifests; inventory and
  plan are shown below.
- `port` is its destination alone, with files read and hashed twice as staging does it, memory
  counted against the default budget ([bench/stow_port.py](../bench/stow_port.py)); no catalog.
- `port-staged` is the same with everything read and hashed before the clock starts: the share of
  STOW-RS alone. Compare it with `dicomweb-client` less the reading shown below, too.
- `storescu` is DCMTK's, one association for everything; `storescu-nodelay` has `TCP_NODELAY=1`
  on both sides. The stock one is timed on one study.
- `orthanc` is the STOW-RS client of a second Orthanc that holds the studies already, one request
  for all of them.
- `stow-limit` writes requests made beforehand, of the size cloudmig sends, to four raw sockets:
  what Orthanc takes from a sender that costs nothing on the same two cores. Its own CPU is the
  limit, and whatever a contender computes is taken from it: cloudmig's two SHA-256 of every image
  are most of what lies between `port` and `port-staged`.
"""


@dataclass(frozen=True, slots=True)
class Floor:
    """One line of "Done when": what is asked, how to work out the figure, when it holds."""

    scenario: str
    asked: str
    figure: Callable[[Results], float]
    holds: Callable[[float], bool]
    unit: str = "x"


def rate(results: Results, scenario: str, contender: str) -> float:
    """Return instances per second."""
    row = results[scenario, contender]
    return float(row["instances"]) / float(row["seconds"])


def against(
    scenario: str, other: str, floor: float, asked: str, *, ours: str = "cloudmig"
) -> Floor:
    """Ask for so many times the rate of another contender in the same scenario."""
    return Floor(
        scenario,
        asked,
        lambda results: rate(results, scenario, ours) / rate(results, scenario, other),
        lambda figure: figure >= floor,
    )


def _line_share(results: Results) -> float:
    row = results["wan-ct", "cloudmig"]
    return 100 * float(row["bytes"]) / float(row["seconds"]) / float(row["line_bytes_per_s"])


def _largest_rss(results: Results) -> float:
    return max(float(row["peak_rss_mb"]) for key, row in results.items() if key[1] == "cloudmig")


FLOORS: Sequence[Floor] = (
    against("stock-ct", "trade", 15, "15x trade"),
    against("stock-small", "trade", 40, "40x trade"),
    against("fast-ct", "trade", 2.5, "2.5x trade"),
    against("fast-small", "trade", 2.5, "2.5x trade"),
    against("fast-ct", "script", 2, "2x script"),
    against("fast-small", "script", 2, "2x script"),
    against("fast-ct", "limit", 0.5, "half of limit"),
    *(
        against(scenario, "dicomweb-client", 3, f"{ours}: 3x dicomweb-client", ours=ours)
        for scenario in ("stow-ct", "stow-small")
        for ours in ("port-staged", "port", "cloudmig")
    ),
    Floor("wan-ct", "85 % of the link", _line_share, lambda figure: figure >= 85, " %"),
    Floor(
        "fast-ct",
        "at most 1.5 ms agent CPU per 525 kB instance",
        lambda results: float(results["fast-ct", "cloudmig"]["cpu_ms_per_instance"]),
        lambda figure: figure <= 1.5,
        " ms",
    ),
    Floor(
        "all",
        "peak RSS under 400 MB",
        _largest_rss,
        lambda figure: figure < 400,
        " MB",
    ),
    Floor(
        "big",
        "peak RSS under 400 MB while 2 GB pass",
        lambda results: float(results["big", "cloudmig"]["peak_rss_mb"]),
        lambda figure: figure < 400,
        " MB",
    ),
)


def one_line(row: Row) -> str:
    """Say what one run took, for the terminal."""
    per_second = row["instances"] / row["seconds"]
    return (
        f"{row['scenario']:11} {row['contender']:16} {row['instances']:6}"
        f" in {row['seconds']:7.2f} s {per_second:8.1f}/s"
        f"  {row['cpu_ms_per_instance']:6.2f} ms CPU each"
        f"  {row['peak_rss_mb']:6.0f} MB"
    )


def page(rows: Sequence[Row], conditions: Row, extras: Sequence[Row]) -> str:
    """Write the whole page."""
    results = {(row["scenario"], row["contender"]): row for row in rows}
    parts = [
        "# Benchmarks\n\nRendered by `bench/render.py`; `make bench` measures again.",
        _machine(conditions),
        "## Floors\n\n" + _table([_floor_row(floor, results) for floor in FLOORS]),
        "## Figures\n\n" + _table([_figures(row) for row in rows if "held" not in row]),
        _stow(rows),
    ]
    parts += [_before(rows), METHOD.strip(), _noise(rows, conditions)]
    for extra in extras:
        text = f"{extra['text']}\n\n" if extra.get("text") else ""
        parts.append(f"## {extra['title']}\n\n{text}{_table(extra['rows'])}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _machine(conditions: Row) -> str:
    return (
        f"Measured on {conditions['date']}: {conditions['cpus']} cores"
        f" ({conditions['cpu_model']}), {conditions['memory_gb']} GB, Linux {conditions['kernel']},"
        f" Python {conditions['python']}, {conditions['dcmtk']}; everything on the loopback of one"
        f" machine, so PACS, sink and contender share its cores. Load before the run:"
        f" {conditions['load_before']}; images per study scaled by {conditions['scale']}."
    ) + _kept(conditions)


def _kept(conditions: Row) -> str:
    kept = conditions.get("kept", ())
    if not kept:
        return ""
    return (
        "\n\n**Not one run**: these rows were kept from earlier ones, on a machine as loaded as it"
        f" was then, and did not take turns with the others: {', '.join(kept)}."
    )


def _floor_row(floor: Floor, results: Results) -> Row:
    try:
        figure = floor.figure(results)
    except (KeyError, ValueError):
        return {"scenario": floor.scenario, "floor": floor.asked, "measured": "-", "": "not run"}
    return {
        "scenario": floor.scenario,
        "floor": floor.asked,
        "measured": f"{figure:.3g}{floor.unit}",
        "": "holds" if floor.holds(figure) else "**falls short**",
    }


def _figures(row: Row) -> Row:
    return {
        "scenario": row["scenario"],
        "contender": row["contender"],
        "instances": row["instances"],
        "MB": f"{row['bytes'] / 1e6:.0f}",
        "seconds": f"{row['seconds']:.2f}",
        "instances/s": f"{row['instances'] / row['seconds']:.1f}",
        "CPU ms each": f"{row['cpu_ms_per_instance']:.2f}",
        "peak MB": f"{row['peak_rss_mb']:.0f}",
        "to trade": _times(row["ratio_to_trade"]),
    }


def _stow(rows: Sequence[Row]) -> str:
    """Show the scenarios that store files into Orthanc."""
    found = [
        {
            "scenario": row["scenario"],
            "contender": row["contender"],
            "instances": row["instances"],
            "held": "all" if row["held"] == row["instances"] else f"**{row['held']}**",
            "seconds": f"{row['seconds']:.2f}",
            "instances/s": f"{row['instances'] / row['seconds']:.1f}",
            "CPU ms each": f"{row['cpu_ms_per_instance']:.2f}",
            "Orthanc's CPU ms each": f"{row['store_cpu_ms_per_instance']:.2f}",
            "peak MB": f"{row['peak_rss_mb']:.0f}",
            "to dicomweb-client": _times(row["ratio_to_dicomweb_client"]),
        }
        for row in rows
        if "held" in row
    ]
    return f"## Storing by STOW-RS\n\n{STOW_METHOD}\n{_table(found)}" if found else ""


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1f}x"


def _before(rows: Sequence[Row]) -> str:
    """Show what is kept out of the figures above: inventory, plan, start, the line itself."""
    names = {
        "move_seconds": "retrieve alone (s)",
        "read_seconds": "reading the files (s)",
        "inventory_seconds": "inventory (s)",
        "plan_seconds": "plan (s)",
        "start_cpu_seconds": "CPU of `cloudmig status` (s)",
        "line_bytes_per_s": "line (bytes/s)",
        "line_rtt_ms": "line round trip (ms)",
        "line_cpu_seconds": "CPU of the proxy (s)",
    }
    found = [
        {"scenario": row["scenario"], "contender": row["contender"], "what": text, "": row[name]}
        for row in rows
        for name, text in names.items()
        if name in row
    ]
    return "## Beside the clock\n\n" + _table(found) if found else ""


def _noise(rows: Sequence[Row], conditions: Row) -> str:
    spread = [
        {
            "scenario": row["scenario"],
            "contender": row["contender"],
            "fastest (s)": f"{min(row['seconds_of_each_run']):.2f}",
            "median (s)": f"{row['seconds']:.2f}",
            "slowest (s)": f"{max(row['seconds_of_each_run']):.2f}",
        }
        for row in rows
        if len(row.get("seconds_of_each_run", ())) > 1
    ]
    head = f"## Noise\n\n{conditions['repeat']} interleaved repeats"
    return f"{head}.\n\n{_table(spread)}" if spread else f"{head}: no spread to show."


def _table(rows: Sequence[Row]) -> str:
    if not rows:
        return "Nothing measured."
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += [
        "| " + " | ".join(str(row.get(column, "")) for column in columns) + " |" for row in rows
    ]
    return "\n".join(lines)


def main() -> int:
    """Read the results beside this file and write the page."""
    rows = json.loads((HERE / "results.json").read_text())
    conditions = json.loads((HERE / "conditions.json").read_text())
    extras = [json.loads(path.read_text()) for path in sorted(HERE.glob("results-*.json"))]
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(rows, conditions, extras))
    print(f"rendered docs/{PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
