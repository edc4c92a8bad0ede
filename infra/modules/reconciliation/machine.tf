# plan -> split every data file -> reconcile every partition -> summarise.
#
# The units lie in files in the records bucket, so that neither their number nor their results are
# bounded by the 256 KiB of a state. A unit repeated writes the same bytes again, so anything may be
# tried again.

locals {
  # What passes by itself. Whatever else fails is tried twice more: a unit costs little.
  retry = [
    {
      ErrorEquals = [
        "Lambda.ServiceException", "Lambda.AWSLambdaException", "Lambda.SdkClientException",
        "Lambda.TooManyRequestsException", "Lambda.ClientExecutionTimeoutException",
      ]
      IntervalSeconds = 5
      MaxAttempts     = 8
      BackoffRate     = 2
      MaxDelaySeconds = 300
      JitterStrategy  = "FULL"
    },
    # An inventory that cannot be used will not be one next time either.
    { ErrorEquals = ["InventoryRefused"], MaxAttempts = 0 },
    {
      ErrorEquals     = ["States.TaskFailed", "States.Timeout"]
      IntervalSeconds = 30
      MaxAttempts     = 2
      BackoffRate     = 4
    },
  ]

  invoke = {
    Type           = "Task"
    Resource       = "arn:${data.aws_partition.current.partition}:states:::lambda:invoke"
    OutputPath     = "$.Payload"
    TimeoutSeconds = module.reconcile_inventory.timeout_s + 30
    Retry          = local.retry
  }

  refused = [{ ErrorEquals = ["States.ALL"], ResultPath = "$.error", Next = "Failed" }]

  # Both maps are the same but for their step and where their units are listed.
  maps = {
    for state, each in {
      Split     = { step = "split", units = "split_units", next = "Reconcile" }
      Reconcile = { step = "reconcile", units = "join_units", next = "Summarise" }
      } : state => {
      Type           = "Map"
      Label          = state
      MaxConcurrency = var.concurrency_max
      # One unit that stays unread would leave studies unlooked at: then the run has failed.
      ToleratedFailurePercentage = 0

      ItemReader = {
        Resource     = "arn:${data.aws_partition.current.partition}:states:::s3:getObject"
        ReaderConfig = { InputType = "JSON" }
        Parameters = {
          "Bucket.$" = "$.${each.units}.bucket"
          "Key.$"    = "$.${each.units}.key"
        }
      }

      ItemProcessor = {
        ProcessorConfig = { Mode = "DISTRIBUTED", ExecutionType = "STANDARD" }
        StartAt         = "${state}Unit"
        States = {
          "${state}Unit" = merge(local.invoke, {
            Parameters = {
              FunctionName = module.reconcile_inventory.arn
              Payload      = { step = each.step, "plan.$" = "$.plan", "unit.$" = "$.unit" }
            }
            End = true
          })
        }
      }

      # Without it the results of all units would have to fit into the state.
      ResultWriter = {
        Resource   = "arn:${data.aws_partition.current.partition}:states:::s3:putObject"
        Parameters = { Bucket = var.records_bucket_name, Prefix = "${var.results_prefix}map-runs" }
      }

      ResultPath = null
      Catch      = local.refused
      Next       = each.next
    }
  }

  definition = jsonencode({
    Comment        = "Compares an inventory of ${var.bucket_name} with the manifests in it."
    StartAt        = "Plan"
    TimeoutSeconds = 86400
    States = merge(local.maps, {
      Plan = merge(local.invoke, {
        Parameters = {
          FunctionName = module.reconcile_inventory.arn
          Payload      = { step = "plan", "inventory.$" = "$.inventory" }
        }
        Catch = local.refused
        Next  = "Split"
      })

      Summarise = merge(local.invoke, {
        Parameters = {
          FunctionName = module.reconcile_inventory.arn
          Payload      = { step = "summarise", "plan.$" = "$.plan" }
        }
        Catch = local.refused
        End   = true
      })

      Failed = { Type = "Fail", ErrorPath = "$.error.Error", CausePath = "$.error.Cause" }
    })
  })
}

resource "aws_cloudwatch_log_group" "machine" {
  name              = "/aws/vendedlogs/states/${local.machine_name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_sfn_state_machine" "this" {
  #checkov:skip=CKV_AWS_285:Errors are logged. What goes in and out of a million units is in the results.
  #checkov:skip=CKV_AWS_284:No tracer runs in the function; the executions' history says which unit took how long.
  name       = local.machine_name
  role_arn   = aws_iam_role.machine.arn
  definition = local.definition

  logging_configuration {
    log_destination        = "${aws_cloudwatch_log_group.machine.arn}:*"
    level                  = "ERROR"
    include_execution_data = false
  }

  depends_on = [aws_iam_role_policy.machine]
}

resource "aws_iam_role" "machine" {
  name        = local.machine_name
  description = "What ${local.machine_name} may do, and nothing else."

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "states.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "machine" {
  name = local.machine_name
  role = aws_iam_role.machine.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "RunUnits"
        Effect   = "Allow"
        Action   = ["lambda:InvokeFunction"]
        Resource = [module.reconcile_inventory.arn]
      },
      # A distributed map runs its items as executions of the machine's own.
      {
        Sid      = "StartMaps"
        Effect   = "Allow"
        Action   = ["states:StartExecution"]
        Resource = [local.machine_arn]
      },
      {
        Sid      = "WatchMaps"
        Effect   = "Allow"
        Action   = ["states:DescribeExecution", "states:StopExecution"]
        Resource = ["${local.executions_arn}/*", "${local.executions_arn}:*"]
      },
      {
        Sid      = "ReadUnits"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = [local.results_arn]
      },
      {
        Sid      = "WriteMapRuns"
        Effect   = "Allow"
        Action   = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"]
        Resource = ["${var.records_bucket_arn}/${var.results_prefix}map-runs/*"]
      },
      {
        Sid      = "UseKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = [var.kms_key_arn]
      },
      # AWS knows no resource for these.
      {
        Sid    = "DeliverLog"
        Effect = "Allow"
        Action = [
          "logs:CreateLogDelivery", "logs:DeleteLogDelivery", "logs:DescribeLogGroups",
          "logs:DescribeResourcePolicies", "logs:GetLogDelivery", "logs:ListLogDeliveries",
          "logs:PutResourcePolicy", "logs:UpdateLogDelivery",
        ]
        Resource = ["*"]
      },
    ]
  })
}
