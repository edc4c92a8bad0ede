"""A client of the queue through which the functions beside a store answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import boto3.session
import botocore.config

from cloudmig.destinations.store_settings import StoreSettings

__all__ = ["queue_client_maker"]

_AWS_HOST = re.compile(r"sqs\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?")
#: Beyond the wait that a question asks for.
_READ_TIMEOUT_S = 15.0


def queue_client_maker(
    settings: StoreSettings, url: str, *, endpoint: str | None
) -> Callable[[], Any]:
    """Return what builds the client: with the store's credentials, in the region the URL names.

    Building one takes 0.3 s, and not every run needs one.
    """
    found = _AWS_HOST.fullmatch(urlsplit(url).hostname or "")
    session = boto3.session.Session(
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=settings.secret_access_key,
        aws_session_token=settings.session_token,
    )
    return partial(
        session.client,
        "sqs",
        endpoint_url=endpoint,
        region_name=found[1] if found else settings.region,
        verify=str(settings.ca_path) if settings.ca_path else None,
        config=botocore.config.Config(
            connect_timeout=settings.connect_timeout_s,
            read_timeout=_READ_TIMEOUT_S,
            retries={"total_max_attempts": 1, "mode": "standard"},  # Whoever polls asks again.
        ),
    )
