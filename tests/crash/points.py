"""The points at which a process is killed: every step in the life of a study, from outside.

Nothing in cloudmig knows of this. A point wraps one method of the real thing and counts its passes;
the process that is armed sends itself SIGKILL at the n-th.
"""

from __future__ import annotations

import functools
import inspect
import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ARMED", "LOG", "POINTS", "STEPS", "Kill", "Point", "arm", "seeded_kills"]

#: Environment of an armed process: `<point>:<pass>`, and the file that a hit is written to.
ARMED, LOG = "CLOUDMIG_KILL", "CLOUDMIG_KILL_LOG"


@dataclass(frozen=True, slots=True)
class Point:
    """A place in a run: before or after one method."""

    name: str
    step: str
    command: str  #: The command of cloudmig that passes here.
    owner: str  #: module:Class of the method
    method: str
    after: bool
    passes_max: int = 5
    rare: bool = False  #: Only large objects come here.


def _points(
    step: str, command: str, owner: str, method: str, *when: str, passes_max: int = 5,
    rare: bool = False,
) -> list[Point]:  # fmt: skip
    return [
        Point(f"{each} {step}", step, command, owner, method, each == "after", passes_max, rare)
        for each in when or ("before", "after")
    ]


_CATALOG = "cloudmig.catalog.catalog:Catalog"
_SOURCE = "cloudmig.sources.dimse.source:DimseSource"
_RETRIEVAL = "cloudmig.sources.dimse.retrieval:DimseRetrieval"
_RECEIVER = "cloudmig.dimse.storing:StoreReceiver"
_INTAKE = "cloudmig.sources.dimse.desk:_Intake"
_STORE = "cloudmig.destinations.object_store:ObjectStoreDestination"
_LARGE = "cloudmig.destinations.multipart:LargeObjects"

POINTS: tuple[Point, ...] = (
    *_points("find studies", "inventory", _CATALOG, "record_answer", passes_max=3),
    *_points("finish the sweep", "inventory", _CATALOG, "finish_sweep", passes_max=1),
    *_points("plan", "plan", _CATALOG, "record_plan", passes_max=1),
    *_points("claim", "run", _CATALOG, "claim_next"),
    *_points("list instances", "run", _SOURCE, "list_instances"),
    *_points("record the expected set", "run", _CATALOG, "record_expected"),
    *_points("begin a retrieve", "run", _RETRIEVAL, "_ask"),
    *_points("receive bytes", "run", _INTAKE, "write", passes_max=9),
    *_points("stage an object", "run", _INTAKE, "_match", passes_max=9),
    *_points("spill into the spool", "run", "cloudmig.staging.spool:Spool", "write",
             passes_max=2, rare=True),
    *_points("answer a C-STORE", "run", _RECEIVER, "_answer", passes_max=9),
    *_points("put an object", "run", _STORE, "_put", passes_max=9),
    *_points("store everywhere", "run", "cloudmig.pipeline.keeping:", "_store_everywhere",
             passes_max=9),
    *_points("begin an upload in parts", "run", _LARGE, "_begin", passes_max=2, rare=True),
    *_points("remember an upload", "run", _CATALOG, "remember_upload", passes_max=2, rare=True),
    *_points("send a part", "run", _LARGE, "_send_part", passes_max=4, rare=True),
    *_points("complete an upload", "run", _LARGE, "_complete", passes_max=2, rare=True),
    *_points("forget an upload", "run", _CATALOG, "forget_upload", passes_max=2, rare=True),
    *_points("commit receipts", "run", _CATALOG, "record_receipts_of_many"),
    *_points("judge completeness", "run", "cloudmig.pipeline.attempt:Attempt", "missing"),
    *_points("write a manifest", "run", _STORE, "put_evidence"),
    *_points("mark a copy stored", "run", _CATALOG, "record_copy"),
    *_points("finish a study", "run", _CATALOG, "finish"),
    *_points("record a verdict", "verify", _CATALOG, "record_verdict"),
    *_points("close the wave", "close", _CATALOG, "close_wave", passes_max=1),
)  # fmt: skip

STEPS = tuple(dict.fromkeys(point.step for point in POINTS))


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL at the n-th pass of a point."""

    point: Point
    at_pass: int


def seeded_kills(count: int, *, seed: int = 0) -> list[Kill]:
    """Return `count` kills: every step once, in a seeded order, before any step a second time."""
    draw = random.Random(f"kill {seed}")
    kills: list[Kill] = []
    while len(kills) < count:
        steps = list(STEPS)
        draw.shuffle(steps)
        for step in steps[: count - len(kills)]:
            point = draw.choice([each for each in POINTS if each.step == step])
            kills.append(Kill(point, draw.randint(1, point.passes_max)))
    return kills


def arm() -> None:
    """Arm this process as its environment says."""
    told = os.environ.get(ARMED)
    if not told:
        return
    name, _, at_pass = told.rpartition(":")
    [point] = [each for each in POINTS if each.name == name]
    module, _, owner_name = point.owner.partition(":")
    owner: Any = __import__(module, fromlist=["_"])
    owner = getattr(owner, owner_name) if owner_name else owner
    wrapped = _wrap(getattr(owner, point.method), _Bomb(name, int(at_pass)), after=point.after)
    setattr(owner, point.method, wrapped)


class _Bomb:
    def __init__(self, name: str, at_pass: int) -> None:
        self._name = name
        self._left = at_pass

    def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            with Path(os.environ[LOG]).open("a", encoding="utf-8") as log:
                log.write(self._name + "\n")
            os.kill(os.getpid(), signal.SIGKILL)


def _wrap(method: Callable[..., Any], bomb: _Bomb, *, after: bool) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def later(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any method
            if not after:
                bomb()
            result = await method(*args, **kwargs)
            if after:
                bomb()
            return result

        return later

    assert not inspect.isasyncgenfunction(method), "wrap what consumes it"

    @functools.wraps(method)
    def now(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any method
        if not after:
            bomb()
        result = method(*args, **kwargs)
        if after:
            bomb()
        return result

    return now
