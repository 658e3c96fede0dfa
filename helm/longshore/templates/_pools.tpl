{{- /*
One pool as its templates see it, and the arithmetic of its end. It depends on nothing but the pool and the defaults,
so that a change of one pool restarts no other. Read worker-deployments.yaml for the pods, _mistakes.tpl for what is
refused.
*/ -}}

{{- /* Takes {root, pool}: the pool's values over the defaults, as YAML. */ -}}
{{- define "longshore.pool" -}}
{{- mergeOverwrite (deepCopy .root.Values.poolDefaults) (deepCopy .pool) | toYaml -}}
{{- end -}}

{{- /*
From SIGTERM to exit: the drain, then up to 15 s in which handed-back attempts end, 5 s for the loops, and twice 5 s
to tell RabbitMQ goodbye. A SIGKILL before that costs nothing but time: the lease must run out before the jobs run
again.
*/ -}}
{{- define "longshore.pool.leastGrace" -}}
{{- add (int .drainGrace) 30 -}}
{{- end -}}

{{- define "longshore.pool.grace" -}}
{{- default (include "longshore.pool.leastGrace" . | int) (int .terminationGracePeriodSeconds) -}}
{{- end -}}
