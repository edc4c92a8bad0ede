"""A DICOMweb source in trouble: what came counts, the rest is told, nothing is left behind."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cloudmig.demo.studies import Study
from cloudmig.dicomweb import DicomWebClient, DicomWebFailed, HttpLimits
from cloudmig.errors import QueryTruncated, SourceBusy, SourceRefused, SourceUnavailable
from cloudmig.model.references import StudyRef
from cloudmig.model.window import StudyQuestion
from cloudmig.ports import RetrieveRequest
from cloudmig.sources.dicomweb import WebSource, WebSourceOptions
from cloudmig.sources.dicomweb.lanes import RequestLanes
from tests.contract.source_contract import an_area, expected_of, given_back, pull, whole
from tests.contract.web_archive import CANARY, Broken, ScriptedArchive, WebScript
from tests.integration.migration_world import a_study

STUDY = a_study(1, series=(4, 3))
STUDIES = [a_study(number, series=(2,)) for number in range(1, 8)]
UIDS = [each.sop_instance_uid for each in STUDY.instances()]
#: A file, and what a server makes of it that compresses everything.
WHOLE = next(iter(STUDY.instances())).part10()
PACKED = gzip.compress(WHOLE, mtime=0)


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudmig.sources.dicomweb.lanes._BUSY_RESTS_S", (0.0, 0.0, 0.0))


@asynccontextmanager
async def a_source(
    folder: Path,
    studies: Sequence[Study] = (STUDY,),
    script: WebScript = WebScript(),  # noqa: B008 - frozen
    *,
    breaks: Sequence[Broken] = (),
    **options: Any,  # noqa: ANN401
) -> AsyncIterator[tuple[WebSource, ScriptedArchive]]:
    async with ScriptedArchive(studies, script, breaks=list(breaks)).running() as archive:
        limits = HttpLimits(connect_max_s=2, silence_max_s=0.5, total_max_s=20)
        told = {"lanes": 2, "object_bytes_max": 1 << 30, "page_rows": 3, **options}
        source = WebSource(
            WebSourceOptions(name="web", **told), DicomWebClient(archive.url, limits=limits),
            an_area(folder), patient_key=lambda _patient_id, _issuer: "",
        )  # fmt: skip
        try:
            yield source, archive
        finally:
            await source.close()
        assert given_back(source.area)


def narrow(study: Study = STUDY) -> RetrieveRequest:
    return RetrieveRequest(StudyRef(study.study_instance_uid), expected_of(study), narrow=True)


# Searches


async def found(source: WebSource) -> list[object]:
    return [each.study async for each in source.find_studies(StudyQuestion())]


async def test_pages_are_gone_through_by_what_came(tmp_path: Path) -> None:
    async with a_source(tmp_path, STUDIES, WebScript(page_rows_max=2)) as (source, archive):
        assert len(await found(source)) == len(STUDIES)

    offsets = [search.partition("offset=")[2].partition("&")[0] for search in archive.searches]
    assert offsets == ["", "2", "4", "6", "7"], "and once more: a short page may not be the last"


async def test_a_page_from_which_studies_were_left_out_is_not_the_last(tmp_path: Path) -> None:
    """Some cut out a page first, and then leave out what was rejected or is not for us."""
    hidden = frozenset({STUDIES[3].study_instance_uid})
    async with a_source(tmp_path, STUDIES, WebScript(hidden=hidden)) as (source, _):
        studies = await found(source)

    assert set(studies) == {StudyRef(each.study_instance_uid) for each in STUDIES} - {
        StudyRef(uid) for uid in hidden
    }


async def test_pages_in_changing_orders_are_no_whole_answer(tmp_path: Path) -> None:
    """What one page repeats, another has left out, and nothing tells what."""
    async with a_source(tmp_path, STUDIES, WebScript(reorders=True)) as (source, _):
        with pytest.raises(QueryTruncated, match="order"):
            await found(source)


async def test_the_end_of_a_page_may_be_repeated_by_the_next(tmp_path: Path) -> None:
    """So it is where something new came before it meanwhile, and nothing is left out then."""
    async with a_source(tmp_path, STUDIES, WebScript(repeats_last_row=True)) as (source, _):
        assert len(set(await found(source))) == len(STUDIES)


async def test_the_first_short_page_is_not_believed_to_be_the_last(tmp_path: Path) -> None:
    """It may be what the archive gives at once."""
    async with a_source(tmp_path, STUDIES[:2]) as (source, archive):
        assert len(await found(source)) == 2

    assert len(archive.searches) == 2


@pytest.mark.parametrize("says_more", ["206", "warning"])
async def test_an_archive_that_promises_more_and_repeats_itself_is_not_believed(
    says_more: str, tmp_path: Path
) -> None:
    script = WebScript(page_rows_max=2, ignores_offset=True, says_more=says_more)
    async with a_source(tmp_path, STUDIES, script) as (source, _):
        with pytest.raises(QueryTruncated):
            await found(source)


async def test_full_pages_that_repeat_themselves_are_a_cut_answer(tmp_path: Path) -> None:
    async with a_source(tmp_path, STUDIES, WebScript(ignores_offset=True)) as (source, _):
        with pytest.raises(QueryTruncated, match="offset"):
            await found(source)


async def test_a_list_that_is_cut_does_not_pass_for_a_whole_one(tmp_path: Path) -> None:
    script = WebScript(ignores_offset=True, included_counts=False)
    async with a_source(tmp_path, [STUDY], script) as (source, _):
        listing = await source.list_instances(StudyRef(STUDY.study_instance_uid))

    assert not listing.complete
    assert CANARY not in str(listing.notes)


@pytest.mark.parametrize("script", [
    WebScript(not_listed=frozenset(UIDS[:1])), WebScript(wrong_series_rows=True),
    WebScript(knows_path_of=frozenset()),
], ids=["fewer than counted", "rows of another series", "404"])  # fmt: skip
async def test_a_list_that_contradicts_itself_is_not_complete(
    script: WebScript, tmp_path: Path
) -> None:
    async with a_source(tmp_path, script=script) as (source, _):
        listing = await source.list_instances(StudyRef(STUDY.study_instance_uid))

    assert not listing.complete
    assert listing.notes


@pytest.mark.parametrize(("status", "kind"), [
    (401, SourceRefused), (403, SourceRefused), (302, SourceRefused), (501, SourceRefused),
    (429, SourceBusy), (503, SourceBusy), (500, SourceUnavailable), (413, QueryTruncated),
    (400, SourceRefused),
])  # fmt: skip
async def test_what_a_status_of_a_search_means(
    status: int, kind: type[Exception], tmp_path: Path
) -> None:
    async with a_source(tmp_path) as (source, archive):
        archive.search_statuses = [status] * 4
        with pytest.raises(kind) as caught:
            await found(source)

    assert CANARY not in str(caught.value)
    assert kind not in {SourceRefused, SourceBusy} or getattr(caught.value, "hint", "")


@pytest.mark.parametrize("status", [429, 503])
async def test_a_search_that_finds_the_archive_busy_is_made_again(
    status: int, tmp_path: Path
) -> None:
    async with a_source(tmp_path, STUDIES) as (source, archive):
        archive.search_statuses = [status, status, status, 0, status]

        assert len(await found(source)) == len(STUDIES)


# Retrieves


@pytest.mark.parametrize("how", ["reset", "half", "ends", "silent"])
async def test_what_came_before_a_break_is_handed_over(how: str, tmp_path: Path) -> None:
    breaks = [Broken(how=how, after=3)]
    async with a_source(tmp_path, breaks=breaks) as (source, _):
        arrived, _, gone = await pull(source, whole(STUDY))

        assert isinstance(gone, SourceUnavailable)
        got = {each.instance.sop_instance_uid for each in arrived if each.instance}
        # Of the third, the last delimiter was not yet there to see.
        assert got in (set(UIDS[:3]), set(UIDS[:2]))


@pytest.mark.parametrize(("script", "status"), [
    (WebScript(empty_answers=True), 200), (WebScript(missing=frozenset(UIDS)), 404),
    (WebScript(fails=frozenset(UIDS[:1])), 500),
], ids=["200 with nothing", "404", "500"])  # fmt: skip
async def test_an_answer_without_objects_is_evidence_and_no_outage(
    script: WebScript, status: int, tmp_path: Path
) -> None:
    async with a_source(tmp_path, script=script) as (source, _):
        arrived, evidence, gone = await pull(source, whole(STUDY))

    assert (arrived, evidence.status, gone) == ([], status, None)


async def test_a_wrong_boundary_is_no_answer(tmp_path: Path) -> None:
    async with a_source(tmp_path, script=WebScript(boundary_told="other")) as (source, _):
        arrived, _, gone = await pull(source, whole(STUDY))

    assert arrived == []
    assert isinstance(gone, SourceUnavailable)


@pytest.mark.parametrize(
    ("head", "body", "said"),
    [
        ("HTTP/1.0 200 OK", WHOLE[:-100], "where the object ends"),
        (
            f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(PACKED) - 100}",
            PACKED[:-100],
            "comes compressed",
        ),
    ],
    ids=["the connection", "what is compressed"],
)
async def test_an_object_whose_end_nothing_else_tells_is_no_whole_one(
    head: str, body: bytes, said: str
) -> None:
    """One that broke off looks like any other."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"{head}\r\nContent-Type: application/dicom\r\n\r\n".encode() + body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    client = DicomWebClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    instance = next(iter(expected_of(STUDY).values())).instance
    async with server, AsyncExitStack() as closing:
        closing.push_async_callback(client.close)
        with pytest.raises(DicomWebFailed, match=said):
            async with client.retrieve_parts("/studies/1.2", accept="*/*"):
                pass
        with pytest.raises(DicomWebFailed, match=said):
            await anext(client.retrieve(instance))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_empty_answer_that_ends_with_the_connection_is_no_empty_list(version: str) -> None:
    """One that broke off behind its head looks the same."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/{version} 200 OK\r\nContent-Type: application/json\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    client = DicomWebClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server, AsyncExitStack() as closing:
        closing.push_async_callback(client.close)
        with pytest.raises(DicomWebFailed, match="where the answer ends"):
            await client.search("/studies", [])
        with pytest.raises(DicomWebFailed, match="where the answer ends"):
            await client.find_instances(StudyRef("1.2"))


async def test_one_bad_instance_of_many_is_counted_and_no_outage(tmp_path: Path) -> None:
    script = WebScript(deadly=frozenset(UIDS[2:3]), missing=frozenset(UIDS[4:5]))
    async with a_source(tmp_path, script=script) as (source, archive):
        arrived, evidence, gone = await pull(source, narrow())

    assert gone is None
    assert evidence.failed == 2
    assert len(arrived) == len(UIDS) - 2
    assert archive.at_once_max <= 2


@pytest.mark.parametrize("script", [
    WebScript(fails=frozenset(UIDS)), WebScript(empty_answers=True), WebScript(login_page=True),
], ids=["500", "200 with nothing", "200 with a page"])  # fmt: skip
async def test_an_archive_that_fails_at_everything_is_left_alone_soon(
    script: WebScript, tmp_path: Path
) -> None:
    async with a_source(tmp_path, script=script) as (source, archive):
        arrived, _, gone = await pull(source, narrow())

    assert arrived == []
    assert isinstance(gone, SourceUnavailable)
    assert CANARY not in str(gone)
    assert sum(archive.retrieved.values()) <= 4


@pytest.mark.parametrize(("status", "kind"), [
    (401, SourceRefused), (403, SourceRefused), (302, SourceRefused), (405, SourceRefused),
    (406, SourceRefused), (429, SourceBusy), (502, SourceBusy), (503, SourceBusy),
])  # fmt: skip
async def test_what_a_status_of_a_retrieve_means_for_the_whole_source(
    status: int, kind: type[Exception], tmp_path: Path
) -> None:
    breaks = [Broken(status=status, headers=(("Location", "http://127.0.0.1:9/"),))] * 4
    async with a_source(tmp_path, breaks=breaks) as (source, archive):
        _, _, gone = await pull(source, whole(STUDY))

    assert type(gone) is kind
    times = 4 if kind is SourceBusy else 1
    assert sum(archive.retrieved.values()) == times, "nothing is followed"


async def test_a_retrieve_that_finds_the_archive_busy_is_made_again(tmp_path: Path) -> None:
    breaks = [Broken(status=429), Broken(status=503), Broken(status=503)]
    async with a_source(tmp_path, breaks=breaks) as (source, _):
        arrived, evidence, gone = await pull(source, whole(STUDY))

    assert (len(arrived), evidence.status, gone) == (len(UIDS), 200, None)


async def test_406_for_one_of_many_is_about_that_one(tmp_path: Path) -> None:
    async with a_source(tmp_path) as (source, archive):
        await pull(source, whole(STUDY))
        archive.breaks = [Broken(status=406)]
        _, evidence, gone = await pull(source, narrow())

    assert gone is None
    assert evidence.failed == 1


async def test_an_object_too_large_hides_no_other_when_asked_one_by_one(tmp_path: Path) -> None:
    sizes = [len(each.data_set()) for each in STUDY.instances()]
    async with a_source(tmp_path) as (source, archive):
        first = STUDY.instances()[0]
        archive.replaced[UIDS[0]] = first.part10() + bytes(max(sizes))
        source.options = WebSourceOptions(
            name="web", lanes=2, object_bytes_max=max(sizes), page_rows=3
        )
        arrived, evidence, gone = await pull(source, narrow())

    assert gone is None
    assert evidence.too_large == {UIDS[0]}
    assert len(arrived) == len(UIDS) - 1


async def test_strays_are_counted_and_not_kept(tmp_path: Path) -> None:
    async with a_source(tmp_path, STUDIES, WebScript(strays=2)) as (source, _):
        arrived, evidence, _ = await pull(source, whole(STUDIES[0]))

    assert evidence.strays == 2
    assert {each.instance.study_instance_uid for each in arrived if each.instance} == {
        STUDIES[0].study_instance_uid
    }


async def test_a_slow_taker_slows_the_archive_down_and_nothing_gathers(tmp_path: Path) -> None:
    """Credit for the next object is waited for between objects."""
    async with a_source(tmp_path) as (source, _):
        source.area.memory.bytes_max = 4 << 20
        async with source.retrieve(whole(STUDY)) as retrieval:
            arrivals = aiter(retrieval)
            first = await anext(arrivals)
            await asyncio.sleep(0.2)
            assert source.area.memory.bytes_used <= source.area.memory.bytes_max
            first.settle(stored=True)
            rest = 0
            async for arrival in arrivals:
                arrival.settle(stored=True)
                rest += 1
        assert rest == len(UIDS) - 1


# Lanes


async def test_a_retry_after_is_kept_by_everybody() -> None:
    lanes = RequestLanes(4)
    loop = asyncio.get_running_loop()
    lanes.slower(0.2)
    begun_s = loop.time()
    async with lanes.lane():
        waited_s = loop.time() - begun_s

    assert waited_s >= 0.19
    assert lanes.budget == 2
    for _ in range(20):
        lanes.faster()
    assert lanes.budget == 4


async def test_an_archive_that_stays_busy_is_asked_a_few_times_and_rests_longer_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cloudmig.sources.dicomweb.lanes._BUSY_RESTS_S", (0.05, 0.1))
    lanes, asked_at_s = RequestLanes(2), []

    async def ask() -> None:
        async with lanes.lane():
            asked_at_s.append(asyncio.get_running_loop().time())
            raise SourceBusy("busy")

    with pytest.raises(SourceBusy):
        await lanes.insist(ask)

    first, second, third = asked_at_s
    assert second - first >= 0.05
    assert third - second >= 0.1


async def test_a_lane_is_given_back_by_whoever_is_cancelled() -> None:
    lanes = RequestLanes(1)
    lanes.slower(30)

    async def use() -> None:
        async with lanes.lane():
            raise AssertionError("it rests")

    using = asyncio.create_task(use())
    await asyncio.sleep(0.01)
    using.cancel()
    await asyncio.wait([using])

    assert lanes._in_use == 0
