"""Files on a disk of ours: walked, indexed, and read as any other source.

Import what is needed from its module: worker processes start here and shall be quick.
"""
