mock_provider "aws" {
  source = "../../mocks"
}

mock_provider "aws" {
  alias  = "dr"
  source = "../../mocks"
}

variables {
  bucket_name  = "images"
  packages_dir = "../../mocks/packages"
}

run "s3_makes_the_second_copy_and_locks_it" {
  assert {
    condition     = module.dr_bucket.lock_mode == "GOVERNANCE" && module.image_bucket.lock_mode == ""
    error_message = "The second copy is locked."
  }

  assert {
    condition     = !strcontains(output.cloudmig_toml, "[destinations.dr]")
    error_message = "The agent writes one copy: S3 makes the other."
  }
}

run "or_the_agent_makes_both" {
  variables {
    by_replication = false
  }

  assert {
    condition     = strcontains(output.cloudmig_toml, "[destinations.dr]")
    error_message = "The agent must know of both copies."
  }
}

run "replicas_are_read_at_once" {
  command = plan

  variables {
    dr_storage_class = "DEEP_ARCHIVE"
  }

  expect_failures = [var.dr_storage_class]
}
