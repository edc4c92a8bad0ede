# S3's own replication: every new version, by S3 and not by the agent. Deletions are not repeated.
resource "aws_iam_role" "replica" {
  count = var.replica == null ? 0 : 1

  name        = "${var.name}-replica"
  description = "S3, copying new versions of ${var.bucket_name}"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "s3.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "replica" {
  count = var.replica == null ? 0 : 1

  name = "replicate"
  role = aws_iam_role.replica[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "SeeWhatIsNew"
        Effect   = "Allow"
        Action   = ["s3:GetReplicationConfiguration", "s3:ListBucket"]
        Resource = aws_s3_bucket.images.arn
      },
      {
        Sid    = "ReadVersions"
        Effect = "Allow"
        Action = [
          "s3:GetObjectVersionForReplication", "s3:GetObjectVersionAcl",
          "s3:GetObjectVersionTagging", "s3:GetObjectRetention", "s3:GetObjectLegalHold",
        ]
        Resource = "${aws_s3_bucket.images.arn}/*"
      },
      {
        Sid      = "WriteReplicas"
        Effect   = "Allow"
        Action   = ["s3:ReplicateObject", "s3:ReplicateTags"]
        Resource = "${var.replica.bucket_arn}/*"
      },
      {
        Sid      = "ReadWithTheKeyHere"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = aws_kms_key.images.arn
      },
      {
        Sid      = "WriteWithTheKeyThere"
        Effect   = "Allow"
        Action   = ["kms:GenerateDataKey", "kms:Encrypt"]
        Resource = var.replica.kms_key_arn
      },
    ]
  })
}

resource "aws_s3_bucket_replication_configuration" "images" {
  count = var.replica == null ? 0 : 1

  bucket = aws_s3_bucket.images.id
  role   = aws_iam_role.replica[0].arn

  rule {
    id     = "second-copy"
    status = "Enabled"

    filter {
      prefix = var.prefix
    }

    delete_marker_replication {
      status = "Disabled"
    }

    source_selection_criteria {
      sse_kms_encrypted_objects {
        status = "Enabled"
      }
    }

    destination {
      bucket        = var.replica.bucket_arn
      storage_class = var.replica.storage_class
      account       = var.replica.account_id

      encryption_configuration {
        replica_kms_key_id = var.replica.kms_key_arn
      }

      dynamic "access_control_translation" {
        for_each = var.replica.account_id == null ? [] : ["Destination"]

        content {
          owner = access_control_translation.value
        }
      }

      # The metrics tell how far behind the copy is.
      metrics {
        status = "Enabled"

        event_threshold {
          minutes = 15
        }
      }

      replication_time {
        status = "Enabled"

        time {
          minutes = 15
        }
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.images]
}
