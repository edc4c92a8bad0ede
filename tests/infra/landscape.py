"""What each example finds on its moto server: variables, and a network where it wants one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.infra.deployment import Deployment
from tests.integration.cloud_world import PREFIX

__all__ = ["REGIONS", "SITE_NETWORK", "THIRD_ROLE", "variables_of"]

SITE_NETWORK = "10.20.0.0/16"
#: The account of the third copy. moto keeps accounts apart by the credentials of the assumed role.
THIRD_ROLE = "arn:aws:iam::444455556666:role/OrganizationAccountAccessRole"
REGIONS = {"hybrid": "eu-central-1", "dr_copy": "eu-central-1", "third_copy": "eu-north-1"}


def variables_of(deployment: Deployment, packages: Path) -> Mapping[str, object]:
    """Return what a person would write into terraform.tfvars, everything optional switched on."""
    shared = {
        "packages_dir": str(packages),
        "alarm_emails": ["imaging-on-call@example.org"],
        "pseudonym_key": "00" * 32,
        "protect_table": False,
    }
    match deployment.name:
        case "hybrid":
            return {
                **shared,
                "bucket_name": "images-of-the-hybrid",
                "prefix": PREFIX,
                "access_key_age_days_max": 90,
                "network": _network(deployment),
            }
        case "dr_copy":
            return {**shared, "bucket_name": "images-of-the-first-copy"}
        case _:
            return {
                **shared,
                "bucket_name": "images-of-the-third-copy",
                "third_role_arn": THIRD_ROLE,
                "object_lock": {"mode": "GOVERNANCE", "days": 1},
            }


def _network(deployment: Deployment) -> Mapping[str, object]:
    """Describe the VPC that moto has from the start."""
    ec2 = deployment.client("ec2")
    [vpc] = ec2.describe_vpcs()["Vpcs"]
    return {
        "vpc_id": vpc["VpcId"],
        "subnet_ids": [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]][:2],
        "route_table_ids": [
            table["RouteTableId"] for table in ec2.describe_route_tables()["RouteTables"]
        ],
        "source_cidrs": [SITE_NETWORK],
    }
