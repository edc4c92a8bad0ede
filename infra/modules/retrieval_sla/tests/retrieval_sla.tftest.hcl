mock_provider "aws" {
  source = "../../mocks"
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
  samples_bucket_name = "records"
  samples_bucket_arn  = "arn:aws:s3:::records"
  alarm_topic_arns    = ["arn:aws:sns:eu-central-1:123456789012:alarms"]
}

run "the_next_good_probe_ends_the_alarm" {
  assert {
    condition = alltrue([
      for alarm in concat([aws_cloudwatch_metric_alarm.breach], values(aws_cloudwatch_metric_alarm.tier_breach)) :
      alarm.period == 900 && alarm.evaluation_periods == 1 && alarm.ok_actions == toset(var.alarm_topic_arns)
    ])
    error_message = "One period is one probe, and the end is told."
  }

  assert {
    condition = alltrue([
      for alarm in concat([aws_cloudwatch_metric_alarm.breach], values(aws_cloudwatch_metric_alarm.tier_breach)) :
      alarm.treat_missing_data == "ignore"
    ])
    error_message = "Between two probes nothing is known: the alarm neither ends nor begins."
  }

  assert {
    condition     = { for tier, alarm in aws_cloudwatch_metric_alarm.tier_breach : tier => alarm.dimensions.Tier } == { GLACIER_IR = "GLACIER_IR", STANDARD = "STANDARD", STANDARD_IA = "STANDARD_IA" }
    error_message = "Every tier has an alarm that listens to its dimension."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.breach.dimensions == null
    error_message = "The alarm of all tiers listens to the metric without a dimension."
  }
}

run "probes_that_stop_are_noticed_within_four_intervals" {
  assert {
    condition     = contains(output.alarm_names, "demo: A schedule stands still (probe_retrieval)")
    error_message = "A silent probe is no good news."
  }
}

run "it_reads_images_and_writes_samples_only" {
  assert {
    condition = {
      for statement in jsondecode(output.policies.probe_retrieval).Statement : statement.Sid => statement.Resource
      if startswith(statement.Action[0], "s3:")
      } == {
      KeepSamples = ["arn:aws:s3:::records/samples/*"]
      ReadImages  = ["arn:aws:s3:::images/radiology/v1/*"]
    }
    error_message = "It may read below the prefix and write below its own."
  }
}

run "only_what_was_said_reaches_the_function" {
  variables {
    service_levels = {
      objective = 0.99
      samples   = 200
      tiers     = { STANDARD = { first_byte_s = 0.2 } }
    }
  }

  assert {
    condition     = module.probe_retrieval.environment.SERVICE_LEVELS == "{\"objective\":0.99,\"samples\":200,\"tiers\":{\"STANDARD\":{\"first_byte_s\":0.2}}}"
    error_message = "A null would be no number for the function."
  }
}

run "the_dashboard_draws_every_tier" {
  assert {
    condition = alltrue([
      for widget in slice(jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets, 1, 4) :
      length(widget.properties.metrics) == 9 && alltrue([for line in widget.properties.metrics : length(line) == 5])
    ])
    error_message = "Three percentiles of three tiers, each a line of its own."
  }
}

run "an_objective_that_the_samples_cannot_measure_is_refused" {
  command = plan

  variables {
    service_levels = { objective = 0.99, samples = 60 }
  }

  expect_failures = [var.service_levels]
}

run "a_setting_of_a_tier_that_does_not_exist_is_refused" {
  command = plan

  variables {
    service_levels = { tiers = { STANDARD = { first_bite_s = 1 } } }
  }

  expect_failures = [var.service_levels]
}

run "a_promise_that_nobody_watches_is_refused" {
  command = plan

  variables {
    service_levels = { tiers = { DEEP_ARCHIVE = { restore_s = 43200 } } }
  }

  expect_failures = [var.tiers]
}

run "images_over_plain_http_are_refused" {
  command = plan

  variables {
    dicomweb_url = "http://dicomweb.example/"
  }

  expect_failures = [var.dicomweb_url]
}
