"""Names, tokens and certificates towards a DICOMweb store; nothing of them in an error."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

import pytest
import trustme

from cloudmig.destinations.dicomweb import DicomWebDestination
from cloudmig.destinations.dicomweb_profiles import dicomweb_profile
from cloudmig.dicomweb import (
    BasicAuthorizer,
    BearerAuthorizer,
    ClientCredentials,
    DicomWebClient,
    DicomWebFailed,
    HttpLimits,
    TokenSettings,
    tls_context,
)
from cloudmig.errors import (
    DestinationRefused,
    DestinationUnavailable,
    SourceRefused,
    SourceUnavailable,
)
from cloudmig.model.outcome import Stored
from cloudmig.sources.dicomweb import refusals
from tests.contract.destination_contract import ARCHIVE, an_instance, staged
from tests.contract.stow_server import Answer, ScriptedStow
from tests.integration.dicomweb_world import Web, a_study_of, outcomes_of

SECRET = "s3cret-of-the-agent"


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


def web_of(server: ScriptedStow, credentials: ClientCredentials) -> Web:
    client = DicomWebClient(server.url, authorizer=credentials)
    profile = dicomweb_profile("orthanc")
    return Web(server, DicomWebDestination("web", client, profile, archive=ARCHIVE))


def credentials_for(server: ScriptedStow, clock: Clock, **changes: str) -> ClientCredentials:
    settings = TokenSettings(
        token_url=server.token_url,
        client_id="cloudmig",
        client_secret=SECRET,
        **changes,  # type: ignore[arg-type]
    )
    return ClientCredentials(settings, now=clock)


async def test_a_token_is_asked_for_once_and_used_until_shortly_before_its_end() -> None:
    clock = Clock()
    async with ScriptedStow(token_life_s=3600, tokens=["none yet"]).running() as server:
        web = web_of(server, credentials_for(server, clock, scope="dicom.write"))
        outcomes_of(await web.store_all([item for _ in range(6) for item in a_study_of(3)]))
        assert len(server.token_requests) == 1
        clock.at_s = 3530.0
        outcomes_of(await web.store_all(a_study_of(1)))
        assert len(server.token_requests) == 1
        clock.at_s = 3550.0
        outcomes_of(await web.store_all(a_study_of(1)))
        assert len(server.token_requests) == 2
        await web.destination.close()
    shown = base64.b64encode(f"cloudmig:{SECRET}".encode()).decode()
    assert server.token_requests[0] == {
        "grant_type": "client_credentials", "scope": "dicom.write",
        "authorization": f"Basic {shown}",
    }  # fmt: skip


async def test_a_token_that_ended_too_early_is_renewed_and_the_whole_body_sent_again() -> None:
    async with ScriptedStow(tokens=["none yet"]).running() as server:
        web = web_of(server, credentials_for(server, Clock(), style="form"))
        outcomes_of(await web.store_all(a_study_of(1)))
        server.tokens[:] = ["not this one"]
        items = a_study_of(4, size_bytes=300_000)

        outcomes = outcomes_of(await web.store_all(items))

        assert len(server.token_requests) == 2
        assert server.token_requests[1]["client_secret"] == SECRET
        assert all(isinstance(each, Stored) for each in outcomes)
        assert all(web.held(each) == each.body for each in items)
        await web.destination.close()


async def test_a_store_that_rejects_every_token_is_asked_twice_and_no_more() -> None:
    async with ScriptedStow(tokens=["none yet"]).running() as server:
        web = web_of(server, credentials_for(server, Clock()))
        outcomes_of(await web.store_all(a_study_of(1)))
        server.script = [Answer(401, keeps=0)] * 9
        sent_before = len(server.sent)

        [error] = await web.store_all(a_study_of(1))

        assert len(server.sent) - sent_before == 2
        assert isinstance(error, DestinationRefused)
        assert SECRET not in repr(error) + repr(error.__cause__) + error.hint
        await web.destination.close()


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404])
async def test_a_token_server_that_refuses_us_is_named_and_its_settings(status: int) -> None:
    """It is not the archive that said so, and no further try changes it (RFC 6749 5.2)."""
    server = ScriptedStow(tokens=["none yet"], token_status=status)
    async with server.running():
        web = web_of(server, credentials_for(server, Clock()))
        with pytest.raises(DestinationRefused, match=f"token server answered {status}") as refused:
            await web.destination.ping()
        await web.destination.close()
        client = DicomWebClient(server.url, authorizer=credentials_for(server, Clock()))
        with pytest.raises(DicomWebFailed) as failed:
            await client.ping()
        await client.close()

    assert "token_url" in refused.value.hint
    of_source = refusals.translate(failed.value)
    assert isinstance(of_source, SourceRefused)
    assert str(of_source) == str(refused.value)
    assert "token_url" in of_source.hint
    assert SECRET not in f"{refused.value!r} {of_source!r}"


@pytest.mark.parametrize("status", [200, 408, 429, 500, 503])
async def test_a_token_server_in_trouble_is_asked_again_later(status: int) -> None:
    server = ScriptedStow(tokens=["none yet"], token_status=status)
    async with server.running():
        client = DicomWebClient(server.url, authorizer=credentials_for(server, Clock()))
        with pytest.raises(DicomWebFailed, match="token server") as failed:
            await client.ping()
        await client.close()

    of_source = refusals.translate(failed.value)
    assert isinstance(of_source, SourceUnavailable)
    assert "token server" in str(of_source)


async def test_a_token_server_that_is_away_is_waited_for() -> None:
    async with ScriptedStow(tokens=["none yet"]).running() as server:
        settings = TokenSettings(
            token_url="http://127.0.0.1:9/token", client_id="cloudmig", client_secret=SECRET
        )
        web = web_of(server, ClientCredentials(settings))

        [error] = await web.store_all(a_study_of(1))

        assert isinstance(error, DestinationUnavailable)
        assert SECRET not in repr(settings) + repr(error)
        await web.destination.close()


@pytest.mark.parametrize("authorizer", [
    BearerAuthorizer("the-token"), BasicAuthorizer("mig", "migpass"),
])  # fmt: skip
async def test_fixed_credentials_are_shown_and_never_tried_twice(
    authorizer: BearerAuthorizer | BasicAuthorizer,
) -> None:
    async with ScriptedStow(tokens=["the-token"]).running() as server:
        client = DicomWebClient(server.url, authorizer=authorizer)
        destination = DicomWebDestination("web", client, dicomweb_profile("plain"), archive=ARCHIVE)
        if isinstance(authorizer, BearerAuthorizer):
            assert isinstance(await destination.store(staged(an_instance())), Stored)
        else:
            with pytest.raises(DestinationRefused, match="401"):
                await destination.store(staged(an_instance()))
        assert "migpass" not in repr(authorizer)
        await destination.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.RSA)


@pytest.fixture(scope="module")
def folder(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("server", "client"):
        issued = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA)
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
    return folder


async def test_mutual_tls_lets_us_in_and_nobody_without_a_certificate(folder: Path) -> None:
    wanted = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.pem")
    wanted.load_cert_chain(folder / "server.pem", folder / "server.key")
    wanted.verify_mode = ssl.CERT_REQUIRED
    known = tls_context(folder / "ca.pem", folder / "client.pem", folder / "client.key")
    nobody = tls_context(folder / "ca.pem")
    stranger = tls_context()
    async with ScriptedStow().running(wanted) as server:
        found = []
        for context in (known, nobody, stranger):
            client = DicomWebClient(
                server.url, ssl_context=context, limits=HttpLimits(connect_max_s=5)
            )
            destination = DicomWebDestination(
                "web", client, dicomweb_profile("plain"), archive=ARCHIVE
            )
            try:
                found.append(type(await destination.store(staged(an_instance()))))
            except (DestinationRefused, DestinationUnavailable) as error:
                found.append(type(error))
            await destination.close()
    assert found == [Stored, DestinationUnavailable, DestinationRefused]
