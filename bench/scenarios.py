"""What is measured: which archive, which PACS, which line, and how much of it by whom."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.archive import Area

#: 525 kB each, as a CT slice of 512 x 512.
CT = Area("CT", studies=20, instances_per_study=100, rows=512, columns=512)
CT_LONG = Area("CTLONG", studies=60, instances_per_study=100, rows=512, columns=512)
#: About 10 kB each.
SMALL = Area("SMALL", studies=20, instances_per_study=100, rows=68, columns=68)
SMALL_LONG = Area("SMALLLONG", studies=40, instances_per_study=100, rows=68, columns=68)
#: What is stored by STOW-RS lies in folders, without an index.
CT_FILES = Area("STOWLARGE", 40, 100, rows=512, columns=512, in_pacs=False)
SMALL_FILES = Area("STOWSMALL", 160, 100, rows=68, columns=68, in_pacs=False)
CT_WAN = Area("CTWAN", studies=12, instances_per_study=100, rows=512, columns=512)
#: One multi-frame image of 2 GB.
BIG = Area("BIG", studies=1, instances_per_study=1, rows=1024, columns=1024, frames=954)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One archive behind one PACS in front of one sink."""

    name: str
    area: Area
    nodelay: bool
    wan: bool = False
    #: The sink is moto, because an object this large needs a multipart upload.
    multipart: bool = False
    contenders: tuple[str, ...] = ("trade", "script", "cloudmig", "limit")
    #: Contenders that are timed on the first so many studies, because all would take minutes.
    studies_max: Mapping[str, int] = field(default_factory=dict)
    #: Whose instances per second the others are compared with.
    reference: str = "trade"

    @property
    def is_stow(self) -> bool:
        """Tell whether files are stored into Orthanc; else a PACS is moved into a sink."""
        return self.reference == "dicomweb-client"

    def scaled(self, scale: float) -> Scenario:
        """Return the same scenario with fewer images in every study, for a quick look."""
        if self.multipart or scale == 1:
            return self
        instances = max(2, round(self.area.instances_per_study * scale))
        area = dataclasses.replace(self.area, instances_per_study=instances)
        return dataclasses.replace(self, area=area)


STOW = (
    "dicomweb-client", "cloudmig", "port", "port-staged", "storescu", "storescu-nodelay", "orthanc",
    "stow-limit",
)  # fmt: skip
STALLED = {"trade": 3, "limit": 3, "script": 5}

SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("stock-ct", CT, nodelay=False, studies_max=STALLED),
        Scenario("stock-small", SMALL, nodelay=False, studies_max=STALLED),
        Scenario("fast-ct", CT_LONG, nodelay=True, studies_max={"trade": 20, "script": 20}),
        Scenario("fast-small", SMALL_LONG, nodelay=True, studies_max={"trade": 20, "script": 20}),
        Scenario(
            "wan-ct", CT_WAN, nodelay=True, wan=True, contenders=("trade", "script", "cloudmig")
        ),
        Scenario(
            "stow-ct",
            CT_FILES,
            nodelay=False,
            contenders=STOW,
            reference="dicomweb-client",
            studies_max=dict.fromkeys(STOW, 20) | {"cloudmig": 40, "port": 40, "storescu": 1},
        ),
        Scenario(
            "stow-small",
            SMALL_FILES,
            nodelay=False,
            contenders=STOW,
            reference="dicomweb-client",
            studies_max=dict.fromkeys(STOW, 40) | {"cloudmig": 160, "port": 160, "storescu": 1},
        ),
        Scenario("big", BIG, nodelay=True, multipart=True, contenders=("cloudmig",)),
    )
}
