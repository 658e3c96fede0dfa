-- A job's place in a distributed trace, as W3C Trace Context writes it: traceparent, and after a space tracestate. The correlation id
-- cannot hold it: a caller may bring both, and each means something else.
alter table jobs add column trace text;
