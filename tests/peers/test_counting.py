"""The tap is tapped: it counts every C-STORE that went by, and changes nothing."""

from __future__ import annotations

from tests.peers.corpus import corpus_folder
from tests.peers.counting import CommandReader, Tap
from tests.peers.launch import Dcmqrscp
from tests.peers.loading import load

FILES = ("mr-siemens-mosaic-001.dcm", "ct-explicit-small-001.dcm", "us-explicit-rgb-001.dcm")


class BehindTap:
    """A PACS as its callers see it through a tap."""

    loading_associations = 1

    def __init__(self, pacs: Dcmqrscp, tap: Tap) -> None:
        self.host, self.port, self.ae_title = tap.host, tap.port, pacs.ae_title


def test_each_c_store_is_counted_once_by_its_instance() -> None:
    files = [corpus_folder() / name for name in FILES]
    with Dcmqrscp() as pacs, Tap(pacs.host, pacs.port) as tap:
        first = load(BehindTap(pacs, tap), files)
        again = load(BehindTap(pacs, tap), files[:1])

    assert all(each.held for each in [*first, *again])
    twice, *once = (each.sop_instance_uid for each in first)
    assert tap.stored == {twice: 2} | dict.fromkeys(once, 1)
    assert tap.requests == {"C-STORE": 4}


def test_a_command_is_read_however_its_bytes_are_cut() -> None:
    """As fragments (PS3.8 9.3.1 allows any), within other PDUs, and byte by byte from a socket."""
    field = b"\x00\x00\x00\x01\x02\x00\x00\x00\x01\x00"
    instance = b"\x00\x00\x00\x10\x06\x00\x00\x001.2.3\x00"
    values = [(1, field[:7]), (1, field[7:] + instance[:3]), (3, instance[3:]), (2, b"data set")]
    bodies = [
        (len(piece) + 2).to_bytes(4, "big") + bytes([1, control]) + piece
        for control, piece in values
    ]
    pdus = [b"\x04\x00" + len(each).to_bytes(4, "big") + each for each in bodies]
    sent = b"\x01\x00\x00\x00\x00\x03abc" + b"".join(pdus)
    reader = CommandReader()

    read = [command for byte in sent for command in reader.feed(bytes([byte]))]

    assert read == [(0x0001, "1.2.3")]
    assert list(CommandReader().feed(sent)) == read


def test_who_is_not_there_refuses_through_the_tap_too() -> None:
    with Tap("127.0.0.1", 1) as tap:
        [record] = load(Absent(tap.port), [corpus_folder() / FILES[0]])

    assert not record.held
    assert tap.requests == {}


class Absent:
    """A PACS that nobody started."""

    host, ae_title, loading_associations = "127.0.0.1", "NOBODY", 1

    def __init__(self, port: int) -> None:
        self.port = port
