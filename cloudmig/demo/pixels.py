"""Pictures for made-up studies: grey phantoms, RLE frames and a tiny JPEG, without numpy."""

from __future__ import annotations

import functools
import hashlib
import struct

from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import RLELosslessEncoder

__all__ = ["encapsulated_jpeg", "encapsulated_rle", "grey_16", "stamp_of"]


def stamp_of(name: str, length: int) -> bytes:
    """Return bytes that only this name has: they make two pictures differ."""
    return hashlib.shake_128(name.encode()).digest(length)


def grey_16(name: str, *, rows: int, columns: int) -> bytes:
    """Draw a phantom of 12 bits in 16, little endian, that is unique to the name."""
    phantom = _phantom(rows, columns)
    first = int.from_bytes(stamp_of(name, 2), "little") % rows * columns * 2
    turned = phantom[first:] + phantom[:first]
    # One row of noise, so that no two names share their bytes; 12 bits: the high byte is halved.
    noise = bytearray(stamp_of(name, 2 * columns))
    noise[1::2] = bytes(value & 0x0F for value in noise[1::2])
    return turned[: -len(noise)] + bytes(noise)


@functools.lru_cache(maxsize=16)
def _phantom(rows: int, columns: int) -> bytes:
    """Draw an ellipse with a brighter one in it on black, as a head looks in cross-section."""
    drawn = bytearray()
    for row in range(rows):
        y = (2 * row - rows) / rows
        for column in range(columns):
            x = (2 * column - columns) / columns
            if x * x / 0.16 + y * y / 0.25 < 1:
                value = 1100 + (row * 7 + column * 3) % 64
            elif x * x / 0.64 + y * y / 0.81 < 1:
                value = 1000 + (row * 3 + column * 5) % 32
            else:
                value = 0
            drawn += value.to_bytes(2, "little")
    return bytes(drawn)


def encapsulated_rle(name: str, *, rows: int, columns: int) -> bytes:
    """Compress the phantom of that name with RLE (PS3.5 annex G) into one fragment."""
    frame = RLELosslessEncoder.encode(
        grey_16(name, rows=rows, columns=columns),
        rows=rows, columns=columns, samples_per_pixel=1, number_of_frames=1,
        bits_allocated=16, bits_stored=12, pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
    )  # fmt: skip
    return encapsulate([frame])


def encapsulated_jpeg(name: str, *, rows: int, columns: int) -> bytes:
    """Make a valid grey baseline JPEG (PS3.5 8.2.1) of flat 8x8 blocks into one fragment."""
    blocks = (rows // 8) * (columns // 8)
    assert rows % 8 == columns % 8 == 0, "whole blocks only"
    quantisation = b"\xff\xdb" + struct.pack(">HB", 67, 0) + b"\x08" * 64
    frame_header = b"\xff\xc0" + struct.pack(">HBHHBBBB", 11, 8, rows, columns, 1, 1, 0x11, 0)
    # Two codes each, one bit long and two: brightness differences of 0 and 4 bits; "end of block".
    dc_table = b"\xff\xc4" + struct.pack(">HB", 21, 0x00) + bytes([1, 1] + [0] * 14) + b"\x00\x04"
    ac_table = b"\xff\xc4" + struct.pack(">HB", 20, 0x10) + bytes([1] + [0] * 15) + b"\x00"
    scan_header = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0x00, 0, 63, 0)
    entropy = _packed(_flat_blocks(stamp_of(name, blocks)))
    tables = quantisation + frame_header + dc_table + ac_table
    jpeg = b"\xff\xd8" + tables + scan_header + entropy + b"\xff\xd9"
    return encapsulate([jpeg])


def _flat_blocks(noise: bytes) -> str:
    """Code a brighter or darker step for some blocks and none for the others."""
    bits, level = [], 0
    for value in noise:
        step = value % 8 + 8 if value & 0x10 else 0
        if step and level > 0:
            step = -step
        level += step
        coded = format(step if step > 0 else step + 15, "04b")
        bits.append(f"10{coded}0" if step else "00")
    return "".join(bits)


def _packed(bits: str) -> bytes:
    """Pack entropy-coded bits: fill up with ones, and a zero follows every 0xFF."""
    bits += "1" * (-len(bits) % 8)
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return packed.replace(b"\xff", b"\xff\x00")
