variable "name" {
  description = "Prefix of every resource's name."
  type        = string
  default     = "cloudmig-hybrid"
}

variable "region" {
  description = "The AWS region of the archive."
  type        = string
  default     = "eu-central-1"
}

variable "bucket_name" {
  description = "Name of the bucket for the images: unique in the world."
  type        = string
}

variable "prefix" {
  description = "What stands before every object key: empty, or ending with a slash."
  type        = string
  default     = "radiology/"
}

variable "packages_dir" {
  description = "Folder with <function>.zip for every function, as `make lambdas` builds them."
  type        = string
  default     = "../../../.cache/lambdas"
}

variable "transitions" {
  description = "Moves of aging images to cheaper classes that are still read at once; see the module image_bucket."
  type = list(object({
    prefix         = optional(string, "")
    days           = number
    storage_class  = string
    size_bytes_min = optional(number)
  }))
  default = [
    { days = 30, storage_class = "STANDARD_IA" },
    { days = 365, storage_class = "GLACIER_IR" },
  ]
}

variable "alarm_emails" {
  description = "Who is told when something breaks. AWS asks each by mail whether they want to be."
  type        = list(string)
  default     = []
}

variable "network" {
  description = "Private endpoints for an agent that comes over Direct Connect or VPN. Null: it comes over the internet, by TLS."
  type = object({
    vpc_id          = string
    subnet_ids      = list(string)
    route_table_ids = optional(list(string), [])
    source_cidrs    = list(string)
  })
  default = null
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

variable "access_key_age_days_max" {
  description = "Tell when the agent's access key is older. Needs AWS Config's recorder. Null: nobody is told."
  type        = number
  default     = null
}

variable "service_levels" {
  description = "What readers were promised; see the module retrieval_sla. Empty: the defaults of docs/configuration.md."
  type = object({
    objective     = optional(number)
    samples       = optional(number)
    reads_at_once = optional(number)
    tiers         = optional(map(map(number)))
  })
  default = {}
}

variable "dicomweb_url" {
  description = "A DICOMweb endpoint that reads from the bucket, to be measured too. Empty: none."
  type        = string
  default     = ""
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
