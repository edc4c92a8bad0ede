"""`cloudmig reconcile` as a process: an inventory in a folder or a bucket, images in a bucket."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from cloudmig.cloud.reconcile_shelf import Address, FolderShelf, S3Shelf, Shelf, Shelves
from tests.cloud_inventory import BUCKET, FOLDER, INVENTORIES, STUDY, Listing, a_record

pytest_plugins = ["tests.contract.store_fixtures"]

ROOT = Path(__file__).parents[2]
RECORDS = [a_record(number) for number in range(3)]
CONFIG = """
[agent]
state_dir = "state"

[sources.main]
archive = "main"
host = "127.0.0.1"
port = 4
aet = "PACS"
ae_titles = ["CLOUDMIG"]

[destinations.archive]
url = "s3://images/hospital"
endpoint = "{endpoint}"
profile = "moto"
access_key_id = "testing"
secret_access_key = "testing"
later_classes = ["GLACIER_IR"]

[[rules]]
name = "all"
copy_to = ["archive"]
"""
OTHER = """
[destinations.other]
url = "s3://other"
endpoint = "{endpoint}"
profile = "moto"
access_key_id = "testing"
secret_access_key = "testing"
"""


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path) -> Shelf:
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1",
        aws_access_key_id="testing", aws_secret_access_key="testing",
    )  # fmt: skip
    for name in (BUCKET, INVENTORIES):
        client.create_bucket(Bucket=name)
    (tmp_path / "cloudmig.toml").write_text(CONFIG.format(endpoint=endpoint))
    return S3Shelf(client)


def reconcile(folder: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [
            sys.executable, "-m", "cloudmig", "--config", str(folder / "cloudmig.toml"),
            "reconcile", "--workers", "1", *arguments,
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def a_listing() -> Listing:
    listing = Listing()
    listing.add_manifest(RECORDS)
    listing.add_record(RECORDS[0], StorageClass="GLACIER_IR")
    return listing


def test_an_inventory_that_agrees_ends_with_0(bucket: Shelf, tmp_path: Path) -> None:
    listing = a_listing()
    for record in RECORDS[1:]:
        listing.add_record(record)
    inventory = listing.write(bucket)

    code, out, err = reconcile(tmp_path, f"s3://{inventory.bucket}/{inventory.key}")

    assert (code, err) == (0, "")
    assert "Everything is as the manifests say." in out


def test_differences_are_named_by_pseudonym_and_end_with_1(bucket: Shelf, tmp_path: Path) -> None:
    listing = a_listing()
    listing.add_record(RECORDS[1], ETag="other")
    here = FolderShelf(tmp_path / "downloaded")
    inventory = listing.write(Shelves({BUCKET: bucket, INVENTORIES: here}))
    path = tmp_path / "downloaded" / inventory.key

    code, out, _ = reconcile(tmp_path, str(path), "--json")

    answer = json.loads(out)
    assert code == 1
    assert answer["findings"] == {"altered": 1, "missing": 1}
    assert answer["destination"] == "archive"
    assert {each["finding"] for each in answer["told"]} == {"altered", "missing"}
    assert STUDY.study_instance_uid not in out
    folder = Path(answer["folder"])
    assert (folder / "summary.json").is_file()
    assert not (folder / "split").exists()

    code, out, _ = reconcile(tmp_path, str(path))
    assert code == 1
    assert "2 differences in 1 study" in out
    assert STUDY.study_instance_uid not in out


def test_data_files_are_found_beside_a_manifest_that_was_copied_by_hand(
    bucket: Shelf, tmp_path: Path
) -> None:
    inventory = a_listing().write(
        Shelves({BUCKET: bucket, INVENTORIES: FolderShelf(tmp_path / "downloaded")})
    )
    flat = tmp_path / "flat"
    flat.mkdir()
    whole = (tmp_path / "downloaded" / inventory.key).parent
    for path in [*whole.iterdir(), *(tmp_path / "downloaded" / FOLDER / "data").iterdir()]:
        shutil.copy(path, flat)

    code, _, err = reconcile(tmp_path, str(flat / "manifest.json"), "--json")

    assert (code, err) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere/manifest.json"], "there is no such inventory"),
        (["s3://inventories/x/manifest.json"], "there is no such manifest.json"),
        (["s3://no-records/x/manifest.json"], "no bucket no-records"),
        (["s3://no-records/x/manifest.json"], "What to do: correct INVENTORY"),
        (["s3://inventories/x/manifest.json", "--destination", "x"], "no destination x"),
    ],
)
def test_what_cannot_be_reconciled_ends_with_2_and_says_why(
    bucket: Shelf, tmp_path: Path, arguments: list[str], message: str
) -> None:
    code, _, err = reconcile(tmp_path, *arguments)

    assert code == 2
    assert message in err
    assert "What to do" in err


@pytest.mark.parametrize("remote", [True, False])
def test_a_data_file_that_is_not_there_is_named_as_the_reason(
    bucket: Shelf, tmp_path: Path, remote: bool
) -> None:
    here = FolderShelf(tmp_path / "downloaded")
    inventory = a_listing().write(
        Shelves({BUCKET: bucket, INVENTORIES: bucket if remote else here})
    )
    data = f"{FOLDER}/data/0.csv.gz"
    if remote:
        assert isinstance(bucket, S3Shelf)
        bucket._client.delete_object(Bucket=INVENTORIES, Key=data)
        address = f"s3://{INVENTORIES}/{inventory.key}"
    else:
        here.path_of(data).unlink()
        address = str(here.path_of(inventory.key))

    code, _, err = reconcile(tmp_path, address)

    assert code == 2
    assert "a data file that manifest.json names is not there" in err


def test_a_bucket_that_does_not_answer_halts_and_names_nobody(
    bucket: Shelf, tmp_path: Path
) -> None:
    inventory = a_listing().write(
        Shelves({BUCKET: bucket, INVENTORIES: FolderShelf(tmp_path / "downloaded")})
    )
    (tmp_path / "cloudmig.toml").write_text(CONFIG.format(endpoint="http://127.0.0.1:9"))

    code, out, err = reconcile(tmp_path, str(tmp_path / "downloaded" / inventory.key))

    assert code == 3
    assert "reconcile: EndpointConnectionError" in err
    assert STUDY.study_instance_uid not in out + err


def test_of_several_buckets_the_inventory_says_which(
    bucket: Shelf, tmp_path: Path, endpoint: str
) -> None:
    with (tmp_path / "cloudmig.toml").open("a") as file:
        file.write(OTHER.format(endpoint=endpoint))
    here = FolderShelf(tmp_path / "downloaded")
    inventory = a_listing().write(Shelves({BUCKET: bucket, INVENTORIES: here}))
    path = tmp_path / "downloaded" / inventory.key

    code, out, _ = reconcile(tmp_path, str(path), "--json")
    assert (code, json.loads(out)["destination"]) == (1, "archive")

    code, _, err = reconcile(tmp_path, f"s3://{INVENTORIES}/{inventory.key}")
    assert code == 2
    assert "--destination" in err

    code, _, err = reconcile(tmp_path, str(path), "--destination", "other")
    assert code == 2
    assert "is of the bucket images, not of other" in err


def test_addresses_are_read_back() -> None:
    address = Address("bucket", "a/b")

    assert Address.of(address.document()) == address
    assert address.beside("c") == Address("bucket", "a/c")
