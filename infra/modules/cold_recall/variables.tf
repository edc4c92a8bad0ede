variable "name" {
  description = "What the names of all resources of this installation begin with."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "A name is 2 to 31 characters: small letters, digits and dashes, a letter first."
  }
}

variable "bucket_name" {
  description = "Bucket that holds the images (image_bucket's output of this name)."
  type        = string
}

variable "bucket_arn" {
  description = "ARN of the bucket that holds the images."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:s3:::[a-z0-9.-]+$", var.bucket_arn))
    error_message = "This is no ARN of a bucket."
  }
}

variable "prefix" {
  description = "What stands before v1/ in the bucket, as in the agent's destination: empty, or with a slash at its end."
  type        = string
  default     = ""

  validation {
    condition     = var.prefix == "" || can(regex("^[^/*?]([^*?]*[^/*?])?/$", var.prefix))
    error_message = "The prefix is empty or ends with one slash, does not begin with one, and has no * or ?."
  }
}

variable "kms_key_arn" {
  description = "Key of the images, queues, tables and logs. Its policy must let EventBridge, CloudWatch Logs and CloudWatch alarms use it (image_bucket's does)."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:kms:", var.kms_key_arn))
    error_message = "This is no ARN of a KMS key."
  }
}

variable "packages_dir" {
  description = "Folder with the functions' packages, one <function>.zip each: what `make lambdas` builds."
  type        = string
}

variable "runtime" {
  description = "Runtime of the functions."
  type        = string
  default     = "python3.13"
}

variable "architecture" {
  description = "Processor of the functions: arm64 or x86_64. The packages hold Python only."
  type        = string
  default     = "arm64"
}

variable "pseudonym_key" {
  description = "Key (hex) from which the agent makes pseudonyms of UIDs, so that its log and the functions' tell of a study by one name. Null: the functions log no identifier."
  type        = string
  default     = null
  sensitive   = true

  validation {
    condition     = var.pseudonym_key == null || can(regex("^([0-9a-f]{2}){16,64}$", var.pseudonym_key))
    error_message = "The key is 16 to 64 bytes, written as small hex digits."
  }
}

variable "alarm_topic_arns" {
  description = "SNS topics that hear when an alarm goes off and when it is over."
  type        = list(string)
  default     = []
}

variable "log_retention_days" {
  description = "Days the functions' logs are kept."
  type        = number
  default     = 365
}

variable "subnet_ids" {
  description = "Subnets the functions run in; empty: in AWS's own network."
  type        = list(string)
  default     = []
}

variable "security_group_ids" {
  description = "Security groups of the functions where they run in subnets."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.subnet_ids) == 0 || length(var.security_group_ids) > 0
    error_message = "Functions in subnets need a security group, or nothing can be reached."
  }
}

variable "table_name" {
  description = "Table of verdicts, which keeps the restores too (verification's output)."
  type        = string
}

variable "table_arn" {
  description = "ARN of the table of verdicts."
  type        = string
}

variable "verdict_queue_url" {
  description = "Queue the agent fetches verdicts and restore reports from (verification's output)."
  type        = string
}

variable "verdict_queue_arn" {
  description = "ARN of the queue of verdicts."
  type        = string
}

variable "samples_bucket_name" {
  description = "Bucket that keeps what every restore took (image_bucket's records bucket)."
  type        = string
}

variable "samples_bucket_arn" {
  description = "ARN of the bucket that keeps what every restore took."
  type        = string
}

variable "samples_prefix" {
  description = "What the samples' keys begin with."
  type        = string
  default     = "restores/"

  validation {
    condition     = can(regex("^[^/*?][^*?]*/$", var.samples_prefix))
    error_message = "The prefix ends with a slash, and is not empty: the function may write below it and nowhere else."
  }
}

variable "restore_promises" {
  description = "Seconds a restore may take, by <storage class>/<tier>, such as \"GLACIER/Bulk\" = 43200. What is left out has AWS's own promise."
  type        = map(number)
  default     = {}

  validation {
    condition = alltrue([
      for name, seconds in var.restore_promises : seconds > 0 && can(
        regex("^(GLACIER|DEEP_ARCHIVE|INTELLIGENT_TIERING)/(Expedited|Standard|Bulk)$", name),
      )
    ])
    error_message = "A promise looks like \"GLACIER/Bulk\" = 43200, with seconds above 0."
  }
}

variable "restore_tiers" {
  description = "The retrieval tier that is asked for, by storage class, such as DEEP_ARCHIVE = \"Bulk\": S3's events do not name it. What is left out is Standard."
  type        = map(string)
  default     = {}

  validation {
    condition = alltrue([
      for tier in values(var.restore_tiers) : contains(["Expedited", "Standard", "Bulk"], tier)
    ])
    error_message = "A retrieval tier is Expedited, Standard or Bulk."
  }
}

variable "message_age_max_s" {
  description = "Age of the oldest waiting event at which an alarm goes off."
  type        = number
  default     = 3600
}
