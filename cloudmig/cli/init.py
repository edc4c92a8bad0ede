"""`cloudmig init`: write a first configuration."""

from __future__ import annotations

import os
import shutil
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from cloudmig.cli.invocation import (
    ConfigOption,
    Invocation,
    JsonOption,
    LogLevel,
    LogLevelOption,
)

if TYPE_CHECKING:
    from cloudmig.cli.first_file import FolderSource, PacsSource, Viewer, WebSource

__all__ = ["init"]

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class _Source:
    """The source of the file, and what a person is told of it."""

    section: PacsSource | WebSource | FolderSource
    answers: bool
    words: str  #: What was found out, as a sentence for the screen.
    hint: str = ""
    to_do: str = ""  #: Before anything else.


def init(
    context: typer.Context,
    bucket: Annotated[
        str,
        typer.Option(
            "--bucket",
            metavar="URL",
            help="Where copies go: s3://bucket/prefix, gs://, az:// or file:///folder.",
        ),
    ],
    pacs: Annotated[
        str | None,
        typer.Option(
            "--pacs", metavar="HOST:PORT", help="Read a PACS; with --aet.", show_default=False
        ),
    ] = None,
    aet: Annotated[
        str | None,
        typer.Option("--aet", metavar="AET", help="The AE title of the PACS.", show_default=False),
    ] = None,
    dicomweb: Annotated[
        str | None,
        typer.Option(
            "--dicomweb",
            metavar="URL",
            help="Or read a DICOMweb archive: https://host/dicom-web.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder", metavar="PATH", help="Or read a folder of files.", show_default=False
        ),
    ] = None,
    stow: Annotated[
        str | None,
        typer.Option(
            "--stow",
            metavar="URL",
            help="Copy to this DICOMweb store, too; the bucket keeps its manifests.",
            show_default=False,
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            metavar="URL",
            help="Where the store is, if not at AWS, Azure or Google themselves.",
            show_default=False,
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            "--region",
            metavar="NAME",
            help="Default: AWS_REGION, else us-east-1.",
            show_default=False,
        ),
    ] = None,
    our_aet: Annotated[
        str, typer.Option("--our-aet", metavar="AET", help="Our AE title.")
    ] = "CLOUDMIG",
    listen_port: Annotated[
        int,
        typer.Option("--listen-port", metavar="PORT", help="Where the PACS sends to in C-MOVE."),
    ] = 11112,
    archive: Annotated[
        str,
        typer.Option("--archive", metavar="NAME", help="First part of every object key, for ever."),
    ] = "main",
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Write a commented cloudmig.toml for one source and one bucket.

    The source is a PACS, a DICOMweb archive or a folder of files. Asks source and stores what they
    are and offer; none has to answer. Never overwrites a file.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    if bucket.startswith(("http://", "https://")):
        raise typer.BadParameter(
            "--bucket keeps objects, and the manifests of every copy: s3://, gs://, az:// or"
            " file://. A DICOMweb store that is filled beside it is named with --stow"
        )
    if sum(each is not None for each in (pacs, dicomweb, folder)) != 1:
        raise typer.BadParameter("name one source: --pacs, --dicomweb or --folder")
    if (pacs is None) != (aet is None):
        raise typer.BadParameter("--pacs and --aet are given together: HOST:PORT and an AE title")
    address = None if pacs is None else _address(pacs)
    _refuse_to_overwrite(invocation.path)
    _refuse_a_missing_folder(invocation.path)
    invocation.log()

    from cloudmig.cli import first_file  # noqa: PLC0415 - `--help` shall be quick
    from cloudmig.cli.first_look import look_at_web  # noqa: PLC0415

    section: PacsSource | WebSource | FolderSource
    if address is not None and aet is not None:
        section = first_file.PacsSource(
            host=address[0], port=address[1], aet=aet, our_aet=our_aet, listen_port=listen_port
        )
    elif dicomweb is not None:
        section = first_file.WebSource(dicomweb)
    else:
        assert folder is not None, "one of the three is given"
        section = first_file.FolderSource(str(folder.absolute()))
    first = first_file.FirstFile(
        archive=archive,
        source=section,
        url=bucket,
        endpoint=endpoint,
        region=region or os.environ.get("AWS_REGION") or "us-east-1",
        profile=_profile(bucket, None),
        viewer=None if stow is None else first_file.Viewer(stow),
        spool=_spool(invocation.path),
    )
    _refuse_mistakes(invocation.path, first.text())  # Nobody is asked under a wrong name.
    source = _ask(invocation, section)
    viewer = None
    if stow is not None:
        look = look_at_web(stow)
        viewer = first_file.Viewer(stow, look.profile, look.why)
    profile = _profile(bucket, endpoint)
    text = replace(first, source=source.section, profile=profile, viewer=viewer).text()
    _refuse_mistakes(invocation.path, text)
    _write(invocation.path, text)
    invocation.answer(
        {
            "written": str(invocation.path),
            "source_answers": source.answers,
            "retrieve": getattr(source.section, "retrieve", None),
            "profile": profile,
            "stow_profile": viewer.profile if viewer else None,
        }
    )
    _tell(invocation, source, profile=profile, viewer=viewer)


def _ask(invocation: Invocation, section: PacsSource | WebSource | FolderSource) -> _Source:
    from cloudmig.cli.first_file import FolderSource, PacsSource  # noqa: PLC0415

    if isinstance(section, PacsSource):
        return _pacs(invocation, section)
    return _folder(section) if isinstance(section, FolderSource) else _web(section)


def _pacs(invocation: Invocation, section: PacsSource) -> _Source:
    from cloudmig.cli.first_look import look_at_pacs  # noqa: PLC0415

    look = invocation.run(
        lambda: look_at_pacs(section.host, section.port, section.aet, section.our_aet)
    )
    to_do = (
        f"register the AE title {section.our_aet} at the PACS: this machine, port"
        f" {section.listen_port}"
    )
    return _Source(
        replace(section, retrieve=look.retrieve, why=look.why), look.answers, look.why, look.hint,
        "" if look.retrieve == "c-get" else to_do,
    )  # fmt: skip


def _web(section: WebSource) -> _Source:
    from cloudmig.cli.first_look import look_at_web  # noqa: PLC0415

    look = look_at_web(section.url)
    to_do = "fill in the credentials of the archive in the file"
    words = look.why.replace("It ", "The archive ", 1) or "The archive answers."
    return _Source(
        replace(section, why=look.why), look.answers, words, "",
        to_do if look.wants_credentials else "",
    )  # fmt: skip


def _folder(section: FolderSource) -> _Source:
    path = Path(section.path)
    words = f"{path} is no folder." if path.exists() else f"There is no folder {path} yet."
    return _Source(section, path.is_dir(), "" if path.is_dir() else words)


def _refuse_to_overwrite(path: Path) -> None:
    from cloudmig.errors import ConfigError  # noqa: PLC0415

    if path.exists():
        raise ConfigError(
            f"{path} is there already and is not overwritten",
            hint="Edit it, or name another file: cloudmig --config other.toml init ...",
        )


def _refuse_a_missing_folder(path: Path) -> None:
    from cloudmig.errors import ConfigError  # noqa: PLC0415

    if not path.resolve().parent.is_dir():
        raise ConfigError(
            f"{path} cannot be written: there is no folder {path.resolve().parent}",
            hint="Make the folder, or name a file in another one with --config.",
        )


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise typer.BadParameter("--pacs must look like HOST:PORT, for example 10.0.0.5:104")
    return host.strip("[]"), int(port)


def _profile(bucket: str, endpoint: str | None) -> str:
    scheme = bucket.partition(":")[0]
    by_scheme = {"file": "file", "memory": "memory", "gs": "gcs", "az": "azure"}
    if scheme in by_scheme:
        return by_scheme[scheme]
    if endpoint is None:
        return "aws"
    from cloudmig.cli.first_look import kind_of_store  # noqa: PLC0415

    return kind_of_store(endpoint)


def _spool(path: Path) -> str:
    """Return 8 GiB, or half of what is free where that is less."""
    free = shutil.disk_usage(path.resolve().parent).free
    return "8 GiB" if free > 16 * _GIB else f"{max(64, free // (2 << 20))} MiB"


def _refuse_mistakes(path: Path, text: str) -> None:
    from cloudmig.config import parse  # noqa: PLC0415
    from cloudmig.errors import ConfigError  # noqa: PLC0415

    try:
        parse(tomllib.loads(text), path=path)
    except ConfigError as error:
        mistakes = str(error).partition("\n")[2]
        raise ConfigError(
            f"nothing was written, because of what the options say:\n{mistakes}",
            hint="Correct the option; cloudmig init --help",
        ) from error


def _write(path: Path, text: str) -> None:
    from cloudmig.errors import ConfigError  # noqa: PLC0415

    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        line = text[: error.start].rpartition("\n")[2] + text[error.start :].partition("\n")[0]
        raise ConfigError(
            f"nothing was written, for a configuration is UTF-8, and this is not: {line}",
            hint="Name a folder by a symbolic link: ln -s FOLDER LINK; then cloudmig init ... LINK",
        ) from error
    try:
        with path.open("xb") as file:
            file.write(encoded)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}",
            hint="Name a file in a folder of yours with --config.",
        ) from error


_NEXT = {
    "doctor": "names what is still wrong, with a hint for each",
    "inventory": "asks the source what it holds",
    "plan": "decides by the rules in the file",
    "run": "moves",
    "verify": "reads every copy back and compares",
    "close": "proves that nothing is missing",
}


def _tell(invocation: Invocation, source: _Source, *, profile: str, viewer: Viewer | None) -> None:
    invocation.say(f"Wrote {invocation.path}.")
    if source.words:
        invocation.say(source.words.replace("this file", "the file"))
    if source.hint:
        invocation.say(f"{source.hint[0].upper()}{source.hint[1:]}.")
    if source.hint or not source.answers:
        invocation.say("That is fine for now: cloudmig doctor says what is in the way.")
    if profile not in {"azure", "gcs", "file"}:  # The URL says it all, and no setting corrects it.
        words = f'The store has the profile "{profile}"; correct it in the file if it is not.'
        invocation.say(words)
    if viewer is not None:
        words = f'The DICOMweb store has the profile "{viewer.profile}"'
        invocation.say(f"{words}. {viewer.why}".strip().replace("this file", "the file"))
    invocation.say("Next:")
    if source.to_do:
        invocation.say(f"  {source.to_do}")
    # Without it, the next command would take another file, or find none.
    named = "" if invocation.path == Path("cloudmig.toml") else f" -c {quote(str(invocation.path))}"
    for command, does in _NEXT.items():
        invocation.say(f"  cloudmig{named} {command:<12} {does}")
