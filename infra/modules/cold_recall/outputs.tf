output "restore_queue_arn" {
  description = "ARN of the queue of restore events."
  value       = aws_sqs_queue.restores.arn
}

output "restore_queue_url" {
  description = "Queue of restore events."
  value       = aws_sqs_queue.restores.url
}

output "dead_letter_queue_arns" {
  description = "Queues of what was given up: queue -> ARN of its dead letters."
  value       = { restores = aws_sqs_queue.dead.arn }
}

output "function_names" {
  description = "Function of lambdas/ -> its name in AWS."
  value       = { watch_restore = module.watch_restore.function_name }
}

output "function_role_names" {
  description = "Function of lambdas/ -> the role it runs under."
  value       = { watch_restore = module.watch_restore.role_name }
}

output "policies" {
  description = "Function of lambdas/ -> its one policy as JSON, for tests and reviews."
  value       = { watch_restore = module.watch_restore.policy }
}

output "alarm_names" {
  description = "Names of all alarms of this module."
  value = concat(module.watch_restore.alarm_names, [
    aws_cloudwatch_metric_alarm.late.alarm_name,
    aws_cloudwatch_metric_alarm.dead_letters.alarm_name,
    aws_cloudwatch_metric_alarm.waiting.alarm_name,
    aws_cloudwatch_metric_alarm.undelivered.alarm_name,
  ])
}
