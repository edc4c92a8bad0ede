output "bucket_name" {
  description = "Name of the image bucket, for the agent's url."
  value       = aws_s3_bucket.images.bucket
}

output "bucket_arn" {
  description = "ARN of the image bucket."
  value       = aws_s3_bucket.images.arn
}

output "prefix" {
  description = "What stands before every object key, as given."
  value       = var.prefix
}

output "kms_key_arn" {
  description = "ARN of the key of both buckets."
  value       = aws_kms_key.images.arn
}

output "lock_mode" {
  description = "Retention that every object must have: GOVERNANCE, COMPLIANCE, or empty."
  value       = var.object_lock == null ? "" : var.object_lock.mode
}

output "later_classes" {
  description = "Storage classes into which the lifecycle moves objects: not a finding, for the verification."
  value       = distinct([for each in var.transitions : each.storage_class])
}

output "records_bucket_name" {
  description = "Name of the bucket with inventory, samples and results."
  value       = aws_s3_bucket.records.bucket
}

output "records_bucket_arn" {
  description = "ARN of the bucket with inventory, samples and results."
  value       = aws_s3_bucket.records.arn
}

output "inventory_prefix" {
  description = "Where in the records bucket S3 writes the inventory of the images."
  value       = local.inventory_prefix
}

output "samples_prefix" {
  description = "Where in the records bucket probe_retrieval keeps raw samples."
  value       = "samples/"
}

output "restores_prefix" {
  description = "Where in the records bucket watch_restore keeps the durations of restores."
  value       = "restores/"
}

output "results_prefix" {
  description = "Where in the records bucket reconcile_inventory writes what it found."
  value       = "results/"
}

output "inventory_frequency" {
  description = "How often S3 lists the bucket, as given: for the module reconciliation."
  value       = var.inventory_frequency
}
