"""Times restores from archive classes by what a message of the restores' queue tells."""

from __future__ import annotations

import json
import os
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from cloudmig.cloud.environment import pseudonyms_from
from cloudmig.cloud.restore_table import DynamoRestores
from cloudmig.cloud.verdict_queue import SqsQueue
from cloudmig.cloud.watch_restore import RestoreSettings, keep_sample, watch_restore

logger = Logger()
metrics = Metrics()
processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
name = pseudonyms_from(os.environ)
settings = RestoreSettings.from_environment(os.environ)
_config = Config(retries={"mode": "standard", "total_max_attempts": 4})
s3 = boto3.client("s3", config=_config)
restores = DynamoRestores(boto3.client("dynamodb", config=_config), os.environ["TABLE_NAME"])
verdicts = SqsQueue(boto3.client("sqs", config=_config), os.environ["VERDICT_QUEUE_URL"])


def _watch(record: SQSRecord) -> None:
    try:
        body = json.loads(record.body)
        for event in body.get("Records", [body]):
            report = watch_restore(event, restores=restores, s3=s3, settings=settings)
            if report is None:
                continue
            keep_sample(report, s3=s3, settings=settings, name=name)
            verdicts.send([report])
            late = report.took_s is not None and report.took_s > report.promised_s
            metrics.add_metric("RestoresLate", MetricUnit.Count, int(late))
    except Exception as error:
        # Its text may hold a key, and a key holds UIDs.
        why = {"error": type(error).__name__, "message_id": record.message_id}
        logger.warning("restore not noted", **why)
        metrics.add_metric("MessagesFailed", MetricUnit.Count, 1)
        raise


@logger.inject_lambda_context
@metrics.log_metrics
def handle(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return which messages shall come again."""
    with processor(event["Records"], _watch, context):
        processor.process()
    return processor.response()
