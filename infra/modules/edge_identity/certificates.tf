# IAM Roles Anywhere: the agent shows a certificate of your own authority, and gets a session.
resource "aws_rolesanywhere_trust_anchor" "site" {
  count = local.with_keys ? 0 : 1

  name    = "${var.name}-site"
  enabled = true

  source {
    source_type = "CERTIFICATE_BUNDLE"

    source_data {
      x509_certificate_data = var.roles_anywhere.ca_certificate_pem
    }
  }
}

resource "aws_rolesanywhere_profile" "agent" {
  count = local.with_keys ? 0 : 1

  name             = "${var.name}-agent"
  enabled          = true
  role_arns        = [aws_iam_role.agent.arn]
  duration_seconds = var.roles_anywhere.session_s
}

locals {
  trust_certificate = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]
      Principal = { Service = "rolesanywhere.amazonaws.com" }
      Condition = {
        ArnEquals = { "aws:SourceArn" = one(aws_rolesanywhere_trust_anchor.site[*].arn) }
        # Another certificate of the same authority is not the agent.
        StringEquals = {
          "aws:PrincipalTag/x509Subject/CN" = try(var.roles_anywhere.subject_common_name, "")
        }
      }
    }]
  })
}
