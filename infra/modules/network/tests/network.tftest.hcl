mock_provider "aws" {
  source = "../../mocks"
}

variables {
  name            = "demo"
  vpc_id          = "vpc-1"
  subnet_ids      = ["subnet-1", "subnet-2"]
  route_table_ids = ["rtb-1"]
  source_cidrs    = ["10.20.0.0/16"]
  bucket_arns     = ["arn:aws:s3:::images"]
  queue_arns      = ["arn:aws:sqs:eu-central-1:123456789012:demo-verdicts"]
}

run "no_other_bucket_or_queue_is_reached" {
  assert {
    condition = (
      toset(jsondecode(aws_vpc_endpoint.interface["s3"].policy).Statement[0].Resource)
      == toset(["arn:aws:s3:::images", "arn:aws:s3:::images/*"])
    )
    error_message = "The endpoint for S3 leads to the bucket alone."
  }

  assert {
    condition     = aws_vpc_endpoint.gateway[0].policy == aws_vpc_endpoint.interface["s3"].policy
    error_message = "The gateway leads no further than the interface."
  }

  assert {
    condition     = tolist(jsondecode(aws_vpc_endpoint.interface["sqs"].policy).Statement[0].Resource) == var.queue_arns
    error_message = "The endpoint for SQS leads to the verdict queue alone."
  }

  assert {
    condition = alltrue([
      for each in values(aws_vpc_endpoint.interface) : !can(regex("Delete(Object|Bucket)|Policy|s3:\\*", each.policy))
    ])
    error_message = "Nothing is deleted through an endpoint."
  }
}

run "only_the_site_gets_in_and_only_by_https" {
  assert {
    condition = alltrue([
      for rule in values(aws_vpc_security_group_ingress_rule.https) :
      rule.from_port == 443 && rule.to_port == 443 && rule.cidr_ipv4 == "10.20.0.0/16"
    ])
    error_message = "HTTPS from the site is all that is let in."
  }
}

run "the_whole_world_is_refused" {
  command = plan

  variables {
    source_cidrs = ["0.0.0.0/0"]
  }

  expect_failures = [var.source_cidrs]
}

run "without_queues_and_route_tables_there_is_one_endpoint" {
  variables {
    route_table_ids = []
    queue_arns      = []
  }

  assert {
    condition     = keys(aws_vpc_endpoint.interface) == ["s3"] && length(aws_vpc_endpoint.gateway) == 0
    error_message = "Only what was asked for is made."
  }
}
