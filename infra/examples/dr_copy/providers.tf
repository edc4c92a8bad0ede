provider "aws" {
  region = var.region

  default_tags {
    tags = {
      application = "cloudmig"
      deployment  = var.name
    }
  }
}

provider "aws" {
  alias  = "dr"
  region = var.dr_region

  default_tags {
    tags = {
      application = "cloudmig"
      deployment  = "${var.name}-dr"
    }
  }
}
