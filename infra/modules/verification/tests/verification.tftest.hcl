mock_provider "aws" {
  source = "../../mocks"
}

variables {
  name         = "demo"
  bucket_name  = "images"
  bucket_arn   = "arn:aws:s3:::images"
  prefix       = "radiology/"
  kms_key_arn  = "arn:aws:kms:eu-central-1:123456789012:key/images"
  packages_dir = "../../mocks/packages"
}

run "messages_are_encrypted_tried_again_and_then_kept_for_a_person" {
  assert {
    condition = alltrue([
      for queue in merge(
        { for key, each in aws_sqs_queue.this : key => each },
        { for key, each in aws_sqs_queue.dead : "${key}-dead" => each },
      ) : queue.kms_master_key_id == var.kms_key_arn && queue.message_retention_seconds == 1209600
    ])
    error_message = "Every queue is encrypted with our key and keeps messages for 14 days."
  }

  assert {
    condition = alltrue([
      for key, queue in aws_sqs_queue.this :
      jsondecode(queue.redrive_policy).deadLetterTargetArn == aws_sqs_queue.dead[key].arn
      && jsondecode(queue.redrive_policy).maxReceiveCount >= 5
    ])
    error_message = "What fails five times waits in the dead letters of its queue."
  }

  assert {
    condition     = aws_sqs_queue.this["objects"].visibility_timeout_seconds >= 6 * module.verify_object.timeout_s
    error_message = "A message must stay hidden for six times the function's time limit."
  }

  assert {
    condition     = aws_sqs_queue.this["studies"].visibility_timeout_seconds >= 6 * module.verify_study.timeout_s
    error_message = "A message must stay hidden for six times the function's time limit."
  }

  assert {
    condition = alltrue([
      for policy in aws_sqs_queue_policy.this : anytrue([
        for statement in jsondecode(policy.policy).Statement :
        statement.Effect == "Deny" && try(statement.Condition.Bool["aws:SecureTransport"], "") == "false"
      ])
    ])
    error_message = "No queue takes a request without TLS."
  }

  assert {
    condition = toset([
      for key, policy in aws_sqs_queue_policy.this : key
      if anytrue([for each in jsondecode(policy.policy).Statement : each.Effect == "Allow"])
    ]) == toset(["objects", "objects-dead"])
    error_message = "Only EventBridge is let in by a queue's policy, and only where it delivers."
  }
}

run "one_bad_object_does_not_repeat_nine_good_ones" {
  assert {
    condition = alltrue([
      for each in [aws_lambda_event_source_mapping.objects, aws_lambda_event_source_mapping.studies] :
      each.function_response_types == toset(["ReportBatchItemFailures"])
    ])
    error_message = "The functions answer which messages failed; AWS must be told to listen."
  }

  assert {
    condition     = aws_lambda_event_source_mapping.objects.scaling_config[0].maximum_concurrency == 50
    error_message = "A migration must not take all executions of the account."
  }
}

run "events_below_v1_of_this_bucket_and_no_others_are_looked_at" {
  assert {
    condition = jsondecode(aws_cloudwatch_event_rule.objects.event_pattern).detail == {
      bucket = { name = ["images"] }
      object = { key = [{ prefix = "radiology/v1/" }] }
    }
    error_message = "The rule matches images and manifests below the prefix."
  }

  assert {
    condition = alltrue([
      for each in ["Object Created", "Object Deleted", "Object Storage Class Changed"] :
      contains(jsondecode(aws_cloudwatch_event_rule.objects.event_pattern)["detail-type"], each)
    ])
    error_message = "What appears, vanishes or changes its class is looked at."
  }

  assert {
    condition     = aws_cloudwatch_event_target.objects.dead_letter_config[0].arn == aws_sqs_queue.dead["objects"].arn
    error_message = "An event that cannot be delivered must not be lost."
  }
}

run "the_table_survives_mistakes" {
  assert {
    condition     = aws_dynamodb_table.verdicts.deletion_protection_enabled
    error_message = "Nothing destroys data by default."
  }

  assert {
    condition     = aws_dynamodb_table.verdicts.point_in_time_recovery[0].enabled
    error_message = "The table can be taken back to any second of 35 days."
  }

  assert {
    condition     = aws_dynamodb_table.verdicts.server_side_encryption[0].kms_key_arn == var.kms_key_arn
    error_message = "The table is encrypted with our key."
  }
}

run "no_function_may_delete_or_write_what_it_verifies" {
  assert {
    condition = alltrue(flatten([
      for policy in values(output.policies) : [
        for statement in jsondecode(policy).Statement : [
          for action in statement.Action :
          !startswith(action, "s3:Put") && !strcontains(action, "Delete") || action == "sqs:DeleteMessage"
        ]
      ]
    ]))
    error_message = "A function that could change an image would be no independent witness."
  }

  assert {
    condition = alltrue(flatten([
      for policy in values(output.policies) : [
        for statement in jsondecode(policy).Statement : [
          for resource in statement.Resource : resource != "*" && (
            !startswith(resource, "arn:aws:s3:::images/") || startswith(resource, "arn:aws:s3:::images/radiology/v1/")
          )
        ]
      ]
    ]))
    error_message = "Every resource is named, and objects only below the prefix."
  }

  assert {
    condition     = !contains(flatten(jsondecode(output.policies.verify_object).Statement[*].Action), "s3:GetObjectRetention")
    error_message = "Without a lock nobody needs to read it."
  }
}

run "with_a_lock_it_is_looked_at" {
  variables {
    lock_mode = "COMPLIANCE"
  }

  assert {
    condition     = contains(flatten(jsondecode(output.policies.verify_object).Statement[*].Action), "s3:GetObjectRetention")
    error_message = "Without the right S3 leaves the lock out of its answer."
  }

  assert {
    condition     = module.verify_study.environment.LOCK_MODE == "COMPLIANCE"
    error_message = "The function must know what to expect."
  }
}

run "a_visibility_below_six_time_limits_is_refused" {
  command = plan

  variables {
    object_visibility_s = 3599
  }

  expect_failures = [var.object_visibility_s]
}

run "a_longer_time_limit_asks_for_a_longer_visibility" {
  command = plan

  variables {
    object_timeout_s = 900
  }

  expect_failures = [var.object_visibility_s]
}

run "reserving_less_than_the_queue_uses_is_refused" {
  command = plan

  variables {
    reserved_concurrency = { verify_object = 10 }
  }

  expect_failures = [var.reserved_concurrency]
}

run "a_prefix_without_a_slash_is_refused" {
  command = plan

  variables {
    prefix = "radiology"
  }

  expect_failures = [var.prefix]
}

run "a_key_of_pseudonyms_that_could_be_guessed_is_refused" {
  command = plan

  variables {
    pseudonym_key = "c0ffee"
  }

  expect_failures = [var.pseudonym_key]
}
