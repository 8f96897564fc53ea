"""The statements that move submissions. Each works on many rows at once and is safe to run again with the same input.

`unnest` turns arrays into rows, so that one statement carries a whole batch. Lease times are the database's: callers
never pass "now".

The range beside the join (`between`, smallest and largest id of the batch) changes no result: it lets the executor
prune partitions before it opens them. Measured with nine partitions: half the CPU of a claim.
"""

ACCEPT = """
with input as (
    select * from unnest($1::uuid[], $2::text[], $3::text[], $4::boolean[], $5::boolean[], $6::bytea[], $7::text[],
                         $8::text[], $9::bytea[])
        as i (id, tenant, language, compiled, interactive, request, traceparent, key, digest)
), taken as (
    insert into idempotency_keys (tenant, key, digest, submission_id)
    select tenant, key, digest, id from input where key <> ''
    on conflict do nothing
    returning submission_id
), fresh as (
    insert into submissions (id, tenant, language, compiled, interactive, request, traceparent)
    select id, tenant, language, compiled, interactive, request, traceparent from input
    where key = '' or id in (select submission_id from taken)
    on conflict (id) do nothing
    returning id, traceparent
)
insert into outbox (submission_id, kind, traceparent)
select id, 'execute', traceparent from fresh
returning id, submission_id, traceparent, created_at
"""

# For drafts that ACCEPT did not take: a repeated key, or our own row committed before the connection was lost.
EARLIER = """
select i.id as asked, s.id, s.state, s.verdict, k.digest
from unnest($1::uuid[], $2::text[], $3::text[]) as i (id, tenant, key)
left join idempotency_keys k on i.key <> '' and k.tenant = i.tenant and k.key = i.key
left join submissions s on s.id = coalesce(k.submission_id, i.id)
"""

CLAIM = """
update submissions s
set attempt = s.attempt + 1,
    lease_token = u.token,
    lease_until = now() + make_interval(secs => $4),
    lease_holder = u.holder,
    started_at = now(),
    updated_at = now(),
    state = case when s.state <> 'QUEUED' then s.state when s.compiled then 'COMPILING' else 'RUNNING' end
from unnest($1::uuid[], $2::uuid[], $3::text[]) as u (id, token, holder)
where s.id = u.id and s.id between $5 and $6
  and s.finished_at is null
  and s.cancel_requested_at is null
  and s.attempt < 3
  and (s.lease_until is null or s.lease_until < now())
returning s.id, s.lease_token, s.attempt, s.request, s.traceparent, s.interactive, s.compiled, s.language,
          s.created_at, s.started_at
"""

# For claims that CLAIM did not grant: granted already, before the connection was lost.
CLAIMED = """
select s.id, s.lease_token, s.attempt, s.request, s.traceparent, s.interactive, s.compiled, s.language,
       s.created_at, s.started_at
from submissions s
join unnest($1::uuid[], $2::uuid[]) as u (id, token) on s.id = u.id and s.lease_token = u.token
where s.finished_at is null
"""

# A reconnecting executor offers what it holds. Where the token still stands the lease goes on, even when its term ran
# out during an outage and nobody has reaped it yet.
ADOPT = """
update submissions s
set lease_until = now() + make_interval(secs => $3)
from unnest($1::uuid[], $2::uuid[]) as u (id, token)
where s.id = u.id and s.lease_token = u.token and s.finished_at is null
returning s.id, s.lease_token, s.attempt, s.request, s.traceparent, s.interactive, s.compiled, s.language,
          s.created_at, s.started_at
"""

EXTEND = """
update submissions s
set lease_until = now() + make_interval(secs => $3)
from unnest($1::uuid[], $2::uuid[]) as u (id, token)
where s.id = u.id and s.lease_token = u.token and s.finished_at is null
returning s.lease_token as token, s.cancel_requested_at is not null as cancel_requested
"""

ADVANCE = """
update submissions s
set state = 'RUNNING', updated_at = now()
from unnest($1::uuid[], $2::uuid[]) as u (id, token)
where s.id = u.id and s.lease_token = u.token and s.state in ('QUEUED', 'COMPILING')
"""

SETTLE = """
update submissions s
set state = u.state,
    verdict = u.verdict,
    exit_code = u.exit_code,
    signal = u.signal,
    evidence = u.evidence,
    stdout = u.stdout,
    stderr = u.stderr,
    compile_output = u.compile_output,
    timeline = u.timeline,
    lease_until = null,
    finished_at = now(),
    updated_at = now()
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::smallint[], $6::smallint[], $7::bytea[], $8::bytea[],
            $9::bytea[], $10::bytea[], $11::bytea[])
    as u (id, token, state, verdict, exit_code, signal, evidence, stdout, stderr, compile_output, timeline)
where s.id = u.id and s.id between $12 and $13 and s.lease_token = u.token and s.finished_at is null
returning s.id, s.finished_at
"""

# For outcomes that SETTLE did not write: written already, before the connection was lost. Else they were fenced.
SETTLED = """
select s.id, s.finished_at
from submissions s
join unnest($1::uuid[], $2::uuid[]) as u (id, token) on s.id = u.id and s.lease_token = u.token
where s.finished_at is not null
"""

_AFTER_LOSS = """
set state = case when s.cancel_requested_at is not null then 'CANCELLED'
                 when s.attempt >= 3 then 'FAILED' else s.state end,
    failure_reason = case when s.cancel_requested_at is null and s.attempt >= 3 then 'ATTEMPTS_EXHAUSTED' end,
    failure_message = case when s.cancel_requested_at is null and s.attempt >= 3
                           then format('%s attempts were lost; the last one: %s', s.attempt, u.message) end,
    finished_at = case when s.cancel_requested_at is not null or s.attempt >= 3 then now() end,
    lease_token = null,
    lease_until = null,
    updated_at = now()
"""

_AND_POST = """
, posted as (
    insert into outbox (submission_id, kind, reason, traceparent)
    select id, case when state = 'FAILED' then 'dead_letter' else 'execute' end, reason, traceparent
    from changed where state <> 'CANCELLED'
    returning id, submission_id, kind
)
select c.id, c.attempt, c.state, c.language, c.reason, c.traceparent, p.id as posting, p.kind
from changed c left join posted p on p.submission_id = c.id
"""

# The executor gave an attempt up: the next one is posted, or at the cap a dead letter.
RELEASE = f"""
with changed as (
    update submissions s
    {_AFTER_LOSS}
    from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) as u (id, token, reason, message)
    where s.id = u.id and s.lease_token = u.token and s.finished_at is null
    returning s.id, s.attempt, s.state, s.language, s.traceparent, u.reason
)
{_AND_POST}
"""

# Nobody was heard for a whole term: likewise. Two reapers share the work by skipping each other's rows.
REAP = f"""
with expired as (
    select id, 'LEASE_EXPIRED' as reason, format('executor %s was not heard any more', lease_holder) as message
    from submissions where lease_until < now()
    order by lease_until limit $1 for update skip locked
), changed as (
    update submissions s
    {_AFTER_LOSS}
    from expired u
    where s.id = u.id and s.lease_until < now()
    returning s.id, s.attempt, s.state, s.language, s.traceparent, u.reason
)
{_AND_POST}
"""  # noqa: S608 - only our own constants

# Without a lease it ends here; with one, the lease's holder is told.
CANCEL = """
with changed as (
    update submissions s
    set cancel_requested_at = coalesce(s.cancel_requested_at, now()),
        state = case when s.lease_until is null then 'CANCELLED' else s.state end,
        finished_at = case when s.lease_until is null then now() end,
        updated_at = now()
    where s.id = $1 and s.finished_at is null
    returning s.id, s.state, s.attempt, s.language
), told as (
    select pg_notify('sentinel_cancel', id::text) from changed where state <> 'CANCELLED'
)
select c.state, c.attempt, c.language, (select count(*) from told) as told from changed c
"""

# The broker has lost what it confirmed (its disk was wiped): nothing waits there, yet rows wait here.
REPOST = """
with lost as (
    select s.id, s.traceparent from submissions s
    where s.finished_at is null and s.lease_until is null and s.updated_at < now() - make_interval(secs => $1)
      and not exists (select from outbox o where o.submission_id = s.id)
    order by s.id limit $2
)
insert into outbox (submission_id, kind, reason, traceparent)
select id, 'execute', 'REPOSTED', traceparent from lost
returning id
"""

PENDING = """
select id, submission_id, kind, reason, traceparent from outbox
where created_at < now() - make_interval(secs => $1)
order by id limit $2
for update skip locked
"""

POSTED = "delete from outbox where id = any($1::bigint[])"

BACKLOG = """
select count(*) as entries, coalesce(extract(epoch from now() - min(created_at)), 0)::float8 as oldest_seconds
from outbox
"""

MAKE_PARTITIONS = """
select submissions_make_partitions(utc - 1, utc + $1::integer)
from (select (now() at time zone 'utc')::date as utc) as today
"""

DROP_PARTITIONS = """
select submissions_drop_partitions(utc - $1::integer) from (select (now() at time zone 'utc')::date as utc) as today
"""
