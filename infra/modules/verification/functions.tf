# The three functions and what each may do. Each policy is compared with what the code calls:
# tests/infra/test_permissions.py.

locals {
  timeouts_s = {
    objects = var.object_timeout_s
    studies = var.study_timeout_s
  }

  images = "${var.bucket_arn}/${var.prefix}v1/*"

  # The key of pseudonyms goes only to functions that write studies into their log.
  pseudonyms = var.pseudonym_key == null ? {} : { PSEUDONYM_KEY = var.pseudonym_key }

  verifying = {
    PREFIX            = var.prefix
    TABLE_NAME        = aws_dynamodb_table.verdicts.name
    VERDICT_QUEUE_URL = aws_sqs_queue.this["verdicts"].url
    STUDY_QUEUE_URL   = aws_sqs_queue.this["studies"].url
    READ              = var.read
    KMS_KEY_ARN       = var.kms_key_arn
    LOCK_MODE         = var.lock_mode
    LATER_CLASSES     = join(",", var.later_classes)
  }

  look_at_images = {
    LookAtImages = {
      actions   = concat(["s3:GetObject"], var.lock_mode == "" ? [] : ["s3:GetObjectRetention"])
      resources = [local.images]
    }
    # Without it S3 answers 403 for an object that is not there, which looks like a fault.
    TellMissingFromForbidden = {
      actions   = ["s3:ListBucket"]
      resources = [var.bucket_arn]
    }
  }

  # Images, messages and items are encrypted with it; GenerateDataKey is for sending a message.
  use_key = {
    UseKey = {
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [var.kms_key_arn]
    }
  }

  functions = {
    verify_object = module.verify_object
    verify_study  = module.verify_study
    find_orphans  = module.find_orphans
  }
}

module "verify_object" {
  source = "../function"

  name                 = var.name
  function             = "verify_object"
  description          = "Looks at an object as it is now and writes down whether it is what its key and metadata say."
  package              = "${var.packages_dir}/verify_object.zip"
  runtime              = var.runtime
  architecture         = var.architecture
  timeout_s            = var.object_timeout_s
  memory_mib           = 512
  reserved_concurrency = lookup(var.reserved_concurrency, "verify_object", -1)
  environment          = merge(local.verifying, local.pseudonyms)
  kms_key_arn          = var.kms_key_arn
  log_retention_days   = var.log_retention_days
  alarm_topic_arns     = var.alarm_topic_arns
  subnet_ids           = var.subnet_ids
  security_group_ids   = var.security_group_ids

  permissions = merge(local.look_at_images, local.use_key, {
    KeepVerdicts = {
      actions   = ["dynamodb:GetItem", "dynamodb:PutItem"]
      resources = [aws_dynamodb_table.verdicts.arn]
    }
    TakeMessages = {
      actions   = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
      resources = [aws_sqs_queue.this["objects"].arn]
    }
    TellAgentAndStudies = {
      actions   = ["sqs:SendMessage"]
      resources = [aws_sqs_queue.this["verdicts"].arn, aws_sqs_queue.this["studies"].arn]
    }
  })
}

module "verify_study" {
  source = "../function"

  name                 = var.name
  function             = "verify_study"
  description          = "Compares all objects of a study with its manifest and tells the agent in one verdict."
  package              = "${var.packages_dir}/verify_study.zip"
  runtime              = var.runtime
  architecture         = var.architecture
  timeout_s            = var.study_timeout_s
  memory_mib           = 1024
  reserved_concurrency = lookup(var.reserved_concurrency, "verify_study", -1)
  environment          = merge(local.verifying, local.pseudonyms)
  kms_key_arn          = var.kms_key_arn
  log_retention_days   = var.log_retention_days
  alarm_topic_arns     = var.alarm_topic_arns
  subnet_ids           = var.subnet_ids
  security_group_ids   = var.security_group_ids

  permissions = merge(local.look_at_images, local.use_key, {
    KeepVerdicts = {
      actions   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"]
      resources = [aws_dynamodb_table.verdicts.arn]
    }
    TakeMessages = {
      actions   = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
      resources = [aws_sqs_queue.this["studies"].arn]
    }
    TellAgent = {
      actions   = ["sqs:SendMessage"]
      resources = [aws_sqs_queue.this["verdicts"].arn]
    }
  })
}

module "find_orphans" {
  source = "../function"

  name                 = var.name
  function             = "find_orphans"
  description          = "Names objects that no manifest has named within ${var.orphan_after_h} hours."
  package              = "${var.packages_dir}/find_orphans.zip"
  runtime              = var.runtime
  architecture         = var.architecture
  timeout_s            = 900
  memory_mib           = 512
  reserved_concurrency = lookup(var.reserved_concurrency, "find_orphans", -1)
  schedule             = var.orphan_schedule
  kms_key_arn          = var.kms_key_arn
  log_retention_days   = var.log_retention_days
  alarm_topic_arns     = var.alarm_topic_arns
  subnet_ids           = var.subnet_ids
  security_group_ids   = var.security_group_ids

  environment = merge(local.verifying, {
    ORPHAN_AFTER_H = tostring(var.orphan_after_h)
  })

  # What is overdue is looked at once more before it is called an orphan.
  permissions = merge(local.look_at_images, local.use_key, {
    FindUnsettled = {
      actions   = ["dynamodb:Query"]
      resources = ["${aws_dynamodb_table.verdicts.arn}/index/unsettled"]
    }
    KeepVerdicts = {
      actions   = ["dynamodb:UpdateItem"]
      resources = [aws_dynamodb_table.verdicts.arn]
    }
    TellAgentAndStudies = {
      actions   = ["sqs:SendMessage"]
      resources = [aws_sqs_queue.this["verdicts"].arn, aws_sqs_queue.this["studies"].arn]
    }
  })
}

resource "aws_lambda_event_source_mapping" "objects" {
  event_source_arn        = aws_sqs_queue.this["objects"].arn
  function_name           = module.verify_object.arn
  batch_size              = 10
  function_response_types = ["ReportBatchItemFailures"] # One bad object must not repeat nine good ones.

  scaling_config {
    maximum_concurrency = var.object_concurrency_max
  }
}

resource "aws_lambda_event_source_mapping" "studies" {
  event_source_arn        = aws_sqs_queue.this["studies"].arn
  function_name           = module.verify_study.arn
  batch_size              = 1 # One large study may need most of the time limit.
  function_response_types = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = var.study_concurrency_max
  }
}
