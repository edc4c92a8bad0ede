# Every alarm is named "<name>: <heading in docs/runbook.md>", with what it is about in brackets.

resource "aws_cloudwatch_metric_alarm" "failed" {
  for_each = {
    failed      = "ExecutionsFailed"
    "timed out" = "ExecutionsTimedOut"
    aborted     = "ExecutionsAborted"
  }

  alarm_name          = "${var.name}: A reconciliation did not finish (${each.key})"
  alarm_description   = "${local.machine_name} ended before it had compared everything. docs/runbook.md, \"A reconciliation did not finish\"."
  namespace           = "AWS/States"
  metric_name         = each.value
  dimensions          = { StateMachineArn = aws_sfn_state_machine.this.arn }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching" # It runs once a day or week.
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "differs" {
  alarm_name          = "${var.name}: The bucket differs from its manifests"
  alarm_description   = "A reconciliation found what is missing, extra, changed or wrongly kept. docs/runbook.md, \"The bucket differs from its manifests\"."
  namespace           = "cloudmig"
  metric_name         = "FindingsFound"
  dimensions          = { service = "reconcile_inventory" }
  statistic           = "Sum"
  period              = 3600
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  # The next run is a day or a week away, and until then nothing new is known.
  treat_missing_data = "ignore"
  alarm_actions      = var.alarm_topic_arns
  ok_actions         = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "standstill" {
  count = var.inventory_frequency == "Daily" ? 1 : 0

  alarm_name          = "${var.name}: A schedule stands still (reconciliation)"
  alarm_description   = "No reconciliation succeeded for three days. docs/runbook.md, \"A schedule stands still\"."
  namespace           = "AWS/States"
  metric_name         = "ExecutionsSucceeded"
  dimensions          = { StateMachineArn = aws_sfn_state_machine.this.arn }
  statistic           = "Sum"
  period              = 86400
  evaluation_periods  = 3
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching" # A machine that never runs reports nothing at all.
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "undelivered" {
  alarm_name          = "${var.name}: Events do not reach the queue (inventory)"
  alarm_description   = "EventBridge could not start ${local.machine_name}. docs/runbook.md, \"Events do not reach the queue\"."
  namespace           = "AWS/Events"
  metric_name         = "FailedInvocations"
  dimensions          = { RuleName = aws_cloudwatch_event_rule.inventory.name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}
