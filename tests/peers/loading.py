"""Load files into a PACS byte for byte, and remember what it took. That is the truth of a test.

Nothing is decoded or encoded on the way: pynetdicom sends the data set of the file in chunks, in a
presentation context that has exactly the file's SOP class and transfer syntax.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import logging
import multiprocessing
import socket
import tempfile
import warnings
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association

from tests.peers.part10 import NotPart10, dataset_sha256, read_file_meta

__all__ = ["Loaded", "Pacs", "held", "keep_acknowledging", "load", "read_truth", "write_truth"]

_CONTEXTS_MAX = 128  # PS3.8 9.3.2.2: odd numbers from 1 to 255
_BATCH_FILES_MAX = 150
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
NO_CONTEXT = "no presentation context accepted"
_NO_ASSOCIATION = "association not accepted"

_Address = tuple[str, int, str, str]  #: host, port, called and calling AE title


class Pacs(Protocol):
    """Whatever answers C-STORE."""

    host: str
    port: int
    ae_title: str
    #: How many associations it stores from without harm.
    loading_associations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One file, and what the PACS said when it was offered."""

    path: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    transfer_syntax_uid: str = ""
    dataset_sha256: str = ""
    #: The status of the C-STORE response; None when there was none.
    status: int | None = None
    #: Why there was none.
    reason: str = ""

    @property
    def held(self) -> bool:
        """Say whether the PACS took the file: success or a warning (PS3.7 annex C)."""
        if self.status is None:
            return False
        return self.status in (0x0000, 0x0001, 0x0107, 0x0116) or 0xB000 <= self.status <= 0xBFFF

    @property
    def answer(self) -> str:
        """Return the status as four hex digits, or the reason why there is none."""
        return f"{self.status:04X}" if self.status is not None else self.reason


def held(truth: Iterable[Loaded]) -> list[Loaded]:
    """Return what the PACS took."""
    return [loaded for loaded in truth if loaded.held]


def load(pacs: Pacs, files: Iterable[Path], *, calling_aet: str = "LOADER") -> list[Loaded]:
    """Send the files and return one record each, in their order.

    Of several files with one SOP Instance UID the first is sent before the second.
    """
    paths = list(files)
    address = (pacs.host, pacs.port, pacs.ae_title, calling_aet)
    records: dict[str, Loaded] = {}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(pacs.loading_associations, mp_context=spawn) as pool:
        for record in pool.map(describe, paths, chunksize=50):
            records[record.path] = record
        for turn in _turns([record for record in records.values() if not record.reason]):
            jobs = [(address, batch) for batch in _batches(turn)]
            for sent in pool.map(_send_batch, jobs):
                records.update((record.path, record) for record in sent)
    return [records[str(path)] for path in paths]


def describe(path: Path) -> Loaded:
    """Read UIDs and digest of a file, or say why it cannot be offered to a PACS."""
    content = path.read_bytes()
    try:
        meta = read_file_meta(content)
    except NotPart10 as error:
        return Loaded(path=str(path), reason=str(error))
    if not (meta.sop_class_uid and meta.sop_instance_uid and meta.transfer_syntax_uid):
        return Loaded(path=str(path), reason="file meta without UIDs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(
            path,
            stop_before_pixels=True,
            specific_tags=list(_UIDS),
        )
        # Values are converted when they are asked for, and then warned about.
        told = {name: str(header.get(name) or "") for name in _UIDS}
    return Loaded(
        path=str(path),
        sop_class_uid=told["SOPClassUID"] or meta.sop_class_uid,
        sop_instance_uid=told["SOPInstanceUID"] or meta.sop_instance_uid,
        study_instance_uid=told["StudyInstanceUID"],
        series_instance_uid=told["SeriesInstanceUID"],
        transfer_syntax_uid=meta.transfer_syntax_uid,
        dataset_sha256=dataset_sha256(content),
    )


def _turns(records: Sequence[Loaded]) -> list[list[Loaded]]:
    seen: Counter[str] = Counter()
    turns: defaultdict[int, list[Loaded]] = defaultdict(list)
    for record in records:
        turns[seen[record.sop_instance_uid]].append(record)
        seen[record.sop_instance_uid] += 1
    return [turns[turn] for turn in sorted(turns)]


def _batches(records: Sequence[Loaded]) -> list[list[Loaded]]:
    """Group whole studies, so that one study is never sent by two associations at once."""
    studies: defaultdict[str, list[Loaded]] = defaultdict(list)
    for record in records:
        studies[record.study_instance_uid].append(record)
    batches: list[list[Loaded]] = [[]]
    for study in studies.values():
        together = [*batches[-1], *study]
        if batches[-1] and (
            len(together) > _BATCH_FILES_MAX or len(_pairs(together)) > _CONTEXTS_MAX
        ):
            batches.append([])
        batches[-1].extend(study)
    return [batch for batch in batches if batch]


def _pairs(records: Iterable[Loaded]) -> list[tuple[str, str]]:
    return sorted({_pair(record) for record in records})


def _pair(record: Loaded) -> tuple[str, str]:
    return record.sop_class_uid, record.transfer_syntax_uid


def _send_batch(job: tuple[_Address, list[Loaded]]) -> list[Loaded]:
    """Send files with a context each; once more, alone, what got none beside the others.

    PixelMed accepts one transfer syntax of a SOP class per association.
    """
    address, records = job
    _config.STORE_SEND_CHUNKED_DATASET = True
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    pairs = _pairs(records)
    sent = _send_all(address, records, pairs)
    left = [record for record in sent if record.reason == NO_CONTEXT]
    done = [record for record in sent if record.reason != NO_CONTEXT]
    for pair in _pairs(left) if len(pairs) > 1 else []:
        again = [record for record in left if _pair(record) == pair]
        left = [record for record in left if _pair(record) != pair]
        again = [dataclasses.replace(record, reason="") for record in again]
        # With its only context rejected an association is no association, to pynetdicom.
        done += [
            dataclasses.replace(record, reason=NO_CONTEXT)
            if record.reason == _NO_ASSOCIATION
            else record
            for record in _send_all(address, again, [pair])
        ]
    return done + left


def _send_all(
    address: _Address, records: list[Loaded], pairs: Sequence[tuple[str, str]]
) -> list[Loaded]:
    """Send files over one association, or over another where the PACS ends that."""
    host, port, called_aet, calling_aet = address
    entity = AE(ae_title=calling_aet)
    entity.maximum_pdu_size = 131072
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    contexts = [build_context(*pair) for pair in pairs]
    association: Association | None = None
    done: list[Loaded] = []
    waiting = deque((record, True) for record in records)
    while waiting:
        record, may_repeat = waiting.popleft()
        if association is None or not association.is_established:
            association = entity.associate(
                host,
                port,
                contexts=contexts,
                ae_title=called_aet,
                evt_handlers=[
                    (evt.EVT_CONN_OPEN, keep_acknowledging),
                    (evt.EVT_PDU_SENT, keep_acknowledging),
                ],
            )
        sent = _send(association, record)
        if sent.reason not in ("", NO_CONTEXT):
            # What comes after an unanswered object must not share its association; and only what is
            # unanswered twice, the second time in an association of its own, is refused.
            association.abort()
            association = None
            if may_repeat:
                waiting.appendleft((record, False))
                continue
        done.append(sent)
    if association is not None and association.is_established:
        association.release()
    return done


def keep_acknowledging(event: evt.Event) -> None:
    """Keep Nagle and the delayed ACK from costing 40 ms an object, whoever is at the other end."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _send(association: Association, record: Loaded) -> Loaded:
    if not association.is_established:
        return dataclasses.replace(record, reason=_NO_ASSOCIATION)
    try:
        with _offered(record) as path:
            answer = association.send_c_store(path)
    except (ValueError, AttributeError):
        return dataclasses.replace(record, reason=NO_CONTEXT)
    except RuntimeError:
        return dataclasses.replace(record, reason="association ended by the PACS")
    if "Status" not in answer:
        return dataclasses.replace(record, reason="no answer; association ended by the PACS")
    return dataclasses.replace(record, status=int(answer.Status))


@contextlib.contextmanager
def _offered(record: Loaded) -> Iterator[Path]:
    """Give the file, or a copy whose file meta names the UIDs that its data set has.

    pynetdicom builds the command from the file meta. Where the two disagree every PACS answers
    A900; other senders build the command from the data set, which stays as it is here, too.
    """
    content = Path(record.path).read_bytes()
    meta = read_file_meta(content)
    if (meta.sop_class_uid, meta.sop_instance_uid) == (
        record.sop_class_uid,
        record.sop_instance_uid,
    ):
        yield Path(record.path)
        return
    told = FileMetaDataset()
    told.MediaStorageSOPClassUID = UID(record.sop_class_uid)
    told.MediaStorageSOPInstanceUID = UID(record.sop_instance_uid)
    told.TransferSyntaxUID = UID(record.transfer_syntax_uid)
    told.ImplementationClassUID = UID("1.2.826.0.1.3680043.8.498.1")
    with tempfile.TemporaryDirectory(prefix="offered-") as folder:
        copy = Path(folder) / "instance.dcm"
        with copy.open("wb") as file:
            file.write(bytes(128) + b"DICM")
            write_file_meta_info(DicomFileLike(file), told, enforce_standard=False)
            file.write(content[meta.dataset_offset :])
        yield copy


def write_truth(truth: Iterable[Loaded], path: Path) -> None:
    """Write the records as CSV."""
    names = [field.name for field in dataclasses.fields(Loaded)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for record in truth:
            row = dataclasses.asdict(record)
            writer.writerow({**row, "status": "" if record.status is None else record.status})


def read_truth(path: Path) -> list[Loaded]:
    """Read what `write_truth` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Loaded(**{**row, "status": int(row["status"]) if row["status"] else None})  # type: ignore[arg-type]
            for row in csv.DictReader(file)
        ]
