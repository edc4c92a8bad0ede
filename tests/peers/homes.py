"""Three homes for one pull: a bucket, a second bucket on another server, and Orthanc by DICOMweb.

The configuration is written by hand from docs/configuration.md, as its reader would.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.peers.bucket import Bucket
from tests.peers.counting import Tap
from tests.peers.judge import Home, Told, Verdict, judge_home
from tests.peers.launch import Lane, MotoServer, OrthancStore, Swift, free_ports
from tests.peers.loading import Loaded
from tests.peers.migration import Source, lanes
from tests.peers.orthanc_home import OrthancHome

__all__ = ["AGENT", "BUCKET", "HOMES", "ThreeHomes"]

#: What the destinations are called in the configuration.
HOMES = ("archive", "dr", "viewer")
ARCHIVE = "main"
BUCKET = "images"
#: Sections before the sources; a test may give others.
AGENT = '[agent]\nname = "homes"\nstate_dir = "state"\n'


@dataclass(kw_only=True)
class ThreeHomes:
    """The stores, and taps on every way from the PACS to the agent. A context manager."""

    archive: MotoServer = field(default_factory=MotoServer)
    dr: Swift = field(default_factory=Swift)
    viewer: OrthancStore = field(default_factory=OrthancStore)
    copy_to: tuple[str, ...] = HOMES  #: What the one rule says.

    def __post_init__(self) -> None:
        self._running = ExitStack()
        (self.listen_port,) = free_ports(1)
        #: Before the agent's own port: what a C-MOVE sends.
        self.to_agent = Tap("127.0.0.1", self.listen_port)
        #: Before the PACS: questions, and what a C-GET sends.
        self.to_pacs: Tap | None = None

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            for each in (self.archive, self.dr, self.viewer, self.to_agent):
                starting.enter_context(each)
            for store in (self.archive, self.dr):
                store.client().create_bucket(Bucket=BUCKET)
            self.archive.client().put_bucket_versioning(
                Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}
            )
            self._running = starting.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running.close()

    @property
    def lanes(self) -> list[Lane]:
        """Return what the PACS has to know of us: our AE titles, at the tap."""
        return lanes(["CLOUDMIG", "CLOUDMIG2"], self.to_agent.port)

    def write_configuration(
        self, folder: Path, pacs: Source, retrieve: str, *, agent: str = AGENT
    ) -> Path:
        """Put a tap before the PACS, and write the cloudmig.toml."""
        self.to_pacs = self._running.enter_context(Tap(pacs.host, pacs.port))
        path = folder / "cloudmig.toml"
        path.write_text(agent + self._sections(self.to_pacs, pacs, retrieve), encoding="utf-8")
        return path

    def _sections(self, tap: Tap, pacs: Source, retrieve: str) -> str:
        return f"""
[listen]
host = "127.0.0.1"
port = {self.listen_port}

[sources.{ARCHIVE}]
archive = "{ARCHIVE}"
host = "{tap.host}"
port = {tap.port}
aet = "{pacs.ae_title}"
ae_titles = ["CLOUDMIG", "CLOUDMIG2"]
retrieve = "{retrieve}"
{self.bucket_section("archive", self.archive, "moto")}\
{self.bucket_section("dr", self.dr, "swift")}
[destinations.viewer]
url = "{self.viewer.base_url}"
evidence = "archive"

[destinations.viewer.dicomweb]
profile = "orthanc"
username = "{self.viewer.username}"
password = "{self.viewer.password}"

[[rules]]
name = "where every study goes"
copy_to = [{", ".join(f'"{each}"' for each in self.copy_to)}]
"""

    def bucket_section(
        self, name: str, store: MotoServer | Swift, profile: str, bucket: str = BUCKET
    ) -> str:
        """Return the section of a bucket, as a destination of this name."""
        return f"""
[destinations.{name}]
url = "s3://{bucket}"
endpoint = "{store.endpoint}"
profile = "{profile}"
access_key_id = "{store.access_key_id}"
secret_access_key = "{store.secret_access_key}"
"""

    def forget_what_was_sent(self) -> None:
        """Count from here on."""
        assert self.to_pacs is not None, "the configuration was written"
        self.to_agent.clear()
        self.to_pacs.clear()

    def times_sent(self, records: Iterable[Loaded]) -> dict[str, int]:
        """Return how often the PACS sent each instance, by either way."""
        assert self.to_pacs is not None, "the configuration was written"
        counted = self.to_agent.stored + self.to_pacs.stored
        return {each.sop_instance_uid: counted[each.sop_instance_uid] for each in records}

    def homes(self) -> dict[str, Home]:
        """Return each home as the judge reads it."""
        evidence = "evidence/viewer/"
        return {
            "archive": Bucket(self.archive.client(), BUCKET, elsewhere=(evidence,)),
            "dr": Bucket(self.dr.client(), BUCKET),
            "viewer": OrthancHome(
                orthanc=self.viewer,
                archive=ARCHIVE,
                evidence_client=self.archive.client(),
                evidence_bucket=BUCKET,
                evidence_prefix=evidence,
            ),
        }

    def judge(self, truth: Sequence[Loaded]) -> dict[str, Verdict]:
        """Compare every home with what the PACS took."""
        told: Told = {}
        return {name: judge_home(truth, home, told) for name, home in self.homes().items()}
