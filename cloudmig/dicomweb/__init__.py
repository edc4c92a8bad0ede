"""DICOMweb (PS3.18) on the wire: multipart bodies, answers, credentials, one client for all three.

Knows neither sources nor destinations; raises `DicomWebFailed`, which each of them translates.
"""

from __future__ import annotations

from cloudmig.dicomweb.answers import StoreAnswer
from cloudmig.dicomweb.auth import (
    Authorizer,
    BasicAuthorizer,
    BearerAuthorizer,
    ClientCredentials,
    TokenSettings,
)
from cloudmig.dicomweb.client import DicomWebClient, DicomWebFailed, HttpLimits, tls_context
from cloudmig.dicomweb.multipart import MultipartTorn, RelatedBody, RelatedParts

__all__ = [
    "Authorizer", "BasicAuthorizer", "BearerAuthorizer", "ClientCredentials", "DicomWebClient",
    "DicomWebFailed", "HttpLimits", "MultipartTorn", "RelatedBody", "RelatedParts", "StoreAnswer",
    "TokenSettings", "tls_context",
]  # fmt: skip
