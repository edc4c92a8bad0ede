"""Our own S3 PUT: signed as botocore signs, frugal with connections, patient with no store."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import boto3.session
import botocore.session
import pytest
import trustme
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from cloudmig.bootstrap import open_agent
from cloudmig.config import load
from cloudmig.destinations.answers import ConditionFailed, Unacceptable
from cloudmig.destinations.attributes import ObjectAttributes
from cloudmig.destinations.object_store import ObjectStoreDestination
from cloudmig.destinations.opening import StoreSettings, open_object_store
from cloudmig.destinations.s3_put import AccessKeys, S3Put, S3PutTarget, authorization
from cloudmig.errors import DestinationRefused, DestinationUnavailable
from cloudmig.model.instance import Location
from cloudmig.telemetry import SilentReporter

NOW = dt.datetime(2026, 3, 14, 9, 26, 53, tzinfo=dt.UTC)
BODY = bytes(range(256)) * 4096
DIGEST = "ab" * 32
STORED = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nx-amz-version-id: v1\r\nContent-Length: 0\r\n\r\n'
CHUNKED = (
    b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"1e\r\n<Error><Code>BadDigest</Code></E\r\n5\r\nrror>\r\n0\r\n\r\n"
)
FORBIDDEN = (
    b"HTTP/1.1 403 No\r\nContent-Length: 46\r\n\r\n<Error><Code>InvalidAccessKeyId</Code></Error>"
)
IF_ABSENT = {"if-none-match": "*"}
SILENCE_MAX_S = 0.9

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class _FixedAuth(S3SigV4Auth):  # type: ignore[misc]
    """botocore's signer, with the digest we give it and at our time."""

    def payload(self, request: AWSRequest) -> str:
        return DIGEST

    def _set_necessary_date_headers(self, request: AWSRequest) -> None:
        del request.headers["X-Amz-Date"]
        request.headers["X-Amz-Date"] = NOW.strftime("%Y%m%dT%H%M%SZ")

    def add_auth(self, request: AWSRequest) -> None:
        request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
        self._set_necessary_date_headers(request)
        self._modify_request_before_signing(request)
        signature = self.signature(
            self.string_to_sign(request, self.canonical_request(request)), request
        )
        self._inject_signature_to_request(request, signature)


uid = st.from_regex(r"[0-9]{1,9}(\.[0-9]{1,9}){1,6}", fullmatch=True)


tokens = st.sampled_from([None, "tok/en+=="])
regions = st.sampled_from(["us-east-1", "eu-central-1"])


@given(uid=uid, token=tokens, region=regions)
def test_it_is_signed_as_botocore_signs_it(uid: str, token: str | None, region: str) -> None:
    path = f"/images/some%20prefix/v1/main/ab/{uid}/{uid}/{uid}~r1.dcm"
    headers = {
        "host": "store.example:9000",
        "x-amz-content-sha256": DIGEST,
        "content-type": "application/dicom",
        "if-none-match": "*",
        "x-amz-meta-cloudmig-file-sha256": DIGEST,
        "x-amz-storage-class": "STANDARD_IA",
    }
    request = AWSRequest("PUT", f"http://store.example:9000{path}", headers=dict(headers))
    _FixedAuth(Credentials("access", "secret", token), "s3", region).add_auth(request)

    signed = authorization(
        path, headers, AccessKeys("access", "secret", token), region=region, now=NOW
    )

    assert signed["authorization"] == request.headers["Authorization"]


@dataclass
class Store:
    """A TCP server that answers as it is told, request by request."""

    answers: list[bytes]
    port: int = 0
    connections: int = 0
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    read_body: bool = True
    hangs: bool = False
    left: asyncio.Event = field(default_factory=asyncio.Event)  #: Set when a connection ended.

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                if self.read_body:
                    self.bodies.append(await reader.readexactly(len(BODY)))
                if self.hangs:
                    await reader.read()
                answer = self.answers.pop(0)
                writer.write(answer)
                await writer.drain()
                if b"close" in answer or not self.read_body:
                    break
        except asyncio.IncompleteReadError:
            return
        finally:
            self.left.set()
            writer.close()


@asynccontextmanager
async def running(
    store: Store, context: ssl.SSLContext | None = None, serve: Serve | None = None
) -> AsyncIterator[Store]:
    server = await asyncio.start_server(serve or store.serve, "127.0.0.1", 0, ssl=context)
    store.port = server.sockets[0].getsockname()[1]
    try:
        yield store
    finally:
        server.close()


async def seconds_of_a_slow_put(
    mebibytes: int, pause_s: float, *, tls: tuple[ssl.SSLContext, Path] | None = None
) -> float:
    """Send a body to a store that pauses after each MiB, and return how long that took."""
    taken: list[float] = []

    async def sip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun = asyncio.get_running_loop().time()
        for _ in range(mebibytes):
            await reader.readexactly(1 << 20)
            await asyncio.sleep(pause_s)  # What is tested is a line this slow.
        taken.append(asyncio.get_running_loop().time() - begun)
        writer.write(STORED)
        await writer.drain()
        writer.close()

    context, trusted = tls or (None, None)
    async with running(Store([]), context, sip) as store:
        where = {"scheme": "https", "host": "localhost"} if tls else {}
        sender = client(store, ca=trusted, timeout_s=SILENCE_MAX_S, **where)
        body = bytes(mebibytes << 20)
        await sender.put("k", body, ObjectAttributes(), file_sha256=DIGEST, condition={})
        sender.close()
    return taken[0]


def client(
    store: Store,
    *,
    scheme: str = "http",
    host: str = "127.0.0.1",
    ca: Path | None = None,
    timeout_s: float = 10.0,
) -> S3Put:
    async def keys() -> AccessKeys:
        return AccessKeys("access", "secret")

    context = ssl.create_default_context(cafile=str(ca)) if ca else None
    return S3Put(
        S3PutTarget(
            endpoint=f"{scheme}://{host}:{store.port}", path_prefix="/b/", region="us-east-1"
        ),
        keys,
        connect_timeout_s=5,
        timeout_s=timeout_s,
        ssl_context=context,
    )


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return what a server at localhost shows, and the file of the authority that signed it."""
    authority, trusted = trustme.CA(), folder / "ca.pem"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(trusted))
    return context, trusted


async def put(sender: S3Put, condition: dict[str, str] | None = None) -> str | None:
    answer = await sender.put(
        "v1/key.dcm", BODY, ObjectAttributes(), file_sha256=DIGEST,
        condition=IF_ABSENT if condition is None else condition,
    )  # fmt: skip
    return answer.version_id


async def test_a_connection_is_kept_and_the_bytes_arrive_with_their_digest() -> None:
    async with running(Store([STORED, STORED])) as store:
        sender = client(store)
        assert [await put(sender), await put(sender)] == ["v1", "v1"]
        sender.close()

    assert store.connections == 1
    assert store.bodies == [BODY, BODY]
    assert b"x-amz-content-sha256: " + DIGEST.encode() in store.heads[0]
    assert b"x-amz-checksum-sha256: q6ur" in store.heads[0]
    assert store.heads[0].startswith(b"PUT /b/v1/key.dcm HTTP/1.1\r\n")


async def test_a_connection_the_store_closed_is_not_used_again() -> None:
    closing = STORED.replace(b"Content-Length", b"Connection: close\r\nContent-Length")
    async with running(Store([closing, STORED])) as store:
        sender = client(store)
        await put(sender)
        await put(sender)
        sender.close()

    assert store.connections == 2


async def test_an_agent_that_ends_leaves_no_connection_open(tmp_path: Path) -> None:
    async with running(Store([STORED, STORED])) as store:
        config = tmp_path / "cloudmig.toml"
        config.write_text(f"""
[sources.main]
archive = "main"
host = "127.0.0.1"
port = 104
aet = "PACS"
ae_titles = ["CLOUDMIG"]
retrieve = "c-get"
[destinations.archive]
url = "s3://images"
endpoint = "http://127.0.0.1:{store.port}"
access_key_id = "a"
secret_access_key = "b"
[[rules]]
name = "everything"
copy_to = ["archive"]
""")
        async with open_agent(load(config), SilentReporter()) as parts:
            await parts.destinations["archive", "main"].put_evidence("v1/m/1.json.gz", BODY)
            assert not store.left.is_set()

        async with asyncio.timeout(5):
            await store.left.wait()


@pytest.mark.parametrize("status", [409, 412])
async def test_a_condition_that_does_not_hold_is_no_error_of_the_store(status: int) -> None:
    refused = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()
    async with running(Store([refused, refused])) as store:
        sender = client(store)
        with pytest.raises(ConditionFailed):
            await put(sender)
        with pytest.raises(DestinationUnavailable):  # Nobody asked for a condition.
            await put(sender, condition={})
        sender.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 503 Slow\r\nContent-Length: 0\r\n\r\n", DestinationUnavailable),
        (CHUNKED, DestinationUnavailable),
        (FORBIDDEN, DestinationRefused),
        (b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n", Unacceptable),
        (b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n", DestinationRefused),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", DestinationUnavailable),
        (b"HTTP/1.1 200 OK\r\nETag: e\r\nContent-Length: 99\r\n\r\nclose", DestinationUnavailable),
        (b"220 smtp.example close\r\n", DestinationUnavailable),
        (b"close", DestinationUnavailable),
        (b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 100_000, DestinationUnavailable),
    ],
)
async def test_every_other_answer_has_its_meaning(answer: bytes, error: type[Exception]) -> None:
    async with running(Store([answer])) as store:
        with pytest.raises(error):
            await put(client(store))


async def test_an_interim_answer_is_not_the_answer() -> None:
    async with running(Store([b"HTTP/1.1 100 Continue\r\n\r\n" + STORED])) as store:
        assert await put(client(store)) == "v1"


async def test_an_answer_before_the_body_was_read_ends_the_connection() -> None:
    early = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"
    async with running(Store([early, STORED], read_body=False)) as store:
        sender = client(store)
        with pytest.raises(DestinationUnavailable):
            await put(sender)
        store.read_body = True
        assert await put(sender) == "v1"
        sender.close()

    assert store.connections == 2


async def test_a_store_that_never_answers_is_given_up() -> None:
    async with running(Store([STORED], hangs=True)) as store:
        with pytest.raises(DestinationUnavailable, match="TimeoutError"):
            await put(client(store, timeout_s=0.3))


async def test_a_slow_line_is_no_dead_one() -> None:
    """A body that takes longer than the time-out passes, as long as it moves."""
    assert await seconds_of_a_slow_put(16, 0.1) > SILENCE_MAX_S


async def test_a_slow_line_under_tls_is_no_dead_one_either(tmp_path: Path) -> None:
    """TLS swallows a body at once; what moves is seen all the same, and not held twice."""
    assert await seconds_of_a_slow_put(32, 0.06, tls=certificate(tmp_path)) > SILENCE_MAX_S


async def test_a_success_before_the_body_was_sent_ends_the_connection_under_tls(
    tmp_path: Path,
) -> None:
    context, trusted = certificate(tmp_path)
    judged = asyncio.Event()

    async def rash(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(STORED)
        await judged.wait()
        writer.close()

    async with running(Store([]), context, rash) as store:
        sender = client(store, scheme="https", host="localhost", ca=trusted)
        body = bytes(32 << 20)
        await sender.put("k", body, ObjectAttributes(), file_sha256=DIGEST, condition={})
        kept = len(sender._client._idle)
        judged.set()

    assert kept == 0


async def test_headers_without_end_are_no_answer() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX-First: of many\r\nX-Second: too\r\n")
        for _ in range(10):
            await asyncio.sleep(0)  # The client, in this very loop, reads them.
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"X-More: of this\r\n" * 1000)
                await writer.drain()
        writer.close()

    async with running(Store([]), serve=babble) as store:
        with pytest.raises(DestinationUnavailable, match="ConnectionError"):
            await put(client(store, timeout_s=2))


async def test_a_store_that_wants_another_protocol_has_not_answered() -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    bugs: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: bugs.append(told))
    async with running(Store([answer])) as store:
        with pytest.raises(DestinationUnavailable, match="ConnectionError"):
            await put(client(store, timeout_s=2))

    assert bugs == []


async def test_nobody_listens() -> None:
    async with running(Store([])) as store:
        sender = client(store)
    with pytest.raises(DestinationUnavailable):
        await put(sender)


async def test_a_store_with_a_certificate_of_our_authority_is_trusted_and_no_other(
    tmp_path: Path,
) -> None:
    context, trusted = certificate(tmp_path)
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))

    async with running(Store([STORED, STORED]), context) as store:
        assert await put(client(store, scheme="https", host="localhost", ca=trusted)) == "v1"
        with pytest.raises(DestinationRefused, match="not trusted"):
            await put(client(store, scheme="https", host="localhost", ca=other))


def whose_role_ends(renew: Callable[[], dict[str, str]]) -> ObjectStoreDestination:
    """Open a store with keys that have to be renewed now."""
    session = botocore.session.get_session()
    session._credentials = RefreshableCredentials(
        "access", "secret", "token", dt.datetime.now(dt.UTC), renew, "assume-role"
    )
    settings = StoreSettings(url="s3://images", endpoint="http://127.0.0.1:1", region="us-east-1")
    return open_object_store(
        "s", settings, archive="main", session=boto3.session.Session(botocore_session=session)
    )


@pytest.mark.parametrize(
    ("code", "error"),
    [("Throttling", DestinationUnavailable), ("AccessDenied", DestinationRefused)],
)
async def test_a_role_that_cannot_be_assumed_anew_is_an_error_of_the_destination(
    code: str, error: type[Exception]
) -> None:
    def refuse() -> dict[str, str]:
        status = 403 if code == "AccessDenied" else 400
        said = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(said, "AssumeRole")

    with pytest.raises(error, match=code):
        await whose_role_ends(refuse).put_evidence("v1/main/00/1/manifest/1.json.gz", b"")


@pytest.mark.parametrize("expiry_time", ["2020-01-01T00:00:00Z", "some day"])
async def test_keys_that_are_renewed_and_no_good_are_waited_for_with_a_hint(
    expiry_time: str,
) -> None:
    """botocore says so with a RuntimeError, or with what its parser of dates raises."""
    renewed = {"access_key": "a", "secret_key": "s", "token": "t", "expiry_time": expiry_time}
    opened = whose_role_ends(lambda: renewed)
    large = opened._backend.large
    assert large is not None

    for calling in (
        opened.put_evidence("v1/main/00/1/manifest/1.json.gz", b""),
        opened.find(Location("v1/main/00/1/1/1.dcm")),
        large.abort_leftovers("v1/main/00/1/1/1.dcm"),
    ):
        with pytest.raises(DestinationUnavailable, match="CredentialRetrievalError") as caught:
            await calling
        assert "clock" in caught.value.hint


def test_keys_do_not_show_what_is_secret() -> None:
    shown = repr(AccessKeys("access", "hush", "hush, too"))

    assert "access" in shown
    assert "hush" not in shown


def test_behind_a_proxy_obstore_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = StoreSettings(
        url="s3://images", endpoint="http://store.example", access_key_id="a",
        secret_access_key="b",
    )  # fmt: skip
    for name in ("http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert open_object_store("s", settings, archive="main")._backend.direct is not None

    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    assert open_object_store("s", settings, archive="main")._backend.direct is None

    monkeypatch.setenv("no_proxy", "store.example")
    assert open_object_store("s", settings, archive="main")._backend.direct is not None
