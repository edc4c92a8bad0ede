"""Looks at every object that a message of the objects' queue speaks of."""

from __future__ import annotations

import datetime as dt
import os
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from cloudmig.cloud.environment import desk_from, pseudonyms_from
from cloudmig.cloud.verify_object import verify_objects

logger = Logger()
metrics = Metrics()
# What fails comes again alone; the log names it below, without the exception's text.
processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
name = pseudonyms_from(os.environ)
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


def _verify(record: SQSRecord) -> None:
    try:
        verdicts = verify_objects(desk, record.body)
    except Exception as error:
        # Its text may hold a key, and a key holds UIDs.
        why = {"error": type(error).__name__, "message_id": record.message_id}
        logger.warning("object not verified", **why)
        metrics.add_metric("MessagesFailed", MetricUnit.Count, 1)
        raise
    for verdict in verdicts:
        metrics.add_metric("ObjectsVerified", MetricUnit.Count, 1)
        metrics.add_metric("ObjectsDiffering", MetricUnit.Count, int(bool(verdict.finding)))
        if verdict.finding:
            study = name(verdict.study_instance_uid)
            logger.warning("object differs", finding=verdict.finding, how=verdict.how, study=study)


@logger.inject_lambda_context
@metrics.log_metrics
def handle(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return which messages shall come again."""
    with processor(event["Records"], _verify, context):
        processor.process()
    return processor.response()
