# In a file of its own: a lock is decided when the bucket is made.
mock_provider "aws" {
  source = "../../mocks"
}

variables {
  name        = "demo"
  bucket_name = "images"
}

run "a_lock_is_there_when_asked_for" {
  variables {
    object_lock = { mode = "COMPLIANCE", days = 3650 }
  }

  assert {
    condition = (
      one(one(aws_s3_bucket_object_lock_configuration.images[0].rule).default_retention).mode == "COMPLIANCE"
      && one(one(aws_s3_bucket_object_lock_configuration.images[0].rule).default_retention).days == 3650
      && aws_s3_bucket.images.object_lock_enabled
    )
    error_message = "The lock is what was asked for."
  }
}
