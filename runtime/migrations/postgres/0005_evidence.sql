-- The most memory a worker had in use, as its heartbeats tell: evidence, should it be lost. Null until it told.
alter table workers add column peak_memory bigint;
