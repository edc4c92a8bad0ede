"""A page for those who are paged: `/metrics` for Prometheus, `/health` for a supervisor.

The loop that moves the images answers both: where it hangs, neither does. What they say are counts
and names of the configuration, nothing of a study (design 8).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from cloudmig.agent.presence import cannot_listen
from cloudmig.agent.working import Work, beside
from cloudmig.catalog import Catalog
from cloudmig.errors import CatalogError
from cloudmig.telemetry import METRICS

__all__ = ["health_page"]

#: At once; then the longest of them has to go. One or two collectors ask, and briefly: whoever else
#: connects shall cost us no descriptors, and keep no collector out.
_VISITORS_MAX = 16
_VISIT_MAX_S = 60.0
_COUNT_EVERY_S = 30.0
#: Counting a large catalog keeps receipts waiting: it may take a fiftieth of the catalog's time.
_COUNT_SHARE = 50


@contextlib.asynccontextmanager
async def health_page(run: Work) -> AsyncIterator[None]:
    """Answer while the block runs. Raises `ConfigError` when the port cannot be had."""
    settings = run.parts.config.health
    assert settings is not None, "who has none imports nothing of this"
    figures = _Figures(run)
    answers = web.Server(_Page(figures).answer)
    try:
        server = await asyncio.get_running_loop().create_server(
            lambda: _Visitor(answers), settings.host, settings.port
        )
    except OSError as error:
        raise cannot_listen("health", settings, error) from error
    try:
        async with beside(run, figures.count_now_and_then()):
            yield
    finally:
        server.close()
        await answers.shutdown(timeout=1.0)


class _Visitor(web.RequestHandler):
    """One connection, which ends after a while whatever it does or does not."""

    __slots__ = ("_ending", "_visited")

    def __init__(self, visited: web.Server) -> None:
        super().__init__(visited, loop=asyncio.get_running_loop())
        self._visited = visited
        self._ending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._ending = asyncio.get_running_loop().call_later(_VISIT_MAX_S, self._end)
        open_ones = [each.transport for each in self._visited.connections if each.transport]
        if len(open_ones) > _VISITORS_MAX:
            open_ones[0].abort()

    def _end(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._ending is not None:
            self._ending.cancel()
        super().connection_lost(exc)


class _Page:
    """Says what is asked for."""

    def __init__(self, figures: _Figures) -> None:
        self._figures = figures
        self._registry = CollectorRegistry()
        self._registry.register(figures)
        ProcessCollector(registry=self._registry)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        match request.path:
            case "/metrics":
                encode, content_type = choose_encoder(request.headers.get("Accept", ""))
                body = encode(self._registry)
            case "/health":
                body = json.dumps(self._figures.health()).encode()
                content_type = "application/json"
            case _:
                return web.Response(status=404, text="here are /metrics and /health\n")
        # Set as it is: `charset` and `version` are part of it.
        return web.Response(body=body, headers={"Content-Type": content_type})


class _Figures:
    """What is known of the run, as a collector of `prometheus_client`."""

    def __init__(self, run: Work) -> None:
        self._run = run
        self._parts = run.parts
        self._counted: list[Metric] = []  #: From the catalog, at the last count.

    async def count_now_and_then(self) -> None:
        """Count studies, copies and findings of the whole catalog, as often as that is cheap."""
        while True:
            started = time.monotonic()
            # Whoever moves meets it, too, and waits or ends.
            with contextlib.suppress(CatalogError):
                self._counted = await self._count()
            took_s = time.monotonic() - started
            await asyncio.sleep(max(_COUNT_EVERY_S, _COUNT_SHARE * took_s))

    async def _count(self) -> list[Metric]:
        counts = await self._parts.catalog.call(Catalog.status_counts)
        return [
            _labelled("cloudmig_studies", ("source", "state"), {
                (source, state.value): count
                for source, states in counts.transfers.items()
                for state, count in states.items()
            }),
            _labelled("cloudmig_copies", ("destination", "state"), {
                (destination, state.value): count
                for destination, states in counts.copies.items()
                for state, count in states.items()
            }),
            _labelled("cloudmig_findings_waiting", ("reason",), {
                (reason.value,): count for reason, count in counts.quarantine.items()
            }),
            _gauge("cloudmig_counted_timestamp_seconds", time.time()),
        ]  # fmt: skip

    def health(self) -> dict[str, object]:
        """Return who does not answer, for a person or a supervisor."""
        sources, destinations = self._up()
        return {
            "agent": self._parts.config.agent.name,
            "catalog_down": not self._parts.counters.catalog_answers,
            "sources_down": sorted(name for name, up in sources.items() if not up),
            "destinations_down": sorted(name for name, up in destinations.items() if not up),
        }

    def _up(self) -> tuple[dict[str, bool], dict[str, bool]]:
        parts, outages = self._parts, self._run.outages
        return (
            {name: not outages.is_silent(name) for name in parts.sources},
            {name: not outages.is_left_alone(name) for name in parts.breakers},
        )

    def collect(self) -> Iterator[Metric]:
        """Yield every figure as it is now."""
        counters, area = self._parts.counters, self._parts.area
        yield _counter("cloudmig_instances_stored", counters.instances_stored)
        yield _counter("cloudmig_bytes_stored", counters.bytes_stored)
        yield _counter("cloudmig_studies_stored", counters.studies_stored)
        yield _counter("cloudmig_studies_quarantined", counters.studies_quarantined)
        yield _counter("cloudmig_studies_put_back", counters.studies_put_back)
        yield _gauge("cloudmig_memory_in_flight_bytes", area.memory.bytes_used)
        yield _gauge("cloudmig_spool_bytes", area.spool.bytes_used)
        yield _gauge("cloudmig_catalog_up", int(counters.catalog_answers))
        sources, destinations = self._up()
        yield _labelled(
            "cloudmig_source_up", ("source",), {(name,): int(up) for name, up in sources.items()}
        )
        yield _labelled(
            "cloudmig_destination_up",
            ("destination",),
            {(name,): int(up) for name, up in destinations.items()},
        )
        yield from self._counted


def _counter(name: str, value: float) -> Metric:
    return CounterMetricFamily(name, METRICS[name], value=value)


def _gauge(name: str, value: float) -> Metric:
    return GaugeMetricFamily(name, METRICS[name], value=value)


def _labelled(
    name: str, labels: tuple[str, ...], values: dict[tuple[str, ...], int]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, METRICS[name], labels=labels)
    for of_labels, value in values.items():
        family.add_metric(of_labels, value)
    return family
