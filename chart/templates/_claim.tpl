{{/* The one manifest of the claim: an object of the chart, and what `cluster ensure-claim` creates. */}}

{{- define "llamacpp-app.claim" -}}
{{- $persistence := .Values.persistence -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ include "llamacpp-app.claimName" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "llamacpp-app.labels" (dict "ctx" . "component" "model") | nindent 4 }}
  annotations:
    # With these two, a later `helm install` of the same name takes over a claim that Helm did not make.
    meta.helm.sh/release-name: {{ .Release.Name }}
    meta.helm.sh/release-namespace: {{ .Release.Namespace }}
    {{- if $persistence.keep }}
    helm.sh/resource-policy: keep
    {{- end }}
    {{- if .Values.argocd.enabled }}
    {{- if $persistence.keep }}
    argocd.argoproj.io/sync-options: Prune=false,Delete=false
    {{- end }}
    {{- if and (eq .Values.fetch.mode "job") (eq .Values.fetch.job.hook "Sync") }}
    # The Job's wave: a claim that waits for its first consumer is never healthy before it.
    argocd.argoproj.io/sync-wave: "-1"
    {{- end }}
    {{- end }}
    {{- with $persistence.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  accessModes:
    {{- toYaml $persistence.accessModes | nindent 4 }}
  {{- with $persistence.storageClass }}
  storageClassName: {{ ternary "" . (eq . "-") | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ .Values.model.size }}
{{- end -}}

{{/* "true" when a PreSync helper has to make the claim: Argo CD alone runs hooks before objects. */}}
{{- define "llamacpp-app.ensuresClaim" -}}
{{- $preSync := and (eq .Values.fetch.mode "job") (eq .Values.fetch.job.hook "PreSync") -}}
{{- if and .Values.argocd.enabled $preSync (not .Values.persistence.existingClaim) (not .Release.IsUpgrade) -}}true{{- end -}}
{{- end -}}

{{- define "llamacpp-app.ensureClaimName" -}}
{{- printf "%s-ensure-claim" (include "llamacpp-app.fullname" .) -}}
{{- end -}}
