# Recent studies stay on site, by the agent's rules; the rest lives in this bucket and grows cheaper
# with age, in classes that are read at once.
module "image_bucket" {
  source = "../../modules/image_bucket"

  name              = var.name
  bucket_name       = var.bucket_name
  prefix            = var.prefix
  transitions       = var.transitions
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

# How fast readers get what lies here, measured as they would; docs/runbook.md says what an alarm wants.
module "retrieval_sla" {
  source = "../../modules/retrieval_sla"

  name                = var.name
  bucket_name         = module.image_bucket.bucket_name
  bucket_arn          = module.image_bucket.bucket_arn
  prefix              = module.image_bucket.prefix
  kms_key_arn         = module.image_bucket.kms_key_arn
  packages_dir        = var.packages_dir
  table_name          = module.verification.table_name
  table_arn           = module.verification.table_arn
  samples_bucket_name = module.image_bucket.records_bucket_name
  samples_bucket_arn  = module.image_bucket.records_bucket_arn
  samples_prefix      = module.image_bucket.samples_prefix
  tiers               = concat(["STANDARD"], module.image_bucket.later_classes)
  service_levels      = var.service_levels
  dicomweb_url        = var.dicomweb_url
  pseudonym_key       = var.pseudonym_key
  alarm_topic_arns    = [aws_sns_topic.alarms.arn]
}

# Restores that somebody asks for, and how long they really take.
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

# Every inventory report against the manifests.
module "reconciliation" {
  source = "../../modules/reconciliation"

  name                = var.name
  bucket_name         = module.image_bucket.bucket_name
  bucket_arn          = module.image_bucket.bucket_arn
  prefix              = module.image_bucket.prefix
  kms_key_arn         = module.image_bucket.kms_key_arn
  packages_dir        = var.packages_dir
  study_queue_url     = module.verification.study_queue_url
  study_queue_arn     = module.verification.study_queue_arn
  records_bucket_name = module.image_bucket.records_bucket_name
  records_bucket_arn  = module.image_bucket.records_bucket_arn
  inventory_prefix    = module.image_bucket.inventory_prefix
  results_prefix      = module.image_bucket.results_prefix
  inventory_frequency = module.image_bucket.inventory_frequency
  lock_mode           = module.image_bucket.lock_mode
  later_classes       = module.image_bucket.later_classes
  alarm_topic_arns    = [aws_sns_topic.alarms.arn]
}

module "edge_identity" {
  source = "../../modules/edge_identity"

  name                    = var.name
  roles_anywhere          = var.roles_anywhere
  access_key_age_days_max = var.access_key_age_days_max
  alarm_topic_arns        = [aws_sns_topic.alarms.arn]

  stores = {
    archive = {
      bucket_arn        = module.image_bucket.bucket_arn
      prefix            = module.image_bucket.prefix
      kms_key_arn       = module.image_bucket.kms_key_arn
      verdict_queue_arn = module.verification.verdict_queue_arn
    }
  }
}

module "network" {
  source = "../../modules/network"
  count  = var.network == null ? 0 : 1

  name            = var.name
  vpc_id          = var.network.vpc_id
  subnet_ids      = var.network.subnet_ids
  route_table_ids = var.network.route_table_ids
  source_cidrs    = var.network.source_cidrs
  bucket_arns     = [module.image_bucket.bucket_arn]
  queue_arns      = [module.verification.verdict_queue_arn]
}
