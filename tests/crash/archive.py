"""The archive of the crash tests, and a PACS of its own process that holds it.

python -m tests.crash.archive --studies 100 --to CLOUDMIG=127.0.0.1:11112
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from pathlib import Path

from cloudmig.demo.oddities import heavy
from cloudmig.demo.pacs import Script, ScriptedPacs
from cloudmig.demo.studies import Study, StudyMaker
from tests.peers.loading import Loaded
from tests.peers.part10 import dataset_sha256

__all__ = ["crash_archive", "truth_of"]

_TODAY = dt.date(2026, 1, 1)
_HEAVY_EVERY = 4
_HEAVY_EXTRA_BYTES = 700_000


def crash_archive(count: int) -> list[Study]:
    """Make small studies; every fourth has one object that is large by the measure here."""
    made = StudyMaker(_TODAY, instances_per_series_max=2).archive(count)
    return [
        heavy(study, 0, extra_bytes=_HEAVY_EXTRA_BYTES) if n % _HEAVY_EVERY == 0 else study
        for n, study in enumerate(made)
    ]


def truth_of(studies: list[Study], folder: Path) -> list[Loaded]:
    """Write every instance as a file and describe it for the judge."""
    records = []
    for study in studies:
        for instance in study.instances():
            path = folder / f"{instance.sop_instance_uid}.dcm"
            content = instance.part10()
            path.write_bytes(content)
            records.append(
                Loaded(
                    path=str(path),
                    sop_class_uid=str(instance.sop_class_uid),
                    sop_instance_uid=instance.sop_instance_uid,
                    study_instance_uid=instance.study_instance_uid,
                    series_instance_uid=instance.series_instance_uid,
                    transfer_syntax_uid=str(instance.transfer_syntax_uid),
                    dataset_sha256=dataset_sha256(content),
                    status=0,
                )
            )
    return records


def main() -> int:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, required=True)
    parser.add_argument("--to", required=True, metavar="AET=HOST:PORT")
    given = parser.parse_args()
    aet, _, address = given.to.partition("=")
    host, _, port = address.rpartition(":")
    script = Script()
    with ScriptedPacs(
        crash_archive(given.studies), script, destinations={aet: (host, int(port))}
    ) as pacs:
        sys.stdout.write(json.dumps({"host": pacs.host, "port": pacs.port, "aet": pacs.aet}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
