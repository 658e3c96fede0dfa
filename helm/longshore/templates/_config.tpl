{{- /*
config.toml: what the chart decides itself, and over it .Values.config by the settings' own names. No credential
enters it; _mistakes.tpl refuses them, and settings that belong to a pool. Read config.default.toml in the sources for
the settings.
*/ -}}

{{- define "longshore.dataDir" -}}/var/lib/longshore{{- end -}}
{{- define "longshore.storageDir" -}}/var/lib/longshore-storage{{- end -}}
{{- define "longshore.tlsDir" -}}/etc/longshore-tls{{- end -}}

{{- define "longshore.config" -}}
{{- $location := empty .Values.storage.existingClaim | ternary .Values.storage.location (include "longshore.storageDir" .) -}}
{{- $ours := dict
  "listen" "0.0.0.0:7070"
  "data_dir" (include "longshore.dataDir" .)
  "storage" (dict "location" $location)
  "worker" (dict "listen" "0.0.0.0:7071")
  "log" (dict "format" "json")
-}}
{{- if .Values.api.tls.existingSecret -}}
{{- $dir := include "longshore.tlsDir" . -}}
{{- $_ := set $ours "api" (dict "tls" (dict "cert" (printf "%s/tls.crt" $dir) "key" (printf "%s/tls.key" $dir))) -}}
{{- end -}}
{{- include "longshore.toml" (dict "path" "" "table" (mergeOverwrite $ours (deepCopy .Values.config))) -}}
{{- end -}}

{{- /*
Not helm's toToml: a number from values.yaml is a float there, and max_input_bytes = 5.36870912e+09 is no integer. A
table's own settings come before its sections, or they would be read as the last section's.
*/ -}}
{{- define "longshore.toml" -}}
{{- $path := .path -}}
{{- range $key, $value := .table }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ include "longshore.tomlKey" $key }} = {{ include "longshore.tomlValue" $value }}
{{- end }}
{{- end }}
{{- range $key, $value := .table }}
{{- if kindIs "map" $value }}
{{/* an empty line before each section */}}
{{- $section := printf "%s%s%s" $path (empty $path | ternary "" ".") (include "longshore.tomlKey" $key) }}
[{{ $section }}]
{{- include "longshore.toml" (dict "path" $section "table" $value) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "longshore.tomlKey" -}}
{{- regexMatch "^[A-Za-z0-9_-]+$" . | ternary . (toJson .) -}}
{{- end -}}

{{- /* JSON's strings are TOML's as well. Above 2^53 a float has no exact integer any more. */ -}}
{{- define "longshore.tomlValue" -}}
{{- if kindIs "slice" . -}}
[{{ range $at, $item := . }}{{ if $at }}, {{ end }}{{ include "longshore.tomlValue" $item }}{{ end }}]
{{- else if kindIs "float64" . -}}
{{- and (eq (floor .) .) (lt . 9007199254740992.0) (gt . -9007199254740992.0) | ternary (int64 .) . -}}
{{- else if kindIs "map" . -}}
{{- fail "config: no setting is a list of sections" -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}
