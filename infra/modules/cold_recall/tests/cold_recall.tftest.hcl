mock_provider "aws" {
  source = "../../mocks"
}

# Two queues that must be told apart.
override_resource {
  target = aws_sqs_queue.dead

  values = {
    arn = "arn:aws:sqs:eu-central-1:123456789012:demo-restores-dead"
  }
}

variables {
  name                = "demo"
  bucket_name         = "images"
  bucket_arn          = "arn:aws:s3:::images"
  prefix              = "radiology/"
  kms_key_arn         = "arn:aws:kms:eu-central-1:123456789012:key/images"
  packages_dir        = "../../mocks/packages"
  table_name          = "demo-verdicts"
  table_arn           = "arn:aws:dynamodb:eu-central-1:123456789012:table/demo-verdicts"
  verdict_queue_url   = "https://sqs.eu-central-1.amazonaws.com/123456789012/demo-verdicts"
  verdict_queue_arn   = "arn:aws:sqs:eu-central-1:123456789012:demo-verdicts"
  samples_bucket_name = "records"
  samples_bucket_arn  = "arn:aws:s3:::records"
  restore_promises    = { "GLACIER/Bulk" = 43200 }
}

run "a_restore_is_seen_from_asking_to_running_out" {
  assert {
    condition = (
      toset(jsondecode(aws_cloudwatch_event_rule.restores.event_pattern)["detail-type"])
      == toset(["Object Restore Initiated", "Object Restore Completed", "Object Restore Expired"])
    )
    error_message = "All three events of a restore are needed to know how long it took."
  }

  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.restores.event_pattern).detail.object.key == [{ prefix = "radiology/v1/" }]
    error_message = "Restores below the prefix, and no others."
  }
}

run "no_event_is_lost" {
  assert {
    condition     = jsondecode(aws_sqs_queue.restores.redrive_policy).deadLetterTargetArn == aws_sqs_queue.dead.arn
    error_message = "What fails waits for a person."
  }

  assert {
    condition     = aws_cloudwatch_event_target.restores.dead_letter_config[0].arn == aws_sqs_queue.dead.arn
    error_message = "What cannot be delivered waits for a person."
  }

  assert {
    condition     = aws_sqs_queue.restores.visibility_timeout_seconds >= 6 * module.watch_restore.timeout_s
    error_message = "A message must stay hidden for six times the function's time limit."
  }

  assert {
    condition     = aws_lambda_event_source_mapping.restores.function_response_types == toset(["ReportBatchItemFailures"])
    error_message = "The function answers which messages failed; AWS must be told to listen."
  }
}

run "verdicts_are_not_its_business" {
  assert {
    condition = one([
      for statement in jsondecode(output.policies.watch_restore).Statement : statement.Condition
      if contains(statement.Action, "dynamodb:UpdateItem")
    ]) == { "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = ["restores/*"] } }
    error_message = "It may write the items of restores, not the verdicts beside them."
  }
}

run "a_late_restore_raises_an_alarm" {
  assert {
    condition     = aws_cloudwatch_metric_alarm.late.dimensions == tomap({ service = "watch_restore" }) && aws_cloudwatch_metric_alarm.late.threshold == 0
    error_message = "One restore later than promised is enough."
  }

  assert {
    condition     = module.watch_restore.environment.RESTORE_PROMISES == "{\"GLACIER/Bulk\":43200}"
    error_message = "The function must know what was promised."
  }
}

run "a_promise_of_a_tier_that_does_not_exist_is_refused" {
  command = plan

  variables {
    restore_promises = { "DEEP_ARCHIVE/Quick" = 60 }
  }

  expect_failures = [var.restore_promises]
}

run "a_retrieval_tier_that_does_not_exist_is_refused" {
  command = plan

  variables {
    restore_tiers = { GLACIER = "bulk" }
  }

  expect_failures = [var.restore_tiers]
}
