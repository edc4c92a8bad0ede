# Every event below v1/ leads to one look at the object as it is now, so that duplicates and
# reordering change nothing. A manifest comes the same way: verify_object hands it on to the
# `studies` queue. One rule, since a pattern cannot say "below v1/ and no manifest" of one field.

resource "aws_cloudwatch_event_rule" "objects" {
  name        = "${var.name}-objects"
  description = "Objects of ${var.bucket_name} below ${var.prefix}v1/ that appeared, vanished or changed their class."

  event_pattern = jsonencode({
    source = ["aws.s3"]
    detail-type = [
      "Object Access Tier Changed",
      "Object Created",
      "Object Deleted",
      "Object Storage Class Changed",
    ]
    detail = {
      bucket = { name = [var.bucket_name] }
      object = { key = [{ prefix = "${var.prefix}v1/" }] }
    }
  })
}

resource "aws_cloudwatch_event_target" "objects" {
  rule      = aws_cloudwatch_event_rule.objects.name
  target_id = "objects"
  arn       = aws_sqs_queue.this["objects"].arn

  dead_letter_config {
    arn = aws_sqs_queue.dead["objects"].arn
  }

  retry_policy {
    maximum_event_age_in_seconds = 86400
    maximum_retry_attempts       = 185
  }
}
