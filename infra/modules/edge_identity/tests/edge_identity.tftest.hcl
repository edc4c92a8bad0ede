mock_provider "aws" {
  source = "../../mocks"
}

variables {
  name = "demo"

  stores = {
    archive = {
      bucket_arn        = "arn:aws:s3:::images"
      prefix            = "radiology/"
      kms_key_arn       = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
      verdict_queue_arn = "arn:aws:sqs:eu-central-1:123456789012:demo-verdicts"
    }
  }
}

run "the_agent_puts_and_reads_below_its_prefix" {
  assert {
    condition = alltrue([
      for each in jsondecode(aws_iam_role_policy.agent.policy).Statement : alltrue([
        for action in flatten([each.Action]) :
        action == "sqs:DeleteMessage" || !can(regex("Delete|Policy|Bypass|PutBucket|PutObjectRetention|\\*", action))
      ])
    ])
    error_message = "The agent deletes no object and changes no policy."
  }

  assert {
    condition = alltrue([
      for each in jsondecode(aws_iam_role_policy.agent.policy).Statement : alltrue([
        for resource in flatten([each.Resource]) : resource == "arn:aws:s3:::images/radiology/v1/*"
      ]) if contains(flatten([each.Action]), "s3:PutObject")
    ])
    error_message = "Objects are put below the prefix and nowhere else."
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.agent.policy, "RestoreObject")
    error_message = "A restore costs money: only who asks for the right has it."
  }

  assert {
    condition     = jsondecode(aws_iam_user_policy.agent[0].policy).Statement[0].Action == "sts:AssumeRole"
    error_message = "An access key is good for the role alone."
  }

  assert {
    condition     = output.trust_anchor_arn == null && output.user_name == "demo-agent"
    error_message = "With access keys there is a user and no trust anchor."
  }
}

run "a_certificate_stands_in_for_keys" {
  variables {
    roles_anywhere = {
      ca_certificate_pem  = "-----BEGIN CERTIFICATE-----"
      subject_common_name = "edge-1.example.org"
    }
  }

  assert {
    condition     = length(aws_iam_user.agent) == 0 && length(aws_iam_user_policy.agent) == 0
    error_message = "With certificates there is no user whose key could leak."
  }

  assert {
    condition = (
      jsondecode(aws_iam_role.agent.assume_role_policy).Statement[0].Principal.Service == "rolesanywhere.amazonaws.com"
      && jsondecode(aws_iam_role.agent.assume_role_policy).Statement[0].Condition.StringEquals["aws:PrincipalTag/x509Subject/CN"] == "edge-1.example.org"
      && jsondecode(aws_iam_role.agent.assume_role_policy).Statement[0].Condition.ArnEquals["aws:SourceArn"] == aws_rolesanywhere_trust_anchor.site[0].arn
    )
    error_message = "Only the agent's certificate, of our authority, becomes the role."
  }
}

run "an_old_key_is_told" {
  variables {
    access_key_age_days_max = 90
    alarm_topic_arns        = ["arn:aws:sns:eu-central-1:123456789012:demo-alarms"]
  }

  assert {
    condition = (
      jsondecode(aws_config_config_rule.key_age[0].input_parameters).maxAccessKeyAge == "90"
      && aws_cloudwatch_event_rule.key_age[0].description == "The agent's access key is old"
      && jsondecode(aws_cloudwatch_event_rule.key_age[0].event_pattern).detail.resourceId == [aws_iam_user.agent[0].unique_id]
      && length(aws_cloudwatch_event_target.key_age) == 1
    )
    error_message = "When our user's key is old, the topic hears of it."
  }
}

run "several_stores_are_several_grants" {
  variables {
    stores = {
      first  = { bucket_arn = "arn:aws:s3:::one", kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/one" }
      second = { bucket_arn = "arn:aws:s3:::two", kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/two" }
    }
    may_restore = true
  }

  assert {
    condition = toset(flatten([
      for each in jsondecode(aws_iam_role_policy.agent.policy).Statement : each.Resource
      if contains(flatten([each.Action]), "s3:RestoreObject")
    ])) == toset(["arn:aws:s3:::one/v1/*", "arn:aws:s3:::two/v1/*"])
    error_message = "Each store is named, and nothing else."
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.agent.policy, "sqs:Rec")
    error_message = "Without a queue there is no right to one."
  }
}
