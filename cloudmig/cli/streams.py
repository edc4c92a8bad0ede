"""Standard streams as we need them, whatever encoding and descriptors we were begun with."""

from __future__ import annotations

import codecs
import io
import os
import sys

__all__ = ["prepare_streams"]

_PLAIN = {"✓": "+", "✗": "x", "→": "->", "·": "|"}
_LEGIBLE = "cloudmig.legible"


def prepare_streams() -> None:
    """Let every text be written, and no other file be taken for a stream.

    To be called first: a closed descriptor's number is given to the next file that is opened.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            _open_nowhere(number, name)
    codecs.register_error(_LEGIBLE, _legible)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_LEGIBLE)


def _open_nowhere(number: int, name: str) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
    stream = open(number, "r" if name == "stdin" else "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    setattr(sys, name, stream)


def _legible(error: UnicodeError) -> tuple[str, int]:
    """Write what an encoding lacks as plain signs, or as its number (codecs.register_error)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(each) or _number(each) for each in text), error.end


def _number(sign: str) -> str:
    return sign.encode("ascii", "backslashreplace").decode()
