variable "name" {
  description = "Prefix of every resource's name, for example cloudmig-prod."
  type        = string
}

variable "stores" {
  description = "What the agent writes to, by any name: the bucket, the prefix in it (empty, or ending with a slash), its key, and the verdict queue where there is one."
  type = map(object({
    bucket_arn        = string
    prefix            = optional(string, "")
    kms_key_arn       = string
    verdict_queue_arn = optional(string)
  }))

  validation {
    condition     = length(var.stores) > 0
    error_message = "At least one store."
  }

  validation {
    condition     = alltrue([for store in values(var.stores) : store.prefix == "" || endswith(store.prefix, "/")])
    error_message = "A prefix is empty or ends with a slash."
  }
}

variable "may_restore" {
  description = "Whether the agent may ask for archived objects to be restored (it costs money, and destroys nothing)."
  type        = bool
  default     = false
}

variable "roles_anywhere" {
  description = "Certificates instead of access keys: the PEM of your certificate authority, the common name of the agent's certificate, and how long a session lasts. Null: an IAM user that may do nothing but take on the role."
  type = object({
    ca_certificate_pem  = string
    subject_common_name = string
    session_s           = optional(number, 3600)
  })
  default = null
}

variable "access_key_age_days_max" {
  description = "Tell alarm_topic_arns when an access key of the agent's user is older than this. Needs AWS Config's recorder in the account. Null: nobody is told."
  type        = number
  default     = null
}

variable "alarm_topic_arns" {
  description = "SNS topics that are told about an old access key. EventBridge must be allowed to publish to them."
  type        = list(string)
  default     = []
}
