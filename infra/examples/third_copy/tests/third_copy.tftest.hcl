mock_provider "aws" {
  source = "../../mocks"
}

variables {
  bucket_name  = "images"
  packages_dir = "../../mocks/packages"
}

run "the_third_copy_is_locked_and_cold" {
  assert {
    condition     = module.image_bucket.lock_mode == "GOVERNANCE"
    error_message = "The third copy is locked, and the lock can be lifted until somebody decides otherwise."
  }

  assert {
    condition     = strcontains(output.cloudmig_toml, "storage_class = \"DEEP_ARCHIVE\"")
    error_message = "The agent puts it into an archive class by itself."
  }
}

run "a_lock_for_ever_must_be_asked_for" {
  variables {
    object_lock = { mode = "COMPLIANCE", days = 3650 }
  }

  assert {
    condition     = module.image_bucket.lock_mode == "COMPLIANCE"
    error_message = "What was asked for is there."
  }
}
