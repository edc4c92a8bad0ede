mock_provider "aws" {
  source = "../../mocks"
}

variables {
  name             = "demo"
  function         = "verify_object"
  description      = "Does what it is told."
  package          = "../../mocks/packages/verify_object.zip"
  timeout_s        = 60
  kms_key_arn      = "arn:aws:kms:eu-central-1:123456789012:key/images"
  alarm_topic_arns = ["arn:aws:sns:eu-central-1:123456789012:alarms"]
  environment      = { PREFIX = "x/" }

  permissions = {
    ReadImages = {
      actions   = ["s3:GetObject"]
      resources = ["arn:aws:s3:::images/x/v1/*"]
    }
  }
}

run "its_log_is_encrypted_and_does_not_grow_for_ever" {
  assert {
    condition     = aws_cloudwatch_log_group.this.retention_in_days == 365
    error_message = "The log must be kept for a year, not for ever."
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.kms_key_id == var.kms_key_arn
    error_message = "The log must be encrypted with our key."
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.name == "/aws/lambda/${aws_lambda_function.this.function_name}"
    error_message = "A log group of another name would be left empty, and the real one kept for ever."
  }
}

run "it_may_do_what_is_listed_and_write_its_log" {
  assert {
    condition = (
      toset(flatten(jsondecode(output.policy).Statement[*].Action))
      == toset(["logs:CreateLogStream", "logs:PutLogEvents", "s3:GetObject"])
    )
    error_message = "The policy holds what was asked for and the own log, and nothing else."
  }

  assert {
    condition     = !contains(flatten(jsondecode(output.policy).Statement[*].Resource), "*")
    error_message = "Every statement names its resources."
  }
}

run "powertools_know_whose_metrics_they_are" {
  assert {
    condition = aws_lambda_function.this.environment[0].variables == tomap({
      PREFIX                       = "x/"
      POWERTOOLS_METRICS_NAMESPACE = "cloudmig"
      POWERTOOLS_SERVICE_NAME      = "verify_object"
    })
    error_message = "The alarms listen to the namespace cloudmig and the dimension service."
  }
}

run "every_alarm_speaks_when_it_begins_and_when_it_is_over" {
  assert {
    condition = alltrue([
      for alarm in [
        aws_cloudwatch_metric_alarm.fails, aws_cloudwatch_metric_alarm.slow,
        aws_cloudwatch_metric_alarm.throttled,
      ] : alarm.alarm_actions == toset(var.alarm_topic_arns) && alarm.ok_actions == toset(var.alarm_topic_arns)
    ])
    error_message = "Whoever is paged must also hear that it is over."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.slow.threshold == 48000
    error_message = "80 % of 60 seconds, in milliseconds."
  }
}

run "without_a_schedule_nothing_starts_it" {
  assert {
    condition     = length(aws_scheduler_schedule.this) + length(aws_iam_role.schedule) + length(aws_cloudwatch_metric_alarm.standstill) == 0
    error_message = "Nothing asked for a schedule."
  }
}

run "a_schedule_that_stands_still_is_noticed" {
  variables {
    schedule      = "rate(15 minutes)"
    silence_max_s = 3600
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.standstill[0].treat_missing_data == "breaching"
    error_message = "A function that never runs reports nothing: nothing must count as bad."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.schedule[0].policy).Statement[0].Resource == [aws_lambda_function.this.arn]
    error_message = "The schedule may start this function and no other."
  }
}

run "in_a_network_it_may_join_it" {
  variables {
    subnet_ids         = ["subnet-1"]
    security_group_ids = ["sg-1"]
  }

  assert {
    condition     = contains(flatten(jsondecode(output.policy).Statement[*].Action), "ec2:CreateNetworkInterface")
    error_message = "Without it the function cannot start in a subnet."
  }
}

run "wildcards_in_actions_are_refused" {
  command = plan

  variables {
    permissions = {
      Everything = { actions = ["s3:*"], resources = ["arn:aws:s3:::images/*"] }
    }
  }

  expect_failures = [var.permissions]
}

run "all_resources_are_refused" {
  command = plan

  variables {
    permissions = {
      Everywhere = { actions = ["s3:GetObject"], resources = ["*"] }
    }
  }

  expect_failures = [var.permissions]
}

run "a_package_that_was_not_built_is_refused" {
  command = plan

  variables {
    package = "../../mocks/packages/missing.zip"
  }

  expect_failures = [var.package]
}

run "a_time_limit_beyond_what_aws_gives_is_refused" {
  command = plan

  variables {
    timeout_s = 901
  }

  expect_failures = [var.timeout_s]
}
