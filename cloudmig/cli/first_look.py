"""What `cloudmig init` finds out about archives and stores. None of them has to answer."""

from __future__ import annotations

import http.client
import urllib.parse
from dataclasses import dataclass

from cloudmig.config.addresses import is_web_address

__all__ = ["PacsLook", "WebLook", "kind_of_store", "look_at_pacs", "look_at_web"]

_PROBE_MAX_S = 5.0
_BODY_BYTES_MAX = 4096
#: Services that are known by the names of their hosts, and the profile of each.
_WEB_HOSTS = {
    "healthcare.googleapis.com": "google", "dicom.azurehealthcareapis.com": "azure",
    "medical-imaging": "healthimaging",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PacsLook:
    """What a PACS offers."""

    answers: bool  #: A rejection is an answer.
    retrieve: str
    why: str
    hint: str = ""  #: What to do where it did not let us in, or did not answer.


@dataclass(frozen=True, slots=True)
class WebLook:
    """What a DICOMweb server is, as far as it shows to somebody without credentials."""

    answers: bool
    wants_credentials: bool = False
    profile: str = "plain"

    @property
    def why(self) -> str:
        """Return a sentence for the file."""
        if self.wants_credentials:
            return "It wants credentials: fill them in below."
        return "" if self.answers else "It did not answer when this file was written."


async def look_at_pacs(host: str, port: int, aet: str, our_aet: str) -> PacsLook:
    """Choose the service that needs less of the PACS: C-GET wants no port opened towards us."""
    from cloudmig.errors import SourceBusy, SourceError, SourceRefused  # noqa: PLC0415

    try:
        services = await _services(host, port, aet, our_aet)
    except SourceError as error:
        if isinstance(error, SourceBusy | SourceRefused):
            why = f"The PACS did not let us in when this file was written: {error}."
            return PacsLook(True, "auto", why, error.hint)
        why = "The PACS did not answer when this file was written."
        return PacsLook(False, "auto", why, error.hint)
    if "c-get" in services:
        why = "The PACS offers C-GET: it needs no port opened towards us."
        return PacsLook(True, "c-get", why)
    if "c-move" in services:
        why = "The PACS offers C-MOVE only: register our AE title there."
        return PacsLook(True, "c-move", why)
    why = "The PACS offered neither C-MOVE nor C-GET when this file was written."
    return PacsLook(True, "auto", why)


async def _services(host: str, port: int, aet: str, our_aet: str) -> set[str]:
    from cloudmig.dimse.client import Peer, associate  # noqa: PLC0415
    from cloudmig.dimse.contexts import QUERY_TRANSFER_SYNTAX_UIDS, ProposedContext  # noqa: PLC0415
    from cloudmig.dimse.limits import Timers  # noqa: PLC0415
    from cloudmig.sources.dimse.asking import FIND, GET, MOVE  # noqa: PLC0415

    services = {"c-find": FIND, "c-get": GET, "c-move": MOVE}
    contexts = [ProposedContext(uid, QUERY_TRANSFER_SYNTAX_UIDS) for uid in services.values()]
    timers = Timers(connect_s=_PROBE_MAX_S, artim_s=_PROBE_MAX_S)
    peer = Peer(host, port, aet, our_aet)
    async with await associate(peer, contexts, timers=timers) as association:
        return {name for name, uid in services.items() if association.accepted_syntax(uid)}


def look_at_web(url: str) -> WebLook:
    """Ask for what no DICOMweb server has, so that no patient data come; see who answers."""
    if not is_web_address(url):
        return WebLook(answers=False)  # What is wrong with it is said when the file is read back.
    host = urllib.parse.urlsplit(url).hostname or ""
    profile = next((kind for name, kind in _WEB_HOSTS.items() if name in host), "plain")
    answer = _ask(url, "GET", "/cloudmig")
    if answer is None:
        return WebLook(answers=False, profile=profile)
    status, headers, body = answer
    # Orthanc names itself in the realm of its password, and in every error that it answers.
    if "orthanc" in headers.get("www-authenticate", "").lower() or b'"OrthancError"' in body:
        profile = "orthanc"
    return WebLook(True, status in {401, 403}, profile)


def kind_of_store(endpoint: str) -> str:
    """Guess by the headers of any answer, a refusal included; `aws` where nothing is known."""
    answer = _ask(endpoint, "HEAD", "/")
    if answer is None:
        return "aws"
    _, headers, _ = answer
    server = headers.get("server", "").lower()
    if "minio" in server:
        return "minio"
    if "werkzeug" in server:
        return "moto"
    if "x-openstack-request-id" in headers or "x-trans-id" in headers:
        return "swift"
    if "ceph" in server or "-rgw" in headers.get("x-amz-request-id", ""):
        return "ceph"
    return "aws"


def _ask(url: str, method: str, below: str) -> tuple[int, dict[str, str], bytes] | None:
    """Return status, headers and the beginning of an answer, or None where none came."""
    if not is_web_address(url):
        return None  # What is wrong with it is said when the file is read back.
    parts = urllib.parse.urlsplit(url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    try:
        connection = kind(parts.netloc, timeout=_PROBE_MAX_S)
        try:
            connection.request(method, parts.path.rstrip("/") + below)
            reply = connection.getresponse()
            told = reply.getheaders()
            body = reply.read(_BODY_BYTES_MAX)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError):
        return None
    headers: dict[str, str] = {}
    for name, value in told:
        # All of one name: moto says that it is Werkzeug, and then that it is Amazon.
        headers[name.lower()] = f"{headers.get(name.lower(), '')} {value}".strip()
    return reply.status, headers, body
