"""`cloudmig init`: write a first configuration."""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path
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
    from cloudmig.errors import SourceError

__all__ = ["init"]

_PROBE_MAX_S = 5.0
_GIB = 1 << 30


def init(
    context: typer.Context,
    pacs: Annotated[str, typer.Option("--pacs", metavar="HOST:PORT", help="The PACS to read.")],
    aet: Annotated[str, typer.Option("--aet", metavar="AET", help="The AE title of the PACS.")],
    bucket: Annotated[
        str,
        typer.Option(
            "--bucket",
            metavar="URL",
            help="Where copies go: s3://bucket/prefix, gs://, az:// or file:///folder.",
        ),
    ],
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint", metavar="URL", help="An S3 store that is not AWS.", show_default=False
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
    """Write a commented cloudmig.toml for one PACS and one bucket.

    Asks the PACS which services it offers and the store what it is; neither has to answer. Never
    overwrites a file.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    _refuse_to_overwrite(invocation.path)
    _refuse_a_missing_folder(invocation.path)
    host, port = _address(pacs)
    invocation.log()
    services = invocation.run(lambda: _services(host, port, aet, our_aet))
    retrieve, why = _choose(services)
    profile = _profile(bucket, endpoint)

    from cloudmig.cli.first_file import FirstFile  # noqa: PLC0415 - `--help` shall be quick

    text = FirstFile(
        host=host,
        port=port,
        aet=aet,
        our_aet=our_aet,
        listen_port=listen_port,
        archive=archive,
        retrieve=retrieve,
        retrieve_why=why,
        url=bucket,
        endpoint=endpoint,
        region=region or os.environ.get("AWS_REGION") or "us-east-1",
        profile=profile,
        spool=_spool(invocation.path),
    ).text()
    _write(invocation.path, text)
    invocation.answer(
        {
            "written": str(invocation.path),
            "pacs_answers": not _is_silent(services),
            "retrieve": retrieve,
            "profile": profile,
        }
    )
    obstacle = None if isinstance(services, set) else services
    _tell(invocation, obstacle=obstacle, retrieve=retrieve, why=why, profile=profile,
          our_aet=our_aet, listen_port=listen_port)  # fmt: skip


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


async def _services(host: str, port: int, aet: str, our_aet: str) -> set[str] | SourceError:
    """Return what the PACS offers, or why that cannot be known."""
    from cloudmig.dimse.client import Peer, associate  # noqa: PLC0415
    from cloudmig.dimse.contexts import QUERY_TRANSFER_SYNTAX_UIDS, ProposedContext  # noqa: PLC0415
    from cloudmig.dimse.limits import Timers  # noqa: PLC0415
    from cloudmig.errors import SourceError  # noqa: PLC0415
    from cloudmig.sources.dimse.asking import FIND, GET, MOVE  # noqa: PLC0415

    services = {"c-find": FIND, "c-get": GET, "c-move": MOVE}
    contexts = [ProposedContext(uid, QUERY_TRANSFER_SYNTAX_UIDS) for uid in services.values()]
    timers = Timers(connect_s=_PROBE_MAX_S, artim_s=_PROBE_MAX_S)
    try:
        peer = Peer(host, port, aet, our_aet)
        async with await associate(peer, contexts, timers=timers) as association:
            return {name for name, uid in services.items() if association.accepted_syntax(uid)}
    except SourceError as error:
        return error


def _is_silent(services: set[str] | SourceError) -> bool:
    """Say whether nothing came; a rejection is an answer."""
    from cloudmig.errors import SourceBusy, SourceRefused  # noqa: PLC0415

    return not isinstance(services, set | SourceBusy | SourceRefused)


def _choose(services: set[str] | SourceError) -> tuple[str, str]:
    """Choose the service that needs less of the PACS: C-GET wants no port opened towards us."""
    if _is_silent(services):
        return "auto", "The PACS did not answer when this file was written."
    if not isinstance(services, set):
        return "auto", f"The PACS did not let us in when this file was written: {services}."
    if "c-get" in services:
        return "c-get", "The PACS offers C-GET: it needs no port opened towards us."
    if "c-move" in services:
        return "c-move", "The PACS offers C-MOVE only: register our AE title there."
    return "auto", "The PACS offered neither C-MOVE nor C-GET when this file was written."


def _profile(bucket: str, endpoint: str | None) -> str:
    scheme = bucket.partition(":")[0]
    by_scheme = {"file": "file", "memory": "memory", "gs": "gcs", "az": "azure"}
    if scheme in by_scheme:
        return by_scheme[scheme]
    return "aws" if endpoint is None else _kind_of_store(endpoint)


def _kind_of_store(endpoint: str) -> str:
    """Guess by the headers of any answer, a refusal included; `aws` where nothing is known."""
    import http.client  # noqa: PLC0415
    import urllib.parse  # noqa: PLC0415

    parts = urllib.parse.urlsplit(endpoint)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=_PROBE_MAX_S)
    try:
        connection.request("HEAD", "/")
        answered = connection.getresponse().getheaders()
    except (OSError, http.client.HTTPException):
        return "aws"
    finally:
        connection.close()
    headers = {name.lower(): value for name, value in answered}
    # All of them: moto says that it is Werkzeug, and then that it is Amazon.
    server = " ".join(value for name, value in answered if name.lower() == "server").lower()
    if "minio" in server:
        return "minio"
    if "werkzeug" in server:
        return "moto"
    if "x-openstack-request-id" in headers or "x-trans-id" in headers:
        return "swift"
    if "ceph" in server or "-rgw" in headers.get("x-amz-request-id", ""):
        return "ceph"
    return "aws"


def _spool(path: Path) -> str:
    """Return 8 GiB, or half of what is free where that is less."""
    free = shutil.disk_usage(path.resolve().parent).free
    return "8 GiB" if free > 16 * _GIB else f"{max(64, free // (2 << 20))} MiB"


def _write(path: Path, text: str) -> None:
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
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}",
            hint="Name a file in a folder of yours with --config.",
        ) from error


def _tell(
    invocation: Invocation,
    *,
    obstacle: SourceError | None,
    retrieve: str,
    why: str,
    profile: str,
    our_aet: str,
    listen_port: int,
) -> None:
    invocation.say(f"Wrote {invocation.path}.")
    invocation.say(why.replace("this file", "the file"))
    if obstacle is not None:
        if obstacle.hint:
            invocation.say(f"{obstacle.hint[0].upper()}{obstacle.hint[1:]}.")
        invocation.say("That is fine for now: cloudmig doctor says what is in the way.")
    invocation.say(f'The store has the profile "{profile}"; correct it in the file if it is not.')
    invocation.say("Next:")
    if retrieve != "c-get":
        invocation.say(
            f"  register the AE title {our_aet} at the PACS: this machine, port {listen_port}"
        )
    invocation.say("  cloudmig doctor       names what is still wrong, with a hint for each")
    invocation.say("  cloudmig inventory    asks the PACS what it holds")
    invocation.say("  cloudmig plan         decides by the rules in the file")
    invocation.say("  cloudmig run          moves")
    invocation.say("  cloudmig verify       reads every copy back and compares")
    invocation.say("  cloudmig close        proves that nothing is missing")
