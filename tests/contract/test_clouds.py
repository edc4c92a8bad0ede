"""Azure and Google keep the promises of the port, by what `az://` and `gs://` send them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cloudmig.destinations.object_store import ObjectStoreDestination
from cloudmig.destinations.opening import StoreSettings, open_object_store
from cloudmig.errors import ConfigError, DestinationRefused, DestinationUnavailable, ObjectArchived
from cloudmig.model.instance import Location
from cloudmig.model.outcome import Stored
from cloudmig.ports import Destination
from tests.contract.destination_contract import ARCHIVE, DestinationContract, an_instance, staged
from tests.contract.scripted_clouds import (
    ACCOUNT,
    ACCOUNT_KEY,
    Answer,
    ScriptedAzure,
    ScriptedGoogle,
)

#: What an account file says to a store that asks for no token.
_NO_OAUTH = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}


@pytest.fixture
def azure() -> Iterator[ScriptedAzure]:
    cloud = ScriptedAzure()
    with cloud.serving():
        yield cloud


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedGoogle]:
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(_NO_OAUTH))
    cloud = ScriptedGoogle()
    with cloud.serving():
        yield cloud


def at_azure(cloud: ScriptedAzure, *, container: str = "images") -> ObjectStoreDestination:
    settings = StoreSettings(
        url=f"az://{container}/hospital%20a", endpoint=cloud.endpoint, access_key_id=ACCOUNT,
        secret_access_key=ACCOUNT_KEY,
    )  # fmt: skip
    return open_object_store("az", settings, archive=ARCHIVE)


class TestAzure(DestinationContract):
    @pytest.fixture
    def destination(self, azure: ScriptedAzure) -> Destination:
        return at_azure(azure)


class TestGoogle(DestinationContract):
    has_storage_classes = False  # They are sent, but a HEAD through obstore tells none.

    @pytest.fixture
    def destination(self, google: ScriptedGoogle) -> Destination:
        settings = StoreSettings(url="gs://images/hospital", endpoint=google.endpoint)
        return open_object_store("gs", settings, archive=ARCHIVE)

    async def test_a_repair_leaves_the_bad_object_where_it_was(
        self, destination: Destination, google: ScriptedGoogle
    ) -> None:
        """Its generation is no sign that a bucket keeps versions."""
        instance = an_instance()
        bad = await destination.store(staged(instance, b"bad"))
        assert isinstance(bad, Stored)

        repair = await destination.replace(staged(instance, b"good"), bad.receipt)

        assert repair.location.key == bad.receipt.location.key + "~r1"
        assert len(google.objects) == 2


async def test_the_digests_travel_under_names_that_azure_takes(azure: ScriptedAzure) -> None:
    destination = at_azure(azure)
    stored = await destination.store(staged(an_instance()))
    assert isinstance(stored, Stored)
    azure.asked.clear()

    assert await destination.find(stored.receipt.location) == stored.receipt

    assert [method for method, _ in azure.asked] == ["HEAD"]  # No byte is read for it.


async def test_a_missing_container_is_no_missing_image(azure: ScriptedAzure) -> None:
    destination = at_azure(azure, container="elsewhere")

    with pytest.raises(DestinationRefused) as caught:
        _ = [piece async for piece in destination.read(Location("v1/main/x.dcm"))]
    assert "create the container" in caught.value.hint
    with pytest.raises(DestinationRefused):
        await destination.get_evidence("v1/main/manifest.json.gz")


@pytest.mark.parametrize(("answer", "expected", "words"), [
    (Answer(403, "AuthenticationFailed"), DestinationRefused, "account key or the SAS token"),
    (Answer(403, "AuthorizationPermissionMismatch"), DestinationRefused, "Contributor"),
    (Answer(400, "InvalidResourceName"), DestinationRefused, "lower-case"),
    (Answer(409, "BlobArchived"), ObjectArchived, "restore"),
    (Answer(503, "ServerBusy"), DestinationUnavailable, ""),
])  # fmt: skip
async def test_what_azure_says_is_told_in_its_own_words(
    azure: ScriptedAzure, answer: Answer, expected: type[Exception], words: str
) -> None:
    azure.always = answer

    with pytest.raises(expected) as caught:
        _ = [piece async for piece in at_azure(azure).read(Location("v1/main/x.dcm"))]
    told = f"{caught.value} {getattr(caught.value, 'hint', '')}"
    assert words in told
    assert ACCOUNT_KEY not in told
    assert "bucket" not in told


@pytest.mark.parametrize(("size_bytes", "times"), [
    (0, 1), (64 << 20, 1), ((64 << 20) + 1, 2), (128 << 20, 2), (200 << 20, 4), (1 << 30, 16),
])  # fmt: skip
async def test_a_large_object_has_more_time_to_go_up(
    azure: ScriptedAzure, size_bytes: int, times: int
) -> None:
    """Its PUT is one call: with the time of a small one it would fail for ever."""
    sending = at_azure(azure)._backend.sending
    assert sending is not None

    options = sending(size_bytes).client_options

    assert options is not None
    assert options["timeout"] == options["read_timeout"] == f"{2 * times}m"
    assert sending(size_bytes) is sending(size_bytes)


@pytest.mark.parametrize(("url", "key", "words"), [
    ("az://images", None, "AZURE_STORAGE_ACCOUNT_NAME"),
    ("az://images", "no base64!", "secret_access_key"),
    ("gs://images", None, "GOOGLE_APPLICATION_CREDENTIALS"),
])  # fmt: skip
def test_credentials_that_cannot_be_used_are_a_mistake_of_the_configuration(
    url: str, key: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", "{")
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_USE_EMULATOR"):
        monkeypatch.delenv(name, raising=False)
    settings = StoreSettings(url=url, access_key_id=key and ACCOUNT, secret_access_key=key)

    with pytest.raises(ConfigError, match="destination home") as caught:
        open_object_store("home", settings, archive=ARCHIVE)
    assert words in caught.value.hint
    assert str(key) not in f"{caught.value} {caught.value.hint}"
