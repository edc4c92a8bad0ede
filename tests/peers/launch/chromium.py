"""Chromium without a screen: what a page shows, says to its console and asks others for."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.peers.launch.daemon import program

__all__ = ["Visit", "visit"]

#: Of the browser's own accord it would look for updates, at every start.
_QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


@dataclass(frozen=True)
class Visit:
    """What came of opening a page."""

    dom: str  #: As it stood at the end.
    console: list[str]
    asked: set[str]  #: Every URL that the page requested of others.


def visit(
    page: Path, folder: Path, *, width: int = 1000, height: int = 1000, dark: bool = False,
    picture: Path | None = None,
) -> Visit:  # fmt: skip
    """Open a file. `picture` is where a screenshot goes."""
    net_log = folder / "net-log.json"
    options = [
        *_QUIET, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}",
        "--enable-logging=stderr", f"--log-net-log={net_log}", "--virtual-time-budget=2000",
        *(["--blink-settings=preferredColorScheme=0"] if dark else []),
        f"--screenshot={picture}" if picture is not None else "--dump-dom",
    ]  # fmt: skip
    chromium = program("/usr/bin/chromium", "Chromium")
    done = subprocess.run(
        [chromium, *options, page.as_uri()], capture_output=True, text=True, check=True,
        timeout=120, cwd=folder,
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Visit(done.stdout, console, _asked(json.loads(net_log.read_text(encoding="utf-8"))))


def _asked(log: dict[str, object]) -> set[str]:
    """What a page asks for has an origin, be it `null`; what the browser itself asks has none."""
    events = log["events"]
    assert isinstance(events, list)
    assert events, "the browser logged its requests"
    told = [each.get("params", {}) for each in events]
    return {
        str(each["url"])
        for each in told
        if "url" in each and each.get("initiator", "not an origin") != "not an origin"
    }
