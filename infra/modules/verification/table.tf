# What was seen of every object and study. cloudmig/cloud/verdict_table.py says what the items hold;
# a test compares this with its arguments of create_table.

resource "aws_dynamodb_table" "verdicts" {
  name         = "${var.name}-verdicts"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "pk"
  range_key    = "sk"

  deletion_protection_enabled = var.protect_table

  attribute {
    name = "pk"
    type = "S"
  }

  attribute {
    name = "sk"
    type = "S"
  }

  attribute {
    name = "unsettled"
    type = "S"
  }

  attribute {
    name = "at"
    type = "S"
  }

  attribute {
    name = "stratum"
    type = "S"
  }

  attribute {
    name = "sample"
    type = "S"
  }

  # Objects that no manifest has named yet: what find_orphans looks through.
  global_secondary_index {
    name            = "unsettled"
    hash_key        = "unsettled"
    range_key       = "at"
    projection_type = "ALL"
  }

  # Studies by class, year, modality and size: where probe_retrieval draws its sample.
  global_secondary_index {
    name            = "by_stratum"
    hash_key        = "stratum"
    range_key       = "sample"
    projection_type = "ALL"
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = var.kms_key_arn
  }
}
