{{/* The one manifest of the claim: an object of the chart, and what `cluster ensure-claim` creates. */}}

{{- define "llamacpp-app.claim" -}}
{{- $persistence := .Values.persistence -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "llamacpp-app.metadata" (dict
      "ctx" .
      "component" "model"
      "name" (include "llamacpp-app.claimName" .)
      "annotations" (include "llamacpp-app.claimAnnotations" . | fromJson)
    ) | nindent 2 }}
spec:
  accessModes:
    {{- toYaml $persistence.accessModes | nindent 4 }}
  {{- with $persistence.storageClass }}
  storageClassName: {{ ternary "" . (eq . "-") | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ .Values.model.size | quote }}
{{- end -}}

{{/* The claim's own annotations, which keep the model; `llamacpp-app.problems.claim` refuses a user's in their place. */}}
{{- define "llamacpp-app.claimOwnAnnotations" -}}
{{- $own := dict
    "meta.helm.sh/release-name" .Release.Name
    "meta.helm.sh/release-namespace" .Release.Namespace -}}
{{- if .Values.persistence.keep -}}
{{- $_ := set $own "helm.sh/resource-policy" "keep" -}}
{{- end -}}
{{- if .Values.argocd.enabled -}}
{{- if .Values.persistence.keep -}}
{{- $_ := set $own "argocd.argoproj.io/sync-options" "Prune=false,Delete=false" -}}
{{- end -}}
{{- if and (eq .Values.fetch.mode "job") (eq .Values.fetch.job.hook "Sync") -}}
{{- /* The Job's wave: a claim that waits for its first consumer is never healthy before it. */ -}}
{{- $_ := set $own "argocd.argoproj.io/sync-wave" "-1" -}}
{{- end -}}
{{- end -}}
{{- toJson $own -}}
{{- end -}}

{{- define "llamacpp-app.claimAnnotations" -}}
{{- $own := include "llamacpp-app.claimOwnAnnotations" . | fromJson -}}
{{- $options := "argocd.argoproj.io/sync-options" -}}
{{- $users := .Values.persistence.annotations -}}
{{- if and (hasKey $own $options) (hasKey $users $options) -}}
{{- $both := concat (splitList "," (get $own $options)) (splitList "," (get $users $options | nospace)) | uniq -}}
{{- $_ := set $own $options (without $both "" | join ",") -}}
{{- end -}}
{{- include "llamacpp-app.overlay" (list $users $own) -}}
{{- end -}}

{{/* "true" when the claim is the chart's. */}}
{{- define "llamacpp-app.makesClaim" -}}
{{- if not (or .Values.persistence.existingClaim .Values.persistence.volume) -}}true{{- end -}}
{{- end -}}

{{/* "true" when a PreSync helper has to make the claim: Argo CD alone runs hooks before objects. */}}
{{- define "llamacpp-app.ensuresClaim" -}}
{{- $preSync := and (eq .Values.fetch.mode "job") (eq .Values.fetch.job.hook "PreSync") -}}
{{- if and .Values.argocd.enabled $preSync (include "llamacpp-app.makesClaim" .) (not .Release.IsUpgrade) -}}true{{- end -}}
{{- end -}}

{{- define "llamacpp-app.ensureClaimName" -}}
{{- printf "%s-ensure-claim" (include "llamacpp-app.fullname" .) -}}
{{- end -}}
