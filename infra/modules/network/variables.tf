variable "name" {
  description = "Prefix of every resource's name, for example cloudmig-prod."
  type        = string
}

variable "vpc_id" {
  description = "The VPC to which the hospital's line (Direct Connect or VPN) leads."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets, one for each zone, in which the endpoints get their addresses."
  type        = list(string)
}

variable "route_table_ids" {
  description = "Route tables that get the gateway endpoint for S3: for machines inside the VPC. Empty: none is made. It costs nothing."
  type        = list(string)
  default     = []
}

variable "source_cidrs" {
  description = "Networks from which the endpoints may be reached over HTTPS: the agent's, at the hospital."
  type        = list(string)

  validation {
    condition     = length(var.source_cidrs) > 0 && !contains(var.source_cidrs, "0.0.0.0/0")
    error_message = "At least one network, and not the whole world."
  }
}

variable "bucket_arns" {
  description = "Buckets that can be reached through the endpoints; no other bucket of the world can."
  type        = list(string)
}

variable "queue_arns" {
  description = "Queues that can be reached through the endpoint for SQS. Empty: none is made."
  type        = list(string)
  default     = []
}

variable "private_dns" {
  description = "Whether the VPC's resolver answers with the endpoints' addresses. At the hospital, forward to it or set `endpoint` in cloudmig.toml."
  type        = bool
  default     = true
}
