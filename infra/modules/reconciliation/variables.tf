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

variable "study_queue_url" {
  description = "Queue on which studies that differ are asked for again (verification's output)."
  type        = string
}

variable "study_queue_arn" {
  description = "ARN of that queue."
  type        = string
}

variable "records_bucket_name" {
  description = "Bucket with the inventory, and for the results (image_bucket's records bucket). It must send its events to EventBridge."
  type        = string
}

variable "records_bucket_arn" {
  description = "ARN of that bucket."
  type        = string
}

variable "inventory_prefix" {
  description = "What the inventory's keys begin with."
  type        = string
  default     = "inventory/"

  validation {
    condition     = can(regex("^[^/*?][^*?]*/$", var.inventory_prefix))
    error_message = "The prefix ends with a slash, is not empty and has no * or ?."
  }
}

variable "results_prefix" {
  description = "What the results' keys begin with. A lifecycle rule of the bucket should let them expire: the functions may not delete."
  type        = string
  default     = "results/"

  validation {
    condition     = can(regex("^[^/*?][^*?]*/$", var.results_prefix))
    error_message = "The prefix ends with a slash, and is not empty: the function may write below it and nowhere else."
  }
}

variable "lock_mode" {
  description = "Object Lock mode every image must carry: GOVERNANCE, COMPLIANCE, or empty where the bucket has no lock."
  type        = string
  default     = ""

  validation {
    condition     = contains(["", "GOVERNANCE", "COMPLIANCE"], var.lock_mode)
    error_message = "The lock mode is GOVERNANCE, COMPLIANCE or empty."
  }
}

variable "later_classes" {
  description = "Storage classes to which the lifecycle moves images (image_bucket's output): finding one there is no difference."
  type        = list(string)
  default     = []
}

variable "settle_s" {
  description = "Seconds before the inventory's time in which objects may still have been in motion: what is younger is not judged."
  type        = number
  default     = 3600
}

variable "orphan_after_h" {
  description = "Hours after which an object that no manifest names is a finding."
  type        = number
  default     = 24
}

variable "requests_max" {
  description = "Studies that one run asks for again at most: a broken inventory must not set all of them in motion."
  type        = number
  default     = 10000

  validation {
    condition     = var.requests_max >= 0
    error_message = "0 asks for none; there is no less."
  }
}

variable "concurrency_max" {
  description = "Units of work at once: bounds the load on bucket and account. At 100 million objects a run of 50 takes under an hour."
  type        = number
  default     = 50

  validation {
    condition     = var.concurrency_max >= 1 && var.concurrency_max <= 1000
    error_message = "1 to 1000, which is what an account may run at once unless asked for more. 0 would mean no limit."
  }
}

variable "inventory_frequency" {
  description = "How often S3 writes an inventory, as image_bucket was told: \"Daily\" or \"Weekly\". Daily, an alarm tells when no run succeeded for three days; CloudWatch cannot look back over more than a week, so Weekly has no such alarm."
  type        = string
  default     = "Weekly"

  validation {
    condition     = contains(["Daily", "Weekly"], var.inventory_frequency)
    error_message = "S3 writes inventories Daily or Weekly."
  }
}
