"""`[sla]`: how fast studies must be read back, and how that is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from cloudmig.config.addresses import is_web_address
from cloudmig.config.quantities import Count, Duration, Size
from cloudmig.config.settings import Section
from cloudmig.model.service_levels import DICOMWEB, ServiceLevels, TierLevel

__all__ = ["SlaSettings", "SlaTierSettings"]

_LEVELS = ServiceLevels()
_LEVEL = TierLevel()
_Tier = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{1,63}$")]


class SlaTierSettings(Section):
    """`[sla.tiers.<tier>]`: what one storage class owes a reader."""

    first_byte_s: Duration = _LEVEL.first_byte_s
    first_instance_s: Duration = _LEVEL.first_instance_s
    study_s: Duration = _LEVEL.study_s  #: Beside what its bytes take:
    study_bytes_per_s: Size = int(_LEVEL.study_bytes_per_s)
    query_s: Duration = _LEVEL.query_s
    restore_s: Duration | None = None  #: Default: what S3 states for the class.

    def level(self) -> TierLevel:
        """Return the level as the probe knows it."""
        return TierLevel(**self.model_dump())


class SlaSettings(Section):
    """`[sla]`: the objective, the sample, and the endpoint before the bucket."""

    objective: Annotated[float, Field(gt=0, lt=1)] = _LEVELS.objective
    samples: Count = _LEVELS.samples  #: Studies per probe, destination and tier.
    reads_at_once: Count = _LEVELS.reads_at_once
    destinations: tuple[str, ...] = ()  #: Default: every `s3://` destination.
    dicomweb: str | None = None  #: URL of a DICOMweb endpoint that serves one destination.
    dicomweb_of: str | None = None  #: Which. Default: the first.
    dicomweb_authorization: SecretStr | None = None
    tiers: Mapping[_Tier, SlaTierSettings] = Field(default_factory=dict)

    @field_validator("dicomweb", mode="after")
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not is_web_address(url) or "?" in url or "#" in url:
            raise ValueError("must be a URL like https://host/dicom-web, without credentials")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _endpoint_together(self) -> Self:
        for name in ("dicomweb_of", "dicomweb_authorization"):
            if getattr(self, name) is not None and self.dicomweb is None:
                raise ValueError(f"{name} means nothing without dicomweb")
        if DICOMWEB in self.tiers and self.dicomweb is None:
            raise ValueError(f"tiers.{DICOMWEB} means nothing without dicomweb")
        if len(set(self.destinations)) != len(self.destinations):
            raise ValueError("destinations names one twice")
        return self

    def levels(self) -> ServiceLevels:
        """Return the service levels as the probe knows them."""
        return ServiceLevels(
            objective=self.objective,
            samples=self.samples,
            reads_at_once=self.reads_at_once,
            tiers={tier: settings.level() for tier, settings in self.tiers.items()},
        )
