# Access keys. The user may take on the role and nothing else; Terraform makes no key, because its
# state would hold the secret. README.md says how two keys take turns.
resource "aws_iam_user" "agent" {
  #checkov:skip=CKV_AWS_273:A machine cannot sign in by SSO; roles_anywhere replaces the user by a certificate, and without it the key opens one role.
  count = local.with_keys ? 1 : 0

  name = "${var.name}-agent"
}

resource "aws_iam_user_policy" "agent" {
  #checkov:skip=CKV_AWS_40:One user with one action; a group with one member would hide what it may do.
  count = local.with_keys ? 1 : 0

  name = "take-on-the-role"
  user = aws_iam_user.agent[0].name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "sts:AssumeRole"
      Resource = aws_iam_role.agent.arn
    }]
  })
}

locals {
  # The user's ARN is known after it was made; the role comes after it.
  trust_user = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { AWS = one(aws_iam_user.agent[*].arn) }
    }]
  })

  watched    = local.with_keys && var.access_key_age_days_max != null
  alarm_name = "${var.name}: The agent's access key is old"
}

resource "aws_config_config_rule" "key_age" {
  count = local.watched ? 1 : 0

  name             = "${var.name}-access-key-age"
  description      = "Access keys are changed every ${var.access_key_age_days_max} days"
  input_parameters = jsonencode({ maxAccessKeyAge = tostring(var.access_key_age_days_max) })

  source {
    owner             = "AWS"
    source_identifier = "ACCESS_KEYS_ROTATED"
  }
}

# No alarm of CloudWatch, which knows no key's age, but named like one. The Config rule judges every user; this passes on
# what it says about ours.
resource "aws_cloudwatch_event_rule" "key_age" {
  count = local.watched ? 1 : 0

  name        = "${var.name}-access-key-is-old"
  description = "The agent's access key is old"

  event_pattern = jsonencode({
    source      = ["aws.config"]
    detail-type = ["Config Rules Compliance Change"]
    detail = {
      messageType         = ["ComplianceChangeNotification"]
      configRuleName      = [aws_config_config_rule.key_age[0].name]
      resourceId          = [aws_iam_user.agent[0].unique_id]
      newEvaluationResult = { complianceType = ["NON_COMPLIANT"] }
    }
  })
}

resource "aws_cloudwatch_event_target" "key_age" {
  for_each = local.watched ? { for number, arn in var.alarm_topic_arns : tostring(number) => arn } : {}

  rule = aws_cloudwatch_event_rule.key_age[0].name
  arn  = each.value

  input = jsonencode(local.alarm_name)
}
