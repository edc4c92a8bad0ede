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
  description = "Table of verdicts, from which studies are drawn (verification's output)."
  type        = string
}

variable "table_arn" {
  description = "ARN of the table of verdicts."
  type        = string
}

variable "samples_bucket_name" {
  description = "Bucket that keeps the raw samples (image_bucket's records bucket)."
  type        = string
}

variable "samples_bucket_arn" {
  description = "ARN of the bucket that keeps the raw samples."
  type        = string
}

variable "samples_prefix" {
  description = "What the samples' keys begin with. `cloudmig sla report` reads them there."
  type        = string
  default     = "samples/"

  validation {
    condition     = can(regex("^[^/*?][^*?]*/$", var.samples_prefix))
    error_message = "The prefix ends with a slash, and is not empty: the function may write below it and nowhere else."
  }
}

variable "service_levels" {
  description = "What readers were promised: share of studies (objective), studies per probe (samples), GETs at once, and by tier the seconds until the first byte, the first image, the whole study, a query or a restore. What is left out has the default of docs/configuration.md."
  type = object({
    objective     = optional(number)
    samples       = optional(number)
    reads_at_once = optional(number)
    tiers         = optional(map(map(number)))
  })
  default = {}

  validation {
    condition     = try(var.service_levels.objective > 0 && var.service_levels.objective < 1, true)
    error_message = "The objective is a share between 0 and 1, such as 0.95."
  }

  validation {
    condition = try(
      var.service_levels.samples * (1 - coalesce(var.service_levels.objective, 0.95)) >= 0.999999, true,
    )
    error_message = "So few samples cannot measure this objective: one slow study would burn the whole budget."
  }

  validation {
    condition = alltrue(flatten([
      for tier in values(coalesce(var.service_levels.tiers, {})) : [
        for setting, value in tier : value > 0 && contains(
          ["first_byte_s", "first_instance_s", "study_s", "study_bytes_per_s", "query_s", "restore_s"],
          setting,
        )
      ]
    ]))
    error_message = "A tier has first_byte_s, first_instance_s, study_s, study_bytes_per_s, query_s and restore_s, all above 0."
  }
}

variable "tiers" {
  description = "Tiers with an alarm and a column of the dashboard of their own: storage classes in use, and DICOMWEB."
  type        = list(string)
  default     = ["STANDARD", "STANDARD_IA", "GLACIER_IR"]

  validation {
    condition     = length(setsubtract(keys(coalesce(var.service_levels.tiers, {})), var.tiers)) == 0
    error_message = "service_levels names a tier that is not in tiers: its promise would be watched by nobody."
  }
}

variable "dicomweb_url" {
  description = "DICOMweb endpoint before the bucket that is measured too. Empty: there is none."
  type        = string
  default     = ""

  validation {
    condition     = var.dicomweb_url == "" || startswith(var.dicomweb_url, "https://")
    error_message = "Images are read over https only."
  }
}

variable "interval_min" {
  description = "Minutes between two probes."
  type        = number
  default     = 15

  validation {
    condition     = contains([5, 10, 15, 20, 30, 60, 120, 180, 240, 360], var.interval_min)
    error_message = "5, 10, 15, 20, 30, 60, 120, 180, 240 or 360: the alarm's period is the same."
  }
}
