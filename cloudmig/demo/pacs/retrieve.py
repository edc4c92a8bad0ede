"""C-MOVE and C-GET: one retrieve from its identifier to the last word (PS3.4 C.4.2 and C.4.3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from cloudmig.demo.data_sets import encoded, with_values
from cloudmig.demo.oddities import with_sop_instance_uid
from cloudmig.demo.pacs.commands import Element, Field, response_to
from cloudmig.demo.pacs.negotiation import request
from cloudmig.demo.pacs.script import Fault
from cloudmig.demo.pacs.state import PacsState
from cloudmig.demo.pacs.wire import Link, Message, PeerAborted, PeerGone
from cloudmig.demo.studies import Instance, made_up_uid

__all__ = ["Retrieve"]

_PENDING, _SUCCESS, _WARNING, _CANCELLED = 0xFF00, 0x0000, 0xB000, 0xFE00
_BUSY, _UNKNOWN_DESTINATION, _UNABLE = 0xA702, 0xA801, 0xC000
_CONTEXTS_MAX = 128


@dataclass
class Retrieve:
    """One C-MOVE or C-GET being answered."""

    state: PacsState
    link: Link  #: Where it was asked.
    message: Message
    identifier: Mapping[str, str]
    completed: int = 0
    failed: list[str] = field(default_factory=list)
    total: int = 0
    cancelled: bool = False
    _stores: Link | None = None
    _next_message_id: int = 1

    @property
    def _is_move(self) -> bool:
        return self.message.command[Element.COMMAND_FIELD] == Field.C_MOVE_RQ

    def run(self) -> None:
        """Answer the request whole, with whatever the script does to it."""
        state = self.state
        uids = [uid for uid in self._list("StudyInstanceUID") if uid]
        number = state.counters.count_retrieve(uids)
        fault = self._fault_of(number, uids)
        wanted = state.holdings.instances(
            uids, self._list("SeriesInstanceUID"), self._list("SOPInstanceUID")
        )
        self.total = len(wanted)
        if fault in {Fault.BUSY, Fault.FAILURE}:
            self._finish(_BUSY if fault is Fault.BUSY else _UNABLE)
            return
        if state.script.uid_lists and len(self._list("SOPInstanceUID")) > 1:
            self.total = 0
            self._finish(_UNABLE if state.script.uid_lists == "refused" else _SUCCESS)
            return
        if fault in {Fault.NOTHING, Fault.NOTHING_COUNTED}:
            self.completed = self.total if fault is Fault.NOTHING_COUNTED else 0
            self._finish(_SUCCESS)
            return
        if fault is Fault.WRONG_STUDY:
            other = state.holdings.another_than(uids[0] if uids else "")
            wanted = state.holdings.instances_of(other) if other else []
            self.total = len(wanted)
        if self._is_move:
            destination = str(self.message.command.get(Element.MOVE_DESTINATION, ""))
            if destination not in state.destinations:
                self._finish(_UNKNOWN_DESTINATION)
                return
        try:
            self._stores = self._open_stores(wanted) if self._is_move and wanted else self.link
            self._send_all(wanted, fault, number)
        finally:
            if self._stores is not None and self._stores is not self.link:
                self.state.forget(self._stores)
                self._stores.release()

    def _list(self, keyword: str) -> list[str]:
        value = self.identifier.get(keyword, "")
        return value.split("\\") if value else []

    def _fault_of(self, number: int, study_instance_uids: list[str]) -> Fault | None:
        script = self.state.script
        if script.fault is None:
            return None
        if script.fault_studies:
            if script.fault_studies.isdisjoint(study_instance_uids):
                return None
            number = max(
                self.state.counters.retrieved_studies[uid]
                for uid in study_instance_uids
                if uid in script.fault_studies
            )
        return script.fault if number <= script.fault_retrieves else None

    def _open_stores(self, wanted: list[Instance]) -> Link | None:
        """Open the store association; None when the destination is not there."""
        destination = str(self.message.command[Element.MOVE_DESTINATION])
        contexts = dict.fromkeys(
            (instance.sop_class_uid, instance.transfer_syntax_uid) for instance in wanted
        )
        try:
            stores = request(
                self.state.destinations[destination],
                calling_aet=self.state.aet,
                called_aet=self.state.script.calls_us or destination,
                contexts=list(contexts)[:_CONTEXTS_MAX],
            )
        except PeerGone:
            return None
        self.state.remember(stores)
        return stores

    def _send_all(self, wanted: list[Instance], fault: Fault | None, number: int) -> None:
        script = self.state.script
        early = script.final_before_last_store and len(wanted) > 1
        for position, instance in enumerate(wanted, 1):
            if early and position == len(wanted):
                self.completed += script.last_store_counted
                self._finish(self._final_status())
                self.state.stopping.wait(script.last_store_delay_s)
            if position == script.fault_at_store and not self._misbehave(fault, instance):
                return
            sent = self._send_one(instance, number)
            if early and position == len(wanted):
                return
            if sent:
                self.completed += 1
            else:
                self.failed.append(instance.sop_instance_uid)
            if self._is_cancelled():
                break
            if not script.final_status_only and position < len(wanted):
                self._answer(_PENDING)
        self._finish(_CANCELLED if self.cancelled else self._final_status())

    def _misbehave(self, fault: Fault | None, instance: Instance) -> bool:
        """Do what the script has for this store; False when the retrieve is over with it."""
        script = self.state.script
        match fault:
            case Fault.HANG:
                self.state.stopping.wait(script.hang_s)
            case Fault.ABORT:
                if self._stores is not None:
                    self._stores.abort()
                self.link.abort()
                raise PeerAborted
            case Fault.ABORT_STORES if self._stores is not None and self._stores is not self.link:
                self._stores.abort()
            case Fault.ENDLESS_STORE if self._stores is not None:
                context_id, command = self._store_command(instance, instance.sop_instance_uid)
                if context_id is not None:
                    self._stores.send_endless(context_id, command, script.endless_bytes_max)
                self._stores.abort()
                self.link.abort()
                return False
            case _:
                return True
        return True

    def _send_one(self, instance: Instance, number: int) -> bool:
        """Send one instance; tell whether the PACS believes that it arrived."""
        script, counters = self.state.script, self.state.counters
        if instance.sop_instance_uid in script.missing:
            return script.missing_counted == "completed"
        instance, data_set = self._as_sent(instance, number)
        named = instance.sop_instance_uid
        if named in script.misnamed:
            named = made_up_uid("misnamed", named)
        context_id, command = self._store_command(instance, named)
        if context_id is None or self._stores is None:
            return False
        counters.count_send(instance.sop_instance_uid, len(data_set))
        try:
            self._stores.send(context_id, command, data_set)
            answer = self._store_answer(self._stores)
        except PeerGone:
            if self._stores is self.link:
                raise
            return False
        counters.count_store_answer(answer)
        return answer in {_SUCCESS, 0xB000, 0xB006, 0xB007}

    def _as_sent(self, instance: Instance, number: int) -> tuple[Instance, bytes]:
        """Return what goes out for an instance: what is held, unless the script changes it."""
        script, held = self.state.script, instance.sop_instance_uid
        data_set = self.state.holdings.data_set(instance)
        times = self.state.counters.sent[held]
        if held in script.changing:
            data_set = data_set.replace(b"Example Hospital", b"Example H%07d" % times, 1)
        if held in script.reencoded and times % 2:
            data_set = _with_group_length(instance, data_set)
        if held in script.torn and times < script.torn_times:
            data_set = data_set[:-100]
        if script.new_uids:
            digits = made_up_uid("retrieve", number, held).removeprefix("2.25.")
            # The same length as before, so that not another byte changes.
            fresh = "2.25." + digits[: len(held) - 5].ljust(len(held) - 5, "7")
            data_set = with_sop_instance_uid(
                dataclasses.replace(instance, data_set=lambda: data_set), fresh
            )
            instance = dataclasses.replace(instance, sop_instance_uid=fresh)
        return instance, data_set

    def _store_command(
        self, instance: Instance, sop_instance_uid: str
    ) -> tuple[int | None, dict[int, int | str]]:
        """Build the C-STORE-RQ (PS3.7 9.3.1.1) and find its context."""
        command: dict[int, int | str] = {
            Element.AFFECTED_SOP_CLASS_UID: instance.sop_class_uid,
            Element.COMMAND_FIELD: Field.C_STORE_RQ,
            Element.MESSAGE_ID: self._next_message_id,
            Element.PRIORITY: 0,
            Element.AFFECTED_SOP_INSTANCE_UID: sop_instance_uid,
        }
        self._next_message_id = self._next_message_id % 0xFFFF + 1
        if self._is_move:
            command[Element.MOVE_ORIGINATOR] = self.link.calling_aet
            command[Element.MOVE_ORIGINATOR_MESSAGE_ID] = self.message.command[Element.MESSAGE_ID]
        if self._stores is None:
            return None, command
        syntaxes = (self.state.script.mislabels, instance.transfer_syntax_uid)
        contexts = (self._stores.context_for(instance.sop_class_uid, each) for each in syntaxes)
        return next((each for each in contexts if each is not None), None), command

    def _store_answer(self, stores: Link) -> int:
        while True:
            answer = stores.receive().command
            if answer[Element.COMMAND_FIELD] == Field.C_CANCEL_RQ:
                self._note_cancel()  # In a C-GET it comes between the answers.
                continue
            status = answer[Element.STATUS]
            assert isinstance(status, int), "decoded as a number"
            return status

    def _is_cancelled(self) -> bool:
        listen = not self.cancelled and self._stores is not self.link and self.link.is_waiting()
        if listen and self.link.receive().command[Element.COMMAND_FIELD] == Field.C_CANCEL_RQ:
            self._note_cancel()
        return self.cancelled

    def _note_cancel(self) -> None:
        self.cancelled = True
        self.state.counters.count_cancel()

    def _final_status(self) -> int:
        if not self.failed:
            return _SUCCESS
        return _WARNING if self.completed else _BUSY

    def _finish(self, status: int) -> None:
        self.state.counters.count_retrieve_end(status)
        self._answer(status)

    def _answer(self, status: int) -> None:
        answer = response_to(self.message.command, status)
        if self.state.script.counts_in_retrieve:
            answer[Element.COMPLETED] = min(self.completed, 0xFFFF)
            answer[Element.FAILED] = min(len(self.failed), 0xFFFF)
            answer[Element.WARNING] = 0
            if status in {_PENDING, _CANCELLED}:
                done = self.completed + len(self.failed)
                answer[Element.REMAINING] = min(self.total - done, 0xFFFF)
        named = None
        if status != _PENDING and self.failed:
            uids = with_values(Dataset(), {"FailedSOPInstanceUIDList": self.failed})
            named = encoded(uids, self.link.contexts[self.message.context_id][1])
        self.link.send(self.message.context_id, answer, named)


def _with_group_length(instance: Instance, data_set: bytes) -> bytes:
    """Put a retired group length (0008,0000) in front: other bytes, equal elements."""
    if instance.transfer_syntax_uid == "1.2.840.10008.1.2":
        return b"\x08\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00" + data_set
    return b"\x08\x00\x00\x00UL\x04\x00\x00\x00\x00\x00" + data_set
