"""`cloudmig reconcile`: an S3 Inventory against the manifests."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudmig.cli.invocation import (
    ConfigOption,
    ExitCode,
    Invocation,
    JsonOption,
    LogLevel,
    LogLevelOption,
    end,
)

if TYPE_CHECKING:
    from cloudmig.agent.reconciling import Reconciled
    from cloudmig.cli.progress import PassingBar
    from cloudmig.cloud.reconcile_on_site import Progress
    from cloudmig.telemetry import Pseudonyms

__all__ = ["reconcile"]

#: A program is told so many findings, a person fewer; the files have all of them.
_TOLD_MAX, _SHOWN_MAX = 1000, 20


def reconcile(
    context: typer.Context,
    inventory: Annotated[
        str,
        typer.Argument(metavar="INVENTORY", help="manifest.json of an S3 Inventory: path or s3://"),
    ],
    destination: Annotated[
        str | None,
        typer.Option(
            "--destination", metavar="NAME", help="Which destination the inventory is of.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, metavar="N", help="Processes. Default: one per core, at most 4.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:  # fmt: skip
    """Compare what a bucket lists with what the manifests say, without reading an image.

    Names what is missing, extra, changed, in a wrong class or not encrypted, however many objects
    there are; what was in flight when the inventory was made is no difference. The inventory must
    be CSV and list Size and LastModifiedDate; ETag, StorageClass and EncryptionStatus are compared
    where it has them. Exit code 1 when anything differs.
    """
    from cloudmig.agent.reconciling import reconcile_destination  # noqa: PLC0415 - quick `--help`
    from cloudmig.cli.progress import PassingBar  # noqa: PLC0415
    from cloudmig.telemetry import Pseudonyms  # noqa: PLC0415

    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    configuration = invocation.configuration()
    pseudonyms = Pseudonyms.from_state_dir(configuration.agent.state_dir)
    invocation.log(pseudonyms)
    with PassingBar(invocation, "reading the inventory") as bar:
        found = reconcile_destination(
            configuration,
            inventory,
            destination=destination,
            workers=workers,
            on_progress=partial(_draw, bar),
        )
    if invocation.json:
        invocation.answer(document(found, pseudonyms))
    else:
        _show(invocation, found, pseudonyms)
    if not found.summary["agreed"]:
        end(ExitCode.QUARANTINE)


def _draw(bar: PassingBar, progress: Progress) -> None:
    doing = "sorting" if progress.step == "split" else "comparing"
    bar.show(f"{doing}, {progress.rows:,} objects", done=progress.units_done, total=progress.units)


def document(found: Reconciled, pseudonyms: Pseudonyms) -> dict[str, object]:
    """Return the JSON shape."""
    told = {name: value for name, value in found.summary.items() if name != "findings_files"}
    return {
        **told,
        "destination": found.destination,
        "folder": str(found.folder),
        "told": _rows(found, pseudonyms, _TOLD_MAX),
    }


def _rows(found: Reconciled, pseudonyms: Pseudonyms, count: int) -> list[dict[str, Any]]:
    return [
        {
            "study": pseudonyms.of(each.study_instance_uid) if each.study_instance_uid else None,
            "instance": (
                pseudonyms.of(each.sop_instance_uid, "in") if each.sop_instance_uid else None
            ),
            "finding": each.finding,
            "detail": each.detail,
        }
        for each in itertools.islice(found.findings(), count)
    ]


def _show(invocation: Invocation, found: Reconciled, pseudonyms: Pseudonyms) -> None:
    from cloudmig.cli.wording import bytes_words, count_words, table  # noqa: PLC0415

    summary = found.summary
    invocation.say(
        f"{count_words(summary['objects'], 'object')} ({bytes_words(summary['bytes'])}) of"
        f" {count_words(summary['studies'], 'study', 'studies')} with a manifest, as"
        f" {found.destination} was at {summary['snapshot_at'][:16]}Z."
    )
    if summary["younger"]:
        young = count_words(summary["younger"], "difference is", "differences are")
        invocation.say(f"  {young} too young to be judged by it: the next inventory can.")
    total = sum(summary["findings"].values())
    if not total:
        invocation.say("Everything is as the manifests say.")
        return
    invocation.say(
        f"{count_words(total, 'difference')} in"
        f" {count_words(summary['differing_studies'], 'study', 'studies')}:"
    )
    rows = [[name, count] for name, count in summary["findings"].items()]
    invocation.console.print(table(["finding", "objects"], rows))
    shown = _rows(found, pseudonyms, _SHOWN_MAX)
    invocation.console.print(
        table(
            ["study", "instance", "finding", "detail"],
            [[each[name] or "-" for name in each] for each in shown],
        )
    )
    if total > len(shown):
        invocation.say(f"  and {total - len(shown):,} more")
    invocation.say(f"By key: {found.folder}/findings")
    invocation.say("Next: cloudmig verify --as-cloud --again looks at the copies themselves,")
    invocation.say("      cloudmig run then repairs what it finds; strangers are for a person")
