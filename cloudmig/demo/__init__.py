"""What `cloudmig demo` runs: made-up studies, a scripted legacy PACS, an embedded bucket."""
