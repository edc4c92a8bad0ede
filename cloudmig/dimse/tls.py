"""Secure transport: mutual TLS after BCP 195 (PS3.15 B.12)."""

from __future__ import annotations

import ssl
from pathlib import Path

__all__ = ["client_context", "server_context"]

#: RFC 9325 4.2: forward secrecy and authenticated encryption, nothing else, for TLS 1.2.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!eNULL:!PSK"


def client_context(
    ca: Path, certificate: Path | None = None, key: Path | None = None, *, verify_hostname: bool
) -> ssl.SSLContext:
    """Return the context we call a PACS with. The peer's certificate is always checked.

    `verify_hostname=False` is for the many PACS whose certificate names no host: then the CA alone
    decides, so it should be one that signs nothing else.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, ca)
    context.check_hostname = verify_hostname
    context.verify_mode = ssl.CERT_REQUIRED
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def server_context(ca: Path, certificate: Path, key: Path | None = None) -> ssl.SSLContext:
    """Return the context our storage SCP listens with: a caller must show a certificate of `ca`."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    return context


def _context(protocol: int, ca: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.load_verify_locations(ca)
    return context
