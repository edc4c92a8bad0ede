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
  study_queue_url     = "https://sqs.eu-central-1.amazonaws.com/123456789012/demo-studies"
  study_queue_arn     = "arn:aws:sqs:eu-central-1:123456789012:demo-studies"
  records_bucket_name = "records"
  records_bucket_arn  = "arn:aws:s3:::records"
}

run "a_complete_inventory_starts_it" {
  assert {
    condition = jsondecode(aws_cloudwatch_event_rule.inventory.event_pattern).detail == {
      bucket = { name = ["records"] }
      object = { key = [{ wildcard = "inventory/*/manifest.checksum" }] }
    }
    error_message = "manifest.checksum is written last."
  }

  assert {
    condition     = one(aws_cloudwatch_event_target.inventory.input_transformer).input_template == "{\"inventory\": {\"bucket\": <bucket>, \"key\": <key>}}"
    error_message = "The machine is told which inventory."
  }
}

run "any_number_of_units_fits" {
  assert {
    condition = alltrue([
      for state in ["Split", "Reconcile"] :
      jsondecode(output.definition).States[state].ItemProcessor.ProcessorConfig == { ExecutionType = "STANDARD", Mode = "DISTRIBUTED" }
    ])
    error_message = "An express child ends after five minutes, an inline map after 40 units at once."
  }

  assert {
    condition = alltrue([
      for state in ["Split", "Reconcile"] :
      jsondecode(output.definition).States[state].ItemReader.ReaderConfig.InputType == "JSON"
      && jsondecode(output.definition).States[state].ResultWriter.Parameters.Bucket == "records"
      && jsondecode(output.definition).States[state].ResultPath == null
    ])
    error_message = "Units and results lie in the bucket: a state holds 256 KiB."
  }
}

run "no_unit_is_left_out_silently" {
  assert {
    condition = alltrue([
      for state in ["Split", "Reconcile"] : jsondecode(output.definition).States[state].ToleratedFailurePercentage == 0
    ])
    error_message = "A unit that failed leaves studies unlooked at."
  }

  assert {
    condition = alltrue([
      for state in ["Plan", "Split", "Reconcile", "Summarise"] :
      jsondecode(output.definition).States[state].Catch[0].Next == "Failed"
    ])
    error_message = "Every step ends in Failed when it cannot go on."
  }

  assert {
    condition = alltrue([
      for state in [
        jsondecode(output.definition).States.Plan, jsondecode(output.definition).States.Summarise,
        jsondecode(output.definition).States.Split.ItemProcessor.States.SplitUnit,
        jsondecode(output.definition).States.Reconcile.ItemProcessor.States.ReconcileUnit,
      ] : state.TimeoutSeconds > module.reconcile_inventory.timeout_s && length(state.Retry) == 3
    ])
    error_message = "Every call of the function is tried again, and waits longer than it runs."
  }
}

run "the_function_reads_manifests_and_no_image" {
  assert {
    condition = [
      for statement in jsondecode(output.policies.reconcile_inventory).Statement : statement.Resource
      if statement.Sid == "ReadManifests"
    ] == [["arn:aws:s3:::images/radiology/v1/*/manifest/*"]]
    error_message = "The inventory says what the images are; nobody has to read them."
  }
}

run "the_machine_runs_this_function_and_maps_of_its_own" {
  assert {
    condition = {
      for statement in jsondecode(aws_iam_role_policy.machine.policy).Statement : statement.Sid => statement.Resource
      if contains(["RunUnits", "StartMaps", "ReadUnits"], statement.Sid)
      } == {
      RunUnits  = [module.reconcile_inventory.arn]
      StartMaps = ["arn:aws:states:eu-central-1:123456789012:stateMachine:demo-reconciliation"]
      ReadUnits = ["arn:aws:s3:::records/results/*"]
    }
    error_message = "The machine's role names what it starts and reads."
  }
}

run "with_a_daily_inventory_silence_is_noticed" {
  variables {
    inventory_frequency = "Daily"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.standstill[0].treat_missing_data == "breaching"
    error_message = "A machine that never runs reports nothing."
  }
}

run "no_limit_of_units_at_once_is_refused" {
  command = plan

  variables {
    concurrency_max = 0
  }

  expect_failures = [var.concurrency_max]
}

run "results_anywhere_in_the_bucket_are_refused" {
  command = plan

  variables {
    results_prefix = ""
  }

  expect_failures = [var.results_prefix]
}
