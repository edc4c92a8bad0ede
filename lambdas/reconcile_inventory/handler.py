"""Joins an S3 Inventory with the manifests: one step of the state machine per call."""

from __future__ import annotations

import os
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from cloudmig.cloud.reconcile_inventory import S3Shelf, Settings, run_step

logger = Logger()
metrics = Metrics()
settings = Settings.from_environment(os.environ)
_config = Config(
    connect_timeout=5,
    read_timeout=60,
    retries={"mode": "standard", "total_max_attempts": 4},
    max_pool_connections=32,
)
shelf = S3Shelf(boto3.client("s3", config=_config))
sqs = boto3.client("sqs", config=_config)


@logger.inject_lambda_context
@metrics.log_metrics(raise_on_empty_metrics=False)
def handle(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001
    """Run the step that the event names. A fault is the state machine's to retry."""
    answer = run_step(event, shelf, settings, sqs=sqs)
    if event["step"] == "summarise":
        found = sum(answer["findings"].values())
        metrics.add_metric("FindingsFound", MetricUnit.Count, found)
    logger.info("step done", step=event["step"], unit=event.get("unit"))
    return answer
