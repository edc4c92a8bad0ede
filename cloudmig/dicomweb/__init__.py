"""DICOMweb (PS3.18) on the wire: multipart bodies, answers, credentials, one client for all three.

Knows neither sources nor destinations; raises `DicomWebFailed`, which each of them translates.
"""

from __future__ import annotations

from cloudmig.dicomweb.answers import StoreAnswer
from cloudmig.dicomweb.auth import (
    AuthorizationFailed,
    Authorizer,
    BasicAuthorizer,
    BearerAuthorizer,
    ClientCredentials,
    RequestToSign,
    TokenSettings,
)
from cloudmig.dicomweb.client import DicomWebClient, DicomWebFailed, HttpLimits, tls_context
from cloudmig.dicomweb.multipart import MultipartTorn, RelatedBody, RelatedParts

__all__ = [
    "AuthorizationFailed", "Authorizer", "BasicAuthorizer", "BearerAuthorizer",
    "ClientCredentials", "DicomWebClient", "DicomWebFailed", "HttpLimits", "MultipartTorn",
    "RelatedBody", "RelatedParts", "RequestToSign", "StoreAnswer", "TokenSettings", "tls_context",
]  # fmt: skip
