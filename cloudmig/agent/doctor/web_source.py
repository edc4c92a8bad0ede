"""A DICOMweb archive: every step a migration takes, taken once and in small."""

from __future__ import annotations

import datetime as dt
import urllib.parse
from collections.abc import AsyncIterator
from dataclasses import dataclass

from cloudmig.agent.doctor.findings import Finding, ok, problem, warning
from cloudmig.agent.doctor.pacs import first_studies, narrow_questions
from cloudmig.bootstrap.web_source import web_source
from cloudmig.config import Configuration, WebSourceSettings
from cloudmig.errors import CloudmigError, QueryTruncated, SourceError, SourceUnavailable
from cloudmig.http_date import http_date
from cloudmig.model.instance import ExpectedInstance
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import StudyRef
from cloudmig.model.window import StudyQuestion
from cloudmig.ports import RetrieveRequest
from cloudmig.sources.dicomweb import WebSource
from cloudmig.staging import MemoryBudget, Spool, StagingArea, StagingLimits

__all__ = ["check_web_source"]

_MEMORY_BYTES = 64 << 20
#: Tokens and signatures are refused by a clock that is further off than this.
_CLOCK_OFF_MAX = dt.timedelta(minutes=5)


async def check_web_source(config: Configuration, name: str, *, wait_max_s: float) -> list[Finding]:
    """Examine one archive; what cannot be found out any more is left out."""
    settings = config.sources[name]
    assert isinstance(settings, WebSourceSettings)
    patient = settings.model_copy(
        update={"connect_s": min(settings.connect_s, wait_max_s), "idle_s": wait_max_s}
    )
    limits = StagingLimits(memory_object_bytes_max=_MEMORY_BYTES)
    area = StagingArea(
        MemoryBudget(_MEMORY_BYTES), Spool(config.agent.spool_dir, bytes_max=0), limits
    )
    try:
        source = web_source(
            name, patient, area,
            object_bytes_max=config.agent.object_bytes_max,
            patient_key=lambda _patient_id, _issuer: "",
        )  # fmt: skip
    except CloudmigError as error:
        return [problem("tls_files", f"source {name}", str(error), f"{error.hint}.")]
    examination = _Examination(f"source {name}", name, patient, source)
    try:
        return [finding async for finding in examination.findings()]
    finally:
        await source.close()


@dataclass
class _Examination:
    """One pass over one archive."""

    subject: str
    name: str
    settings: WebSourceSettings
    source: WebSource

    async def findings(self) -> AsyncIterator[Finding]:
        try:
            await self.source.ping()
        except SourceError as error:
            yield self._refusal("reachable", "no answer to a search", error)
            return
        yield ok("reachable", self.subject, f"{self.settings.url} answers searches")
        for finding in (self._clock(), self._in_the_clear()):
            if finding is not None:
                yield finding
        instance, found = await self._find()
        yield found
        if instance is not None:
            yield await self._retrieve(instance)

    def _refusal(self, check: str, what: str, error: SourceError) -> Finding:
        hint = error.hint
        if not hint and isinstance(error, SourceUnavailable):
            hint = f"Check sources.{self.name}.url, name resolution and firewalls"
        return problem(
            check, self.subject, f"{what}: {error}", f"{hint or 'Look into the archive log'}."
        )

    def _clock(self) -> Finding | None:
        """Compare the archive's clock with ours by the Date of its answer (RFC 9110 6.6.1)."""
        theirs = http_date(self.source.searches.server_date)
        if theirs is None:
            return None  # Not every server says.
        off = abs(theirs - dt.datetime.now(dt.UTC))
        if off <= _CLOCK_OFF_MAX:
            return None
        return warning(
            "clock",
            self.subject,
            f"its clock and ours are {off.total_seconds():.0f} s apart",
            "Set the clock of this machine by NTP: tokens and certificates depend on it.",
        )

    def _in_the_clear(self) -> Finding | None:
        if urllib.parse.urlsplit(self.settings.url).scheme == "https":
            return None
        host = urllib.parse.urlsplit(self.settings.url).hostname
        if host in {"127.0.0.1", "::1", "localhost"}:
            return None
        return warning(
            "tls",
            self.subject,
            "images and credentials travel unencrypted",
            f"Use https in sources.{self.name}.url where the archive has it.",
        )

    async def _find(self) -> tuple[ExpectedInstance | None, Finding]:
        """Find one instance to try with: narrow questions first, and never a long answer."""
        try:
            for question in narrow_questions():
                for study in await self._some_studies(question):
                    listing = await self.source.list_instances(study)
                    if listing.instances:
                        return listing.instances[0], self._listed(complete=listing.complete)
        except SourceError as error:
            return None, self._refusal("search", "a search fails", error)
        return None, warning(
            "search",
            self.subject,
            "no study with instances was found",
            "Nothing could be retrieved to try with. Is this the right archive?",
        )

    def _listed(self, *, complete: bool) -> Finding:
        if complete:
            words = "searches are answered, down to the instances of a study"
            return ok("search", self.subject, words)
        return warning(
            "search",
            self.subject,
            "the list of a study's instances contradicts itself",
            "Such studies are pulled until two pulls are equal, and marked as such.",
        )

    async def _some_studies(self, question: StudyQuestion) -> list[StudyRef]:
        try:
            return await first_studies(self.source, question)
        except QueryTruncated:
            return []  # Too broad for it.

    async def _retrieve(self, instance: ExpectedInstance) -> Finding:
        """Pull one instance into memory, as a run would."""
        reference = instance.instance
        request = RetrieveRequest(
            reference.study, {reference.sop_instance_uid: instance}, narrow=True
        )
        size_bytes, trouble = 0, ""
        try:
            async with self.source.retrieve(request) as retrieval:
                async for arrival in retrieval:
                    size_bytes += arrival.staged.size_bytes
                    trouble = trouble or arrival.trouble
                    arrival.settle(stored=False)
                status = retrieval.evidence.status
        except SourceError as error:
            return self._refusal("retrieve", "a retrieve fails", error)
        if trouble == QuarantineReason.CONVERTED.value:
            return problem(
                "retrieve",
                self.subject,
                "WADO-RS of one instance: it came in another transfer syntax than the archive says"
                " it holds it in, though asked for as it is (transfer-syntax=*)",
                "Switch conversion off in the archive, or fetch from it by DIMSE: no such instance"
                " is taken before a person has let it pass.",
            )
        if not size_bytes or trouble:
            why = f"what came is {trouble}" if trouble else f"nothing came (HTTP {status})"
            return problem(
                "retrieve",
                self.subject,
                f"WADO-RS of one instance: {why}",
                "Look into the log of the archive: it lists the instance and does not send it.",
            )
        if not self.settings.as_stored:
            return warning(
                "retrieve",
                self.subject,
                f"WADO-RS brought one instance of {size_bytes:,} bytes, perhaps converted",
                f"Remove sources.{self.name}.as_stored where the archive knows transfer-syntax=*.",
            )
        words = f"WADO-RS brought one instance of {size_bytes:,} bytes"
        if instance.transfer_syntax_uids:
            return ok("retrieve", self.subject, f"{words}, as the archive says that it holds it")
        return ok(
            "retrieve",
            self.subject,
            f"{words}, asked for as it is stored; the archive does not list what it is stored in"
            " (0008,3002), so that a conversion might not show",
        )
