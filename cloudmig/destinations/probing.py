"""What the doctor tries on a store of Google or Azure: one small object, as a run puts it."""

from __future__ import annotations

from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from cloudmig.destinations.attributes import ObjectAttributes
from cloudmig.destinations.obstore_errors import OBSTORE_ERRORS, translate
from cloudmig.destinations.obstore_opening import open_azure_or_google
from cloudmig.destinations.profiles import StoreProfile
from cloudmig.destinations.store_settings import StoreSettings

__all__ = ["StoreProbe"]


class StoreProbe:
    """Blocks. Raises our errors, `ConfigError` where it cannot even be opened."""

    def __init__(
        self, name: str, settings: StoreSettings, profile: StoreProfile, *, storage_class: str
    ) -> None:
        self._store = open_azure_or_google(name, settings, profile).store
        self._profile = profile
        self._storage_class = storage_class if profile.storage_classes else ""

    def list(self, prefix: str) -> None:
        """List what lies below a prefix."""
        try:
            for _ in obstore.list(self._store, prefix):
                break
        except OBSTORE_ERRORS as error:
            raise translate(error, doing="list") from error

    def put(self, key: str, body: bytes) -> bool:
        """Put under a free key; say whether it was free."""
        attributes = ObjectAttributes.of_evidence(key, body, self._storage_class)
        named: Any = attributes.for_obstore(dashes=self._profile.metadata_dashes)
        try:
            obstore.put(
                self._store, key, body, attributes=named, mode="create", use_multipart=False
            )
        except (AlreadyExistsError, PreconditionError):
            return False
        except OBSTORE_ERRORS as error:
            raise translate(error, doing="put") from error
        return True

    def read(self, key: str) -> bytes:
        """Read an object back."""
        try:
            return bytes(obstore.get(self._store, key).bytes())
        except OBSTORE_ERRORS as error:
            raise translate(error, doing="get") from error

    def delete(self, key: str) -> None:
        """Delete an object."""
        try:
            obstore.delete(self._store, key)
        except OBSTORE_ERRORS as error:
            raise translate(error, doing="delete") from error
