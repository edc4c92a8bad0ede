output "table_name" {
  description = "Table of verdicts."
  value       = aws_dynamodb_table.verdicts.name
}

output "table_arn" {
  description = "ARN of the table of verdicts."
  value       = aws_dynamodb_table.verdicts.arn
}

output "verdict_queue_url" {
  description = "Queue the agent fetches verdicts from: `verdict_queue` of the destination in cloudmig.toml."
  value       = aws_sqs_queue.this["verdicts"].url
}

output "verdict_queue_arn" {
  description = "ARN of the queue of verdicts, for the agent's policy."
  value       = aws_sqs_queue.this["verdicts"].arn
}

output "study_queue_url" {
  description = "Queue of studies to verify (again)."
  value       = aws_sqs_queue.this["studies"].url
}

output "study_queue_arn" {
  description = "ARN of the queue of studies to verify."
  value       = aws_sqs_queue.this["studies"].arn
}

output "object_queue_url" {
  description = "Queue of the bucket's events."
  value       = aws_sqs_queue.this["objects"].url
}

output "object_queue_arn" {
  description = "ARN of the queue of the bucket's events."
  value       = aws_sqs_queue.this["objects"].arn
}

output "dead_letter_queue_arns" {
  description = "Queues of what was given up: queue -> ARN of its dead letters."
  value       = { for key, queue in aws_sqs_queue.dead : key => queue.arn }
}

output "function_names" {
  description = "Function of lambdas/ -> its name in AWS."
  value       = { for key, each in local.functions : key => each.function_name }
}

output "function_role_names" {
  description = "Function of lambdas/ -> the role it runs under."
  value       = { for key, each in local.functions : key => each.role_name }
}

output "policies" {
  description = "Function of lambdas/ -> its one policy as JSON, for tests and reviews."
  value       = { for key, each in local.functions : key => each.policy }
}

output "alarm_names" {
  description = "Names of all alarms of this module."
  value = concat(
    flatten([for each in values(local.functions) : each.alarm_names]),
    values(aws_cloudwatch_metric_alarm.dead_letters)[*].alarm_name,
    values(aws_cloudwatch_metric_alarm.waiting)[*].alarm_name,
    values(aws_cloudwatch_metric_alarm.differing)[*].alarm_name,
    [
      aws_cloudwatch_metric_alarm.unread.alarm_name,
      aws_cloudwatch_metric_alarm.undelivered.alarm_name,
      aws_cloudwatch_metric_alarm.orphans.alarm_name,
    ],
  )
}
