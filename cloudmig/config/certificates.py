"""One error for certificates that cannot be used, whoever they are shown to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from cloudmig.errors import ConfigError

__all__ = ["usable_certificates"]


@contextlib.contextmanager
def usable_certificates(whose: str) -> Iterator[None]:
    """Raise `ConfigError` where what is loaded inside is missing, unreadable or no certificate."""
    try:
        yield
    except OSError as error:  # ssl.SSLError is one.
        raise ConfigError(
            f"{whose}: certificate, key or ca cannot be used: {type(error).__name__}",
            hint="they are PEM files that the agent may read; the key has no password",
        ) from error
