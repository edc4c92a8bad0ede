"""moto with IAM switched on: every request needs a key that exists and a policy that allows it.

moto judges actions and resources of S3 and SQS rightly. It knows no conditions but StringEquals of
trust policies, and no bucket policies: what hangs on those is read in the policy's text instead.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from botocore.exceptions import ClientError

__all__ = ["enforced", "is_allowed"]

_DENIED = {"AccessDenied", "AccessDeniedException", "403", "Forbidden"}


@contextmanager
def enforced(endpoint: str) -> Iterator[None]:
    """Let moto judge every request until the end of the block."""
    _count_of_free_requests(endpoint, "0")
    try:
        yield
    finally:
        _count_of_free_requests(endpoint, "inf")


def _count_of_free_requests(endpoint: str, count: str) -> None:
    request = urllib.request.Request(
        f"{endpoint}/moto-api/reset-auth", data=count.encode(), method="POST",
        headers={"Content-Type": "text/plain"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def is_allowed(call: Callable[[], object]) -> bool:
    """Whether a call passes IAM. What fails for another reason has passed it."""
    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"] not in _DENIED
    return True
