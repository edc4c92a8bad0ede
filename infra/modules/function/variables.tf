variable "name" {
  description = "What the names of all resources of this installation begin with."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "A name is 2 to 31 characters: small letters, digits and dashes, a letter first."
  }
}

variable "function" {
  description = "Which function of lambdas/ this is, for example verify_object."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z_]{2,30}$", var.function))
    error_message = "A function is named like its folder in lambdas/: small letters and underscores."
  }
}

variable "package" {
  description = "Path of the zip that `make lambdas` built for this function."
  type        = string

  validation {
    condition     = fileexists(var.package)
    error_message = "There is no such package: run `make lambdas` first."
  }
}

variable "description" {
  description = "One sentence that says what the function does, shown in the console."
  type        = string
}

variable "handler" {
  description = "Module and function in the package that AWS calls."
  type        = string
  default     = "handler.handle"
}

variable "runtime" {
  description = "Runtime of the function. The packages hold Python only and work with any from 3.12."
  type        = string
  default     = "python3.13"

  validation {
    condition     = can(regex("^python3\\.1[2-9]$", var.runtime))
    error_message = "The code needs Python 3.12 or newer."
  }
}

variable "architecture" {
  description = "Processor of the function. The packages hold no compiled code, so both work; arm64 is a fifth cheaper."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "The architecture is arm64 or x86_64."
  }
}

variable "timeout_s" {
  description = "Seconds after which AWS ends the function."
  type        = number

  validation {
    condition     = var.timeout_s >= 3 && var.timeout_s <= 900
    error_message = "AWS allows up to 900 seconds; below 3 a cold start alone may use them up."
  }
}

variable "memory_mib" {
  description = "Memory of the function in MiB. Processor time grows with it: 1769 is one whole processor."
  type        = number
  default     = 512

  validation {
    condition     = var.memory_mib >= 256 && var.memory_mib <= 10240
    error_message = "Between 256 (below it Python and boto3 leave too little room) and 10240 MiB."
  }
}

variable "ephemeral_storage_mib" {
  description = "Room in /tmp in MiB."
  type        = number
  default     = 512

  validation {
    condition     = var.ephemeral_storage_mib >= 512 && var.ephemeral_storage_mib <= 10240
    error_message = "AWS gives 512 to 10240 MiB."
  }
}

variable "reserved_concurrency" {
  description = "Executions at once that are set aside for this function, and its upper limit. -1: share what the account has."
  type        = number
  default     = -1

  validation {
    condition     = var.reserved_concurrency == -1 || var.reserved_concurrency >= 1
    error_message = "0 would stop the function altogether; -1 reserves nothing."
  }
}

variable "environment" {
  description = "Environment variables of the function, those of Powertools excepted."
  type        = map(string)
  default     = {}
}

variable "schedule" {
  description = "When the function runs, as EventBridge Scheduler writes it. Null: something else starts it."
  type        = string
  default     = null

  validation {
    condition     = var.schedule == null || can(regex("^(rate|cron)\\(.+\\)$", var.schedule))
    error_message = "A schedule is rate(...) or cron(...)."
  }
}

variable "silence_max_s" {
  description = "Seconds without a run after which an alarm says that the schedule stands still: at least twice the time between two runs."
  type        = number
  default     = 172800

  validation {
    condition     = var.silence_max_s >= 600 && var.silence_max_s <= 172800 && var.silence_max_s % 120 == 0
    error_message = "From ten minutes up to two days, an even number of minutes: two periods of an alarm."
  }
}

variable "permissions" {
  description = "What the function may do: statement name -> actions, resources and conditions. Writing its own log is added."
  type = map(object({
    actions    = list(string)
    resources  = list(string)
    conditions = optional(map(map(list(string))), {})
  }))

  validation {
    condition = alltrue([
      for each in values(var.permissions) :
      alltrue([for action in each.actions : can(regex("^[a-z0-9-]+:[A-Za-z]+$", action))])
    ])
    error_message = "Every action is spelled out, such as s3:GetObject; no wildcards."
  }

  validation {
    condition = alltrue([
      for each in values(var.permissions) : length(each.resources) > 0 && !contains(each.resources, "*")
    ])
    error_message = "Every permission names its resources; \"*\" is none."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts the function's log and its environment variables."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:kms:", var.kms_key_arn))
    error_message = "This is no ARN of a KMS key."
  }
}

variable "log_retention_days" {
  description = "Days the function's log is kept."
  type        = number
  default     = 365

  validation {
    condition = contains(
      [30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
      var.log_retention_days,
    )
    error_message = "CloudWatch knows 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827 ... 3653 days."
  }
}

variable "alarm_topic_arns" {
  description = "SNS topics that hear when an alarm goes off and when it is over."
  type        = list(string)
  default     = []
}

variable "subnet_ids" {
  description = "Subnets the function runs in; empty: in AWS's own network, which reaches S3 and DynamoDB directly."
  type        = list(string)
  default     = []
}

variable "security_group_ids" {
  description = "Security groups of the function where it runs in subnets."
  type        = list(string)
  default     = []
}
