"""What a scheduler counts. Never a job or user id as a label; every label set exists from the start."""

from prometheus_client import Counter, Gauge, Histogram

from services.kit.rpc_metrics import ADMISSION_REJECTED
from services.record.model import Verdict

_JOB_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

SUBMISSIONS = Counter("sentinel_submissions_total", "Submit calls by outcome.", ["language", "outcome"])
TERMINALS = Counter("sentinel_jobs_terminal_total", "Submissions that became terminal here.", ["language", "verdict"])
ATTEMPTS = Counter("sentinel_attempts_total", "Attempts that ended, by how.", ["outcome"])
FENCED = Counter("sentinel_results_fenced_total", "Outcomes that came under a lost lease and changed nothing.")
REDELIVERED = Counter("sentinel_redeliveries_total", "Messages that the broker gave out again.")
UNCLAIMABLE = Counter("sentinel_messages_dropped_total", "Messages whose submission could not be claimed.")
DEAD_LETTERED = Counter("sentinel_dead_lettered_total", "Submissions given up, by last reason.", ["reason"])
LEASES_EXPIRED = Counter("sentinel_leases_expired_total", "Leases that nobody extended.")
REPAIRS = Counter("sentinel_reconciler_repairs_total", "Rows posted again because the broker had lost them.", ["kind"])
PUBLISHED = Counter("sentinel_published_total", "Messages the broker confirmed.", ["kind"])

OUTBOX_PENDING = Gauge("sentinel_outbox_pending", "Outbox entries not yet confirmed.")
OUTBOX_AGE = Gauge("sentinel_outbox_oldest_age_seconds", "Age of the oldest outbox entry.")
BROKER_UP = Gauge("sentinel_broker_up", "1 while there is a channel to RabbitMQ.")
SESSIONS = Gauge("sentinel_executor_sessions", "Executors connected here.")
HEARD = Gauge("sentinel_executor_heartbeat_age_seconds", "Longest silence among the executors connected here.")
SLOTS = Gauge("sentinel_session_slots", "Slots of the executors connected here.", ["state"])

QUEUE_WAIT = Histogram(
    "sentinel_queue_wait_seconds", "From acceptance to the start of the first attempt.", buckets=_JOB_BUCKETS
)
END_TO_END = Histogram("sentinel_job_e2e_seconds", "From acceptance to the verdict.", buckets=_JOB_BUCKETS)


def begin_at_zero() -> None:
    """Makes every series exist, so that a rate over it does from the first scrape on."""
    for outcome in ("settled", "released", "fenced", "cancelled"):
        ATTEMPTS.labels(outcome)
    for verdict in (*Verdict, "CANCELLED", "INTERNAL_ERROR"):
        TERMINALS.labels("python", str(verdict))
    for outcome in ("accepted", "repeated", "refused"):
        SUBMISSIONS.labels("python", outcome)
    for reason in ("LEASE_EXPIRED", "SANDBOX_FAILED"):
        DEAD_LETTERED.labels(reason)
    for kind in ("execute", "dead_letter"):
        PUBLISHED.labels(kind)
    for state in ("free", "busy"):
        SLOTS.labels(state)
    ADMISSION_REJECTED.labels("backlog_full")
    REPAIRS.labels("repost")
