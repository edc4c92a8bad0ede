"""What runs in a function beside the bucket, and on site where there are no functions.

It trusts nothing the agent says: it looks at the store. boto3 clients are passed in; everything
else is the standard library.
"""
