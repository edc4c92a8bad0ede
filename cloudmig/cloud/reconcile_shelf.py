"""Where inventories, manifests and results are read and written: a bucket, or a folder like one.

What reconciles is written once against `Shelf`; boto3's client is passed in by whoever has one.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Address", "FolderShelf", "S3Shelf", "Shelf", "Shelves"]

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Address:
    """One object: a bucket's name and the whole key."""

    bucket: str
    key: str

    def document(self) -> dict[str, str]:
        """Return the JSON shape that steps hand to each other."""
        return {"bucket": self.bucket, "key": self.key}

    @classmethod
    def of(cls, document: Mapping[str, str]) -> Address:
        """Return the address in a JSON shape."""
        return cls(document["bucket"], document["key"])

    def beside(self, name: str) -> Address:
        """Return the address of another object in the same folder."""
        return Address(self.bucket, f"{self.key.rpartition('/')[0]}/{name}".lstrip("/"))


class Shelf(Protocol):
    """Objects by name. Faults of the network raise whatever the client raises."""

    def get(self, address: Address, version_id: str | None = None) -> bytes | None:
        """Return a whole small object, or None where there is none."""
        ...

    def get_range(self, address: Address, first: int, length: int) -> bytes:
        """Return a part of an object that is known to exist."""
        ...

    def open(self, address: Address) -> BinaryIO:
        """Return a large object to be read from front to back, once.

        Raises `FileNotFoundError` where there is none.
        """
        ...

    def put(self, address: Address, body: bytes | Path) -> None:
        """Write an object, from memory or from a file; again is harmless."""
        ...


class S3Shelf:
    """A shelf over boto3's S3 client."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - boto3's
        self._client = client

    def get(self, address: Address, version_id: str | None = None) -> bytes | None:
        wanted = {"Bucket": address.bucket, "Key": address.key}
        if version_id and version_id != "null":
            wanted["VersionId"] = version_id
        try:
            answer = self._client.get_object(**wanted)
        except self._client.exceptions.ClientError as error:
            # A version that is a delete marker answers 405, one that is gone 404, one that lies in
            # an archive class 403 with a code of its own.
            code = error.response.get("Error", {}).get("Code")
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if code == "InvalidObjectState" or (status in {404, 405} and code != "NoSuchBucket"):
                return None
            raise
        body: bytes = answer["Body"].read()
        return body

    def get_range(self, address: Address, first: int, length: int) -> bytes:
        wanted = f"bytes={first}-{first + length - 1}"
        answer = self._client.get_object(Bucket=address.bucket, Key=address.key, Range=wanted)
        body: bytes = answer["Body"].read()
        return body

    def open(self, address: Address) -> BinaryIO:
        try:
            body = self._client.get_object(Bucket=address.bucket, Key=address.key)["Body"]
        except self._client.exceptions.NoSuchKey as error:
            raise FileNotFoundError("no such object") from error
        return io.BufferedReader(_Stream(body), _READ_BYTES)

    def put(self, address: Address, body: bytes | Path) -> None:
        if isinstance(body, Path):
            with body.open("rb") as file:
                self._client.put_object(Bucket=address.bucket, Key=address.key, Body=file)
        else:
            self._client.put_object(Bucket=address.bucket, Key=address.key, Body=body)


class _Stream(io.RawIOBase):
    """botocore's body as a raw file: gzip reads that, and asks for lengths of its own."""

    def __init__(self, body: Any) -> None:  # noqa: ANN401 - botocore's
        super().__init__()
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        piece: bytes = self._body.read(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._body.close()
        super().close()


class FolderShelf:
    """A shelf over a folder that holds what a bucket holds. Versions are not kept."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path_of(self, key: str) -> Path:
        """Return the path of a key. A key that would leave the folder is a bug of the caller."""
        pure = PurePosixPath(key)
        assert not pure.is_absolute(), "a key begins with no slash here"
        assert ".." not in pure.parts, "a key never climbs"
        return self._root / pure

    def get(self, address: Address, version_id: str | None = None) -> bytes | None:  # noqa: ARG002
        try:
            return self.path_of(address.key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def get_range(self, address: Address, first: int, length: int) -> bytes:
        with self.path_of(address.key).open("rb") as file:
            file.seek(first)
            return file.read(length)

    def open(self, address: Address) -> BinaryIO:
        return self.path_of(address.key).open("rb", buffering=_READ_BYTES)

    def put(self, address: Address, body: bytes | Path) -> None:
        path = self.path_of(address.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(body, Path):
            body.replace(path)
        else:
            path.write_bytes(body)


@dataclass(frozen=True, slots=True)
class Shelves:
    """Several shelves by the names of their buckets, as one: an inventory lies elsewhere."""

    by_bucket: Mapping[str, Shelf]

    def get(self, address: Address, version_id: str | None = None) -> bytes | None:
        return self.by_bucket[address.bucket].get(address, version_id)

    def get_range(self, address: Address, first: int, length: int) -> bytes:
        return self.by_bucket[address.bucket].get_range(address, first, length)

    def open(self, address: Address) -> BinaryIO:
        return self.by_bucket[address.bucket].open(address)

    def put(self, address: Address, body: bytes | Path) -> None:
        self.by_bucket[address.bucket].put(address, body)
