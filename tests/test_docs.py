"""What the documents name exists, and what exists is named in the documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from cloudmig import errors
from cloudmig.cli.invocation import ExitCode
from cloudmig.cli.main import app
from cloudmig.model.quarantine import QuarantineReason

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for at in ("*.md", "docs/**/*.md", "infra/**/*.md", "lambdas/*.md")
    for page in ROOT.glob(at)
)
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"(?m)^([a-z-]+):.*## ", MAKEFILE))

#: A path is one of this repository when it begins with one of its folders or files.
TOP = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} | {".ci"}


def commands() -> dict[str, set[str]]:
    """Return every command of the program with its options."""
    found: dict[str, set[str]] = {}

    def walk(command: object, path: str) -> None:
        options = getattr(command, "params", [])
        found[path] = {option for each in options for option in each.opts}
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{path} {name}".strip())

    walk(typer.main.get_command(app), "")
    return found


COMMANDS = commands()


def code_of(text: str) -> list[str]:
    """Return what stands in backticks or in an indented or fenced block."""
    fenced = [
        line
        for block in re.findall(r"(?ms)^```\w*\n(.*?)^```", text)
        for line in block.splitlines()
    ]
    indented = [line.strip() for line in re.findall(r"(?m)^ {4}(\S.*)$", text)]
    return re.findall(r"`([^`\n]+)`", text) + fenced + indented


def test_there_are_documents() -> None:
    for name in (
        "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/architecture.md",
        "docs/glossary.md", "docs/life-of-a-study.md", "docs/configuration.md", "docs/runbook.md",
        "docs/threat-model.md", "docs/benchmarks.md",
    ):  # fmt: skip
        assert len(TEXTS[name].split()) > 30, name
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_leads_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", TEXTS[name]):
        if not link.startswith(("http://", "https://", "mailto:")):
            assert ((ROOT / name).parent / link).exists(), link


@pytest.mark.parametrize("name", TEXTS)
def test_every_path_exists(name: str) -> None:
    for code in code_of(TEXTS[name]):
        for path in re.findall(r"(?<![\w/.:~-])(\.?[\w-]+(?:/[\w.-]+)*/?)", code):
            first = path.split("/")[0]
            if "/" in path and first in TOP and "lambdas" not in path:
                assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", TEXTS)
def test_every_make_target_exists(name: str) -> None:
    for code in code_of(TEXTS[name]):
        for target in re.findall(r"(?:^|[;&|] *)make ([a-z][a-z-]*)", code):
            assert target in TARGETS, target


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_and_option_exists(name: str) -> None:
    for code in code_of(TEXTS[name]):
        for line in re.findall(r"(?:^|[;&|] *)cloudmig( [a-z-][^;&|#]*)", code):
            words = [word.strip(",.") for word in line.split()]
            path = ""
            while words and f"{path} {words[0]}".strip() in COMMANDS:
                path = f"{path} {words.pop(0)}".strip()
            assert path or not words or words[0].startswith("-"), f"cloudmig{line}"
            known = COMMANDS[path] | COMMANDS[""] | {"--help"}
            for option in (word for word in words if word.startswith("--")):
                assert option.split("=")[0] in known, f"cloudmig{line}"


def test_the_makefile_explains_every_target_and_runs_what_exists() -> None:
    joined = MAKEFILE.replace("\\\n", " ")
    phony = set(re.search(r"(?m)^\.PHONY: (.*)$", joined)[1].split())  # type: ignore[index]

    assert phony == TARGETS
    for path in re.findall(r"(?<![\w/.$)])((?:tests|bench|docs)/[\w./-]+)", MAKEFILE):
        if path not in {"bench/work", "docs/benchmarks.md"}:
            assert (ROOT / path).exists(), path


def test_every_decision_is_listed_and_says_why() -> None:
    folder = ROOT / "docs" / "adr"
    pages = sorted(page.name for page in folder.glob("[0-9]*.md"))
    listed = re.findall(r"\]\(([^)]+)\)", (folder / "README.md").read_text(encoding="utf-8"))

    assert pages == listed
    assert [name[:4] for name in pages] == [f"{n:04d}" for n in range(1, len(pages) + 1)]
    for name in pages:
        text = (folder / name).read_text(encoding="utf-8")
        assert text.startswith(f"# {name[:4]} ")
        for part in ("**Decided.**", "**Why.**", "**Price.**", "**Otherwise**"):
            assert part in text, (name, part)


def test_the_runbook_knows_every_error_a_person_can_meet() -> None:
    grouping = {"CloudmigError", "SourceError", "StagingError", "DestinationError", "Disposition"}
    classes = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}

    for name in classes - grouping:
        assert f"| {name} |" in TEXTS["docs/runbook.md"], name


@pytest.mark.parametrize("reason", list(QuarantineReason))
def test_the_runbook_knows_every_reason_for_quarantine(reason: QuarantineReason) -> None:
    assert f"| {reason.name} |" in TEXTS["docs/runbook.md"]


def test_the_runbook_knows_every_exit_code() -> None:
    for code in ExitCode:
        assert f"| {int(code)} |" in TEXTS["docs/runbook.md"], code


def test_the_readme_answers_the_four_questions_before_anything_else() -> None:
    first_screen = "\n".join(TEXTS["README.md"].splitlines()[:18])

    for word in ("make demo", "resume", "persistent", "consistency", "delete", "docs/demo.svg"):
        assert word in first_screen, word


def test_the_picture_of_the_demo_loads_nothing_from_elsewhere() -> None:
    picture = (ROOT / "docs" / "demo.svg").read_text(encoding="utf-8")

    assert not re.search(r"@font-face|<image|href=|url\(['\"]?http", picture)
    for shown in ("SIGKILL", "Resumed", "0&#160;unexplained", "judge"):
        assert shown in picture, shown
    assert "PROBLEM" not in picture


@pytest.mark.parametrize("name", TEXTS)
def test_a_heading_stands_once_in_a_page(name: str) -> None:
    text = re.sub(r"(?ms)^```.*?^```", "", TEXTS[name])
    headings = re.findall(r"(?m)^(#{1,2} .+|### .+)$", text)

    assert sorted(headings) == sorted(set(headings))


@pytest.mark.parametrize("name", TEXTS)
def test_every_row_hangs_below_the_head_of_a_table(name: str) -> None:
    """A row after an empty line is shown as text."""
    text = re.sub(r"(?m)^\{\w+\}$", "| |", TEXTS[name])  # A template has rows filled in there.
    for block in re.findall(r"(?m)(?:^\|.*\n?)+", text):
        rows = block.splitlines()
        assert len(rows) > 1, rows[0]
        assert set(rows[1]) <= set("|-: "), rows[0]
