# What is known about the images: inventory reports, samples, results. Apart from them, so that it is
# under no lock and can be read by people who may not see an image.
resource "aws_s3_bucket" "records" {
  #checkov:skip=CKV_AWS_144:Records are made anew from the images and the table; the images themselves have a replica where one is asked for.
  bucket        = "${var.bucket_name}-records"
  force_destroy = false

  lifecycle {
    prevent_destroy = true
  }

  depends_on = [aws_kms_key.images]
}

resource "aws_s3_bucket_versioning" "records" {
  bucket = aws_s3_bucket.records.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "records" {
  bucket = aws_s3_bucket.records.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.images.arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "records" {
  bucket = aws_s3_bucket.records.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "records" {
  bucket = aws_s3_bucket.records.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "records" {
  bucket = aws_s3_bucket.records.id

  rule {
    id     = "abandoned-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = var.abandoned_upload_days
    }
  }

  dynamic "rule" {
    for_each = var.records_keep_days

    content {
      id     = "old-${trimsuffix(rule.key, "/")}"
      status = "Enabled"

      filter {
        prefix = rule.key
      }

      expiration {
        days = rule.value
      }

      noncurrent_version_expiration {
        noncurrent_days = 1
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.records]
}

# A finished inventory report starts the reconciliation.
resource "aws_s3_bucket_notification" "records" {
  bucket      = aws_s3_bucket.records.id
  eventbridge = true
}

resource "aws_s3_bucket_logging" "records" {
  count = var.access_log_bucket == null ? 0 : 1

  bucket        = aws_s3_bucket.records.id
  target_bucket = var.access_log_bucket
  target_prefix = "${aws_s3_bucket.records.id}/"
}

resource "aws_s3_bucket_policy" "records" {
  bucket = aws_s3_bucket.records.id
  policy = local.records_policy

  depends_on = [aws_s3_bucket_public_access_block.records]
}

locals {
  inventory_prefix = "inventory/"
  records_arn      = "arn:${local.partition}:s3:::${var.bucket_name}-records"

  records_policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(local.tls_only[local.records_arn], [
      {
        Sid       = "InventoryIsWritten"
        Effect    = "Allow"
        Action    = "s3:PutObject"
        Resource  = "${local.records_arn}/${local.inventory_prefix}*"
        Principal = { Service = "s3.amazonaws.com" }
        Condition = merge(local.from_here, { ArnLike = { "aws:SourceArn" = local.images_arn } })
      },
    ])
  })
}

# One line for each version below the prefix, with what reconcile_inventory compares. All versions: of
# a study that was deleted as a whole, the delete markers are what is left to see.
resource "aws_s3_bucket_inventory" "images" {
  bucket                   = aws_s3_bucket.images.id
  name                     = "cloudmig"
  included_object_versions = "All"

  schedule {
    frequency = var.inventory_frequency
  }

  dynamic "filter" {
    for_each = var.prefix == "" ? [] : [var.prefix]

    content {
      prefix = filter.value
    }
  }

  destination {
    bucket {
      format     = "CSV"
      bucket_arn = aws_s3_bucket.records.arn
      prefix     = trimsuffix(local.inventory_prefix, "/")
      account_id = local.account_id

      encryption {
        sse_kms {
          key_id = aws_kms_key.images.arn
        }
      }
    }
  }

  optional_fields = [
    "Size", "LastModifiedDate", "StorageClass", "ETag", "IsMultipartUploaded", "EncryptionStatus",
    "ObjectLockRetainUntilDate", "ObjectLockMode", "IntelligentTieringAccessTier", "ChecksumAlgorithm",
  ]

  depends_on = [aws_s3_bucket_policy.records]
}
