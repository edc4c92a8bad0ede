"""The retrieval report in a real browser: it asks nobody for anything, and nothing overlaps.

CLOUDMIG_REWRITE_SCREENSHOT=1 takes the picture of the README from it, of two dozen probes.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloudmig.agent.sla.probing import probe_stores
from cloudmig.agent.sla.report import make_report
from cloudmig.bootstrap import open_catalog_only
from cloudmig.catalog import Catalog
from cloudmig.catalog.records import RestoreRow
from cloudmig.config import load
from tests.contract.faulty_proxy import FaultyProxy
from tests.contract.moto_bucket import moto_endpoint
from tests.integration.retrieval_world import SlowProxy, TieredArchive
from tests.peers.launch.chromium import visit

ROOT = Path(__file__).parents[2]
REWRITE = bool(os.environ.get("CLOUDMIG_REWRITE_SCREENSHOT"))
PROBES = 24 if REWRITE else 4
SLA = """
objective = 0.9
samples = 10
[sla.tiers.STANDARD]
first_byte_s = 0.2
first_instance_s = 0.3
study_s = 1
[sla.tiers.GLACIER_IR]
first_byte_s = 0.3
first_instance_s = 0.4
study_s = 1.5
"""

#: Every two texts of a picture that overlap, and whether the page is wider than its window.
MEASURE = """<pre id=measured></pre><script>
const found = [];
for (const picture of document.querySelectorAll('svg')) {
  const boxes = [...picture.querySelectorAll('text')].map(
    text => [text.textContent, text.getBoundingClientRect()]);
  boxes.forEach(([one, a], place) => {
    for (const [other, b] of boxes.slice(place + 1))
      if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
        found.push(`${one} / ${other}`);
  });
}
const wide = document.documentElement.scrollWidth > window.innerWidth;
document.getElementById('measured').textContent = JSON.stringify({found, wide});
</script>"""


@dataclass
class UnsteadyProxy(SlowProxy):
    """No two answers take the same time, as from a store far away."""

    def __post_init__(self) -> None:
        self.dice = random.Random(7)

    async def _forward(self, request_line: str, headers: dict[str, str], body: bytes) -> bytes:
        await asyncio.sleep(self.delay_s * self.dice.lognormvariate(0, 0.4))
        return await FaultyProxy._forward(self, request_line, headers, body)


async def reported(archive: TieredArchive) -> Path:
    """Probe with a store that is slow for a while; note some restores; write the report."""
    async with UnsteadyProxy(archive.endpoint).running() as proxy:
        archive.configure(endpoint=proxy.endpoint, sla=SLA)
        for number in range(PROBES):
            is_slow = number in range(PROBES // 2, PROBES // 2 + max(1, PROBES // 7))
            proxy.delay_s = 0.25 if is_slow else 0.03
            async with open_catalog_only(load(archive.world.config)) as parts:
                await probe_stores(parts, samples=10 if REWRITE else 2)
    async with open_catalog_only(load(archive.world.config)) as parts:
        if not REWRITE:
            await note_restores(parts.catalog.call, parts.now())
        return (await make_report(parts, days=1)).path


async def note_restores(call, now: dt.datetime) -> None:  # noqa: ANN001
    """Restores of hours: no emulator takes that long, so their times are made up."""
    for number, took_h in enumerate((5, 7.5, 8, 9, 11, 11.9, 13, 16)):
        told = RestoreRow(
            destination="archive", source="main", key=f"v1/main/0a/1.2.3/1.2.3.4/1.{number}.dcm",
            version_id="",
            storage_class="DEEP_ARCHIVE", tier="Standard", promised_s=12 * 3600,
            asked_at=now - dt.timedelta(hours=took_h), completed_at=now, took_s=took_h * 3600,
        )  # fmt: skip
        await call(
            Catalog.record_restore, told, now, study_instance_uid="1.2.3",
            sop_instance_uid=f"1.{number}",
        )  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with moto_endpoint() as endpoint:
        archive = TieredArchive.migrated(
            tmp_path_factory.mktemp("archive"), endpoint, studies=60,
            images=4 if REWRITE else 1, pixels=256 if REWRITE else 64,
        )  # fmt: skip
        yield asyncio.run(reported(archive))


def test_the_browser_has_no_complaint_and_asks_nobody(page: Path, tmp_path: Path) -> None:
    seen = visit(page, tmp_path)

    assert not seen.console
    assert "<svg" in seen.dom
    assert not seen.asked


def test_a_page_that_asked_somebody_would_be_found(page: Path, tmp_path: Path) -> None:
    """The eyes of the test above are open."""
    text = page.read_text(encoding="utf-8")
    asking = tmp_path / "asking.html"
    head, policy, rest = text.partition("<meta http-equiv")
    asking.write_text(
        head + rest.partition(">")[2] + '<img src="http://127.0.0.1:9/x.png"><script>x()</script>',
        encoding="utf-8",
    )

    seen = visit(asking, tmp_path)

    assert policy
    assert "http://127.0.0.1:9/x.png" in seen.asked
    assert seen.console


@pytest.mark.parametrize("width", [1000, 500])
def test_no_text_lies_on_another_and_nothing_is_cut_off(
    page: Path, tmp_path: Path, width: int
) -> None:
    text = page.read_text(encoding="utf-8")
    head, _, rest = text.partition("<meta http-equiv")
    measured = tmp_path / "measured.html"
    measured.write_text(
        (head + rest.partition(">")[2]).replace("</html>", f"{MEASURE}</html>"), encoding="utf-8"
    )

    seen = visit(measured, tmp_path, width=width)

    found = json.loads(re.search(r'<pre id="measured">(.*?)</pre>', seen.dom)[1])  # type: ignore[index]
    assert found == {"found": [], "wide": False}


@pytest.mark.parametrize("dark", [False, True])
def test_it_can_be_looked_at_by_day_and_by_night(page: Path, tmp_path: Path, dark: bool) -> None:
    picture = tmp_path / "report.png"

    visit(page, tmp_path, height=1185, dark=dark, picture=picture)

    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 50_000, "more than an empty page"
    if REWRITE and not dark:
        (ROOT / "docs" / "images" / "sla-report.png").write_bytes(picture.read_bytes())


def test_the_picture_in_the_readme_is_small_enough_to_be_loaded() -> None:
    assert (ROOT / "docs" / "images" / "sla-report.png").stat().st_size < 300_000
