# The first copy, and one in another region that nobody can delete for a while: not by mistake, not
# with stolen rights. By replication the lock of the second bucket is put on every replica.
module "image_bucket" {
  source = "../../modules/image_bucket"

  name              = var.name
  bucket_name       = var.bucket_name
  prefix            = var.prefix
  records_keep_days = { "inventory/" = 90, "results/" = 365 }

  replica = var.by_replication ? {
    bucket_arn    = module.dr_bucket.bucket_arn
    kms_key_arn   = module.dr_bucket.kms_key_arn
    storage_class = var.dr_storage_class
  } : null
}

module "dr_bucket" {
  source    = "../../modules/image_bucket"
  providers = { aws = aws.dr }

  name              = "${var.name}-dr"
  bucket_name       = "${var.bucket_name}-dr"
  prefix            = var.prefix
  object_lock       = var.object_lock
  records_keep_days = { "inventory/" = 90, "results/" = 365 }
}

# Each copy is verified where it lies, by functions of its own region: a replica is believed no more
# than an upload.
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

module "dr_verification" {
  source    = "../../modules/verification"
  providers = { aws = aws.dr }

  name             = "${var.name}-dr"
  bucket_name      = module.dr_bucket.bucket_name
  bucket_arn       = module.dr_bucket.bucket_arn
  prefix           = module.dr_bucket.prefix
  kms_key_arn      = module.dr_bucket.kms_key_arn
  lock_mode        = module.dr_bucket.lock_mode
  later_classes    = var.by_replication ? [var.dr_storage_class] : []
  packages_dir     = var.packages_dir
  pseudonym_key    = var.pseudonym_key
  alarm_topic_arns = [aws_sns_topic.dr_alarms.arn]
  protect_table    = var.protect_table
}

# What replication forgot, nobody would miss until the disaster: every inventory report of the second
# copy against its manifests.
module "dr_reconciliation" {
  source    = "../../modules/reconciliation"
  providers = { aws = aws.dr }

  name                = "${var.name}-dr"
  bucket_name         = module.dr_bucket.bucket_name
  bucket_arn          = module.dr_bucket.bucket_arn
  prefix              = module.dr_bucket.prefix
  kms_key_arn         = module.dr_bucket.kms_key_arn
  packages_dir        = var.packages_dir
  study_queue_url     = module.dr_verification.study_queue_url
  study_queue_arn     = module.dr_verification.study_queue_arn
  records_bucket_name = module.dr_bucket.records_bucket_name
  records_bucket_arn  = module.dr_bucket.records_bucket_arn
  inventory_prefix    = module.dr_bucket.inventory_prefix
  results_prefix      = module.dr_bucket.results_prefix
  inventory_frequency = module.dr_bucket.inventory_frequency
  lock_mode           = module.dr_bucket.lock_mode
  later_classes       = var.by_replication ? [var.dr_storage_class] : []
  alarm_topic_arns    = [aws_sns_topic.dr_alarms.arn]
}

module "edge_identity" {
  source = "../../modules/edge_identity"

  name             = var.name
  alarm_topic_arns = [aws_sns_topic.alarms.arn]

  stores = merge(
    {
      archive = {
        bucket_arn        = module.image_bucket.bucket_arn
        prefix            = module.image_bucket.prefix
        kms_key_arn       = module.image_bucket.kms_key_arn
        verdict_queue_arn = module.verification.verdict_queue_arn
      }
    },
    # What S3 copies, the agent has no business with.
    var.by_replication ? {} : {
      dr = {
        bucket_arn        = module.dr_bucket.bucket_arn
        prefix            = module.dr_bucket.prefix
        kms_key_arn       = module.dr_bucket.kms_key_arn
        verdict_queue_arn = module.dr_verification.verdict_queue_arn
      }
    },
  )
}
