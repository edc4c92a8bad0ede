output "s3_endpoint_id" {
  description = "ID of the interface endpoint for S3."
  value       = aws_vpc_endpoint.interface["s3"].id
}

output "s3_endpoint_url" {
  description = "Address for `endpoint` in cloudmig.toml where the hospital's resolver does not forward to the VPC's."
  value       = try("https://bucket${trimprefix(aws_vpc_endpoint.interface["s3"].dns_entry[0].dns_name, "*")}", null)
}

output "sqs_endpoint_id" {
  description = "ID of the interface endpoint for SQS. Null without queues."
  value       = try(aws_vpc_endpoint.interface["sqs"].id, null)
}

output "gateway_endpoint_id" {
  description = "ID of the gateway endpoint for S3. Null without route tables."
  value       = one(aws_vpc_endpoint.gateway[*].id)
}

output "security_group_id" {
  description = "ID of the security group before the interface endpoints."
  value       = aws_security_group.endpoints.id
}
