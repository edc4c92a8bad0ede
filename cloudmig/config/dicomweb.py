"""`[destinations.<name>.dicomweb]` and `[sources.<name>.dicomweb]`: how DICOMweb is talked to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from cloudmig.config.addresses import is_web_address
from cloudmig.config.quantities import Duration, FilePath
from cloudmig.config.section import Section

__all__ = ["DicomWebSettings", "WebCredentials"]


class WebCredentials(Section):
    """A name, a token, or OAuth2 client credentials; and mutual TLS."""

    username: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None
    token_url: str | None = None  #: OAuth2 client credentials (RFC 6749 4.4).
    client_id: str | None = None
    client_secret: SecretStr | None = None
    scope: str = ""
    audience: str = ""
    secret_in_form: bool = False  #: Of the token request; else in its Authorization header.
    sigv4_service: str | None = None  #: AWS: sign for this service, `medical-imaging`.
    certificate: FilePath | None = None  #: Mutual TLS: who we are.
    key: FilePath | None = None

    @field_validator("token_url", mode="after")
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        if url is not None and not is_web_address(url):
            raise ValueError("must be an address like https://host/token, without credentials")
        return url

    @model_validator(mode="after")
    def _credentials_together(self) -> Self:
        for first, *others in (
            ("username", "password"),
            ("token_url", "client_id", "client_secret"),
            ("certificate", "key"),
        ):
            if len({getattr(self, name) is None for name in (first, *others)}) > 1:
                raise ValueError(f"{first} and {', '.join(others)} are set together or not at all")
        ways = [self.username, self.token, self.token_url, self.sigv4_service]
        if sum(way is not None for way in ways) > 1:
            raise ValueError("set one of username, token, token_url, sigv4_service, not two")
        return self


class DicomWebSettings(WebCredentials):
    """The credentials of a store, and its profile."""

    profile: str = "plain"  #: In `destinations/dicomweb_profiles.toml` or in `profile_file`.
    profile_file: FilePath | None = None  #: Profiles of your own, in the same form.
    profile_overrides: Mapping[str, bool | int | float | str | list[int]] = Field(
        default_factory=dict
    )
    gather_s: Duration = 0.03  #: How long instances are gathered before a request is sent.
