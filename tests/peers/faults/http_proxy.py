"""A proxy before an object store that breaks single HTTP requests or their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import unquote, urlsplit

from tests.contract.relay import Canned, Relay, read_body, read_head

__all__ = ["HttpProxy", "HttpRequest", "Way"]


class Way(Enum):
    """What happens to one request."""

    PASS = auto()
    HANG_BEFORE = auto()  #: It never reaches the store, and no answer comes.
    HANG_AFTER = auto()  #: The store does it; the answer never comes.
    RESET_IN_BODY = auto()  #: Half of the body is read, then a TCP reset.
    DAMAGE_BODY = auto()  #: One byte in the middle of the body is another when it arrives.
    TRUNCATE_ANSWER = auto()  #: The second half of the answer's body is cut off.
    CORRUPT_ANSWER = auto()  #: One byte in the middle of the answer's body is another.
    CLOSE = auto()  #: The connection ends without an answer; the store does nothing.


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What a fault may look at."""

    method: str
    key: str  #: Of the object, without the bucket; empty for the bucket itself.


Decide = Callable[[HttpRequest], Way | Canned]


@dataclass
class HttpProxy(Relay):
    """Asks of each request what happens to it."""

    decide: Decide

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request_line, headers = await read_head(reader)
        way = self.decide(_request(request_line))
        body = await read_body(headers, reader, writer, resets=way is Way.RESET_IN_BODY)
        if body is None:
            return
        if isinstance(way, Canned):
            writer.write(way.encode())
        elif way is Way.HANG_BEFORE:
            await reader.read()  # Until the client gives up.
        elif way is not Way.CLOSE:
            if way is Way.DAMAGE_BODY:
                body = _with_other_byte(body, len(body) // 2)
            answer = await self._forward(request_line, headers, body)
            if way is Way.HANG_AFTER:
                await reader.read()
                return
            writer.write(_as_faulty(answer, way))
        await writer.drain()


def _request(request_line: str) -> HttpRequest:
    method, target, _ = request_line.split(" ")
    path = unquote(urlsplit(target).path).lstrip("/")
    return HttpRequest(method, path.partition("/")[2])


def _as_faulty(answer: bytes, way: Way) -> bytes:
    begins = answer.find(b"\r\n\r\n") + 4
    middle = begins + (len(answer) - begins) // 2
    if way is Way.TRUNCATE_ANSWER:
        return answer[:middle]
    if way is Way.CORRUPT_ANSWER and middle < len(answer):
        return _with_other_byte(answer, middle)
    return answer


def _with_other_byte(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :]
