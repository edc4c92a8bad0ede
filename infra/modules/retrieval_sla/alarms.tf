# A probe says 1 when a tier burnt more than its whole error budget, and 0 when none did: the next
# good probe ends the alarm. Between two probes nothing new is known, so missing data changes
# nothing; that probes come at all is watched by "A schedule stands still".

resource "aws_cloudwatch_metric_alarm" "breach" {
  alarm_name          = "${var.name}: Reading is slower than promised"
  alarm_description   = "A probe found a tier beyond its error budget. docs/runbook.md, \"Reading is slower than promised\"."
  namespace           = "cloudmig"
  metric_name         = "RetrievalBreach"
  statistic           = "Maximum"
  period              = 60 * var.interval_min
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "ignore"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "tier_breach" {
  for_each = toset(var.tiers)

  alarm_name          = "${var.name}: Reading is slower than promised (${each.key})"
  alarm_description   = "A probe found ${each.key} beyond its error budget. docs/runbook.md, \"Reading is slower than promised\"."
  namespace           = "cloudmig"
  metric_name         = "RetrievalBreach"
  dimensions          = { Tier = each.key }
  statistic           = "Maximum"
  period              = 60 * var.interval_min
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "ignore"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}
