"""The configuration file: what is read, and what is said about a wrong one."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from cloudmig import objects
from cloudmig.config import Configuration, load, parse
from cloudmig.config.quantities import ARCHIVE_NAME
from cloudmig.config.settings import Profile
from cloudmig.destinations.profiles import profile_names
from cloudmig.errors import ConfigError

GOOD = """
[agent]
name = "edge-1"
memory_bytes_max = "256 MiB"

[listen]
port = 11112

[sources.main]
archive = "main"
host = "127.0.0.1"
port = 14343
aet = "QRSCP"
ae_titles = ["CLOUDMIG"]
peers = ["SECOND@10.0.0.7"]

[destinations.archive]
url = "s3://bucket/prefix/"
endpoint = "http://127.0.0.1:5000/"
access_key_id = "AKIASECRET"
secret_access_key = "hushhush"

[[rules]]
name = "recent studies stay"
age_days_max = 365
keep_on_site = true

[[rules]]
name = "the archive"
copy_to = ["archive"]
storage_class = "STANDARD_IA"
"""


def a_file(**changes: object) -> dict[str, Any]:
    """Return a right file as parsed TOML; `agent__lanes=3` changes one setting of a section."""
    data = tomllib.loads(GOOD)
    for place, value in changes.items():
        *sections, setting = place.split("__")
        target: Any = data
        for section in sections:
            target = target[int(section) if section.isdigit() else section]
        target[setting] = value
    return data


def mistakes_in(data: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(data)
    assert caught.value.hint
    return str(caught.value)


def test_a_file_is_read_with_units_defaults_and_paths_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "cloudmig.toml"
    path.write_text(GOOD)

    config = load(path)

    assert isinstance(config, Configuration)
    assert config.agent.memory_bytes_max == 256 << 20
    assert config.agent.state_dir == tmp_path / "state"
    assert config.agent.catalog_url == f"sqlite:///{tmp_path}/state/catalog.db"
    source = config.sources["main"]
    assert (source.retrieve, source.lanes, source.idle_s, source.total_s) == ("auto", 4, 120, 7200)
    assert [(peer.aet, peer.host) for peer in source.peers] == [("SECOND", "10.0.0.7")]
    archive = config.destinations["archive"]
    assert (archive.bucket, archive.prefix) == ("bucket", "prefix")
    assert archive.endpoint == "http://127.0.0.1:5000"
    assert [rule.name for rule in config.rules] == ["recent studies stay", "the archive"]


def test_no_secret_is_printed() -> None:
    data = a_file(agent__catalog="postgresql+psycopg://me:pa55@db.example/cloudmig")

    config = parse(data)

    printed = repr(config) + str(config) + config.model_dump_json()
    assert "hushhush" not in printed
    assert "pa55" not in printed
    assert config.agent.catalog_shown == "postgresql+psycopg://db.example/cloudmig"
    assert "pa55" in config.agent.catalog_url


def test_a_mistake_in_a_secret_does_not_print_it() -> None:
    data = a_file(agent__catalog="mysql://me:pa55@db/x", destinations__archive__session_token=7)

    message = mistakes_in(data)

    assert "agent.catalog must be" in message
    assert "session_token" in message
    assert "pa55" not in message


def test_every_mistake_is_named_at_once() -> None:
    data = a_file(
        agent__transfer=3,
        listen__port=99999,
        sources__main__aet="AN_AE_TITLE_THAT_IS_TOO_LONG",
        sources__main__archive="Main/../x",
        destinations__archive__url="ftp://bucket",
        rules__1__copy_to=["archiv"],
        rules__0__age_days_max="old",
    )
    del data["sources"]["main"]["host"]
    data["destinatons"] = {}

    message = mistakes_in(data)

    for words in (
        "unknown section [destinatons]; did you mean destinations?",
        "unknown setting agent.transfer; did you mean transfers?",
        "listen.port must be less than or equal to 65535",
        "sources.main.host is missing",
        "sources.main.aet must have 1 to 16 characters, has 28",
        "sources.main.archive must be 1 to 63 lower-case letters",
        "destinations.archive.url must start with one of s3://",
        'rule "recent studies stay" age_days_max must be a valid integer',
        'rule "the archive" copies to "archiv", which is not configured (configured: archive)',
    ):
        assert words in message
    assert "9 mistakes" in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"agent__memory_bytes_max": "12 MiB"}, "4 lanes (16 MiB)"),
        ({"agent__lease_s": 40}, "agent.lease_s (40) must be at least 2 x agent.renew_s (30)"),
        (
            {"agent__spool_bytes_max": "1 GiB", "agent__object_bytes_max": "2 GiB"},
            "agent.object_bytes_max (2 GiB) is above agent.spool_bytes_max (1 GiB)",
        ),
        ({"health": {"port": 11112}}, "health.port and listen.port are both 11112"),
        ({"health": {}}, "health.port is missing"),
        ({"listen__associations_max": 2}, "listen.associations_max (2) is below the 4 lanes"),
        ({"sources__main__idle_s": "3 h"}, "sources.main.idle_s (10800) is above"),
        ({"sources__main__lanes": 40}, "sources.main.lanes (40) is above"),
        ({"rules__0__sources": ["mian"]}, 'names the source "mian", which is not configured'),
        ({"rules__0__copy_to": ["archive"]}, "keep_on_site and copy_to exclude each other"),
        ({"rules__1__name": "recent studies stay"}, '2 rules are called "recent studies stay"'),
        ({"rules__1__copy_to": []}, 'says nothing: set copy_to = ["..."]'),
        ({"rules__0__age_days_min": 400}, "it can never match"),
        ({"sources__main__tls": {"ca": "ca.pem", "key": "k.pem"}}, "are set together or not"),
        ({"sources__main__tls": {"cert": "c"}}, "sources.main.tls.ca is missing"),
        ({"listen__tls": {"ca": "ca.pem"}}, "a listener needs certificate and key"),
        ({"destinations__archive__endpoint": "127.0.0.1:5000"}, "must be an address like https"),
        ({"destinations__archive__url": "s3://"}, "names no bucket"),
        (
            {"destinations__archive__url": "file:///x"},
            "means something for s3://, gs://, az:// only",
        ),
        (
            {"destinations__archive__url": "gs://b"},
            "access_key_id means something for s3://, az://,",
        ),
        ({"agent__memory_bytes_max": "256 megs"}, 'must be a size such as "256 MiB"'),
        ({"agent__backoff_s": "soon"}, 'must be seconds, or a duration such as "30 s"'),
        ({"agent__transfers": 0}, "agent.transfers must be greater than or equal to 1"),
        ({"agent__transfers": "8"}, "agent.transfers must be a valid integer"),
        ({"agent__transfers": 10**9}, "agent.transfers must be less than or equal to 10000"),
        ({"agent__state_dir": "~nobody-here/x"}, "agent.state_dir begins with ~ and names no user"),
        ({"rules__0__priority": 1 << 70}, "priority must be less than or equal to"),
        ({"sources": {}}, "there is no [sources.<name>] section"),
        ({"rules": []}, "there are no [[rules]]"),
        ({"sources__main__ae_titles": ["A", "A"]}, "names an AE title twice"),
        ({"sources__main__peers": ["10.0.0.7"]}, 'must look like "AE_TITLE@host"'),
        ({"destinations__archive__url": "s3://my bucket/p"}, "must name a bucket of letters"),
        (
            {"destinations__archive__endpoint": "http://my_store:9000"},
            "endpoint must name a host by letters, digits and hyphens alone",
        ),
        ({"agent__backoff_s": float("inf")}, "agent.backoff_s must be less than or equal to"),
        ({"agent__backoff_s": 10**400}, "agent.backoff_s must be less than or equal to"),
        ({"agent__backoff_s": "9" * 400 + " s"}, "agent.backoff_s must be less than or equal to"),
        ({"agent__spool_bytes_max": "9" * 400 + " B"}, "is more than any machine holds"),
        ({"destinations__archive__timeout_s": "999 d"}, "timeout_s must be less than or equal to"),
        ({"sources__main__peers": ["A@10.0..7"]}, "must be a host's name or address"),
        ({"sources__main__host": "10.0..5"}, "sources.main.host must be a host's name or address"),
        ({"sources__main__host": "10.0.0.5 "}, "sources.main.host must be a host's name"),
        ({"listen__host": "0.0..0"}, "listen.host must be a host's name or address"),
        ({"health": {"host": "x" * 64, "port": 9112}}, "health.host must be a host's name"),
    ],
)
def test_a_wrong_setting_or_relation_is_named(changes: dict[str, Any], words: str) -> None:
    assert words in mistakes_in(a_file(**changes))


@pytest.mark.parametrize(
    "address", ["h:99999", "h:0", "h:hushhush", ":8042", "[::1", "u:hushhush@h", "h..h", "h h"]
)
def test_an_address_of_a_web_source_that_nobody_can_ask_is_a_mistake(address: str) -> None:
    data = a_file()
    data["sources"]["web"] = {"archive": "web", "url": f"http://{address}/dicom-web"}

    message = mistakes_in(data)

    assert "sources.web.url must be an address like https://host/dicom-web" in message
    assert "hushhush" not in message


@pytest.mark.parametrize("setting", ["url", "endpoint", "verdict_queue", "verdict_endpoint"])
@pytest.mark.parametrize("address", ["https://h:99999/queue", "https://10.0..5/queue"])
def test_an_address_of_a_store_that_nobody_can_ask_is_a_mistake(setting: str, address: str) -> None:
    message = mistakes_in(a_file(**{f"destinations__archive__{setting}": address}))

    assert f"destinations.archive.{setting} must be" in message


def test_an_address_for_tokens_that_nobody_can_ask_is_a_mistake() -> None:
    web = {"client_id": "c", "client_secret": "s", "token_url": "https://h:99999/token"}
    data = a_file()
    data["sources"]["web"] = {"archive": "web", "url": "https://h/dicom-web", "dicomweb": web}

    assert "token_url must be an address like https://host/token" in mistakes_in(data)


def test_two_sources_may_not_share_an_archive_nor_two_destinations_a_place() -> None:
    data = a_file()
    data["sources"]["other"] = dict(data["sources"]["main"])
    data["destinations"]["twin"] = dict(data["destinations"]["archive"], url="s3://bucket/prefix")

    message = mistakes_in(data)

    assert 'the sources main, other share the archive "main"' in message
    assert "the destinations archive, twin are one place" in message


@pytest.mark.parametrize(("one", "other"), [
    ({"url": "file:///srv/a"}, {"url": "file:///srv/b/../a/"}),
    ({"url": "s3://b/p"}, {"url": "s3://b//p"}), ({"url": "s3://b/p"}, {"url": "s3://b/%70"}),
    ({"url": "s3://b", "endpoint": "https://S3.example:443"},
     {"url": "s3://b/", "endpoint": "https://s3.example"}),
    ({"url": "https://h/dicom-web", "evidence": "x"}, {"url": "https://H:443/dicom-web/"}),
])  # fmt: skip
def test_one_place_is_one_however_it_is_written(one: dict[str, str], other: dict[str, str]) -> None:
    data = a_file(destinations__archive=one, destinations__twin=other)

    assert "the destinations archive, twin are one place" in mistakes_in(data)


def test_containers_of_two_accounts_are_two_places() -> None:
    key = {"url": "az://images", "secret_access_key": "c2VjcmV0"}
    data = a_file(
        destinations__archive={**key, "access_key_id": "hospital"},
        destinations__twin={**key, "access_key_id": "hospitaldr"},
    )

    assert parse(data).destinations["twin"].bucket == "images"


def test_a_link_hides_no_place(tmp_path: Path) -> None:
    """Two copies there would be one, and the next inventory would find our copies."""
    (tmp_path / "export").mkdir()
    (tmp_path / "link").symlink_to("export")
    into = {"url": f"file://{tmp_path}/link/copies"}

    said = mistakes_in(
        a_file(
            sources__disk={"archive": "disk", "url": f"file://{tmp_path}/export"},
            destinations__archive=into,
            destinations__twin={"url": f"file://{tmp_path}/export/copies"},
            agent__state_dir=f"{tmp_path}/link/state",
        )
    )

    assert "the destinations archive, twin are one place" in said
    assert "destinations.archive.url lies in the folder that source disk reads" in said
    assert "agent.state_dir lies in the folder that source disk reads" in said


@pytest.mark.parametrize("changes", [
    {"destinations__archive": {"url": "file:///mnt/export/copies"}},
    {"destinations__archive": {"url": "file:///mnt/x/../export"}},
    {"agent__state_dir": "/mnt/export/state"},
])  # fmt: skip
def test_nothing_of_ours_may_lie_in_a_folder_that_is_read(changes: dict[str, Any]) -> None:
    export = {"archive": "disk", "url": "file:///mnt/export/"}

    said = mistakes_in(a_file(sources__disk=export, **changes))

    assert "lies in the folder that source disk reads" in said
    beside = {"url": "file:///mnt/export-copies"}
    parse(a_file(sources__disk=export, destinations__archive=beside, rules__1__storage_class=""))


def test_a_rule_behind_one_that_matches_everything_is_a_mistake() -> None:
    data = a_file()
    data["rules"].reverse()

    assert '"recent studies stay" can never match: "the archive" before' in mistakes_in(data)


def test_a_missing_file_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no .*cloudmig\.toml") as caught:
        load(tmp_path / "cloudmig.toml")
    assert "cloudmig init" in caught.value.hint


def test_a_folder_instead_of_a_file_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder") as caught:
        load(tmp_path)

    assert "file in it" in caught.value.hint


def test_a_file_of_a_windows_editor_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cloudmig.toml"
    path.write_text("[agent]\nname = 'edge-1'\nnmae = 1", encoding="utf-8-sig")

    with pytest.raises(ConfigError, match=r"unknown setting agent\.nmae"):
        load(path)


def test_a_file_in_another_encoding_says_so(tmp_path: Path) -> None:
    path = tmp_path / "cloudmig.toml"
    path.write_text("# M\u00fcller", encoding="latin-1")

    with pytest.raises(ConfigError, match="UTF-8: byte 4") as caught:
        load(path)
    assert "UTF-8" in caught.value.hint


def test_a_broken_file_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "cloudmig.toml"
    path.write_text('[agent]\nname = "edge\n')

    with pytest.raises(ConfigError, match="line 2"):
        load(path)


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("1 B", 1), ("1.5 GiB", 3 << 29), ("2 GB", 2 * 10**9), (7, 7)]
)
def test_sizes_have_units(text: object, size_bytes: int) -> None:
    assert parse(a_file(agent__spool_bytes_max=text)).agent.spool_bytes_max == size_bytes


@pytest.mark.parametrize(("text", "seconds"), [("500 ms", 0.5), ("2 min", 120), (9, 9), (1.5, 1.5)])
def test_durations_have_units(text: object, seconds: float) -> None:
    assert parse(a_file(sources__main__connect_s=text)).sources["main"].connect_s == seconds


def test_the_largest_object_fits_the_spool_unless_it_is_set() -> None:
    assert parse(a_file(agent__spool_bytes_max="3 GiB")).agent.object_bytes_max == 3 << 30


def test_a_directory_is_relative_to_the_file(tmp_path: Path) -> None:
    data = a_file()
    data["destinations"]["archive"] = {"url": "file://copies"}

    config = parse(data, path=tmp_path / "cloudmig.toml")

    assert config.destinations["archive"].directory == tmp_path / "copies"


def test_archive_names_are_those_of_the_key_layout() -> None:
    assert ARCHIVE_NAME.pattern == objects.ARCHIVE_NAME.pattern


def test_profiles_are_those_that_destinations_know() -> None:
    assert set(get_args(Profile)) == set(profile_names())


def test_a_directory_has_the_profile_of_directories() -> None:
    data = a_file()
    data["destinations"]["archive"] = {"url": "file:///copies"}

    assert parse(data).destinations["archive"].profile == "file"
