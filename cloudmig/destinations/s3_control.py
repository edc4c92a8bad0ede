"""What obstore cannot ask of an S3 store: storage class, the store's own checksum, uploads.

boto3 runs in threads, one attempt per call, with its time-outs explicit. It is the control plane:
the bytes of ordinary objects never pass here.
"""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import boto3.session
import botocore.config
from botocore import exceptions as theirs
from botocore.credentials import ReadOnlyCredentials
from botocore.parsers import ResponseParserError

from cloudmig.destinations.answers import error_for
from cloudmig.destinations.attributes import DATASET_DIGEST, FILE_DIGEST, PARTS_DIGEST
from cloudmig.destinations.profiles import StoreProfile
from cloudmig.errors import CloudmigError, ConfigError, DestinationRefused, DestinationUnavailable
from cloudmig.model.instance import Location, Receipt

__all__ = ["S3Control", "client_maker", "translate", "translated", "usable_credentials"]

#: What may be gone at the next attempt. Of the rest, some want credentials, most are settings.
_MAY_PASS = (
    theirs.CapacityNotAvailableError,
    theirs.ChecksumError,
    theirs.ConnectionError,
    theirs.FlexibleChecksumError,
    theirs.HTTPClientError,
    theirs.IncompleteReadError,
    theirs.MetadataRetrievalError,
    ResponseParserError,
    OSError,
)
_NO_CREDENTIALS = (
    theirs.LoginError,
    theirs.NoAuthTokenError,
    theirs.NoCredentialsError,
    theirs.PartialCredentialsError,
    theirs.RefreshWithMFAUnsupportedError,
    theirs.SSOError,
    theirs.TokenRetrievalError,
    theirs.UnknownCredentialError,
)


def client_maker(
    session: boto3.session.Session,
    *,
    endpoint: str | None,
    region: str | None,
    path_style: bool,
    connect_timeout_s: float,
    timeout_s: float,
    connections_max: int,
    ca_path: Path | None = None,
    attempts: int = 1,
) -> Callable[[], Any]:
    """Return what builds the client. Building one takes 0.3 s, and not every run needs one."""
    config = botocore.config.Config(
        connect_timeout=connect_timeout_s,
        read_timeout=timeout_s,
        # One retry layer: not this one, but where nothing above it retries.
        retries={"total_max_attempts": attempts, "mode": "standard"},
        max_pool_connections=connections_max,
        s3={"addressing_style": "path" if path_style else "auto"},
        # RGW over HTTPS refuses trailing checksums (MissingContentLength); ours are in headers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return partial(
        session.client,
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        config=config,
        verify=str(ca_path) if ca_path else None,
    )


def usable_credentials(session: boto3.session.Session) -> ReadOnlyCredentials:
    """Return the keys as they are now. Blocks while they are renewed; raises botocore's errors.

    And no others: when a provider hands out what has expired already, or what cannot be read,
    botocore passes on whatever met that.
    """
    held = session.get_credentials()
    assert held is not None, "checked when the destination was opened"
    try:
        return held.get_frozen_credentials()
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        raise theirs.CredentialRetrievalError(
            provider=held.method, error_msg=type(error).__name__
        ) from error


def translate(error: Exception, *, doing: str) -> CloudmigError:
    """Return our error for one of botocore's. Their messages hold keys: they are not passed on."""
    if isinstance(error, theirs.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = str(error.response.get("Error", {}).get("Code", ""))
        return error_for(status, "" if code.isdigit() else code, doing=doing)
    if isinstance(error, theirs.SSLError) and "certificate" in str(error):
        return DestinationRefused(
            f"{doing}: the certificate of the store is not trusted",
            hint="check the endpoint's name, and give the store's CA if it is your own",
        )
    said = f"{doing}: {type(error).__name__}"
    if isinstance(error, theirs.CredentialRetrievalError):
        # Whoever hands them out renews them without us; a person is needed only if that fails.
        return DestinationUnavailable(
            said, hint="look at what hands out the credentials, and at the clock of this machine"
        )
    if isinstance(error, _MAY_PASS):
        return DestinationUnavailable(
            said, hint="if it lasts: is the store up, and is its endpoint the right one?"
        )
    if isinstance(error, _NO_CREDENTIALS):
        return DestinationRefused(said, hint="check access keys, profile, role or login")
    return ConfigError(said, hint="check endpoint, region and profile of the destination")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn what botocore raises in the block into errors of ours."""
    try:
        yield
    except (theirs.ClientError, theirs.BotoCoreError, OSError) as error:
        raise translate(error, doing=doing) from error


class S3Control:
    """Asks one bucket. Keys are relative to the destination's prefix."""

    def __init__(
        self,
        make_client: Callable[[], Any],
        bucket: str,
        *,
        renew_credentials: Callable[[], object],
        profile: StoreProfile,
        prefix: str = "",
        kms_key_id: str | None = None,
        threads: int = 4,
    ) -> None:
        self._make_client = make_client
        self._renew_credentials = renew_credentials
        self._client: Any = None
        self._making = threading.Lock()
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.profile = profile
        #: What a boto3 call that creates an object says about encryption.
        self.encryption: dict[str, Any] = (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id} if kms_key_id else {}
        )
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="s3-control")

    def full_key(self, key: str) -> str:
        """Return the key in the bucket of a key of ours."""
        return self._prefix + key

    async def call(
        self, operation: str, key: str, *, executor: Executor | None = None, **arguments: object
    ) -> dict[str, Any]:
        """Call one operation on one key in a thread. Raises botocore's errors."""
        loop = asyncio.get_running_loop()
        job = partial(self.call_here, operation, Key=self.full_key(key), **arguments)
        return await loop.run_in_executor(executor or self._threads, job)

    def call_here(self, operation: str, **arguments: object) -> dict[str, Any]:
        """Call one operation in this thread. Raises botocore's errors."""
        with self._making:
            if self._client is None:
                self._client = self._make_client()
        self._renew_credentials()  # Else the call would, and raise what is not botocore's.
        answer: dict[str, Any] = getattr(self._client, operation)(Bucket=self._bucket, **arguments)
        return answer

    async def head(self, location: Location, **arguments: Any) -> dict[str, Any] | None:  # noqa: ANN401
        """Return the answer to HEAD, or None when nothing is there."""
        if location.version_id is not None:
            arguments["VersionId"] = location.version_id
        try:
            return await self.call("head_object", location.key, **arguments)
        except theirs.ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            # 405: the version asked for is a delete marker. 400: no such version, on some stores.
            gone = {404, 405} if location.version_id is None else {400, 404, 405}
            if status in gone:
                return None
            raise translate(error, doing="head") from error
        except (theirs.BotoCoreError, OSError) as error:
            raise translate(error, doing="head") from error

    async def find(self, location: Location) -> Receipt | None:
        """Return what the store holds; digests are empty where its metadata do not tell them."""
        answer = await self.head(location)
        if answer is None:
            return None
        metadata = answer.get("Metadata", {})
        version_id = answer.get("VersionId")
        default = "STANDARD" if self.profile.storage_classes else ""
        return Receipt(
            location=Location(location.key, None if version_id == "null" else version_id),
            size_bytes=answer["ContentLength"],
            file_sha256=metadata.get(FILE_DIGEST, ""),
            dataset_sha256=metadata.get(DATASET_DIGEST, ""),
            etag=answer.get("ETag", ""),
            storage_class=answer.get("StorageClass", default),
        )

    async def stored_checksum(self, location: Location) -> str | None:
        """Return the hex SHA-256 of the file as the store computed it, None where it has none.

        A multipart upload has a composite one, over the parts' digests. It is compared with the
        composite that we computed when we cut the file, after hashing the whole of it: where they
        agree, the file digest is what the store holds; else its composite is returned, which
        equals no file digest.
        """
        answer = await self.head(location, ChecksumMode="ENABLED")
        if answer is None or not answer.get("ChecksumSHA256"):
            return None
        value, _, parts = answer["ChecksumSHA256"].partition("-")
        digest = base64.b64decode(value).hex()
        if not parts and answer.get("ChecksumType") != "COMPOSITE":
            return digest
        metadata = answer.get("Metadata", {})
        ours = metadata.get(PARTS_DIGEST, "").partition("-")[0]
        if not ours:
            return None
        return metadata.get(FILE_DIGEST) if digest == ours else digest
