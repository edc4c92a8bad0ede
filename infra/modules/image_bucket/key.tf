data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.name
}

# Losing this key loses every image. Its rotation keeps the old material, so nothing is encrypted anew.
resource "aws_kms_key" "images" {
  description             = "Images and records of ${var.name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = local.key_policy

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "images" {
  name          = "alias/${var.name}-images"
  target_key_id = aws_kms_key.images.key_id
}

locals {
  from_here = { StringEquals = { "aws:SourceAccount" = local.account_id } }

  key_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # IAM of this account decides who may use the key: roles name it in their own policies.
        Sid       = "AccountDecides"
        Effect    = "Allow"
        Action    = "kms:*"
        Resource  = "*"
        Principal = { AWS = "arn:${local.partition}:iam::${local.account_id}:root" }
      },
      {
        Sid       = "InventoryIsWritten"
        Effect    = "Allow"
        Action    = "kms:GenerateDataKey"
        Resource  = "*"
        Principal = { Service = "s3.amazonaws.com" }
        Condition = merge(local.from_here, {
          ArnLike = { "aws:SourceArn" = "arn:${local.partition}:s3:::${var.bucket_name}" }
        })
      },
      {
        # The queues of the module verification are encrypted with this key, and EventBridge writes
        # to them.
        Sid       = "EventsAreQueued"
        Effect    = "Allow"
        Action    = ["kms:GenerateDataKey", "kms:Decrypt"]
        Resource  = "*"
        Principal = { Service = "events.amazonaws.com" }
        Condition = local.from_here
      },
      {
        Sid       = "AlarmsAreSent"
        Effect    = "Allow"
        Action    = ["kms:GenerateDataKey*", "kms:Decrypt"]
        Resource  = "*"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Condition = local.from_here
      },
      {
        Sid    = "LogsAreWritten"
        Effect = "Allow"
        Action = [
          "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey",
        ]
        Resource  = "*"
        Principal = { Service = "logs.${local.region}.amazonaws.com" }
        Condition = {
          ArnLike = {
            "kms:EncryptionContext:aws:logs:arn" = "arn:${local.partition}:logs:${local.region}:${local.account_id}:log-group:*"
          }
        }
      },
    ]
  })
}
