output "cloudmig_toml" {
  description = "What belongs into the agent's cloudmig.toml."
  value       = <<-EOT
    [destinations.third]
    url = "s3://${module.image_bucket.bucket_name}/${trimsuffix(module.image_bucket.prefix, "/")}"
    region = "${var.region}"
    storage_class = "${var.storage_class}"
    kms_key_id = "${module.image_bucket.kms_key_arn}"
    verdict_queue = "${module.verification.verdict_queue_url}"
  EOT
}

output "agent" {
  description = "How the agent proves who it is to this account: its role, and the user or the trust anchor and profile."
  value = {
    role_arn         = module.edge_identity.role_arn
    user_name        = module.edge_identity.user_name
    trust_anchor_arn = module.edge_identity.trust_anchor_arn
    profile_arn      = module.edge_identity.profile_arn
  }
}

output "image_bucket" {
  description = "Everything the module image_bucket tells."
  value       = module.image_bucket
}

output "verification" {
  description = "Everything the module verification tells."
  value       = module.verification
}

output "cold_recall" {
  description = "Everything the module cold_recall tells."
  value       = module.cold_recall
}
