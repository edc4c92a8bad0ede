data "aws_region" "current" {}

locals {
  services = merge(
    { s3 = local.policies.s3 },
    length(var.queue_arns) == 0 ? {} : { sqs = local.policies.sqs },
  )
}

# What lies behind a gateway endpoint is reached from inside the VPC only; an agent at the hospital
# comes over its line to the interface endpoints.
resource "aws_vpc_endpoint" "gateway" {
  count = length(var.route_table_ids) == 0 ? 0 : 1

  vpc_id            = var.vpc_id
  service_name      = "com.amazonaws.${data.aws_region.current.name}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = var.route_table_ids
  policy            = local.policies.s3

  tags = { Name = "${var.name}-s3-gateway" }
}

resource "aws_vpc_endpoint" "interface" {
  for_each = local.services

  vpc_id              = var.vpc_id
  service_name        = "com.amazonaws.${data.aws_region.current.name}.${each.key}"
  vpc_endpoint_type   = "Interface"
  subnet_ids          = var.subnet_ids
  security_group_ids  = [aws_security_group.endpoints.id]
  private_dns_enabled = var.private_dns
  policy              = each.value

  # With a gateway beside it, machines inside the VPC keep to the gateway, which costs nothing.
  dynamic "dns_options" {
    for_each = each.key == "s3" && var.private_dns ? [length(var.route_table_ids) > 0] : []

    content {
      private_dns_only_for_inbound_resolver_endpoint = dns_options.value
    }
  }

  tags = { Name = "${var.name}-${each.key}" }

  depends_on = [aws_vpc_endpoint.gateway]
}

resource "aws_security_group" "endpoints" {
  name        = "${var.name}-endpoints"
  description = "HTTPS from the agent to the endpoints of ${var.name}"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-endpoints" }
}

resource "aws_vpc_security_group_ingress_rule" "https" {
  for_each = toset(var.source_cidrs)

  security_group_id = aws_security_group.endpoints.id
  description       = "HTTPS from the agent"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = each.value
}

# An endpoint policy gives no rights: it takes away. Stolen credentials of another account cannot
# carry images through it, because no other bucket can be reached.
locals {
  policies = {
    s3 = jsonencode({
      Version = "2012-10-17"
      Statement = [{
        Sid       = "TheseBucketsOnly"
        Effect    = "Allow"
        Principal = "*"
        Action = [
          "s3:PutObject", "s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectAttributes",
          "s3:GetObjectVersionAttributes", "s3:AbortMultipartUpload",
          "s3:ListMultipartUploadParts", "s3:ListBucket", "s3:ListBucketMultipartUploads",
          "s3:GetBucketVersioning", "s3:RestoreObject",
        ]
        Resource = flatten([for arn in var.bucket_arns : [arn, "${arn}/*"]])
      }]
    })

    sqs = jsonencode({
      Version = "2012-10-17"
      Statement = [{
        Sid       = "TheseQueuesOnly"
        Effect    = "Allow"
        Principal = "*"
        Action = [
          "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
          "sqs:GetQueueAttributes",
        ]
        Resource = var.queue_arns
      }]
    })
  }
}
