"""Orthanc as a legacy PACS, plain or with mutual DICOM TLS, and as a DICOMweb store."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import trustme

from tests.peers.launch.archive import Archive
from tests.peers.launch.daemon import Daemon, Lane, program, render
from tests.peers.launch.echo import echo

__all__ = ["Orthanc", "OrthancStore", "OrthancTls"]


class Orthanc(Archive):
    """Orthanc 1.10 with the DICOMweb and GDCM plugins."""

    name = "orthanc"
    usual_ae_title = "LEGACY"

    def prepare(self) -> None:
        """Write orthanc.json."""
        modalities = {
            f"lane{number}": {
                "AET": lane.ae_title, "Host": lane.host, "Port": lane.port,
                "Manufacturer": "Generic", "AllowEcho": True, "AllowFind": True,
                "AllowGet": True, "AllowMove": True, "AllowStore": True, **self.lane_settings(),
            }
            for number, lane in enumerate(self.lanes, 1)
        }  # fmt: skip
        values = {
            "DIR": self.folder,
            "AET": self.ae_title,
            "PORT": self.port,
            "HTTP_PORT": self.http_port,
            "MODALITIES": json.dumps(modalities),
            "USERS": json.dumps(self.users()),
            "AUTHENTICATED": json.dumps(bool(self.users())),
            "TLS": self.server_settings(),
        }
        configuration = self.folder / "orthanc.json"
        configuration.write_text(render("orthanc.json", values), encoding="utf-8")
        command = [program("/usr/sbin/Orthanc", "Orthanc"), configuration]
        self.daemons = [Daemon(command, folder=self.folder, name="orthanc")]

    def lane_settings(self) -> dict[str, object]:
        """Return further settings of each of our AE titles."""
        return {}

    def server_settings(self) -> str:
        """Return further settings of the server, as JSON members after a comma."""
        return ""

    def users(self) -> dict[str, str]:
        """Return who may use HTTP, by Basic authentication; nobody in particular where empty."""
        return {}


class OrthancStore(Orthanc):
    """Orthanc as a store that a viewer reads by DICOMweb, behind a user and a password."""

    name = "orthanc-store"
    usual_ae_title = "CLOUD"
    username = "mig"
    password = "migpass"

    @property
    def base_url(self) -> str:
        """Return the address of its DICOMweb service."""
        return f"http://{self.host}:{self.http_port}/dicom-web"

    def users(self) -> dict[str, str]:
        """Ask everybody for a password."""
        return {self.username: self.password}

    def get(self, path: str, posted: bytes | None = None) -> bytes:
        """Ask its REST API, by POST where something is to be posted."""
        return self._ask(path, posted, "GET" if posted is None else "POST")

    def delete(self, path: str) -> None:
        """Delete a resource of its REST API."""
        self._ask(path, None, "DELETE")

    def _ask(self, path: str, posted: bytes | None, method: str) -> bytes:
        said = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        request = urllib.request.Request(
            f"http://{self.host}:{self.http_port}/{path}",
            data=posted,
            headers={"Authorization": f"Basic {said}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return bytes(answer.read())

    def answers(self) -> bool:
        """Ask by HTTP, which it speaks last."""
        try:
            self.get("dicom-web/studies?limit=1")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True


class OrthancTls(Orthanc):
    """Orthanc that speaks DICOM TLS only, and to those whose certificate its CA signed."""

    name = "orthanc-tls"
    usual_ae_title = "TLSPACS"

    def __init__(
        self,
        lanes: Sequence[Lane] = (Lane("CLOUDMIG", 11112),),
        *,
        ae_title: str = "",
        folder: Path | None = None,
    ) -> None:
        super().__init__(lanes, ae_title=ae_title, folder=folder)
        authority = trustme.CA(key_type=trustme.KeyType.RSA)
        self.ca_file = self.folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        #: (certificate, key) of the server, of us, and of somebody our CA does not know.
        self.server = self._issue(authority, "server")
        self.client = self._issue(authority, "client")
        stranger = trustme.CA(key_type=trustme.KeyType.RSA)
        self.stranger_ca_file = self.folder / "stranger-ca.pem"
        stranger.cert_pem.write_to_path(self.stranger_ca_file)
        self.stranger = self._issue(stranger, "stranger")

    def _issue(self, authority: trustme.CA, name: str) -> tuple[Path, Path]:
        issued = authority.issue_cert("localhost", "127.0.0.1", key_type=trustme.KeyType.RSA)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        return certificate, key

    def client_context(self) -> ssl.SSLContext:
        """Return a TLS context that this peer accepts."""
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.ca_file))
        context.check_hostname = False
        context.load_cert_chain(*map(str, self.client))
        return context

    def lane_settings(self) -> dict[str, object]:
        """Ask for TLS on the way back to us, too."""
        return {"UseDicomTls": True}

    def server_settings(self) -> str:
        """Require a certificate of whoever calls."""
        certificate, key = self.server
        settings = {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(certificate),
            "DicomTlsPrivateKey": str(key),
            "DicomTlsTrustedCertificates": str(self.ca_file),
            "DicomTlsRemoteCertificateRequired": True,
        }
        return ",\n" + json.dumps(settings).removeprefix("{").removesuffix("}")

    def answers(self) -> bool:
        """Ask by C-ECHO over TLS."""
        return echo(self.host, self.port, self.ae_title, tls=self.client_context())
