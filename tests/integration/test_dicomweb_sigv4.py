"""AWS Signature Version 4, checked by an implementation of the test's own."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import pytest
from aiohttp import web

from cloudmig.destinations.dicomweb_opening import WebSettings, open_dicomweb
from cloudmig.errors import DestinationRefused
from cloudmig.model.outcome import Stored
from tests.contract.destination_contract import ARCHIVE
from tests.contract.stow_server import ScriptedStow
from tests.integration.dicomweb_world import Web, a_study_of, outcomes_of

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def signed_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let in what is signed for HealthImaging with our key, body included."""
    said = request.headers.get("Authorization", "")
    body = hashlib.sha256(await request.read()).hexdigest()
    if request.headers.get("X-Amz-Content-SHA256") != body or said != expected(request, body):
        return web.Response(status=403)
    return await handler(request)


def expected(request: web.Request, body_sha256: str) -> str:
    """Return the header that the documentation of AWS asks for."""
    names = sorted(
        name.lower() for name in request.headers if name.lower().startswith(("x-amz-", "host"))
    )
    canonical_query = "&".join(
        sorted(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in request.query.items())
    )
    canonical = "\n".join([
        request.method, request.path, canonical_query,
        *(f"{name}:{request.headers[name].strip()}" for name in names), "",
        ";".join(names), body_sha256,
    ])  # fmt: skip
    at = request.headers["X-Amz-Date"]
    scope = f"{at[:8]}/eu-west-1/medical-imaging/aws4_request"
    to_sign = "\n".join(
        ["AWS4-HMAC-SHA256", at, scope, hashlib.sha256(canonical.encode()).hexdigest()]
    )
    key = f"AWS4{SECRET}".encode()
    for word in scope.split("/"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    return (
        f"AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/{scope},"
        f" SignedHeaders={';'.join(names)}, Signature={signature}"
    )


@pytest.mark.parametrize("token", [None, "session/token+of=a role"])
async def test_queries_stores_and_retrieves_are_signed_body_included(token: str | None) -> None:
    items = a_study_of(5, size_bytes=50_000)
    instances = [each.instance for each in items if each.instance is not None]
    series = {each.sop_instance_uid: each.series_instance_uid for each in instances}
    async with ScriptedStow(guards=[signed_only], series=series).running() as server:
        settings = WebSettings(
            url=server.url, profile="healthimaging", sigv4_service="medical-imaging",
            region="eu-west-1", access_key_id="AKIAEXAMPLE", secret_access_key=SECRET,
            session_token=token,
            profile_overrides={"uid_lists": True, "confirm": "look"},
        )  # fmt: skip
        web_ends = Web(server, open_dicomweb("web", settings, archive=ARCHIVE))

        outcomes = outcomes_of(await web_ends.store_all(items))
        assert isinstance(outcomes[0], Stored)
        held = await web_ends.destination.find(outcomes[0].receipt.location)

        assert all(isinstance(each, Stored) for each in outcomes)
        assert held == outcomes[0].receipt
        await web_ends.destination.close()


async def test_a_wrong_key_is_refused_and_not_shown() -> None:
    async with ScriptedStow(guards=[signed_only]).running() as server:
        settings = WebSettings(
            url=server.url, sigv4_service="medical-imaging", region="eu-west-1",
            access_key_id="AKIAEXAMPLE", secret_access_key=SECRET + "x",
        )  # fmt: skip
        web_ends = Web(server, open_dicomweb("web", settings, archive=ARCHIVE))

        [error] = await web_ends.store_all(a_study_of(1))

        assert isinstance(error, DestinationRefused)
        assert SECRET not in repr(settings) + repr(error) + repr(error.__cause__)
        await web_ends.destination.close()
