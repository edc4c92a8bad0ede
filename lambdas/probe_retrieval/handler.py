"""Reads a sample of studies as a reader would, and says how fast that was."""

from __future__ import annotations

import datetime as dt
import os
import sys
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from cloudmig.cloud.environment import pseudonyms_from
from cloudmig.cloud.probe_retrieval import probe
from cloudmig.cloud.reading import BucketReader, DicomWebReader, StudyReader
from cloudmig.cloud.retrieval_samples import put_samples
from cloudmig.cloud.sampling import TableSampler
from cloudmig.cloud.service_levels import from_json

#: What is kept of the function's time for writing down what was measured.
_SPARE_S = 20

logger = Logger()
levels = from_json(os.environ.get("SERVICE_LEVELS", ""))
name = pseudonyms_from(os.environ)
_place = {"bucket": os.environ["BUCKET"], "prefix": os.environ["PREFIX"]}
# A slow read that was repeated in silence must not look like one quick read.
_config = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"total_max_attempts": 1},
    max_pool_connections=levels.reads_at_once + 2,
)
s3 = boto3.client("s3", config=_config)
dynamodb = boto3.client("dynamodb")
bucket = BucketReader(s3, **_place)
readers: list[StudyReader] = [bucket]
if url := os.environ.get("DICOMWEB_URL"):
    readers.append(DicomWebReader(url))


@logger.inject_lambda_context
def handle(event: dict[str, Any], context: LambdaContext) -> dict[str, object]:  # noqa: ARG001
    """Probe once. The event says nothing but that it is time."""
    at = dt.datetime.now(dt.UTC)
    sampler = TableSampler(dynamodb, os.environ["TABLE_NAME"], **_place, seed=at.isoformat())

    def time_left_s() -> float:
        return context.get_remaining_time_in_millis() / 1000 - _SPARE_S

    result = probe(
        levels, sampler, readers, manifests=bucket, at=at, name=name, time_left_s=time_left_s
    )
    where = (os.environ["SAMPLES_BUCKET"], os.environ["SAMPLES_PREFIX"])
    put_samples(s3, *where, result.samples, at=at)
    sys.stdout.writelines(f"{line}\n" for line in result.emf("cloudmig"))
    return result.document()
