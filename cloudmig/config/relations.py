"""Which settings cannot be true together. Each finding names the settings and the way out."""

from __future__ import annotations

import os.path
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cloudmig.config.quantities import MIB, bytes_text
from cloudmig.config.rules import Rule
from cloudmig.config.settings import (
    AgentSettings,
    DestinationSettings,
    HealthSettings,
    ListenSettings,
)
from cloudmig.config.sla import SlaSettings
from cloudmig.config.sources import (
    DirectorySettings,
    PacsSettings,
    SourceSettings,
    WebSourceSettings,
)

__all__ = ["CREDIT_BYTES", "contradictions"]

#: What is set aside for the next object of a lane before the last one is answered (design 5).
CREDIT_BYTES = 4 * MIB

_RENEWALS_MIN = 2

#: Elsewhere each would be ignored, and what is meant by it come from the environment or not at all.
_MEANT_FOR = {
    "endpoint": ("s3", "gs", "az"),
    "access_key_id": ("s3", "az", "https"),
    "session_token": ("s3", "https"),
}


def contradictions(
    *,
    agent: AgentSettings | None,
    listen: ListenSettings | None,
    health: HealthSettings | None,
    sources: Mapping[str, SourceSettings],
    destinations: Mapping[str, DestinationSettings],
    rules: Sequence[Rule],
    sla: SlaSettings | None,
    known_sources: frozenset[str],
    known_destinations: frozenset[str],
) -> Iterator[str]:
    """Name every contradiction. What is None or left out had mistakes of its own."""
    if agent is not None:
        yield from _budgets(agent, sources)
    if listen is not None:
        yield from _associations(listen, sources)
        if health is not None and health.port == listen.port:
            yield f"health.port and listen.port are both {listen.port}: set one of them otherwise"
    yield from _names(sources, destinations)
    yield from _folders(agent, sources, destinations)
    yield from _verdicts(destinations)
    yield from _dicomweb(destinations, rules, known_destinations)
    yield from _rules(rules, known_sources, known_destinations)
    if sla is not None:
        yield from _service_levels(sla, destinations, known_destinations)


def _budgets(agent: AgentSettings, sources: Mapping[str, SourceSettings]) -> Iterator[str]:
    lanes = sum(source.lanes for source in sources.values())
    if agent.memory_bytes_max < lanes * CREDIT_BYTES:
        yield (
            f"agent.memory_bytes_max ({bytes_text(agent.memory_bytes_max)}) must hold"
            f" {bytes_text(CREDIT_BYTES)} for each of the {lanes} lanes"
            f" ({bytes_text(lanes * CREDIT_BYTES)}), or lanes wait for each other for ever:"
            " raise it, or lower the sources' lanes"
        )
    if agent.object_bytes_max > agent.spool_bytes_max:
        yield (
            f"agent.object_bytes_max ({bytes_text(agent.object_bytes_max)}) is above"
            f" agent.spool_bytes_max ({bytes_text(agent.spool_bytes_max)}): the largest object"
            " allowed would never find room; raise the spool or lower the limit"
        )
    if agent.lease_s < _RENEWALS_MIN * agent.renew_s:
        yield (
            f"agent.lease_s ({agent.lease_s:g}) must be at least {_RENEWALS_MIN} x agent.renew_s"
            f" ({agent.renew_s:g}), or one late renewal gives a running study to another worker"
        )


def _associations(listen: ListenSettings, sources: Mapping[str, SourceSettings]) -> Iterator[str]:
    if listen.associations_per_peer_max > listen.associations_max:
        yield (
            f"listen.associations_per_peer_max ({listen.associations_per_peer_max}) is above"
            f" listen.associations_max ({listen.associations_max})"
        )
    inbound = {
        name: source
        for name, source in sources.items()
        if isinstance(source, PacsSettings) and source.retrieve != "c-get"
    }
    lanes = sum(source.lanes for source in inbound.values())
    if lanes > listen.associations_max:
        yield (
            f"listen.associations_max ({listen.associations_max}) is below the {lanes} lanes that"
            " sources may fill with C-MOVE: raise it, or lower the lanes"
        )
    for name, source in inbound.items():
        if source.lanes > listen.associations_per_peer_max:
            yield (
                f"sources.{name}.lanes ({source.lanes}) is above"
                f" listen.associations_per_peer_max ({listen.associations_per_peer_max})"
            )
    for name, timed in sources.items():
        if isinstance(timed, PacsSettings | WebSourceSettings) and timed.idle_s > timed.total_s:
            yield (
                f"sources.{name}.idle_s ({timed.idle_s:g}) is above sources.{name}.total_s"
                f" ({timed.total_s:g}): it could never run out"
            )


def _names(
    sources: Mapping[str, SourceSettings], destinations: Mapping[str, DestinationSettings]
) -> Iterator[str]:
    for archive, times in Counter(source.archive for source in sources.values()).items():
        if times > 1:
            names = ", ".join(name for name, s in sources.items() if s.archive == archive)
            yield (
                f'the sources {names} share the archive "{archive}": their studies would meet'
                " under the same keys; give each its own archive name"
            )
    places = {name: destination.place for name, destination in destinations.items()}
    for place, times in Counter(places.values()).items():
        if times > 1:
            names = ", ".join(name for name, other in places.items() if other == place)
            yield f"the destinations {names} are one place: two copies there would be one"
    for name, destination in destinations.items():
        for setting, schemes in _MEANT_FOR.items():
            if getattr(destination, setting) is not None and destination.scheme not in schemes:
                yield (
                    f"destinations.{name}.{setting} means something for"
                    f" {', '.join(f'{scheme}://' for scheme in schemes)} only, not for"
                    f" {destination.scheme}://"
                )


def _dicomweb(
    destinations: Mapping[str, DestinationSettings],
    rules: Sequence[Rule],
    known: frozenset[str],
) -> Iterator[str]:
    """A DICOMweb store keeps instances only: its manifests need a store that keeps objects."""
    for name, destination in destinations.items():
        if not destination.is_dicomweb:
            for setting in ("evidence", "dicomweb"):
                if getattr(destination, setting) is not None:
                    yield (
                        f"destinations.{name}.{setting} means something for https:// only, not"
                        f" for {destination.scheme}://"
                    )
            continue
        where = destination.evidence
        if where is None:
            yield (
                f"destinations.{name}.evidence is missing: name the destination that keeps the"
                " manifests of its copies, for a DICOMweb store cannot"
            )
        elif where not in known:
            yield (
                f'destinations.{name}.evidence names "{where}", which is not configured'
                f" (configured: {_listed(known)})"
            )
        elif where in destinations and destinations[where].is_dicomweb:
            yield f'destinations.{name}.evidence names "{where}", which is a DICOMweb store, too'
        if destination.storage_class not in {"", "STANDARD"}:
            yield f"destinations.{name}.storage_class: a DICOMweb store has no storage classes"
        for rule in rules:
            if name in rule.copy_to and rule.storage_class not in {None, "", "STANDARD"}:
                yield (
                    f'rule "{rule.name}" sets storage_class and copies to "{name}", a DICOMweb'
                    " store, which has none: set storage_class of the other destinations instead"
                )


def _folders(
    agent: AgentSettings | None,
    sources: Mapping[str, SourceSettings],
    destinations: Mapping[str, DestinationSettings],
) -> Iterator[str]:
    """Name what we would write into a folder that is read: the next inventory would find it."""
    ours = {f"destinations.{name}.url": d.directory for name, d in destinations.items()}
    if agent is not None:
        ours["agent.state_dir"] = agent.state_dir
    for name, source in sources.items():
        if isinstance(source, DirectorySettings):
            root = Path(os.path.realpath(source.directory))
            for setting, folder in ours.items():
                if folder is not None and Path(os.path.realpath(folder)).is_relative_to(root):
                    yield f"{setting} lies in the folder that source {name} reads: place it outside"


def _verdicts(destinations: Mapping[str, DestinationSettings]) -> Iterator[str]:
    """A verdict names bucket and prefix: by these, and its queue, a copy must be found."""
    for name, destination in destinations.items():
        for setting in ("verdict_queue", "verdict_endpoint", "later_classes"):
            if getattr(destination, setting) and destination.scheme != "s3":
                yield (
                    f"destinations.{name}.{setting} means something for s3:// only, not for"
                    f" {destination.scheme}://"
                )
        if destination.verdict_endpoint is not None and destination.verdict_queue is None:
            yield (
                f"destinations.{name}.verdict_endpoint is the address of a queue that is not"
                f" named: set destinations.{name}.verdict_queue, or leave both out"
            )
    places = [
        (name, (each.verdict_queue, each.bucket, each.prefix))
        for name, each in destinations.items()
        if each.verdict_queue is not None and each.scheme == "s3"
    ]
    for place, times in Counter(place for _, place in places).items():
        if times > 1:
            names = ", ".join(name for name, other in places if other == place)
            yield (
                f"the destinations {names} have one verdict_queue, and bucket and prefix of one"
                " name: nobody could tell whose verdict it is; give each store its own queue"
            )


def _rules(
    rules: Sequence[Rule], known_sources: frozenset[str], known_destinations: frozenset[str]
) -> Iterator[str]:
    for name, times in Counter(rule.name for rule in rules).items():
        if times > 1:
            yield f'{times} rules are called "{name}": the closing statement counts by name'
    catch_all = ""
    for rule in rules:
        for destination in rule.copy_to:
            if destination not in known_destinations:
                yield (
                    f'rule "{rule.name}" copies to "{destination}", which is not configured'
                    f" (configured: {_listed(known_destinations)})"
                )
        for source in rule.sources or ():
            if source not in known_sources:
                yield (
                    f'rule "{rule.name}" names the source "{source}", which is not configured'
                    f" (configured: {_listed(known_sources)})"
                )
        if catch_all:
            yield (
                f'rule "{rule.name}" can never match: "{catch_all}" before it matches every study'
            )
        elif rule.matches_everything:
            catch_all = rule.name


def _service_levels(
    sla: SlaSettings,
    destinations: Mapping[str, DestinationSettings],
    known_destinations: frozenset[str],
) -> Iterator[str]:
    yield from (f"sla.{each}" for each in sla.levels().contradictions())
    named = [("destinations", name) for name in sla.destinations]
    if sla.dicomweb_of is not None:
        named.append(("dicomweb_of", sla.dicomweb_of))
    for setting, name in named:
        if name not in known_destinations:
            yield (
                f'sla.{setting} names "{name}", which is not configured'
                f" (configured: {_listed(known_destinations)})"
            )
        elif name in destinations and destinations[name].scheme != "s3":
            yield f'sla.{setting} names "{name}", which is no s3:// store: only these are probed'
        elif setting == "dicomweb_of" and sla.destinations and name not in sla.destinations:
            yield f'sla.dicomweb_of names "{name}", which sla.destinations leaves out'


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"
