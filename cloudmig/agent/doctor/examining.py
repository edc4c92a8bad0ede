"""All checks at once, each with its time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cloudmig.agent.doctor import certificates, machine
from cloudmig.agent.doctor.catalog_access import check_catalog
from cloudmig.agent.doctor.features import check_features
from cloudmig.agent.doctor.findings import Finding, problem
from cloudmig.agent.doctor.folder import check_folder
from cloudmig.agent.doctor.listening import listening
from cloudmig.agent.doctor.pacs import check_source
from cloudmig.agent.doctor.store import check_destination
from cloudmig.agent.doctor.verdict_queue import check_verdict_queue
from cloudmig.agent.doctor.web_source import check_web_source
from cloudmig.config import Configuration, DirectorySettings, WebSourceSettings
from cloudmig.telemetry import get_logger

__all__ = ["examine"]

log = get_logger(__name__)

_MACHINE: tuple[Callable[[Configuration], list[Finding]], ...] = (
    machine.check_state_dir,
    machine.check_disk,
    machine.check_open_files,
    machine.check_ports,
    machine.check_rules,
    certificates.check_certificates,
)


async def examine(
    config: Configuration, *, wait_max_s: float = 15.0, check_max_s: float = 60.0
) -> list[Finding]:
    """Return every finding, by subject. One check that hangs or breaks hides no other."""
    found: list[Finding] = []
    for check in _MACHINE:
        found += check(config)
    archive = next(iter(config.sources.values())).archive
    async with listening(config) as listen:
        checks = [_limited("catalog", asyncio.to_thread(check_catalog, config), check_max_s)]
        checks += [
            _limited(
                f"source {name}",
                check_source(config, name, listen, wait_max_s=wait_max_s),
                check_max_s,
            )
            for name in config.pacs
        ]
        checks += [
            _limited(
                f"source {name}",
                check_web_source(config, name, wait_max_s=wait_max_s),
                check_max_s,
            )
            for name, source in config.sources.items()
            if isinstance(source, WebSourceSettings)
        ]
        checks += [
            _limited(f"source {name}", asyncio.to_thread(check_folder, config, name), check_max_s)
            for name, source in config.sources.items()
            if isinstance(source, DirectorySettings)
        ]
        checks += [
            _limited(
                f"destination {name}",
                asyncio.to_thread(_check_home, config, name, archive, timeout_s=wait_max_s),
                check_max_s,
            )
            for name in config.destinations
        ]
        checks += [
            _limited(
                f"verdicts of {name}",
                asyncio.to_thread(check_verdict_queue, name, destination, timeout_s=wait_max_s),
                check_max_s,
            )
            for name, destination in config.destinations.items()
            if destination.verdict_queue is not None
        ]
        for findings in await asyncio.gather(*checks):
            found += findings
    return found


def _check_home(
    config: Configuration, name: str, archive: str, *, timeout_s: float
) -> list[Finding]:
    found = check_destination(name, config.destinations[name], archive, timeout_s=timeout_s)
    return found + check_features(config, name)


async def _limited(subject: str, check: Awaitable[list[Finding]], max_s: float) -> list[Finding]:
    try:
        async with asyncio.timeout(max_s):
            return await check
    except TimeoutError:
        return [
            problem(
                "time",
                subject,
                f"no end within {max_s:g} s",
                "Something there takes connections and does not answer: look into its log.",
            )
        ]
    except Exception as error:
        log.exception("a check broke", subject=subject)
        return [
            problem(
                "check",
                subject,
                f"the check itself broke ({type(error).__name__})",
                "This is a bug in cloudmig: please report it with --log-level error.",
            )
        ]
