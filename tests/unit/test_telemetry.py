"""Pseudonyms, events and log lines: useful to an operator, silent about patients."""

from __future__ import annotations

import datetime as dt
import io
import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from cloudmig.errors import CatalogError, SourceUnavailable
from cloudmig.telemetry import (
    JsonLinesReporter,
    Pseudonyms,
    get_logger,
    set_up_logging,
    traceback_text,
)

UID = "1.2.276.0.7230010.3.1.2.8323329.1"
NAMES = Pseudonyms(b"k" * 32)


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    out = io.StringIO()
    set_up_logging("debug", NAMES, out)
    yield out
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_pseudonym_is_stable_in_one_installation_and_differs_in_another(tmp_path: Path) -> None:
    here = Pseudonyms.from_state_dir(tmp_path / "a")

    assert here.of(UID) == Pseudonyms.from_state_dir(tmp_path / "a").of(UID)
    assert here.of(UID) != Pseudonyms.from_state_dir(tmp_path / "b").of(UID)
    assert here.of(UID).startswith("st-")


def test_the_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    Pseudonyms.from_state_dir(tmp_path)

    [secret] = tmp_path.iterdir()
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_a_damaged_secret_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "pseudonyms.key").write_bytes(b"short")

    with pytest.raises(CatalogError, match="damaged") as caught:
        Pseudonyms.from_state_dir(tmp_path)
    assert "backup" in caught.value.hint


def test_two_patients_are_told_apart_and_neither_is_named() -> None:
    keys = {NAMES.of_patient("123", "A"), NAMES.of_patient("123", "B"), NAMES.of_patient("12", "3")}

    assert len(keys) == 3
    assert NAMES.of_patient("  ", "A") == ""


def test_an_event_is_one_line_with_pseudonyms_under_plain_names() -> None:
    out = io.StringIO()
    reporter = JsonLinesReporter(NAMES, out, now=lambda: dt.datetime(2026, 3, 1, tzinfo=dt.UTC))

    reporter.event(
        "instance.stored", study_instance_uid=UID, sop_instance_uid=f"{UID}.9", bytes=525_000,
        patient_name="CANARY^NAME", detail={"patient_id": "CANARY"}, where=f"at {UID}",
    )  # fmt: skip

    [line] = out.getvalue().splitlines()
    event = json.loads(line)
    assert event["at"] == "2026-03-01T00:00:00.000Z"
    assert event["event"] == "instance.stored"
    assert event["study"] == NAMES.of(UID)
    assert event["instance"] == NAMES.of(f"{UID}.9", "in")
    assert event["bytes"] == 525_000
    assert "CANARY" not in line
    assert UID not in line


def test_log_lines_of_ours_and_of_libraries_hold_no_patient_and_no_uid(
    log_lines: io.StringIO,
) -> None:
    get_logger("cloudmig.x").info("found", PatientName="CANARY^NAME", study=UID)
    get_logger("cloudmig.x").debug(f"asked for {UID}")
    logging.getLogger("some.library").warning("got %s", UID)
    logging.getLogger("pynetdicom.events").error("CANARY^NAME")

    text = log_lines.getvalue()
    assert "CANARY" not in text
    assert UID not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["level"] for line in lines] == ["info", "debug", "warning"]
    assert lines[0]["study"] == NAMES.of(UID)
    assert lines[0]["logger"] == "cloudmig.x"


def test_a_logged_exception_shows_where_and_not_what(log_lines: io.StringIO) -> None:
    try:
        raise KeyError("CANARY^NAME")
    except KeyError:
        get_logger("cloudmig.x").exception("step failed")

    line = json.loads(log_lines.getvalue())
    assert "builtins.KeyError" in line["exception"]
    assert "test_telemetry.py" in line["exception"]
    assert "CANARY" not in log_lines.getvalue()


def test_a_traceback_keeps_our_words_and_drops_foreign_ones() -> None:
    try:
        try:
            raise ValueError("CANARY^NAME")
        except ValueError as error:
            raise SourceUnavailable("no answer") from error
    except SourceUnavailable as error:
        text = traceback_text(error)

    assert "SourceUnavailable: no answer" in text
    assert "builtins.ValueError" in text
    assert "CANARY" not in text


def test_versions_addresses_and_uids_of_the_standard_stay_readable() -> None:
    text = "v3.0.4 at 10.0.0.7:104 with 1.2.840.10008.1.2.1"

    assert NAMES.in_text(text) == text
