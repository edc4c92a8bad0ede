"""The scripted PACS as a process: prints one JSON line when it listens, ends when stdin does."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Sequence

from cloudmig.demo.archive import demo_archive
from cloudmig.demo.pacs.script import Script
from cloudmig.demo.pacs.server import ScriptedPacs


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until standard input ends: so it cannot outlive whoever started it."""
    parser = argparse.ArgumentParser(prog="python -m cloudmig.demo.pacs", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--aet", default="LEGACYPACS")
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--today", type=dt.date.fromisoformat, default=None, help="the archive's last day"
    )
    parser.add_argument(
        "--to", action="append", default=[], metavar="AET=HOST:PORT", help="a C-MOVE destination"
    )
    parser.add_argument("--script", type=Script.from_json, help="habits, as JSON")
    parser.add_argument("--well-behaved", action="store_true", help="no oddities and no script")
    told = parser.parse_args(arguments)
    today = told.today or dt.datetime.now(dt.UTC).date()
    archive = demo_archive(
        told.studies, today=today, seed=told.seed, well_behaved=told.well_behaved
    )
    script = told.script or archive.script
    destinations = {}
    for entry in told.to:
        aet, _, address = entry.partition("=")
        host, _, port = address.rpartition(":")
        destinations[aet] = (host, int(port))
    pacs = ScriptedPacs(
        archive.studies, script, destinations=destinations,
        aet=told.aet, host=told.host, port=told.port,
    )  # fmt: skip
    with pacs:
        listening = {"event": "pacs.listening", "host": pacs.host, "port": pacs.port,
                     "aet": pacs.aet, "studies": len(archive.studies)}  # fmt: skip
        sys.stdout.write(json.dumps(listening) + "\n")
        sys.stdout.flush()
        try:
            sys.stdin.read()
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
