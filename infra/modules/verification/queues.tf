# Queues: objects and studies to look at, verdicts for the agent, and what was given up.

locals {
  queues = {
    objects = {
      visibility_s = var.object_visibility_s
      retention_s  = 1209600
      attempts_max = var.attempts_max
    }
    studies = {
      visibility_s = var.study_visibility_s
      retention_s  = 1209600
      attempts_max = var.attempts_max
    }
    # Read by the agent, which dials out. It deletes a verdict when its catalog holds it.
    verdicts = {
      visibility_s = 300
      retention_s  = 1209600
      attempts_max = 20 # A verdict of a newer version waits for a newer agent; one crash must not lose it.
    }
  }
}

resource "aws_sqs_queue" "this" {
  for_each = local.queues

  name                       = "${var.name}-${each.key}"
  visibility_timeout_seconds = each.value.visibility_s
  message_retention_seconds  = each.value.retention_s
  receive_wait_time_seconds  = 20
  kms_master_key_id          = var.kms_key_arn

  kms_data_key_reuse_period_seconds = 3600

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead[each.key].arn
    maxReceiveCount     = each.value.attempts_max
  })

  lifecycle {
    precondition {
      condition     = each.value.visibility_s >= 6 * lookup(local.timeouts_s, each.key, 0)
      error_message = "The ${each.key} queue would deliver a message again while it is still worked on."
    }
  }
}

resource "aws_sqs_queue" "dead" {
  for_each = local.queues

  name                              = "${var.name}-${each.key}-dead"
  message_retention_seconds         = 1209600
  kms_master_key_id                 = var.kms_key_arn
  kms_data_key_reuse_period_seconds = 3600
}

locals {
  events_may_send = {
    Sid       = "EventsOfTheBucket"
    Effect    = "Allow"
    Principal = { Service = "events.amazonaws.com" }
    Action    = "sqs:SendMessage"
    Condition = { ArnEquals = { "aws:SourceArn" = aws_cloudwatch_event_rule.objects.arn } }
  }

  # An event that EventBridge cannot deliver must not be lost either.
  senders = { objects = [local.events_may_send], objects-dead = [local.events_may_send] }

  every_queue = merge(
    { for key, queue in aws_sqs_queue.this : key => queue },
    { for key, queue in aws_sqs_queue.dead : "${key}-dead" => queue },
  )
}

resource "aws_sqs_queue_policy" "this" {
  for_each = toset(concat(keys(local.queues), [for key in keys(local.queues) : "${key}-dead"]))

  queue_url = local.every_queue[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      for statement in concat(lookup(local.senders, each.key, []), [{
        Sid       = "OnlyEncrypted"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      }]) : merge(statement, { Resource = local.every_queue[each.key].arn })
    ]
  })
}
