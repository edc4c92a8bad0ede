"""The scripted PACS itself: listens, negotiates, dispatches; a thread for each association."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from cloudmig.demo.pacs import negotiation
from cloudmig.demo.pacs.commands import Element, Field, response_to
from cloudmig.demo.pacs.counters import Counters
from cloudmig.demo.pacs.holdings import Held, Holdings
from cloudmig.demo.pacs.matching import answers, encode_answer, parse_identifier
from cloudmig.demo.pacs.retrieve import Retrieve
from cloudmig.demo.pacs.script import Script
from cloudmig.demo.pacs.state import PacsState
from cloudmig.demo.pacs.wire import Link, Message, PeerGone
from cloudmig.demo.studies import Study

__all__ = ["ScriptedPacs"]

_VERIFICATION = "1.2.840.10008.1.1"
_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
_GET = "1.2.840.10008.5.1.4.1.2.2.3"
_UNCOMPRESSED = frozenset({str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)})
_PENDING, _SUCCESS, _CANCELLED = 0xFF00, 0x0000, 0xFE00
_TOO_MANY, _NOT_OF_THIS_CLASS, _NOT_RECOGNISED = 0xA700, 0xA900, 0x0211


class ScriptedPacs:
    """A legacy PACS that holds made-up studies and keeps to a script; a context manager."""

    def __init__(
        self,
        studies: Iterable[Study],
        script: Script | None = None,
        *,
        destinations: Mapping[str, tuple[str, int]] | None = None,
        aet: str = "LEGACYPACS",
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._state = PacsState(
            aet, Holdings(studies), script or Script(), dict(destinations or {})
        )
        held = {
            (series.sop_class_uid, series.transfer_syntax_uid)
            for study in self._state.holdings.studies
            for series in study.series
        }
        self._storage_contexts = frozenset((str(one), str(two)) for one, two in held)
        self._listener = socket.create_server((host, port), backlog=128)
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self.aet = aet
        self._threads: list[threading.Thread] = []

    @property
    def counters(self) -> Counters:
        """Return what was asked and done so far."""
        return self._state.counters

    @property
    def script(self) -> Script:
        """Return the script; assigning another one changes the habits of later requests."""
        return self._state.script

    @script.setter
    def script(self, script: Script) -> None:
        self._state.script = script

    @property
    def studies(self) -> tuple[Study, ...]:
        """Return the recipes of what is held."""
        return self._state.holdings.studies

    def truth(self) -> Iterator[Held]:
        """Say what is really held, with the SHA-256 of every data set."""
        return self._state.holdings.truth()

    def send_to(self, aet: str, host: str, port: int) -> None:
        """Register a C-MOVE destination."""
        self._state.destinations = {**self._state.destinations, aet: (host, port)}

    def start(self) -> Self:
        """Begin to listen; returns at once."""
        self._spawn(self._accept_all, "scripted-pacs")
        return self

    def stop(self) -> None:
        """Close the listener and every association, and wait for their threads."""
        self._state.stopping.set()
        with contextlib.suppress(OSError):  # Wakes the thread that waits in accept.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._state.close_all()
        for thread in self._threads:
            thread.join(timeout=10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _spawn(self, target: object, name: str, *args: object) -> None:
        assert callable(target), "a method of this class"
        thread = threading.Thread(target=target, name=name, args=args, daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _accept_all(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # Closed by `stop`.
            self._spawn(self._serve, "scripted-pacs-association", connection)

    def _serve(self, connection: socket.socket) -> None:
        # Registered before the first byte: a peer that says nothing must not keep `stop` waiting.
        silent = Link(connection, {}, 0)
        self._state.remember(silent)
        counters, script = self.counters, self.script
        link: Link | None = None
        if not counters.try_open(script.associations_max):
            objection = negotiation.REJECT_FULL
        else:
            objection = None
        try:
            link = negotiation.accept(
                connection,
                supports=self._supports,
                objection=lambda aet: objection or self._objection(aet),
                contexts_max=script.contexts_max,
            )
            if link is not None:
                self._state.remember(link)
                while True:
                    message = link.receive()
                    self._dispatch(link, message)
                    is_echo = message.command.get(Element.COMMAND_FIELD) == Field.C_ECHO_RQ
                    if script.one_operation and not is_echo:
                        return
        except (PeerGone, OSError):
            return  # The peer's good right; what it was owed is not lost, only asked for again.
        finally:
            if objection is None:
                counters.count_close()
            for closing in (silent, link):
                if closing is not None:
                    self._state.forget(closing)
                    closing.close()

    def _objection(self, calling_aet: str) -> tuple[int, int, int] | None:
        if self.script.callers and calling_aet not in self.script.callers:
            self.counters.count_rejection()
            return negotiation.REJECT_CALLING_AET
        return None

    def _supports(self, abstract_syntax: str, transfer_syntax: str) -> bool:
        if abstract_syntax == _GET and not self.script.get_allowed:
            return False
        if abstract_syntax == _MOVE and not self.script.move_allowed:
            return False
        if abstract_syntax in {_VERIFICATION, _FIND, _MOVE, _GET}:
            return transfer_syntax in _UNCOMPRESSED
        if transfer_syntax == self.script.mislabels:
            return True
        return (abstract_syntax, transfer_syntax) in self._storage_contexts

    def _dispatch(self, link: Link, message: Message) -> None:
        match message.command.get(Element.COMMAND_FIELD):
            case Field.C_ECHO_RQ:
                self.counters.count_request("echo")
                link.send(message.context_id, response_to(message.command, _SUCCESS))
            case Field.C_FIND_RQ:
                self._find(link, message)
            case Field.C_MOVE_RQ | Field.C_GET_RQ:
                identifier = self._identifier(link, message)
                is_move = message.command[Element.COMMAND_FIELD] == Field.C_MOVE_RQ
                level = identifier.get("QueryRetrieveLevel", "")
                self.counters.count_request(f"{'move' if is_move else 'get'} {level}")
                Retrieve(self._state, link, message, identifier).run()
            case Field.C_CANCEL_RQ:
                self.counters.count_cancel()  # Too late: what it meant is answered already.
            case _:
                link.send(message.context_id, response_to(message.command, _NOT_RECOGNISED))

    def _identifier(self, link: Link, message: Message) -> dict[str, str]:
        return parse_identifier(message.data_set, link.contexts[message.context_id][1])

    def _find(self, link: Link, message: Message) -> None:
        script = self.script
        identifier = self._identifier(link, message)
        level = identifier.get("QueryRetrieveLevel", "")
        self.counters.count_request(f"find {level}")
        self.counters.count_query(identifier)
        known = level in {"STUDY", "SERIES"} or (level == "IMAGE" and script.image_find)
        if not known:
            link.send(message.context_id, response_to(message.command, _NOT_OF_THIS_CLASS))
            return
        limit = {"STUDY": script.study_limit, "IMAGE": script.image_limit}.get(level)
        found = answers(self._state.holdings, script, identifier)
        if limit is not None and script.limit_is_refused:
            listed = list(found)
            if len(listed) > limit:
                link.send(message.context_id, response_to(message.command, _TOO_MANY))
                return
            found = iter(listed)
        syntax = link.contexts[message.context_id][1]
        status = _SUCCESS
        for number, row in enumerate(found):
            if limit is not None and number >= limit:
                break
            if link.is_waiting():
                field = link.receive().command.get(Element.COMMAND_FIELD)
                if field == Field.C_CANCEL_RQ:
                    self.counters.count_cancel()
                    status = _CANCELLED
                    break
            coded = encode_answer(row, script, identifier, syntax)
            link.send(message.context_id, response_to(message.command, _PENDING), coded)
        link.send(message.context_id, response_to(message.command, status))
