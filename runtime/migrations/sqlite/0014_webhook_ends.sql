-- Since when every try to reach a subscription has failed; null: the last that was noted did not, or it was enabled since.
alter table webhooks add column failing_since integer;
-- What was sent to a job's own webhook is found by the job.
create index webhook_deliveries_own on webhook_deliveries (job, id) where webhook is null and job is not null;
