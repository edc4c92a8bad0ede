variable "name" {
  description = "Prefix of every resource's name."
  type        = string
  default     = "cloudmig-third"
}

variable "third_role_arn" {
  description = "Role in the other account that builds everything. Null: your credentials already belong to that account."
  type        = string
  default     = null
}

variable "region" {
  description = "The AWS region of the third copy: neither the first's nor the second's."
  type        = string
  default     = "eu-north-1"
}

variable "bucket_name" {
  description = "Name of the bucket for the images: unique in the world."
  type        = string
}

variable "prefix" {
  description = "What stands before every object key: empty, or ending with a slash."
  type        = string
  default     = ""
}

variable "object_lock" {
  description = "For so many days nobody deletes a version. Begin with GOVERNANCE: COMPLIANCE is lifted by nobody, AWS included, and every object is paid for until its last day."
  type = object({
    mode = string
    days = number
  })
  default = {
    mode = "GOVERNANCE"
    days = 365
  }
}

variable "storage_class" {
  description = "Class in which the agent puts the third copy. It is read after a disaster or never; GLACIER and DEEP_ARCHIVE answer after hours."
  type        = string
  default     = "DEEP_ARCHIVE"
}

variable "roles_anywhere" {
  description = "Certificates instead of access keys for the agent; see the module edge_identity. Null: access keys."
  type = object({
    ca_certificate_pem  = string
    subject_common_name = string
    session_s           = optional(number, 3600)
  })
  default = null
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
  description = "Whether the table of verdicts refuses to be deleted."
  type        = bool
  default     = true
}
