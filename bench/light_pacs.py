"""A scripted PACS whose studies cost it next to nothing: what the soak test pulls from.

Prints one JSON line with its port when it listens, and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import struct
import sys
import zlib
from collections.abc import Iterator

from cloudmig.demo.pacs.server import ScriptedPacs
from cloudmig.demo.studies import Instance, Series, Study, StudyMaker, made_up_uid

PIXEL_BYTES = 4096
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"


class LightStudy(Study):
    """A study whose instances cost nothing to make: a hundred bytes of header, and noise."""

    def instances(self) -> list[Instance]:
        """List CT instances; each makes its data set when asked for."""
        series = self.series[0]
        return [self._light(series, number) for number in range(1, series.instances + 1)]

    def _light(self, series: Series, number: int) -> Instance:
        sop_instance_uid = made_up_uid(series.series_instance_uid, number)
        return Instance(
            self.study_instance_uid, series.series_instance_uid, sop_instance_uid,
            CT_STORAGE, EXPLICIT_LITTLE_ENDIAN, number,
            lambda: light_data_set(self, series, sop_instance_uid),
        )  # fmt: skip


def light_data_set(study: Study, series: Series, sop_instance_uid: str) -> bytes:
    """Encode the few elements a migration looks at, in explicit little endian (PS3.5 7.1.2)."""

    def element(group: int, number: int, vr: bytes, text: str) -> bytes:
        value = text.encode()
        value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
        return struct.pack("<HH2sH", group, number, vr, len(value)) + value

    pixels = bytes.fromhex(f"{zlib.crc32(sop_instance_uid.encode()) & 0xFFFF:04x}") * (
        PIXEL_BYTES // 2
    )
    return b"".join(
        (
            element(0x0008, 0x0016, b"UI", CT_STORAGE),
            element(0x0008, 0x0018, b"UI", sop_instance_uid),
            element(0x0008, 0x0020, b"DA", study.study_date),
            element(0x0008, 0x0060, b"CS", "CT"),
            element(0x0010, 0x0020, b"LO", study.patient.patient_id),
            element(0x0020, 0x000D, b"UI", study.study_instance_uid),
            element(0x0020, 0x000E, b"UI", series.series_instance_uid),
            struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, len(pixels)) + pixels,
        )
    )


def light_studies(count: int, instances: int, seed: int) -> Iterator[Study]:
    """Make studies of one CT series each."""
    maker = StudyMaker(dt.date(2026, 1, 1), seed)
    for number in range(count):
        study = maker.study(number)
        series = Series(
            made_up_uid(study.study_instance_uid, 1), 1, "CT", EXPLICIT_LITTLE_ENDIAN, instances,
            64, 32,
        )  # fmt: skip
        fields = {field.name: getattr(study, field.name) for field in dataclasses.fields(Study)}
        yield LightStudy(**{**fields, "series": (series,)})


def main() -> int:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m bench.light_pacs", description=__doc__)
    parser.add_argument("--aet", required=True)
    parser.add_argument("--studies", type=int, required=True)
    parser.add_argument("--instances", type=int, required=True, help="in each study")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--send-to", type=int, required=True, help="port of the AE title SOAK")
    told = parser.parse_args()
    studies = light_studies(told.studies, told.instances, told.seed)
    ours = {"SOAK": ("127.0.0.1", told.send_to)}
    with ScriptedPacs(studies, destinations=ours, aet=told.aet) as pacs:
        print(json.dumps({"port": pacs.port}), flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
