{{- /*
What things are called, and how pods are told apart. Selectors never hold a version: they cannot be changed by an
upgrade. Names stay within 63 characters: 35 for the release, 8 for "-worker-", 20 for a pool. Read _pod.tpl next.
*/ -}}

{{- define "longshore.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 35 | trimSuffix "-" -}}
{{- end -}}

{{- define "longshore.fullname" -}}
{{- $name := include "longshore.name" . -}}
{{- $both := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- default $both .Values.fullnameOverride | trunc 35 | trimSuffix "-" -}}
{{- end -}}

{{- /* Takes {root, component, pool}; pool is empty outside of pools. Quoted: a pool may be called "on" or "1". */ -}}
{{- define "longshore.selector" -}}
app.kubernetes.io/name: {{ include "longshore.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component | quote }}
{{- with .pool }}
longshore-pool: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "longshore.labels" -}}
{{ include "longshore.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{- define "longshore.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{- define "longshore.serviceAccount" -}}
{{- $ours := .Values.serviceAccount.create | ternary (include "longshore.fullname" .) "default" -}}
{{- default $ours .Values.serviceAccount.name -}}
{{- end -}}
