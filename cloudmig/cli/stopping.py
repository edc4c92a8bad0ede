"""Ctrl-C and SIGTERM: what is under way ends well the first time, everything ends the second."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from cloudmig.cli.invocation import ExitCode
from cloudmig.errors import CatalogUnavailable

__all__ = ["stopping"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = "\x1b[?25h"


@contextmanager
def stopping(*events: asyncio.Event, tell: Callable[[], None] | None = None) -> Iterator[None]:
    """Set the events on the first Ctrl-C or SIGTERM and tell so; end at once on the second.

    Who waits for a catalog that does not answer has nothing to finish: that ends as stopped.
    """
    loop = asyncio.get_running_loop()
    signalled = False

    def on_signal() -> None:
        nonlocal signalled
        if signalled:
            _end_at_once()
        signalled = True
        for event in events:
            event.set()
        if tell is not None:
            tell()

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    except CatalogUnavailable as error:
        if signalled:
            raise typer.Abort from error
        raise
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _end_at_once() -> None:
    """Leave without tidying up: leases run out, and the next run repeats idempotent work."""
    if sys.stdout.isatty():
        sys.stdout.write(_SHOW_CURSOR)  # A bar hides it.
        sys.stdout.flush()
    os._exit(ExitCode.STOPPED)
