mock_provider "aws" {
  source = "../../mocks"
}

variables {
  name        = "demo"
  bucket_name = "images"
  prefix      = "radiology/"
}

run "nothing_destroys_data_by_default" {
  assert {
    condition     = !aws_s3_bucket.images.force_destroy && !aws_s3_bucket.records.force_destroy
    error_message = "A bucket that holds something must refuse to be destroyed."
  }

  assert {
    condition = alltrue([
      for rule in aws_s3_bucket_lifecycle_configuration.images.rule :
      length(rule.expiration) == 0 && length(rule.noncurrent_version_expiration) == 0
    ])
    error_message = "No version of an image is removed unless somebody asks for it."
  }

  assert {
    condition     = length(aws_s3_bucket_lifecycle_configuration.records.rule) == 1
    error_message = "Records are kept for ever unless somebody asks otherwise."
  }

  assert {
    condition     = aws_kms_key.images.deletion_window_in_days == 30 && aws_kms_key.images.enable_key_rotation
    error_message = "The key is rotated, and can be had back for 30 days."
  }

  assert {
    condition     = length(aws_s3_bucket_object_lock_configuration.images) == 0 && output.lock_mode == ""
    error_message = "There is no lock by default: it cannot be taken back."
  }
}

run "only_tls_and_only_our_key" {
  assert {
    condition = alltrue([
      for policy in [aws_s3_bucket_policy.images.policy, aws_s3_bucket_policy.records.policy] : anytrue([
        for each in jsondecode(policy).Statement :
        each.Effect == "Deny" && each.Action == "s3:*" && each.Principal == "*" && length(each.Resource) == 2
        && try(each.Condition.Bool["aws:SecureTransport"], "") == "false"
      ])
    ])
    error_message = "Both buckets refuse what does not come by TLS."
  }

  assert {
    condition = alltrue([
      for each in jsondecode(aws_s3_bucket_policy.images.policy).Statement : each.Effect == "Deny"
    ])
    error_message = "The bucket's policy gives nobody a right: roles do."
  }

  assert {
    condition = anytrue([
      for each in jsondecode(aws_s3_bucket_policy.images.policy).Statement :
      try(each.Condition.StringNotEquals["s3:x-amz-server-side-encryption-aws-kms-key-id"], "") == aws_kms_key.images.arn
    ])
    error_message = "A PUT that names another key is refused."
  }

  assert {
    condition = alltrue([
      for block in [aws_s3_bucket_public_access_block.images, aws_s3_bucket_public_access_block.records] :
      block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets
    ])
    error_message = "Nothing is public."
  }
}

run "the_inventory_has_what_is_compared" {
  assert {
    condition = length(setsubtract(
      ["Size", "ETag", "StorageClass", "EncryptionStatus", "ObjectLockMode", "LastModifiedDate"],
      aws_s3_bucket_inventory.images.optional_fields,
    )) == 0
    error_message = "The inventory must list what reconcile_inventory compares."
  }

  assert {
    condition     = aws_s3_bucket_inventory.images.included_object_versions == "All"
    error_message = "A study that was deleted as a whole is seen by its delete markers."
  }

  assert {
    condition     = one(aws_s3_bucket_inventory.images.filter).prefix == "radiology/"
    error_message = "Only what lies below the prefix is listed."
  }
}

run "large_objects_may_be_archived" {
  variables {
    transitions = [{ days = 90, storage_class = "DEEP_ARCHIVE", size_bytes_min = 8388608 }]
  }

  assert {
    condition = anytrue([
      for rule in aws_s3_bucket_lifecycle_configuration.images.rule :
      try(one(one(rule.filter).and).object_size_greater_than, 0) == 8388608
    ])
    error_message = "The size below which nothing is archived must reach the rule."
  }
}

run "manifests_are_not_archived" {
  command = plan

  variables {
    transitions = [{ days = 90, storage_class = "GLACIER" }]
  }

  expect_failures = [var.transitions]
}

run "evidence_of_a_repair_is_kept_for_a_month" {
  command = plan

  variables {
    noncurrent_days = 7
  }

  expect_failures = [var.noncurrent_days]
}

run "a_replica_repeats_no_deletion" {
  variables {
    replica = {
      bucket_arn  = "arn:aws:s3:::images-dr"
      kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/66666666-2222-3333-4444-555555555555"
    }
  }

  assert {
    condition = (
      one(one(aws_s3_bucket_replication_configuration.images[0].rule).delete_marker_replication).status == "Disabled"
    )
    error_message = "What is deleted here stays there."
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.replica[0].policy, "Delete")
    error_message = "S3 may copy into the second bucket, and delete nothing there."
  }
}
