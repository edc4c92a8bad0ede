# probe_retrieval on a schedule: reads a sample of studies as a reader would.

locals {
  service_levels = jsonencode({ for key, value in var.service_levels : key => value if value != null })
}

module "probe_retrieval" {
  source = "../function"

  name               = var.name
  function           = "probe_retrieval"
  description        = "Reads a sample of studies as a reader would and measures how long that takes."
  package            = "${var.packages_dir}/probe_retrieval.zip"
  runtime            = var.runtime
  architecture       = var.architecture
  timeout_s          = 900
  memory_mib         = 1769 # One whole processor: less would measure the function instead of the store.
  schedule           = "rate(${var.interval_min} minutes)"
  silence_max_s      = 4 * 60 * var.interval_min
  kms_key_arn        = var.kms_key_arn
  log_retention_days = var.log_retention_days
  alarm_topic_arns   = var.alarm_topic_arns
  subnet_ids         = var.subnet_ids
  security_group_ids = var.security_group_ids

  environment = merge(
    {
      BUCKET         = var.bucket_name
      PREFIX         = var.prefix
      TABLE_NAME     = var.table_name
      SERVICE_LEVELS = local.service_levels
      SAMPLES_BUCKET = var.samples_bucket_name
      SAMPLES_PREFIX = var.samples_prefix
    },
    var.dicomweb_url == "" ? {} : { DICOMWEB_URL = var.dicomweb_url },
    var.pseudonym_key == null ? {} : { PSEUDONYM_KEY = var.pseudonym_key },
  )

  permissions = {
    ReadImages = {
      actions   = ["s3:GetObject"]
      resources = ["${var.bucket_arn}/${var.prefix}v1/*"]
    }
    KeepSamples = {
      actions   = ["s3:PutObject"]
      resources = ["${var.samples_bucket_arn}/${var.samples_prefix}*"]
    }
    DrawStudies = {
      actions   = ["dynamodb:Query"]
      resources = [var.table_arn, "${var.table_arn}/index/by_stratum"]
    }
    UseKey = {
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [var.kms_key_arn]
    }
  }
}
