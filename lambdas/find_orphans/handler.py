"""Finds, once a day, what lies in the bucket and in no manifest."""

from __future__ import annotations

import datetime as dt
import os
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from cloudmig.cloud.environment import desk_from
from cloudmig.cloud.find_orphans import find_orphans

logger = Logger()
metrics = Metrics()
_config = Config(
    connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 4}
)
desk = desk_from(
    os.environ,
    s3=boto3.client("s3", config=_config),
    dynamodb=boto3.client("dynamodb", config=_config),
    sqs=boto3.client("sqs", config=_config),
    now=lambda: dt.datetime.now(dt.UTC),
)
after = dt.timedelta(hours=float(os.environ.get("ORPHAN_AFTER_H") or 24))


@logger.inject_lambda_context
@metrics.log_metrics
def handle(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:  # noqa: ARG001
    """Search once. The event says nothing but that it is time."""
    found = find_orphans(desk, after=after)
    metrics.add_metric("OrphansFound", MetricUnit.Count, found.orphans)
    told = {"orphans": found.orphans, "gone": found.gone, "asked": found.asked}
    logger.info("orphans searched", **told)
    return told
