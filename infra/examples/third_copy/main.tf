# A third copy that survives the loss of the first account: locked, cold, written by the agent with
# credentials of this account alone, and verified here.
module "image_bucket" {
  source = "../../modules/image_bucket"

  name              = var.name
  bucket_name       = var.bucket_name
  prefix            = var.prefix
  object_lock       = var.object_lock
  records_keep_days = { "inventory/" = 90, "results/" = 365 }
}

module "verification" {
  source = "../../modules/verification"

  name             = var.name
  bucket_name      = module.image_bucket.bucket_name
  bucket_arn       = module.image_bucket.bucket_arn
  prefix           = module.image_bucket.prefix
  kms_key_arn      = module.image_bucket.kms_key_arn
  lock_mode        = module.image_bucket.lock_mode
  later_classes    = module.image_bucket.later_classes
  packages_dir     = var.packages_dir
  pseudonym_key    = var.pseudonym_key
  alarm_topic_arns = [aws_sns_topic.alarms.arn]
  protect_table    = var.protect_table
}

# What is put into an archive class comes back by a restore, rehearsed before it is needed.
module "cold_recall" {
  source = "../../modules/cold_recall"

  name                = var.name
  bucket_name         = module.image_bucket.bucket_name
  bucket_arn          = module.image_bucket.bucket_arn
  prefix              = module.image_bucket.prefix
  kms_key_arn         = module.image_bucket.kms_key_arn
  packages_dir        = var.packages_dir
  table_name          = module.verification.table_name
  table_arn           = module.verification.table_arn
  verdict_queue_url   = module.verification.verdict_queue_url
  verdict_queue_arn   = module.verification.verdict_queue_arn
  samples_bucket_name = module.image_bucket.records_bucket_name
  samples_bucket_arn  = module.image_bucket.records_bucket_arn
  samples_prefix      = module.image_bucket.restores_prefix
  pseudonym_key       = var.pseudonym_key
  alarm_topic_arns    = [aws_sns_topic.alarms.arn]
}

module "edge_identity" {
  source = "../../modules/edge_identity"

  name             = var.name
  roles_anywhere   = var.roles_anywhere
  alarm_topic_arns = [aws_sns_topic.alarms.arn]

  stores = {
    third = {
      bucket_arn        = module.image_bucket.bucket_arn
      prefix            = module.image_bucket.prefix
      kms_key_arn       = module.image_bucket.kms_key_arn
      verdict_queue_arn = module.verification.verdict_queue_arn
    }
  }
}
