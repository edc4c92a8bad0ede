output "state_machine_arn" {
  description = "ARN of the state machine. By hand it is started with {\"inventory\": {\"bucket\": ..., \"key\": \".../manifest.json\"}}."
  value       = aws_sfn_state_machine.this.arn
}

output "definition" {
  description = "The state machine's definition as JSON, for tests and reviews."
  value       = local.definition
}

output "function_names" {
  description = "Function of lambdas/ -> its name in AWS."
  value       = { reconcile_inventory = module.reconcile_inventory.function_name }
}

output "function_role_names" {
  description = "Function of lambdas/ -> the role it runs under."
  value       = { reconcile_inventory = module.reconcile_inventory.role_name }
}

output "policies" {
  description = "Function of lambdas/ -> its one policy as JSON, for tests and reviews."
  value       = { reconcile_inventory = module.reconcile_inventory.policy }
}

output "alarm_names" {
  description = "Names of all alarms of this module."
  value = concat(
    module.reconcile_inventory.alarm_names,
    values(aws_cloudwatch_metric_alarm.failed)[*].alarm_name,
    aws_cloudwatch_metric_alarm.standstill[*].alarm_name,
    [
      aws_cloudwatch_metric_alarm.differs.alarm_name,
      aws_cloudwatch_metric_alarm.undelivered.alarm_name,
    ],
  )
}
