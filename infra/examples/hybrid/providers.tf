provider "aws" {
  region = var.region

  default_tags {
    tags = {
      application = "cloudmig"
      deployment  = var.name
    }
  }
}
