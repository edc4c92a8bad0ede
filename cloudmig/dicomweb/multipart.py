"""Bodies in parts, multipart/related (RFC 2387, RFC 2046 5.1.1; PS3.18 8.7.1), never held whole.

What goes out can be sent again: its parts are buffers that somebody else holds, and sending only
reads them. Its length is known, so no chunked encoding is needed, which some servers mistake for
an empty body.
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from typing import Protocol

from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from aiohttp.payload import Payload

__all__ = ["MultipartTorn", "PartBytes", "Parts", "RelatedBody", "RelatedParts", "WholeBody"]

_DICOM = "application/dicom"
#: What is handed to a socket at once. Nothing of it is copied but what does not fit into the
#: socket's own buffer.
_PIECE_BYTES = 1 << 20
#: Smaller parts are copied behind one another, up to about so much at a time.
_JOINED_BYTES_MAX = 64 << 10
_HEAD_BYTES_MAX = 64 << 10
#: What makes a delimiter of a boundary (RFC 2046 5.1.1), group 1; or may yet, with further bytes.
_END_OF_DELIMITER = re.compile(rb"(--|[ \t]{0,64}\r\n)|(?:-|[ \t]{0,64}\r?)\Z")
_PART_TYPE = re.compile(rb"^content-type:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_SYNTAX_SAID = re.compile(r';\s*transfer-syntax\s*=\s*"?([0-9.]{1,64})"?\s*(?:;|$)', re.IGNORECASE)


PartBytes = bytes | bytearray | mmap.mmap


class MultipartTorn(ValueError):  # noqa: N818 - named for what happened, as in errors.py
    """The body is no multipart body, or ends before its last delimiter."""


class RelatedBody(Payload):
    """Part 10 files as one request body (PS3.18 10.5.1). May be written any number of times."""

    _autoclose = True  # It owns nothing that would have to be closed.

    def __init__(self, parts: Sequence[PartBytes], *, silence_max_s: float = 60.0) -> None:
        # 128 random bits: no part holds them, unless it was made to after they were drawn.
        boundary = secrets.token_hex(16)
        super().__init__(
            None, content_type=f'multipart/related; type="{_DICOM}"; boundary={boundary}'
        )
        self._parts = parts
        self._silence_max_s = silence_max_s
        # Who is told the length of a part need not search it for the next delimiter.
        self._head = f"--{boundary}\r\nContent-Type: {_DICOM}\r\nContent-Length: "
        self._tail = f"--{boundary}--\r\n".encode("ascii")
        self._size = sum(map(len, self._buffers()))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002
        raise TypeError("images are no text")

    def sha256(self) -> str:
        """Return the digest of the whole body, in hex; reads all of it, so call it in a thread."""
        digest = hashlib.sha256()
        for buffer in self._buffers():
            digest.update(buffer)
        return digest.hexdigest()

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(
        self,
        writer: AbstractStreamWriter,
        content_length: int | None,  # noqa: ARG002 - it is our own size
    ) -> None:
        try:
            await self._write_parts(writer)
        except BaseException:
            # What was not sent must not wait in a buffer for a peer that reads no more.
            if isinstance(writer, StreamWriter) and writer.transport is not None:
                writer.transport.abort()
            raise

    async def _write_parts(self, writer: AbstractStreamWriter) -> None:
        for piece in self._pieces():
            # The client's time-outs begin when the body is sent: a peer that stops reading is ours.
            async with asyncio.timeout(self._silence_max_s):
                await writer.write(piece)

    def _buffers(self) -> Iterator[PartBytes]:
        """Yield everything the body is made of, in order and as it lies in memory."""
        behind = ""
        for part in self._parts:
            yield f"{behind}{self._head}{len(part)}\r\n\r\n".encode("ascii")
            yield part
            behind = "\r\n"
        yield behind.encode("ascii") + self._tail

    def _pieces(self) -> Iterator[bytes | memoryview]:
        """Yield the body in pieces worth a call each: what is small joined, what is large cut."""
        joined: list[PartBytes] = []
        joined_bytes = 0
        for buffer in self._buffers():
            is_large = len(buffer) > _JOINED_BYTES_MAX
            if joined and (is_large or joined_bytes >= _JOINED_BYTES_MAX):
                yield b"".join(joined)
                joined, joined_bytes = [], 0
            if is_large:
                view = memoryview(buffer)
                for start in range(0, len(view), _PIECE_BYTES):
                    piece = view[start : start + _PIECE_BYTES]
                    yield piece
                    if isinstance(buffer, mmap.mmap):
                        # Sent, or read from the page cache once more: it is not ours to hold.
                        buffer.madvise(mmap.MADV_DONTNEED, start, len(piece))
            else:
                joined.append(buffer)
                joined_bytes += len(buffer)
        yield b"".join(joined)


class Parts(Protocol):
    """The objects of an answer, one after the other, while they arrive."""

    @property
    def transfer_syntax_uid(self) -> str:
        """What the Content-Type of the part says (PS3.18 8.7.3.5.2); empty where it says none."""
        ...

    async def next_part(self) -> bool:
        """Go on to the next one's content, over what is left of this one; False at the end."""
        ...

    def content(self) -> AsyncGenerator[bytes, None]:
        """Yield the content of the part; raises `MultipartTorn` where it does not end."""
        ...


class WholeBody:
    """An answer that is one object by itself, without a multipart body around it."""

    def __init__(self, pieces: AsyncIterator[bytes], content_type: str = "") -> None:
        self.transfer_syntax_uid = _syntax_said_in(content_type)
        self._pieces = pieces
        self._is_begun = False

    async def next_part(self) -> bool:
        """Say that there is one, once."""
        begun, self._is_begun = self._is_begun, True
        return not begun

    async def content(self) -> AsyncGenerator[bytes, None]:
        """Yield the body."""
        async for piece in self._pieces:
            yield piece


class RelatedParts:
    """The parts of an answer, one after the other, while they arrive."""

    def __init__(self, pieces: AsyncIterator[bytes], boundary: str) -> None:
        if not boundary:
            raise MultipartTorn("no boundary")
        self.transfer_syntax_uid = ""  #: As the head of the part has it.
        self._pieces = pieces
        self._delimiter = b"\r\n--" + boundary.encode("latin-1")
        # The first delimiter may stand at the very beginning, without a line break before it.
        self._held = bytearray(b"\r\n")
        self._is_inside = False

    async def next_part(self) -> bool:
        """Go on to the next part's content, over what is left of this one; False at the end."""
        if self._is_inside:
            async for _ in self.content():
                pass
        begin, is_certain = self._next_delimiter()
        while not is_certain:
            await self._fill_head()
            begin, is_certain = self._next_delimiter()
        after = begin + len(self._delimiter)
        if self._held.startswith(b"--", after):
            return False
        while (end := self._held.find(b"\r\n\r\n", after)) < 0:
            await self._fill_head()
        said = _PART_TYPE.search(self._held[after:end])
        self.transfer_syntax_uid = _syntax_said_in(said[1].decode("latin-1") if said else "")
        del self._held[: end + 4]
        self._is_inside = True
        return True

    async def content(self) -> AsyncGenerator[bytes, None]:
        """Yield the content of the part; raises `MultipartTorn` where it does not end."""
        assert self._is_inside, "next_part comes first"
        while True:
            end, is_certain = self._next_delimiter()
            if end > 0:
                yield bytes(self._held[:end])
                del self._held[:end]
            if is_certain:
                self._is_inside = False
                return
            await self._fill()

    def _next_delimiter(self) -> tuple[int, bool]:
        """Return where the next delimiter is, or where one may begin, and which of the two."""
        begin = self._held.find(self._delimiter)
        while begin >= 0:
            if rest := _END_OF_DELIMITER.match(self._held, begin + len(self._delimiter)):
                return begin, rest[1] is not None
            begin = self._held.find(self._delimiter, begin + 1)
        return max(0, len(self._held) - len(self._delimiter) + 1), False

    async def _fill_head(self) -> None:
        if len(self._held) > _HEAD_BYTES_MAX:
            raise MultipartTorn("no part begins")
        await self._fill()

    async def _fill(self) -> None:
        piece = await anext(self._pieces, b"")
        if not piece:
            raise MultipartTorn("the body ends too early")
        self._held += piece


def _syntax_said_in(content_type: str) -> str:
    said = _SYNTAX_SAID.search(content_type)
    return said[1] if said else ""
