"""A PACS: every step a migration takes, taken once and in small."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from cloudmig.agent.doctor.findings import Finding, ok, problem, warning
from cloudmig.agent.doctor.listening import Listening
from cloudmig.agent.doctor.nothing_came import get_brought_nothing, move_brought_nothing
from cloudmig.config import Configuration, PacsSettings
from cloudmig.dimse.client import Peer, associate
from cloudmig.dimse.contexts import QUERY_TRANSFER_SYNTAX_UIDS, ProposedContext
from cloudmig.dimse.limits import Limits, Timers
from cloudmig.dimse.tls import client_context
from cloudmig.errors import (
    QueryTruncated,
    SourceBusy,
    SourceError,
    SourceRefused,
    SourceUnavailable,
)
from cloudmig.model.instance import ExpectedInstance
from cloudmig.model.references import StudyRef
from cloudmig.model.window import DateWindow, StudyQuestion
from cloudmig.ports import InventorySource, RetrieveRequest
from cloudmig.sources.dimse import DimseSource, DimseSourceSettings
from cloudmig.sources.dimse.asking import FIND, GET, MOVE, VERIFICATION

__all__ = ["check_source", "first_studies", "narrow_questions"]

_SERVICES = {"C-ECHO": VERIFICATION, "C-FIND": FIND, "C-MOVE": MOVE, "C-GET": GET}
#: Days back in which a study is looked for, one narrow question after the other.
_LOOK_BACK_DAYS = (0, 7, 31, 366, 3660)
_STUDIES_TRIED_MAX = 3


async def check_source(
    config: Configuration, name: str, listen: Listening, *, wait_max_s: float
) -> list[Finding]:
    """Examine one PACS; what cannot be found out any more is left out."""
    source = config.pacs[name]
    examination = _Examination(f"source {name}", name, source, config, listen, wait_max_s)
    return [finding async for finding in examination.findings()]


class _Stop(Exception):  # noqa: N818 - no error: what follows would only repeat the finding
    """Nothing further can be found out about this PACS."""


@dataclass
class _Examination:
    """One pass over one PACS."""

    subject: str
    name: str
    source: PacsSettings
    config: Configuration
    listen: Listening
    wait_max_s: float
    our_address: str = ""
    offered: set[str] = field(default_factory=set)  #: Names of `_SERVICES`.
    usable_titles: list[str] = field(default_factory=list)

    async def findings(self) -> AsyncIterator[Finding]:
        try:
            await self._note_our_address()
            async for finding in self._greet():
                yield finding
            async for finding in self._services():
                yield finding
            study, found = await self._find()
            yield found
            if study is not None:
                async for finding in self._retrieve(study):
                    yield finding
        except _Stop as stop:
            if stop.args:
                yield stop.args[0]

    @property
    def _where(self) -> str:
        return f"{self.source.host}:{self.source.port}"

    async def _note_our_address(self) -> None:
        """Find out which of our addresses the PACS sees. Sends nothing."""
        with contextlib.suppress(OSError):
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=(self.source.host, self.source.port)
            )
            self.our_address = str(transport.get_extra_info("sockname")[0])
            transport.close()

    def _reached(self) -> Finding:
        return ok("reachable", self.subject, f"{self._where} can be reached")

    async def _reach(self) -> Finding:
        """Say whether anybody listens, after an association failed and did not say why.

        Never before: a connection without a request keeps a place at some PACS for 30 s, and one
        that lets a single association in would then refuse the next.
        """
        source = self.source
        try:
            async with asyncio.timeout(min(source.connect_s, self.wait_max_s)):
                _, writer = await asyncio.open_connection(source.host, source.port)
        except socket.gaierror:
            raise _Stop(
                problem(
                    "reachable",
                    self.subject,
                    f"the name {source.host} has no address",
                    f"Correct sources.{self.name}.host, or add the name to DNS or /etc/hosts.",
                )
            ) from None
        except OSError as error:  # TimeoutError is one.
            why = error.strerror or "no answer"
            raise _Stop(
                problem(
                    "reachable",
                    self.subject,
                    f"{self._where} cannot be reached: {why}",
                    f"Correct sources.{self.name}.host and port (ask the PACS administrator),"
                    " start the PACS, or open the firewall.",
                )
            ) from None
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return self._reached()

    def _ssl_context(self) -> ssl.SSLContext | None:
        tls = self.source.tls
        if tls is None:
            return None
        try:
            return client_context(
                tls.ca, tls.certificate, tls.key, verify_hostname=self.source.verify_hostname
            )
        except (OSError, ssl.SSLError):
            raise _Stop from None  # The check of certificates says so.

    def _timers(self) -> Timers:
        most_s = self.wait_max_s
        return Timers(
            connect_s=most_s, tls_handshake_s=most_s, artim_s=most_s, network_s=most_s,
            answer_s=most_s, total_s=most_s,
        )  # fmt: skip

    async def _greet(self) -> AsyncIterator[Finding]:
        """Associate under each of our AE titles and see what is accepted."""
        context = self._ssl_context()
        contexts = [ProposedContext(uid, QUERY_TRANSFER_SYNTAX_UIDS) for uid in _SERVICES.values()]
        source, reached = self.source, False
        for ae_title in source.ae_titles:
            peer = Peer(source.host, source.port, source.aet, ae_title, context)
            try:
                async with await associate(peer, contexts, timers=self._timers()) as association:
                    for service, uid in _SERVICES.items():
                        if association.accepted_syntax(uid) is not None:
                            self.offered.add(service)
                    if "C-ECHO" in self.offered:
                        await association.ping()
            except (SourceRefused, SourceUnavailable) as error:
                if not reached:
                    answered = isinstance(error, SourceRefused | SourceBusy)
                    yield self._reached() if answered else await self._reach()
                    reached = True
                yield self._refusal(ae_title, error)
                if self._is_about_all_titles(error):
                    break
                continue
            if not reached:
                yield self._reached()
                reached = True
            self.usable_titles.append(ae_title)
            yield ok("calling_aet", self.subject, f"{source.aet} accepts us as {ae_title}")
        if not self.usable_titles:
            raise _Stop

    @staticmethod
    def _is_about_all_titles(error: Exception) -> bool:
        return "alling AE title" not in str(error).replace("_", " ")

    def _refusal(self, ae_title: str, error: SourceRefused | SourceUnavailable) -> Finding:
        source, said = self.source, str(error)
        if "Called AE title" in said:
            return problem(
                "called_aet",
                self.subject,
                f"the PACS is not called {source.aet}",
                f"Correct sources.{self.name}.aet: ask the PACS administrator for its AE title.",
            )
        if "Calling AE title" in said:
            return problem(
                "calling_aet",
                self.subject,
                f"the PACS does not accept our AE title {ae_title}",
                f"Register {ae_title} at the PACS with the address {self.our_address}, port"
                f" {self.config.listen.port}; or put an AE title it knows into"
                f" sources.{self.name}.ae_titles.",
            )
        if said.startswith("TLS failed"):
            return problem(
                "tls",
                self.subject,
                said,
                f"Correct sources.{self.name}.tls: ca must be the authority of the PACS's"
                " certificate, certificate and key those the PACS trusts; where its certificate"
                " names another host, set verify_hostname = false.",
            )
        if self.source.tls is None and "over" in said:
            hint = (
                f"Is it a DICOM port, and does it want TLS? Then set sources.{self.name}.tls."
                " Otherwise look into the log of the PACS."
            )
        else:
            hint = f"{error.hint or 'Look into the log of the PACS'}.".replace("..", ".")
        return problem("association", self.subject, f"no association as {ae_title}: {said}", hint)

    async def _services(self) -> AsyncIterator[Finding]:
        us, source = " and ".join(self.usable_titles), self.source
        if "C-FIND" not in self.offered:
            raise _Stop(
                problem(
                    "c_find",
                    self.subject,
                    f"{source.aet} offers no Study Root C-FIND to {us}",
                    f"Allow query (C-FIND, Study Root) for {us} at the PACS.",
                )
            )
        for service, wanted in (("C-GET", "c-get"), ("C-MOVE", "c-move")):
            if source.retrieve == wanted and service not in self.offered:
                other = "c-move" if wanted == "c-get" else "c-get"
                raise _Stop(
                    problem(
                        "retrieve",
                        self.subject,
                        f"{source.aet} offers no {service} to {us}",
                        f'Set sources.{self.name}.retrieve = "{other}", or allow {service} for'
                        f" {us} at the PACS.",
                    )
                )
        if not {"C-GET", "C-MOVE"} & self.offered:
            yield problem(
                "retrieve",
                self.subject,
                f"{source.aet} offers neither C-GET nor C-MOVE to {us}",
                f"Allow retrieve (C-MOVE or C-GET, Study Root) for {us} at the PACS.",
            )
            raise _Stop
        yield ok("services", self.subject, f"{source.aet} offers {', '.join(sorted(self.offered))}")

    def _open(self, *, use_get: bool) -> DimseSource:
        source = self.source
        return DimseSource(
            DimseSourceSettings(
                name=self.name,
                host=source.host,
                port=source.port,
                aet=source.aet,
                ae_titles=tuple(self.usable_titles),
                retrieve="c-get" if use_get else "c-move",
                lanes=1,
                grace_s=min(source.grace_s, self.wait_max_s / 4),
                timers=self._timers(),
                limits=Limits(),
                ssl_context=self._ssl_context(),
            ),
            self.listen.desk,
            patient_key=lambda _patient_id, _issuer: "",
        )

    async def _find(self) -> tuple[ExpectedInstance | None, Finding]:
        """Find one instance to try with: narrow questions first, and never a long answer."""
        source = self._open(use_get=False)
        answered = False
        refusal: SourceError | None = None
        try:
            for question in narrow_questions():
                try:
                    studies = await first_studies(source, question)
                except QueryTruncated as error:
                    refusal = error  # Too broad for it, unless it answers none of them.
                    continue
                answered = True
                for study in studies:
                    listing = await source.list_instances(study)
                    if listing.instances:
                        words = "C-FIND answers, down to the instances of a study"
                        return listing.instances[0], ok("c_find", self.subject, words)
        except (SourceRefused, SourceUnavailable, QueryTruncated) as error:
            answered, refusal = False, error
        finally:
            await source.close()
        if refusal is not None and not answered:
            return None, problem(
                "c_find",
                self.subject,
                f"C-FIND fails: {refusal}",
                f"Allow query for {' and '.join(self.usable_titles)} at the PACS, and look into"
                " its log.",
            )
        return None, warning(
            "c_find",
            self.subject,
            f"C-FIND answers with no study that has instances{f' ({refusal})' if refusal else ''}",
            "Nothing could be retrieved to try with. Is this the right archive?",
        )

    async def _retrieve(self, instance: ExpectedInstance) -> AsyncIterator[Finding]:
        """Pull one instance into memory, by every service that a run could use."""
        wanted = {"auto": ("C-GET", "C-MOVE"), "c-get": ("C-GET",), "c-move": ("C-MOVE",)}
        found = [
            await self._pull(instance, use_get=service == "C-GET")
            for service in wanted[self.source.retrieve]
            if service in self.offered and (service == "C-GET" or self.listen.port is not None)
        ]
        works = [finding for finding in found if finding.verdict.value == "ok"]
        for finding in found:
            if works and finding not in works:
                # With `auto`, one way that works is enough.
                yield warning(finding.check, finding.subject, finding.message, finding.hint)
            else:
                yield finding
        untried = self.source.retrieve == "c-get" and "C-MOVE" in self.offered
        if works and not instance.sop_class_uid and (len(works) > 1 or untried):
            yield warning(
                "retrieve",
                self.subject,
                "the PACS does not say of which SOP class an instance is: C-GET has to guess, in"
                " many rounds where it is a rare one; C-MOVE has not",
                f'Set sources.{self.name}.retrieve = "c-move"'
                f"{', if the PACS can send to us' if untried else ''}.",
            )

    async def _pull(self, instance: ExpectedInstance, *, use_get: bool) -> Finding:
        source, service = self._open(use_get=use_get), "C-GET" if use_get else "C-MOVE"
        reference = instance.instance
        expected: Mapping[str, ExpectedInstance] = {reference.sop_instance_uid: instance}
        request = RetrieveRequest(reference.study, expected, narrow=True)
        size_bytes = 0
        try:
            async with source.retrieve(request) as retrieval:
                async for arrival in retrieval:
                    size_bytes += arrival.staged.size_bytes
                    arrival.settle(stored=False)
                evidence = retrieval.evidence
        except (SourceRefused, SourceUnavailable) as error:
            return problem(
                "retrieve",
                self.subject,
                f"{service} of one instance fails: {error}",
                f"{error.hint or 'Look into the log of the PACS'}.",
            )
        finally:
            await source.close()
        if size_bytes:
            return ok(
                "retrieve", self.subject, f"{service} brought one instance of {size_bytes:,} bytes"
            )
        if use_get:
            return get_brought_nothing(self.subject, self.name, evidence)
        us = (
            f"AE title {self.usable_titles[0]}, address {self.our_address}, port {self.listen.port}"
        )
        return move_brought_nothing(self.subject, self.name, us, evidence, self.listen.refused)


async def first_studies(source: InventorySource, question: StudyQuestion) -> list[StudyRef]:
    """Return the first few; the association is given back before anything else is asked.

    Raises `QueryTruncated` when the source gave up before it told of any.
    """
    found: list[StudyRef] = []
    try:
        async with aclosing(source.find_studies(question)) as answers:  # type: ignore[type-var]
            async for summary in answers:
                if isinstance(summary.study, StudyRef):  # Others cannot be asked for.
                    found.append(summary.study)
                if len(found) >= _STUDIES_TRIED_MAX:
                    break
    except QueryTruncated:
        if not found:  # Else what it told before it gave up will do.
            raise
    return found


def narrow_questions() -> list[StudyQuestion]:
    """Return narrow questions first; the last one is for archives whose studies have no dates."""
    today = dt.datetime.now().astimezone().date()
    windows = [DateWindow(today - dt.timedelta(days), today) for days in _LOOK_BACK_DAYS]
    return [*(StudyQuestion(window) for window in windows), StudyQuestion()]
