"""What runs in a function beside the bucket, and on site where there are no functions.

It trusts nothing the agent says: it looks at the store. boto3 clients are passed in; everything
else is the standard library. One module a function, from top to bottom, and what it stands on:

    verify_object        looking, headers, expectations
    verify_study         judging, comparing, manifest_chain, listing
    find_orphans
      all three          events, places, instants, verdict_table, dynamo_table, verdict_queue
    probe_retrieval      sampling, reading, multipart_body, retrieval_samples, percentiles,
                         error_budget, probe_metrics, service_levels
    watch_restore        restore_promises, restore_table
    reconcile_inventory  reconcile_{plan,listing,spill,partition,study,judging,shelf,on_site}

`environment` makes from environment variables what the verifying functions work with.
"""
