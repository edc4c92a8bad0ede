"""What every wrapper shares: each call of the wrapped destination goes through one method."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Protocol, TypeVar

from cloudmig.model.instance import Location, Receipt, Slot, StagedInstance
from cloudmig.model.outcome import StoreOutcome
from cloudmig.ports import Destination

__all__ = ["ObjectKeeper", "WrappedDestination"]

T = TypeVar("T")


class ObjectKeeper(Destination, Protocol):
    """A destination that keeps objects under keys and can be asked about them."""

    async def stored_checksum(self, location: Location) -> str | None:
        """Return the hex SHA-256 that the store computed itself, or None where it has none."""
        ...

    def list_keys(self, prefix: str) -> AsyncIterator[str]:
        """Yield every key below a prefix that ends in a slash."""
        ...

    async def abort_leftovers(self) -> int:
        """Abort the multipart uploads that dead attempts left open; return how many."""
        ...


class WrappedDestination:
    """Passes every call on through `_guarded`, which a wrapper overrides."""

    def __init__(self, inner: ObjectKeeper) -> None:
        self._inner = inner

    @property
    def name(self) -> str:
        return self._inner.name

    async def _guarded(self, call: Callable[[], Awaitable[T]], *, size_bytes: int = 0) -> T:
        raise NotImplementedError

    async def store(
        self, staged: StagedInstance, *, slot: Slot = Slot.PRIMARY, storage_class: str = ""
    ) -> StoreOutcome:
        return await self._guarded(
            lambda: self._inner.store(staged, slot=slot, storage_class=storage_class),
            size_bytes=staged.size_bytes,
        )

    async def find(self, location: Location) -> Receipt | None:
        return await self._guarded(lambda: self._inner.find(location))

    async def replace(self, staged: StagedInstance, bad: Receipt) -> Receipt:
        return await self._guarded(
            lambda: self._inner.replace(staged, bad), size_bytes=staged.size_bytes
        )

    async def put_evidence(self, key: str, body: bytes) -> bool:
        return await self._guarded(lambda: self._inner.put_evidence(key, body))

    async def get_evidence(self, key: str) -> bytes | None:
        return await self._guarded(lambda: self._inner.get_evidence(key))

    async def stored_checksum(self, location: Location) -> str | None:
        return await self._guarded(lambda: self._inner.stored_checksum(location))

    async def abort_leftovers(self) -> int:
        # Looked up when it is called: only then a store may have been opened.
        return await self._guarded(lambda: self._inner.abort_leftovers())  # noqa: PLW0108

    def read(self, location: Location) -> AsyncGenerator[bytes, None]:
        return self._begun(lambda: self._inner.read(location))

    def list_keys(self, prefix: str) -> AsyncGenerator[str, None]:
        return self._begun(lambda: self._inner.list_keys(prefix))

    async def _begun(self, begin: Callable[[], AsyncIterator[T]]) -> AsyncGenerator[T, None]:
        """Guard a stream up to its first piece. What was handed out cannot be taken back."""
        stream, first = await self._guarded(lambda: _first_of(begin()))
        async with aclosing(stream):
            for piece in first:
                yield piece
            async for piece in stream:
                yield piece


async def _first_of(stream: AsyncIterator[T]) -> tuple[AsyncGenerator[T, None], list[T]]:
    assert isinstance(stream, AsyncGenerator), "so that it can be closed early"
    async for piece in stream:
        return stream, [piece]
    return stream, []
