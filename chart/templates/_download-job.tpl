{{- define "llamacpp-app.downloadJobName" -}}
{{- include "llamacpp-app.jobName" (dict
    "ctx" .
    "name" (printf "%s-download-model" (include "llamacpp-app.fullname" .))
    "spec" (include "llamacpp-app.downloadJobSpec" .)
  ) -}}
{{- end -}}

{{/* "true" when Helm runs the download before it touches anything, while the old server serves. */}}
{{- define "llamacpp-app.fetchesBeforeUpgrade" -}}
{{- if and .Values.fetch.job.preUpgrade .Release.IsUpgrade (not .Values.argocd.enabled) -}}true{{- end -}}
{{- end -}}

{{- define "llamacpp-app.downloadJobSpec" -}}
{{- with .Values.fetch.job -}}
backoffLimit: {{ .backoffLimit | int }}
activeDeadlineSeconds: {{ .activeDeadlineSeconds | int }}
{{- if not (kindIs "invalid" .ttlSecondsAfterFinished) }}
ttlSecondsAfterFinished: {{ .ttlSecondsAfterFinished | int }}
{{- end }}
{{- end }}
podReplacementPolicy: Failed
podFailurePolicy:
  rules:
    # A drained node or an eviction is no failed attempt.
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
    # modelfetch's exit numbers that another attempt can't change: usage (2), authorisation (10), not found (11),
    # pin against the Hub (12), digest (20), space (21), target (22). All others count as an attempt.
    - action: FailJob
      onExitCodes:
        containerName: fetch
        operator: In
        values: [2, 10, 11, 12, 20, 21, 22]
    {{- if include "llamacpp-app.checksModel" . }}
    # The same, and what the check is for: too large (24), an architecture that the server does not know (25).
    - action: FailJob
      onExitCodes:
        containerName: check
        operator: In
        values: [2, 10, 11, 12, 20, 21, 22, 24, 25]
    {{- end }}
template:
  metadata:
    {{- include "llamacpp-app.podMetadata" (dict
        "ctx" .
        "component" "download-model"
        "claim" true
        "labels" .Values.fetch.job.podLabels
        "annotations" (include "llamacpp-app.overlay" (list .Values.fetch.job.podAnnotations (include "llamacpp-app.manifestAnnotation" . | fromJson)) | fromJson)
      ) | nindent 4 }}
  spec:
    restartPolicy: Never
    serviceAccountName: {{ .Values.fetch.serviceAccountName | quote }}
    automountServiceAccountToken: false
    enableServiceLinks: false
    terminationGracePeriodSeconds: 60
    {{- include "llamacpp-app.podBasics" (dict "ctx" . "mountsClaim" true) | trim | nindent 4 }}
    {{- if include "llamacpp-app.checksModel" . }}
    initContainers:
      - {{ include "llamacpp-app.fetchContainer" (dict "ctx" . "isGuard" false "isCheck" true) | nindent 8 | trim }}
    {{- end }}
    containers:
      - {{ include "llamacpp-app.fetchContainer" (dict "ctx" . "isGuard" false) | nindent 8 | trim }}
    volumes:
      {{- include "llamacpp-app.fetchVolumes" . | nindent 6 }}
{{- end -}}
