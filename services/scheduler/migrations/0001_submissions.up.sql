-- One row per submission: what was sent, where it stands, what became of it.
-- Partitioned by its id, a UUIDv7, so that the primary key is also the time and a lookup by id meets one partition.
create table submissions (
    id                  uuid        not null primary key,
    tenant              text        not null default 'public',
    language            text        not null,
    compiled            boolean     not null,
    interactive         boolean     not null default false,
    request             bytea       not null,
    traceparent         text        not null default '',
    state               text        not null default 'QUEUED',
    verdict             text,
    attempt             smallint    not null default 0,
    lease_token         uuid,
    lease_until         timestamptz,
    lease_holder        text,
    cancel_requested_at timestamptz,
    exit_code           smallint,
    signal              smallint,
    evidence            bytea,
    stdout              bytea,
    stderr              bytea,
    compile_output      bytea,
    timeline            bytea,
    failure_reason      text,
    failure_message     text,
    created_at          timestamptz not null default now(),
    started_at          timestamptz,
    finished_at         timestamptz,
    updated_at          timestamptz not null default now(),

    constraint submissions_state check
        (state in ('QUEUED', 'COMPILING', 'RUNNING', 'FINISHED', 'CANCELLED', 'FAILED')),
    constraint submissions_verdict check (
        (verdict is not null) = (state = 'FINISHED')
        and (verdict is null or verdict in
            ('SUCCESS', 'COMPILATION_ERROR', 'RUNTIME_ERROR', 'TIMEOUT', 'MEMORY_LIMIT_EXCEEDED',
             'OUTPUT_LIMIT_EXCEEDED', 'SECURITY_VIOLATION'))),
    constraint submissions_failure check ((failure_reason is not null) = (state = 'FAILED')),
    constraint submissions_finished check ((finished_at is not null) = (state in ('FINISHED', 'CANCELLED', 'FAILED'))),
    constraint submissions_attempt check (attempt between 0 and 3),
    constraint submissions_lease check ((lease_until is null) or (lease_token is not null and finished_at is null))
) partition by range (id);

-- The reaper asks for expired leases every second.
create index submissions_lease on submissions (lease_until) where lease_until is not null;
-- What is not finished yet: few rows, however many are kept.
create index submissions_open on submissions (id) where finished_at is null;

-- The legal arrows, held here as in services/record/model.py: forward only, and nothing of a terminal row changes.
create function submissions_guard() returns trigger language plpgsql as $$
declare
    ranks constant jsonb := '{"QUEUED": 0, "COMPILING": 1, "RUNNING": 2, "FINISHED": 3, "CANCELLED": 3, "FAILED": 3}';
begin
    if old.finished_at is not null then
        if new is distinct from old then
            raise exception 'submission % is terminal (%) and does not change', old.id, old.state
                using errcode = 'check_violation';
        end if;
    elsif new.state <> old.state and (ranks->>new.state)::int <= (ranks->>old.state)::int then
        raise exception 'submission %: % does not follow %', old.id, new.state, old.state
            using errcode = 'check_violation';
    elsif new.attempt < old.attempt then
        raise exception 'submission %: attempt % does not follow %', old.id, new.attempt, old.attempt
            using errcode = 'check_violation';
    end if;
    return new;
end
$$;

create trigger submissions_guard before update on submissions
    for each row execute function submissions_guard();

-- What still has to reach the broker. Written in the transaction that makes it true, deleted after the confirm.
create table outbox (
    id            bigint generated always as identity primary key,
    submission_id uuid        not null,
    kind          text        not null check (kind in ('execute', 'dead_letter')),
    reason        text        not null default '',
    traceparent   text        not null default '',
    created_at    timestamptz not null default now()
);

-- A queue in a table: many rows pass through, few stay. Without this, vacuum waits for a share of what once was there.
alter table outbox set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- Unique across all partitions of submissions, which no index there can be; kept for 24 hours.
create table idempotency_keys (
    tenant        text        not null,
    key           text        not null,
    digest        bytea       not null,
    submission_id uuid        not null,
    created_at    timestamptz not null default now(),
    primary key (tenant, key)
);
create index idempotency_keys_age on idempotency_keys (created_at);

-- Who runs programs, and which languages they detected. Rewritten while an executor is heard.
create table executors (
    id           text        primary key,
    scheduler    text        not null,
    connected    boolean     not null,
    slots        integer     not null,
    languages    bytea       not null,
    connected_at timestamptz not null default now(),
    seen_at      timestamptz not null default now()
);

-- Makes the partitions of the days from `first` to `last`, where they are missing. A day's ids lie between the
-- UUIDv7 of its first millisecond and that of the next day.
create function submissions_make_partitions(first date, last date) returns integer language plpgsql as $$
declare
    day  date := first;
    made integer := 0;
    name text;
begin
    while day <= last loop
        name := 'submissions_' || to_char(day, 'YYYYMMDD');
        if to_regclass(name) is null then
            execute format('create table %I partition of submissions for values from (%L) to (%L)',
                name, submissions_day_start(day), submissions_day_start(day + 1));
            made := made + 1;
        end if;
        day := day + 1;
    end loop;
    return made;
end
$$;

-- Smallest UUIDv7-shaped id of a day (UTC).
create function submissions_day_start(day date) returns uuid language sql immutable as $$
    select (lpad(to_hex((extract(epoch from day::timestamp) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- Drops the partitions of days before `first` and tells how many.
create function submissions_drop_partitions(first date) returns integer language plpgsql as $$
declare
    partition text;
    dropped   integer := 0;
begin
    for partition in
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'submissions'::regclass
          and c.relname ~ '^submissions_[0-9]{8}$'
          and to_date(right(c.relname, 8), 'YYYYMMDD') < first
    loop
        execute format('drop table %I', partition);
        dropped := dropped + 1;
    end loop;
    return dropped;
end
$$;

select submissions_make_partitions((now() at time zone 'utc')::date - 1, (now() at time zone 'utc')::date + 7);
