# Every alarm is named "<name>: <heading in docs/runbook.md>", with what it is about in brackets.

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  for_each = local.queues

  alarm_name          = "${var.name}: Messages were given up (${each.key})"
  alarm_description   = "${aws_sqs_queue.dead[each.key].name} is not empty. docs/runbook.md, \"Messages were given up\"."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead[each.key].name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching" # An idle queue reports nothing.
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "waiting" {
  for_each = {
    objects = var.message_age_max_s
    studies = var.message_age_max_s
  }

  alarm_name          = "${var.name}: Verification has fallen behind (${each.key})"
  alarm_description   = "A message has waited in ${aws_sqs_queue.this[each.key].name} for more than ${each.value} s. docs/runbook.md, \"Verification has fallen behind\"."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.this[each.key].name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "unread" {
  alarm_name          = "${var.name}: Nobody fetches the verdicts"
  alarm_description   = "A verdict has waited for the agent for more than ${var.unread_verdict_age_max_s} s. docs/runbook.md, \"Nobody fetches the verdicts\"."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.this["verdicts"].name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.unread_verdict_age_max_s
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "undelivered" {
  alarm_name          = "${var.name}: Events do not reach the queue (objects)"
  alarm_description   = "EventBridge could not deliver events of ${var.bucket_name}. docs/runbook.md, \"Events do not reach the queue\"."
  namespace           = "AWS/Events"
  metric_name         = "FailedInvocations"
  dimensions          = { RuleName = aws_cloudwatch_event_rule.objects.name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "differing" {
  for_each = {
    verify_object = "ObjectsDiffering"
    verify_study  = "StudiesDiffering"
  }

  alarm_name          = "${var.name}: A copy differs (${each.key})"
  alarm_description   = "${each.key} found what is not as it was sent. docs/runbook.md, \"A copy differs\"."
  namespace           = "cloudmig"
  metric_name         = each.value
  dimensions          = { service = each.key }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching" # Nothing arrived, so nothing was looked at.
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "orphans" {
  alarm_name          = "${var.name}: Objects that no manifest names"
  alarm_description   = "find_orphans found objects older than ${var.orphan_after_h} h in no manifest. docs/runbook.md, \"Objects that no manifest names\"."
  namespace           = "cloudmig"
  metric_name         = "OrphansFound"
  dimensions          = { service = "find_orphans" }
  statistic           = "Sum"
  period              = 3600
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching" # "A schedule stands still" speaks when it does not run.
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}
