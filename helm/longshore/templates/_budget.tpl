{{- /*
How many pods a node drain may take at once. maxUnavailable, never minAvailable, which with one replica would block
the drain for good; and a pod that is not ready anyway may always go. Takes {root, component, pool, name, own}.
*/ -}}
{{- define "longshore.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  labels:
    {{- include "longshore.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ toJson .own.pdb.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "longshore.selector" . | nindent 6 }}
{{- end -}}
