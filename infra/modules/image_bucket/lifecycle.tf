# No rule here expires a current version. Rules are the bucket's: there is one resource for all.
resource "aws_s3_bucket_lifecycle_configuration" "images" {
  #checkov:skip=CKV_AWS_300:The scanner sees the dynamic rules alone; the first rule aborts uploads of the whole bucket, and tests read that back.
  bucket = aws_s3_bucket.images.id

  # Below 128 KiB the request for the move costs more than the class saves.
  transition_default_minimum_object_size = "all_storage_classes_128K"

  rule {
    id     = "abandoned-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = var.abandoned_upload_days
    }
  }

  dynamic "rule" {
    for_each = var.transitions

    content {
      id     = "tier-${rule.key}-${lower(rule.value.storage_class)}"
      status = "Enabled"

      filter {
        prefix = rule.value.size_bytes_min == null ? "${var.prefix}${rule.value.prefix}" : null

        dynamic "and" {
          for_each = rule.value.size_bytes_min == null ? [] : [rule.value]

          content {
            prefix                   = "${var.prefix}${and.value.prefix}"
            object_size_greater_than = and.value.size_bytes_min
          }
        }
      }

      transition {
        days          = rule.value.days
        storage_class = rule.value.storage_class
      }
    }
  }

  dynamic "rule" {
    for_each = var.noncurrent_days == null ? [] : [var.noncurrent_days]

    content {
      id     = "replaced-versions"
      status = "Enabled"

      filter {}

      noncurrent_version_expiration {
        noncurrent_days = rule.value
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.images]
}
