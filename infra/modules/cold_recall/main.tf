# Restores that were asked for, finished and ran out: what each really took.

locals {
  timeout_s = 60
}

resource "aws_cloudwatch_event_rule" "restores" {
  name        = "${var.name}-restores"
  description = "Restores of objects of ${var.bucket_name} below ${var.prefix}v1/."

  event_pattern = jsonencode({
    source      = ["aws.s3"]
    detail-type = ["Object Restore Completed", "Object Restore Expired", "Object Restore Initiated"]
    detail = {
      bucket = { name = [var.bucket_name] }
      object = { key = [{ prefix = "${var.prefix}v1/" }] }
    }
  })
}

resource "aws_cloudwatch_event_target" "restores" {
  rule      = aws_cloudwatch_event_rule.restores.name
  target_id = "restores"
  arn       = aws_sqs_queue.restores.arn

  dead_letter_config {
    arn = aws_sqs_queue.dead.arn
  }
}

resource "aws_sqs_queue" "restores" {
  name                              = "${var.name}-restores"
  visibility_timeout_seconds        = 6 * local.timeout_s
  message_retention_seconds         = 1209600
  receive_wait_time_seconds         = 20
  kms_master_key_id                 = var.kms_key_arn
  kms_data_key_reuse_period_seconds = 3600

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue" "dead" {
  name                              = "${var.name}-restores-dead"
  message_retention_seconds         = 1209600
  kms_master_key_id                 = var.kms_key_arn
  kms_data_key_reuse_period_seconds = 3600
}

resource "aws_sqs_queue_policy" "this" {
  for_each = { restores = aws_sqs_queue.restores, restores-dead = aws_sqs_queue.dead }

  queue_url = each.value.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "EventsOfTheBucket"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = each.value.arn
        Condition = { ArnEquals = { "aws:SourceArn" = aws_cloudwatch_event_rule.restores.arn } }
      },
      {
        Sid       = "OnlyEncrypted"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = each.value.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

module "watch_restore" {
  source = "../function"

  name               = var.name
  function           = "watch_restore"
  description        = "Notes when a restore was asked for and finished, and tells the agent what it took."
  package            = "${var.packages_dir}/watch_restore.zip"
  runtime            = var.runtime
  architecture       = var.architecture
  timeout_s          = local.timeout_s
  memory_mib         = 512
  kms_key_arn        = var.kms_key_arn
  log_retention_days = var.log_retention_days
  alarm_topic_arns   = var.alarm_topic_arns
  subnet_ids         = var.subnet_ids
  security_group_ids = var.security_group_ids

  environment = merge(
    {
      BUCKET            = var.bucket_name
      PREFIX            = var.prefix
      TABLE_NAME        = var.table_name
      VERDICT_QUEUE_URL = var.verdict_queue_url
      RESTORE_PROMISES  = jsonencode(var.restore_promises)
      RESTORE_TIERS     = jsonencode(var.restore_tiers)
      SAMPLES_BUCKET    = var.samples_bucket_name
      SAMPLES_PREFIX    = var.samples_prefix
    },
    var.pseudonym_key == null ? {} : { PSEUDONYM_KEY = var.pseudonym_key },
  )

  permissions = {
    # HEAD, for the class: S3 asks for the right to read.
    LookAtImages = {
      actions   = ["s3:GetObject", "s3:GetObjectVersion"]
      resources = ["${var.bucket_arn}/${var.prefix}v1/*"]
    }
    KeepSamples = {
      actions   = ["s3:PutObject"]
      resources = ["${var.samples_bucket_arn}/${var.samples_prefix}*"]
    }
    # Only the items of restores: the verdicts beside them are not its business.
    NoteRestores = {
      actions    = ["dynamodb:UpdateItem"]
      resources  = [var.table_arn]
      conditions = { "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = ["restores/*"] } }
    }
    TakeMessages = {
      actions   = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
      resources = [aws_sqs_queue.restores.arn]
    }
    TellAgent = {
      actions   = ["sqs:SendMessage"]
      resources = [var.verdict_queue_arn]
    }
    UseKey = {
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [var.kms_key_arn]
    }
  }
}

resource "aws_lambda_event_source_mapping" "restores" {
  event_source_arn        = aws_sqs_queue.restores.arn
  function_name           = module.watch_restore.arn
  batch_size              = 10
  function_response_types = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = 5 # A recalled study is thousands of events; none of them is urgent.
  }
}
