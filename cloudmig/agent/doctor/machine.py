"""This machine: its disk, its limits, the ports we listen on."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import tempfile
from pathlib import Path

from cloudmig.agent.doctor.findings import Finding, ok, problem, warning
from cloudmig.agent.doctor.reaching import nearest_folder
from cloudmig.config import Configuration
from cloudmig.config.quantities import bytes_text

__all__ = ["check_disk", "check_open_files", "check_ports", "check_rules", "check_state_dir"]

_SUBJECT = "machine"
#: Descriptors beside associations and transfers: libraries, catalog, logs, spool files.
_FILES_BESIDE = 128


def check_state_dir(config: Configuration) -> list[Finding]:
    """See whether the state folder, or the nearest one above it that exists, can be written."""
    state_dir = config.agent.state_dir
    folder = nearest_folder(state_dir)
    if not folder.is_dir():
        return [
            problem(
                "state_dir",
                _SUBJECT,
                f"{folder} is a file, and state_dir is to be below it",
                "Set agent.state_dir to a folder.",
            )
        ]
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
            probe.flush()
    except OSError as error:
        return [
            problem(
                "state_dir",
                _SUBJECT,
                f"{folder} cannot be written: {error.strerror}",
                f"{_as_its_owner(folder)}Run `chown {_user()} {folder}` and `chmod u+rwx {folder}`,"
                " or set agent.state_dir to a folder of this user.",
            )
        ]
    return [ok("state_dir", _SUBJECT, f"state_dir {state_dir} can be written")]


def check_disk(config: Configuration) -> list[Finding]:
    """Compare the free space with what the spool may take."""
    folder = nearest_folder(config.agent.state_dir)
    free = shutil.disk_usage(folder).free
    wanted = config.agent.spool_bytes_max
    if free < wanted:
        return [
            problem(
                "disk",
                _SUBJECT,
                f"{bytes_text(free)} are free for state_dir, and the spool may take"
                f" {bytes_text(wanted)}",
                f"Free some space, set agent.state_dir to a larger disk, or set"
                f' agent.spool_bytes_max = "{max(1, free // (2 << 20))} MiB": no larger instance'
                " is taken then.",
            )
        ]
    return [ok("disk", _SUBJECT, f"{bytes_text(free)} free, the spool takes {bytes_text(wanted)}")]


def check_open_files(config: Configuration) -> list[Finding]:
    """Compare the limit of open files with what a full load needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_BESIDE + 2 * config.listen.associations_max
    needed += sum(2 * source.lanes for source in config.sources.values())
    needed += sum(2 * each.concurrency for each in config.destinations.values())
    if soft != resource.RLIM_INFINITY and soft < needed:
        return [
            problem(
                "open_files",
                _SUBJECT,
                f"only {soft} files may be open at once, and a full load needs {needed}",
                f"Run `ulimit -n {max(needed, 4096)}` before cloudmig, or set LimitNOFILE in its"
                f" systemd unit (hard limit now: {hard}).",
            )
        ]
    return [ok("open_files", _SUBJECT, f"{soft} open files allowed, {needed} needed")]


def check_ports(config: Configuration) -> list[Finding]:
    """See whether we could listen where we shall. The ports are free again afterwards."""
    found = []
    if any(source.retrieve != "c-get" for source in config.pacs.values()):
        listen = config.listen
        found.append(_port("listen", listen.host, listen.port, " and register that at the PACS"))
    if config.health is not None:
        found.append(_port("health", config.health.host, config.health.port))
    return found


def _port(section: str, host: str, port: int, and_then: str = "") -> Finding:
    check = f"{section}_port"
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        with socket.create_server(address[:2], family=family):
            pass
    except PermissionError:
        return problem(
            check,
            _SUBJECT,
            f"this user may not listen on port {port}",
            f"Set {section}.port to 1024 or above{and_then}.",
        )
    except OSError as error:
        return problem(
            check,
            _SUBJECT,
            f"nothing can listen on {host}:{port}: {error.strerror}",
            f"Stop what listens there (`ss -ltnp 'sport = :{port}'`; another cloudmig?), or set"
            f" {section}.port to a free port{and_then}.",
        )
    return ok(check, _SUBJECT, f"{host}:{port} is free to listen on")


def check_rules(config: Configuration) -> list[Finding]:
    """See whether every study will be decided."""
    if any(rule.matches_everything for rule in config.rules):
        return [ok("rules", _SUBJECT, "the rules decide about every study")]
    return [
        warning(
            "rules",
            _SUBJECT,
            "no rule matches every study: what none matches stays undecided, and the wave cannot"
            " be closed",
            "End the file with a rule without conditions, such as keep_on_site = true.",
        )
    ]


def _as_its_owner(folder: Path) -> str:
    """Advise to be who a folder belongs to, the user of the service perhaps."""
    if not os.path.exists(folder) or folder.stat().st_uid == os.getuid():  # noqa: PTH110 - Path's raises
        return ""
    try:
        return f"Run cloudmig as the user {folder.owner()}, whose folder it is. Else: "
    except KeyError:
        return ""


def _user() -> str:
    return str(os.getuid())
