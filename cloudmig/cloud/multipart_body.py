"""The one part of a multipart answer, while it arrives (RFC 2046 5.1, PS3.18 8.7.1)."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["MultipartWrong", "single_part"]

_HEAD_BYTES_MAX = 64 << 10


class MultipartWrong(ValueError):  # noqa: N818 - named for what happened, as in errors.py
    """The body does not hold exactly one part."""


def single_part(pieces: Iterator[bytes], boundary: str) -> Iterator[bytes]:
    """Yield the content of the first part; raises `MultipartWrong` where it does not end."""
    if not boundary:
        raise MultipartWrong("no boundary")
    delimiter = b"\r\n--" + boundary.encode("latin-1")
    held = _after_headers(pieces, delimiter)
    while True:
        end = held.find(delimiter)
        if end >= 0:
            if end:
                yield held[:end]
            return
        # The delimiter may begin in the last bytes there are.
        safe = len(held) - len(delimiter) + 1
        if safe > 0:
            yield held[:safe]
            held = held[safe:]
        piece = next(pieces, b"")
        if not piece:
            raise MultipartWrong("the part does not end")
        held += piece


def _after_headers(pieces: Iterator[bytes], delimiter: bytes) -> bytes:
    """Return what has come of the first part's content, behind its headers."""
    # The first delimiter may stand at the very beginning, without a line break before it.
    held = b"\r\n"
    while True:
        begin = held.find(delimiter)
        end = held.find(b"\r\n\r\n", begin + len(delimiter)) if begin >= 0 else -1
        if end >= 0:
            return held[end + 4 :]
        piece = next(pieces, b"")
        if not piece or len(held) > _HEAD_BYTES_MAX:
            raise MultipartWrong("no part")
        held += piece
