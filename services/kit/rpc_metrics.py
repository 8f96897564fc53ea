"""Counts and times of the calls a process serves, in the names that gRPC semantic conventions gave."""

from prometheus_client import Counter, Histogram

RPC_SECONDS = Histogram(
    "sentinel_rpc_server_call_duration_seconds",
    "Time from the arrival of a call to its end.",
    ["method"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
RPC_TOTAL = Counter("sentinel_rpc_server_calls_total", "Calls served, by status code.", ["method", "code"])

# Refused for want of room (scheduler) or by the rate limit (gateway): one name, so that one rule covers both.
ADMISSION_REJECTED = Counter("sentinel_admission_rejected_total", "Calls refused before any work was done.", ["reason"])
