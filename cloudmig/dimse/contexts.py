"""Presentation contexts: which transfer syntaxes are asked for and which one is picked.

"Unchanged" means as the source sent it. A peer that may choose among several transfer syntaxes
in one context may also transcode into one of them, so each SOP class and transfer syntax gets a
context of its own where we propose, and lossy syntaxes never share one with lossless ones.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from pynetdicom import sop_class

__all__ = [
    "COMMON_STORAGE_SOP_CLASS_UIDS",
    "CONTEXTS_MAX",
    "ELSEWHERE_TRANSFER_SYNTAX_UIDS",
    "ENCAPSULATED_TRANSFER_SYNTAX_UIDS",
    "LOSSLESS_TRANSFER_SYNTAX_UIDS",
    "LOSSY_TRANSFER_SYNTAX_UIDS",
    "QUERY_TRANSFER_SYNTAX_UIDS",
    "RARE_TRANSFER_SYNTAX_UIDS",
    "STORAGE_SOP_CLASS_UIDS",
    "TRANSFER_SYNTAX_UIDS",
    "VERIFICATION_SOP_CLASS_UID",
    "AcceptedContext",
    "ProposedContext",
    "choose_transfer_syntax",
    "retrieve_contexts",
]

#: Context IDs are the odd numbers 1 to 255 (PS3.8 9.3.2.2).
CONTEXTS_MAX = 128

VERIFICATION_SOP_CLASS_UID = "1.2.840.10008.1.1"

EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"

#: What identifiers are sent in: explicit first, for its own lengths and VRs.
QUERY_TRANSFER_SYNTAX_UIDS = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

#: Syntaxes that hold the pixels bit for bit, or hold what was never compressed, in the order we
#: ask for them: what archives really hold comes first, so that it survives a cut at 128.
LOSSLESS_TRANSFER_SYNTAX_UIDS = (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first-order prediction
    "1.2.840.10008.1.2.4.90",  # JPEG 2000, lossless only
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless, process 14
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.4.92",  # JPEG 2000 Part 2, lossless only
    "1.2.840.10008.1.2.4.201",  # High-Throughput JPEG 2000, lossless only
    "1.2.840.10008.1.2.4.202",  # High-Throughput JPEG 2000 with RPCL, lossless only
    "1.2.840.10008.1.2.4.110",  # JPEG XL Lossless
    "1.2.840.10008.1.2.8.1",  # Deflated Image Frame Compression
    "1.2.840.10008.1.2.1.98",  # Encapsulated Uncompressed Explicit VR Little Endian
)

#: Syntaxes that may lose something of the pixels. A source that holds an object in one of them
#: sends it as it is; one that holds it in another must not be tempted to convert.
LOSSY_TRANSFER_SYNTAX_UIDS = (
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-lossless
    "1.2.840.10008.1.2.4.93",  # JPEG 2000 Part 2
    "1.2.840.10008.1.2.4.203",  # High-Throughput JPEG 2000
    "1.2.840.10008.1.2.4.111",  # JPEG XL JPEG Recompression
    "1.2.840.10008.1.2.4.112",  # JPEG XL
    "1.2.840.10008.1.2.4.100",  # MPEG2 Main Profile / Main Level
    "1.2.840.10008.1.2.4.100.1",  # the same, fragmentable
    "1.2.840.10008.1.2.4.101",  # MPEG2 Main Profile / High Level
    "1.2.840.10008.1.2.4.101.1",
    "1.2.840.10008.1.2.4.102",  # MPEG-4 AVC/H.264 High Profile / Level 4.1
    "1.2.840.10008.1.2.4.102.1",
    "1.2.840.10008.1.2.4.103",  # the same, BD-compatible
    "1.2.840.10008.1.2.4.103.1",
    "1.2.840.10008.1.2.4.104",  # MPEG-4 AVC/H.264 High Profile / Level 4.2 for 2D video
    "1.2.840.10008.1.2.4.104.1",
    "1.2.840.10008.1.2.4.105",  # the same, for 3D video
    "1.2.840.10008.1.2.4.105.1",
    "1.2.840.10008.1.2.4.106",  # MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2
    "1.2.840.10008.1.2.4.106.1",
    "1.2.840.10008.1.2.4.107",  # HEVC/H.265 Main Profile / Level 5.1
    "1.2.840.10008.1.2.4.108",  # HEVC/H.265 Main 10 Profile / Level 5.1
)

#: Every transfer syntax we know, in the order we ask for them.
TRANSFER_SYNTAX_UIDS = LOSSLESS_TRANSFER_SYNTAX_UIDS + LOSSY_TRANSFER_SYNTAX_UIDS

#: Retired ones of JPEG: proposed only for what came in no other, since each takes a context of
#: every SOP class.
RARE_TRANSFER_SYNTAX_UIDS = tuple(
    f"1.2.840.10008.1.2.4.{tail}"
    for tail in (53, 55, 58, 52, 54, 56, 59, 60, 61, 62, 63, 64, 65, 66)
)

#: JPIP: the address of the pixels in place of them. Never asked for by itself: who can convert
#: would send that of an image whose pixels it cannot send, and it would pass for the image.
ELSEWHERE_TRANSFER_SYNTAX_UIDS = frozenset(
    f"1.2.840.10008.1.2.4.{tail}" for tail in (94, 95, 204, 205)
)

#: Those that have their pixels in fragments: (7FE0,0010) has no defined length (PS3.5 A.4).
ENCAPSULATED_TRANSFER_SYNTAX_UIDS = frozenset(TRANSFER_SYNTAX_UIDS) - {
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
}

#: Every storage SOP class pynetdicom knows (PS3.4 B.5).
STORAGE_SOP_CLASS_UIDS = tuple(sop_class._STORAGE_CLASSES.values())

#: The storage SOP classes that fill most archives, most frequent first.
COMMON_STORAGE_SOP_CLASS_UIDS = tuple(
    f"1.2.840.10008.5.1.4.1.1.{tail}"
    for tail in (
        "2", "4", "1", "1.1", "6.1", "3.1", "7", "12.1", "128", "1.2", "20", "88.11", "88.22",
        "88.33", "88.67", "11.1", "104.1", "2.1", "4.1", "12.2", "13.1.3", "1.3", "481.1", "481.2",
        "481.3", "481.5", "66.4", "66.1", "77.1.4", "77.1.5.1", "77.1.1", "77.1.2", "77.1.6",
        "7.1", "7.2", "7.3", "7.4", "9.1.1", "9.1.2", "88.59", "66", "66.5", "3", "6", "5", "128.1",
        "130", "1.1.1", "1.2.1", "77.1.5.4", "67", "4.2", "4.3", "2.2", "91.1", "30", "104.2",
    )
)  # fmt: skip

_LOSSY = frozenset(LOSSY_TRANSFER_SYNTAX_UIDS)


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A SOP class and the syntaxes the requestor can send or take it in (PS3.8 7.1.1.13)."""

    abstract_syntax_uid: str
    transfer_syntax_uids: tuple[str, ...]
    scp_role: bool = False  #: The requestor wants to be the SCP, for C-GET (PS3.7 D.3.3.4).


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """What both sides agreed on for one context ID."""

    context_id: int
    abstract_syntax_uid: str
    transfer_syntax_uid: str


def choose_transfer_syntax(proposed: Sequence[str], allowed: Container[str] | None) -> str | None:
    """Return the first proposed syntax that is allowed, or None when there is none.

    A lossy syntax is taken only where nothing else is proposed: beside a lossless one, accepting
    it would invite the sender to convert. `allowed=None` allows every syntax.
    """
    only_lossy = all(transfer_syntax_uid in _LOSSY for transfer_syntax_uid in proposed)
    for transfer_syntax_uid in proposed:
        if transfer_syntax_uid in _LOSSY and not only_lossy:
            continue
        if allowed is None or transfer_syntax_uid in allowed:
            return transfer_syntax_uid
    return None


def retrieve_contexts(
    sop_class_uids: Sequence[str],
    transfer_syntax_uids: Sequence[str] = TRANSFER_SYNTAX_UIDS,
    *,
    reserved: int = 1,
) -> list[list[ProposedContext]]:
    """Return what to propose for C-GET: one context per SOP class and transfer syntax, in groups.

    Each group fits one association beside `reserved` query/retrieve contexts. The contexts of one
    SOP class stay together where they can, because an object of that class is asked for once.
    """
    room = CONTEXTS_MAX - reserved
    assert room > 0, f"{reserved} reserved contexts leave no room"
    groups: list[list[ProposedContext]] = [[]]
    for of_class in _contexts_by_class(sop_class_uids, transfer_syntax_uids, room):
        if len(groups[-1]) + len(of_class) > room:
            groups.append([])
        groups[-1] += of_class
    return [group for group in groups if group]


def _contexts_by_class(
    sop_class_uids: Sequence[str], transfer_syntax_uids: Sequence[str], room: int
) -> Iterator[list[ProposedContext]]:
    for sop_class_uid in dict.fromkeys(sop_class_uids):
        contexts = [
            ProposedContext(sop_class_uid, (transfer_syntax_uid,), scp_role=True)
            for transfer_syntax_uid in dict.fromkeys(transfer_syntax_uids)
        ]
        for start in range(0, len(contexts), room):
            yield contexts[start : start + room]
