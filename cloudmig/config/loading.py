"""Reading the file: each section is checked on its own, so that one mistake hides no other."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cloudmig.config.addresses import folder_url
from cloudmig.config.dicomweb import DicomWebSettings, WebCredentials
from cloudmig.config.relations import contradictions
from cloudmig.config.rules import Rule
from cloudmig.config.settings import (
    AgentSettings,
    DestinationSettings,
    HealthSettings,
    ListenSettings,
    Section,
)
from cloudmig.config.sla import SlaSettings, SlaTierSettings
from cloudmig.config.sources import (
    DirectorySettings,
    PacsSettings,
    PeerSettings,
    SourceSettings,
    TlsSettings,
    WebSourceSettings,
    source_model,
)
from cloudmig.errors import ConfigError

__all__ = ["Configuration", "load", "parse"]

_SECTIONS = ("agent", "listen", "health", "sources", "destinations", "rules", "sla")
_HINT = (
    "Correct the file, then run `cloudmig doctor`. docs/configuration.md describes every setting;"
    " `cloudmig init` writes a new file."
)

_OF_DICOMWEB = frozenset(DicomWebSettings.model_fields)

S = TypeVar("S", bound=Section)


class Configuration(Section):
    """A whole, checked configuration."""

    agent: AgentSettings
    listen: ListenSettings
    sources: Mapping[str, SourceSettings]
    destinations: Mapping[str, DestinationSettings]
    rules: tuple[Rule, ...]
    sla: SlaSettings = SlaSettings()
    health: HealthSettings | None = None  #: None: there is no such page.
    path: Path | None = None  #: The file it was read from.

    def kept_in(self, name: str) -> tuple[str, ...]:
        """Return whose copies or evidence lie in a destination: its own, and of which others."""
        others = (other for other, its in self.destinations.items() if its.evidence == name)
        return (name, *others)

    @property
    def pacs(self) -> dict[str, PacsSettings]:
        """The sources that speak DIMSE."""
        return {name: s for name, s in self.sources.items() if isinstance(s, PacsSettings)}


def load(path: Path) -> Configuration:
    """Read a file. Raises `ConfigError` that names every mistake at once."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows editors begin with a mark.
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no {path}",
            hint="Write one with `cloudmig init --pacs HOST:PORT --aet PACS --bucket s3://...`,"
            " or name another with --config.",
        ) from error
    except IsADirectoryError as error:
        raise ConfigError(
            f"{path} is a folder", hint="Name the file in it with --config."
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}",
            hint="Make it readable, or run cloudmig as the user that may read it.",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not in UTF-8: byte {error.start + 1} is none of it",
            hint="Save it as UTF-8.",
        ) from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path} is no TOML: {error}",
            hint="Look at that line: a quote or bracket is missing, or a name stands there twice.",
        ) from error
    return parse(data, path=path)


def parse(data: Mapping[str, Any], *, path: Path | None = None) -> Configuration:
    """Check parsed TOML. Relative paths are resolved against the folder of `path`."""
    reading = _Reading((path.parent if path is not None else Path.cwd()).resolve())
    for name in data:
        if name not in _SECTIONS:
            reading.mistakes.append(f"unknown section [{name}]{_did_you_mean(name, _SECTIONS)}")
    agent = reading.section(AgentSettings, data.get("agent", {}), "agent")
    listen = reading.section(ListenSettings, data.get("listen", {}), "listen")
    sources = reading.named(source_model, data, "sources")
    destinations = reading.named(lambda _: DestinationSettings, data, "destinations")
    rules = reading.rules(data.get("rules", []))
    sla = reading.section(SlaSettings, data.get("sla", {}), "sla")
    asked = data.get("health")
    health = None if asked is None else reading.section(HealthSettings, asked, "health")
    reading.mistakes += contradictions(
        agent=agent,
        listen=listen,
        health=health,
        sources=sources,
        destinations=destinations,
        rules=rules,
        sla=sla,
        known_sources=_names_in(data, "sources"),
        known_destinations=_names_in(data, "destinations"),
    )
    if reading.mistakes:
        raise _refusal(reading.mistakes, path)
    assert agent is not None
    assert listen is not None
    assert sla is not None
    return Configuration(
        agent=agent, listen=listen, sources=sources, destinations=destinations,
        rules=tuple(rules), sla=sla, health=health, path=path,
    )  # fmt: skip


class _Reading:
    """One pass over the file, collecting mistakes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mistakes: list[str] = []

    def section(self, model: type[S], data: object, where: str) -> S | None:
        """Return the section with its paths made absolute, or None after noting its mistakes."""
        if not isinstance(data, dict):
            self.mistakes.append(f"[{where}] must be a section, not a value")
            return None
        try:
            return _absolute(model.model_validate(data), self.folder)
        except ValidationError as error:
            self.mistakes += [
                _sentence(model, details, where) for details in error.errors(include_url=False)
            ]
            return None

    def named(
        self, model_of: Callable[[object], type[S]], data: Mapping[str, Any], where: str
    ) -> dict[str, S]:
        """Return the sections under `[where.<name>]` that are right."""
        group = data.get(where)
        if not isinstance(group, dict) or not group:
            self.mistakes.append(f"there is no [{where}.<name>] section: at least one is needed")
            return {}
        found: dict[str, S] = {}
        for name, content in group.items():
            if not isinstance(content, dict):
                self.mistakes.append(
                    f"{where}.{name} stands outside a named section: write [{where}.<name>]"
                )
                continue
            section = self.section(model_of(content), content, f"{where}.{name}")
            if section is not None:
                found[name] = section
        return found

    def rules(self, data: object) -> list[Rule]:
        if not isinstance(data, list) or not data:
            self.mistakes.append("there are no [[rules]]: nothing would ever be planned")
            return []
        found = []
        for number, content in enumerate(data, start=1):
            name = content.get("name", "") if isinstance(content, dict) else ""
            where = f'rule "{name}"' if name else f"rule {number}"
            rule = self.section(Rule, content, where)
            if rule is not None:
                found.append(rule)
        return found


def _absolute(section: S, folder: Path) -> S:
    """Resolve relative paths, however deep."""
    changes: dict[str, object] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Path):
            changes[name] = folder / value
        elif isinstance(value, Section):
            changes[name] = _absolute(value, folder)
    if isinstance(section, DestinationSettings | DirectorySettings) and section.directory:
        changes["url"] = folder_url(folder / section.directory)
    return section.model_copy(update=changes)


def _sentence(model: type[Section], details: ErrorDetails, where: str) -> str:
    """Return one mistake in words, without any value that may be secret."""
    place = [str(part) for part in details["loc"]]
    owner = _owner(model, place[:-1])
    dot = " " if where.startswith("rule ") else "."
    setting = f"{where}{dot}{'.'.join(place)}" if place else where
    match details["type"]:
        case "extra_forbidden" if owner is DestinationSettings and place[-1] in _OF_DICOMWEB:
            return f"unknown setting {setting}: it belongs into [{where}.dicomweb]"
        case "extra_forbidden":
            return f"unknown setting {setting}{_did_you_mean(place[-1], list(owner.model_fields))}"
        case "missing":
            return f"{setting} is missing"
        case "value_error":
            return f"{setting} {details['ctx']['error']}"
        case _:
            words = details["msg"].removeprefix("Input should be").strip()
            if owner is DestinationSettings and place == ["profile"]:
                words += f"; a DICOMweb store has its own in [{where}.dicomweb]"
            is_choice = words[:1].islower() or words.startswith("'")
            return f"{setting} must be {words}" if is_choice else f"{setting}: {words}"


def _owner(model: type[Section], place: list[str]) -> type[Section]:
    """Return the model in which the last part of a location was looked for."""
    if place[:1] == ["tls"]:
        return TlsSettings
    if model is DestinationSettings and place[:1] == ["dicomweb"]:
        return DicomWebSettings
    if model is WebSourceSettings and place[:1] == ["dicomweb"]:
        return WebCredentials
    if place[:1] == ["peers"]:
        return PeerSettings
    if model is SlaSettings and place[:1] == ["tiers"]:
        return SlaTierSettings
    return model


def _did_you_mean(word: str, known: list[str] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f" (known: {', '.join(known)})"


def _names_in(data: Mapping[str, Any], group: str) -> frozenset[str]:
    content = data.get(group)
    return frozenset(content) if isinstance(content, dict) else frozenset()


def _refusal(mistakes: list[str], path: Path | None) -> ConfigError:
    where = str(path) if path is not None else "the configuration"
    count = "one mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    listed = "\n".join(f"  - {mistake}" for mistake in mistakes)
    return ConfigError(f"{where} has {count}:\n{listed}", hint=_HINT)
