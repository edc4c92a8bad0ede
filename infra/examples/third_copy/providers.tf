# Everything here belongs to another account, with people, credentials and a Terraform state of its own:
# whoever takes over the first account reaches nothing in this one.
provider "aws" {
  region = var.region

  dynamic "assume_role" {
    for_each = var.third_role_arn == null ? [] : [var.third_role_arn]

    content {
      role_arn = assume_role.value
    }
  }

  default_tags {
    tags = {
      application = "cloudmig"
      deployment  = var.name
    }
  }
}
