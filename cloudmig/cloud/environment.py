"""What the verifying functions work with, from the environment that Terraform gives them.

    PREFIX TABLE_NAME VERDICT_QUEUE_URL STUDY_QUEUE_URL
    READ           stream | checksum
    KMS_KEY_ARN    the key that must have been used; empty: any encryption; absent: not looked at
    LOCK_MODE      GOVERNANCE | COMPLIANCE; empty: no lock is asked for
    LATER_CLASSES  classes that a lifecycle may have moved objects to, with commas
    PSEUDONYM_KEY  hex of the key of pseudonyms in logs; without it studies are not named there
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from cloudmig.cloud.dynamo_table import DynamoTable
from cloudmig.cloud.expectations import Expectations
from cloudmig.cloud.verdict_queue import SqsQueue
from cloudmig.cloud.verify_object import Desk
from cloudmig.pseudonyms import SECRET_BYTES_MIN, Pseudonyms

__all__ = ["desk_from", "expectations_from", "pseudonyms_from"]


def desk_from(
    environment: Mapping[str, str],
    *,
    s3: Any,  # noqa: ANN401 - boto3 clients, which functions pass in
    dynamodb: Any,  # noqa: ANN401
    sqs: Any,  # noqa: ANN401
    now: Callable[[], dt.datetime],
) -> Desk:
    """Return what `verify_object` and `verify_study` work with.

    Raises `KeyError` or `ValueError`: then the function cannot start, and says so in its log.
    """
    return Desk(
        s3=s3,
        table=DynamoTable(dynamodb, environment["TABLE_NAME"]),
        verdicts=SqsQueue(sqs, environment["VERDICT_QUEUE_URL"]),
        studies=SqsQueue(sqs, environment["STUDY_QUEUE_URL"]),
        expected=expectations_from(environment),
        now=now,
    )


def expectations_from(environment: Mapping[str, str]) -> Expectations:
    """Return what objects should be. Raises `KeyError` or `ValueError`."""
    later_classes = environment.get("LATER_CLASSES", "")
    return Expectations(
        prefix=environment["PREFIX"],
        read=environment.get("READ") or "checksum",
        kms_key_arn=environment.get("KMS_KEY_ARN"),
        lock_mode=environment.get("LOCK_MODE", ""),
        later_classes=frozenset(each for each in later_classes.split(",") if each),
    )


def pseudonyms_from(environment: Mapping[str, str]) -> Callable[[str], str]:
    """Return what names a study in a log: its pseudonym, or nothing where there is no key.

    The agent's own key, from `pseudonyms.key` in its state folder, makes the names the same in
    both logs. Raises `ValueError` for a key that is none or could be guessed.
    """
    secret = bytes.fromhex(environment.get("PSEUDONYM_KEY", ""))
    if not secret:
        return lambda _: ""
    if len(secret) < SECRET_BYTES_MIN:
        raise ValueError(f"PSEUDONYM_KEY has fewer than {SECRET_BYTES_MIN} bytes")
    pseudonyms = Pseudonyms(secret)
    return lambda uid: pseudonyms.of(uid) if uid else ""
