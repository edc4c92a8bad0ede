data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  with_keys = var.roles_anywhere == null
  queues    = compact([for store in values(var.stores) : store.verdict_queue_arn])
  # Only what cloudmig writes lies below v1/ (or a later version of the key layout).
  objects = [for store in values(var.stores) : "${store.bucket_arn}/${store.prefix}v1/*"]
}

# Whatever proves who the agent is, what it may do is this role's: one place to read.
resource "aws_iam_role" "agent" {
  name                 = "${var.name}-agent"
  description          = "The agent beside the PACS: puts and reads images, never deletes"
  max_session_duration = 3600
  assume_role_policy = (
    local.with_keys
    ? data.aws_iam_policy_document.trust_user[0].json
    : data.aws_iam_policy_document.trust_certificate[0].json
  )
}

resource "aws_iam_role_policy" "agent" {
  name   = "put-and-read"
  role   = aws_iam_role.agent.id
  policy = data.aws_iam_policy_document.agent.json
}

data "aws_iam_policy_document" "agent" {
  # No DeleteObject: what the agent wrote, it cannot remove. In a versioned bucket a PUT over an
  # object keeps the version before.
  statement {
    sid = "PutAndRead"
    actions = concat(
      [
        "s3:PutObject", "s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectAttributes",
        "s3:GetObjectVersionAttributes", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts",
      ],
      var.may_restore ? ["s3:RestoreObject"] : [],
    )
    resources = local.objects
  }

  dynamic "statement" {
    for_each = var.stores

    content {
      sid       = "List${title(replace(statement.key, "/[^A-Za-z0-9]/", ""))}"
      actions   = ["s3:ListBucket"]
      resources = [statement.value.bucket_arn]

      # IfExists: S3 asks for this right without a prefix when it decides between "not found" and
      # "forbidden" for an object that is not there, and the agent must know which.
      condition {
        test     = "StringLikeIfExists"
        variable = "s3:prefix"
        values   = ["${statement.value.prefix}v1/*"]
      }
    }
  }

  statement {
    sid       = "SeeUploadsAndVersioning"
    actions   = ["s3:ListBucketMultipartUploads", "s3:GetBucketVersioning"]
    resources = [for store in values(var.stores) : store.bucket_arn]
  }

  # Through S3 and the queue only: the key opens nothing that somebody carries away.
  statement {
    sid       = "Encrypt"
    actions   = ["kms:GenerateDataKey", "kms:Decrypt"]
    resources = distinct([for store in values(var.stores) : store.kms_key_arn])

    condition {
      test     = "StringLike"
      variable = "kms:ViaService"
      values   = ["s3.*.${data.aws_partition.current.dns_suffix}", "sqs.*.${data.aws_partition.current.dns_suffix}"]
    }
  }

  dynamic "statement" {
    for_each = length(local.queues) == 0 ? [] : [local.queues]

    content {
      sid = "HearVerdicts"
      actions = [
        "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
        "sqs:GetQueueAttributes",
      ]
      resources = statement.value
    }
  }
}
