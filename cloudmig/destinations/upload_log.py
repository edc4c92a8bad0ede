"""Multipart uploads that were begun, remembered so that whoever comes later can abort them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["MemoryUploadLog", "OpenUpload", "UploadLog"]


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """A multipart upload that was begun and neither completed nor aborted, as far as is known."""

    key: str
    upload_id: str


class UploadLog(Protocol):
    """Remembers multipart uploads across a crash. The catalog keeps one."""

    async def remember(self, destination: str, key: str, upload_id: str) -> None:
        """Write down a begun upload. It must survive a power cut when this returns."""
        ...

    async def forget(self, destination: str, key: str, upload_id: str) -> None:
        """Strike out an upload that was completed or aborted. Safe to repeat."""
        ...

    async def open_uploads(self, destination: str, key: str | None = None) -> list[OpenUpload]:
        """Return what is open at a destination, or under one key of it."""
        ...


class MemoryUploadLog:
    """An upload log that dies with its process: for tests and for runs without a catalog."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str, str], OpenUpload] = {}

    async def remember(self, destination: str, key: str, upload_id: str) -> None:
        self._open[destination, key, upload_id] = OpenUpload(key, upload_id)

    async def forget(self, destination: str, key: str, upload_id: str) -> None:
        self._open.pop((destination, key, upload_id), None)

    async def open_uploads(self, destination: str, key: str | None = None) -> list[OpenUpload]:
        return [
            upload
            for (name, its_key, _), upload in self._open.items()
            if name == destination and key in {None, its_key}
        ]
