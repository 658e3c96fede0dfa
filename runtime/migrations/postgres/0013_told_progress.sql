-- A row keeps the newest progress of its running attempt alone, so a delivery that tells of one brings its own.
alter table webhook_deliveries add column progress json;
