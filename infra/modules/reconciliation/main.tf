# The function of the four steps, and what starts the state machine: the inventory itself.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  machine_name = "${var.name}-reconciliation"
  arn_rest     = "${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}"
  # Built from names: the machine's role must name the machine, which needs the role.
  machine_arn    = "arn:${data.aws_partition.current.partition}:states:${local.arn_rest}:stateMachine:${local.machine_name}"
  executions_arn = "arn:${data.aws_partition.current.partition}:states:${local.arn_rest}:execution:${local.machine_name}"
  results_arn    = "${var.records_bucket_arn}/${var.results_prefix}*"
}

module "reconcile_inventory" {
  source = "../function"

  name                  = var.name
  function              = "reconcile_inventory"
  description           = "Compares the bucket's inventory with the manifests, one unit of work at a time."
  package               = "${var.packages_dir}/reconcile_inventory.zip"
  runtime               = var.runtime
  architecture          = var.architecture
  timeout_s             = 900
  memory_mib            = 1024
  ephemeral_storage_mib = 4096 # The rows of a data file are sorted there.
  kms_key_arn           = var.kms_key_arn
  log_retention_days    = var.log_retention_days
  alarm_topic_arns      = var.alarm_topic_arns
  subnet_ids            = var.subnet_ids
  security_group_ids    = var.security_group_ids

  environment = {
    BUCKET          = var.bucket_name
    PREFIX          = var.prefix
    RESULTS_BUCKET  = var.records_bucket_name
    RESULTS_PREFIX  = var.results_prefix
    STUDY_QUEUE_URL = var.study_queue_url
    KMS_KEY_ARN     = var.kms_key_arn
    LOCK_MODE       = var.lock_mode
    LATER_CLASSES   = join(",", var.later_classes)
    SETTLE_S        = tostring(var.settle_s)
    ORPHAN_AFTER_H  = tostring(var.orphan_after_h)
    REQUESTS_MAX    = tostring(var.requests_max)
  }

  permissions = {
    ReadInventoryAndResults = {
      actions   = ["s3:GetObject"]
      resources = ["${var.records_bucket_arn}/${var.inventory_prefix}*", local.results_arn]
    }
    WriteResults = {
      actions   = ["s3:PutObject"]
      resources = [local.results_arn]
    }
    # Manifests only: no image is read.
    ReadManifests = {
      actions   = ["s3:GetObject", "s3:GetObjectVersion"]
      resources = ["${var.bucket_arn}/${var.prefix}v1/*/manifest/*"]
    }
    # Whether a revision came after the inventory: 404 instead of 403 where none did.
    TellMissingFromForbidden = {
      actions   = ["s3:ListBucket"]
      resources = [var.bucket_arn]
    }
    AskAgain = {
      actions   = ["sqs:SendMessage"]
      resources = [var.study_queue_arn]
    }
    UseKey = {
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [var.kms_key_arn]
    }
  }
}

# S3 writes manifest.checksum last: everything it speaks of is there then.
resource "aws_cloudwatch_event_rule" "inventory" {
  name        = "${var.name}-inventory"
  description = "A new inventory of ${var.bucket_name} is complete."

  event_pattern = jsonencode({
    source      = ["aws.s3"]
    detail-type = ["Object Created"]
    detail = {
      bucket = { name = [var.records_bucket_name] }
      object = { key = [{ wildcard = "${var.inventory_prefix}*/manifest.checksum" }] }
    }
  })
}

resource "aws_cloudwatch_event_target" "inventory" {
  rule      = aws_cloudwatch_event_rule.inventory.name
  target_id = "reconciliation"
  arn       = aws_sfn_state_machine.this.arn
  role_arn  = aws_iam_role.start.arn

  input_transformer {
    input_paths = {
      bucket = "$.detail.bucket.name"
      key    = "$.detail.object.key"
    }

    input_template = "{\"inventory\": {\"bucket\": <bucket>, \"key\": <key>}}"
  }
}

resource "aws_iam_role" "start" {
  name        = "${local.machine_name}-start"
  description = "Lets a new inventory start ${local.machine_name}, and nothing else."

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "events.amazonaws.com" }
      Condition = { ArnEquals = { "aws:SourceArn" = aws_cloudwatch_event_rule.inventory.arn } }
    }]
  })
}

resource "aws_iam_role_policy" "start" {
  name = "${local.machine_name}-start"
  role = aws_iam_role.start.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "StartReconciliation"
      Effect   = "Allow"
      Action   = ["states:StartExecution"]
      Resource = [aws_sfn_state_machine.this.arn]
    }]
  })
}
