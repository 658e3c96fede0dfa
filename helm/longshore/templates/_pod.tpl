{{- /*
What the pods of API, workers and migration have in common. All of it obeys the restricted Pod Security Standard, and
the root file system is read-only: scratch goes to the data directory, the rest to /tmp, each with a limit. Most take
{root, own}, own being values like .Values.api. Read worker-deployments.yaml for a whole pod.
*/ -}}

{{- define "longshore.pod.security" -}}
{{- $ids := omit .Values.podSecurity -}}
{{- range $key, $id := .Values.podSecurity -}}
{{- if lt (int $id) 0 -}}{{- $ids = omit $ids $key -}}{{- end -}}
{{- end -}}
runAsNonRoot: true
{{- range $key, $id := $ids }}
{{ $key }}: {{ int $id }}
{{- end }}
{{- if hasKey $ids "fsGroup" }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "longshore.container.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "longshore.container.image" -}}
image: {{ include "longshore.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: {{ toJson .Values.image.command }}
{{- end -}}

{{- define "longshore.secretEnv" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .from.existingSecret | quote }}
      key: {{ .from.key | quote }}
{{- end -}}

{{- /* What a server needs to know; a worker's own variables follow in its template. */ -}}
{{- define "longshore.server.env" -}}
{{- $values := .root.Values -}}
- name: LONGSHORE_CONFIG
  value: /etc/longshore/config.toml
{{ include "longshore.secretEnv" (dict "name" "LONGSHORE_DATABASE_URL" "from" $values.database) }}
{{ include "longshore.secretEnv" (dict "name" "LONGSHORE_AMQP_URL" "from" $values.broker) }}
{{- if $values.csvImport.existingSecret }}
{{ include "longshore.secretEnv" (dict "name" "LONGSHORE_CSV_IMPORT_DATABASE_URL" "from" $values.csvImport) }}
{{- end }}
{{- if $values.traces.endpoint }}
{{ include "longshore.traces.env" . }}
{{- end }}
{{- with .own.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* By the variables of the standard; API and workers are two services in a trace. */ -}}
{{- define "longshore.traces.env" -}}
{{- $traces := .root.Values.traces -}}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ $traces.endpoint | quote }}
- name: OTEL_SERVICE_NAME
  value: {{ include "longshore.fullname" .root }}-{{ eq .port "http" | ternary "api" "worker" }}
{{- if $traces.existingSecret }}
{{ include "longshore.secretEnv" (dict "name" "OTEL_EXPORTER_OTLP_HEADERS" "from" $traces) }}
{{- end }}
{{- end -}}

{{- define "longshore.server.mounts" -}}
- {name: config, mountPath: /etc/longshore, readOnly: true}
- {name: scratch, mountPath: {{ include "longshore.dataDir" .root }}}
- {name: tmp, mountPath: /tmp}
{{- if .root.Values.storage.existingClaim }}
- {name: storage, mountPath: {{ include "longshore.storageDir" .root }}}
{{- end }}
{{- with .own.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "longshore.server.volumes" -}}
- name: config
  configMap:
    name: {{ include "longshore.fullname" .root }}
- name: scratch
  emptyDir:
    sizeLimit: {{ .own.scratch.sizeLimit }}
{{ include "longshore.tmp" .root }}
{{- with .root.Values.storage.existingClaim }}
- name: storage
  persistentVolumeClaim:
    claimName: {{ . | quote }}
{{- end }}
{{- with .own.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "longshore.tmp" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .Values.tmp.sizeLimit }}
{{- end -}}

{{- /*
Startup and liveness ask /healthz, which asks nobody: an outage of broker or database must not restart workers, for
that would end every running attempt. Readiness asks both.
*/ -}}
{{- define "longshore.probes" -}}
{{- $port := .port -}}
{{- range $name, $path := dict "startup" "/healthz" "readiness" "/readyz" "liveness" "/healthz" }}
{{ $name }}Probe:
  httpGet: {path: {{ $path }}, port: {{ $port }}, scheme: {{ $.scheme | default "HTTP" }}}
  {{- range $key, $number := get $.root.Values.probes $name }}
  {{ $key }}: {{ int $number }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "longshore.pod.placement" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with .own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end -}}

{{- /* Takes {root, component, pool}: a node's end takes as few of them as can be; a full cluster may ignore it. */ -}}
{{- define "longshore.pod.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "longshore.selector" . | nindent 8 }}
{{- end -}}
