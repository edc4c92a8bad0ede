output "dashboard_name" {
  description = "Name of the dashboard."
  value       = aws_cloudwatch_dashboard.this.dashboard_name
}

output "function_names" {
  description = "Function of lambdas/ -> its name in AWS."
  value       = { probe_retrieval = module.probe_retrieval.function_name }
}

output "function_role_names" {
  description = "Function of lambdas/ -> the role it runs under."
  value       = { probe_retrieval = module.probe_retrieval.role_name }
}

output "policies" {
  description = "Function of lambdas/ -> its one policy as JSON, for tests and reviews."
  value       = { probe_retrieval = module.probe_retrieval.policy }
}

output "alarm_names" {
  description = "Names of all alarms of this module."
  value = concat(
    module.probe_retrieval.alarm_names,
    [aws_cloudwatch_metric_alarm.breach.alarm_name],
    values(aws_cloudwatch_metric_alarm.tier_breach)[*].alarm_name,
  )
}
