# Every alarm is named "<name>: <heading in docs/runbook.md>", with what it is about in brackets.

resource "aws_cloudwatch_metric_alarm" "late" {
  alarm_name          = "${var.name}: A restore takes longer than promised"
  alarm_description   = "An object came out of its archive class later than its tier promises. docs/runbook.md, \"A restore takes longer than promised\"."
  namespace           = "cloudmig"
  metric_name         = "RestoresLate"
  dimensions          = { service = "watch_restore" }
  statistic           = "Sum"
  period              = 3600
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching" # Most hours nothing is restored.
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  alarm_name          = "${var.name}: Messages were given up (restores)"
  alarm_description   = "${aws_sqs_queue.dead.name} is not empty. docs/runbook.md, \"Messages were given up\"."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead.name }
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
  alarm_name          = "${var.name}: Verification has fallen behind (restores)"
  alarm_description   = "A message has waited in ${aws_sqs_queue.restores.name} for more than ${var.message_age_max_s} s. docs/runbook.md, \"Verification has fallen behind\"."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.restores.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.message_age_max_s
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "undelivered" {
  alarm_name          = "${var.name}: Events do not reach the queue (restores)"
  alarm_description   = "EventBridge could not deliver events of ${var.bucket_name}. docs/runbook.md, \"Events do not reach the queue\"."
  namespace           = "AWS/Events"
  metric_name         = "FailedInvocations"
  dimensions          = { RuleName = aws_cloudwatch_event_rule.restores.name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}
