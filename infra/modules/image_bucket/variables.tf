variable "name" {
  description = "Prefix of every resource's name, for example cloudmig-prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "2 to 31 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "bucket_name" {
  description = "Name of the bucket that holds the images. The records bucket is called the same with -records behind it."
  type        = string

  validation {
    condition     = length(var.bucket_name) <= 55
    error_message = "At most 55 characters: -records is added for the second bucket."
  }
}

variable "prefix" {
  description = "What stands before every object key, as in the agent's url: empty, or ending with a slash."
  type        = string
  default     = ""

  validation {
    condition     = var.prefix == "" || can(regex("^[^/].*/$", var.prefix))
    error_message = "Empty, or without a slash at the beginning and with one at the end."
  }
}

variable "object_lock" {
  description = "Write once, read many: every new version is kept for these days, and in COMPLIANCE mode nobody, the account's root included, can shorten that. Null: no lock. It cannot be taken back."
  type = object({
    mode = string
    days = number
  })
  default = null

  validation {
    condition = var.object_lock == null ? true : (
      contains(["GOVERNANCE", "COMPLIANCE"], var.object_lock.mode) && var.object_lock.days >= 1
    )
    error_message = "The mode is GOVERNANCE or COMPLIANCE, and the days are at least 1."
  }
}

variable "transitions" {
  description = "Moves by age, per prefix below var.prefix (empty: everything): to which class, after how many days, and from which size on (null: 128 KiB, what S3 moves at all). Current versions are never expired."
  type = list(object({
    prefix         = optional(string, "")
    days           = number
    storage_class  = string
    size_bytes_min = optional(number)
  }))
  default = []

  validation {
    condition = alltrue([
      for each in var.transitions : contains(
        ["STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"],
        each.storage_class
      )
    ])
    error_message = "A class of STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING, GLACIER_IR, GLACIER, DEEP_ARCHIVE."
  }

  # A manifest has about 100 bytes for each instance, and must be readable without a restore. A
  # lifecycle cannot tell it from an image but by its size.
  validation {
    condition = alltrue([
      for each in var.transitions :
      !contains(["GLACIER", "DEEP_ARCHIVE"], each.storage_class) || coalesce(each.size_bytes_min, 0) >= 4194304
    ])
    error_message = "Towards GLACIER and DEEP_ARCHIVE size_bytes_min is at least 4194304 (4 MiB), or manifests would be archived too. Smaller objects get their class from the agent's rules."
  }
}

variable "noncurrent_days" {
  description = "After how many days a version that was replaced or deleted is removed for ever. Null: never."
  type        = number
  default     = null

  validation {
    condition     = var.noncurrent_days == null ? true : var.noncurrent_days >= 30
    error_message = "At least 30 days: a damaged object is repaired by a new version, and the old one is the evidence."
  }
}

variable "abandoned_upload_days" {
  description = "After how many days the parts of a multipart upload that nobody finished are removed. The agent aborts its own much earlier."
  type        = number
  default     = 7
}

variable "inventory_frequency" {
  description = "How often S3 lists the bucket for the reconciliation: Daily or Weekly."
  type        = string
  default     = "Weekly"

  validation {
    condition     = contains(["Daily", "Weekly"], var.inventory_frequency)
    error_message = "Daily or Weekly."
  }
}

variable "records_keep_days" {
  description = "After how many days records are removed, by their prefix: { \"inventory/\" = 90, \"results/\" = 365 }. What is not named is kept for ever."
  type        = map(number)
  default     = {}

  validation {
    condition = alltrue([
      for prefix, days in var.records_keep_days :
      contains(["inventory/", "results/", "samples/", "restores/"], prefix) && days >= 30
    ])
    error_message = "The prefixes are inventory/, results/, samples/ and restores/; the days are at least 30."
  }
}

variable "access_log_bucket" {
  description = "An existing bucket that takes S3's access logs of both buckets (it must use SSE-S3: log delivery knows no KMS). Null: none."
  type        = string
  default     = null
}

variable "replica" {
  description = "A bucket in another region or account to which S3 copies every new version, and never a deletion. Null: none."
  type = object({
    bucket_arn    = string
    kms_key_arn   = string
    storage_class = optional(string, "STANDARD_IA")
    account_id    = optional(string)
  })
  default = null

  # Manifests are replicated like images, and must be readable without a restore.
  validation {
    condition     = !contains(["GLACIER", "DEEP_ARCHIVE"], try(var.replica.storage_class, ""))
    error_message = "Replicas are kept in a class that is read at once."
  }
}
