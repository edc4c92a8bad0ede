"""Certificates of DICOM TLS: there, readable, belonging together, and not about to expire."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Iterator
from pathlib import Path

from cloudmig.agent.doctor.findings import Finding, ok, problem, warning
from cloudmig.config import Configuration, TlsSettings

__all__ = ["check_certificates"]

_SOON_DAYS = 30


def check_certificates(config: Configuration) -> list[Finding]:
    """Look at every certificate file of the configuration."""
    found: list[Finding] = []
    if config.listen.tls is not None:
        found += _check(config.listen.tls, "listen.tls", "machine")
    for name, source in config.pacs.items():
        if source.tls is not None:
            found += _check(source.tls, f"sources.{name}.tls", f"source {name}")
    return found


def _check(tls: TlsSettings, where: str, subject: str) -> Iterator[Finding]:
    files = {"ca": tls.ca, "certificate": tls.certificate, "key": tls.key}
    missing = [
        problem(
            "tls_files",
            subject,
            f"{where}.{setting}: {path} is not there or not readable",
            "Put the PEM file there and make it readable for this user, or correct the path.",
        )
        for setting, path in files.items()
        if path is not None and not _readable(path)
    ]
    if missing:
        yield from missing
        return
    yield from _check_ca(tls.ca, where, subject)
    if tls.certificate is not None and tls.key is not None:
        yield from _check_own(tls.certificate, tls.key, where, subject)


def _readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False


def _check_ca(ca: Path, where: str, subject: str) -> Iterator[Finding]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(ca)
    except (ssl.SSLError, OSError):
        yield problem(
            "tls_files",
            subject,
            f"{where}.ca: {ca} holds no certificate in PEM form",
            "Convert it: openssl x509 -inform der -in FILE -out ca.pem",
        )
        return
    for certificate in context.get_ca_certs():
        yield from _check_end(str(certificate["notAfter"]), f"{where}.ca", subject)


def _check_own(certificate: Path, key: Path, where: str, subject: str) -> Iterator[Finding]:
    """Shake hands with ourselves: what a peer would see, it sees now."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError):
        yield problem(
            "tls_files",
            subject,
            f"{where}: certificate and key are not a pair in PEM form",
            "Give the key that the certificate was made with, without a passphrase.",
        )
        return
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(certificate)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # Itself is enough to trust itself.
    try:
        shown = _shake_hands(server, client)
    except ssl.SSLCertVerificationError as error:
        yield problem(
            "tls_certificate",
            subject,
            f"{where}.certificate: {error.verify_message}",
            "Have it renewed by your certification authority, then replace the file.",
        )
        return
    yield from _check_end(shown, f"{where}.certificate", subject)


def _shake_hands(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> str:
    """Return the end of validity of the server's certificate, as the client sees it."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up)
    server = server_context.wrap_bio(up, down, server_side=True)
    waiting: list[ssl.SSLObject] = [client, server]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
    certificate = client.getpeercert()
    assert certificate, "a finished handshake has a certificate"
    return str(certificate["notAfter"])


def _check_end(not_after: str, where: str, subject: str) -> Iterator[Finding]:
    end = dt.datetime.fromtimestamp(ssl.cert_time_to_seconds(not_after), dt.UTC)
    left = end - dt.datetime.now(dt.UTC)
    if left < dt.timedelta():
        yield problem(
            "tls_certificate",
            subject,
            f"{where} expired on {end:%Y-%m-%d}",
            "Have it renewed by your certification authority, then replace the file.",
        )
    elif left < dt.timedelta(days=_SOON_DAYS):
        yield warning(
            "tls_certificate",
            subject,
            f"{where} expires on {end:%Y-%m-%d}",
            "Have it renewed before then; a migration takes longer than it seems.",
        )
    else:
        yield ok("tls_certificate", subject, f"{where} is valid until {end:%Y-%m-%d}")
