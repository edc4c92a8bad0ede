"""Faults on purpose between the agent and real software: two proxies and what they break.

They have their own framing of PDUs and of HTTP and share no code with cloudmig.
"""
