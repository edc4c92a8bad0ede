# Every alarm is named "<name>: <heading in docs/runbook.md>", with what it is about in brackets.

resource "aws_cloudwatch_metric_alarm" "fails" {
  alarm_name          = "${var.name}: A function fails (${var.function})"
  alarm_description   = "${local.full_name} ended with an error. docs/runbook.md, \"A function fails\"."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = aws_lambda_function.this.function_name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching" # It did not run: the queues' alarms speak where it should have.
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "throttled" {
  alarm_name          = "${var.name}: A function is throttled (${var.function})"
  alarm_description   = "${local.full_name} was refused a place for 15 minutes. docs/runbook.md, \"A function is throttled\"."
  namespace           = "AWS/Lambda"
  metric_name         = "Throttles"
  dimensions          = { FunctionName = aws_lambda_function.this.function_name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 3 # One burst is what queues are for.
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "slow" {
  alarm_name          = "${var.name}: A function is near its time limit (${var.function})"
  alarm_description   = "${local.full_name} took more than 80 % of its ${var.timeout_s} s. docs/runbook.md, \"A function is near its time limit\"."
  namespace           = "AWS/Lambda"
  metric_name         = "Duration"
  dimensions          = { FunctionName = aws_lambda_function.this.function_name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.timeout_s * 800 # Milliseconds.
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}
