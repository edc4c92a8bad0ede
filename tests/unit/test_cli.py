"""The command line: help, exit codes, errors for people and for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cloudmig.cli import main
from cloudmig.cli.invocation import ExitCode, Invocation
from cloudmig.errors import CatalogError, ConfigError, SourceRefused

GOLDEN = Path(__file__).parents[1] / "golden" / "cli"
COMMANDS = (
    "", "init", "doctor", "inventory", "files", "plan", "run", "copy", "status", "quarantine",
    "quarantine list", "quarantine show", "quarantine release", "verify", "verdicts", "close",
    "demo", "give-up", "reconcile", "sla", "sla probe", "sla report",
)  # fmt: skip


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        main.run(list(arguments))
    code = leaving.value.code
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_as_pinned(
    command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """To change it on purpose: CLOUDMIG_REWRITE_GOLDEN=1 python -m pytest, then read the diff."""
    path = GOLDEN / f"help{'-' if command else ''}{command.replace(' ', '-')}.txt"
    monkeypatch.setenv("COLUMNS", "100")
    assert run(*command.split(), "--help") == ExitCode.DONE
    text = capfd.readouterr().out
    if os.environ.get("CLOUDMIG_REWRITE_GOLDEN"):
        path.write_text(text)

    assert text == path.read_text()


@pytest.mark.parametrize(
    "command", [each for each in COMMANDS if each not in {"", "quarantine", "sla"}]
)
def test_every_command_answers_in_json_and_has_a_log_level(command: str) -> None:
    text = (GOLDEN / f"help-{command.replace(' ', '-')}.txt").read_text()

    assert "--json" in text
    assert "--log-level" in text


def test_no_arguments_show_the_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert run() == ExitCode.DONE
    assert "In this order: init, doctor, inventory" in capfd.readouterr().out


def test_help_needs_none_of_the_heavy_packages() -> None:
    script = (
        "import sys; import cloudmig.cli.main;"
        "print([name for name in ('pydantic', 'sqlalchemy', 'boto3', 'pynetdicom', 'structlog')"
        " if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip

    assert done.stdout.strip() == "[]"


def test_an_unknown_command_is_a_usage_error_with_a_suggestion(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run("dctor") == ExitCode.CONFIGURATION
    assert "Did you mean 'doctor'?" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["dctor"], ""),
        (["plan", "--dry-run"], "plan "),
        (["verify", "--part", "3"], "verify "),
        (["quarantine", "show"], "quarantine show "),
    ],
)
def test_a_usage_error_names_the_help_of_its_command(
    arguments: list[str], command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == ExitCode.CONFIGURATION
    assert f"See `cloudmig {command}--help`" in capfd.readouterr().err


def test_a_missing_configuration_is_told_to_a_person(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("--config", str(tmp_path / "none.toml"), "status") == ExitCode.CONFIGURATION

    shown = capfd.readouterr()
    assert shown.out == ""
    assert "there is no" in shown.err
    assert "What to do: Write one with `cloudmig init" in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize("uid", ["1.2.3 ", "1..2", "st-8f3a91c2d4e0", ""])
def test_a_pseudonym_is_not_made_of_what_is_no_uid(
    uid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be found in no log line."""
    assert run("status", "--pseudonym", uid) == ExitCode.CONFIGURATION
    assert "that is no UID" in capsys.readouterr().err


def test_the_same_is_told_to_a_program(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("status", "--json", "--config", str(tmp_path / "none.toml")) == 2

    shown = capfd.readouterr()
    told = json.loads(shown.out)
    assert told["event"] == "error"
    assert told["error"]["kind"] == "ConfigError"
    assert told["error"]["hint"]
    assert told["exit_code"] == 2
    assert shown.err == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("no"), ExitCode.CONFIGURATION),
        (CatalogError("no"), ExitCode.HALTED),
        (SourceRefused("no"), ExitCode.HALTED),
        (ExceptionGroup("", [ExceptionGroup("", [ConfigError("no")])]), ExitCode.CONFIGURATION),
        (KeyboardInterrupt(), ExitCode.STOPPED),
        (typer.Abort(), ExitCode.STOPPED),
        (typer.Exit(1), ExitCode.QUARANTINE),
        (BrokenPipeError(), ExitCode.STOPPED),
        (ValueError("CANARY^NAME"), ExitCode.HALTED),
        (ExceptionGroup("", [ConfigError("no"), KeyError("CANARY^NAME")]), ExitCode.HALTED),
    ],
)
def test_every_ending_has_its_exit_code_and_says_nothing_of_patients(
    error: BaseException,
    code: ExitCode,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(main, "app", fail)

    assert run("status") == code
    shown = capfd.readouterr()
    assert "CANARY" not in shown.out + shown.err


def test_ctrl_c_in_a_command_is_told_to_a_program(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: Invocation) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Invocation, "configuration", interrupt)

    assert run("status", "--json") == ExitCode.STOPPED
    told = json.loads(capfd.readouterr().out)["error"]
    assert told["kind"] == "Stopped"
    assert "the same command again" in told["hint"]


def test_a_bug_shows_where_it_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise AssertionError("with CANARY^NAME")

    monkeypatch.setattr(main, "app", fail)

    assert run("status") == ExitCode.HALTED
    shown = capfd.readouterr().err
    assert "test_cli.py" in shown
    assert "a bug in cloudmig (AssertionError)" in shown
    assert "CANARY" not in shown
