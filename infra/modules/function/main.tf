# One function: its log, its role with one policy, itself, and the alarms every function has.

locals {
  full_name = "${var.name}-${replace(var.function, "_", "-")}"
  in_vpc    = length(var.subnet_ids) > 0

  own_log = {
    WriteOwnLog = {
      actions    = ["logs:CreateLogStream", "logs:PutLogEvents"]
      resources  = ["${aws_cloudwatch_log_group.this.arn}:*"]
      conditions = {}
    }
  }

  # AWS evaluates these without naming the interface: they cannot be narrowed to a resource.
  network = local.in_vpc ? {
    JoinNetwork = {
      actions = [
        "ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses",
      ]
      resources  = ["*"]
      conditions = {}
    }
  } : {}

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      for sid, each in merge(local.own_log, local.network, var.permissions) : merge(
        {
          Sid      = sid
          Effect   = "Allow"
          Action   = sort(each.actions)
          Resource = each.resources
        },
        length(each.conditions) > 0 ? { Condition = each.conditions } : {},
      )
    ]
  })
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/${local.full_name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_iam_role" "this" {
  name        = local.full_name
  description = "What ${local.full_name} may do, and nothing else."

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "lambda.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = local.full_name
  role   = aws_iam_role.this.id
  policy = local.policy
}

resource "aws_lambda_function" "this" {
  #checkov:skip=CKV_AWS_50:No tracer runs in the functions; log lines and metrics carry what a trace would.
  #checkov:skip=CKV_AWS_116:Queues that feed functions have dead letters of their own; a scheduled run that fails raises an alarm and the next one repeats its work.
  #checkov:skip=CKV_AWS_272:Packages are built reproducibly from the source and compared by digest; a signing profile is the account owner's.
  function_name = local.full_name
  description   = var.description
  role          = aws_iam_role.this.arn

  filename         = var.package
  source_code_hash = filebase64sha256(var.package)
  handler          = var.handler
  runtime          = var.runtime
  architectures    = [var.architecture]

  timeout                        = var.timeout_s
  memory_size                    = var.memory_mib
  reserved_concurrent_executions = var.reserved_concurrency
  kms_key_arn                    = var.kms_key_arn

  ephemeral_storage {
    size = var.ephemeral_storage_mib
  }

  environment {
    variables = merge(var.environment, {
      POWERTOOLS_SERVICE_NAME      = var.function
      POWERTOOLS_METRICS_NAMESPACE = "cloudmig"
    })
  }

  dynamic "vpc_config" {
    for_each = local.in_vpc ? [1] : []

    content {
      subnet_ids         = var.subnet_ids
      security_group_ids = var.security_group_ids
    }
  }

  # Without its log group the first run would make one that is kept for ever and not encrypted.
  depends_on = [aws_cloudwatch_log_group.this, aws_iam_role_policy.this]
}
