"""Record a real `make demo` on a terminal of its own, and draw what it showed as docs/demo.svg.

.venv/bin/python docs/record_demo.py
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
COLUMNS = 112
#: Fonts are the reader's own: a picture in a README loads nothing from anywhere.
_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def record(command: list[str]) -> str:
    """Run a command on a pseudo-terminal and return everything it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, COLUMNS, 0, 0))
    child = subprocess.Popen(  # noqa: S603 - our own make
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
    )  # fmt: skip
    os.close(theirs)
    written = bytearray()
    try:
        while piece := _read(ours):
            written += piece
    finally:
        os.close(ours)
        if child.wait():
            sys.stdout.write(written.decode("utf-8", "replace"))
            raise SystemExit(f"the demo ended with {child.returncode}: nothing is recorded")
    return written.decode("utf-8")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""  # Linux says EIO when the other side of a terminal has closed.


def draw(written: str) -> str:
    """Return the last state of every line as an SVG picture."""
    # A line that was redrawn counts as it was at last.
    lines = [line.rstrip("\r").split("\r")[-1] for line in written.split("\n")]
    text = "\n".join(line.replace("\x1b[2K", "") for line in lines).strip("\n")
    text = text.replace(f"{ROOT}/", "")
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print("[bold]$ make demo[/bold]")
    console.print(Text.from_ansi(text))
    picture = _FONT_FACE.sub("", console.export_svg(title="make demo", unique_id="demo"))
    return picture.replace("Fira Code", "ui-monospace, monospace")


if __name__ == "__main__":
    (ROOT / "docs" / "demo.svg").write_text(
        draw(record(["make", "--no-print-directory", "demo"])), encoding="utf-8"
    )
