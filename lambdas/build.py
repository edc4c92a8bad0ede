"""Builds one zip per function, the same bytes on every build. Standard library and pip alone.

    python lambdas/build.py [--into .cache/lambdas] [--python python3.13] [verify_object ...]

A zip holds the handler, those modules of cloudmig that it imports, however indirectly, and what
requirements/cloud.lock installs: pure Python, so that it runs on either architecture. Of botocore's
descriptions of four hundred services the functions carry those they speak to: 28 of 30 MB are
the others'.

A function cannot keep what Python compiles, and would compile everything at every start, which is
half of its time. So bytecode is in the zip, of the Python that `--python` names: another one
ignores it and is slower to start.
"""

from __future__ import annotations

import argparse
import ast
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

__all__ = ["FUNCTIONS", "CannotBuild", "build"]

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements" / "cloud.lock"
FUNCTIONS = tuple(sorted(path.parent.name for path in ROOT.glob("lambdas/*/handler.py")))

#: The services whose descriptions are kept. `sts` is for credentials on site, beside a bucket.
SERVICES = frozenset({"dynamodb", "s3", "sqs", "sts"})
#: Where boto3 and botocore keep one folder per service; files beside the folders are for all.
_SERVICE_FOLDERS = frozenset({"botocore/data", "boto3/data"})
#: What pip leaves and nothing reads; RECORD names the others' hashes, which would be wrong here.
_LEFT_OUT_NAMES = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", ".lock"})
_LEFT_OUT_FOLDERS = frozenset({"bin"})
#: Where a function finds its files, as its tracebacks name them.
_TASK_ROOT = "/var/task"
#: The earliest time that a zip can tell. A real one would change with every build.
_TIME = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644 << 16


class CannotBuild(Exception):  # noqa: N818 - named for what happened
    """The packages could not be fetched, or a function needs something that is in none of them."""


def build(
    into: Path, functions: Sequence[str] = FUNCTIONS, *, python: str = sys.executable
) -> list[Path]:
    """Build the zips of some functions into a folder. Raises `CannotBuild`."""
    into.mkdir(parents=True, exist_ok=True)
    built = []
    with tempfile.TemporaryDirectory(prefix="cloudmig-lambdas-") as work:
        packages = Path(work, "packages")
        _install(packages)
        _compile(packages, python)
        shared = dict(_kept(packages))
        provided = {PurePosixPath(name).parts[0].removesuffix(".py") for name in shared}
        base = Path(work, "base.zip")
        _add_to_zip(base, shared)
        for function in functions:
            own = Path(work, function)
            handler = ROOT / "lambdas" / function / "handler.py"
            for inside, path in _needed_modules(handler, provided).items():
                (own / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, own / inside)
            _compile(own, python)
            unfinished = Path(shutil.copyfile(base, into / f"{function}.zip.part"))
            _add_to_zip(unfinished, dict(_kept(own)))
            built.append(unfinished.replace(into / f"{function}.zip"))
    return built


def _install(folder: Path) -> None:
    """Install what the lock file names, for whatever machine it may run on."""
    _run(
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--require-hashes", "--no-deps", "--no-compile", "--only-binary", ":all:",
        "--implementation", "py", "--platform", "any", "--target", str(folder), "-r", str(LOCK),
    )  # fmt: skip


def _compile(folder: Path, python: str) -> None:
    """Compile all modules in a folder, to the same bytes wherever it is and whenever it was."""
    _run(
        python, "-I", "-S", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash",
        "-s", str(folder), "-p", _TASK_ROOT, str(folder),
    )  # fmt: skip


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        raise CannotBuild(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no word of why"]
        raise CannotBuild(said[-1])


def _kept(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in folder.rglob("*"):
        inside = PurePosixPath(path.relative_to(folder))
        if path.is_dir() or path.name in _LEFT_OUT_NAMES:
            continue
        if inside.parts[0] not in _LEFT_OUT_FOLDERS and not _is_foreign(inside):
            yield str(inside), path


def _is_foreign(inside: PurePosixPath) -> bool:
    """Tell whether a file describes a service that no function speaks to."""
    if str(PurePosixPath(*inside.parts[:2])) not in _SERVICE_FOLDERS or len(inside.parts) == 3:
        return inside.parts[:2] == ("boto3", "examples")
    return inside.parts[2] not in SERVICES


# ------------------------------------------------------------------------- what a handler imports


def _needed_modules(handler: Path, provided: set[str]) -> dict[str, Path]:
    """Return the handler and the files of cloudmig that it imports, packages included."""
    found = {"handler.py": handler}
    todo = [handler]
    while todo:
        path = todo.pop()
        for name in _imported(path):
            top = name.partition(".")[0]
            if top == "cloudmig":
                for each in _files_of(name):
                    inside = each.relative_to(ROOT).as_posix()
                    if inside not in found:
                        found[inside] = each
                        todo.append(each)
            elif top not in provided and top not in sys.stdlib_module_names:
                where = path.relative_to(ROOT)
                raise CannotBuild(f"{where} imports {top}, which no function carries")
    return found


def _imported(path: Path) -> set[str]:
    """Return every module that a file may import, and every name that may be one."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_bytes())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            todo += node.orelse
            continue
        todo += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "the project imports by full names"
            assert node.module
            found.add(node.module)
            # `from package import module` names a module, `from module import name` does not.
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _files_of(name: str) -> Iterator[Path]:
    """Yield the file of a module and those of the packages around it."""
    at = ROOT
    for part in name.split("."):
        if (at / part / "__init__.py").exists():
            at /= part
            yield at / "__init__.py"
        else:
            if (at / f"{part}.py").exists():
                yield at / f"{part}.py"
            return


# ---------------------------------------------------------------------------------------- the zip


def _add_to_zip(path: Path, files: dict[str, Path]) -> None:
    """Add files to a zip, sorted and without anything that depends on where and when."""
    with zipfile.ZipFile(path, "a") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system = 3  # Unix, wherever this ran: readable for all, writable for us.
            entry.external_attr = _MODE
            archive.writestr(entry, files[name].read_bytes(), zipfile.ZIP_DEFLATED)


def main(arguments: Iterable[str] | None = None) -> int:
    """Build, and say how large each zip became."""
    parser = argparse.ArgumentParser(description="Build the functions' zips.")
    parser.add_argument("--into", type=Path, default=ROOT / ".cache" / "lambdas")
    parser.add_argument("--python", default=sys.executable, help="whose bytecode goes in")
    parser.add_argument("functions", nargs="*", choices=[*FUNCTIONS, []], default=[])
    told = parser.parse_args(None if arguments is None else list(arguments))
    try:
        built = build(told.into, told.functions or FUNCTIONS, python=told.python)
    except CannotBuild as error:
        sys.stderr.write(f"cannot build: {error}\n")
        return 1
    for path in built:
        sys.stdout.write(f"{path.name}\t{path.stat().st_size / 1e6:.1f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
