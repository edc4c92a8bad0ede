# What starts a function that nothing else starts.

resource "aws_iam_role" "schedule" {
  count = var.schedule == null ? 0 : 1

  name        = "${local.full_name}-schedule"
  description = "Lets the schedule start ${local.full_name}, and nothing else."

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "scheduler.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "schedule" {
  count = var.schedule == null ? 0 : 1

  name = "${local.full_name}-schedule"
  role = aws_iam_role.schedule[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "StartFunction"
      Effect   = "Allow"
      Action   = ["lambda:InvokeFunction"]
      Resource = [aws_lambda_function.this.arn]
    }]
  })
}

resource "aws_scheduler_schedule" "this" {
  #checkov:skip=CKV_AWS_297:The schedule carries no payload that a key of our own would protect.
  count = var.schedule == null ? 0 : 1

  name                = local.full_name
  description         = "Starts ${local.full_name}."
  schedule_expression = var.schedule

  flexible_time_window {
    mode = "OFF" # Alarms count runs by period: a run that wanders would leave one empty.
  }

  target {
    arn      = aws_lambda_function.this.arn
    role_arn = aws_iam_role.schedule[0].arn

    retry_policy {
      maximum_event_age_in_seconds = 900
      maximum_retry_attempts       = 3
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "standstill" {
  count = var.schedule == null ? 0 : 1

  alarm_name          = "${var.name}: A schedule stands still (${var.function})"
  alarm_description   = "${local.full_name} has not run for ${var.silence_max_s} s. docs/runbook.md, \"A schedule stands still\"."
  namespace           = "AWS/Lambda"
  metric_name         = "Invocations"
  dimensions          = { FunctionName = aws_lambda_function.this.function_name }
  statistic           = "Sum"
  period              = var.silence_max_s / 2
  evaluation_periods  = 2 # A run that comes a little late leaves one period empty, not two.
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching" # A function that never runs reports nothing at all.
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}
