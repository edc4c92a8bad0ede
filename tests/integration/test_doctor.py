"""The doctor names every planted fault in one run, and its hints, followed, clear them."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import resource
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from cloudmig.agent.doctor import Finding, Verdict, examine
from cloudmig.agent.doctor.catalog_access import check_catalog
from cloudmig.agent.doctor.folder import check_folder
from cloudmig.agent.doctor.machine import check_state_dir
from cloudmig.config import parse
from cloudmig.demo.archive import demo_archive
from cloudmig.demo.pacs import Script, ScriptedPacs
from tests.integration.doctor_world import Gate, StrictStore
from tests.integration.migration_world import a_study, free_port

STUDIES = demo_archive(10, today=dt.date(2026, 3, 1), seed=4, well_behaved=True).studies
NOBODY = 1  #: A port on which nothing listens.


def a_pacs(aet: str, script: Script | None = None, **destinations: int) -> ScriptedPacs:
    to = {title: ("127.0.0.1", port) for title, port in destinations.items()}
    return ScriptedPacs(STUDIES, script, destinations=to, aet=aet)


def a_source(pacs: ScriptedPacs, our_aet: str, **settings: object) -> dict[str, Any]:
    return {
        "archive": our_aet.lower(), "host": pacs.host, "port": pacs.port, "aet": pacs.aet,
        "ae_titles": [our_aet], "grace_s": 1, **settings,
    }  # fmt: skip


def a_destination(store: StrictStore, **settings: object) -> dict[str, Any]:
    return {
        "url": "s3://images", "endpoint": store.endpoint, "access_key_id": "GOOD",
        "secret_access_key": "hushhush", **settings,
    }  # fmt: skip


def a_file(tmp_path: Path, port: int) -> dict[str, Any]:
    return {
        "agent": {"name": "test", "state_dir": str(tmp_path / "state"), "spool_bytes_max": "1 MiB"},
        "listen": {"host": "127.0.0.1", "port": port},
        "sources": {},
        "destinations": {},
        "rules": [{"name": "everything stays", "keep_on_site": True}],
    }


async def problems(data: dict[str, Any]) -> dict[tuple[str, str], Finding]:
    findings = await examine(parse(data), wait_max_s=3)
    return {
        (finding.subject, finding.check): finding
        for finding in findings
        if finding.verdict is Verdict.PROBLEM
    }


@pytest.fixture
def store() -> Iterator[StrictStore]:
    with StrictStore().serving() as serving:
        yield serving


async def test_fifteen_faults_are_named_in_one_run_and_every_hint_clears_its_fault(
    tmp_path: Path, store: StrictStore
) -> None:
    port = free_port()
    (tmp_path / "file").touch()
    data = a_file(tmp_path, port)
    data["agent"] |= {
        "state_dir": str(tmp_path / "file" / "state"),
        "spool_bytes_max": "900 TiB",
        "catalog": f"postgresql+psycopg://me:pa55word@127.0.0.1:{NOBODY}/cloudmig",
    }
    with contextlib.ExitStack() as stack:
        known = stack.enter_context(a_pacs("STRICT", Script(callers=frozenset({"KNOWN"}))))
        gated = stack.enter_context(a_pacs("RIGHT"))
        gate = stack.enter_context(Gate("RIGHT", (gated.host, gated.port)).serving())
        unregistered = stack.enter_context(a_pacs("MOVER"))
        misled = stack.enter_context(a_pacs("MISLED", MISLED=NOBODY))
        no_get = stack.enter_context(a_pacs("OLD", Script(get_allowed=False), NOGET=port))
        secure = stack.enter_context(a_pacs("SECURE"))
        data["sources"] = {
            "gone": a_source(known, "GONE") | {"port": NOBODY},
            "stranger": a_source(known, "STRANGER"),
            "misnamed": a_source(gated, "MISNAMED", aet="WRONG") | {"port": gate.port},
            "unregistered": a_source(unregistered, "UNREG", retrieve="c-move"),
            "misled": a_source(misled, "MISLED", retrieve="c-move"),
            "noget": a_source(no_get, "NOGET", retrieve="c-get"),
            "secure": a_source(secure, "SECURE", tls={"ca": str(tmp_path / "ca.pem")}),
        }
        data["destinations"] = {
            "missing": a_destination(store, url="s3://other"),
            "unknown": a_destination(store, url="s3://images/a", access_key_id="WRONG"),
            "readonly": a_destination(store, url="s3://images/b", access_key_id="READONLY"),
            "blind": a_destination(store, url="s3://images/c", access_key_id="BLIND"),
            "down": a_destination(store, url="s3://images/d")
            | {"endpoint": f"http://127.0.0.1:{NOBODY}"},
        }

        found = await problems(data)

        assert set(found) == {
            ("machine", "state_dir"), ("machine", "disk"), ("catalog", "catalog"),
            ("source gone", "reachable"), ("source stranger", "calling_aet"),
            ("source misnamed", "called_aet"), ("source unregistered", "move_destination"),
            ("source misled", "move_back"), ("source noget", "retrieve"),
            ("source secure", "tls_files"), ("destination missing", "bucket"),
            ("destination unknown", "credentials"), ("destination readonly", "right_put"),
            ("destination blind", "right_read"), ("destination down", "reachable"),
        }  # fmt: skip
        words = " ".join(f"{finding.message} {finding.hint}" for finding in found.values())
        assert "hushhush" not in words
        assert "pa55word" not in words
        assert f"AE title UNREG, address 127.0.0.1, port {port}" in (
            found["source unregistered", "move_destination"].hint
        )

        # Now every hint is followed.
        data["agent"] |= {"state_dir": str(tmp_path / "state"), "catalog": "sqlite",
                          "spool_bytes_max": "1 MiB"}  # fmt: skip
        data["sources"]["gone"]["port"] = known.port
        known.script = replace(known.script, callers=frozenset({"KNOWN", "STRANGER", "GONE"}))
        data["sources"]["misnamed"]["aet"] = "RIGHT"
        unregistered.send_to("UNREG", "127.0.0.1", port)
        misled.send_to("MISLED", "127.0.0.1", port)
        data["sources"]["noget"]["retrieve"] = "c-move"
        del data["sources"]["secure"]["tls"]
        store.buckets.add("other")
        for name in ("unknown", "readonly", "blind"):
            data["destinations"][name]["access_key_id"] = "GOOD"
        data["destinations"]["down"]["endpoint"] = store.endpoint

        assert await problems(data) == {}
    assert store.objects == {}, "the doctor leaves nothing behind"
    assert not (tmp_path / "state").exists()


async def test_a_healthy_installation_has_no_problem_and_nothing_is_left_behind(
    tmp_path: Path, store: StrictStore
) -> None:
    port = free_port()
    data = a_file(tmp_path, port)
    data["destinations"]["archive"] = a_destination(store)
    with a_pacs("PACS", CLOUDMIG=port) as pacs:
        data["sources"]["main"] = a_source(pacs, "CLOUDMIG")

        findings = await examine(parse(data), wait_max_s=3)

    verdicts = {(finding.subject, finding.check): finding.verdict for finding in findings}
    assert Verdict.PROBLEM not in verdicts.values()
    assert verdicts["destination archive", "checksum"] is Verdict.OK
    assert verdicts["destination archive", "versioning"] is Verdict.WARNING
    retrieved = [finding.message for finding in findings if finding.check == "retrieve"]
    assert [message.split()[0] for message in retrieved] == ["C-GET", "C-MOVE"]
    assert store.objects == {}
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("section", ["listen", "health"])
async def test_a_taken_port_is_named_and_another_one_clears_it(
    tmp_path: Path, store: StrictStore, section: str
) -> None:
    data = a_file(tmp_path, free_port())
    data["destinations"]["archive"] = a_destination(store)
    with a_pacs("PACS") as pacs, socket.create_server(("127.0.0.1", 0)) as taken:
        data.setdefault(section, {})["port"] = taken.getsockname()[1]
        data["sources"]["main"] = a_source(pacs, "CLOUDMIG")

        found = await problems(data)

        assert list(found) == [("machine", f"{section}_port")]
        data[section]["port"] = free_port()
        assert await problems(data) == {}


async def test_with_auto_one_way_that_works_is_enough_and_the_other_is_a_warning(
    tmp_path: Path, store: StrictStore
) -> None:
    data = a_file(tmp_path, free_port())
    data["destinations"]["archive"] = a_destination(store)
    with a_pacs("PACS") as pacs:
        data["sources"]["main"] = a_source(pacs, "CLOUDMIG", retrieve="auto")

        findings = await examine(parse(data), wait_max_s=3)

    verdicts = {finding.check: finding.verdict for finding in findings}
    assert verdicts["move_destination"] is Verdict.WARNING
    assert Verdict.PROBLEM not in verdicts.values()


@pytest.mark.parametrize("sop_classes", [True, False])
async def test_where_sop_classes_are_not_named_c_move_is_advised_if_it_works(
    sop_classes: bool, tmp_path: Path, store: StrictStore
) -> None:
    """pynetdicom's qrscp names none: 28 s by C-GET, one syntax after the other; 2 s by C-MOVE."""
    port = free_port()
    data = a_file(tmp_path, port)
    data["destinations"]["archive"] = a_destination(store)
    with ScriptedPacs(
        [a_study(modality="CT")], Script(sop_classes=sop_classes),
        destinations={"CLOUDMIG": ("127.0.0.1", port)}, aet="PACS",
    ) as pacs:  # fmt: skip
        data["sources"]["main"] = a_source(pacs, "CLOUDMIG")
        findings = await examine(parse(data), wait_max_s=3)
        data["sources"]["main"]["retrieve"] = "c-get"  # As `cloudmig init` writes it.
        untried = await examine(parse(data), wait_max_s=3)
        data["sources"]["main"]["retrieve"] = "c-move"
        followed = await examine(parse(data), wait_max_s=3)

    def advice(found: list[Finding]) -> list[str]:
        warned = [finding for finding in found if finding.verdict is Verdict.WARNING]
        return [finding.hint for finding in warned if finding.check == "retrieve"]

    hint = 'Set sources.main.retrieve = "c-move".'
    assert advice(findings) == ([] if sop_classes else [hint])
    hint = 'Set sources.main.retrieve = "c-move", if the PACS can send to us.'
    assert advice(untried) == ([] if sop_classes else [hint])
    assert advice(followed) == []


async def test_a_store_that_keeps_no_promise_is_seen_through(tmp_path: Path) -> None:
    data = a_file(tmp_path, free_port())
    with a_pacs("PACS") as pacs, StrictStore(sloppy=True, clock_s=1200).serving() as sloppy:
        data["sources"]["main"] = a_source(pacs, "CLOUDMIG")
        data["destinations"]["archive"] = a_destination(sloppy)
        findings = await examine(parse(data), wait_max_s=3)
        verdicts = {finding.check: finding.verdict for finding in findings}

        assert verdicts["checksum"] is Verdict.WARNING
        assert verdicts["put_if_absent"] is Verdict.PROBLEM
        assert verdicts["clock"] is Verdict.PROBLEM

        data["destinations"]["archive"]["profile_overrides"] = {"put_if_absent": False}
        sloppy.clock_s = 0
        assert await problems(data) == {}
    assert sloppy.objects == {}


async def test_a_missing_right_to_list_is_named(tmp_path: Path, store: StrictStore) -> None:
    data = a_file(tmp_path, free_port())
    data["destinations"]["archive"] = a_destination(store, access_key_id="WRITER")
    with a_pacs("PACS") as pacs:
        data["sources"]["main"] = a_source(pacs, "CLOUDMIG")

        assert list(await problems(data)) == [("destination archive", "right_list")]


async def test_what_large_objects_need_is_tried(tmp_path: Path, store: StrictStore) -> None:
    """The first of 64 MiB would end the run."""
    data = a_file(tmp_path, free_port())
    data["destinations"]["archive"] = a_destination(store, access_key_id="SMALL")
    with a_pacs("PACS") as pacs:
        data["sources"]["main"] = a_source(pacs, "CLOUDMIG")
        denied = await problems(data)
        store.listless = True
        [(check, lacking)] = (await problems(data)).items()
        assert "{ multipart = false }" in lacking.hint
        data["destinations"]["archive"]["profile_overrides"] = {"multipart": False}
        followed = await problems(data)

    assert list(denied) == [("destination archive", "right_list_uploads")]
    assert check == ("destination archive", "multipart")
    assert followed == {}


async def test_an_expired_certificate_and_a_wrong_key_are_named(
    tmp_path: Path, store: StrictStore
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    expired = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    old = authority.issue_cert("agent", not_before=dt.datetime(2019, 1, 1, tzinfo=dt.UTC),
                               not_after=expired)  # fmt: skip
    good = authority.issue_cert("agent")
    old.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "old.pem"))
    good.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "good.pem"))
    data = a_file(tmp_path, free_port())
    data["destinations"]["archive"] = a_destination(store)

    def tls(certificate: str, key: str) -> dict[str, str]:
        names = {"ca": "ca.pem", "certificate": certificate, "key": key}
        return {name: str(tmp_path / file) for name, file in names.items()}

    with a_pacs("PACS") as pacs:
        data["sources"]["main"] = a_source(pacs, "CLOUDMIG")
        data["listen"]["tls"] = tls("old.pem", "old.pem")
        found = await problems(data)
        assert "expired" in found["machine", "tls_certificate"].message

        data["listen"]["tls"] = tls("good.pem", "old.pem")
        assert ("machine", "tls_files") in await problems(data)

        data["listen"]["tls"] = tls("good.pem", "good.pem")
        assert await problems(data) == {}


async def test_too_few_open_files_are_named(tmp_path: Path, store: StrictStore) -> None:
    data = a_file(tmp_path, free_port())
    data["destinations"]["archive"] = a_destination(store)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with a_pacs("PACS") as pacs:
        data["sources"]["main"] = a_source(pacs, "CLOUDMIG")
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
        try:
            found = await problems(data)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert "ulimit -n" in found["machine", "open_files"].hint


async def test_a_silent_pacs_ends_at_its_time_limit(tmp_path: Path, store: StrictStore) -> None:
    data = a_file(tmp_path, free_port())
    data["destinations"]["archive"] = a_destination(store)
    with socket.create_server(("127.0.0.1", 0)) as silent, a_pacs("PACS") as pacs:
        data["sources"]["main"] = a_source(pacs, "CLOUDMIG") | {"port": silent.getsockname()[1]}

        assert list(await problems(data)) == [("source main", "association")]


async def test_a_pacs_that_counts_every_connection_as_an_association_is_healthy(
    tmp_path: Path, store: StrictStore
) -> None:
    """pynetdicom holds a place for half a minute for a connection that asked for nothing."""
    data = a_file(tmp_path, free_port())
    data["destinations"]["archive"] = a_destination(store)
    with a_pacs("PACS") as pacs, Gate("PACS", (pacs.host, pacs.port)).serving() as gate:
        data["sources"]["main"] = a_source(pacs, "CLOUDMIG", retrieve="c-get") | {"port": gate.port}

        assert not await problems(data)

        assert gate.visitors > 0
        assert gate.silent_visitors == 0


async def test_a_home_that_cannot_even_be_looked_at_is_a_problem(tmp_path: Path) -> None:
    data = a_file(tmp_path, free_port())
    data["sources"]["main"] = {"archive": "main", "url": f"file://{tmp_path}/export"}
    data["destinations"]["archive"] = {"url": f"file://{tmp_path / ('n' * 300)}"}

    found = await problems(data)

    assert "File name too long" in found["destination archive", "store"].message


@contextlib.contextmanager
def a_stranger(closed: Path) -> Iterator[None]:
    """Be a user who may not look into a folder."""
    closed.chmod(0)
    user = os.geteuid()
    if user == 0:  # Whom no mode keeps out.
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        closed.chmod(0o700)


def test_the_state_of_another_user_is_a_problem_and_no_bug(tmp_path: Path) -> None:
    state, export = tmp_path / "state", tmp_path / "export"
    state.mkdir()
    export.mkdir()
    config = parse(
        {
            **a_file(tmp_path, free_port()),
            "sources": {"main": {"archive": "main", "url": export.as_uri()}},
            "destinations": {"archive": {"url": "memory://other"}},
        }
    )

    with a_stranger(state):
        [machine] = check_state_dir(config)
        [catalog] = check_catalog(config)
        index = check_folder(config, "main")[-1]

    assert [each.verdict for each in (machine, catalog, index)] == [Verdict.PROBLEM] * 3
    assert "Permission denied" in catalog.message
    assert "as the user" in catalog.hint
    assert "as the user" in index.hint
