drop table executors;
drop table idempotency_keys;
drop table outbox;
drop table submissions;
drop function submissions_drop_partitions(date);
drop function submissions_make_partitions(date, date);
drop function submissions_day_start(date);
drop function submissions_guard();
