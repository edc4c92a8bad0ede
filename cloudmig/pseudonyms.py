"""Keyed pseudonyms for identifiers. Shared with the functions: standard library only."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

from cloudmig.errors import CatalogError

__all__ = ["SECRET_BYTES_MIN", "Pseudonyms"]

#: A UID in running text: at least five components, so that versions and addresses stay readable.
_UID_IN_TEXT = re.compile(r"(?<![\d.])\d+(?:\.\d+){4,}(?![\d.])")
#: Roots of the standard's own UIDs (SOP classes, transfer syntaxes): they name no object.
_STANDARD_ROOT = "1.2.840.10008."
SECRET_BYTES_MIN = 32


class Pseudonyms:
    """Keyed pseudonyms (HMAC-SHA256): stable in one installation, meaningless outside it."""

    def __init__(self, secret: bytes) -> None:
        assert len(secret) >= SECRET_BYTES_MIN, "a short key could be guessed"
        self._secret = secret

    @classmethod
    def from_state_dir(cls, state_dir: Path) -> Pseudonyms:
        """Use the secret in the state folder, made on first use and readable by its owner only."""
        path = state_dir / "pseudonyms.key"
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            _create_secret(path)
            secret = path.read_bytes()
        except OSError as error:
            raise CatalogError(
                f"the secret for pseudonyms cannot be made or read: {error.strerror}",
                hint=f"Make {state_dir} writable for the user that runs cloudmig.",
            ) from error
        if len(secret) < SECRET_BYTES_MIN:
            raise CatalogError(
                f"{path} is damaged: it has {len(secret)} bytes",
                hint="Restore it from a backup, or delete it: pseudonyms in old logs are then"
                " not resolved any more.",
            )
        return cls(secret)

    def of(self, uid: str, prefix: str = "st") -> str:
        """Return the pseudonym of a UID: `st-8f3a91c2d4e0`."""
        return f"{prefix}-{self._digest(uid)[:12]}"

    def is_of(self, pseudonym: str, uid: str) -> bool:
        """Say whether a pseudonym of a log line, whatever its prefix, is that of a UID."""
        return pseudonym.partition("-")[2] == self._digest(uid)[:12]

    def of_patient(self, patient_id: str, issuer: str) -> str:
        """Return a key that tells two patients apart and names neither; empty for no ID."""
        if not patient_id.strip():
            return ""
        name = f"{patient_id.strip()}\x1f{issuer.strip()}"
        return f"pt-{self._digest(name)[:20]}"

    def in_text(self, text: str) -> str:
        """Return the text with every UID of an object replaced by its pseudonym."""
        return _UID_IN_TEXT.sub(self._replacement, text)

    def _replacement(self, found: re.Match[str]) -> str:
        uid = found[0]
        return uid if uid.startswith(_STANDARD_ROOT) else self.of(uid, "uid")

    def _digest(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


def _create_secret(path: Path) -> None:
    """Make the secret whole or not at all: two agents may start at once, and one may be killed."""
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(SECRET_BYTES_MIN))
        os.fsync(descriptor)
        os.link(draft, path)
    except FileExistsError:
        pass  # The other one was first; its secret counts.
    finally:
        os.close(descriptor)
        draft.unlink()
