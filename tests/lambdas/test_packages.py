"""What is in the zips, and that they are the same on every build."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.lambdas.cloud import Artifacts
from tests.lambdas.conftest import build
from tests.lambdas.emulator import python_command, sandbox_environment
from tests.lambdas.emulator_binary import ROOT

FUNCTIONS = sorted(path.parent.name for path in ROOT.glob("lambdas/*/handler.py"))
ZIP_BYTES_MAX = 25_000_000
HANDLER_LINES_MAX = 60
FOREIGN = {
    "aiohttp", "alembic", "awslambdaric", "moto", "numpy", "obstore", "pip", "psycopg", "pydantic",
    "pydantic_core", "pydicom", "pynetdicom", "rich", "sqlalchemy", "structlog", "tenacity",
    "typer", "uvloop",
}  # fmt: skip
#: What of cloudmig may be in a function (design section 3).
OURS = ("cloud", "dicom", "model", "errors", "manifest", "messages", "objects", "pseudonyms")


def names_in(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_there_is_a_zip_of_every_function_and_nothing_else(zips: Path) -> None:
    assert FUNCTIONS == [
        "find_orphans", "probe_retrieval", "reconcile_inventory", "verify_object", "verify_study",
        "watch_restore",
    ]  # fmt: skip
    assert sorted(path.name for path in zips.iterdir()) == [f"{each}.zip" for each in FUNCTIONS]


def test_two_builds_make_the_same_bytes(zips: Path, sources: Path, tmp_path: Path) -> None:
    """In another folder, from sources that lie in another folder."""
    moved = tmp_path / "moved"
    shutil.copytree(sources, moved)
    again = build(moved, into=tmp_path / "somewhere" / "else")
    for path in sorted(zips.iterdir()):
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_zip_is_small_and_holds_what_it_needs(zips: Path, function: str) -> None:
    path = zips / f"{function}.zip"
    names = names_in(path)
    tops = {name.partition("/")[0].removesuffix(".py") for name in names}

    assert path.stat().st_size < ZIP_BYTES_MAX
    assert "handler.py" in names
    assert {"boto3", "botocore", "aws_lambda_powertools", "cloudmig"} <= tops
    assert not tops & FOREIGN
    # Machine code would tie the zip to one architecture.
    assert not [each for each in names if each.endswith((".so", ".pyd", ".dylib"))]
    ours = {
        each.split("/")[1].removesuffix(".py") for each in names if each.startswith("cloudmig/")
    }
    assert ours <= {*OURS, "__init__", "__pycache__"}


def test_bytecode_is_believed_without_a_look_at_the_source(zips: Path) -> None:
    """A time in it would differ from the one in the zip, and it would be compiled again."""
    with zipfile.ZipFile(zips / "verify_object.zip") as archive:
        compiled = [each for each in archive.namelist() if each.endswith(".pyc")]
        flags = {archive.read(each)[4:8] for each in compiled}

    assert len(compiled) > 100
    assert flags == {b"\x01\0\0\0"}  # Checked by hash, and that not: PEP 552.


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_zip_tells_no_time_and_the_same_rights_for_every_file(zips: Path, function: str) -> None:
    with zipfile.ZipFile(zips / f"{function}.zip") as archive:
        entries = archive.infolist()

    assert len({each.filename for each in entries}) == len(entries)
    assert {each.date_time for each in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {each.external_attr >> 16 for each in entries} == {0o100644}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_handler_is_glue(function: str) -> None:
    lines = (ROOT / "lambdas" / function / "handler.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= HANDLER_LINES_MAX


@pytest.mark.parametrize("missing", ["pydantic", "pydicom", "structlog", "sqlalchemy", "pytest"])
def test_the_sandbox_does_not_see_what_is_installed_here(
    artifacts: Artifacts, missing: str
) -> None:
    done = in_sandbox(artifacts, f"import {missing}")
    assert "ModuleNotFoundError" in done.stderr


def test_the_sandbox_takes_cloudmig_from_the_zip(artifacts: Artifacts) -> None:
    done = in_sandbox(artifacts, "import cloudmig; print(cloudmig.__file__)")
    assert done.stdout.strip() == str(artifacts.folder / "verify_object/cloudmig/__init__.py")


def in_sandbox(artifacts: Artifacts, code: str) -> subprocess.CompletedProcess[str]:
    artifact = artifacts.folder / "verify_object"
    return subprocess.run(
        [*python_command(), "-c", code], env=sandbox_environment(artifact, artifacts.runtime),
        cwd=artifact, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip


# --------------------------------------------------------------------------------- lambdas/README


def test_the_readme_has_a_row_for_every_function_with_its_environment() -> None:
    rows = readme_rows()
    assert sorted(rows) == FUNCTIONS
    for function, row in rows.items():
        for name in environment_of(function):
            assert f"`{name}`" in row, f"{function} reads {name}"


def readme_rows() -> dict[str, str]:
    text = (ROOT / "lambdas" / "README.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    return {row.split("`")[1]: row for row in rows}


def environment_of(function: str) -> set[str]:
    """Return the variables that a handler reads, itself or by what reads them for it."""
    source = (ROOT / "lambdas" / function / "handler.py").read_text(encoding="utf-8")
    found = names_read(source)
    for module, reader, read in READERS:
        if f" {reader}(os.environ" in source.replace("\n    os.environ", "os.environ"):
            functions = ast.parse((ROOT / module).read_text(encoding="utf-8")).body
            found |= names_read("\n".join(ast.unparse(e) for e in functions if named(e) in read))
    return found


#: What of cloudmig reads an environment: module, how a handler calls it, what is read there.
READERS = (
    ("cloudmig/cloud/environment.py", "desk_from", {"desk_from", "expectations_from"}),
    ("cloudmig/cloud/environment.py", "pseudonyms_from", {"pseudonyms_from"}),
    ("cloudmig/cloud/watch_restore.py", "RestoreSettings.from_environment", {"RestoreSettings"}),
    ("cloudmig/cloud/reconcile_plan.py", "Settings.from_environment", {"Settings"}),
)


def named(statement: ast.stmt) -> str:
    return str(getattr(statement, "name", ""))


def names_read(source: str) -> set[str]:
    """Return the text in `environ["X"]`, `environ.get("X")` and the like."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Subscript) and "environ" in ast.unparse(node.value):
            found |= constants(node.slice)
        elif isinstance(node, ast.Call) and "environ" in ast.unparse(node.func):
            found |= constants(*node.args[:1])
    return found


def constants(*nodes: ast.AST) -> set[str]:
    return {str(each.value) for each in nodes if isinstance(each, ast.Constant)}


def test_the_build_is_done_with_the_standard_library_alone() -> None:
    tree = ast.parse((ROOT / "lambdas" / "build.py").read_bytes())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
                for alias in node.names}  # fmt: skip
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {each.partition(".")[0] for each in imported} <= sys.stdlib_module_names
