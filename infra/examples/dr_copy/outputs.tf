output "cloudmig_toml" {
  description = "What belongs into the agent's cloudmig.toml. With replication S3 makes the second copy, and the agent knows of one destination."
  value = join("\n", concat(
    [
      <<-EOT
        [destinations.archive]
        url = "s3://${module.image_bucket.bucket_name}/${trimsuffix(module.image_bucket.prefix, "/")}"
        region = "${var.region}"
        kms_key_id = "${module.image_bucket.kms_key_arn}"
        verdict_queue = "${module.verification.verdict_queue_url}"
      EOT
    ],
    var.by_replication ? [] : [
      <<-EOT
        [destinations.dr]
        url = "s3://${module.dr_bucket.bucket_name}/${trimsuffix(module.dr_bucket.prefix, "/")}"
        region = "${var.dr_region}"
        storage_class = "${var.dr_storage_class}"
        kms_key_id = "${module.dr_bucket.kms_key_arn}"
        verdict_queue = "${module.dr_verification.verdict_queue_url}"
      EOT
    ],
  ))
}

output "agent" {
  description = "How the agent proves who it is: its role and the user that takes it on."
  value = {
    role_arn  = module.edge_identity.role_arn
    user_name = module.edge_identity.user_name
  }
}

output "image_bucket" {
  description = "Everything the module image_bucket tells of the first copy."
  value       = module.image_bucket
}

output "dr_bucket" {
  description = "Everything the module image_bucket tells of the second copy."
  value       = module.dr_bucket
}

output "verification" {
  description = "Everything the module verification tells of the first copy."
  value       = module.verification
}

output "dr_verification" {
  description = "Everything the module verification tells of the second copy."
  value       = module.dr_verification
}

output "dr_reconciliation" {
  description = "Everything the module reconciliation tells of the second copy."
  value       = module.dr_reconciliation
}
