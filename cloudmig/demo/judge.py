"""An onlooker that shares no code with the agent: does the bucket hold what the PACS holds?"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from cloudmig.demo.bucket import BucketView
from cloudmig.demo.pacs.holdings import Held

__all__ = ["Judgement", "data_set_of", "judge"]

_META_LENGTH_AT = 140  #: Value of (0002,0000): preamble, prefix, tag, VR, length (PS3.10 7.1).


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is in the bucket, compared with the ground truth by data set digest."""

    expected: int  #: Different data sets that should be there.
    found: int  #: Of those, how many are.
    absent: int
    strange: int  #: Objects that no instance of the truth accounts for.
    written_twice: int  #: Objects with more than one version.
    manifests: int

    @property
    def holds(self) -> bool:
        """Tell whether nothing is lost, invented or written twice."""
        return not (self.absent or self.strange or self.written_twice)


def judge(bucket: BucketView, truth: Iterable[Held]) -> Judgement:
    """Read every object of the bucket and compare it with what the PACS really holds."""
    wanted = {held.data_set_sha256 for held in truth}
    listed = list(bucket.versions("v1/"))
    versions = Counter(version.key for version in listed)
    images = [one.key for one in listed if one.is_latest and one.key.endswith(".dcm")]
    digests = [hashlib.sha256(data_set_of(bucket.read(key))).hexdigest() for key in images]
    found = wanted.intersection(digests)
    return Judgement(
        expected=len(wanted),
        found=len(found),
        absent=len(wanted - found),
        strange=sum(digest not in wanted for digest in digests),
        written_twice=sum(count > 1 for count in versions.values()),
        manifests=sum("/manifest/" in key for key in versions),
    )


def data_set_of(part10: bytes) -> bytes:
    """Return what follows the file meta information (PS3.10 section 7.1)."""
    (meta_bytes,) = struct.unpack_from("<I", part10, _META_LENGTH_AT)
    return part10[_META_LENGTH_AT + 4 + meta_bytes :]
