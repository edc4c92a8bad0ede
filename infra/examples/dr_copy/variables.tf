variable "name" {
  description = "Prefix of every resource's name; those of the second region get -dr behind it."
  type        = string
  default     = "cloudmig"

  validation {
    condition     = length(var.name) <= 28
    error_message = "At most 28 characters: -dr is added in the second region."
  }
}

variable "region" {
  description = "The AWS region of the first copy."
  type        = string
  default     = "eu-central-1"
}

variable "dr_region" {
  description = "The AWS region of the second copy: another power grid, the same law."
  type        = string
  default     = "eu-west-1"
}

variable "bucket_name" {
  description = "Name of the first bucket; the second is called the same with -dr behind it."
  type        = string
}

variable "prefix" {
  description = "What stands before every object key: empty, or ending with a slash."
  type        = string
  default     = ""
}

variable "by_replication" {
  description = "True: S3 copies every new version by itself. False: the agent writes both copies (independent of what S3 did with the first, and twice the upload)."
  type        = bool
  default     = true
}

variable "object_lock" {
  description = "Lock of the second copy: for so many days nobody deletes a version there. GOVERNANCE can be lifted by who has the right, COMPLIANCE by nobody."
  type = object({
    mode = string
    days = number
  })
  default = {
    mode = "GOVERNANCE"
    days = 90
  }
}

variable "dr_storage_class" {
  description = "Class of the second copy. Written by the agent, it may be an archive class; S3 would replicate manifests into it, too."
  type        = string
  default     = "GLACIER_IR"

  validation {
    condition     = !var.by_replication || !contains(["GLACIER", "DEEP_ARCHIVE"], var.dr_storage_class)
    error_message = "With by_replication a class that is read at once: manifests are replicated, too."
  }
}

variable "packages_dir" {
  description = "Folder with <function>.zip for every function, as `make lambdas` builds them."
  type        = string
  default     = "../../../.cache/lambdas"
}

variable "alarm_emails" {
  description = "Who is told when something breaks. AWS asks each by mail whether they want to be."
  type        = list(string)
  default     = []
}

variable "pseudonym_key" {
  description = "Hex key by which functions and agent write the same pseudonyms into their logs. Null: the functions log no identifier."
  type        = string
  default     = null
  sensitive   = true
}

variable "protect_table" {
  description = "Whether the tables of verdicts refuse to be deleted."
  type        = bool
  default     = true
}
