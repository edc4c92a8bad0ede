"""docs/cost.md says what requests cost: they are counted here, and its figures are these.

To count anew into docs/cost.json, run this file with CLOUDMIG_RECORD_COST and CLOUDMIG_ACCEPTANCE
set; `python -m docs.render_cost` then writes the page.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from docs.render_cost import COUNTED, PAGE, render
from tests.lambdas.cloud import Artifacts, Cloud
from tests.lambdas.counting_moto import CountingMoto
from tests.lambdas.test_story import assert_all_agree, migrated

STUDIES = 4
#: Instances of a study: two sizes tell what is of a study from what is of an object.
SMALL, LARGE = 5, 15
#: How the functions read. The requests are the same; the acceptance looks whether they are.
READS = ["checksum", "stream"] if os.environ.get("CLOUDMIG_ACCEPTANCE") else ["checksum"]
FUNCTIONS = ("verify_object", "verify_study")


def test_the_page_is_what_its_figures_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(json.loads(COUNTED.read_bytes()))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("read", READS)
def test_the_requests_of_a_migration_are_those_of_the_page(
    moto: CountingMoto, artifacts: Artifacts, tmp_path: Path, read: str
) -> None:
    small = counted(moto, artifacts, tmp_path / "small", read, SMALL)
    large = counted(moto, artifacts, tmp_path / "large", read, LARGE)
    more = STUDIES * (LARGE - SMALL)
    found = {}
    for function in FUNCTIONS:
        for operation in sorted(small[function] | large[function]):
            few, many = small[function][operation], large[function][operation]
            of_object = (many - few) / more
            of_study = (few - of_object * STUDIES * SMALL) / STUDIES
            found[f"{function} {operation}"] = [round(of_object, 2), round(of_study, 2)]

    if os.environ.get("CLOUDMIG_RECORD_COST"):
        kept = json.loads(COUNTED.read_bytes()) if COUNTED.exists() else {}
        kept[read] = found
        kept["item_bytes"] = large["bytes"]["item"]
        kept["log_bytes_per_object"] = round(large["bytes"]["log"] / (STUDIES * LARGE))
        COUNTED.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    page = json.loads(COUNTED.read_bytes())[read]
    # How full a batch is depends on the machine, and so does, for an object in twenty, whether its
    # study was judged while it was looked at; the rest does not.
    assert found.keys() == page.keys()
    for name, (of_object, of_study) in found.items():
        slack = 0.15 if "Batch" in name else 0.1
        assert of_object == pytest.approx(page[name][0], abs=slack), name
        if "Batch" not in name:
            assert of_study == pytest.approx(page[name][1], abs=0.9), name  # Not a whole one.


def counted(
    moto: CountingMoto, artifacts: Artifacts, folder: Path, read: str, instances: int
) -> dict[str, Counter[str]]:
    """Migrate and verify, and return the requests of each function."""
    (folder / "logs").mkdir(parents=True)
    cloud = Cloud(moto, artifacts, folder / "logs", environment={"READ": read})
    with migrated(cloud, folder, STUDIES, series=(instances,)):
        before = moto.counts()
        # One after the other, as it is where a manifest comes after its study's images.
        cloud.settle("verify_object")
        cloud.settle("verify_study")
        after = moto.counts()
        assert_all_agree(cloud, STUDIES)
        items = cloud.items()
    told = {name: Counter(after[name]) - Counter(before.get(name, {})) for name in FUNCTIONS}
    objects = [each for key, each in items.items() if key[1].endswith(".dcm")]
    largest = max(sum(len(name) + len(str(each[name])) for name in each) for each in objects)
    log = sum(len(line) + 1 for line in cloud.logs().splitlines() if "(rapid)" not in line)
    return told | {"bytes": Counter({"item": largest, "log": log})}
