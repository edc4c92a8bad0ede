output "arn" {
  description = "ARN of the function."
  value       = aws_lambda_function.this.arn
}

output "function_name" {
  description = "Name of the function."
  value       = aws_lambda_function.this.function_name
}

output "role_name" {
  description = "Name of the role the function runs under."
  value       = aws_iam_role.this.name
}

output "policy" {
  description = "The one policy of that role, as JSON: for tests and reviews."
  value       = local.policy
}

output "timeout_s" {
  description = "Seconds after which AWS ends the function."
  value       = var.timeout_s
}

output "alarm_names" {
  description = "Names of the alarms every function has."
  value = concat(
    [
      aws_cloudwatch_metric_alarm.fails.alarm_name,
      aws_cloudwatch_metric_alarm.throttled.alarm_name,
      aws_cloudwatch_metric_alarm.slow.alarm_name,
    ],
    aws_cloudwatch_metric_alarm.standstill[*].alarm_name,
  )
}

output "environment" {
  description = "Environment variables of the function, those of Powertools excepted: for tests and reviews."
  value       = var.environment
}
