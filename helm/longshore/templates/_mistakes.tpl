{{- /*
What the schema cannot say: settings that are missing, contradict each other, or would show a credential. Each mistake
is a line that names its key and the way out, and all are told at once. It changes nothing. validate.yaml asks.
*/ -}}

{{- define "longshore.mistakes" -}}
{{ include "longshore.mistakes.required" . }}
{{ include "longshore.mistakes.storage" . }}
{{ include "longshore.mistakes.config" . }}
{{ include "longshore.mistakes.secrets" . }}
{{- range $name, $pool := .Values.pools }}
{{ include "longshore.mistakes.pool" (dict "name" $name "pool" (include "longshore.pool" (dict "root" $ "pool" $pool) | fromYaml)) }}
{{- end }}
{{- range $place, $own := dict "api" .Values.api "poolDefaults" .Values.poolDefaults "migrations" .Values.migrations }}
{{ include "longshore.mistakes.env" (dict "place" $place "own" $own) }}
{{- end }}
{{- range $name, $pool := .Values.pools }}
{{ include "longshore.mistakes.env" (dict "place" (printf "pools.%s" $name) "own" $pool) }}
{{- end }}
{{- end -}}

{{- define "longshore.mistakes.required" -}}
{{- if not .Values.image.repository }}
image.repository: name the image that holds the longshore binary
{{- end }}
{{- if not .Values.database.existingSecret }}
database.existingSecret: name the Secret with the ledger's URL, postgres://user:password@host/database, at key {{ .Values.database.key }}
{{- end }}
{{- if not .Values.broker.existingSecret }}
broker.existingSecret: name the Secret with RabbitMQ's URL, amqp://user:password@host/vhost, at key {{ .Values.broker.key }}
{{- end }}
{{- if not .Values.pools }}
pools: name at least one pool of workers, e.g. pools: {all: {}} for one that runs every kind
{{- end }}
{{- end -}}

{{- define "longshore.mistakes.storage" -}}
{{- $storage := .Values.storage -}}
{{- if and $storage.location $storage.existingClaim }}
storage: location and existingClaim are both given; keep one
{{- else if not (or $storage.location $storage.existingClaim) }}
storage.location: name a bucket, s3://bucket/prefix, or in storage.existingClaim a volume that API and workers share
{{- else if and $storage.location (not (hasPrefix "s3://" $storage.location)) }}
storage.location: {{ $storage.location }} is no s3:// address; a directory of one pod is seen by no other, so for a shared one give storage.existingClaim
{{- end }}
{{- end -}}

{{- /* Settings that have a value of their own here, by section and name. */ -}}
{{- define "longshore.mistakes.config" -}}
{{- $elsewhere := list
  (list "" "listen" "leave it to the chart; api.service.port is where the service listens")
  (list "" "data_dir" "leave it to the chart; scratch.sizeLimit is its size")
  (list "database" "url" "put it into the Secret that database.existingSecret names")
  (list "broker" "urls" "put them into the Secret that broker.existingSecret names")
  (list "csv_import" "database_url" "put it into a Secret and name that in csvImport.existingSecret")
  (list "storage" "location" "set storage.location or storage.existingClaim")
  (list "traces" "endpoint" "set traces.endpoint")
  (list "worker" "listen" "leave it to the chart")
  (list "worker" "kinds" "set pools.NAME.kinds")
  (list "worker" "slots" "set pools.NAME.slots")
  (list "worker" "prefetch_extra" "set pools.NAME.prefetchExtra")
  (list "worker" "drain_grace" "set pools.NAME.drainGrace")
-}}
{{- range $elsewhere }}
{{- $section := empty (index . 0) | ternary $.Values.config (get $.Values.config (index . 0)) }}
{{- if and (kindIs "map" $section) (hasKey $section (index . 1)) }}
config.{{ index . 0 }}{{ empty (index . 0) | ternary "" "." }}{{ index . 1 }}: {{ index . 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* Values end up in release history and in ConfigMaps, which more people may read than Secrets. */ -}}
{{- define "longshore.mistakes.secrets" -}}
{{- range $key, $value := omit .Values "global" }}
{{- if regexMatch `[a-z][a-z0-9+.-]*://[^/\s:@"]*:[^@/\s"]+@` (toJson $value) }}
{{ $key }}: holds a URL with a password; put it into a Secret
{{- end }}
{{- end }}
{{- end -}}

{{- define "longshore.mistakes.env" -}}
{{- $place := .place -}}
{{- $set := list "CONFIG" "DATABASE_URL" "AMQP_URL" "BROKER_URLS" "CSV_IMPORT_DATABASE_URL" "LISTEN" "DATA_DIR" "STORAGE_LOCATION"
  "WORKER_LISTEN" "WORKER_KINDS" "WORKER_SLOTS" "WORKER_PREFETCH_EXTRA" "WORKER_DRAIN_GRACE" -}}
{{- range .own.extraEnv }}
{{- if and (hasPrefix "LONGSHORE_" .name) (has (trimPrefix "LONGSHORE_" .name) $set) }}
{{ $place }}.extraEnv: {{ .name }} is set by the chart from another value
{{- else if and (regexMatch "(?i)(PASSWORD|PASSWD|SECRET|TOKEN|_KEY)$" .name) (hasKey . "value") }}
{{ $place }}.extraEnv: {{ .name }} is a credential; give valueFrom.secretKeyRef instead of value
{{- end }}
{{- end }}
{{- end -}}

{{- define "longshore.mistakes.pool" -}}
{{- $least := include "longshore.pool.leastGrace" .pool | int -}}
{{- $grace := int .pool.terminationGracePeriodSeconds -}}
{{- if and $grace (lt $grace $least) }}
pools.{{ .name }}.terminationGracePeriodSeconds: {{ $grace }} is less than {{ $least }}, which is drainGrace ({{ .pool.drainGrace }}) and 30 s to hand back the rest; raise it, shorten drainGrace, or leave it at 0
{{- end }}
{{- end -}}
