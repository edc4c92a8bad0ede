"""What a person named on the command line: sources, and studies by UID or pseudonym."""

from __future__ import annotations

from collections.abc import Sequence

from cloudmig.config import Configuration
from cloudmig.errors import ConfigError
from cloudmig.model.references import StudyRef, is_usable_uid

__all__ = [
    "chosen_sources", "not_in_quarantine", "refuse_unknown_destination", "study_named",
    "study_not_known",
]  # fmt: skip


def chosen_sources(settings: Configuration, only: Sequence[str]) -> list[str]:
    """Return the sources to work on: those named, or all."""
    for name in only:
        if name not in settings.sources:
            raise ConfigError(
                f"there is no source {name}",
                hint=f"Configured sources: {', '.join(settings.sources)}.",
            )
    return list(only) or list(settings.sources)


def refuse_unknown_destination(settings: Configuration, name: str | None) -> None:
    """Raise `ConfigError` where a destination was named that there is not."""
    if name is not None and name not in settings.destinations:
        raise ConfigError(
            f"there is no destination {name}",
            hint=f"Configured destinations: {', '.join(settings.destinations)}.",
        )


def study_named(text: str) -> StudyRef | None:
    """Return the study if the text is a Study Instance UID, None if it is a pseudonym."""
    if text.startswith(("st-", "un-", "ob-", "fi-", "uid-")):
        return None
    if text.startswith("in-"):
        raise ConfigError(
            "that is the pseudonym of an instance, and a study is wanted",
            hint="Name its study (st-...), which stands beside it, or"
            " `cloudmig status --resolve` it.",
        )
    if not is_usable_uid(text):
        raise ConfigError(
            "that is neither a Study Instance UID nor a pseudonym such as st-8f3a91c2d4e0",
            hint="Copy it from `cloudmig quarantine list` or from a log line.",
        )
    return StudyRef(text)


def study_not_known() -> ConfigError:
    """Return what is said when no study of the catalog is meant."""
    return ConfigError(
        "no study of the catalog has that UID or pseudonym",
        hint="Pseudonyms belong to one installation (one state_dir): is this its configuration?"
        " Is the inventory done?",
    )


def not_in_quarantine() -> ConfigError:
    """Return what is said when nothing in quarantine is meant."""
    return ConfigError(
        "nothing in quarantine has that UID or pseudonym",
        hint="`cloudmig quarantine list` shows what is. It may have been released, or settled by a"
        " later verdict. Pseudonyms belong to one installation (one state_dir).",
    )
