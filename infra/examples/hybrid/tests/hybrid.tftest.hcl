mock_provider "aws" {
  source = "../../mocks"
}

variables {
  bucket_name  = "images"
  packages_dir = "../../mocks/packages"
}

run "images_grow_cheaper_and_stay_readable" {
  assert {
    condition = alltrue([
      for class in module.image_bucket.later_classes : !contains(["GLACIER", "DEEP_ARCHIVE"], class)
    ])
    error_message = "Whatever a radiologist may ask for is read at once."
  }

  assert {
    condition     = module.image_bucket.lock_mode == "" && length(module.network) == 0
    error_message = "A lock and private endpoints are there only when asked for."
  }

  assert {
    condition = alltrue([
      for word in ["s3://images/radiology", "verdict_queue", "GLACIER_IR"] : strcontains(output.cloudmig_toml, word)
    ])
    error_message = "What the agent must know is told."
  }
}
