"""Peers that are not installed skip a test here, and fail it where CI=true."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.corpus import CorpusMissing
from tests.peers.launch import PeerMissing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let pynetdicom leave sockets to the garbage collector where it could not connect."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
            unraisable = "ignore::pytest.PytestUnraisableExceptionWarning"
            item.add_marker(pytest.mark.filterwarnings(unraisable))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Turn a missing peer or corpus into a skip with its reason."""
    yield from _skipping()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """The same while fixtures are made."""
    yield from _skipping()


def _skipping() -> Iterator[None]:
    try:
        yield
    except CorpusMissing as missing:
        pytest.skip(str(missing))
    except PeerMissing as missing:
        if os.environ.get("CI", "").lower() == "true":
            raise
        pytest.skip(str(missing))
