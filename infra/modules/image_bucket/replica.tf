# S3's own replication: every new version, by S3 and not by the agent. Deletions are not repeated.
resource "aws_iam_role" "replica" {
  count = var.replica == null ? 0 : 1

  name               = "${var.name}-replica"
  assume_role_policy = data.aws_iam_policy_document.replica_trust[0].json
}

data "aws_iam_policy_document" "replica_trust" {
  count = var.replica == null ? 0 : 1

  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account_id]
    }
  }
}

resource "aws_iam_role_policy" "replica" {
  count = var.replica == null ? 0 : 1

  name   = "replicate"
  role   = aws_iam_role.replica[0].id
  policy = data.aws_iam_policy_document.replica[0].json
}

data "aws_iam_policy_document" "replica" {
  count = var.replica == null ? 0 : 1

  statement {
    sid       = "SeeWhatIsNew"
    actions   = ["s3:GetReplicationConfiguration", "s3:ListBucket"]
    resources = [aws_s3_bucket.images.arn]
  }

  statement {
    sid = "ReadVersions"
    actions = [
      "s3:GetObjectVersionForReplication", "s3:GetObjectVersionAcl", "s3:GetObjectVersionTagging",
      "s3:GetObjectRetention", "s3:GetObjectLegalHold",
    ]
    resources = ["${aws_s3_bucket.images.arn}/*"]
  }

  statement {
    sid       = "WriteReplicas"
    actions   = ["s3:ReplicateObject", "s3:ReplicateTags"]
    resources = ["${var.replica.bucket_arn}/*"]
  }

  statement {
    sid       = "ReadWithTheKeyHere"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.images.arn]
  }

  statement {
    sid       = "WriteWithTheKeyThere"
    actions   = ["kms:GenerateDataKey", "kms:Encrypt"]
    resources = [var.replica.kms_key_arn]
  }
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
