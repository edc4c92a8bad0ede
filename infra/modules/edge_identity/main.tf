data "aws_partition" "current" {}

locals {
  dns_suffix = data.aws_partition.current.dns_suffix
  with_keys  = var.roles_anywhere == null
  queues     = compact([for store in values(var.stores) : store.verdict_queue_arn])
  # Only what cloudmig writes lies below v1/ (or a later version of the key layout).
  objects = [for store in values(var.stores) : "${store.bucket_arn}/${store.prefix}v1/*"]
}

# Whatever proves who the agent is, what it may do is this role's: one place to read.
resource "aws_iam_role" "agent" {
  name                 = "${var.name}-agent"
  description          = "The agent beside the PACS: puts and reads images, never deletes"
  max_session_duration = max(3600, try(var.roles_anywhere.session_s, 0))
  assume_role_policy = (
    local.with_keys
    ? local.trust_user
    : local.trust_certificate
  )
}

resource "aws_iam_role_policy" "agent" {
  name   = "put-and-read"
  role   = aws_iam_role.agent.id
  policy = local.policy
}

locals {
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        # No DeleteObject: what the agent wrote, it cannot remove. In a versioned bucket a PUT over
        # an object keeps the version before.
        {
          Sid    = "PutAndRead"
          Effect = "Allow"
          Action = concat(
            [
              "s3:PutObject", "s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectAttributes",
              "s3:GetObjectVersionAttributes", "s3:AbortMultipartUpload",
              "s3:ListMultipartUploadParts",
            ],
            var.may_restore ? ["s3:RestoreObject"] : [],
          )
          Resource = local.objects
        },
        {
          Sid      = "SeeUploadsAndVersioning"
          Effect   = "Allow"
          Action   = ["s3:ListBucketMultipartUploads", "s3:GetBucketVersioning"]
          Resource = [for store in values(var.stores) : store.bucket_arn]
        },
        # Through S3 and the queue only: the key opens nothing that somebody carries away.
        {
          Sid      = "Encrypt"
          Effect   = "Allow"
          Action   = ["kms:GenerateDataKey", "kms:Decrypt"]
          Resource = distinct([for store in values(var.stores) : store.kms_key_arn])
          Condition = {
            StringLike = {
              "kms:ViaService" = [for service in ["s3", "sqs"] : "${service}.*.${local.dns_suffix}"]
            }
          }
        },
      ],
      # IfExists: S3 asks for this right without a prefix when it decides between "not found" and
      # "forbidden" for an object that is not there, and the agent must know which.
      [
        for name, store in var.stores : {
          Sid       = "List${title(replace(name, "/[^A-Za-z0-9]/", ""))}"
          Effect    = "Allow"
          Action    = "s3:ListBucket"
          Resource  = store.bucket_arn
          Condition = { StringLikeIfExists = { "s3:prefix" = "${store.prefix}v1/*" } }
        }
      ],
      [
        for queues in [local.queues] : {
          Sid    = "HearVerdicts"
          Effect = "Allow"
          Action = [
            "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
            "sqs:GetQueueAttributes",
          ]
          Resource = queues
        } if length(queues) > 0
      ],
    )
  })
}
