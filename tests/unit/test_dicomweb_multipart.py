"""Multipart bodies: what is written can be read, in whatever pieces it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudmig.dicomweb import MultipartTorn, RelatedBody, RelatedParts
from cloudmig.dicomweb.rows import boundary_of


class Sink:
    """Takes what a client would send."""

    def __init__(self) -> None:
        self.taken = bytearray()
        self.pieces: list[bytes | memoryview] = []

    async def write(self, piece: bytes | memoryview) -> None:
        self.taken += piece
        self.pieces.append(piece)


async def written(body: RelatedBody) -> bytes:
    sink = Sink()
    await body.write_with_length(sink, None)  # type: ignore[arg-type]
    return bytes(sink.taken)


async def in_pieces(data: bytes, size_bytes: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size_bytes):
        yield data[start : start + size_bytes]


async def read_all(data: bytes, boundary: str, size_bytes: int) -> list[bytes]:
    parts = RelatedParts(in_pieces(data, size_bytes), boundary)
    found = []
    while await parts.next_part():
        found.append(b"".join([piece async for piece in parts.content()]))
    return found


def boundary_in(body: RelatedBody) -> str:
    return body.content_type.partition("boundary=")[2]


@settings(max_examples=60, deadline=None)
@given(
    contents=st.lists(st.binary(max_size=300), min_size=1, max_size=5),
    size_bytes=st.integers(1, 400),
)
async def test_what_is_written_is_read_whatever_the_pieces(
    contents: Sequence[bytes], size_bytes: int
) -> None:
    body = RelatedBody(contents)

    assert await read_all(await written(body), boundary_in(body), size_bytes) == contents


async def test_a_body_can_be_sent_any_number_of_times_and_its_size_is_known() -> None:
    body = RelatedBody([b"small", bytearray(b"L" * 700_000), b""])

    first, second = await written(body), await written(body)

    assert first == second
    assert len(first) == body.size
    assert body.content_type.startswith('multipart/related; type="application/dicom"; boundary=')


async def test_each_part_says_how_long_it_is() -> None:
    """Orthanc takes the next delimiter from there instead of searching for it."""
    body = RelatedBody([b"small", b"L" * 700_000])

    sent = (await written(body)).split(b"--" + boundary_in(body).encode())

    for part, length in zip(sent[1:-1], (5, 700_000), strict=True):
        head, _, content = part.partition(b"\r\n\r\n")
        assert b"Content-Length: %d" % length in head.split(b"\r\n")
        assert len(content.removesuffix(b"\r\n")) == length


async def test_large_parts_are_sent_as_they_lie_and_small_ones_together() -> None:
    large = bytearray(5 << 20)
    body = RelatedBody([b"s" * 10_000] * 25 + [large])
    sink = Sink()

    await body.write_with_length(sink, None)  # type: ignore[arg-type]

    views = [each for each in sink.pieces if isinstance(each, memoryview)]
    assert all(view.obj is large for view in views)
    assert sum(map(len, views)) == len(large)
    assert len(sink.pieces) - len(views) < 8


@pytest.mark.parametrize("data", [
    b"", b"--b", b"--b\r\n", b"--b\r\nA: b\r\n\r\n", b"--b\r\n\r\ncontent", b"--b\r\n\r\nc\r\n--b",
    b"no delimiter at all" * 10_000,
])  # fmt: skip
async def test_a_body_that_ends_too_early_is_never_taken_for_a_whole_one(data: bytes) -> None:
    with pytest.raises(MultipartTorn):
        await read_all(data, "b", 7)


@pytest.mark.parametrize("inside", [
    b"\r\n--boundary of the lung\r\n\r\nis clear", b"\r\n--boundary-", b"\r\n--boundary \r",
    b"\r\n--", b"\r\n--boundary" + b" " * 1000,
])  # fmt: skip
@pytest.mark.parametrize("size_bytes", [1, 7, 5000])
async def test_what_only_begins_like_a_delimiter_is_content(inside: bytes, size_bytes: int) -> None:
    """Some servers have one boundary for ever, and reports may hold words."""
    data = b"pre" + inside + b"\r\n--boundary\r\n\r\n<" + inside + b">\r\n--boundary--\r\n"

    assert await read_all(data, "boundary", size_bytes) == [b"<" + inside + b">"]


async def test_parts_may_be_left_unread_and_have_any_heads() -> None:
    data = b"preamble\r\n--b \r\nX: y\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\nepilogue"
    parts = RelatedParts(in_pieces(data, 3), "b")

    assert await parts.next_part()
    assert await parts.next_part()
    assert b"".join([piece async for piece in parts.content()]) == b"two"
    assert not await parts.next_part()


@pytest.mark.parametrize(("said", "boundary"), [
    ('; type="application/dicom"; boundary="a b"', "a b"),
    ("; type=application/dicom;boundary=xyz;", "xyz"),
    ("; Boundary = xyz ; start=<1@2>", "xyz"),
    ("; boundary=----=_Part_1_12.34; type=x", "----=_Part_1_12.34"),
    ("; boundary==_a:b/c?(d)", "=_a:b/c?(d)"),
    ("; boundary=DICOM DATA BOUNDARY", "DICOM DATA BOUNDARY"),
    ('; type="a; boundary=b"; xboundary=c; boundary=d', "d"),
    ('; boundary="a\\"b"', 'a"b'),
    ("; boundary=", ""),
    ("; boundary", ""),
    ("", ""),
])  # fmt: skip
def test_a_boundary_is_found_quoted_or_not(said: str, boundary: str) -> None:
    """Many leave out the quotes that these characters need, and mean the whole of it."""
    assert boundary_of(f"Multipart/Related{said}") == boundary
    assert not boundary_of(f"application/dicom{said}")
