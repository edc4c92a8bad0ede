"""DICOMweb (PS3.18) on the wire: multipart bodies, answers, credentials, one client for all three.

Knows neither sources nor destinations; raises `DicomWebFailed`, which each of them translates.
"""

from __future__ import annotations

from cloudmig.dicomweb.answers import AnswerUnreadable, StoreAnswer
from cloudmig.dicomweb.auth import (
    AuthorizationFailed,
    Authorizer,
    BasicAuthorizer,
    BearerAuthorizer,
    ClientCredentials,
    RequestToSign,
    TokenSettings,
)
from cloudmig.dicomweb.client import AS_STORED, DicomWebClient, ObjectsReply, SearchReply
from cloudmig.dicomweb.exchange import DicomWebFailed, HttpLimits, tls_context
from cloudmig.dicomweb.multipart import MultipartTorn, Parts, RelatedBody, RelatedParts
from cloudmig.dicomweb.rows import Row, read_data_sets

__all__ = [
    "AS_STORED", "AnswerUnreadable", "AuthorizationFailed", "Authorizer", "BasicAuthorizer",
    "BearerAuthorizer", "ClientCredentials", "DicomWebClient", "DicomWebFailed", "HttpLimits",
    "MultipartTorn", "ObjectsReply", "Parts", "RelatedBody", "RelatedParts", "RequestToSign", "Row",
    "SearchReply", "StoreAnswer", "TokenSettings", "read_data_sets", "tls_context",
]  # fmt: skip
