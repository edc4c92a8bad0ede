# One row per measure with a line for each tier and percentile, and the alarms above them.

data "aws_region" "current" {}

locals {
  period_s = 60 * var.interval_min

  measures = {
    FirstByte     = "Seconds until the first byte"
    FirstInstance = "Seconds until the first image"
    WholeStudy    = "Seconds until the whole study"
  }

  alarm_arns = concat(
    [aws_cloudwatch_metric_alarm.breach.arn], values(aws_cloudwatch_metric_alarm.tier_breach)[*].arn,
  )
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = "${var.name}-retrieval"

  dashboard_body = jsonencode({
    widgets = concat(
      [{
        type       = "alarm"
        width      = 24
        height     = 3
        properties = { title = "Promises", alarms = local.alarm_arns }
      }],
      [
        for metric, title in local.measures : {
          type   = "metric"
          width  = 24
          height = 6
          properties = {
            title  = title
            region = data.aws_region.current.name
            period = local.period_s
            view   = "timeSeries"
            yAxis  = { left = { min = 0 } }
            # A list of lists for each tier, joined: flatten would dissolve the lines too.
            metrics = concat([
              for tier in var.tiers : [
                for statistic in ["p50", "p95", "p99"] : [
                  "cloudmig", metric, "Tier", tier, { stat = statistic, label = "${tier} ${statistic}" },
                ]
              ]
            ]...)
          }
        }
      ],
      [{
        type   = "metric"
        width  = 24
        height = 6
        properties = {
          title   = "Error budget burnt by a probe (1 = all of it)"
          region  = data.aws_region.current.name
          period  = local.period_s
          view    = "timeSeries"
          yAxis   = { left = { min = 0 } }
          metrics = [for tier in var.tiers : ["cloudmig", "ErrorBudgetBurnt", "Tier", tier, { stat = "Maximum", label = tier }]]
        }
      }],
    )
  })
}
