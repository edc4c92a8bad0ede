"""Orthanc as a legacy PACS, plain or with mutual DICOM TLS."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from pathlib import Path

import trustme

from tests.peers.launch.archive import Archive
from tests.peers.launch.daemon import Daemon, Lane, program, render
from tests.peers.launch.echo import echo

__all__ = ["Orthanc", "OrthancTls"]


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
