output "role_arn" {
  description = "ARN of the agent's role, for role_arn in its AWS profile."
  value       = aws_iam_role.agent.arn
}

output "role_name" {
  description = "Name of the agent's role."
  value       = aws_iam_role.agent.name
}

output "user_name" {
  description = "Name of the user whose access keys the agent holds. Null with certificates."
  value       = one(aws_iam_user.agent[*].name)
}

output "trust_anchor_arn" {
  description = "ARN of the trust anchor, for the credential helper of Roles Anywhere. Null with access keys."
  value       = one(aws_rolesanywhere_trust_anchor.site[*].arn)
}

output "profile_arn" {
  description = "ARN of the profile, for the credential helper of Roles Anywhere. Null with access keys."
  value       = one(aws_rolesanywhere_profile.agent[*].arn)
}
