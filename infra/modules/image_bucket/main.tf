resource "aws_s3_bucket" "images" {
  bucket              = var.bucket_name
  object_lock_enabled = var.object_lock != null
  force_destroy       = false

  lifecycle {
    prevent_destroy = true
    # A bucket that exists gets its lock by aws_s3_bucket_object_lock_configuration alone. Without
    # this line, asking for a lock later would mean another bucket.
    ignore_changes = [object_lock_enabled]
  }

  # Destroying runs backwards: a bucket that refuses because it holds images keeps its key alive.
  depends_on = [aws_kms_key.images]
}

resource "aws_s3_bucket_versioning" "images" {
  bucket = aws_s3_bucket.images.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_object_lock_configuration" "images" {
  count = var.object_lock == null ? 0 : 1

  bucket = aws_s3_bucket.images.id

  rule {
    default_retention {
      mode = var.object_lock.mode
      days = var.object_lock.days
    }
  }

  depends_on = [aws_s3_bucket_versioning.images]
}

resource "aws_s3_bucket_server_side_encryption_configuration" "images" {
  bucket = aws_s3_bucket.images.id

  rule {
    # One data key for many objects: without it KMS costs more than the PUT requests.
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.images.arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "images" {
  bucket = aws_s3_bucket.images.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "images" {
  bucket = aws_s3_bucket.images.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_policy" "images" {
  bucket = aws_s3_bucket.images.id
  policy = local.images_policy

  depends_on = [aws_s3_bucket_public_access_block.images]
}

locals {
  images_arn = "arn:${local.partition}:s3:::${var.bucket_name}"

  images_policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(local.tls_only[local.images_arn], [
      # A PUT that names no key gets the bucket's; one that names another is refused.
      {
        Sid       = "NoOtherKey"
        Effect    = "Deny"
        Action    = "s3:PutObject"
        Resource  = "${local.images_arn}/*"
        Principal = "*"
        Condition = {
          StringNotEquals = {
            "s3:x-amz-server-side-encryption-aws-kms-key-id" = aws_kms_key.images.arn
          }
          Null = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = "false" }
        }
      },
      {
        Sid       = "NoOtherEncryption"
        Effect    = "Deny"
        Action    = "s3:PutObject"
        Resource  = "${local.images_arn}/*"
        Principal = "*"
        Condition = {
          StringNotEquals = { "s3:x-amz-server-side-encryption" = "aws:kms" }
          Null            = { "s3:x-amz-server-side-encryption" = "false" }
        }
      },
    ])
  })

  # The same for both buckets.
  tls_only = {
    for arn in [local.images_arn, local.records_arn] : arn => [
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Action    = "s3:*"
        Resource  = [arn, "${arn}/*"]
        Principal = "*"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "NoOldTls"
        Effect    = "Deny"
        Action    = "s3:*"
        Resource  = [arn, "${arn}/*"]
        Principal = "*"
        Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
      },
    ]
  }
}

# All events, to EventBridge: the modules verification and cold_recall choose theirs by rules.
resource "aws_s3_bucket_notification" "images" {
  bucket      = aws_s3_bucket.images.id
  eventbridge = true
}

resource "aws_s3_bucket_logging" "images" {
  count = var.access_log_bucket == null ? 0 : 1

  bucket        = aws_s3_bucket.images.id
  target_bucket = var.access_log_bucket
  target_prefix = "${var.bucket_name}/"
}
