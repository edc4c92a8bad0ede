"""The contender `limit`: what the store takes from a sender that costs next to nothing.

Whole requests are made beforehand and written to four raw sockets; of an answer only the status is
read. Prints the seconds from the first byte sent to the last answer, and sends nothing again.

Usage: stow_limit.py PORT BATCH_INSTANCES BATCH_BYTES CONNECTIONS STUDY_UID=STUDY_FOLDER ...
"""

from __future__ import annotations

import queue
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def batches(folder: Path, instances_max: int, bytes_max: int) -> Iterator[list[bytes]]:
    """Read a study's files as requests of the size that cloudmig sends."""
    batch: list[bytes] = []
    for path in sorted(folder.glob("*.dcm")):
        body = path.read_bytes()
        if batch and (len(batch) == instances_max or sum(map(len, batch)) + len(body) > bytes_max):
            yield batch
            batch = []
        batch.append(body)
    yield batch


def request(study_instance_uid: str, batch: list[bytes]) -> bytes:
    """Make one store request (PS3.18 10.5.1), its head included."""
    boundary = secrets.token_hex(16)
    parts = [
        b"--%b\r\nContent-Type: application/dicom\r\nContent-Length: %d\r\n\r\n%b\r\n"
        % (boundary.encode(), len(body), body)
        for body in batch
    ]
    content = b"".join(parts) + f"--{boundary}--\r\n".encode()
    head = (
        f"POST /dicom-web/studies/{study_instance_uid} HTTP/1.1\r\nHost: store\r\n"
        f"Accept: application/dicom+json\r\nContent-Length: {len(content)}\r\n"
        f'Content-Type: multipart/related; type="application/dicom"; boundary={boundary}\r\n\r\n'
    )
    return head.encode() + content


def exchange(line: socket.socket, sent: bytes) -> None:
    """Send a request and read its answer to the end."""
    line.sendall(sent)
    said = b""
    while b"\r\n\r\n" not in said:
        said += _received(line)
    head, _, content = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head[:80]
    fields = dict(field.lower().split(b": ", 1) for field in head.split(b"\r\n")[1:])
    left = int(fields[b"content-length"]) - len(content)
    while left > 0:
        left -= len(_received(line))


def _received(line: socket.socket) -> bytes:
    piece = line.recv(1 << 16)
    assert piece, "the store hung up"
    return piece


def main() -> None:
    """Send all there is."""
    port, instances_max, bytes_max, connections = map(int, sys.argv[1:5])
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for argument in sys.argv[5:]:
        study_instance_uid, _, folder = argument.partition("=")
        for batch in batches(Path(folder), instances_max, bytes_max):
            waiting.put(request(study_instance_uid, batch))

    def send(_: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                try:
                    sent = waiting.get_nowait()
                except queue.Empty:
                    return
                exchange(line, sent)

    started, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(connections) as senders:
        list(senders.map(send, range(connections)))
    print(time.perf_counter() - started, time.process_time() - cpu)


if __name__ == "__main__":
    main()
