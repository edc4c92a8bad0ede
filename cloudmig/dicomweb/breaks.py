"""What a connection broke at, in words for a person."""

from __future__ import annotations

import os

import aiohttp

__all__ = ["what_broke", "why_untrusted"]


def what_broke(error: aiohttp.ClientError | OSError) -> str:
    """Say what broke, in words that hold nothing of what was said."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "the host's name is not known"
        case aiohttp.ClientConnectorSSLError():
            return "no TLS is spoken there"
        case aiohttp.ClientConnectorError() if error.os_error.errno:
            return os.strerror(error.os_error.errno).lower()
        case TimeoutError():
            return "no answer in time"
        case aiohttp.ServerDisconnectedError():
            return "the server hung up"
        case _:
            return type(error).__name__


def why_untrusted(error: aiohttp.ClientConnectorCertificateError) -> str:
    """Say what is wrong with a certificate: it has expired, is for another host, or a stranger's.

    These are OpenSSL's own words; they hold nothing but the host's name.
    """
    said = getattr(error.certificate_error, "verify_message", "unknown")
    return f"the server's certificate is not trusted: {said}"
