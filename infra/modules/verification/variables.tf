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

variable "read" {
  description = "How objects are verified: \"checksum\" trusts the SHA-256 the store itself computed where it has one, \"stream\" reads every byte."
  type        = string
  default     = "checksum"

  validation {
    condition     = contains(["checksum", "stream"], var.read)
    error_message = "Objects are read by \"checksum\" or \"stream\"."
  }
}

variable "lock_mode" {
  description = "Object Lock mode every image must carry (image_bucket's output): GOVERNANCE, COMPLIANCE, or empty where the bucket has no lock."
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

  validation {
    condition = alltrue([
      for each in var.later_classes : contains(
        ["STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"], each,
      )
    ])
    error_message = "This is no storage class that a lifecycle can move to."
  }
}

variable "object_timeout_s" {
  description = "Time limit of verify_object. A batch of objects must fit; a streamed object of 5 GB takes one to two minutes."
  type        = number
  default     = 600
}

variable "study_timeout_s" {
  description = "Time limit of verify_study. A study of 10,000 objects whose verdicts are all there takes seconds."
  type        = number
  default     = 900
}

variable "object_visibility_s" {
  description = "Seconds for which a message that verify_object works on is hidden from others. At least six times its time limit, as AWS asks: a message that comes back while it is worked on counts as another failure."
  type        = number
  default     = 3600

  validation {
    condition     = var.object_visibility_s >= 6 * var.object_timeout_s && var.object_visibility_s <= 43200
    error_message = "At least six times object_timeout_s, and 43200 at most."
  }
}

variable "study_visibility_s" {
  description = "Seconds for which a message that verify_study works on is hidden from others: at least six times its time limit."
  type        = number
  default     = 5400

  validation {
    condition     = var.study_visibility_s >= 6 * var.study_timeout_s && var.study_visibility_s <= 43200
    error_message = "At least six times study_timeout_s, and 43200 at most."
  }
}

variable "attempts_max" {
  description = "How often a message is tried before it waits in the dead-letter queue for a person."
  type        = number
  default     = 5

  validation {
    condition     = var.attempts_max >= 2 && var.attempts_max <= 100
    error_message = "Between 2 (one fault of the network must not page anybody) and 100."
  }
}

variable "object_concurrency_max" {
  description = "Executions of verify_object at once: bounds the load on bucket and account while a migration runs."
  type        = number
  default     = 50

  validation {
    condition     = var.object_concurrency_max >= 2 && var.object_concurrency_max <= 1000
    error_message = "SQS allows 2 to 1000."
  }
}

variable "study_concurrency_max" {
  description = "Executions of verify_study at once."
  type        = number
  default     = 10

  validation {
    condition     = var.study_concurrency_max >= 2 && var.study_concurrency_max <= 1000
    error_message = "SQS allows 2 to 1000."
  }
}

variable "reserved_concurrency" {
  description = "Executions set aside for a function: function -> number. Empty: all share what the account has. Not below the function's concurrency maximum, or it is throttled for ever."
  type        = map(number)
  default     = {}

  validation {
    condition = (
      lookup(var.reserved_concurrency, "verify_object", 1000) >= var.object_concurrency_max &&
      lookup(var.reserved_concurrency, "verify_study", 1000) >= var.study_concurrency_max
    )
    error_message = "What is reserved must not be below object_concurrency_max and study_concurrency_max."
  }
}

variable "orphan_after_h" {
  description = "Hours after which an object that no manifest names is an orphan. A study may take that long to arrive."
  type        = number
  default     = 24

  validation {
    condition     = var.orphan_after_h >= 1
    error_message = "Objects come before their manifest: at least one hour."
  }
}

variable "orphan_schedule" {
  description = "When find_orphans runs, as EventBridge Scheduler writes it: once a day or more often, or the alarm takes it for a standstill."
  type        = string
  default     = "rate(1 day)"

  validation {
    condition     = can(regex("^(rate|cron)\\(.+\\)$", var.orphan_schedule))
    error_message = "A schedule is rate(...) or cron(...)."
  }
}

variable "message_age_max_s" {
  description = "Age of the oldest waiting message at which an alarm goes off: verification has fallen behind or stands still."
  type        = number
  default     = 14400
}

variable "unread_verdict_age_max_s" {
  description = "Age of the oldest verdict at which an alarm goes off: no agent fetches them. They are kept for 14 days."
  type        = number
  default     = 86400

  validation {
    condition     = var.unread_verdict_age_max_s <= 1209600 / 2
    error_message = "Verdicts are kept for 14 days: half of that at most, or they are lost before anybody can act."
  }
}

variable "protect_table" {
  description = "Whether AWS refuses to delete the table of verdicts. To remove the module set it to false and apply first."
  type        = bool
  default     = true
}
