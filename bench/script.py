"""The contender `script`: what a good engineer writes in an afternoon. Proves and resumes nothing.

Usage: script.py PACS_PORT PACS_AET OUR_AET OUR_PORT ENDPOINT BUCKET STUDY_UID ...
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import boto3
from botocore.config import Config
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, StoragePresentationContexts, _config, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelMove as MoveModel,
)

_config.LOG_HANDLER_LEVEL = "none"  # its default handlers double the CPU
pacs_port, pacs_aet, our_aet, our_port, endpoint, bucket, *study_instance_uids = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint, config=Config(max_pool_connections=16))
uploads = ThreadPoolExecutor(16)
room = threading.BoundedSemaphore(64)  # images in memory at most
pending: list[Future[None]] = []


def upload(key: str, body: bytes) -> None:
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/dicom")
    finally:
        room.release()


def on_store(event: evt.Event) -> int:
    room.acquire()
    key = f"{our_aet}/{event.request.AffectedSOPInstanceUID}.dcm"  # type: ignore[union-attr]
    pending.append(uploads.submit(upload, key, event.encoded_dataset()))
    return 0x0000


def move(study_instance_uid: str) -> bool:
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", study_instance_uid
    association = scu.associate("127.0.0.1", int(pacs_port), ae_title=pacs_aet)
    statuses = [status.Status for status, _ in association.send_c_move(query, our_aet, MoveModel)]
    association.release()
    return bool(statuses[-1] == 0x0000)


scp = AE(our_aet)
scp.maximum_pdu_size = 0
for context in StoragePresentationContexts:  # the default order would have the PACS convert
    scp.add_supported_context(str(context.abstract_syntax), ExplicitVRLittleEndian)
server = scp.start_server(("", int(our_port)), False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
scu = AE(our_aet)
scu.add_requested_context(MoveModel)
with ThreadPoolExecutor(4) as moves:
    moved = all(list(moves.map(move, study_instance_uids)))
for upload_done in pending:
    upload_done.result()
assert server
server.shutdown()
sys.exit(0 if moved else 1)
